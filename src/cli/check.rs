//! `pgupkeep check`: is the configuration right, and what does it mean?

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::exit::Exit;
use super::{json, output};
use crate::clock::{Clock, SystemClock};
use crate::config::env::process_variable;
use crate::config::problem::Problems;
use crate::config::resolve::LoadError;
use crate::config::{Config, Entry, Job, Paused};
use crate::names::TargetName;

/// What `check` is asked.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Loads the file, and prints what it means or every problem it has; asks no database.
pub fn check(path: &Path, args: &Check) -> Exit {
    let file = path.display().to_string();
    let loaded = Config::load(path, &process_variable);
    match (loaded, args.json) {
        (Ok(config), true) => {
            output::say_json(&answer(&file, &config, SystemClock.now()));
            Exit::Done
        }
        (Ok(config), false) => {
            tell(&file, &config, SystemClock.now());
            Exit::Done
        }
        (Err(error), true) => {
            output::say_json(&refusal(&file, &error));
            Exit::Configuration
        }
        (Err(error), false) => {
            output::complain(&error.to_string());
            Exit::Configuration
        }
    }
}

fn answer(file: &str, config: &Config, now: Timestamp) -> json::Checked {
    let job = |job: &Job| json::Job {
        job: job.spec.name.to_string(),
        kind: job.spec.kind.clone(),
        targets: names(&job.targets),
    };
    json::Checked {
        ok: true,
        file: file.to_owned(),
        problems: Vec::new(),
        warnings: config.warnings.iter().map(Into::into).collect(),
        timezone: Some(zone_name(&config.timezone)),
        control: config.control.target.as_ref().map(ToString::to_string),
        targets: config.targets.keys().map(ToString::to_string).collect(),
        jobs: config.jobs.values().map(job).collect(),
        entries: config
            .entries
            .iter()
            .map(|entry| entry_of(config, entry, entry.cadence.next_after(now), None))
            .collect(),
        reload: config.reload.iter().map(|entry| entry.name.to_string()).collect(),
    }
}

fn refusal(file: &str, error: &LoadError) -> json::Checked {
    let problems = match error {
        LoadError::Wrong(Problems(problems)) => problems.iter().map(Into::into).collect(),
        LoadError::Unreadable { .. } => vec![json::Problem {
            file: file.to_owned(),
            line: None,
            column: None,
            path: String::new(),
            message: error.to_string(),
            expected: None,
            suggestion: None,
        }],
    };
    json::Checked {
        ok: false,
        file: file.to_owned(),
        problems,
        warnings: Vec::new(),
        timezone: None,
        control: None,
        targets: Vec::new(),
        jobs: Vec::new(),
        entries: Vec::new(),
        reload: Vec::new(),
    }
}

fn tell(file: &str, config: &Config, now: Timestamp) {
    for warning in &config.warnings {
        output::complain(&format!("warning: {warning}"));
    }
    let zone = zone_name(&config.timezone);
    output::say(&format!("{file} is good; times are {zone} unless an entry names another zone"));
    let mut targets = output::table(&["TARGET", "PRESET", "RUNS AT A TIME", "LEDGER"]);
    for target in config.targets.values() {
        let preset = target.preset.map(|preset| match preset {
            crate::config::Preset::Mlflow => "mlflow",
        });
        let is_control = config.control.target.as_ref() == Some(&target.name);
        let ledger = if is_control { "here" } else { "" };
        targets.add_row([target.name.as_str(), preset.unwrap_or(""), &target.max_runs.to_string(), ledger]);
    }
    output::say("");
    output::say_table(&targets);
    if !config.jobs.is_empty() {
        let mut jobs = output::table(&["JOB", "KIND", "TARGETS"]);
        for job in config.jobs.values() {
            jobs.add_row([job.spec.name.as_str(), &job.spec.kind, &names(&job.targets).join(", ")]);
        }
        output::say("");
        output::say_table(&jobs);
    }
    if !config.entries.is_empty() || !config.reload.is_empty() {
        let mut entries = output::table(&["ENTRY", "JOB", "WHEN", "NEXT", "UTC"]);
        for entry in &config.entries {
            let next = entry.cadence.next_after(now);
            let when = match entry.paused {
                Paused::Yes => format!("{} (paused)", entry.cadence.describe()),
                Paused::No => entry.cadence.describe(),
            };
            let local = output::or_blank(next.map(|next| output::local(next, &config.timezone)));
            let utc = output::or_blank(next.map(|next| output::instant(crate::clock::to_sql(next))));
            entries.add_row([entry.name.as_str(), entry.job.as_str(), &when, &local, &utc]);
        }
        for entry in &config.reload {
            entries.add_row([entry.name.as_str(), entry.job.as_str(), "at every good reload", "", ""]);
        }
        output::say("");
        output::say_table(&entries);
    }
}

/// A schedule entry, with the instants that the caller knows of.
pub(super) fn entry_of(
    config: &Config,
    entry: &Entry,
    next: Option<Timestamp>,
    cursor: Option<Timestamp>,
) -> json::Entry {
    json::Entry {
        entry: entry.name.to_string(),
        job: entry.job.to_string(),
        targets: targets_of(config, entry),
        cadence: entry.cadence.describe(),
        window: entry.window.as_ref().map(|(name, _)| name.to_string()),
        paused: entry.paused == Paused::Yes,
        next_due_at: next.map(Into::into),
        next_due_local: next.map(|next| output::local_rfc3339(next, &config.timezone)),
        cursor_at: cursor.map(Into::into),
        is_displaced: false,
    }
}

/// The targets of an entry's job.
pub(super) fn targets_of(config: &Config, entry: &Entry) -> Vec<String> {
    config.jobs.get(&entry.job).map(|job| names(&job.targets)).unwrap_or_default()
}

fn names(targets: &[TargetName]) -> Vec<String> {
    targets.iter().map(ToString::to_string).collect()
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}
