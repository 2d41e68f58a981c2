//! Steps: every statement that we send to a target, on record before it is sent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use sqlx::types::Json;

use super::lease::Lease;
use super::tally::Place;
use super::{Ledger, LedgerError};
use crate::clock::from_sql;
use crate::jobs::Measures;
use crate::run_state::StepOutcome;

/// A step's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepId {
    step_id: i64,
    place: Place,
}

/// What a step is about to do.
#[derive(Debug, Clone, Copy)]
pub struct StepBegin<'a> {
    /// The job; inside a sequence, the inner one.
    pub job: &'a str,
    /// The step as the plan names it.
    pub step: &'a str,
    /// The SQL that is about to be sent.
    pub statement: Option<&'a str>,
}

impl Ledger {
    /// Writes that a statement is about to be sent.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`], or the control database's failure; the statement must then not be sent.
    pub async fn begin_step(&self, lease: &Lease, begin: StepBegin<'_>) -> Result<StepId, LedgerError> {
        let query = sqlx::query_as(include_str!("sql/begin_step.sql"))
            .bind(lease.run_id)
            .bind(lease.attempt)
            .bind(begin.job)
            .bind(begin.step)
            .bind(begin.statement);
        let mut lent = self.lend().await?;
        let row: Option<(i64, String)> = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        let (step_id, target) = row.ok_or(LedgerError::LeaseLost(lease.run_id))?;
        let place = (begin.job.to_owned(), target);
        if begin.statement.is_some() {
            self.tally.statement_recorded(place.clone());
        }
        Ok(StepId { step_id, place })
    }

    /// Writes how a step ended.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn end_step(
        &self,
        id: &StepId,
        outcome: StepOutcome,
        measures: &Measures,
        error: Option<&str>,
    ) -> Result<(), LedgerError> {
        let query = sqlx::query(include_str!("sql/end_step.sql"))
            .bind(id.step_id)
            .bind(outcome.as_str())
            .bind(measures.rows)
            .bind(measures.bytes_before)
            .bind(measures.bytes_after)
            .bind(error)
            .bind(measures.detail.as_ref().map(Json));
        let mut lent = self.lend().await?;
        let touched = self.answer(query.execute(&mut *lent)).await?.rows_affected();
        lent.give_back();
        // A second try may meet the row that the first has closed.
        if touched == 1 {
            let freed = measures.bytes_before.zip(measures.bytes_after).map_or(0, |(before, after)| before - after);
            self.tally.step_ended(id.place.clone(), outcome, u64::try_from(freed).unwrap_or(0));
        }
        Ok(())
    }

    /// The steps of a job that earlier attempts at this run have done, as their plans named them.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn steps_done(&self, lease: &Lease, job: &str) -> Result<Vec<String>, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/steps_done.sql")).bind(lease.run_id).bind(job);
        let mut lent = self.lend().await?;
        let steps = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(steps)
    }

    /// How long ago the work of a job began: its run, or inside a sequence its turn, which is when the sequence's last
    /// step was done.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn job_age(&self, lease: &Lease, sequence: Option<&str>) -> Result<Duration, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/job_age.sql")).bind(lease.run_id).bind(sequence);
        let mut lent = self.lend().await?;
        let seconds: f64 = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// When a run fell due.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn run_due(&self, lease: &Lease) -> Result<Timestamp, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/run_due.sql")).bind(lease.run_id);
        let mut lent = self.lend().await?;
        let due: DateTime<Utc> = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(from_sql(due))
    }
}
