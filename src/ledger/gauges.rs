//! What the tables say for `/metrics`: true over all daemons and restarts.

use super::daemon::DAEMON_FRESH;
use super::{Ledger, LedgerError};

/// Where a job stands on a target.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct JobGauge {
    /// The job.
    pub job: String,
    /// The target.
    pub target: String,
    /// When it last fell due by a schedule entry and was not skipped, in seconds since 1970.
    pub last_due: Option<f64>,
    /// How its newest finished run ended.
    pub last_outcome: Option<String>,
    /// When that was, in seconds since 1970.
    pub last_finished: Option<f64>,
    /// How long that run took from its first attempt on, in seconds; nothing if it was never work.
    pub last_seconds: Option<f64>,
    /// Bytes of what that run worked on, before.
    pub bytes_before: Option<f64>,
    /// Bytes of what that run worked on, after.
    pub bytes_after: Option<f64>,
    /// When a run last succeeded, in seconds since 1970.
    pub last_success: Option<f64>,
    /// Runs that wait.
    pub queued: i64,
    /// Runs that work.
    pub running: i64,
}

/// What is true of the ledger as a whole.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub struct LedgerGauge {
    /// Daemons that are up.
    pub daemons: i64,
    /// For how long the run has waited that could have started first, in seconds.
    pub longest_wait: f64,
    /// Running runs whose lease is over: their workers are silent.
    pub lapsed: i64,
    /// How long ago the most silent of the workers was heard of, in seconds.
    pub longest_silence: f64,
    /// What people must be told and were not yet.
    pub notices: i64,
}

/// A schedule entry's next instant.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct EntryGauge {
    /// The entry.
    pub entry: String,
    /// Its next instant, in seconds since 1970.
    pub next_due: f64,
}

/// All of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauges {
    /// For each job and target that was asked for.
    pub jobs: Vec<JobGauge>,
    /// The ledger.
    pub ledger: LedgerGauge,
    /// The entries that have a next instant.
    pub entries: Vec<EntryGauge>,
}

impl Ledger {
    /// Reads them for these pairs of job and target.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn gauges(&self, pairs: &[(String, String)]) -> Result<Gauges, LedgerError> {
        let (jobs, targets): (Vec<&str>, Vec<&str>) =
            pairs.iter().map(|(job, target)| (job.as_str(), target.as_str())).unzip();
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/read_job_gauges.sql")).bind(jobs).bind(targets);
        let jobs = self.answer(query.fetch_all(&mut *lent)).await?;
        let query = sqlx::query_as(include_str!("sql/read_ledger_gauge.sql")).bind(DAEMON_FRESH.as_secs_f64());
        let ledger = self.answer(query.fetch_one(&mut *lent)).await?;
        let query = sqlx::query_as(include_str!("sql/read_entry_gauges.sql"));
        let entries = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(Gauges { jobs, ledger, entries })
    }
}
