//! The archive's own tables and views: what `segment.rs` writes, and the plain SQL that reads it.
//!
//! For a table there are three things in the archive's two schemas: `archive_store.segments_N` with a row a segment,
//! `archive_store.rows_N`, a view that takes the segments apart, and `archive.<table>`, which shows its rows as the
//! table had them. Nothing here depends on anything of the application: what also reads its tables is a function whose
//! body is text, which PostgreSQL does not track, so that a migration may change or drop them at any time.

use super::shape::{Carrier, Column, Role, Shape, Whole};
use crate::pg::statement::{Ident, Qualified, literal};

/// The places that a table has in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The schema for people.
    pub schema: Ident,
    /// The number of the table's shape in the archive's catalogue.
    pub source_id: i64,
    /// The name of its view.
    pub view: Ident,
}

impl Place {
    /// The schema of the segments and the catalogue.
    pub fn store(schema: &Ident) -> Ident {
        Ident(format!("{}_store", schema.0))
    }

    /// The table of its segments.
    pub fn segments(&self) -> Qualified {
        Qualified { schema: Self::store(&self.schema), name: Ident(format!("segments_{}", self.source_id)) }
    }

    /// The view that takes them apart.
    pub fn rows(&self) -> Qualified {
        Qualified { schema: Self::store(&self.schema), name: Ident(format!("rows_{}", self.source_id)) }
    }

    /// The view for people.
    pub fn shown(&self) -> Qualified {
        Qualified { schema: self.schema.clone(), name: self.view.clone() }
    }

    fn all_rows(&self) -> Qualified {
        Qualified { schema: Self::store(&self.schema), name: Ident(format!("all_rows_{}", self.source_id)) }
    }

    fn derived(&self, prefix: &str, suffix: &str) -> Qualified {
        Qualified { schema: self.schema.clone(), name: fitting(prefix, &self.view.0, suffix) }
    }

    /// The view of archived and live rows together.
    pub fn all(&self) -> Qualified {
        self.derived("all_", "")
    }

    /// The function that gives the rows of one group, or of one series of it.
    pub fn of(&self) -> Qualified {
        self.derived("", "_of")
    }
}

/// A name of at most 63 bytes with something before and after it.
pub(super) fn fitting(prefix: &str, name: &str, suffix: &str) -> Ident {
    let room = 63 - prefix.len() - suffix.len();
    let end = (0..=name.len().min(room)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    Ident(format!("{prefix}{}{suffix}", &name[..end]))
}

/// One column of a segments table: its name, its type, and how the view for rows uses it.
struct Stored {
    name: String,
    sql_type: String,
    level: Level,
}

/// Where a stored column's values belong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Segment,
    Series,
    Row,
}

/// Whether a series column's least and greatest value are kept, so that a reader can pass segments over.
pub(super) fn has_bounds(column: &Column) -> bool {
    column.role == Role::Series && matches!(column.stored.as_str(), "text" | "character varying" | "pg_catalog.text")
}

/// The place of the column whose bounds readers pass segments over by.
pub(super) fn bounded(shape: &Shape) -> Option<usize> {
    shape.series.first().copied().filter(|nth| has_bounds(&shape.columns[*nth]))
}

/// Whether a segment of these columns fits into a page, even where every value of it is stored elsewhere.
pub fn fits(shape: &Shape) -> bool {
    const PAGE: usize = 7600;
    const MOST_COLUMNS: usize = 1500;
    let width = |column: &Column| match (column.role, column.carrier) {
        (Role::Row, Carrier::Whole(_)) => 80,
        (Role::Row, Carrier::Double) => 60,
        _ => 40,
    };
    all_stored(shape).count() <= MOST_COLUMNS && shape.columns.iter().map(width).sum::<usize>() <= PAGE
}

/// The stored columns of a column, in the order in which `segment.rs` writes them.
fn stored(nth: usize, column: &Column) -> Vec<Stored> {
    let one = |suffix: &str, sql_type: &str, level| Stored {
        name: format!("c{}{suffix}", nth + 1),
        sql_type: sql_type.to_owned(),
        level,
    };
    let own = format!("{}[]", column.stored);
    let residuals = [("_1", "\"char\"[]"), ("_2", "smallint[]"), ("_4", "integer[]"), ("_8", "bigint[]")];
    let residuals = |count: usize| residuals.iter().take(count).map(move |(suffix, of)| one(suffix, of, Level::Row));
    let mut all = Vec::new();
    match (column.role, column.carrier) {
        (Role::Group, _) => all.push(one("", &column.shown, Level::Segment)),
        (Role::Series, _) | (Role::Row, Carrier::Plain | Carrier::Text) => {
            if has_bounds(column) {
                all.push(one("_lo", "text collate \"C\"", Level::Segment));
                all.push(one("_hi", "text collate \"C\"", Level::Segment));
            }
            all.push(one("_k", &own, Level::Series));
            all.push(one("_x", &own, Level::Row));
        }
        (Role::Row, Carrier::Whole(_)) => {
            all.push(one("_lo", &column.stored, Level::Segment));
            all.push(one("_hi", &column.stored, Level::Segment));
            all.push(one("_b", "bigint[]", Level::Series));
            all.push(one("_s", "bigint[]", Level::Series));
            all.extend(residuals(4));
            all.push(one("_x", &own, Level::Row));
        }
        (Role::Row, Carrier::Double) => {
            all.push(one("_b", "bigint[]", Level::Series));
            all.push(one("_s", "bigint[]", Level::Series));
            all.push(one("_d", "double precision[]", Level::Series));
            all.extend(residuals(3));
            all.push(one("_r", "real[]", Level::Row));
            all.push(one("_x", &own, Level::Row));
        }
    }
    all
}

fn all_stored(shape: &Shape) -> impl Iterator<Item = Stored> {
    shape.columns.iter().enumerate().flat_map(|(nth, column)| stored(nth, column))
}

/// How many fields a segment has.
pub(super) fn fields(shape: &Shape) -> usize {
    OWN_COLUMNS + all_stored(shape).count()
}

/// `batch, no, group_id, row_count, digest, f, n`.
const OWN_COLUMNS: usize = 7;

/// A column's value, from the stored columns of `u`.
fn value(nth: usize, column: &Column) -> String {
    let c = |suffix: &str| format!("u.c{}{suffix}", nth + 1);
    let grown = |widths: &[&str]| {
        let residuals = widths.iter().map(|width| c(width)).collect::<Vec<_>>().join(", ");
        format!("{} + (u.i - 1) * {} + coalesce({}::integer, {residuals}, 0)", c("_b"), c("_s"), c("_1"))
    };
    match (column.role, column.carrier) {
        (Role::Group, _) => c(""),
        (Role::Series, _) | (Role::Row, Carrier::Plain | Carrier::Text) => {
            format!("coalesce({}, {})::{}", c("_x"), c("_k"), column.shown)
        }
        (Role::Row, Carrier::Whole(whole)) => {
            let grown = grown(&["_2", "_4", "_8"]);
            let computed = match whole {
                Whole::Int2 => format!("({grown})::smallint"),
                Whole::Int4 => format!("({grown})::integer"),
                Whole::Int8 => grown,
                Whole::Date => format!("date '2000-01-01' + ({grown})::integer"),
                Whole::Time => format!("time '00:00' + ({grown}) * interval '1 microsecond'"),
                Whole::Timestamp => format!("timestamp '2000-01-01' + ({grown}) * interval '1 microsecond'"),
                Whole::TimestampTz => {
                    format!("timestamptz '2000-01-01 00:00+00' + ({grown}) * interval '1 microsecond'")
                }
            };
            format!("coalesce({}, {computed})::{}", c("_x"), column.shown)
        }
        (Role::Row, Carrier::Double) => {
            let scaled = format!("({})::double precision / {}", grown(&["_2", "_4"]), c("_d"));
            format!("coalesce({}, {}::double precision, {scaled})", c("_x"), c("_r"))
        }
    }
}

/// The statements that make a table's places in the archive; its catalogue row is there already.
pub fn create(place: &Place, shape: &Shape, lz4: bool) -> Vec<String> {
    let (segments, rows) = (place.segments(), place.rows());
    let of = literal(format!("Segments of archived rows of {}; {} shows them as rows.", shape.table, place.shown()));
    let mut statements = vec![create_segments(&segments, shape, lz4), format!("comment on table {segments} is {of}")];
    for (nth, column) in shape.columns.iter().enumerate() {
        for part in stored(nth, column) {
            let about = literal(format!("{}: {}", column.name.0, meaning(&part.name)));
            statements.push(format!("comment on column {segments}.{} is {about}", Ident(part.name)));
        }
    }
    statements.push(format!("create index on {segments} (group_id)"));
    let groups: Vec<String> = places(shape, Role::Group).map(|nth| format!("c{}", nth + 1)).collect();
    if !groups.is_empty() {
        statements.push(format!("create index on {segments} ({})", groups.join(", ")));
    } else if let Some(nth) = bounded(shape) {
        statements.push(format!("create index on {segments} (c{}_lo, c{}_hi)", nth + 1, nth + 1));
    }
    statements.extend(rows_view(&segments, &rows, shape).make);
    statements
}

fn places(shape: &Shape, role: Role) -> impl Iterator<Item = usize> {
    shape.columns.iter().enumerate().filter(move |(_, column)| column.role == role).map(|(nth, _)| nth)
}

/// What a stored column means, by the end of its name.
fn meaning(name: &str) -> &'static str {
    match name.split_once('_').map(|(_, suffix)| suffix) {
        None => "the one value of the segment",
        Some("lo") => "the least value in the segment",
        Some("hi") => "the greatest value in the segment",
        Some("k") => "one value for each series that is constant",
        Some("b") => "the base of each series",
        Some("s") => "by how much each series grows a row",
        Some("d") => "the power of ten that each series is divided by",
        Some("r") => "values that are real without loss",
        Some("x") => "values as they are",
        Some(_) => "what is left of values, in the narrowest width that holds it",
    }
}

fn create_segments(segments: &Qualified, shape: &Shape, lz4: bool) -> String {
    let compression = if lz4 { " compression lz4" } else { "" };
    let columns = all_stored(shape).map(|column| {
        let compression = if column.sql_type.ends_with("[]") { compression } else { "" };
        format!("    {} {}{compression}", Ident(column.name), column.sql_type)
    });
    let columns = columns.collect::<Vec<_>>().join(",\n");
    // Rows are stored beside each other up to half a page: what is left over from cutting long values into chunks
    // would otherwise take more room than the rows.
    format!(
        "create table {segments} (\n    batch bigint not null,\n    no integer not null,\n    group_id bigint not null,\n    \
         row_count integer not null,\n    digest bytea not null,\n    f integer[] not null,\n    n integer[] not null,\n\
         {columns},\n    primary key (batch, no)\n) with (toast_tuple_target = 4080)"
    )
}

fn rows_view(segments: &Qualified, rows: &Qualified, shape: &Shape) -> Reader {
    let mut outer = vec![
        "u.batch as pgupkeep_batch".to_owned(),
        "u.no as pgupkeep_no".to_owned(),
        "u.group_id as pgupkeep_group".to_owned(),
    ];
    if let Some(nth) = bounded(shape) {
        let name = format!("c{}", nth + 1);
        outer.push(format!("u.{name}_lo as pgupkeep_lo, u.{name}_hi as pgupkeep_hi, u.{name}_k as pgupkeep_series"));
    }
    outer.extend(
        shape.columns.iter().enumerate().map(|(nth, column)| format!("{} as {}", value(nth, column), column.name)),
    );
    let mut inner = vec!["s.batch, s.no, s.group_id, generate_series(1, e.n) as i".to_owned()];
    let (mut arrays, mut series) = (Vec::new(), vec!["unnest(s.f) as f, unnest(s.n) as n".to_owned()]);
    for Stored { name, sql_type, level } in all_stored(shape) {
        match level {
            Level::Segment => inner.push(format!("s.{name}")),
            Level::Series => {
                series.push(format!("unnest(s.{name}) as {name}"));
                inner.push(format!("e.{name}"));
            }
            Level::Row => {
                // Appending nothing takes the value out of its TOAST table once, not once for each series.
                arrays.push(format!("s.{name} || '{{}}'::{sql_type} as {name}"));
                inner.push(format!("unnest(d.{name}[e.f : e.f + e.n - 1]) as {name}"));
            }
        }
    }
    if arrays.is_empty() {
        arrays.push("null as nothing".to_owned());
    }
    let body = format!(
        "\nselect {}\n  from (select {}\n          from {segments} s\n         cross join lateral (select {}\n offset 0) d\n         \
         cross join lateral (select {}) e) u",
        outer.join(",\n       "),
        inner.join(",\n               "),
        arrays.join(",\n                    "),
        series.join(",\n                    "),
    );
    let about =
        format!("The segments of {segments}, taken apart; columns that begin with pgupkeep_ are the archive's.");
    Reader::view(rows, &body, &about)
}

/// A view or a function that people read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// It, as SQL names it: a function with the types of its arguments.
    pub name: String,
    /// Whether it is a function.
    pub is_function: bool,
    /// The statements that make it, or make it anew.
    make: Vec<String>,
}

impl Reader {
    fn view(name: &Qualified, body: &str, about: &str) -> Self {
        let make = vec![
            format!("create or replace view {name} as {body}"),
            format!("comment on view {name} is {}", literal(about)),
        ];
        Self { name: name.to_string(), is_function: false, make }
    }

    /// A function that stays where its columns do, so that what others have built on it stays, too.
    fn function(name: String, columns: &[(Ident, String)], body: &str, about: &str) -> Self {
        let typed = columns.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>().join(", ");
        let create = literal(format!(
            "create or replace function {name} returns table ({typed}) language sql stable as {}",
            literal(body)
        ));
        let anew = format!(
            "begin execute {create}; exception when invalid_function_definition then execute {}; execute {create}; end",
            literal(format!("drop function {name}"))
        );
        let make = vec![format!("do {}", literal(anew)), format!("comment on function {name} is {}", literal(about))];
        Self { name, is_function: true, make }
    }
}

/// What people read a table's archived rows by, in the order in which it is made.
///
/// `older` are the places of the same table in earlier shapes, whose rows are shown with the columns of now.
pub fn readers(place: &Place, shape: &Shape, older: &[(Place, Shape)]) -> Vec<Reader> {
    let (shown, all, table) = (place.shown(), place.all(), &shape.table);
    let shapes: Vec<&Shape> = [shape].into_iter().chain(older.iter().map(|(_, shape)| shape)).collect();
    let places = [place].into_iter().chain(older.iter().map(|(place, _)| place));
    let columns = view_columns(&shapes);
    let parts: Vec<String> = places.clone().zip(&shapes).map(|(place, shape)| part(place, shape, &columns)).collect();
    // The table may have taken longer values since.
    let is_live = |name: &Ident| shape.columns.iter().any(|column| column.name == *name);
    let live = columns.iter().map(|(name, of)| {
        let value = if is_live(name) { format!("t.{name}") } else { "null".to_owned() };
        format!("{value}::{}", without_limit(of))
    });
    let live = live.collect::<Vec<_>>().join(", ");
    let names = columns.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
    let all_rows = format!("{}()", place.all_rows());
    let body = format!("select {live} from {table} t union all select {names} from {shown}");
    let both = format!("The archived rows of {table} and those that are still in it.");
    let mut readers: Vec<Reader> =
        places.zip(&shapes).map(|(place, shape)| rows_view(&place.segments(), &place.rows(), shape)).collect();
    let archived_only = format!("The archived rows of {table}, and only those.");
    readers.push(Reader::view(&shown, &parts.join("\nunion all "), &archived_only));
    readers.push(Reader::function(all_rows.clone(), &columns, &body, &both));
    readers.push(Reader::view(&all, &format!("select * from {all_rows}"), &both));
    // Several rules may have archived rows of the table in groups of their own; each function reads what all of them hold.
    readers.extend(signatures(&shapes).into_iter().map(|(types, arguments)| {
        let each = shapes.iter().zip(&parts).map(|(shape, part)| {
            let (from, condition) = found_by(shape, part, &arguments, &columns);
            format!("{from} where {condition}")
        });
        let about = format!("The archived rows of {table} with the given {}.", named(&arguments));
        let body = each.collect::<Vec<_>>().join("\nunion all ");
        Reader::function(format!("{}({types})", place.of()), &columns, &body, &about)
    }));
    readers
}

/// The statements that make the readers of a table anew after its shape has changed. Views that only gain columns are replaced,
/// so that what others have built on them stays.
pub fn show(place: &Place, shape: &Shape, older: &[(Place, Shape)]) -> Vec<String> {
    let earlier: Vec<&Shape> = older.iter().map(|(_, shape)| shape).collect();
    let columns = view_columns(&[&[shape], earlier.as_slice()].concat());
    let mut statements = Vec::new();
    if !columns.starts_with(&view_columns(&earlier)) {
        statements.push(format!("drop view if exists {}", place.all()));
        statements.push(format!("drop view if exists {}", place.shown()));
    }
    // What takes the segments apart stays as it is.
    let rows: Vec<String> =
        [place].into_iter().chain(older.iter().map(|(place, _)| place)).map(|place| place.rows().to_string()).collect();
    let changed = readers(place, shape, older).into_iter().filter(|reader| !rows.contains(&reader.name));
    statements.extend(changed.flat_map(|reader| reader.make));
    statements.extend(older.iter().map(|(place, _)| format!("drop function if exists {}()", place.all_rows())));
    statements
}

/// The statements that make those that are gone.
pub fn show_missing(place: &Place, shape: &Shape, older: &[(Place, Shape)], missing: &[String]) -> Vec<String> {
    let all = readers(place, shape, older).into_iter();
    all.filter(|reader| missing.contains(&reader.name)).flat_map(|reader| reader.make).collect()
}

/// The types of the arguments by which shapes' rows are asked for, each with the columns that they are for.
///
/// Those of groups come first, the oldest before the others: what a function of these types means does not change when another
/// rule comes.
fn signatures<'s>(shapes: &[&'s Shape]) -> Vec<(String, Vec<&'s Column>)> {
    let mut all: Vec<(String, Vec<&Column>)> = Vec::new();
    let (of_groups, others): (Vec<&Shape>, Vec<&Shape>) =
        shapes.iter().copied().partition(|shape| places(shape, Role::Group).next().is_some());
    for arguments in of_groups.into_iter().rev().chain(others).flat_map(keys) {
        let types = arguments.iter().map(|column| column.stored.clone()).collect::<Vec<_>>().join(", ");
        if !all.iter().any(|(made, _)| *made == types) {
            all.push((types, arguments));
        }
    }
    all
}

/// By which columns a shape's rows are asked for: those of its group, or else the one by whose bounds segments are passed
/// over; and those with the next series column.
fn keys(shape: &Shape) -> Vec<Vec<&Column>> {
    let mut first: Vec<&Column> = places(shape, Role::Group).map(|nth| &shape.columns[nth]).collect();
    let mut series = shape.series.iter().map(|nth| &shape.columns[*nth]);
    if first.is_empty() && bounded(shape).is_some() {
        first.extend(series.next());
    }
    if first.is_empty() {
        return Vec::new();
    }
    let both = series.next().map(|next| first.iter().copied().chain([next]).collect());
    [first].into_iter().chain(both).collect()
}

/// What to read of one shape's rows, and the condition that its columns have the values of the arguments.
fn found_by(shape: &Shape, part: &str, arguments: &[&Column], columns: &[(Ident, String)]) -> (String, String) {
    let own = |argument: &Column| shape.columns.iter().find(|column| column.name == argument.name);
    let is_native = arguments.iter().all(|argument| own(argument).is_some_and(|own| own.stored == argument.stored));
    let mut conditions: Vec<String> = Vec::new();
    for (nth, argument) in arguments.iter().enumerate() {
        let (name, value) = (&argument.name, format!("${}", nth + 1));
        if !is_native {
            let shown = columns.iter().find(|(shown, _)| shown == name).map_or("text", |(_, of)| of.as_str());
            conditions.push(format!("{name} = {value}::{shown}"));
            continue;
        }
        conditions.push(format!("{name} = {value}"));
        if bounded(shape).is_some_and(|nth| shape.columns[nth].name == *name) {
            // Segments that cannot hold it are passed over, and series of another value are not taken apart.
            conditions.push(format!(
                "pgupkeep_lo <= {value}::text and pgupkeep_hi >= {value}::text \
                 and (pgupkeep_series is null or pgupkeep_series = {value})"
            ));
        }
    }
    // The rows of older shapes are found by what they are shown as.
    let from = if is_native { part.to_owned() } else { format!("select * from ({part}) o") };
    (from, conditions.join(" and "))
}

/// One shape's share of the view for people.
fn part(place: &Place, shape: &Shape, columns: &[(Ident, String)]) -> String {
    let each = columns.iter().map(|(name, of)| match shape.columns.iter().find(|column| column.name == *name) {
        Some(column) if column.shown == *of => name.to_string(),
        Some(_) => format!("{name}::{of} as {name}"),
        None => format!("null::{of} as {name}"),
    });
    format!("select {} from {}", each.collect::<Vec<_>>().join(", "), place.rows())
}

/// The columns of the view for people: those of the first shape, then those that only earlier ones had, each of a type that
/// holds every shape's values.
fn view_columns(shapes: &[&Shape]) -> Vec<(Ident, String)> {
    let mut names: Vec<&Ident> = Vec::new();
    for column in shapes.iter().flat_map(|shape| &shape.columns) {
        if !names.contains(&&column.name) {
            names.push(&column.name);
        }
    }
    let each = names.into_iter().map(|name| {
        let types = shapes
            .iter()
            .filter_map(|shape| shape.columns.iter().find(|other| other.name == *name))
            .map(|column| column.shown.as_str());
        (name.clone(), holding_type(types))
    });
    each.collect()
}

/// A type that values of all these types have without a change: one of them, or text, which holds them all.
fn holding_type<'t>(types: impl Iterator<Item = &'t str>) -> String {
    const WIDENING: [&[&str]; 3] =
        [&["smallint", "integer", "bigint", "numeric"], &["real", "double precision"], &["character varying", "text"]];
    let types: Vec<&str> = types.collect();
    let Some(first) = types.first() else { return "text".to_owned() };
    if types.iter().all(|of| of == first) {
        return (*first).to_owned();
    }
    let types: Vec<String> = types.into_iter().map(without_limit).collect();
    if types.iter().all(|of| *of == types[0]) {
        return types[0].clone();
    }
    let widest = WIDENING.iter().find_map(|family| {
        let places: Option<Vec<usize>> = types.iter().map(|of| family.iter().position(|known| known == of)).collect();
        places?.into_iter().max().map(|widest| family[widest])
    });
    widest.unwrap_or("text").to_owned()
}

/// A type without its limit of length or digits, which an earlier or later shape may not have kept to. A `character(n)` is
/// what it is by its length.
fn without_limit(of: &str) -> String {
    let names = ["character varying", "numeric", "bit varying"];
    let is_limited =
        |name: &&&str| of.strip_prefix(**name).is_some_and(|limit| limit.starts_with('(') && limit.ends_with(')'));
    names.iter().find(is_limited).map_or_else(|| of.to_owned(), |name| (*name).to_owned())
}

fn named(columns: &[&Column]) -> String {
    columns.iter().map(|column| column.name.0.clone()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_over_several_shapes_shows_the_type_that_holds_all_of_their_values() {
        let check = |types: &[&str], expected: &str| {
            assert_eq!(holding_type(types.iter().copied()), expected, "{types:?}");
        };
        check(&["numeric(12,2)"], "numeric(12,2)");
        check(&["integer", "integer"], "integer");
        check(&["bigint", "integer"], "bigint");
        check(&["smallint", "numeric(9,3)"], "numeric");
        check(&["numeric(12,2)", "numeric(20,6)"], "numeric");
        check(&["character varying(10)", "character varying(50)"], "character varying");
        check(&["text", "character varying(50)"], "text");
        check(&["real", "double precision"], "double precision");
        // A number that is neither, a point in time that depends on the zone, and what has nothing to do with each other.
        check(&["double precision", "bigint"], "text");
        check(&["timestamp with time zone", "timestamp without time zone"], "text");
        check(&["character(5)", "character(8)"], "text");
        check(&["uuid", "integer", "integer"], "text");
    }
}
