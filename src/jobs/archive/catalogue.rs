//! What the catalogue says of the tables that may lose rows; facts only, read without locking anything.

use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::graph::{ForeignKey, OnDelete};
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified};

/// How long a question may take; the server's own limit for the statement is shorter.
pub(super) const FACTS_LIMIT: Duration = Duration::from_secs(20);

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as SQL, such as `character varying(32)`.
    pub sql_type: String,
    /// The name of its type in the catalogue, such as `varchar`.
    pub type_name: String,
}

/// What we may do with a table.
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// USAGE of its schema.
    pub enter: bool,
    /// SELECT.
    pub select: bool,
    /// DELETE.
    pub delete: bool,
    /// UPDATE of at least one column, which locking a row takes.
    pub update: bool,
    /// INSERT.
    pub insert: bool,
}

/// A table, or whatever else carries the name.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// Its name.
    pub name: Qualified,
    /// `relkind`: `r` is an ordinary table.
    pub kind: String,
    /// `relpersistence`: `t` is temporary.
    pub persistence: String,
    /// Whether it is a partition.
    pub is_partition: bool,
    /// Whether other tables inherit from it, or are its partitions.
    pub has_children: bool,
    /// Whether it inherits from another one.
    pub is_child: bool,
    /// Whether row-level security hides rows from us.
    pub row_security: bool,
    /// A unique constraint that may be violated until the commit.
    pub deferrable: Option<String>,
    /// Rules, which make something else of what is sent.
    pub rules: Vec<String>,
    /// Triggers of the application that a DELETE sets off.
    pub delete_triggers: Vec<String>,
    /// Whether a published DELETE can be sent.
    pub has_identity: bool,
    /// The publications that send its deletes.
    pub published: Vec<String>,
    /// The publications that send every table, so the archive's too.
    pub published_everything: Vec<String>,
    /// What we may do.
    pub rights: Rights,
    /// The role that we are.
    pub role: String,
    /// Its rows, as last counted; 0 when nobody ever did.
    pub tuples: f64,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    pub primary_key: Vec<String>,
    /// The key columns of each valid index of all rows; an expression has no name.
    pub indexes: Vec<Vec<Option<String>>>,
}

impl TableFacts {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether an index finds rows by these columns.
    pub fn is_indexed_by(&self, columns: &[String]) -> bool {
        let leads = |index: &Vec<Option<String>>| {
            let leading: Vec<&String> = index.iter().take(columns.len()).flatten().collect();
            leading.len() == columns.len() && columns.iter().all(|column| leading.contains(&column))
        };
        columns.is_empty() || self.indexes.iter().any(leads)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(sqlx::FromRow)]
struct TableRow {
    oid: Oid,
    schema: String,
    name: String,
    kind: String,
    persistence: String,
    is_partition: bool,
    has_children: bool,
    is_child: bool,
    row_security: bool,
    deferrable: Option<String>,
    rules: Vec<String>,
    delete_triggers: Vec<String>,
    has_identity: bool,
    published: Vec<String>,
    published_everything: Vec<String>,
    may_enter: bool,
    may_select: bool,
    may_delete: bool,
    may_update: bool,
    may_insert: bool,
    role: String,
    tuples: f64,
    columns: Option<Vec<String>>,
    types: Option<Vec<String>>,
    type_names: Option<Vec<String>>,
    primary_key: Vec<String>,
    indexes: Value,
}

impl From<TableRow> for TableFacts {
    fn from(row: TableRow) -> Self {
        let names = row.columns.unwrap_or_default().into_iter();
        let types = row.types.unwrap_or_default().into_iter().zip(row.type_names.unwrap_or_default());
        let column = |(name, (sql_type, type_name))| Column { name, sql_type, type_name };
        Self {
            oid: row.oid,
            name: Qualified::new(row.schema, row.name),
            kind: row.kind,
            persistence: row.persistence,
            is_partition: row.is_partition,
            has_children: row.has_children,
            is_child: row.is_child,
            row_security: row.row_security,
            deferrable: row.deferrable,
            rules: row.rules,
            delete_triggers: row.delete_triggers,
            has_identity: row.has_identity,
            published: row.published,
            published_everything: row.published_everything,
            rights: Rights {
                enter: row.may_enter,
                select: row.may_select,
                delete: row.may_delete,
                update: row.may_update,
                insert: row.may_insert,
            },
            role: row.role,
            tuples: row.tuples,
            columns: names.zip(types).map(column).collect(),
            primary_key: row.primary_key,
            indexes: serde_json::from_value(row.indexes).unwrap_or_default(),
        }
    }
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    name: String,
    child: Oid,
    child_schema: String,
    child_name: String,
    child_columns: Vec<String>,
    parent: Oid,
    parent_schema: String,
    parent_name: String,
    parent_columns: Vec<String>,
    parent_types: Vec<String>,
    on_delete: String,
}

impl From<KeyRow> for ForeignKey {
    fn from(row: KeyRow) -> Self {
        let idents = |names: Vec<String>| names.into_iter().map(Ident).collect();
        Self {
            name: row.name,
            child: row.child,
            child_table: Qualified::new(row.child_schema, row.child_name),
            child_columns: idents(row.child_columns),
            parent: row.parent,
            parent_table: Qualified::new(row.parent_schema, row.parent_name),
            parent_columns: idents(row.parent_columns),
            parent_types: row.parent_types,
            on_delete: OnDelete::from_code(&row.on_delete),
        }
    }
}

/// Reads the facts about tables; those that are gone are left out.
pub(super) async fn read_tables(conn: &mut PgConnection, oids: &[Oid]) -> Result<Vec<TableFacts>, PgError> {
    let query = sqlx::query_as::<_, TableRow>(include_str!("../sql/read_archive_tables.sql")).bind(oids);
    Ok(within(FACTS_LIMIT, query.fetch_all(conn)).await?.into_iter().map(TableFacts::from).collect())
}

/// How many rows a table has, and how much room they take.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub(super) struct Rows {
    /// Its number in the catalogue.
    pub(super) oid: Oid,
    /// Its rows, about.
    pub(super) tuples: f64,
    /// Its pages.
    pub(super) pages: f64,
    /// Its bytes, with its TOAST table and indexes.
    pub(super) bytes: i64,
    /// The same without its indexes.
    pub(super) own_bytes: i64,
    /// Of those what is in its TOAST table: long values, most of them compressed.
    pub(super) toast_bytes: i64,
    /// Whether nobody ever counted its rows, so that they are guessed from its size.
    pub(super) uncounted: bool,
}

/// Reads how large tables are; those that are gone are left out.
pub(super) async fn read_rows(conn: &mut PgConnection, oids: &[Oid]) -> Result<Vec<Rows>, PgError> {
    let query = sqlx::query_as::<_, Rows>(include_str!("../sql/read_rows.sql")).bind(oids);
    within(FACTS_LIMIT, query.fetch_all(conn)).await
}

/// Reads every foreign key of the database.
pub(super) async fn read_foreign_keys(conn: &mut PgConnection) -> Result<Vec<ForeignKey>, PgError> {
    let query = sqlx::query_as::<_, KeyRow>(include_str!("../sql/read_foreign_keys.sql"));
    Ok(within(FACTS_LIMIT, query.fetch_all(conn)).await?.into_iter().map(ForeignKey::from).collect())
}

/// The numbers of relations of these names in a schema.
pub(super) async fn find_tables(
    conn: &mut PgConnection,
    schema: &str,
    names: &[String],
) -> Result<Vec<(Oid, String)>, PgError> {
    let query = sqlx::query_as(include_str!("../sql/find_tables.sql")).bind(schema).bind(names);
    within(FACTS_LIMIT, query.fetch_all(conn)).await
}

/// The schemas in which all of these tables stand together, but for the archive's own.
pub(super) async fn find_schemas(
    conn: &mut PgConnection,
    names: &[String],
    archive: &str,
) -> Result<Vec<String>, PgError> {
    let query = sqlx::query_scalar(include_str!("../sql/find_application_schemas.sql")).bind(names).bind(archive);
    within(FACTS_LIMIT, query.fetch_all(conn)).await
}
