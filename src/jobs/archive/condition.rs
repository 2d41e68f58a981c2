//! A condition that a person writes over a row `r`, before it is joined to anything.

use std::fmt;

use sqlx::{Either, Executor as _, PgConnection, SqlSafeStr as _, Statement as _};

use super::catalogue::FACTS_LIMIT;
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::Statement;

/// Why a text is no condition.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConditionError {
    /// The server does not take it.
    #[error(transparent)]
    Pg(#[from] PgError),
    /// It has a place for a value that nobody gives.
    #[error("there is nothing that its `$1` could stand for")]
    Parameter,
}

/// Makes sure that a text is a condition by itself, over the rows of a table or view: with a bracket too many it would switch
/// off what it is joined to.
///
/// # Errors
/// When it is none, or the server cannot be asked.
pub(super) async fn check(
    condition: &str,
    over: impl fmt::Display,
    conn: &mut PgConnection,
) -> Result<(), ConditionError> {
    let alone = Statement::built(format!("select 1 from {over} r where\n{condition}\nlimit 0"));
    // Prepared, since the server takes only a single statement then.
    let prepared = within(FACTS_LIMIT, conn.prepare(alone.to_sql().into_sql_str())).await?;
    if !matches!(prepared.parameters(), None | Some(Either::Left([]) | Either::Right(0))) {
        return Err(ConditionError::Parameter);
    }
    within(FACTS_LIMIT, sqlx::query(alone.to_sql()).execute(conn)).await?;
    Ok(())
}
