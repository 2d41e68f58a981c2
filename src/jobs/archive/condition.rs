//! Conditions that a person writes over a row `r`: each has to be one by itself, and may only read.

use std::fmt;
use std::time::Duration;

use sqlx::{Either, Executor as _, PgConnection, SqlSafeStr as _, Statement as _};

use super::catalogue::FACTS_LIMIT;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::Statement;

/// How long looking through large tables may take.
pub(super) const LOOK_LIMIT: Duration = Duration::from_mins(15);

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

/// Looks for what conditions mean, in a transaction in which nothing can be written: not by functions in them, either.
///
/// # Errors
/// The look's own; [`has_to_read`] has words for one that wants to write.
pub(super) async fn reading<T, E: From<PgError>>(
    conn: &mut PgConnection,
    look: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    // Large tables take longer than facts usually may; the order to stop waits for the end of a plan.
    let begin = format!("begin transaction read only; set local statement_timeout = {}", LOOK_LIMIT.as_millis());
    within(FACTS_LIMIT, sqlx::raw_sql(Statement::built(begin).to_sql()).execute(&mut *conn)).await?;
    let found = look(conn).await;
    within(FACTS_LIMIT, sqlx::raw_sql("rollback").execute(conn)).await?;
    found
}

/// The same error, with words where it is that something wants to write.
pub(super) fn has_to_read(error: JobError) -> JobError {
    match error {
        // read_only_sql_transaction
        JobError::Target(error) if error.sqlstate() == Some("25006") => JobError::Refused {
            fault: Fault::Statement,
            message: format!(
                "what decides which rows move has to read only, and a function in it writes: {error}; nothing was touched"
            ),
        },
        error => error,
    }
}
