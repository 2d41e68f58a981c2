//! The `backup` job: a dump of every database of a target's server and of its globals, into a repository.
//!
//! It uses the tools of the server's own major version and nothing else of PostgreSQL. Each database is dumped under a
//! snapshot of ours, beside which its rows are counted; the dump is read by `pg_restore` from end to end; every file is
//! read back from the repository and compared; and only then there is a backup. A database that cannot be dumped does
//! not stop the others: what could be had is published, and says what is missing.
//!
//! It refuses to use tools of another version, to begin where the last backup would not fit, and to remove the last
//! good backup, whatever `keep` says. It covers a target's whole server, once per server.

mod complaints;
mod compress;
mod count;
mod dump;
mod facts;
mod publish;
mod reach;
mod step;
mod tools;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{Context, JobError};
use super::pattern::glob;
use super::{Job, Profile, StepReport, Weight};
use crate::amounts::rough_size;
use crate::fault::Fault;
use crate::lengths::Elapsed;
use crate::policy::retention::Keep;
use crate::repository::Repository;
use crate::repository::catalogue::{Entry, GoodBackup, Standing};
use crate::repository::layout::{BackupId, Spot};
use crate::repository::lease::Turn;
use crate::repository::manifest::Method;

pub(crate) use facts::is_of_the_provider;
pub(super) use facts::read_server;
pub use publish::{Pruned, not_kept, prune};
pub use step::{Step, What};
pub use tools::{Tools, find as find_tools};

/// How often it is looked whether somebody else's backup of the same server is done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The parameters of a `backup` job.
///
/// ```
/// # let yaml = r#"
/// method: dump                # pg_dump of every database, and the globals
/// repository: local           # one of `repositories`; may be left out if there is only one
/// keep: { daily: 7, weekly: 4, monthly: 12 }    # left out: nothing is ever removed
/// exclude: [scratch_*]        # databases that are not dumped
/// jobs: 2                     # tables dumped at a time
/// lock_wait: 60s              # how long a locked table is waited for
/// count_within: 10m           # tables that are not counted by then are estimated
/// tools: /opt/postgresql/bin  # default: where PostgreSQL's packages put them, then the PATH
/// # "#;
/// # let backup: pgupkeep::jobs::backup::Backup = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(backup.jobs.get(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// How it is made.
    #[serde(default = "dump_method")]
    pub method: Dump,
    /// The repository that it goes to; may be left out if there is only one, which the configuration then puts here.
    #[serde(default)]
    pub repository: String,
    /// How many days, weeks and months are kept; nothing is ever removed if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// Databases that are not dumped; `*` and `?` are wild.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How many tables of a database are dumped at a time.
    #[serde(default = "two")]
    pub jobs: Parallel,
    /// How long a table that somebody has locked is waited for.
    #[serde(default = "lock_wait")]
    pub lock_wait: Elapsed,
    /// How long rows are counted beside a dump; the tables that are left by then are estimated.
    #[serde(default = "count_within")]
    pub count_within: Elapsed,
    /// The folder of PostgreSQL's client tools, if they are in none of the usual places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<PathBuf>,
}

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dump {
    /// By `pg_dump`, each database by itself.
    Dump,
}

/// How many tables are dumped at a time: 1 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16")]
pub struct Parallel(#[schemars(range(min = 1, max = 32))] u16);

impl Parallel {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for Parallel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u16> for Parallel {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        if (1..=32).contains(&number) { Ok(Self(number)) } else { Err(format!("found {number}; expected 1 to 32")) }
    }
}

const fn dump_method() -> Dump {
    Dump::Dump
}

const fn two() -> Parallel {
    Parallel(2)
}

const fn lock_wait() -> Elapsed {
    Elapsed(Duration::from_mins(1))
}

const fn count_within() -> Elapsed {
    Elapsed(Duration::from_mins(10))
}

impl Job for Backup {
    const KIND: &'static str = "backup";
    const PROFILE: Profile = Profile {
        weight: Weight::Light,
        retries: 2,
        about: "dump every database of the server into a repository, read back and compared before it counts",
    };
    type Step = Step;

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        let server = read_server(cx).await?;
        let run = cx.run_due().await?;
        let (repository, turn) = match run {
            Some(_) => {
                let repository = cx.outfit.repositories.open(&self.repository)?;
                let turn = take_turn(&repository, &server.system_identifier, cx).await?;
                (Some(repository), Some(turn))
            }
            None => (cx.outfit.repositories.look_at(&self.repository)?, None),
        };
        let entries = match &repository {
            Some(repository) => repository.backups(&server.system_identifier).await?,
            None => Vec::new(),
        };
        let job = cx.spec.name.to_string();
        if let Some((_, due)) = run
            && let Some(done) = entries.iter().find(|entry| covers(entry, &job, due))
        {
            tracing::info!(backup = %done.spot.id, "this server has a backup of this job since the run fell due");
            return Ok(Vec::new());
        }
        let major = cx.server().major();
        let tools = find_tools(major, self.tools.as_deref(), &cx.outfit.search_path).await;
        let tools = tools.map_err(|message| JobError::Refused { fault: Fault::Statement, message })?;
        let mut databases = facts::read_databases(cx).await?;
        databases.retain(|database| !self.exclude.iter().any(|pattern| glob(pattern, &database.name)));
        let leftovers = match &repository {
            Some(repository) => repository.count_leftovers(&server.system_identifier).await?,
            None => 0,
        };
        let backups = self.keep.map_or(0, |keep| not_kept(&entries, &job, keep).len());
        let (repository_name, run_id) = (self.repository.clone(), run.map_or_else(Uuid::nil, |(run_id, _)| run_id));
        let spot = Spot { server: server.system_identifier.clone(), id: BackupId::new(server.now) };
        let dumped = databases.iter().map(|_| OnceLock::new()).collect();
        let (globals, spool) = (OnceLock::new(), OnceLock::new());
        let site = step::Site {
            repository,
            repository_name,
            spot,
            server,
            tools,
            run_id,
            databases,
            globals,
            dumped,
            spool,
            _turn: turn,
        };
        Ok(decide(self, &Arc::new(site), leftovers, backups))
    }

    /// A database that fails is of no concern to the others: what it had written is gone, and they may be smaller.
    fn is_hopeless(&self, step: &Step, fault: Fault) -> bool {
        match (&step.what, fault) {
            (_, Fault::Unreachable | Fault::Login) => true,
            (What::Database(_), _) => false,
            (_, fault) => matches!(fault, Fault::DiskFull | Fault::Corrupt),
        }
    }

    /// Without a manifest there is no backup, whatever was dumped.
    fn is_vital(&self, step: &Step) -> bool {
        matches!(step.what, What::Publish)
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        let (site, name) = (&*step.site, step.to_string());
        match step.what {
            What::MakeRoom { .. } => publish::make_room(self, site, cx).await,
            What::Globals => {
                check_room(site).await?;
                dump::dump_globals(site, &name, cx).await
            }
            What::Database(nth) => dump::dump_database(self, site, nth, &name, cx).await,
            What::Publish => publish::publish(site, cx).await,
            What::Prune(keep) => publish::prune_step(site, keep, cx).await,
        }
    }
}

/// The steps of a backup.
fn decide(spec: &Backup, site: &Arc<step::Site>, leftovers: usize, backups: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    if leftovers + backups > 0 {
        steps.push(What::MakeRoom { leftovers, backups });
    }
    steps.push(What::Globals);
    steps.extend((0..site.databases.len()).map(What::Database));
    steps.push(What::Publish);
    steps.extend(spec.keep.map(What::Prune));
    steps.into_iter().map(|what| Step { site: Arc::clone(site), what }).collect()
}

/// Whether a backup is what a run that fell due then was to make: by an earlier attempt, or for another target on the
/// same server.
fn covers(entry: &Entry, job: &str, due: Timestamp) -> bool {
    entry.standing == Standing::Good
        && entry.manifest.as_ref().is_some_and(|manifest| {
            manifest.method == Method::Dump && manifest.job == job && manifest.started_at >= due
        })
}

/// Waits until nobody else makes a backup of this server in this repository.
async fn take_turn(repository: &Repository, server: &str, cx: &mut Context) -> Result<Turn, JobError> {
    let mut told = false;
    loop {
        if let Some(turn) = repository.try_turn(server)? {
            return Ok(turn);
        }
        if !told {
            tracing::info!("waiting: another backup of this server is being made");
            told = true;
        }
        cx.pause(LOOK_EVERY).await?;
    }
}

/// Refuses to begin what would fill the disk.
async fn check_room(site: &step::Site) -> Result<(), JobError> {
    let repository = site.repository()?;
    let entries = repository.backups(&site.spot.server).await?;
    let newest =
        entries.iter().filter_map(|entry| entry.manifest.as_ref()).max_by_key(|manifest| manifest.completed_at);
    let (Some(newest), Some(free)) = (newest, repository.free_bytes()) else { return Ok(()) };
    if free >= newest.spool_bytes {
        return Ok(());
    }
    let [free, needed] = [free, newest.spool_bytes].map(|bytes| rough_size(i64::try_from(bytes).unwrap_or(i64::MAX)));
    Err(JobError::Refused {
        fault: Fault::DiskFull,
        message: format!(
            "the repository {} has {free} of room left, and the last backup took {needed}; nothing was dumped; \
             make room, or keep fewer backups",
            repository.name
        ),
    })
}

/// The newest backup of the context's target that one may count on, in the repository of that name, and how old it is.
///
/// It holds the target's own database; another database of the server may be missing from it. The age is counted on
/// the server's own clock, from the instant before its first snapshot: changes since then are not in it. The answer is
/// that of [`Repository::newest_good`], which does not read the files again.
///
/// # Errors
/// When there is no repository of that name, or it or the server cannot be read.
pub async fn newest_good(cx: &mut Context, repository: &str) -> Result<Option<(GoodBackup, Duration)>, JobError> {
    let server = read_server(cx).await?;
    let Some(repository) = cx.outfit.repositories.look_at(repository)? else { return Ok(None) };
    let newest = repository.newest_good(&server.system_identifier, Some(&server.database)).await?;
    Ok(newest.map(|good| {
        let age = Duration::try_from(server.now.duration_since(good.started_at)).unwrap_or_default();
        (good, age)
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn every_parameter_but_the_repository_has_a_default() {
        let backup: Backup = parse_with(&json!({ "repository": "local" })).expect("parameters");
        let written = serde_json::to_value(&backup).expect("it can be written");
        assert_eq!(
            written,
            json!({
                "method": "dump", "repository": "local", "exclude": [], "jobs": 2, "lock_wait": "1m",
                "count_within": "10m",
            })
        );
        assert_eq!(parse_with::<Backup>(&written), Ok(backup));
        let weekly: Backup = parse_with(&json!({ "keep": { "weekly": 2 } })).expect("parameters");
        assert_eq!(weekly.keep.expect("it keeps").to_string(), "1 daily, 2 weekly, 0 monthly");
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_its_place() {
        let check = |with, path: &[&str], message: &str| {
            let error = parse_with::<Backup>(&with).expect_err("refused");
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(message), "{error}");
        };
        check(json!({ "repository": "a", "method": "copy" }), &["method"], "dump");
        check(json!({ "repository": "a", "jobs": 0 }), &["jobs"], "1 to 32");
        check(json!({ "repository": "a", "keep": { "daily": 0 } }), &["keep", "daily"], "nonzero");
        check(json!({ "repository": "a", "keep": { "daily": 2, "hourly": 2 } }), &["keep", "hourly"], "unknown field");
        check(json!({ "repository": "a", "lock_wait": "soon" }), &["lock_wait"], "such as 30s");
    }
}
