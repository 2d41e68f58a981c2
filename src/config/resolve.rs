//! From a file to a [`Config`], or to every problem that it has.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing_subscriber::EnvFilter;

use super::entries::{EntryDefaults, resolve_entries, resolve_windows, resolve_zone};
use super::env::{Variables, folder_of};
use super::jobs::{JobDefaults, Known, resolve_jobs};
use super::limits::{self, count, elapsed, non_zero};
use super::problem::{Finding, Problem, Problems, quote};
use super::read::{At, LARGEST_FILE, Reader, read_yaml};
use super::repositories::resolve_repositories;
use super::targets::{Lookup, resolve_control, resolve_targets};
use super::value::{Count, Part};
use super::{Config, Http, LogFile, LogFormat, Logging, Rotation, Stderr, file};
use crate::calendar::{CatchUp, Overlap};
use crate::secret::Secret;

/// The version of the form of file that this program reads.
const VERSION: u32 = 1;

const WORKERS: u32 = 4;
const CATCH_UP_LIMIT: u32 = 24;
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
const LEASE: Duration = Duration::from_secs(30);
const KEPT_LOG_FILES: u32 = 14;
const LEVEL: &str = "info";
/// Loopback only, and beside the ports of the server and its poolers.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7432));

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read at all.
    #[error("cannot read the configuration file {}: {source}; put schedules.yaml into this folder, or name it with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl Config {
    /// Reads a configuration file, with the variables and files that it refers to.
    ///
    /// # Errors
    /// Gives every problem of the file at once, or says why it cannot be read.
    pub fn load(path: &Path, variables: Variables<'_>) -> Result<Self, LoadError> {
        let bytes = read_bytes(path).map_err(|source| LoadError::Unreadable { path: path.to_path_buf(), source })?;
        Ok(Self::parse(&bytes, path, variables)?)
    }

    /// Reads a configuration from the bytes of a file; its path is for relative paths and messages.
    ///
    /// # Errors
    /// Gives every problem at once.
    pub fn parse(bytes: &[u8], path: &Path, variables: Variables<'_>) -> Result<Self, Problems> {
        let (config, found) = Self::parse_in_part(bytes, path, variables);
        Self::complete(config, found?, path)
    }

    fn complete(config: Option<Self>, warnings: Vec<Problem>, path: &Path) -> Result<Self, Problems> {
        // Without a problem there is a configuration: whatever is missing from it was told as a problem.
        config.map(|config| Self { warnings, ..config }).ok_or_else(|| {
            let finding =
                Finding::new("this file has a problem that nothing was said about; this is a defect of pgupkeep");
            Problems(vec![finding.stand_at(&path.display().to_string(), (1, 1), "")])
        })
    }

    /// Reads a configuration file for a command that only needs to find the ledger.
    ///
    /// A daemon goes on with the configuration that it has while its file is being edited, so looking at runs and
    /// cancelling them must not depend on the rest of the file. Where only that is wrong, the configuration comes
    /// without jobs and entries, and the problems with it.
    ///
    /// # Errors
    /// As [`Config::load`], when the problems leave open where the ledger is.
    pub fn load_for_ledger(path: &Path, variables: Variables<'_>) -> Result<(Self, Option<Problems>), LoadError> {
        let bytes = read_bytes(path).map_err(|source| LoadError::Unreadable { path: path.to_path_buf(), source })?;
        match Self::parse_in_part(&bytes, path, variables) {
            (Some(config), Err(problems)) if problems.0.iter().all(is_beside_the_ledger) => {
                let (jobs, entries, reload) = Default::default();
                Ok((Self { jobs, entries, reload, ..config }, Some(problems)))
            }
            (_, Err(problems)) => Err(problems.into()),
            (config, Ok(warnings)) => Ok((Self::complete(config, warnings, path)?, None)),
        }
    }

    /// A problem with a value of a file that had been read before, such as a folder that cannot be used.
    pub fn problem_at(path: &Path, keys: &[&str], finding: Finding) -> Problem {
        let name = path.display().to_string();
        let index = read_bytes(path).ok().and_then(|bytes| read_yaml(&name, &bytes).ok()).map(|(_, index)| index);
        match index.map(|index| index.locate(keys)) {
            Some(spot) => finding.stand_at(&name, spot.value, &spot.path),
            None => finding.stand_at(&name, (1, 1), &keys.join(".")),
        }
    }

    fn parse_in_part(
        bytes: &[u8],
        path: &Path,
        variables: Variables<'_>,
    ) -> (Option<Self>, Result<Vec<Problem>, Problems>) {
        let name = path.display().to_string();
        let (value, index) = match read_yaml(&name, bytes) {
            Ok(read) => read,
            Err(problems) => return (None, Err(problems)),
        };
        let mut reader = Reader::new(&name, index);
        let config = if value.is_null() {
            let finding = Finding::new("the file is empty");
            reader.refuse(&At::top(), finding.expected("`version: 1`, `targets`, `jobs` and `schedules`"));
            None
        } else {
            let file = reader.read_map::<file::File>(&value, &At::top());
            file.and_then(|file| resolve(&file, &folder_of(path), variables, &mut reader))
        };
        (config, reader.finish())
    }
}

/// Whether a problem stands in a section that says nothing of targets and the control database.
fn is_beside_the_ledger(problem: &Problem) -> bool {
    const SECTIONS: [&str; 9] =
        ["defaults", "http", "jobs", "logging", "repositories", "schedules", "timezone", "windows", "workers"];
    SECTIONS.iter().any(|section| {
        let rest = problem.path.strip_prefix(section);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Where the pages for monitoring are by this file, whatever else may be wrong with it.
///
/// A daemon goes on with the configuration that it has while its file is being edited, so looking at its pages must not
/// depend on the rest of the file, nor on secrets.
pub fn pages_of(path: &Path) -> Http {
    let name = path.display().to_string();
    let read = read_bytes(path).ok().and_then(|bytes| read_yaml(&name, &bytes).ok());
    let Some((value, index)) = read else { return Http { listen: Some(LISTEN) } };
    let section = value.get("http").and_then(|section| serde_json::from_value(section.clone()).ok());
    resolve_http(section.as_ref(), &mut Reader::new(&name, index))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn resolve(file: &file::File, folder: &Path, variables: Variables<'_>, reader: &mut Reader<'_>) -> Option<Config> {
    let top = At::top();
    check_version(file.version.as_ref(), reader);
    let zone_name = read_section::<String>(file.timezone.as_ref(), "timezone", reader);
    let timezone = resolve_zone(zone_name.as_deref(), &TimeZone::UTC, &top, reader);
    let workers = read_section::<Count>(file.workers.as_ref(), "workers", reader);
    let workers = count(workers, &limits::WORKERS, &top.key("workers"), reader).unwrap_or(WORKERS);
    let defaults = resolve_defaults(file.defaults.as_ref(), reader);
    let mut lookup = Lookup { folder, variables, secrets: Vec::new() };
    let targets = resolve_targets(file.targets.as_ref(), &mut lookup, reader);
    let control = resolve_control(file.control.as_ref(), &targets, &mut lookup, reader);
    lookup.secrets.extend(variables("PGPASSWORD").ok().filter(|password| !password.is_empty()).map(Secret::new));
    let windows = resolve_windows(file.windows.as_ref(), &timezone, reader);
    let repositories = resolve_repositories(file.repositories.as_ref(), reader);
    let known = Known { targets: &targets, repositories: &repositories };
    let jobs = resolve_jobs(file.jobs.as_ref(), known, defaults.job, folder, reader);
    let entries = resolve_entries(file.schedules.as_ref(), &timezone, defaults.entry, &windows, &jobs, reader);
    let logging = resolve_logging(file.logging.as_ref(), folder, reader);
    let http = resolve_http(file.http.as_ref(), reader);
    Some(Config {
        timezone,
        control: control?,
        targets: targets.good,
        repositories: repositories.good,
        search_path: variables("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
        workers: non_zero(workers),
        lease: defaults.lease,
        shutdown_grace: defaults.shutdown_grace,
        jobs: jobs.good,
        entries: entries.calendar,
        reload: entries.reload,
        logging,
        http,
        secrets: lookup.secrets,
        warnings: Vec::new(),
    })
}

fn read_section<T: serde::de::DeserializeOwned>(
    section: Option<&Part<T>>,
    key: &str,
    reader: &mut Reader<'_>,
) -> Option<T> {
    section.and_then(|section| reader.read(&section.value, &At::top().key(key)))
}

fn check_version(section: Option<&Part<Count>>, reader: &mut Reader<'_>) {
    let at = At::top().key("version");
    match section {
        None => reader.refuse_key(&At::top(), Finding::new("the key `version` is missing").expected("`version: 1`")),
        Some(section) => match reader.read::<Count>(&section.value, &at) {
            None | Some(Count(VERSION)) => {}
            Some(Count(other)) => {
                let finding = Finding::new(format!("this program does not know version {other} of the file"));
                reader.refuse(&at, finding.expected(VERSION.to_string()));
            }
        },
    }
}

struct Defaults {
    entry: EntryDefaults,
    job: JobDefaults,
    shutdown_grace: Duration,
    lease: Duration,
}

fn resolve_defaults(section: Option<&Part<file::Defaults>>, reader: &mut Reader<'_>) -> Defaults {
    let at = At::top().key("defaults");
    let typed = section.and_then(|section| reader.read_map::<file::Defaults>(&section.value, &at));
    let typed = typed.as_ref();
    let mut time = |typed, bounds, key: &str| elapsed(typed, bounds, &at.key(key), reader);
    let jitter = time(typed.and_then(|typed| typed.jitter), &limits::JITTER, "jitter");
    let timeout = time(typed.and_then(|typed| typed.timeout), &limits::TIMEOUT, "timeout");
    let grace = time(typed.and_then(|typed| typed.shutdown_grace), &limits::SHUTDOWN_GRACE, "shutdown_grace");
    let lease = time(typed.and_then(|typed| typed.lease), &limits::LEASE, "lease");
    let limit = typed.and_then(|typed| typed.catch_up_limit);
    let limit = count(limit, &limits::CATCH_UP, &at.key("catch_up_limit"), reader);
    let retries = count(typed.and_then(|typed| typed.retries), &limits::RETRIES, &at.key("retries"), reader);
    Defaults {
        entry: EntryDefaults {
            jitter: jitter.unwrap_or(Duration::ZERO),
            catch_up: typed.and_then(|typed| typed.catch_up).unwrap_or(CatchUp::Once),
            catch_up_limit: limit.unwrap_or(CATCH_UP_LIMIT),
            overlap: typed.and_then(|typed| typed.overlap).unwrap_or(Overlap::Skip),
        },
        job: JobDefaults { timeout, retries },
        shutdown_grace: grace.unwrap_or(SHUTDOWN_GRACE),
        lease: lease.unwrap_or(LEASE),
    }
}

fn resolve_logging(section: Option<&Part<file::Logging>>, folder: &Path, reader: &mut Reader<'_>) -> Logging {
    let at = At::top().key("logging");
    let typed = section.and_then(|section| reader.read_map::<file::Logging>(&section.value, &at));
    let (level, format, stderr, file) = match typed {
        Some(typed) => (typed.level, typed.format, typed.stderr, typed.file),
        None => (None, None, None, None),
    };
    let level = level.unwrap_or_else(|| LEVEL.to_owned());
    check_level(&level, &at.key("level"), reader);
    if stderr == Some(false) && file.is_none() {
        let finding = Finding::new("log lines would go nowhere");
        reader.refuse(&at.key("stderr"), finding.expected("`stderr: true`, or a `file`"));
    }
    let at = at.key("file");
    let file = file.and_then(|part| reader.read_map::<file::LogFile>(&part.value, &at)).and_then(|typed| {
        if typed.directory.as_ref().is_some_and(String::is_empty) {
            reader.refuse(&at.key("directory"), Finding::new("found an empty text").expected("the path of a folder"));
        }
        let keep = count(typed.keep, &limits::LOG_FILES, &at.key("keep"), reader).unwrap_or(KEPT_LOG_FILES);
        Some(LogFile {
            directory: folder.join(typed.directory?),
            rotation: typed.rotation.unwrap_or(Rotation::Daily),
            keep: non_zero(keep),
        })
    });
    let stderr = if stderr == Some(false) { Stderr::Off } else { Stderr::On };
    Logging { level, format: format.unwrap_or(LogFormat::Text), stderr, file }
}

fn resolve_http(section: Option<&Part<file::Http>>, reader: &mut Reader<'_>) -> Http {
    let at = At::top().key("http");
    let typed = section.and_then(|section| reader.read_map::<file::Http>(&section.value, &at));
    let listen = match typed.and_then(|typed| typed.listen).as_deref() {
        None => Some(LISTEN),
        Some("off") => None,
        Some(text) => {
            let address = text.parse().ok();
            if address.is_none() {
                let finding = Finding::new(format!("this is no address with a port: {}", quote(text)));
                let finding = finding.expected("numbers such as `127.0.0.1:7432` or `[::1]:7432`, or `off`");
                reader.refuse(&at.key("listen"), finding);
            }
            address
        }
    };
    Http { listen }
}

/// Checks a filter; a lone word that is no level would be taken for the name of a module, and nothing be logged.
fn check_level(level: &str, at: &At, reader: &mut Reader<'_>) {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    let is_word = level.chars().all(|c| c.is_ascii_alphanumeric());
    let is_level = LEVELS.contains(&level.to_lowercase().as_str());
    if is_word && !is_level || EnvFilter::try_new(level).is_err() {
        let finding = Finding::new(format!("this is no log filter: {}", quote(level)));
        let finding =
            finding.expected("a level (error, warn, info, debug, trace) or a filter such as `info,sqlx=warn`");
        reader.refuse(at, finding.nearest(level, LEVELS.iter().copied()));
    }
}
