//! The rows of each table under the snapshot that a dump is made of, so that what is restored can be compared.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::session::ANSWER_LIMIT;
use crate::pg::statement::{Qualified, Statement};
use crate::repository::manifest::Table;

#[derive(Debug, sqlx::FromRow)]
struct Candidate {
    schema: String,
    name: String,
    estimate: i64,
}

/// Counts the rows of every table, the small ones first; what cannot be counted in time is estimated, and marked so.
///
/// The session must have taken the snapshot already.
pub(super) async fn count_tables(conn: &mut PgConnection, limit: Duration) -> Result<Vec<Table>, PgError> {
    let over = Instant::now() + limit;
    let query = sqlx::query_as(include_str!("../sql/read_dumped_tables.sql"));
    let candidates: Vec<Candidate> = within(ANSWER_LIMIT, query.fetch_all(&mut *conn)).await?;
    let mut tables = Vec::with_capacity(candidates.len());
    let mut counts = true;
    for Candidate { schema, name, estimate } in candidates {
        let counted = if counts { count_one(conn, &schema, &name, over).await } else { None };
        // The session is of no use after a count that failed or was given up.
        counts = counted.is_some();
        let (rows, counted) = counted.map_or((estimate, false), |rows| (rows, true));
        tables.push(Table { schema, name, rows, counted });
    }
    tables.sort_by(|one, other| (&one.schema, &one.name).cmp(&(&other.schema, &other.name)));
    Ok(tables)
}

async fn count_one(conn: &mut PgConnection, schema: &str, name: &str, over: Instant) -> Option<i64> {
    let left = over.checked_duration_since(Instant::now())?;
    let table = Qualified::new(schema, name);
    let statement = Statement::built(format!("select pg_catalog.count(*) from only {table}"));
    let counted = within(left, sqlx::query_scalar(statement.to_sql()).fetch_one(&mut *conn)).await;
    counted.inspect_err(|error| tracing::debug!(%table, %error, "not counted")).ok()
}

/// Takes a snapshot that another session has exported.
pub(super) async fn take_snapshot(conn: &mut PgConnection, snapshot: &str) -> Result<(), PgError> {
    within(ANSWER_LIMIT, conn.execute("begin isolation level repeatable read read only")).await?;
    within(ANSWER_LIMIT, conn.execute("set local row_security = off")).await?;
    let take = Statement::set_snapshot(snapshot);
    within(ANSWER_LIMIT, conn.execute(take.to_sql())).await.map(drop)
}
