//! What `--json` prints: one type for each object.
//!
//! These names are an interface: a field may be added, none is renamed or removed. The first sentence of each comment
//! is its line in `docs/json.md`; a test keeps the two in step.

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::output;

pub use super::archive::{ArchiveDamage, ArchiveGroup, ArchiveGroupTable, ArchiveList, ArchiveRule, ArchiveTable};
use crate::clock::to_sql;
use crate::config::problem;
use crate::ledger::daemon::DaemonRow;
use crate::ledger::history::{ActiveRow, AttemptRow, HistoryRow, OverviewRow, StepRow};

/// An instant as RFC 3339 text in UTC, to the microsecond: `2026-03-29T01:00:00.000000Z`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Instant(String);

impl Instant {
    /// The instant to the second, as tables show it.
    pub(super) fn for_people(&self) -> String {
        self.0.get(..19).map_or_else(|| self.0.clone(), |seconds| format!("{}Z", seconds.replace('T', " ")))
    }
}

impl From<DateTime<Utc>> for Instant {
    fn from(at: DateTime<Utc>) -> Self {
        Self(output::rfc3339(at))
    }
}

impl From<Timestamp> for Instant {
    fn from(at: Timestamp) -> Self {
        to_sql(at).into()
    }
}

/// A run: one durable request for work.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Run {
    /// The run's id, a UUID in order of time.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// The target it is for.
    pub target: String,
    /// What made it: `schedule`, `catch_up`, `manual` or `reload`.
    pub trigger: String,
    /// The schedule entry that fired it; null for a manual run.
    pub entry: Option<String>,
    /// `queued`, `running` or `finished`.
    pub state: String,
    /// `succeeded`, `partial`, `failed`, `cancelled`, `timed_out`, `lost`, `missed` or `skipped`; null until it ends.
    pub outcome: Option<String>,
    /// When it fell due.
    pub due_at: Instant,
    /// When its first attempt began.
    pub started_at: Option<Instant>,
    /// When it ended.
    pub finished_at: Option<Instant>,
    /// Milliseconds from the start of its first attempt to its end, or until now.
    pub duration_ms: Option<i64>,
    /// How many attempts began.
    pub attempts: i32,
    /// How many statements were sent.
    pub statements: i64,
    /// Bytes of what its steps worked on, before.
    pub bytes_before: Option<i64>,
    /// Bytes of what its steps worked on, after.
    pub bytes_after: Option<i64>,
    /// Why it was missed, skipped or cancelled, or what it waits for.
    pub reason: Option<String>,
    /// The last attempt's error.
    pub error: Option<String>,
    /// Each attempt; present with `--steps` and `--run` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_detail: Option<Vec<Attempt>>,
    /// Each step of each attempt, in order; present with `--steps` and `--run` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
}

impl From<HistoryRow> for Run {
    fn from(row: HistoryRow) -> Self {
        Self {
            run_id: row.run_id.to_string(),
            job: row.job,
            kind: row.kind,
            target: row.target,
            trigger: row.trigger,
            entry: row.entry,
            state: row.state,
            outcome: row.outcome,
            due_at: row.due_at.into(),
            started_at: row.started_at.map(Into::into),
            finished_at: row.finished_at.map(Into::into),
            duration_ms: row.duration_ms,
            attempts: row.attempts,
            statements: row.statements,
            bytes_before: row.bytes_before,
            bytes_after: row.bytes_after,
            reason: row.reason,
            error: row.error,
            attempts_detail: None,
            steps: None,
        }
    }
}

/// An attempt at a run: a worker took it, and how that ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Attempt {
    /// Counted from 1.
    pub attempt: i32,
    /// When a worker took it.
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
    /// An outcome, or `handed_back` when the worker gave the run back to the queue; null while it works.
    pub outcome: Option<String>,
    /// How many of its planned steps were done.
    pub steps_done: Option<i32>,
    /// How many steps it planned.
    pub steps_planned: Option<i32>,
    /// What went wrong, or why it ended.
    pub error: Option<String>,
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: row.attempt,
            started_at: row.started_at.into(),
            finished_at: row.finished_at.map(Into::into),
            outcome: row.outcome,
            steps_done: row.steps_done,
            steps_planned: row.steps_planned,
            error: row.error,
        }
    }
}

/// A step of a run: a statement that was sent to the target, or a piece of work without one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Step {
    /// Its number, in the order of sending.
    pub step_id: i64,
    /// The attempt that it belongs to.
    pub attempt: i32,
    /// The job; inside a sequence, the inner one.
    pub job: String,
    /// The step as the plan named it.
    pub step: String,
    /// The SQL as sent; null where a step sends none.
    pub statement: Option<String>,
    /// When it was about to be sent.
    pub sent_at: Instant,
    /// When its end was known.
    pub finished_at: Option<Instant>,
    /// `done`, `not_done`, `failed`, `cancelled` or `lost`; null while it works.
    pub outcome: Option<String>,
    /// Rows that it changed or returned.
    pub rows_affected: Option<i64>,
    /// Bytes of what it worked on, before.
    pub bytes_before: Option<i64>,
    /// Bytes of what it worked on, after.
    pub bytes_after: Option<i64>,
    /// What went wrong, or why it is not done.
    pub error: Option<String>,
    /// What its kind saw besides: an object whose fields differ from kind to kind.
    pub detail: Option<Value>,
}

impl From<StepRow> for Step {
    fn from(row: StepRow) -> Self {
        Self {
            step_id: row.step_id,
            attempt: row.attempt,
            job: row.job,
            step: row.step,
            statement: row.statement,
            sent_at: row.sent_at.into(),
            finished_at: row.finished_at.map(Into::into),
            outcome: row.outcome,
            rows_affected: row.rows_affected,
            bytes_before: row.bytes_before,
            bytes_after: row.bytes_after,
            error: row.error,
            detail: row.detail.map(|detail| detail.0),
        }
    }
}

/// What `run` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Asked {
    /// How many daemons are up; with 0, a run waits until one starts.
    pub daemons_up: i64,
    /// The runs that were written, one for each target; with `--watch` and `--local` as they ended.
    pub runs: Vec<Run>,
}

/// What `plan` answers for one target.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Plan {
    /// The job's name.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// The target.
    pub target: String,
    /// Whether the target is a standby; nothing is planned for it then.
    pub standby: bool,
    /// The steps in order; empty when there is nothing to do; null when it could not be planned.
    pub steps: Option<Vec<String>>,
    /// What is left out and why, and what is expected; nothing of it is a step.
    pub notes: Vec<String>,
    /// Why it could not be planned.
    pub error: Option<String>,
    /// For a sequence, what each of its jobs would do now, in order; the ones before may change that for the ones after.
    pub inner: Vec<Plan>,
}

/// What `cancel` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Cancelled {
    /// The run.
    pub run_id: String,
    /// `ended` before it began, `asked` its worker to stop, or `finished` already.
    pub result: String,
    /// The run's outcome, if it has ended.
    pub outcome: Option<String>,
    /// How many daemons are up.
    pub daemons_up: i64,
}

/// Something that is wrong, or unwise, in the configuration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; null when the file could not be read.
    pub line: Option<usize>,
    /// The column, in characters from 1; null when the file could not be read.
    pub column: Option<usize>,
    /// The YAML path, such as `jobs.vacuum-analyze.with`; empty for the file as a whole.
    pub path: String,
    /// What was found.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl From<&problem::Problem> for Problem {
    fn from(problem: &problem::Problem) -> Self {
        Self {
            file: problem.file.clone(),
            line: Some(problem.line),
            column: Some(problem.column),
            path: problem.path.clone(),
            message: problem.message.clone(),
            expected: problem.expected.clone(),
            suggestion: problem.suggestion.clone(),
        }
    }
}

/// What `check` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Checked {
    /// Whether the file can be used.
    pub ok: bool,
    /// The file, as it was named.
    pub file: String,
    /// Everything that is wrong with it.
    pub problems: Vec<Problem>,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
    /// The zone of times that name none; null when the file cannot be used.
    pub timezone: Option<String>,
    /// The target that holds the ledger; null when the control database is one of its own.
    pub control: Option<String>,
    /// The names of the targets.
    pub targets: Vec<String>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The schedule entries that fire by the calendar.
    pub entries: Vec<Entry>,
    /// The names of the entries that fire at every good reload.
    pub reload: Vec<String>,
}

/// A configured job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Job {
    /// Its name.
    pub job: String,
    /// Its kind.
    pub kind: String,
    /// The targets it is for.
    pub targets: Vec<String>,
}

/// A schedule entry that fires by the calendar.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Its name.
    pub entry: String,
    /// The job that it fires.
    pub job: String,
    /// The job's targets.
    pub targets: Vec<String>,
    /// When it fires, in words, with its zone.
    pub cadence: String,
    /// The window in which its runs may start.
    pub window: Option<String>,
    /// Whether its firings are recorded as skipped.
    pub paused: bool,
    /// The next instant that falls due.
    pub next_due_at: Option<Instant>,
    /// The same as RFC 3339 text with the offset of the configuration's zone.
    pub next_due_local: Option<String>,
    /// Up to where daemons have turned it into runs; null before one took it up, and in `check`.
    pub cursor_at: Option<Instant>,
    /// Whether daemons leave it alone, because the configuration that one of them took up last has it not, or otherwise.
    pub is_displaced: bool,
}

/// A firing to come, as `next` lists it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Firing {
    /// When it falls due.
    pub due_at: Instant,
    /// The same as RFC 3339 text with the offset of the configuration's zone.
    pub due_local: String,
    /// The schedule entry.
    pub entry: String,
    /// The job that it fires.
    pub job: String,
    /// The targets; each gets a run.
    pub targets: Vec<String>,
    /// The window in which the runs may start.
    pub window: Option<String>,
    /// The first instant at which they may start, after jitter and the window's opening; null when paused.
    pub starts_at: Option<Instant>,
    /// The instant at which the window closes; a run not started by then is missed.
    pub closes_at: Option<Instant>,
    /// Whether the entry is paused, so that the firing is recorded as skipped.
    pub paused: bool,
}

/// What `status` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Status {
    /// The daemons that are up.
    pub daemons: Vec<Daemon>,
    /// The targets, whether they can be reached or not.
    pub targets: Vec<TargetState>,
    /// The schedule entries that fire by the calendar.
    pub entries: Vec<Entry>,
    /// Where each job stands on each target.
    pub jobs: Vec<JobState>,
    /// The runs that work, then those that wait.
    pub active: Vec<ActiveRun>,
}

/// A daemon that is up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Daemon {
    /// Its id, made anew at each start.
    pub daemon_id: String,
    /// The version of its binary.
    pub version: String,
    /// Its process id, in its own process namespace.
    pub pid: i32,
    /// When it started.
    pub started_at: Instant,
    /// When it last said that it is alive.
    pub heartbeat_at: Instant,
}

impl From<DaemonRow> for Daemon {
    fn from(row: DaemonRow) -> Self {
        Self {
            daemon_id: row.daemon_id.to_string(),
            version: row.version,
            pid: row.pid,
            started_at: row.started_at.into(),
            heartbeat_at: row.heartbeat_at.into(),
        }
    }
}

/// A target as it was found just now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TargetState {
    /// Its name.
    pub target: String,
    /// Whether it answered.
    pub reachable: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// The server's version, such as `16.4`.
    pub server_version: Option<String>,
    /// `primary` or `standby`.
    pub role: Option<String>,
    /// The name of the database.
    pub database: Option<String>,
    /// The size of the database in bytes.
    pub size_bytes: Option<i64>,
    /// With `preset: mlflow`, the revision of MLflow's schema.
    pub mlflow_revision: Option<String>,
}

/// Where a job stands on a target.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobState {
    /// The job's name.
    pub job: String,
    /// The target.
    pub target: String,
    /// Where its newest run stands: `queued`, `running` or `finished`.
    pub last_state: String,
    /// How its newest run ended.
    pub last_outcome: Option<String>,
    /// When its newest run fell due.
    pub last_due_at: Instant,
    /// When its newest run ended.
    pub last_finished_at: Option<Instant>,
    /// When a run last succeeded.
    pub last_success_at: Option<Instant>,
    /// How many runs wait.
    pub queued: i64,
    /// How many runs work.
    pub running: i64,
    /// What was wrong with the newest run.
    pub remark: Option<String>,
}

impl From<OverviewRow> for JobState {
    fn from(row: OverviewRow) -> Self {
        Self {
            job: row.job,
            target: row.target,
            last_state: row.last_state,
            last_outcome: row.last_outcome,
            last_due_at: row.last_due_at.into(),
            last_finished_at: row.last_finished_at.map(Into::into),
            last_success_at: row.last_success_at.map(Into::into),
            queued: row.queued,
            running: row.running,
            remark: row.remark,
        }
    }
}

/// A run that works or waits.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ActiveRun {
    /// The run.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// The job's kind.
    pub kind: String,
    /// The target.
    pub target: String,
    /// What made it.
    pub trigger: String,
    /// The schedule entry that fired it.
    pub entry: Option<String>,
    /// `running` or `queued`.
    pub state: String,
    /// When it fell due.
    pub due_at: Instant,
    /// When it may start, or might have.
    pub eligible_at: Instant,
    /// When its window closes.
    pub closes_at: Option<Instant>,
    /// When its first attempt began.
    pub started_at: Option<Instant>,
    /// How many attempts began.
    pub attempts: i32,
    /// What it waits for, in words.
    pub reason: Option<String>,
    /// The running run that holds a key which it needs.
    pub blocked_by: Option<String>,
    /// Whether somebody asked for it to stop.
    pub cancel_requested: bool,
    /// How far its present statement is.
    pub progress: Option<Progress>,
}

impl From<ActiveRow> for ActiveRun {
    fn from(row: ActiveRow) -> Self {
        Self {
            reason: row.reason.clone().or_else(|| not_yet(&row)),
            run_id: row.run_id.to_string(),
            job: row.job,
            kind: row.kind,
            target: row.target,
            trigger: row.trigger,
            entry: row.entry,
            state: row.state,
            due_at: row.due_at.into(),
            eligible_at: row.eligible_at.into(),
            closes_at: row.closes_at.map(Into::into),
            started_at: row.started_at.map(Into::into),
            attempts: row.attempts,
            blocked_by: row.blocked_by.map(|run_id| run_id.to_string()),
            cancel_requested: row.cancel_requested,
            progress: row.progress.map(|progress| progress.0.into()),
        }
    }
}

/// Until when a queued run has to wait, in words.
fn not_yet(row: &ActiveRow) -> Option<String> {
    (row.state == "queued" && row.waits_seconds > 0.0).then(|| {
        let start = output::instant(row.eligible_at);
        match row.closes_at.map(output::instant) {
            Some(closes) => format!("waits until {start}; its window closes at {closes}"),
            None => format!("waits until {start}"),
        }
    })
}

/// How far a statement is, by the server's `pg_stat_progress_*` views.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    /// What is counted: `blocks`, `bytes` or `tuples`.
    pub unit: String,
}

impl Progress {
    /// The progress in one line.
    pub(super) fn for_people(&self) -> String {
        let relation = self.relation.as_deref().map(|relation| format!(" {relation}")).unwrap_or_default();
        let count =
            if self.total > 0 { format!(", {} of {} {}", self.done, self.total, self.unit) } else { String::new() };
        format!("{}{relation}, {}{count}", self.command, self.phase)
    }
}

impl From<crate::pg::progress::Progress> for Progress {
    fn from(seen: crate::pg::progress::Progress) -> Self {
        Self {
            command: seen.command,
            phase: seen.phase,
            relation: seen.relation,
            done: seen.done,
            total: seen.total,
            unit: seen.unit,
        }
    }
}

/// What `doctor` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// The worst level of all findings.
    pub level: String,
    /// The version of this program.
    pub version: String,
    /// The version of the time zone data inside this program, such as `2026a`.
    pub time_zone_data: Option<String>,
    /// Everything that was looked at, place by place; what is as it should be too.
    pub findings: Vec<Finding>,
}

/// Something that was looked at, and how it was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Finding {
    /// `ok`, `note`, `warning` or `error`.
    pub level: String,
    /// `reach`, `version`, `pooler`, `clock`, `time_zone`, `rights`, `tools`, `repository`, `disk`, `settings`, `holders`,
    /// `indexes`, `age`, `ledger` or `daemons`.
    pub check: String,
    /// The target; null for a control database that is none.
    pub target: Option<String>,
    /// The job that it concerns, if one in particular.
    pub job: Option<String>,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub why: Option<String>,
    /// What to do, in words.
    pub remedy: Option<String>,
    /// What to do, as SQL for psql.
    pub sql: Option<String>,
}

/// A backup in a repository, or what looks like one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Backup {
    /// Its name.
    pub id: String,
    /// The repository that it is in.
    pub repository: String,
    /// The system identifier of the server that it is of.
    pub server: String,
    /// `good`, `incomplete`, `damaged`, `unfinished` or `in_the_making`.
    pub state: String,
    /// Why it is not good.
    pub reason: Option<String>,
    /// How it was made: `dump`; null, like all the rest, when its manifest cannot be read.
    pub method: Option<String>,
    /// The job that made it.
    pub job: Option<String>,
    /// The target through which the server was reached.
    pub target: Option<String>,
    /// The run that made it.
    pub run_id: Option<String>,
    /// The server's version, such as `16.4`.
    pub server_version: Option<String>,
    /// When it was begun, by the server's clock; no later change is in it for certain.
    pub started_at: Option<Instant>,
    /// When everything had been read back and compared, by the server's clock.
    pub completed_at: Option<Instant>,
    /// The bytes of its files.
    pub bytes: Option<u64>,
    /// The databases in it.
    pub databases: Vec<String>,
    /// When its files were last read and compared by `backup verify`.
    pub checked_at: Option<Instant>,
}

/// What `backup verify` found of one backup.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BackupCheck {
    /// Its name.
    pub id: String,
    /// The repository that it is in.
    pub repository: String,
    /// The system identifier of the server that it is of.
    pub server: String,
    /// How many files were read; null when its manifest cannot be read.
    pub files: Option<usize>,
    /// The bytes that they should have.
    pub bytes: Option<u64>,
    /// What is not as it was written; empty when all is well.
    pub damage: Vec<Damage>,
}

/// A file that is not as it was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Damage {
    /// Its path inside the backup.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// What `backup prune` did in one repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PrunedRepository {
    /// The repository.
    pub repository: String,
    /// The backups that were removed.
    pub removed: Vec<String>,
    /// What was never finished, and was cleared away.
    pub leftovers: Vec<String>,
    /// Whether that was only looked at, and nothing was removed.
    pub dry_run: bool,
}
