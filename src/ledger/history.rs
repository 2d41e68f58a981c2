//! Reading the ledger, for people and programs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Ledger, LedgerError};

/// Which runs to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this job.
    pub job: Option<String>,
    /// On this target.
    pub target: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// This run only.
    pub run_id: Option<Uuid>,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A row of the view `pgupkeep.history`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct HistoryRow {
    /// The run.
    pub run_id: Uuid,
    /// Its job.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// Its target.
    pub target: String,
    /// What made it.
    pub trigger: String,
    /// The schedule entry.
    pub entry: Option<String>,
    /// Queued, running or finished.
    pub state: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// When it fell due.
    pub due_at: DateTime<Utc>,
    /// When its first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// For how long it has been worked on, in milliseconds.
    pub duration_ms: Option<i64>,
    /// How many attempts began.
    pub attempts: i32,
    /// How many statements were sent.
    pub statements: i64,
    /// Bytes of what it worked on, before.
    pub bytes_before: Option<i64>,
    /// Bytes of what it worked on, after.
    pub bytes_after: Option<i64>,
    /// Why it was missed, skipped or cancelled, or what it waits for.
    pub reason: Option<String>,
    /// The last attempt's error.
    pub error: Option<String>,
}

/// A row of the view `pgupkeep.overview`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct OverviewRow {
    /// The job.
    pub job: String,
    /// The target.
    pub target: String,
    /// Where its newest run stands.
    pub last_state: String,
    /// How its newest run ended.
    pub last_outcome: Option<String>,
    /// When its newest run fell due.
    pub last_due_at: DateTime<Utc>,
    /// When its newest run ended.
    pub last_finished_at: Option<DateTime<Utc>>,
    /// When a run last succeeded.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Runs that wait.
    pub queued: i64,
    /// Runs that work.
    pub running: i64,
    /// What was wrong with the newest run.
    pub remark: Option<String>,
}

/// An attempt at a run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AttemptRow {
    /// Counted from 1.
    pub attempt: i32,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Steps done.
    pub steps_done: Option<i32>,
    /// Steps planned.
    pub steps_planned: Option<i32>,
    /// What went wrong, or why it ended.
    pub error: Option<String>,
}

/// A step of a run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StepRow {
    /// In the order of sending.
    pub step_id: i64,
    /// The attempt.
    pub attempt: i32,
    /// The job; inside a sequence, the inner one.
    pub job: String,
    /// The step as the plan named it.
    pub step: String,
    /// The SQL as sent.
    pub statement: Option<String>,
    /// When it was about to be sent.
    pub sent_at: DateTime<Utc>,
    /// When its end was known.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Rows that it changed or returned.
    pub rows_affected: Option<i64>,
    /// Bytes before.
    pub bytes_before: Option<i64>,
    /// Bytes after.
    pub bytes_after: Option<i64>,
    /// What went wrong, or why it is not done.
    pub error: Option<String>,
    /// What its kind saw besides.
    pub detail: Option<Json<Value>>,
}

/// Where a run stands now, for those who follow it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Standing {
    /// Queued, running or finished.
    pub state: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// Why, or what it waits for.
    pub reason: Option<String>,
    /// The last attempt's error.
    pub error: Option<String>,
    /// How far the present statement is.
    pub progress: Option<Json<crate::pg::progress::Progress>>,
}

/// A run that works or waits.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ActiveRow {
    /// The run.
    pub run_id: Uuid,
    /// Its job.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// Its target.
    pub target: String,
    /// What made it.
    pub trigger: String,
    /// The schedule entry.
    pub entry: Option<String>,
    /// Running or queued.
    pub state: String,
    /// When it fell due.
    pub due_at: DateTime<Utc>,
    /// Not before.
    pub eligible_at: DateTime<Utc>,
    /// Not after.
    pub closes_at: Option<DateTime<Utc>>,
    /// When its first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// How many attempts began.
    pub attempts: i32,
    /// What it waits for.
    pub reason: Option<String>,
    /// How far the present statement is.
    pub progress: Option<Json<crate::pg::progress::Progress>>,
    /// Whether somebody asked for it to stop.
    pub cancel_requested: bool,
    /// Seconds until it may start.
    pub waits_seconds: f64,
    /// The running run that holds a key which it needs.
    pub blocked_by: Option<Uuid>,
    /// That run's job.
    pub blocked_by_job: Option<String>,
}

/// A run that was looked up by the beginning of its id.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct FoundRun {
    /// The run.
    pub run_id: Uuid,
    /// Its job.
    pub job: String,
    /// Its target.
    pub target: String,
    /// Queued, running or finished.
    pub state: String,
    /// How it ended.
    pub outcome: Option<String>,
}

impl Ledger {
    /// Runs, newest first.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn history(&self, filter: &Filter) -> Result<Vec<HistoryRow>, LedgerError> {
        let query = sqlx::query_as(include_str!("sql/read_history.sql"))
            .bind(filter.job.as_deref())
            .bind(filter.target.as_deref())
            .bind(filter.outcome.as_deref())
            .bind(filter.run_id)
            .bind(filter.limit);
        let mut lent = self.lend().await?;
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }

    /// Where each job stands on each target.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn overview(&self) -> Result<Vec<OverviewRow>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_overview.sql"));
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }

    /// The attempts at a run, in order.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn attempts(&self, run_id: Uuid) -> Result<Vec<AttemptRow>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_attempts.sql")).bind(run_id);
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }

    /// The steps of a run after the given one, in order.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn steps_after(&self, run_id: Uuid, step_id: i64) -> Result<Vec<StepRow>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_steps.sql")).bind(run_id).bind(step_id);
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }

    /// Where a run stands; `None` when there is no such run.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn standing(&self, run_id: Uuid) -> Result<Option<Standing>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_standing.sql")).bind(run_id);
        let row = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        Ok(row)
    }

    /// The runs that work or wait: that one only, or all.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn active_runs(&self, only: Option<Uuid>) -> Result<Vec<ActiveRow>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_active.sql")).bind(only);
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }

    /// The runs whose ids lie between two, both included; those not finished first, at most 20.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn find_runs(&self, lowest: Uuid, highest: Uuid) -> Result<Vec<FoundRun>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/find_runs.sql")).bind(lowest).bind(highest);
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }
}
