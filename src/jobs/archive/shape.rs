//! The shape of a table whose rows are archived: its columns, and how the values of each are carried.
//!
//! Every column is carried: one that could not be is a reason to refuse before anything moves. How a value is carried
//! never decides whether it is right; the proof of each batch does that, on what the archive's own SQL gives back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::rule::Part;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified};

const FACTS_LIMIT: Duration = Duration::from_secs(20);
const TEXT: &str = "pg_catalog.text";

/// What the text of a value depends on, set to one thing wherever such texts are made or compared.
pub const ONE_TEXT: [&str; 7] = [
    "set local extra_float_digits = 3",
    "set local datestyle = iso",
    "set local intervalstyle = postgres",
    "set local bytea_output = hex",
    "set local array_nulls = on",
    "set local timezone = 'UTC'",
    "set local lc_monetary = 'C'",
];

/// How the values of a column are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// As integers around an arithmetic progression, in the narrowest width: integers, dates, times, timestamps.
    Whole(Whole),
    /// As scaled integers, as `real`, or as they are, whichever is narrowest and gives the same bits back.
    Double,
    /// As they are, in an array of their own type.
    Plain,
    /// As text, because an array of the type is not to be had or would tie the archive to something of the user's.
    Text,
}

/// The types that are integers inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whole {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `date`: days since 2000-01-01.
    Date,
    /// `time`: microseconds.
    Time,
    /// `timestamp`: microseconds since 2000-01-01.
    Timestamp,
    /// `timestamptz`: microseconds since 2000-01-01 UTC.
    TimestampTz,
}

impl Whole {
    /// The integer inside a value's binary form.
    pub fn read(self, field: &[u8]) -> Option<i64> {
        match self {
            Self::Int2 => field.try_into().ok().map(|bytes| i64::from(i16::from_be_bytes(bytes))),
            Self::Int4 | Self::Date => field.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes))),
            Self::Int8 | Self::Time | Self::Timestamp | Self::TimestampTz => {
                field.try_into().ok().map(i64::from_be_bytes)
            }
        }
    }

    /// Whether the SQL that reads the archive gives this integer back as the value it was.
    ///
    /// Infinite dates and timestamps are extreme integers, on which no arithmetic is possible; an interval is
    /// multiplied in double precision, which holds 53 bits; and a time of 24:00 would come back as 00:00.
    pub const fn is_computable(self, value: i64) -> bool {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => true,
            Self::Date => value.unsigned_abs() < 1_000_000,
            Self::Time => 0 <= value && value < 86_400_000_000,
            Self::Timestamp | Self::TimestampTz => value.unsigned_abs() < 1 << 53,
        }
    }
}

/// What part a column plays in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One value in a whole group: a plain column of each segment, so that an index finds it.
    Group,
    /// One value in a series.
    Series,
    /// A value for each row.
    Row,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type as the table declares it, as SQL.
    pub declared: String,
    /// The type that the archive shows: the declared one, or for a user's own type what it is made of, or text.
    pub shown: String,
    /// The type of the values in the archive's arrays, as SQL.
    pub stored: String,
    /// Its number.
    pub stored_oid: u32,
    /// How it is carried.
    pub carrier: Carrier,
    /// The part it plays.
    pub role: Role,
    /// Whether the server computes it; then it is archived like the others and not written at a restore.
    pub generated: bool,
    /// Whether its values come from an identity sequence.
    pub identity: bool,
    /// Whether it may be null.
    pub nullable: bool,
}

/// The columns of a table, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The table.
    pub table: Qualified,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The places of the columns by which rows fall into series.
    pub series: Vec<usize>,
    /// The places of the columns by which the rows of a series are put in order.
    pub order: Vec<usize>,
}

#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row of the catalogue")]
struct Row {
    name: String,
    declared: String,
    base: String,
    base_plain: String,
    base_oid: Oid,
    /// `pg_type.typtype` of what a domain is made of.
    sort: String,
    category: String,
    built_in: bool,
    element_built_in: bool,
    has_array: bool,
    has_binary: bool,
    generated: bool,
    identity: bool,
    nullable: bool,
}

impl Column {
    /// Whether it is of a user's own type, whose values the archive keeps and shows as text.
    pub fn is_shown_as_text(&self) -> bool {
        self.carrier == Carrier::Text && self.shown == TEXT
    }
}

impl Shape {
    /// Reads a table's columns from the catalogue.
    ///
    /// # Errors
    /// When it cannot be read, is not there, or has a column that cannot be carried.
    pub async fn read(conn: &mut PgConnection, part: &Part) -> Result<Self, JobError> {
        let query = sqlx::query_as::<_, Row>(include_str!("../sql/read_archived_columns.sql")).bind(part.oid);
        let rows = within(FACTS_LIMIT, query.fetch_all(conn)).await?;
        Self::from_rows(part, rows).map_err(|message| JobError::Refused { fault: Fault::Statement, message })
    }

    fn from_rows(part: &Part, rows: Vec<Row>) -> Result<Self, String> {
        if rows.is_empty() {
            return Err(format!("{} is not there any more; nothing was moved", part.table));
        }
        if let Some(row) = rows.iter().find(|row| !row.has_binary) {
            let name = Ident(row.name.clone());
            return Err(format!(
                "the column {name} of {} is of type {}, whose values the server does not send in binary form, so that nothing \
                 could be proven of them; nothing was moved",
                part.table, row.declared
            ));
        }
        // A name of several functions or operators is no value that the server takes back.
        let is_ambiguous = |row: &&Row| ["regproc", "regoper"].contains(&row.base_plain.trim_end_matches("[]"));
        if let Some(row) = rows.iter().find(is_ambiguous) {
            return Err(format!(
                "the column {} of {} is of type {}, whose values are names that several functions or operators may have, so that \
                 they may not come back; nothing was moved",
                Ident(row.name.clone()),
                part.table,
                row.declared
            ));
        }
        let columns: Vec<Column> = rows
            .into_iter()
            .map(|row| {
                let role = match &row.name {
                    name if part.group_columns.contains(name) => Role::Group,
                    name if part.series.contains(name) => Role::Series,
                    _ => Role::Row,
                };
                column(row, role)
            })
            .collect();
        let place = |name: &String| {
            columns.iter().position(|column| column.name.0 == *name).ok_or_else(|| {
                format!(
                    "{} has no column {}, which its archival needs; nothing was moved",
                    part.table,
                    Ident(name.clone())
                )
            })
        };
        let series = part.series.iter().map(place).collect::<Result<_, _>>()?;
        let order = part.order.iter().map(place).collect::<Result<_, _>>()?;
        for name in &part.group_columns {
            place(name)?;
        }
        Ok(Self { table: part.table.clone(), columns, series, order })
    }

    /// What a DELETE gives back of a row `t`: every column, then the text of those that are carried as text.
    pub fn returning(&self) -> String {
        let columns = self.columns.iter().map(|column| format!("t.{}", column.name));
        let texts = self.texts().map(|(_, column)| format!("t.{}::text", column.name));
        columns.chain(texts).collect::<Vec<_>>().join(", ")
    }

    /// How many bytes a row `t` takes in memory, about and at the least 64: what it is compressed to says nothing of that.
    ///
    /// The length of text and bytea is read without their values; others are made text of, as they are when they move.
    pub fn size(&self) -> String {
        let is_plain = |of: &str| ["text", "bytea", "character"].iter().any(|known| of.starts_with(known));
        let each = self.columns.iter().filter(|column| !matches!(column.carrier, Carrier::Whole(_) | Carrier::Double));
        let each = each.map(|column| match column.carrier {
            Carrier::Text => format!(" + 2 * coalesce(octet_length(t.{}::text), 0)", column.name),
            _ if is_plain(&column.declared) => format!(" + coalesce(octet_length(t.{}), 0)", column.name),
            _ => format!(" + coalesce(octet_length(t.{}::text), 0)", column.name),
        });
        format!("64::bigint{}", each.collect::<String>())
    }

    /// The columns that are carried as text, with their places.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| column.carrier == Carrier::Text)
    }

    /// Whether it has the same columns, of the same types in the same order, whatever part each of them plays.
    pub fn has_columns_of(&self, other: &Self) -> bool {
        fn columns(shape: &Shape) -> impl Iterator<Item = (&Ident, &str)> {
            shape.columns.iter().map(|column| (&column.name, column.shown.as_str()))
        }
        columns(self).eq(columns(other))
    }

    /// The columns that the archive shows as text, with their places.
    pub fn shown_as_text(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.texts().filter(|(_, column)| column.is_shown_as_text())
    }

    /// The archive's columns as it shows them.
    pub fn as_shown(&self, alias: &str) -> String {
        self.columns.iter().map(|column| format!("{alias}.{}", column.name)).collect::<Vec<_>>().join(", ")
    }

    /// The archive's columns as the table declares them, for a comparison with the table's own rows.
    pub fn as_declared(&self, alias: &str) -> String {
        let cast = |column: &Column| {
            let cast = if column.declared == column.shown { String::new() } else { cast_to(&column.declared) };
            format!("{alias}.{}{cast}", column.name)
        };
        self.columns.iter().map(cast).collect::<Vec<_>>().join(", ")
    }
}

/// The cast that makes a value of a type from what the archive shows.
///
/// From text to `regclass` there is a function of its own, which knows neither numbers nor `-`.
pub fn cast_to(declared: &str) -> String {
    let by = if declared == "regclass" { "::bpchar" } else { "" };
    format!("{by}::{declared}")
}

fn column(row: Row, role: Role) -> Column {
    let whole = match (row.built_in, row.base_plain.as_str()) {
        (true, "smallint") => Some(Whole::Int2),
        (true, "integer") => Some(Whole::Int4),
        (true, "bigint") => Some(Whole::Int8),
        (true, "date") => Some(Whole::Date),
        (true, "time without time zone") => Some(Whole::Time),
        (true, "timestamp without time zone") => Some(Whole::Timestamp),
        (true, "timestamp with time zone") => Some(Whole::TimestampTz),
        _ => None,
    };
    let is_array = row.category == "A";
    let simple = matches!(row.sort.as_str(), "b" | "r" | "m") && row.built_in && row.has_array && !is_array;
    let carrier = match whole {
        _ if !simple => Carrier::Text,
        Some(whole) if role == Role::Row => Carrier::Whole(whole),
        None if role == Role::Row && row.base_plain == "double precision" => Carrier::Double,
        _ => Carrier::Plain,
    };
    let shown = match carrier {
        Carrier::Text if is_array && row.element_built_in => row.base.clone(),
        Carrier::Text => TEXT.to_owned(),
        _ => row.base.clone(),
    };
    let (stored, stored_oid) = match carrier {
        Carrier::Text => (TEXT.to_owned(), 25),
        _ => (row.base_plain.clone(), row.base_oid.0),
    };
    // A domain's values are those of what it is made of, byte by byte; its checks held when they were written.
    let declared = if simple { shown.clone() } else { row.declared };
    Column {
        name: Ident(row.name),
        declared,
        shown,
        stored,
        stored_oid,
        carrier,
        role,
        generated: row.generated,
        identity: row.identity,
        nullable: row.nullable,
    }
}
