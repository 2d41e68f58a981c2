//! What an archive holds: by rule, by table, of one group.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::store::{Source, Store};
use crate::jobs::context::JobError;
use crate::pg::statement::Statement;

/// What the archive holds by one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, sqlx::FromRow)]
pub struct ArchiveRule {
    /// The rule, such as `mlflow/metric_history`.
    pub rule: String,
    /// The condition that its rows had to fulfil, by the configuration.
    pub condition: Option<String>,
    /// Groups that have rows in the archive, such as runs.
    pub groups: i64,
    /// Their rows, of all tables.
    pub rows: i64,
    /// When the least recent of them was last active.
    pub oldest_activity: Option<String>,
    /// When the most recent of them was last active.
    pub newest_activity: Option<String>,
    /// When rows were last archived.
    pub archived_at: Option<String>,
    /// Groups that are held, that is not archived again for now.
    pub held: i64,
}

/// An instant as ISO 8601 in UTC.
fn instant(sql: &str) -> String {
    format!("to_char(({sql}) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

/// What the archive holds, by rule.
///
/// # Errors
/// When it cannot be read.
pub async fn held(conn: &mut PgConnection, store: &Store) -> Result<Vec<ArchiveRule>, JobError> {
    let statement = Statement::built(format!(
        "select u.name as rule, u.definition ->> 'condition' as condition, count(*) filter (where g.row_count > 0) as groups, \
         coalesce(sum(g.row_count), 0)::bigint as rows, \
         {} as oldest_activity, {} as newest_activity, {} as archived_at, \
         count(*) filter (where g.hold_until > clock_timestamp()) as held \
         from {} u join {} g on g.rule_id = u.rule_id group by 1, 2 order by 1, 2 nulls first",
        instant("min(g.last_activity) filter (where g.row_count > 0)"),
        instant("max(g.last_activity) filter (where g.row_count > 0)"),
        instant("max(g.archived_at)"),
        store.table("rule"),
        store.table("group_state")
    ));
    Ok(sqlx::query_as(statement.to_sql()).fetch_all(conn).await?)
}

/// What the archive holds of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ArchiveTable {
    /// The table, as `schema.table`.
    pub table: String,
    /// The view that shows its archived rows.
    pub view: String,
    /// The table of its segments; each shape that the table has had has its own.
    pub store: String,
    /// Segments.
    pub segments: i64,
    /// Rows.
    pub rows: i64,
    /// Bytes of the segments with their indexes.
    pub bytes: i64,
}

/// What the archive holds, by table.
///
/// # Errors
/// When it cannot be read.
pub async fn stored(conn: &mut PgConnection, sources: &[Source]) -> Result<Vec<ArchiveTable>, JobError> {
    let mut all = Vec::new();
    for source in sources {
        let segments = source.place.segments();
        let statement = Statement::built(format!(
            "select count(*), coalesce(sum(row_count), 0)::bigint, pg_catalog.pg_total_relation_size('{}'::regclass) from {segments}",
            segments.to_string().replace('\'', "''")
        ));
        let row = sqlx::query_as::<_, (i64, i64, i64)>(statement.to_sql()).fetch_one(&mut *conn).await?;
        let (count, rows, bytes) = row;
        let (table, view) = (source.shape.table.plain(), source.place.shown().plain());
        all.push(ArchiveTable { table, view, store: segments.plain(), segments: count, rows, bytes });
    }
    Ok(all)
}

/// What the archive holds of one group in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ArchiveGroupTable {
    /// The table, as `schema.table`.
    pub table: String,
    /// Segments.
    pub segments: i64,
    /// Rows.
    pub rows: i64,
    /// The batches that hold them.
    pub batches: Vec<i64>,
}

/// What the archive holds of one group.
///
/// # Errors
/// When it cannot be read.
pub async fn group_rows(
    conn: &mut PgConnection,
    sources: &[Source],
    group_id: i64,
) -> Result<Vec<ArchiveGroupTable>, JobError> {
    let mut all = Vec::new();
    for source in sources {
        let statement = Statement::built(format!(
            "select count(*), coalesce(sum(row_count), 0)::bigint, coalesce(array_agg(distinct batch), '{{}}') from {} where group_id = $1",
            source.place.segments()
        ));
        let row =
            sqlx::query_as::<_, (i64, i64, Vec<i64>)>(statement.to_sql()).bind(group_id).fetch_one(&mut *conn).await?;
        let (segments, rows, batches) = row;
        if segments > 0 {
            all.push(ArchiveGroupTable { table: source.shape.table.plain(), segments, rows, batches });
        }
    }
    Ok(all)
}
