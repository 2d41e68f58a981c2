//! What people read archived rows by: `archive.<table>`, `archive.all_<table>` and the functions that find one group.
//!
//! Nothing here depends on anything of the application: what also reads its tables is a function whose body is text, which
//! PostgreSQL does not track, so that a migration may change or drop them at any time.

use sqlx::PgConnection;

use super::layout::{Bounded, Place, all_bounded, bounded, places, rows_view};
use super::shape::{Column, Role, Shape};
use super::store::{CATALOGUE_LIMIT, Source, Store, earlier};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified, literal};

/// A view or a function that people read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// It, as SQL names it: a function with the types of its arguments.
    pub name: String,
    /// Whether it is a function.
    pub is_function: bool,
    /// The statements that make it, or make it anew.
    pub(super) make: Vec<String>,
}

impl Reader {
    pub(super) fn view(name: &Qualified, body: &str, about: &str) -> Self {
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
        if let Some(bounds) = all_bounded(shape).find(|bounds| shape.columns[bounds.place].name == *name) {
            // Segments that cannot hold it are passed over, and series of another value are not taken apart.
            let Bounded { least, greatest, one, .. } = bounds;
            conditions.push(format!(
                "{least} <= {value}::text and {greatest} >= {value}::text and ({one} is null or {one} = {value})"
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

impl Store {
    /// The views and functions that people read a table's archived rows by, and that are gone.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn missing_readers(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Vec<String>, JobError> {
        let mut known = self.sources(conn, Some(table)).await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let Source { place, shape, .. } = known.remove(0);
        let readers = readers(&place, &shape, &earlier(known));
        missing(conn, &readers).await
    }

    /// What somebody else has put in the place of a table's readers: what is ours reads from the archive's own schema.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn foreign_readers(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Vec<String>, JobError> {
        let mut known = self.sources(conn, Some(table)).await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let Source { place, shape, .. } = known.remove(0);
        self.foreign(conn, &place, &shape, &earlier(known)).await
    }

    async fn foreign(
        &self,
        conn: &mut PgConnection,
        place: &Place,
        shape: &Shape,
        older: &[(Place, Shape)],
    ) -> Result<Vec<String>, JobError> {
        let readers = readers(place, shape, older);
        let (functions, views): (Vec<Reader>, Vec<Reader>) = readers.into_iter().partition(|reader| reader.is_function);
        let names = |readers: Vec<Reader>| readers.into_iter().map(|reader| reader.name).collect::<Vec<_>>();
        let query = sqlx::query_scalar::<_, String>(include_str!("../sql/find_foreign_readers.sql"));
        let query = query.bind(names(views)).bind(names(functions)).bind(&self.store.0).bind(self.store.to_string());
        Ok(within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?)
    }

    /// Refuses to replace what somebody else has put in the place of a reader.
    pub(super) async fn check_names(
        &self,
        conn: &mut PgConnection,
        place: &Place,
        shape: &Shape,
        older: &[(Place, Shape)],
    ) -> Result<(), JobError> {
        match self.foreign(conn, place, shape, older).await?.into_iter().next() {
            None => Ok(()),
            Some(name) => Err(JobError::Refused {
                fault: Fault::Statement,
                message: format!(
                    "{name} is somebody else's by now, and archived rows of {} are read by that name; it was left alone: rename it, and \
                     the next archival makes its own anew (meanwhile they are in {})",
                    shape.table.plain(),
                    place.rows()
                ),
            }),
        }
    }
}

/// Which of these views and functions are not there.
async fn missing(conn: &mut PgConnection, readers: &[Reader]) -> Result<Vec<String>, JobError> {
    let names: Vec<&str> = readers.iter().map(|reader| &*reader.name).collect();
    let are_functions: Vec<bool> = readers.iter().map(|reader| reader.is_function).collect();
    let statement = "select n from unnest($1::text[], $2::bool[]) r(n, is_function) where case when is_function \
                     then pg_catalog.to_regprocedure(n) is null else pg_catalog.to_regclass(n) is null end";
    let query = sqlx::query_scalar(statement).bind(names).bind(are_functions);
    Ok(within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?)
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
