//! The tables of the archive's catalogue, with a comment on everything in them.

use super::store::Store;
use crate::pg::statement::{Ident, literal};

impl Store {
    /// The statements that make one of its schemas.
    pub fn create_schema(&self, schema: &Ident) -> Vec<String> {
        let about = if *schema == self.schema {
            "Archived rows, as the tables had them; kept by pgupkeep."
        } else {
            "What is behind the archive: segments and their catalogue."
        };
        vec![
            format!("create schema if not exists {schema}"),
            format!("comment on schema {schema} is {}", literal(about)),
        ]
    }

    /// The statements that make the catalogue where it is missing.
    pub fn create(&self) -> Vec<String> {
        let table = |name: &str, about: &str, columns: &[(&str, &str, &str)], end: &str| {
            let table = self.table(name);
            let lines = columns.iter().map(|(column, of, _)| format!("{column} {of}")).collect::<Vec<_>>().join(", ");
            let end = if end.is_empty() { String::new() } else { format!(", {end}") };
            let mut all = vec![
                format!("create table if not exists {table} ({lines}{end})"),
                format!("comment on table {table} is {}", literal(about)),
            ];
            all.extend(
                columns
                    .iter()
                    .map(|(column, _, about)| format!("comment on column {table}.{column} is {}", literal(about))),
            );
            all
        };
        let mut all = Vec::new();
        all.extend(table(
            "source",
            "Each table that was archived, once for each shape that it has had.",
            &[
                ("source_id", "bigint generated always as identity primary key", "Its number: segments_N, rows_N."),
                ("table_schema", "text not null", "The schema of the table."),
                ("table_name", "text not null", "The table."),
                ("view_name", "text not null", "The view that shows its archived rows."),
                ("columns", "jsonb not null", "Its columns: name, type, how each is carried."),
                ("series", "text[] not null", "The columns by which its rows fall into series."),
                ("ordered_by", "text[] not null", "The columns by which the rows of a series are in order."),
                ("format", "integer not null", "The version of the segments' form."),
                ("current", "boolean not null default true", "Whether rows are still archived in this shape."),
                (
                    "readers",
                    "text[] not null default '{}'",
                    "Whom pgupkeep has let read its archived rows, as the table does.",
                ),
                ("created_at", "timestamptz not null default clock_timestamp()", "Since when it is known."),
                (
                    "tended_at",
                    "timestamptz",
                    "When the table's indexes were last looked after; what has left since is owed.",
                ),
            ],
            "",
        ));
        all.extend(table(
            "rule",
            "What moves together: a scope of a preset, or a table with its children.",
            &[
                ("rule_id", "bigint generated always as identity primary key", "Its number."),
                ("name", "text not null", "Its name."),
                ("definition", "jsonb not null default '{}'", "What a restore has to know: root, tables, marks."),
            ],
            "",
        ));
        // Another way to name groups is another rule: what was archived by it keeps its names. So is another condition: how
        // long one job's rows are kept says nothing of another's.
        all.push(format!(
            "create unique index if not exists rule_identity on {} \
             (name, (definition ->> 'group'), coalesce(definition ->> 'condition', ''))",
            self.table("rule")
        ));
        all.extend(table(
            "group_state",
            "Each group of rows that is or was in the archive: the smallest unit of a restore.",
            &[
                ("group_id", "bigint generated always as identity primary key", "Its number, as in the segments."),
                ("rule_id", "bigint not null", "By which rule it was archived."),
                ("group_key", "text not null", "Its name, such as the id of a run."),
                ("row_count", "bigint not null default 0", "How many of its rows are in the archive."),
                ("last_activity", "timestamptz", "When something last happened to it before it was archived."),
                ("archived_at", "timestamptz", "When rows of it were last archived."),
                ("restored_at", "timestamptz", "When it was last restored."),
                ("hold_until", "timestamptz", "Until when it is not archived again; infinity for good."),
            ],
            "unique (rule_id, group_key)",
        ));
        all.extend(table(
            "batch",
            "Each transaction that moved rows into the archive.",
            &[
                ("batch_id", "bigint generated always as identity primary key", "Its number, as in the segments."),
                ("rule_id", "bigint not null", "By which rule."),
                ("run_id", "uuid", "By which run of pgupkeep."),
                ("cutoff", "timestamptz not null", "What was older than this was moved."),
                ("schema_version", "text", "The version of the application's schema at that time."),
                ("program", "text not null", "The version of pgupkeep."),
                ("archived_at", "timestamptz not null default clock_timestamp()", "When."),
            ],
            "",
        ));
        all.extend(table(
            "batch_source",
            "What each batch holds of each table, with the digest that proved it.",
            &[
                ("batch_id", "bigint not null", "The batch."),
                ("source_id", "bigint not null", "The table, in its shape."),
                ("row_count", "bigint not null", "How many rows."),
                ("segments", "integer not null", "In how many segments."),
                ("digest", "bytea not null", "The sum of the XXH3 hashes of the rows, 128 bits."),
            ],
            "primary key (batch_id, source_id)",
        ));
        all
    }
}
