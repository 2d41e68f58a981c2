//! `pgupkeep status`: where each job stands, what works and what waits, and whether the targets can be reached.

use std::path::Path;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::check::entry_of;
use super::exit::Exit;
use super::prepare::Prepared;
use super::{json, output};
use crate::config::{Config, Entry, Preset, Target};
use crate::engine::scheduler::own_cursor;
use crate::ledger::schedule::Cursor;
use crate::ledger::{Ledger, LedgerError};
use crate::pg::describe::{Revision, describe};

/// How many runs that wait are shown to people; programs get all.
const MOST_SHOWN: usize = 20;

/// What `status` is asked.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Prints the state of everything.
pub async fn status(path: &Path, args: &Status) -> Exit {
    match show(path, args).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn show(path: &Path, args: &Status) -> Result<(), Exit> {
    let prepared = Prepared::load_for_ledger(path)?;
    let ledger = prepared.ledger_as_it_is("pgupkeep/status").await?;
    let targets = join_all(prepared.config.targets.values().map(|target| look(&prepared, target))).await;
    let status = read(&prepared.config, &ledger, targets).await.map_err(|error| prepared.refuse(&error))?;
    if args.json {
        output::say_json(&status);
    } else {
        tell(&status);
    }
    Ok(())
}

async fn look(prepared: &Prepared, target: &Target) -> json::TargetState {
    let name = target.name.to_string();
    let revision = target.preset.map(|preset| match preset {
        Preset::Mlflow => Revision::Alembic,
    });
    match describe(&target.connection, revision).await {
        Ok(seen) => json::TargetState {
            target: name,
            reachable: true,
            error: None,
            server_version: Some(seen.server_version),
            role: Some(if seen.in_recovery { "standby" } else { "primary" }.to_owned()),
            database: Some(seen.database),
            size_bytes: Some(seen.size_bytes),
            mlflow_revision: seen.schema_revision,
        },
        Err(error) => json::TargetState {
            target: name,
            reachable: false,
            error: Some(prepared.redactor.clean(&error.to_string())),
            server_version: None,
            role: None,
            database: None,
            size_bytes: None,
            mlflow_revision: None,
        },
    }
}

async fn read(config: &Config, ledger: &Ledger, targets: Vec<json::TargetState>) -> Result<json::Status, LedgerError> {
    let (now, cursors) = ledger.cursors().await?;
    Ok(json::Status {
        daemons: ledger.daemons().await?.into_iter().map(Into::into).collect(),
        targets,
        entries: config.entries.iter().map(|entry| with_cursor(config, entry, &cursors, now)).collect(),
        jobs: ledger.overview().await?.into_iter().map(Into::into).collect(),
        active: ledger.active_runs(None).await?.into_iter().map(Into::into).collect(),
    })
}

/// An entry with its next instant: the first one that has no rows yet.
fn with_cursor(config: &Config, entry: &Entry, cursors: &[Cursor], now: Timestamp) -> json::Entry {
    let own = own_cursor(entry, cursors);
    let at = own.map(|cursor| cursor.at);
    let is_displaced = own.is_none() && cursors.iter().any(|cursor| cursor.entry == entry.name);
    json::Entry { is_displaced, ..entry_of(config, entry, entry.cadence.next_after(at.unwrap_or(now)), at) }
}

fn tell(status: &json::Status) {
    tell_daemons(&status.daemons);
    tell_targets(&status.targets);
    tell_entries(&status.entries);
    tell_jobs(&status.jobs);
    tell_active(&status.active);
}

fn tell_daemons(daemons: &[json::Daemon]) {
    if daemons.is_empty() {
        output::say("no daemon is up: nothing is planned or started until `pgupkeep daemon` runs");
        return;
    }
    let mut table = output::table(&["DAEMON", "VERSION", "PID", "UP SINCE"]);
    for daemon in daemons {
        let since = daemon.started_at.for_people();
        table.add_row([daemon.daemon_id.as_str(), &daemon.version, &daemon.pid.to_string(), &since]);
    }
    output::say_table(&table);
}

fn tell_targets(targets: &[json::TargetState]) {
    let mut table = output::table(&["TARGET", "STATE", "SERVER", "DATABASE", "SIZE", "MLFLOW SCHEMA"]);
    for target in targets {
        let state = match &target.error {
            Some(error) => output::brief(error),
            None => target.role.clone().unwrap_or_default(),
        };
        table.add_row([
            &target.target,
            &state,
            target.server_version.as_deref().unwrap_or(""),
            target.database.as_deref().unwrap_or(""),
            &output::or_blank(target.size_bytes.map(output::bytes)),
            target.mlflow_revision.as_deref().unwrap_or(""),
        ]);
    }
    output::say("");
    output::say_table(&table);
}

fn tell_entries(entries: &[json::Entry]) {
    if entries.is_empty() {
        return;
    }
    let mut table = output::table(&["ENTRY", "JOB", "WHEN", "NEXT DUE", "REMARK"]);
    for entry in entries {
        let remark = match &entry.cursor_at {
            _ if entry.paused => "paused",
            None if entry.is_displaced => {
                "left alone: the configuration that was taken up last has it not, or otherwise"
            }
            None => "no daemon has taken it up yet",
            Some(_) => "",
        };
        let next = output::or_blank(entry.next_due_at.as_ref().map(json::Instant::for_people));
        table.add_row([&entry.entry, &entry.job, &entry.cadence, &next, remark]);
    }
    output::say("");
    output::say_table(&table);
}

fn tell_jobs(jobs: &[json::JobState]) {
    output::say("");
    if jobs.is_empty() {
        output::say("no run is on record yet");
        return;
    }
    let mut table = output::table(&["JOB", "TARGET", "LAST", "DUE", "LAST SUCCESS", "QUEUED", "RUNNING", "REMARK"]);
    for job in jobs {
        table.add_row([
            &job.job,
            &job.target,
            job.last_outcome.as_ref().unwrap_or(&job.last_state),
            &job.last_due_at.for_people(),
            &output::or_blank(job.last_success_at.as_ref().map(json::Instant::for_people)),
            &job.queued.to_string(),
            &job.running.to_string(),
            &output::brief(job.remark.as_deref().unwrap_or_default()),
        ]);
    }
    output::say_table(&table);
}

fn tell_active(active: &[json::ActiveRun]) {
    if active.is_empty() {
        return;
    }
    let mut table = output::table(&["RUN", "JOB", "TARGET", "STATE", "SINCE", "REMARK"]);
    for run in active.iter().take(MOST_SHOWN) {
        let since = run.started_at.as_ref().unwrap_or(&run.due_at).for_people();
        table.add_row([&run.run_id, &run.job, &run.target, &run.state, &since, &remark(run)]);
    }
    output::say("");
    output::say_table(&table);
    if let Some(more @ 1..) = active.len().checked_sub(MOST_SHOWN) {
        output::say(&format!("and {more} more"));
    }
}

/// What a run does, or waits for.
fn remark(run: &json::ActiveRun) -> String {
    let mut remarks = Vec::new();
    if run.cancel_requested {
        remarks.push("asked to stop".to_owned());
    }
    if let Some(progress) = &run.progress {
        remarks.push(progress.for_people());
    }
    if let Some(other) = &run.blocked_by {
        remarks.push(format!("waits for run {other}"));
    }
    remarks.extend(run.reason.as_deref().map(output::brief));
    remarks.join("; ")
}
