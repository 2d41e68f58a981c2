//! `schedules.yaml` as it is typed: the mirror that serde reads and the JSON Schema is made from.
//!
//! Nothing here knows what a value means; [`resolve`](super::resolve) does. Every struct refuses unknown keys, and its
//! example is loaded by a test. A key without a value is as good as no key.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::read::Keys;
use super::value::{Count, Dates, Days, Names, Part, Reference, TargetList, Times};
use super::{LogFormat, Preset, Rotation};
use crate::calendar::{CatchUp, Overlap};
use crate::lengths::Elapsed;

/// The file as a whole.
///
/// ```yaml
/// version: 1
/// timezone: Europe/Berlin
/// workers: 4
/// control: mlflow
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys such as `version: 1`")]
pub struct File {
    /// The version of this form of file: 1.
    #[schemars(required, extend("const" = 1))]
    pub version: Option<Part<Count>>,
    /// The IANA time zone of every time in this file that does not name its own; UTC if left out.
    pub timezone: Option<Part<String>>,
    /// The database that the ledger lives in: a target's name, or a connection of its own. The first target if left out.
    pub control: Option<Part<Control>>,
    /// How many runs this daemon works on at a time: 1 to 64, 4 if left out.
    #[schemars(range(min = 1, max = 64))]
    pub workers: Option<Part<Count>>,
    /// The databases to care for, by name.
    #[schemars(required)]
    pub targets: Option<Part<Names<Part<Target>>>>,
    /// Where backups are, by name.
    pub repositories: Option<Part<Names<Part<Repository>>>>,
    /// Spans of civil time in which work may start, by name.
    pub windows: Option<Part<Names<Part<Window>>>>,
    /// What holds where an entry or a job does not say.
    pub defaults: Option<Part<Defaults>>,
    /// What can be done, by name.
    pub jobs: Option<Part<Names<Part<Job>>>>,
    /// When it is done.
    pub schedules: Option<Part<Schedules>>,
    /// Where log lines go.
    pub logging: Option<Part<Logging>>,
    /// Where the pages for monitoring are.
    pub http: Option<Part<Http>>,
}

/// A database to care for.
///
/// ```yaml
/// targets:
///   mlflow: { url: "env:DATABASE_URL", preset: mlflow }
///   shop:
///     url: "postgres://pgupkeep@db.internal:5432/shop?sslmode=verify-full"
///     password: "env:SHOP_PASSWORD"
///     max_runs: 1
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a target such as { url: \"env:DATABASE_URL\" }")]
pub struct Target {
    /// A `postgres://` URL, or `env:NAME` or `file:PATH` for where it is found.
    #[schemars(required)]
    pub url: Option<Reference>,
    /// The password, as `env:NAME` or `file:PATH`; it replaces the URL's.
    pub password: Option<Reference>,
    /// How many runs may work on it at a time, over all daemons; 2 if left out.
    #[schemars(range(min = 1, max = 64))]
    pub max_runs: Option<Count>,
    /// The application whose schema lives there.
    pub preset: Option<Preset>,
}

/// The control database: a target's name, or a connection of its own.
///
/// ```yaml
/// control: { url: "env:PGUPKEEP_CONTROL_URL", password: "env:PGUPKEEP_CONTROL_PASSWORD" }
/// ```
#[derive(Debug)]
pub enum Control {
    /// The target of that name.
    Target(String),
    /// A database that is no target.
    Database(ControlDatabase),
}

/// A control database that is no target.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlDatabase {
    /// A `postgres://` URL, or `env:NAME` or `file:PATH` for where it is found.
    #[schemars(required)]
    pub url: Option<Reference>,
    /// The password, as `env:NAME` or `file:PATH`; it replaces the URL's.
    pub password: Option<Reference>,
}

/// A place where backups are.
///
/// ```yaml
/// repositories:
///   local: { url: "file:///var/backups/pgupkeep" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a repository such as { url: \"file:///var/backups/pgupkeep\" }")]
pub struct Repository {
    /// `file://` and the absolute path of a folder; the folder is made if only itself is missing.
    #[schemars(required, regex(pattern = "^file:///."))]
    pub url: Option<String>,
}

/// A span of civil time in which work may start; it may reach over midnight.
///
/// ```yaml
/// windows:
///   night: { from: "01:00", to: "05:00" }
///   weekend: { from: "22:00", to: "06:00", days: [friday, saturday], timezone: Europe/Berlin }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a window such as { from: \"01:00\", to: \"05:00\" }")]
pub struct Window {
    /// When it opens.
    #[schemars(required)]
    pub from: Option<String>,
    /// When it closes; the next day if this is not after `from`.
    #[schemars(required)]
    pub to: Option<String>,
    /// The weekdays on which it opens; every day if left out.
    pub days: Option<Days>,
    /// Its IANA time zone, if not the file's.
    pub timezone: Option<String>,
}

/// What holds where an entry or a job does not say.
///
/// ```yaml
/// defaults:
///   jitter: 5m
///   catch_up: once
///   catch_up_limit: 24
///   overlap: skip
///   timeout: 4h
///   retries: 2
///   shutdown_grace: 8s
///   lease: 30s
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys such as `jitter: 5m`")]
pub struct Defaults {
    /// The longest random delay of a start; none if left out.
    pub jitter: Option<Elapsed>,
    /// What becomes of firings that fell due while nothing was running; `once` if left out.
    pub catch_up: Option<CatchUp>,
    /// How many firings `catch_up: all` makes up for at most; 24 if left out.
    #[schemars(range(min = 1, max = 1000))]
    pub catch_up_limit: Option<Count>,
    /// What becomes of a firing whose job still waits or works on the target; `skip` if left out.
    pub overlap: Option<Overlap>,
    /// How long an attempt may take; no limit if left out.
    pub timeout: Option<Elapsed>,
    /// How many attempts may follow one that failed; what the job's kind says if left out.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<Count>,
    /// How long running steps may go on after SIGTERM; 8s if left out.
    pub shutdown_grace: Option<Elapsed>,
    /// How long a claim is good for without a heartbeat: 1s to 1h, 30s if left out.
    pub lease: Option<Elapsed>,
}

/// Configured maintenance: a kind with its parameters.
///
/// ```yaml
/// jobs:
///   vacuum-analyze: { kind: vacuum }
///   vacuum-everything:
///     kind: vacuum
///     with: { always: true }
///     targets: [mlflow]
///     timeout: 6h
///     retries: 1
///   full: { kind: sequence, with: { jobs: [vacuum-everything] }, targets: mlflow }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a job such as { kind: vacuum }")]
pub struct Job {
    /// What sort of maintenance it is.
    #[schemars(required)]
    pub kind: Option<String>,
    /// The kind's parameters.
    pub with: Option<Value>,
    /// Where it runs; every target if left out.
    pub targets: Option<TargetList>,
    /// How long an attempt may take.
    pub timeout: Option<Elapsed>,
    /// How many attempts may follow one that failed.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<Count>,
}

/// When jobs are done.
///
/// ```yaml
/// schedules:
///   daily: [{ job: vacuum-analyze, at: "02:00", window: night }]
///   reload: [{ job: vacuum-analyze }]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of `daily`, `weekly`, `monthly`, `quarterly`, `cron` and `reload`")]
pub struct Schedules {
    /// Every day.
    pub daily: Option<Part<Vec<Part<DailyEntry>>>>,
    /// On days of the week.
    pub weekly: Option<Part<Vec<Part<WeeklyEntry>>>>,
    /// On days of the month.
    pub monthly: Option<Part<Vec<Part<DatedEntry>>>>,
    /// On days of the first month of each quarter.
    pub quarterly: Option<Part<Vec<Part<DatedEntry>>>>,
    /// By a cron expression.
    pub cron: Option<Part<Vec<Part<CronEntry>>>>,
    /// At every good reload.
    pub reload: Option<Part<Vec<Part<ReloadEntry>>>>,
}

/// Declares the entries that fire by the calendar: each has keys of its own and the same ones after them.
macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident ($expecting:literal) { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, expecting = $expecting)]
        pub struct $name {
            /// Its name in the ledger; `<cadence>/<job>` if left out.
            pub name: Option<String>,
            /// The job that it fires.
            #[schemars(required)]
            pub job: Option<String>,
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// The window in which its runs may start.
            pub window: Option<String>,
            /// Its IANA time zone, if not the file's.
            pub timezone: Option<String>,
            /// The longest random delay of a start.
            pub jitter: Option<Elapsed>,
            /// What becomes of firings that fell due while nothing was running.
            pub catch_up: Option<CatchUp>,
            /// How many firings `catch_up: all` makes up for at most.
            #[schemars(range(min = 1, max = 1000))]
            pub catch_up_limit: Option<Count>,
            /// What becomes of a firing whose job still waits or works on the target.
            pub overlap: Option<Overlap>,
            /// Whether its firings are only recorded as skipped.
            pub paused: Option<bool>,
        }

        impl $name {
            /// The keys that every entry has that fires by the calendar.
            pub(crate) fn shared(&self) -> Shared<'_> {
                Shared {
                    name: self.name.as_deref(),
                    job: self.job.as_deref(),
                    absent: [$((stringify!($field), self.$field.is_none()),)*]
                        .into_iter()
                        .filter_map(|(key, is_absent)| is_absent.then_some(key))
                        .collect(),
                    window: self.window.as_deref(),
                    timezone: self.timezone.as_deref(),
                    jitter: self.jitter,
                    catch_up: self.catch_up,
                    catch_up_limit: self.catch_up_limit,
                    overlap: self.overlap,
                    paused: self.paused,
                }
            }
        }
    )*};
}

/// The keys that every entry has that fires by the calendar.
#[derive(Debug, Clone)]
pub(crate) struct Shared<'e> {
    pub(crate) name: Option<&'e str>,
    pub(crate) job: Option<&'e str>,
    /// The keys of its own that it has not, or that were refused.
    pub(crate) absent: Vec<&'static str>,
    pub(crate) window: Option<&'e str>,
    pub(crate) timezone: Option<&'e str>,
    pub(crate) jitter: Option<Elapsed>,
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) catch_up_limit: Option<Count>,
    pub(crate) overlap: Option<Overlap>,
    pub(crate) paused: Option<bool>,
}

entries! {
    /// An entry that fires every day.
    ///
    /// ```yaml
    /// schedules:
    ///   daily:
    ///     - { job: vacuum-analyze, at: ["02:00", "14:00"], window: night, jitter: 10m }
    /// ```
    DailyEntry ("an entry such as { job: vacuum-analyze, at: \"02:00\" }") {
        /// The times of day.
        #[schemars(required)]
        at: Times,
    }

    /// An entry that fires on days of the week.
    ///
    /// ```yaml
    /// schedules:
    ///   weekly:
    ///     - { job: vacuum-analyze, on: sunday, at: "02:30" }
    ///     - { name: twice-a-week, job: vacuum-analyze, on: [tuesday, friday], at: "03:00", overlap: queue }
    /// ```
    WeeklyEntry ("an entry such as { job: vacuum-analyze, on: sunday, at: \"02:00\" }") {
        /// The weekdays.
        #[schemars(required)]
        on: Days,
        /// The times of day.
        #[schemars(required)]
        at: Times,
    }

    /// An entry that fires on days of the month, or of the first month of each quarter.
    ///
    /// ```yaml
    /// schedules:
    ///   monthly:
    ///     - { job: vacuum-analyze, on: [1, 15], at: "02:00" }
    ///     - { name: month-end, job: vacuum-analyze, on: last, at: "23:00" }
    ///   quarterly:
    ///     - { job: full, on: first saturday, at: "01:00", catch_up: once }
    /// ```
    DatedEntry ("an entry such as { job: vacuum-analyze, on: 1, at: \"02:00\" }") {
        /// The days: `1` to `31` (or the last day of a shorter month), `last`, `first saturday`, `last friday`; 1 if left out.
        on: Dates,
        /// The times of day.
        #[schemars(required)]
        at: Times,
    }

    /// An entry that fires by a cron expression.
    ///
    /// ```yaml
    /// schedules:
    ///   cron:
    ///     - { job: vacuum-analyze, cron: "*/15 8-18 * * MON-FRI", timezone: America/New_York, paused: true }
    /// ```
    CronEntry ("an entry such as { job: vacuum-analyze, cron: \"0 13 * * 1-5\" }") {
        /// Five fields, or six with the seconds first, or a name such as `@daily`; always in quotes.
        #[schemars(required)]
        cron: String,
    }
}

/// An entry that fires at every good reload: the on-demand trigger.
///
/// ```yaml
/// schedules:
///   reload:
///     - { job: vacuum-analyze, overlap: skip }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an entry such as { job: vacuum-analyze }")]
pub struct ReloadEntry {
    /// Its name in the ledger; `reload/<job>` if left out.
    pub name: Option<String>,
    /// The job that it fires.
    #[schemars(required)]
    pub job: Option<String>,
    /// What becomes of a firing whose job still waits or works on the target.
    pub overlap: Option<Overlap>,
    /// Whether its firings are only recorded as skipped.
    pub paused: Option<bool>,
}

/// Where log lines go.
///
/// ```yaml
/// logging:
///   level: "info,sqlx=warn"
///   format: json
///   stderr: true
///   file: { directory: /var/log/pgupkeep, rotation: daily, keep: 14 }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys such as `level: info`")]
pub struct Logging {
    /// What is logged, in the syntax of `RUST_LOG`; `info` if left out.
    pub level: Option<String>,
    /// How a line looks; `text` if left out.
    pub format: Option<LogFormat>,
    /// Whether lines go to standard error; `true` if left out.
    pub stderr: Option<bool>,
    /// A rolling file that they go to as well.
    pub file: Option<Part<LogFile>>,
}

/// Where the pages for monitoring are: `/livez`, `/readyz` and `/metrics`.
///
/// ```yaml
/// http: { listen: "127.0.0.1:7432" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as { listen: \"127.0.0.1:7432\" }")]
pub struct Http {
    /// An address and a port, or `off`; `127.0.0.1:7432` if left out.
    pub listen: Option<String>,
}

/// A log file that rolls over by time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys such as `directory: /var/log/pgupkeep`")]
pub struct LogFile {
    /// The folder it is in, relative to the folder of this file.
    #[schemars(required)]
    pub directory: Option<String>,
    /// How often a new file begins; `daily` if left out.
    pub rotation: Option<Rotation>,
    /// How many files are kept; 14 if left out.
    #[schemars(range(min = 1, max = 1000))]
    pub keep: Option<Count>,
}

/// Declares which keys a map cannot do without.
macro_rules! needed {
    ($($name:ident: [$($key:literal),*];)*) => {$(
        impl Keys for $name {
            const NEEDED: &'static [&'static str] = &[$($key),*];
        }
    )*};
}

needed! {
    // What a whole file lacks is told with what would be right.
    File: [];
    Target: ["url"];
    ControlDatabase: ["url"];
    Repository: ["url"];
    Window: ["from", "to"];
    Defaults: [];
    Job: ["kind"];
    Schedules: [];
    DailyEntry: ["job", "at"];
    WeeklyEntry: ["job", "on", "at"];
    DatedEntry: ["job", "at"];
    CronEntry: ["job", "cron"];
    ReloadEntry: ["job"];
    Logging: [];
    Http: [];
    LogFile: ["directory"];
}
