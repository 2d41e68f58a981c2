//! What a good `schedules.yaml` means.
//!
//! Two stages: [`mod@file`] mirrors what was typed, [`resolve`] turns it into a [`Config`] or into every problem at
//! once, each with its place. Below this floor nothing about the configuration can be wrong.

pub mod diff;
mod entries;
pub mod env;
pub mod file;
pub mod index;
mod jobs;
mod limits;
pub mod problem;
pub mod read;
mod repositories;
pub mod resolve;
pub mod schema;
mod targets;
pub mod value;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calendar::{Cadence, CatchUp, Overlap, Window};
use crate::jobs::outfit::Outfit;
use crate::jobs::{Job as _, JobSpec};
use crate::names::{EntryName, JobName, TargetName, WindowName};
use crate::repository::Repositories;
use crate::secret::Secret;

/// Everything that a daemon needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The zone of every time in the file that does not name its own.
    pub timezone: TimeZone,
    /// Where the ledger lives; the first target unless `control` says otherwise.
    pub control: Control,
    /// The databases that we care for, by name.
    pub targets: BTreeMap<TargetName, Target>,
    /// Where backups are, by name.
    pub repositories: Repositories,
    /// Where programs are looked for, after the places that PostgreSQL's packages have: `PATH`.
    pub search_path: Vec<PathBuf>,
    /// How many runs this daemon works on at a time.
    pub workers: NonZeroU16,
    /// How long a claim is good for without a heartbeat.
    pub lease: Duration,
    /// How long running steps may go on after SIGTERM before they are cancelled.
    pub shutdown_grace: Duration,
    /// Every job by name, complete with its targets.
    pub jobs: BTreeMap<JobName, Job>,
    /// The entries that fire by the calendar.
    pub entries: Vec<Entry>,
    /// The entries that fire at every good reload.
    pub reload: Vec<ReloadEntry>,
    /// Where log lines go.
    pub logging: Logging,
    /// Where the pages for monitoring are.
    pub http: Http,
    /// Every secret that the file, its references and the environment brought in, for the redactor.
    pub secrets: Vec<Secret>,
    /// What is allowed but unwise, each with its place; told at start and by `check`.
    pub warnings: Vec<problem::Problem>,
}

impl Config {
    /// What jobs may use outside the databases.
    pub fn outfit(&self) -> Outfit {
        let (repositories, search_path) = (self.repositories.clone(), self.search_path.clone());
        let backups = self.jobs.values().filter(|job| job.spec.kind == crate::jobs::backup::Backup::KIND);
        let backed_up = backups.flat_map(|job| job.targets.iter().cloned()).collect();
        Outfit { repositories, search_path, backed_up, ..Outfit::default() }
    }
}

/// The control database: where the ledger's tables live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The target that it is, unless it is a database of its own.
    pub target: Option<TargetName>,
    /// How it is reached.
    pub connection: Connection,
}

/// How a database is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// A `postgres://` URL, secrets included.
    pub url: Secret,
    /// A password that replaces the URL's, from `password:`.
    pub password: Option<Secret>,
}

impl Connection {
    /// Whether both lead to the same database, with whatever credentials.
    pub fn is_same_database(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// The URL without credentials, spelled in the one way that is compared.
    fn place(&self) -> Option<url::Url> {
        let mut url = crate::pg::connect::parse_url(self.url.expose()).ok()?;
        // A URL that cannot hold credentials has none to compare.
        let _kept = (url.set_username(""), url.set_password(None));
        let is_here = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        if is_here && url.set_host(Some("localhost")).is_err() || url.set_scheme("postgres").is_err() {
            return None;
        }
        if url.host_str().is_some() && url.port().is_none() && url.set_port(Some(5432)).is_err() {
            return None;
        }
        Some(url)
    }
}

/// One database that we care for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the file.
    pub name: TargetName,
    /// How it is reached.
    pub connection: Connection,
    /// How many runs may work on it at a time, over all daemons.
    pub max_runs: NonZeroU16,
    /// The application whose schema lives there.
    pub preset: Option<Preset>,
}

/// An application whose schema we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The backend store of MLflow; `status` shows the revision of its schema.
    Mlflow,
}

/// A job and the targets that it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What is copied into each of its runs.
    pub spec: JobSpec,
    /// Where it runs: `targets:`, or every target.
    pub targets: Vec<TargetName>,
}

/// A schedule entry that fires by the calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its `name:`, else `<cadence>/<job>`.
    pub name: EntryName,
    /// The job that it fires.
    pub job: JobName,
    /// When it fires.
    pub cadence: Cadence,
    /// The span in which its runs may start, with its name.
    pub window: Option<(WindowName, Window)>,
    /// The longest random delay of a start.
    pub jitter: Duration,
    /// What becomes of firings that fell due while nothing was running.
    pub catch_up: CatchUp,
    /// How many firings `catch_up: all` makes up for at most.
    pub catch_up_limit: u32,
    /// What becomes of a firing whose job still waits or works on the target.
    pub overlap: Overlap,
    /// Whether its firings are recorded as skipped.
    pub paused: Paused,
}

pub use crate::calendar::Paused;

/// A schedule entry that fires at every good reload: the on-demand trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadEntry {
    /// Its `name:`, else `reload/<job>`.
    pub name: EntryName,
    /// The job that it fires.
    pub job: JobName,
    /// What becomes of a firing whose job still waits or works on the target.
    pub overlap: Overlap,
    /// Whether its firings are recorded as skipped.
    pub paused: Paused,
}

/// Where the pages for monitoring are: `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// The address to listen on; none means that there are no pages.
    pub listen: Option<SocketAddr>,
}

/// Where log lines go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// What is logged, in the syntax of `RUST_LOG`; that variable wins where it is set.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether lines go to standard error.
    pub stderr: Stderr,
    /// The rolling file they go to as well.
    pub file: Option<LogFile>,
}

/// Whether log lines go to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// They do.
    On,
    /// They do not; a file must then be named.
    Off,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A log file that rolls over by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The folder it is in.
    pub directory: PathBuf,
    /// How often a new file begins, in UTC.
    pub rotation: Rotation,
    /// How many files are kept.
    pub keep: NonZeroU16,
}

/// How often a new log file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// At every full hour.
    Hourly,
    /// At midnight UTC.
    Daily,
}
