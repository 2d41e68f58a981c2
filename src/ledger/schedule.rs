//! Schedules: the cursors, and the one transaction that turns due instants into runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::Connection as _;
use sqlx::types::Json;
use tokio::time::Instant;
use uuid::Uuid;

use super::daemon::DAEMON_FRESH;
use super::run::NewRun;
use super::{Ledger, LedgerError, odd};
use crate::clock::from_sql;
use crate::names::EntryName;
use crate::policy::overlap::Active;

/// A schedule entry's cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The entry.
    pub entry: EntryName,
    /// The definition that the cursor belongs to.
    pub definition: String,
    /// Every instant up to here has its rows.
    pub at: Timestamp,
    /// The next instant, as last computed.
    pub next_due_at: Option<Timestamp>,
    /// When the entry left the configuration.
    pub retired_at: Option<Timestamp>,
}

/// What the scheduler sees while it holds the planning turn.
#[derive(Debug, Clone)]
pub struct View {
    /// The control database's clock.
    pub now: Timestamp,
    /// Every cursor.
    pub cursors: Vec<Cursor>,
    /// Every run that waits or works.
    pub active: Vec<Active>,
}

/// What the scheduler decided.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Rows to be written.
    pub runs: Vec<NewRun>,
    /// Cursors to be moved.
    pub cursors: Vec<Move>,
}

/// A cursor to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The entry.
    pub entry: EntryName,
    /// Where to.
    pub cursor_at: Timestamp,
    /// The instant after that.
    pub next_due_at: Option<Timestamp>,
}

/// What became of an entry when a configuration was taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// It was not there before: its cursor starts now.
    New,
    /// Its instants changed, or it came back: its cursor starts now.
    Changed,
    /// It left the configuration.
    Retired,
}

/// From where on an entry counts that another daemon's configuration did not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsFrom {
    /// From now on, as after any change.
    Now,
    /// From where it stopped, since nobody has changed it: the other daemon is gone.
    WhereItStopped,
}

#[derive(sqlx::FromRow)]
struct CursorRow {
    entry: String,
    definition: String,
    cursor_at: DateTime<Utc>,
    next_due_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
}

const TURN_PATIENCE: Duration = Duration::from_secs(10);
const TURN_POLL: Duration = Duration::from_millis(50);

impl Ledger {
    /// Takes up a configuration's entries: new and changed ones start now, absent ones are retired.
    ///
    /// A start or a reload does this: of two daemons with different files the last loaded wins, and the other leaves the
    /// entry alone until that one is gone.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn register_entries(
        &self,
        daemon_id: Uuid,
        entries: &[(EntryName, String)],
        from: CountsFrom,
    ) -> Result<Vec<(EntryName, Registered)>, LedgerError> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(entry, definition)| serde_json::json!({ "entry": entry, "definition": definition }))
            .collect();
        let patience = Instant::now() + TURN_PATIENCE;
        let mut lent = self.lend().await?;
        loop {
            let mut tx = self.answer(lent.begin()).await?;
            if self.take_planning_turn(&mut tx).await? {
                let query = sqlx::query_as::<_, (String, String)>(include_str!("sql/register_entries.sql"))
                    .bind(Json(&entries))
                    .bind(daemon_id)
                    .bind(from == CountsFrom::WhereItStopped);
                let rows = self.answer(query.fetch_all(&mut *tx)).await?;
                self.answer(tx.commit()).await?;
                lent.give_back();
                return rows.into_iter().map(registered).collect();
            }
            self.answer(tx.rollback()).await?;
            if Instant::now() > patience {
                return Err(LedgerError::Pg(crate::pg::PgError::Stalled(TURN_PATIENCE)));
            }
            tokio::time::sleep(TURN_POLL).await;
        }
    }

    /// Whether of the daemons that are up this one took up its configuration last.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn is_newest(&self, daemon_id: Uuid) -> Result<bool, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/is_newest.sql"));
        let query = query.bind(daemon_id).bind(DAEMON_FRESH.as_secs_f64());
        let mut lent = self.lend().await?;
        let newest = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(newest)
    }

    /// Lets the scheduler decide about what is due, and writes what it decided, in one short transaction.
    ///
    /// Gives back what the scheduler saw and the ids of the rows written; `None` when another daemon has the turn.
    ///
    /// # Errors
    /// When the control database fails; nothing is written then.
    pub async fn plan_firings(
        &self,
        decide: impl FnOnce(&View) -> Decision + Send,
    ) -> Result<Option<(View, Vec<Uuid>)>, LedgerError> {
        let mut lent = self.lend().await?;
        let mut tx = self.answer(lent.begin()).await?;
        if !self.take_planning_turn(&mut tx).await? {
            self.answer(tx.rollback()).await?;
            lent.give_back();
            return Ok(None);
        }
        let view = self.view(&mut tx).await?;
        let decision = decide(&view);
        let written =
            if decision.runs.is_empty() { Vec::new() } else { self.insert_runs(&mut tx, &decision.runs).await? };
        if !decision.cursors.is_empty() {
            let query = sqlx::query(include_str!("sql/move_cursors.sql")).bind(Json(&decision.cursors));
            self.answer(query.execute(&mut *tx)).await?;
        }
        self.answer(tx.commit()).await?;
        lent.give_back();
        for run in decision.runs.iter().filter(|run| run.outcome.is_some() && written.contains(&run.run_id)) {
            if let Some(outcome) = run.outcome {
                self.tally.run_ended((run.job.clone(), run.target.to_string()), outcome, None);
            }
        }
        Ok(Some((view, written)))
    }

    /// Every cursor, for people.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn cursors(&self) -> Result<(Timestamp, Vec<Cursor>), LedgerError> {
        let mut lent = self.lend().await?;
        let now = self.answer(sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *lent)).await?;
        let cursors = self.read_cursors(&mut lent).await?;
        lent.give_back();
        Ok((from_sql(now), cursors))
    }

    async fn take_planning_turn(&self, conn: &mut sqlx::PgConnection) -> Result<bool, LedgerError> {
        let turn = sqlx::query_scalar(include_str!("sql/take_planning_turn.sql"));
        self.answer(turn.fetch_one(conn)).await
    }

    async fn view(&self, conn: &mut sqlx::PgConnection) -> Result<View, LedgerError> {
        let now = self.answer(sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *conn)).await?;
        let cursors = self.read_cursors(conn).await?;
        let query = sqlx::query_as::<_, (String, String, Uuid, String)>(include_str!("sql/active_runs.sql"));
        let active = self
            .answer(query.fetch_all(conn))
            .await?
            .into_iter()
            .map(|(job, target, run_id, state)| Ok(Active { job, target, run_id, state: state.parse().map_err(odd)? }))
            .collect::<Result<_, LedgerError>>()?;
        Ok(View { now: from_sql(now), cursors, active })
    }

    async fn read_cursors(&self, conn: &mut sqlx::PgConnection) -> Result<Vec<Cursor>, LedgerError> {
        let query = sqlx::query_as::<_, CursorRow>(include_str!("sql/read_cursors.sql"));
        self.answer(query.fetch_all(conn))
            .await?
            .into_iter()
            .map(|row| {
                Ok(Cursor {
                    entry: EntryName::parse(&row.entry).map_err(odd)?,
                    definition: row.definition,
                    at: from_sql(row.cursor_at),
                    next_due_at: row.next_due_at.map(from_sql),
                    retired_at: row.retired_at.map(from_sql),
                })
            })
            .collect()
    }
}

fn registered((entry, what): (String, String)) -> Result<(EntryName, Registered), LedgerError> {
    let what = match what.as_str() {
        "new" => Registered::New,
        "changed" => Registered::Changed,
        "retired" => Registered::Retired,
        other => return Err(odd(format!("{other:?} is not what becomes of an entry"))),
    };
    Ok((EntryName::parse(&entry).map_err(odd)?, what))
}
