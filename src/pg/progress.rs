//! How far the server is with a statement of ours, from its own progress views.

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use super::PgError;
use super::connect::within;

/// A reading of one of the `pg_stat_progress_*` views.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The command, such as `VACUUM`.
    pub command: String,
    /// The phase in the server's words.
    pub phase: String,
    /// The relation that it works on.
    pub relation: Option<String>,
    /// Units done in this phase.
    pub done: i64,
    /// Units in all in this phase; 0 when the server does not know.
    pub total: i64,
    /// What is counted: `blocks`, `bytes`, `tuples`.
    pub unit: String,
}

impl Progress {
    /// The share of the phase that is done, in percent, where the server knows it.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn percent(&self) -> Option<f64> {
        (self.total > 0).then(|| (self.done as f64 * 100.0 / self.total as f64).clamp(0.0, 100.0))
    }
}

/// What the server says of one of our sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether it works on a statement, in `pg_stat_activity`'s words.
    pub state: Option<String>,
    /// For how many seconds it has been in that state.
    pub state_seconds: f64,
    /// Who holds the lock that it waits for, if it waits for one, in words.
    pub waits_for: Option<String>,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// The answer of `sql/watch_session.sql`: activity columns, then progress columns.
type Row = (
    Option<String>,
    Option<f64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

/// Looks at a session by pid and start; `None` when it is gone.
///
/// # Errors
/// When the server cannot be asked.
pub async fn look(
    watch: &mut PgConnection,
    pid: i32,
    backend_start: chrono::DateTime<chrono::Utc>,
) -> Result<Option<Seen>, PgError> {
    let query = sqlx::query_as::<_, Row>(include_str!("sql/watch_session.sql")).bind(pid).bind(backend_start);
    let row = within(super::session::ANSWER_LIMIT, query.fetch_optional(watch)).await?;
    Ok(row.map(|(state, seconds, waits_for, command, phase, relation, done, total, unit)| Seen {
        state,
        state_seconds: seconds.unwrap_or(0.0),
        waits_for,
        progress: command.zip(phase).map(|(command, phase)| Progress {
            command,
            phase,
            relation,
            done: done.unwrap_or(0),
            total: total.unwrap_or(0),
            unit: unit.unwrap_or_default(),
        }),
    }))
}
