//! Runs: written, claimed, cancelled.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::types::Json;
use tokio::time::Instant;
use uuid::Uuid;

use super::lease::{AttemptEnd, Lease, Next};
use super::{Ledger, LedgerError, odd};
use crate::clock::from_sql;
use crate::fault::Fault;
use crate::jobs::JobSpec;
use crate::names::{EntryName, TargetName};
use crate::run_state::{AttemptOutcome, Outcome, RunState, Trigger};

/// A run to be written; [`NewRun::queued`] and [`NewRun::finished`] are its two shapes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewRun {
    /// Its id.
    pub run_id: Uuid,
    /// The schedule entry that fired.
    pub entry: Option<EntryName>,
    /// The target it is for.
    pub target: TargetName,
    /// What made it.
    pub trigger: Trigger,
    /// When it fell due.
    pub due_at: Timestamp,
    /// Not before.
    pub eligible_at: Timestamp,
    /// Not after.
    pub closes_at: Option<Timestamp>,
    /// The job's name.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// The job as configured.
    pub spec: JobSpec,
    /// The keys that it holds while it runs.
    pub exclusive_keys: Vec<String>,
    /// Queued, or finished at once.
    pub state: RunState,
    /// How it ended, when it never was work.
    pub outcome: Option<Outcome>,
    /// Why, in words.
    pub reason: Option<String>,
}

impl NewRun {
    /// A run that waits for a worker from its due instant on.
    pub fn queued(
        entry: Option<EntryName>,
        spec: &JobSpec,
        target: &TargetName,
        trigger: Trigger,
        due: Timestamp,
    ) -> Self {
        Self {
            run_id: Uuid::now_v7(),
            entry,
            target: target.clone(),
            trigger,
            due_at: due,
            eligible_at: due,
            closes_at: None,
            job: spec.name.to_string(),
            kind: spec.kind.clone(),
            spec: spec.clone(),
            exclusive_keys: spec.exclusive_keys(target.as_str()),
            state: RunState::Queued,
            outcome: None,
            reason: None,
        }
    }

    /// The same, but ended before it was work.
    #[must_use]
    pub fn finished(mut self, outcome: Outcome, reason: String) -> Self {
        self.state = RunState::Finished;
        self.outcome = Some(outcome);
        self.reason = Some(reason);
        self
    }
}

/// A run that is ours to work on.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What proves that it is ours.
    pub lease: Lease,
    /// The target it is for.
    pub target: TargetName,
    /// The job as configured when it fired.
    pub spec: JobSpec,
    /// The keys to lock in the working session.
    pub exclusive_keys: Vec<String>,
    /// What made it.
    pub trigger: Trigger,
    /// When it fell due.
    pub due_at: Timestamp,
    /// When its window closes.
    pub closes_at: Option<Timestamp>,
    /// The database's clock at the claim.
    pub claimed_at: Timestamp,
    /// How many attempts failed before this one.
    pub failures: u32,
}

/// What a worker can take on: its targets, with the number of runs that each may have at a time.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// Targets that this process has configured and can reach.
    pub targets: Vec<(TargetName, u16)>,
    /// Claim this run and no other; it does not wait behind others in the queue, nor for its own head start.
    pub only: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct ClaimRow {
    run_id: Uuid,
    target: String,
    spec: Json<Value>,
    exclusive_keys: Vec<String>,
    trigger: String,
    due_at: DateTime<Utc>,
    closes_at: Option<DateTime<Utc>>,
    claimed_at: DateTime<Utc>,
    failures: i32,
    attempts: i32,
}

/// How long a claimer tries for its turn before it leaves it to the next wake-up.
const CLAIM_PATIENCE: Duration = Duration::from_secs(2);
const CLAIM_POLL: Duration = Duration::from_millis(15);

/// For how long a run of `run --local` is left to the process that wrote it; after that a daemon may take it as well.
const LOCAL_HEAD_START: Duration = Duration::from_secs(10);

impl Ledger {
    /// Claims the run that has waited longest, among those that may run now.
    ///
    /// Claimers take turns by an advisory lock that ends with the short transaction, so that exclusive keys and
    /// per-target limits hold exactly, over all daemons.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn claim_run(
        &self,
        daemon_id: Uuid,
        capacity: &Capacity,
        lease: Duration,
    ) -> Result<Option<Claimed>, LedgerError> {
        let (targets, limits): (Vec<&str>, Vec<i32>) =
            capacity.targets.iter().map(|(target, limit)| (target.as_str(), i32::from(*limit))).unzip();
        let kinds: Vec<&str> = crate::jobs::JOB_KINDS.iter().map(|kind| kind.name).collect();
        let token = Uuid::new_v4();
        let patience = Instant::now() + CLAIM_PATIENCE;
        loop {
            // A loan for each try, so that claimers in waiting do not keep the connections that heartbeats need.
            let mut lent = self.lend().await?;
            let asked = Instant::now();
            let mut tx = self.answer(lent.begin()).await?;
            let turn = sqlx::query_scalar::<_, bool>(include_str!("sql/take_claim_turn.sql"));
            if self.answer(turn.fetch_one(&mut *tx)).await? {
                let query = sqlx::query_as::<_, ClaimRow>(include_str!("sql/claim_run.sql"))
                    .bind(&targets)
                    .bind(&limits)
                    .bind(&kinds)
                    .bind(capacity.only)
                    .bind(token)
                    .bind(lease.as_secs_f64())
                    .bind(daemon_id);
                let row = self.answer(query.fetch_optional(&mut *tx)).await?;
                self.answer(tx.commit()).await?;
                lent.give_back();
                return match row {
                    Some(row) => self.understand(row, token, asked + lease).await,
                    None => Ok(None),
                };
            }
            self.answer(tx.rollback()).await?;
            lent.give_back();
            if Instant::now() > patience {
                return Ok(None);
            }
            tokio::time::sleep(CLAIM_POLL).await;
        }
    }

    /// Reads a claimed row; one that this binary does not understand ends as failed, so that it is not claimed again.
    async fn understand(&self, row: ClaimRow, token: Uuid, until: Instant) -> Result<Option<Claimed>, LedgerError> {
        let lease = Lease::new(row.run_id, token, row.attempts, until);
        match claimed(row, lease.clone()) {
            Ok(claimed) => Ok(Some(claimed)),
            Err(error) => {
                let words = format!("{error}; it was written by another version of pgupkeep");
                let end = AttemptEnd {
                    outcome: AttemptOutcome::Failed,
                    steps_done: 0,
                    steps_planned: 0,
                    error: Some(words),
                    fault: Some(Fault::Internal),
                };
                self.end_attempt(&lease, &end, &Next::Finish(Outcome::Failed, None)).await?;
                Ok(None)
            }
        }
    }

    /// Writes a run that a person asked for, due now, and gives back its id.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn insert_manual_run(&self, spec: &JobSpec, target: &TargetName) -> Result<Uuid, LedgerError> {
        self.insert_run_after(spec, target, Duration::ZERO).await
    }

    /// Writes a run that a person wants to be performed here: daemons leave it alone for [`LOCAL_HEAD_START`].
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn insert_local_run(&self, spec: &JobSpec, target: &TargetName) -> Result<Uuid, LedgerError> {
        self.insert_run_after(spec, target, LOCAL_HEAD_START).await
    }

    /// Whether a job of a target neither waits nor works, nor has failed within so long.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn is_at_rest(&self, job: &str, target: &str, rest: Duration) -> Result<bool, LedgerError> {
        let query =
            sqlx::query_scalar(include_str!("sql/read_rest.sql")).bind(job).bind(target).bind(rest.as_secs_f64());
        let mut lent = self.lend().await?;
        let at_rest = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(at_rest)
    }

    async fn insert_run_after(
        &self,
        spec: &JobSpec,
        target: &TargetName,
        delay: Duration,
    ) -> Result<Uuid, LedgerError> {
        let mut lent = self.lend().await?;
        let now = self.answer(sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *lent)).await?;
        let run = NewRun::queued(None, spec, target, Trigger::Manual, from_sql(now));
        let eligible_at = run.eligible_at.checked_add(delay).unwrap_or(run.eligible_at);
        let run = NewRun { eligible_at, ..run };
        let run_id = run.run_id;
        self.insert_runs(&mut lent, &[run]).await?;
        lent.give_back();
        Ok(run_id)
    }

    /// Writes runs; those whose firing has a row already are left as they are. Gives back the ids written.
    pub(super) async fn insert_runs(
        &self,
        conn: &mut sqlx::PgConnection,
        runs: &[NewRun],
    ) -> Result<Vec<Uuid>, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/insert_runs.sql")).bind(Json(runs));
        self.answer(query.fetch_all(conn)).await
    }

    /// Asks for a run to stop: a queued one ends here, a running one is stopped by its worker.
    ///
    /// Gives back the run's state after the request; `None` when there is no such run.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn cancel_run(&self, run_id: Uuid) -> Result<Option<(RunState, Option<Outcome>)>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as::<_, (String, Option<String>)>(include_str!("sql/cancel_run.sql")).bind(run_id);
        let row = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        row.map(|(state, outcome)| {
            Ok((state.parse().map_err(odd)?, outcome.map(|outcome| outcome.parse().map_err(odd)).transpose()?))
        })
        .transpose()
    }

    /// Ends queued runs whose window has closed; gives back how many.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn expire_runs(&self) -> Result<usize, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as::<_, (String, String, String)>(include_str!("sql/expire_runs.sql"));
        let expired = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        let count = expired.len();
        for (job, target, outcome) in expired {
            self.tally.run_ended((job, target), outcome.parse().map_err(odd)?, None);
        }
        Ok(count)
    }
}

fn claimed(row: ClaimRow, lease: Lease) -> Result<Claimed, LedgerError> {
    Ok(Claimed {
        lease,
        target: TargetName::parse(&row.target).map_err(odd)?,
        spec: serde_json::from_value(row.spec.0).map_err(odd)?,
        exclusive_keys: row.exclusive_keys,
        trigger: row.trigger.parse().map_err(odd)?,
        due_at: from_sql(row.due_at),
        closes_at: row.closes_at.map(from_sql),
        claimed_at: from_sql(row.claimed_at),
        failures: row.failures.unsigned_abs(),
    })
}
