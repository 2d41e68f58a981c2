//! The kinds of job, and what a kind is.
//!
//! Adding a kind is one file here, its `mod` line and its line in [`JOB_KINDS`]. A kind's file always reads the same:
//! its spec, the facts it needs, a pure `decide`, the [`Job`] implementation, tests.

pub mod archive;
pub mod archive_restore;
pub mod backup;
pub mod context;
pub mod drive;
pub mod journal;
pub mod outfit;
pub mod pattern;
pub mod prune_history;
pub mod reindex;
pub mod sequence;
pub mod sql;
pub mod until;
pub mod vacuum;

use std::fmt::Display;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Fault;
use crate::names::JobName;
use context::{Context, JobError};
use drive::Finish;

/// A job as it stands in a run's row: the copy that later reloads cannot change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The job's name in the file.
    pub name: JobName,
    /// Its kind, one of [`JOB_KINDS`].
    pub kind: String,
    /// Its parameters, as its kind understands them, defaults filled in.
    pub with: Value,
    /// How long an attempt may take.
    pub timeout_ms: Option<u64>,
    /// How many attempts may follow one that failed.
    pub retries: u32,
    /// The jobs of a sequence, in order; empty for every other kind.
    #[serde(default)]
    pub inner: Vec<JobSpec>,
}

impl JobSpec {
    /// The job itself, and then those of a sequence.
    pub fn with_inner(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.inner)
    }

    /// How long an attempt may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// The keys of which no two running runs may hold the same: `(target, job)`, the jobs inside, `(target, heavy)`.
    pub fn exclusive_keys(&self, target: &str) -> Vec<String> {
        // A slash inside a name is doubled, so that no two names make the same key.
        let target = target.replace('/', "//");
        let key = |job: &Self| format!("{target}/job/{}", job.name.as_str().replace('/', "//"));
        let mut keys = vec![key(self)];
        keys.extend(self.inner.iter().map(key));
        if self.weight() == Weight::Heavy || self.inner.iter().any(|inner| inner.weight() == Weight::Heavy) {
            keys.push(format!("{target}/heavy"));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    fn weight(&self) -> Weight {
        kind(&self.kind).map_or(Weight::Light, |kind| kind.profile.weight)
    }
}

/// What the engine must know about a kind before it starts one.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Whether two of them may work on one target at the same time.
    pub weight: Weight,
    /// How many attempts may follow one that failed, unless the job says `retries`.
    pub retries: u32,
    /// One line for people.
    pub about: &'static str,
}

/// Whether a kind shares a target with other work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It may run beside others.
    Light,
    /// At most one heavy run works on a target.
    Heavy,
}

/// A kind of maintenance; the value is the job's `with:`.
pub trait Job: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The kind's name in the file.
    const KIND: &'static str;
    /// What the engine must know.
    const PROFILE: Profile;
    /// One unit of work, small enough to be repeated; printed in plans, logs and the ledger.
    type Step: Display + Send + Sync;

    /// What contradicts itself, all of it in words, before any database is asked.
    ///
    /// # Errors
    /// Says so.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Reads the facts and decides what to do; changes nothing.
    fn plan(&self, cx: &mut Context) -> impl Future<Output = Result<Vec<Self::Step>, JobError>> + Send;

    /// Whether the steps after one that failed are still worth doing.
    fn on_failure(&self) -> OnFailure {
        OnFailure::Continue
    }

    /// Whether after such a failure of a step the next ones would only fail in the same way, whatever they are.
    fn is_hopeless(&self, _step: &Self::Step, fault: Fault) -> bool {
        matches!(fault, Fault::Unreachable | Fault::ReadOnly | Fault::Login | Fault::DiskFull | Fault::Corrupt)
    }

    /// Whether everything was in vain unless this step is done.
    fn is_vital(&self, _step: &Self::Step) -> bool {
        false
    }

    /// Does one step; must be repeatable after a crash at any moment.
    fn perform(&self, step: &Self::Step, cx: &mut Context)
    -> impl Future<Output = Result<StepReport, JobError>> + Send;
}

/// What becomes of the steps after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are done all the same.
    Continue,
    /// They are left undone.
    Stop,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepReport {
    /// The work is done, and that was checked.
    Done(Measures),
    /// The statements came back normally, but the work is not done.
    NotDone {
        /// Why, for people.
        reason: String,
        /// How the failure is handled: whether a retry can help.
        fault: Fault,
        /// What was seen all the same.
        measures: Measures,
    },
}

/// What was measured around a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measures {
    /// Rows that the statement changed or returned.
    pub rows: Option<i64>,
    /// Bytes of what it worked on, before.
    pub bytes_before: Option<i64>,
    /// Bytes of what it worked on, after.
    pub bytes_after: Option<i64>,
    /// Whatever else the kind wants on record, as a JSON object.
    pub detail: Option<Value>,
}

/// A plan in the making: its steps as text.
pub type Planning<'a> = BoxFuture<'a, Result<Vec<String>, JobError>>;

/// A kind with its type erased, as the engine and the configuration use it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The kind's name in the file.
    pub name: &'static str,
    /// What the engine must know.
    pub profile: Profile,
    /// Reads a `with:` and gives it back complete, defaults filled in.
    pub read_with: fn(&Value) -> Result<Value, WithError>,
    /// Describes `with:` for editors.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Plans only: the steps as text.
    pub plan: for<'a> fn(&'a Value, &'a mut Context) -> Planning<'a>,
    /// Plans and performs.
    pub drive: for<'a> fn(&'a Value, &'a mut Context) -> BoxFuture<'a, Finish>,
}

/// A `with:` that its kind does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WithError {
    /// Where inside `with:`, one segment a level; empty for the whole.
    pub path: Vec<String>,
    /// What was expected there.
    pub message: String,
}

/// Every kind there is; a kind that is not here is unknown.
pub const JOB_KINDS: &[Kind] = &[
    entry::<vacuum::Vacuum>(),
    entry::<reindex::Reindex>(),
    entry::<archive::spec::Archive>(),
    entry::<archive_restore::ArchiveRestore>(),
    entry::<backup::Backup>(),
    entry::<sql::Sql>(),
    entry::<sequence::Sequence>(),
    entry::<prune_history::PruneHistory>(),
];

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    JOB_KINDS.iter().find(|kind| kind.name == name)
}

const fn entry<J: Job>() -> Kind {
    Kind {
        name: J::KIND,
        profile: J::PROFILE,
        read_with: read_with::<J>,
        schema: |generator| generator.subschema_for::<J>(),
        plan: |with, cx| Box::pin(plan::<J>(with, cx)),
        drive: |with, cx| Box::pin(drive::drive_spec::<J>(with, cx)),
    }
}

fn read_with<J: Job>(with: &Value) -> Result<Value, WithError> {
    let job: J = parse_with(with)?;
    serde_json::to_value(&job).map_err(|error| WithError { path: Vec::new(), message: error.to_string() })
}

/// Reads a `with:` as the kind's own type.
///
/// # Errors
/// Says where inside `with:` something else was expected.
pub fn parse_with<J: Job>(with: &Value) -> Result<J, WithError> {
    let job: J = serde_path_to_error::deserialize(with).map_err(|error| {
        let path = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
                serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        WithError { path, message: error.into_inner().to_string() }
    })?;
    job.check().map_err(|message| WithError { path: Vec::new(), message })?;
    Ok(job)
}

async fn plan<J: Job>(with: &Value, cx: &mut Context) -> Result<Vec<String>, JobError> {
    let job: J = parse_with(with)?;
    Ok(job.plan(cx).await?.iter().map(ToString::to_string).collect())
}
