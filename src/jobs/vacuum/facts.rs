//! What VACUUM and ANALYZE must know of a table, read without locking it.

use chrono::{DateTime, Utc};
use sqlx::postgres::types::Oid;

use crate::jobs::context::{Context, JobError};
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::Qualified;

/// How long the whole catalogue may take to be read; the server's own limit for the statement is shorter.
const FACTS_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// What sort of table it is, as far as the choice differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A table or a materialised view.
    Plain,
    /// The parent of partitions: it has no rows of its own, and autovacuum never analyzes it.
    Partitioned,
    /// A table of the system's; only its age is looked at.
    Catalogue,
}

/// A table, as the server's counters and settings have it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    /// Its number in the catalogue, which outlives a change of name.
    pub oid: Oid,
    /// Its name.
    pub table: Qualified,
    /// What sort of table it is.
    pub sort: Sort,
    /// The role that owns it.
    pub owner: String,
    /// Whether that role is a superuser, whose membership nobody should be given.
    pub owner_is_superuser: bool,
    /// The role that we are.
    pub role: String,
    /// Whether we may VACUUM and ANALYZE it.
    pub permitted: bool,
    /// Its pages, as last counted by VACUUM or ANALYZE; 0 when nobody ever did.
    pub pages: i64,
    /// Those of them that are visible to all.
    pub visible_pages: i64,
    /// Pages that the rows inserted since the last VACUUM fill, if they are as long as the others; `pages` has them only
    /// after an ANALYZE.
    pub grown_pages: i64,
    /// Live rows, by the running counters.
    pub live: i64,
    /// Dead rows, those of its TOAST table included.
    pub dead: i64,
    /// Rows changed since the last ANALYZE.
    pub modified: i64,
    /// Dead rows as a share of autovacuum's threshold: the table's or its TOAST table's, whichever is larger.
    pub dead_score: f64,
    /// Rows inserted since the last VACUUM as a share of autovacuum's threshold; 0 where that is switched off.
    pub insert_score: f64,
    /// Changed rows as a share of autovacuum's threshold.
    pub analyze_score: f64,
    /// The age of its oldest transaction id as a share of the age that forces autovacuum.
    pub age_score: f64,
    /// Seconds since any VACUUM, autovacuum's included, by the target's clock.
    pub vacuumed_ago: Option<f64>,
    /// Seconds since any ANALYZE, autovacuum's included.
    pub analyzed_ago: Option<f64>,
    /// When VACUUM was last sent by anybody but autovacuum.
    pub last_vacuum: Option<DateTime<Utc>>,
    /// When ANALYZE was last sent by anybody but autovacuum.
    pub last_analyze: Option<DateTime<Utc>>,
    /// The partitioned tables that it is part of.
    pub ancestors: Vec<Oid>,
}

#[derive(sqlx::FromRow)]
struct Row {
    oid: Oid,
    schema: String,
    name: String,
    sort: String,
    owner: String,
    owner_is_superuser: bool,
    role: String,
    permitted: bool,
    pages: i64,
    visible_pages: i64,
    grown_pages: i64,
    live: i64,
    dead: i64,
    modified: i64,
    dead_score: f64,
    insert_score: f64,
    analyze_score: f64,
    age_score: f64,
    vacuumed_ago: Option<f64>,
    analyzed_ago: Option<f64>,
    last_vacuum: Option<DateTime<Utc>>,
    last_analyze: Option<DateTime<Utc>>,
    ancestors: Vec<Oid>,
}

impl From<Row> for TableFacts {
    fn from(row: Row) -> Self {
        Self {
            oid: row.oid,
            table: Qualified::new(row.schema, row.name),
            sort: match row.sort.as_str() {
                "catalogue" => Sort::Catalogue,
                "partitioned" => Sort::Partitioned,
                _ => Sort::Plain,
            },
            owner: row.owner,
            owner_is_superuser: row.owner_is_superuser,
            role: row.role,
            permitted: row.permitted,
            pages: row.pages,
            visible_pages: row.visible_pages,
            grown_pages: row.grown_pages,
            live: row.live,
            dead: row.dead,
            modified: row.modified,
            dead_score: row.dead_score,
            insert_score: row.insert_score,
            analyze_score: row.analyze_score,
            age_score: row.age_score,
            vacuumed_ago: row.vacuumed_ago,
            analyzed_ago: row.analyzed_ago,
            last_vacuum: row.last_vacuum,
            last_analyze: row.last_analyze,
            ancestors: row.ancestors,
        }
    }
}

/// Reads the facts about every table.
pub(super) async fn read_tables(cx: &mut Context) -> Result<Vec<TableFacts>, JobError> {
    read(cx, None).await
}

/// Reads the facts about one table; `None` when it is no longer there.
pub(super) async fn read_table(cx: &mut Context, oid: Oid) -> Result<Option<TableFacts>, JobError> {
    Ok(read(cx, Some(oid)).await?.into_iter().next())
}

async fn read(cx: &mut Context, only: Option<Oid>) -> Result<Vec<TableFacts>, JobError> {
    let query = sqlx::query_as::<_, Row>(include_str!("../sql/read_tables.sql")).bind(only);
    let rows = within(FACTS_LIMIT, query.fetch_all(cx.reader().await?)).await?;
    Ok(rows.into_iter().map(TableFacts::from).collect())
}

/// Somebody who stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::jobs) struct Holder {
    /// What it is, with the name that the server gives it.
    who: String,
    /// What it calls itself.
    application: Option<String>,
    /// The role that it works for.
    role: Option<String>,
    /// What it does that stands in the way.
    does: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.who)?;
        let known: Vec<String> = [("application", &self.application), ("role", &self.role)]
            .into_iter()
            .filter_map(|(word, name)| Some((word, name.as_deref().filter(|name| !name.is_empty())?)))
            .map(|(word, name)| format!("{word} {name:?}"))
            .collect();
        if !known.is_empty() {
            write!(f, " ({})", known.join(", "))?;
        }
        write!(f, " {}", self.does)
    }
}

/// Who has a lock on the table, or waits for one, that ours would have to wait for.
pub(in crate::jobs) async fn lock_holder(cx: &mut Context, oid: Oid) -> Result<Option<Holder>, JobError> {
    let pid = cx.session.pid;
    let query = sqlx::query_as(include_str!("../sql/find_lock_holder.sql")).bind(oid).bind(pid);
    Ok(within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await?)
}

/// Who may have locked rows of the table.
pub(in crate::jobs) async fn row_locker(cx: &mut Context, oid: Oid) -> Result<Option<Holder>, JobError> {
    let pid = cx.session.pid;
    let query = sqlx::query_as(include_str!("../sql/find_row_locker.sql")).bind(oid).bind(pid);
    Ok(within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await?)
}

/// Who keeps dead rows of this database from being removed: the holder of the oldest snapshot.
pub(super) async fn horizon_holder(cx: &mut Context) -> Result<Option<Holder>, JobError> {
    let pid = cx.session.pid;
    let query = sqlx::query_as(include_str!("../sql/find_horizon_holder.sql")).bind(pid);
    Ok(within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await?)
}

/// Whether we see the snapshots of every role.
pub(super) async fn sees_all(cx: &mut Context) -> Result<bool, JobError> {
    let query = sqlx::query_scalar("select pg_catalog.pg_has_role('pg_monitor', 'USAGE')");
    Ok(within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await?)
}

/// The bytes of a table with all that hangs on it; `None` when it is locked or no longer there.
///
/// The server's size functions wait for an exclusive lock to go away, so this is asked of one table at a time and may
/// remain unanswered; a plan must not depend on it.
pub(super) async fn table_bytes(cx: &mut Context, oid: Oid) -> Result<Option<i64>, JobError> {
    let query = sqlx::query_scalar("select pg_catalog.pg_total_relation_size($1)").bind(oid);
    match within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await {
        Ok(bytes) => Ok(bytes),
        Err(error @ PgError::Server { .. }) => {
            tracing::debug!(%error, "the table's size could not be read");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table of 10,000 rows that needs nothing.
    pub(in super::super) fn facts(name: &str) -> TableFacts {
        TableFacts {
            oid: Oid(16_384),
            table: Qualified::new("public", name),
            sort: Sort::Plain,
            owner: "owner".to_owned(),
            owner_is_superuser: false,
            role: "upkeep".to_owned(),
            permitted: true,
            pages: 2000,
            visible_pages: 2000,
            grown_pages: 0,
            live: 10_000,
            dead: 0,
            modified: 0,
            dead_score: 0.0,
            insert_score: 0.0,
            analyze_score: 0.0,
            age_score: 0.0,
            vacuumed_ago: Some(3600.0),
            analyzed_ago: Some(3600.0),
            last_vacuum: None,
            last_analyze: None,
            ancestors: Vec::new(),
        }
    }

    #[test]
    fn a_holder_is_named_by_what_is_known_of_it() {
        let check = |application: Option<&str>, role: Option<&str>, expected: &str| {
            let holder = Holder {
                who: "session 42".to_owned(),
                application: application.map(str::to_owned),
                role: role.map(str::to_owned),
                does: "holds ShareLock".to_owned(),
            };
            assert_eq!(holder.to_string(), expected);
        };
        check(Some("mlflow"), Some("app"), r#"session 42 (application "mlflow", role "app") holds ShareLock"#);
        check(Some(""), Some("app"), r#"session 42 (role "app") holds ShareLock"#);
        check(None, None, "session 42 holds ShareLock");
    }
}
