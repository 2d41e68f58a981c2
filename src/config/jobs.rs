//! Jobs: their kinds, parameters and targets, and the jobs inside a sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::env::read_text;
use super::limits::{self, count, elapsed};
use super::problem::{Finding, one_of, quote};
use super::read::{At, Reader};
use super::repositories::{self, Need, take_repository};
use super::targets::{Targets, no_such_target};
use super::value::{Names, Part};
use super::{Job, file};
use crate::jobs::archive::preset::Preset;
use crate::jobs::archive::spec::Archive;
use crate::jobs::{self, JOB_KINDS, JobSpec};
use crate::names::{JobName, TargetName};

/// The kind whose jobs hold others.
const SEQUENCE: &str = "sequence";

/// The kind that may take a statement from a file.
const SQL: &str = "sql";

/// The kind that keeps what it makes in a repository.
const BACKUP: &str = "backup";

/// The kind that exports to one what it deletes for good.
const ARCHIVE: &str = "archive";

/// What a job may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) targets: &'a Targets,
    pub(super) repositories: &'a repositories::Known,
}

/// What holds where a job does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobDefaults {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
}

/// The jobs that are right, and what is known of the others.
pub(super) struct Jobs {
    pub(super) good: BTreeMap<JobName, Job>,
    /// Every name, right or wrong, with its kind.
    pub(super) kinds: BTreeMap<String, String>,
    /// The jobs that are part of a sequence.
    pub(super) inner: BTreeSet<String>,
}

impl Jobs {
    /// Finds a job's name, which is known even if the job itself is wrong.
    pub(super) fn find(&self, name: &str) -> Result<(), Finding> {
        if self.kinds.contains_key(name) {
            return Ok(());
        }
        let names = self.kinds.keys().map(String::as_str);
        let finding = Finding::new(format!("there is no job {}", quote(name)));
        let finding = match self.kinds.len() {
            0 => finding.expected("a job under `jobs`"),
            _ => finding.expected(one_of(names.clone())),
        };
        Err(finding.nearest(name, names))
    }
}

pub(super) fn resolve_jobs(
    section: Option<&Part<Names<Part<file::Job>>>>,
    known: Known<'_>,
    defaults: JobDefaults,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> Jobs {
    let at = At::top().key("jobs");
    let mut jobs = Jobs { good: BTreeMap::new(), kinds: BTreeMap::new(), inner: BTreeSet::new() };
    let parts = section.and_then(|section| reader.read::<Names<Part<file::Job>>>(&section.value, &at));
    for (name, part) in parts.map(|parts| parts.0).unwrap_or_default() {
        let at = at.key(&name);
        let kind = part.value.get("kind").and_then(Value::as_str).unwrap_or_default();
        jobs.kinds.insert(name.clone(), kind.to_owned());
        let parsed = JobName::parse(&name);
        if let Err(error) = &parsed {
            reader.refuse_key(&at, Finding::new(error.to_string()));
        }
        let job = resolve_job(&part.value, parsed.ok(), &at, known, defaults, folder, reader);
        if let Some(job) = job {
            jobs.good.insert(job.spec.name.clone(), job);
        }
    }
    fill_sequences(&mut jobs, &at, reader);
    check_archives(&jobs, &at, reader);
    jobs
}

/// What archivals of one target have to agree in.
struct Archived<'a> {
    name: &'a JobName,
    targets: &'a [TargetName],
    application: Option<String>,
    schema: String,
    what: String,
    keep: String,
}

/// Refuses archivals of one target that contradict each other: an application in several archives, since its marks tell of
/// one, or the same rows kept for different times, since one job would delete what the other is to keep.
fn check_archives(jobs: &Jobs, at: &At, reader: &mut Reader<'_>) {
    let mut known: Vec<Archived<'_>> = Vec::new();
    for (name, job) in jobs.good.iter().filter(|(_, job)| job.spec.kind == ARCHIVE) {
        let Ok(archive) = jobs::parse_with::<Archive>(&job.spec.with) else { continue };
        let (what, keep) = archive.keeping();
        let (application, keep, targets) = (archive.application(), keep.to_string(), job.targets.as_slice());
        let this = Archived { name, targets, application, schema: archive.schema, what, keep };
        let at = at.key(name.as_str()).key("with");
        let (at_schema, at_keep) = (at.key("schema"), at.key("archive_keep"));
        let others = || known.iter().filter(|other| other.targets.iter().any(|target| this.targets.contains(target)));
        let is_elsewhere = |other: &&Archived<'_>| {
            this.application.is_some() && other.application == this.application && other.schema != this.schema
        };
        if let Some(other) = others().find(is_elsewhere) {
            let message = format!(
                "this is {}, and {} in the job {}, which archives the same application; what is marked as archived tells of \
                 one archive",
                quote(&this.schema),
                quote(&other.schema),
                quote(other.name.as_str())
            );
            reader.refuse(&at_schema, Finding::new(message).expected("the same in both"));
        }
        // What was refused is not what is meant.
        if reader.has_refused(&at_keep) {
            continue;
        }
        if let Some(other) = others().find(|other| other.what == this.what && other.keep != this.keep) {
            let message = format!(
                "this is {}, and {} in the job {}, which archives the same: {}; what one keeps the other would delete",
                this.keep,
                other.keep,
                quote(other.name.as_str()),
                this.what
            );
            reader.refuse(&at_keep, Finding::new(message).expected("the same in both"));
        }
        known.push(this);
    }
}

fn resolve_job(
    value: &Value,
    name: Option<JobName>,
    at: &At,
    known: Known<'_>,
    defaults: JobDefaults,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> Option<Job> {
    let typed = reader.read_map::<file::Job>(value, at)?;
    let listed = typed.targets.map(|targets| targets.0);
    let is_list = value.get("targets").is_some_and(Value::is_array);
    let targets = resolve_job_targets(listed, is_list, &at.key("targets"), known.targets, reader);
    let timeout = elapsed(typed.timeout, &limits::TIMEOUT, &at.key("timeout"), reader).or(defaults.timeout);
    let retries = count(typed.retries, &limits::RETRIES, &at.key("retries"), reader).or(defaults.retries);
    let typed_kind = typed.kind?;
    let Some(kind) = jobs::kind(&typed_kind) else {
        let known = || JOB_KINDS.iter().map(|kind| kind.name);
        let finding = Finding::new(format!("unknown kind {}", quote(&typed_kind)));
        let finding = finding.expected(one_of(known())).nearest(&typed_kind, known());
        reader.refuse(&at.key("kind"), finding);
        return None;
    };
    let with = typed.with.unwrap_or_else(|| Value::Object(Map::new()));
    let with = resolve_with(kind, with, &at.key("with"), (folder, known), reader)?;
    let timeout_ms = timeout.and_then(|timeout| u64::try_from(timeout.as_millis()).ok());
    let retries = retries.unwrap_or(kind.profile.retries);
    let spec = JobSpec { name: name?, kind: kind.name.to_owned(), with, timeout_ms, retries, inner: Vec::new() };
    Some(Job { spec, targets })
}

fn resolve_with(
    kind: &jobs::Kind,
    mut with: Value,
    at: &At,
    (folder, known): (&Path, Known<'_>),
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let Some(parameters) = with.as_object_mut() else {
        reader.refuse(
            at,
            Finding::new(format!("this is not what a {} takes", kind.name)).expected("a map of its parameters"),
        );
        return None;
    };
    // What leaves the archive for good is exported first, where there is a place for it.
    let is_exported = parameters.get("archive_keep").is_some_and(|keep| keep != "off" && *keep != false);
    let taken = match kind.name {
        SQL => take_statement(parameters, at, folder, reader),
        BACKUP => take_repository(parameters, at, known.repositories, Need::Always, reader),
        ARCHIVE => {
            let preset = take_preset(parameters, at, folder, reader);
            let place = if is_exported {
                take_repository(parameters, at, known.repositories, Need::IfThereIsOne, reader)
            } else {
                Some(())
            };
            preset.and(place)
        }
        _ => Some(()),
    };
    // What was refused stands in the file all the same; the rest is read, so that all of its problems are told.
    let read = reader.read_by(&with, at, |with| (kind.read_with)(with).map_err(|error| (error.path, error.message)));
    taken.and(read)
}

/// Looks at a preset that is a file, and puts its whole path into its place, wherever a daemon may stand.
fn take_preset(parameters: &mut Map<String, Value>, at: &At, folder: &Path, reader: &mut Reader<'_>) -> Option<()> {
    let Some(name) = parameters.get("preset").and_then(Value::as_str) else { return Some(()) };
    // A name is the kind's own to look at.
    if Preset::embedded_names().contains(&name) || !name.contains(['/', '.']) {
        return Some(());
    }
    let path = folder.join(name).display().to_string();
    let scope = parameters.get("scope").and_then(Value::as_str);
    let preset = match read_text(name, folder).map(|text| Preset::read(name, &text)) {
        Err(finding) => Err(("preset", finding)),
        Ok(Err(error)) => Err(("preset", Finding::new(error.to_string()))),
        Ok(Ok(preset)) => preset.scope(scope).map(drop).map_err(|error| ("scope", Finding::new(error.to_string()))),
    };
    if let Err((key, finding)) = preset {
        reader.refuse(&at.key(key), finding);
        return None;
    }
    parameters.insert("preset".to_owned(), Value::String(path));
    Some(())
}

/// Puts the statement of `file:` into its place, so that a run's row holds what was sent.
fn take_statement(parameters: &mut Map<String, Value>, at: &At, folder: &Path, reader: &mut Reader<'_>) -> Option<()> {
    let Some(path) = parameters.shift_remove("file") else { return Some(()) };
    let at = at.key("file");
    if parameters.contains_key("statement") {
        reader.refuse_key(&at, Finding::new("there is a `statement` too").expected("either of them"));
        return None;
    }
    let statement = match path.as_str() {
        Some(path) => read_text(path, folder),
        None => Err(Finding::new("this is no path").expected("text such as `clean-up.sql`")),
    };
    match statement {
        Ok(statement) => {
            parameters.insert("statement".to_owned(), Value::String(statement));
            Some(())
        }
        Err(finding) => {
            reader.refuse(&at, finding);
            // In the place of what could not be read, so that nobody misses it.
            parameters.insert("statement".to_owned(), Value::String("select".to_owned()));
            None
        }
    }
}

fn resolve_job_targets(
    listed: Option<Vec<String>>,
    is_list: bool,
    at: &At,
    targets: &Targets,
    reader: &mut Reader<'_>,
) -> Vec<TargetName> {
    let Some(listed) = listed else { return targets.good.keys().cloned().collect() };
    let mut resolved = Vec::new();
    let mut seen = BTreeSet::new();
    for (nth, name) in listed.iter().enumerate() {
        let at = if is_list { at.nth(nth) } else { at.clone() };
        if !targets.names.contains(name) {
            reader.refuse(&at, no_such_target(name, targets));
        } else if !seen.insert(name) {
            reader.refuse(&at, Finding::new(format!("the target {} stands here twice", quote(name))));
        } else if let Some(target) = TargetName::parse(name).ok().filter(|name| targets.good.contains_key(name)) {
            resolved.push(target);
        }
    }
    resolved
}

/// Puts the jobs of every sequence into its spec.
fn fill_sequences(jobs: &mut Jobs, at: &At, reader: &mut Reader<'_>) {
    let mut filled: Vec<(JobName, Vec<JobSpec>)> = Vec::new();
    for (name, job) in jobs.good.iter().filter(|(_, job)| job.spec.kind == SEQUENCE) {
        let at = at.key(name.as_str()).key("with").key("jobs");
        let listed: Vec<&str> =
            job.spec.with["jobs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if listed.is_empty() {
            reader.refuse(&at, Finding::new("a sequence without jobs does nothing").expected("at least one job"));
        }
        let mut inner = Vec::new();
        let mut seen = BTreeSet::new();
        for (nth, part) in listed.iter().enumerate() {
            match part_of_sequence(name, job, part, jobs) {
                Ok(_) if !seen.insert(part) => {
                    let finding = Finding::new(format!("the job {} stands in this sequence twice", quote(part)));
                    reader.refuse(&at.nth(nth), finding);
                }
                Ok(spec) => inner.extend(spec),
                Err(finding) => reader.refuse(&at.nth(nth), finding),
            }
        }
        jobs.inner.extend(listed.iter().map(ToString::to_string));
        filled.push((name.clone(), inner));
    }
    for (name, inner) in filled {
        if let Some(job) = jobs.good.get_mut(&name) {
            job.spec.inner = inner;
        }
    }
}

/// The spec of a sequence's part, unless the part is wrong in a way that was told already.
fn part_of_sequence(name: &JobName, sequence: &Job, part: &str, jobs: &Jobs) -> Result<Option<JobSpec>, Finding> {
    jobs.find(part)?;
    if part == name.as_str() {
        return Err(Finding::new("a sequence cannot hold itself"));
    }
    if jobs.kinds.get(part).is_some_and(|kind| kind == SEQUENCE) {
        return Err(
            Finding::new(format!("{} is a sequence inside a sequence", quote(part))).expected("its jobs themselves")
        );
    }
    let Some(job) = JobName::parse(part).ok().and_then(|part| jobs.good.get(&part)) else { return Ok(None) };
    match sequence.targets.iter().find(|target| !job.targets.contains(target)) {
        Some(target) => {
            let message = format!("the sequence runs on the target `{target}`, the job {} does not", quote(part));
            Err(Finding::new(message).expected("`targets` of the sequence that all its jobs have"))
        }
        None => Ok(Some(job.spec.clone())),
    }
}
