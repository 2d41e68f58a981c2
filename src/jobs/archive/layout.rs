//! The archive's own tables: what `segment.rs` writes, and the plain SQL that takes it apart again.
//!
//! For a table there are three things in the archive's two schemas: `archive_store.segments_N` with a row a segment,
//! `archive_store.rows_N`, a view that takes the segments apart, and `archive.<table>` with what stands around it, which shows
//! its rows as the table had them (`readers.rs`).

use super::readers::Reader;
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

    pub(super) fn all_rows(&self) -> Qualified {
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

/// The place of the column whose bounds an index is over, where there is no group column.
pub(super) fn bounded(shape: &Shape) -> Option<usize> {
    shape.series.first().copied().filter(|nth| has_bounds(&shape.columns[*nth]))
}

/// A column whose bounds readers pass segments over by, and what a view for rows calls what it takes from the segments.
pub(super) struct Bounded {
    /// Its place.
    pub(super) place: usize,
    /// The least value in the segment.
    pub(super) least: String,
    /// The greatest.
    pub(super) greatest: String,
    /// The one value in the series; null where there is another one in each row.
    pub(super) one: String,
}

/// Those columns, by the order in which rows fall into series.
pub(super) fn all_bounded(shape: &Shape) -> impl Iterator<Item = Bounded> {
    let bounded = shape.series.iter().copied().enumerate().filter(|(_, place)| has_bounds(&shape.columns[*place]));
    bounded.map(|(nth, place)| {
        let name =
            |what: &str| if nth == 0 { format!("pgupkeep_{what}") } else { format!("pgupkeep_{what}_{}", nth + 1) };
        Bounded { place, least: name("lo"), greatest: name("hi"), one: name("series") }
    })
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

pub(super) fn places(shape: &Shape, role: Role) -> impl Iterator<Item = usize> {
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

pub(super) fn rows_view(segments: &Qualified, rows: &Qualified, shape: &Shape) -> Reader {
    let mut outer = vec![
        "u.batch as pgupkeep_batch".to_owned(),
        "u.no as pgupkeep_no".to_owned(),
        "u.group_id as pgupkeep_group".to_owned(),
    ];
    outer.extend(all_bounded(shape).map(|Bounded { place, least, greatest, one }| {
        let name = format!("c{}", place + 1);
        format!("u.{name}_lo as {least}, u.{name}_hi as {greatest}, u.{name}_k as {one}")
    }));
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
