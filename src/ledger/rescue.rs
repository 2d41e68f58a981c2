//! Rescue: a dead worker's run goes back to the queue.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Ledger, LedgerError, odd};
use crate::names::TargetName;
use crate::run_state::AttemptOutcome;

/// A running run whose lease is over.
#[derive(Debug, Clone)]
pub struct Lapsed {
    /// The run.
    pub run_id: Uuid,
    /// The token that it was claimed under.
    pub token: Uuid,
    /// The job's name.
    pub job: String,
    /// The target it is for.
    pub target: TargetName,
    /// The keys that its working session locked.
    pub exclusive_keys: Vec<String>,
    /// The working session's server process, where it got that far.
    pub backend: Option<(i32, DateTime<Utc>)>,
    /// How many workers this run has lost before.
    pub losses: u32,
}

/// What becomes of a run whose worker died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// It waits for another worker, for so long at least.
    Queue(Duration),
    /// It ends as `lost`.
    GiveUp,
}

#[derive(sqlx::FromRow)]
struct LapsedRow {
    run_id: Uuid,
    lease_token: Uuid,
    job: String,
    target: String,
    exclusive_keys: Vec<String>,
    backend_pid: Option<i32>,
    backend_start: Option<DateTime<Utc>>,
    losses: i32,
}

impl Ledger {
    /// The runs whose lease is over, whoever held it.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn lapsed_runs(&self) -> Result<Vec<Lapsed>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as::<_, LapsedRow>(include_str!("sql/lapsed_runs.sql"));
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        rows.into_iter()
            .map(|row| {
                Ok(Lapsed {
                    run_id: row.run_id,
                    token: row.lease_token,
                    job: row.job,
                    target: TargetName::parse(&row.target).map_err(odd)?,
                    exclusive_keys: row.exclusive_keys,
                    backend: row.backend_pid.zip(row.backend_start),
                    losses: row.losses.unsigned_abs(),
                })
            })
            .collect()
    }

    /// Takes a run from its dead worker; `false` when the worker, or another rescuer, was faster.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn rescue_run(&self, lapsed: &Lapsed, evidence: &str, rescue: &Rescue) -> Result<bool, LedgerError> {
        let delay = match rescue {
            Rescue::Queue(delay) => Some(delay.as_secs_f64()),
            Rescue::GiveUp => None,
        };
        let query = sqlx::query_scalar::<_, Option<String>>(include_str!("sql/rescue_run.sql"))
            .bind(lapsed.run_id)
            .bind(lapsed.token)
            .bind(delay)
            .bind(evidence);
        let mut lent = self.lend().await?;
        let rescued = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        let Some(outcome) = rescued else { return Ok(false) };
        let place = (lapsed.job.clone(), lapsed.target.to_string());
        self.tally.attempt_ended(place.clone(), AttemptOutcome::Lost);
        if let Some(outcome) = outcome {
            self.tally.run_ended(place, outcome.parse().map_err(odd)?, None);
        }
        Ok(true)
    }
}
