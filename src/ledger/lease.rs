//! Leases: the right to write about a run, and what a worker writes with it.
//!
//! Every write here compares the token and must touch exactly one row. Whoever lost the lease writes nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Ledger, LedgerError, odd};
use crate::fault::Fault;
use crate::pg::progress::Progress;
use crate::run_state::{AttemptOutcome, Outcome};

/// The right to write about one attempt at a run.
///
/// It cannot be made outside the ledger, except by claiming.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The run.
    pub run_id: Uuid,
    /// The attempt, counted from 1.
    pub attempt: i32,
    token: Uuid,
    until: Instant,
}

impl Lease {
    pub(super) const fn new(run_id: Uuid, token: Uuid, attempt: i32, until: Instant) -> Self {
        Self { run_id, attempt, token, until }
    }

    /// Until when the claim is good for certain, on our own monotonic clock.
    ///
    /// Counted from before the question was sent, so that it ends before the database's does.
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// The `application_name` of the working session.
    pub fn session_name(&self) -> String {
        format!("pgupkeep/{}", self.run_id)
    }
}

/// What a heartbeat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Until when the claim is good now.
    pub until: Instant,
    /// Who asked for the run to stop.
    pub cancel_requested_by: Option<String>,
}

/// How an attempt ended, as it goes on record.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Steps done.
    pub steps_done: u32,
    /// Steps planned.
    pub steps_planned: u32,
    /// What went wrong, or why it ended.
    pub error: Option<String>,
    /// The code that it is handled by.
    pub fault: Option<Fault>,
}

/// Where the run goes after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It ends.
    Finish(Outcome, Option<String>),
    /// It waits in the queue, unless somebody has cancelled it meanwhile.
    Queue {
        /// For how long at least.
        delay: Duration,
        /// What it waits for, in words.
        reason: String,
        /// Whether this attempt counts.
        counts: Counts,
    },
}

/// Whether an attempt counts against the job's `retries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// It does not: the run was handed back.
    Nothing,
    /// It does.
    Failure,
}

impl Ledger {
    /// Puts the working session on record, so that a rescuer can ask for it.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`], or the control database's failure.
    pub async fn record_session(
        &self,
        lease: &Lease,
        pid: i32,
        backend_start: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let query = sqlx::query(include_str!("sql/record_session.sql"))
            .bind(lease.run_id)
            .bind(lease.token)
            .bind(pid)
            .bind(backend_start);
        let mut lent = self.lend().await?;
        let touched = self.answer(query.execute(&mut *lent)).await?.rows_affected();
        lent.give_back();
        if touched == 1 { Ok(()) } else { Err(LedgerError::LeaseLost(lease.run_id)) }
    }

    /// Extends the lease, leaves word of the progress, and asks whether to stop.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`], or the control database's failure.
    pub async fn extend_lease(
        &self,
        lease: &Lease,
        length: Duration,
        progress: Option<&Progress>,
    ) -> Result<Heartbeat, LedgerError> {
        let query = sqlx::query_scalar::<_, Option<String>>(include_str!("sql/extend_lease.sql"))
            .bind(lease.run_id)
            .bind(lease.token)
            .bind(length.as_secs_f64())
            .bind(progress.map(Json));
        let asked = Instant::now();
        let mut lent = self.lend().await?;
        let row = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        let cancel_requested_by = row.ok_or(LedgerError::LeaseLost(lease.run_id))?;
        Ok(Heartbeat { until: asked + length, cancel_requested_by })
    }

    /// Ends an attempt, and with it the run or its turn at work, in one transaction with what people must be told.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`], or the control database's failure; nothing is recorded then.
    pub async fn end_attempt(&self, lease: &Lease, end: &AttemptEnd, next: &Next) -> Result<(), LedgerError> {
        let (outcome, delay, reason, counts) = match next {
            Next::Finish(outcome, reason) => {
                let failed = outcome.is_trouble();
                (Some(outcome.as_str()), 0.0, reason.as_deref(), if failed { Counts::Failure } else { Counts::Nothing })
            }
            Next::Queue { delay, reason, counts } => (None, delay.as_secs_f64(), Some(reason.as_str()), *counts),
        };
        let failures = match counts {
            Counts::Nothing => 0,
            Counts::Failure => 1,
        };
        let query = sqlx::query_as::<_, EndedRow>(include_str!("sql/end_attempt.sql"))
            .bind(lease.run_id)
            .bind(lease.token)
            .bind(outcome)
            .bind(delay)
            .bind(reason)
            .bind(end.error.as_deref())
            .bind(end.fault.map(Fault::as_str))
            .bind(failures)
            .bind(end.outcome.as_str())
            .bind(i32::try_from(end.steps_done).unwrap_or(i32::MAX))
            .bind(i32::try_from(end.steps_planned).unwrap_or(i32::MAX));
        let mut lent = self.lend().await?;
        let row = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        let row = row.ok_or(LedgerError::LeaseLost(lease.run_id))?;
        let place = (row.job, row.target);
        self.tally.attempt_ended(place.clone(), end.outcome);
        if let Some(outcome) = row.outcome {
            let took = row.took.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            self.tally.run_ended(place, outcome.parse().map_err(odd)?, took);
        }
        Ok(())
    }
}

/// What became of the run; no outcome is its way back to the queue.
#[derive(sqlx::FromRow)]
struct EndedRow {
    job: String,
    target: String,
    outcome: Option<String>,
    took: Option<f64>,
}
