//! The samples of `/metrics`: what the process knows by itself, and what the ledger says.
//!
//! There is a series for each configured pair of job and target and for no other, so that what leaves the configuration
//! leaves the page, and nothing that stands in a table can make it grow.

use std::collections::BTreeSet;

use super::fresh::Fresh;
use super::{LastReload, Source};
use crate::calendar::Paused;
use crate::ledger::gauges::Gauges;
use crate::ledger::tally::Counts;
use crate::run_state::{AttemptOutcome, Outcome, StepOutcome};
use crate::telemetry::metrics::{Exposition, Metric};
use crate::telemetry::process::Process;

/// Everything there is to say now. Without the control database it is what the process knows.
pub(super) async fn exposition(source: &Source, fresh: &Fresh) -> Exposition {
    let mut page = Exposition::default();
    let pairs = pairs(source);
    of_daemon(&mut page, source);
    of_process(&mut page, Process::look());
    count(&mut page, &pairs, &source.ledger.counts());
    // The version is looked at as well: a ledger that is not ours may answer and mean something else.
    let gauges = match fresh.ledger(&source.ledger).await {
        Ok(()) => fresh.gauges(&source.ledger, &pairs).await,
        Err(error) => Err(error),
    };
    page.put(Metric::ControlUp, &[], truth(gauges.is_ok()));
    if let Ok(gauges) = gauges {
        of_ledger(&mut page, source, &pairs, &gauges);
    }
    page
}

/// Every configured pair of job and target.
fn pairs(source: &Source) -> Vec<(String, String)> {
    let jobs = source.config.jobs.iter();
    jobs.flat_map(|(name, job)| job.targets.iter().map(|target| (name.to_string(), target.to_string()))).collect()
}

const fn truth(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn signed(count: i64) -> f64 {
    count as f64
}

fn of_daemon(page: &mut Exposition, source: &Source) {
    page.put(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
    page.put(Metric::Workers, &[], f64::from(source.config.workers.get()));
    let reloads = source.reloads;
    page.put(Metric::ReloadSuccessful, &[], truth(reloads.last == LastReload::Taken));
    page.put(Metric::ReloadTimestamp, &[], signed(reloads.taken_at.as_second()));
    page.put(Metric::Reloads, &["taken"], number(reloads.taken));
    page.put(Metric::Reloads, &["kept"], number(reloads.kept));
    if let Some((shared, pulse)) = &source.engine {
        if let Some(at) = pulse.borrow().at {
            page.put(Metric::SchedulerIdle, &[], at.elapsed().as_secs_f64());
        }
        for target in source.config.targets.keys() {
            page.put(Metric::TargetAvailable, &[target.as_str()], truth(shared.availability.is_fit(target)));
        }
    }
}

fn of_process(page: &mut Exposition, process: Process) {
    for (metric, value) in [
        (Metric::ProcessCpu, process.cpu_seconds),
        (Metric::ProcessMemory, process.resident_bytes),
        (Metric::ProcessFiles, process.open_files),
        (Metric::ProcessStart, process.started_at),
    ] {
        if let Some(value) = value {
            page.put(metric, &[], value);
        }
    }
}

/// The counters, from zero on: one that appeared only with its first event would hide that event from `increase()`.
fn count(page: &mut Exposition, pairs: &[(String, String)], counts: &Counts) {
    for place in pairs {
        let labels = [place.0.as_str(), place.1.as_str()];
        let with = |outcome| [labels[0], labels[1], outcome];
        for outcome in Outcome::ALL {
            let ended = counts.runs.get(&(place.clone(), *outcome)).copied().unwrap_or(0);
            page.put(Metric::Runs, &with(outcome.as_str()), number(ended));
        }
        for outcome in AttemptOutcome::ALL {
            let ended = counts.attempts.get(&(place.clone(), *outcome)).copied().unwrap_or(0);
            page.put(Metric::Attempts, &with(outcome.as_str()), number(ended));
        }
        for outcome in StepOutcome::ALL {
            let ended = counts.steps.get(&(place.clone(), *outcome)).copied().unwrap_or(0);
            page.put(Metric::Steps, &with(outcome.as_str()), number(ended));
        }
        page.put(Metric::RunSeconds, &labels, counts.run_seconds.get(place).copied().unwrap_or(0.0));
        page.put(Metric::Statements, &labels, number(counts.statements.get(place).copied().unwrap_or(0)));
        page.put(Metric::FreedBytes, &labels, number(counts.freed_bytes.get(place).copied().unwrap_or(0)));
    }
}

fn of_ledger(page: &mut Exposition, source: &Source, pairs: &[(String, String)], gauges: &Gauges) {
    let ledger = gauges.ledger;
    page.put(Metric::Daemons, &[], signed(ledger.daemons));
    page.put(Metric::QueueWait, &[], ledger.longest_wait.max(0.0));
    page.put(Metric::LeasesLapsed, &[], signed(ledger.lapsed));
    page.put(Metric::HeartbeatAge, &[], ledger.longest_silence.max(0.0));
    page.put(Metric::NoticesWaiting, &[], signed(ledger.notices));
    // An answer may be a second old, and the configuration newer.
    let known: BTreeSet<(&str, &str)> = pairs.iter().map(|(job, target)| (job.as_str(), target.as_str())).collect();
    for job in gauges.jobs.iter().filter(|job| known.contains(&(job.job.as_str(), job.target.as_str()))) {
        let labels = [job.job.as_str(), job.target.as_str()];
        page.put(Metric::Queued, &labels, signed(job.queued));
        page.put(Metric::Running, &labels, signed(job.running));
        page.put(Metric::LastSuccess, &labels, job.last_success.unwrap_or(0.0));
        if let Some(outcome) = &job.last_outcome {
            page.put(Metric::LastOutcome, &[labels[0], labels[1], outcome], 1.0);
        }
        for (metric, value) in [
            (Metric::LastDue, job.last_due),
            (Metric::LastEnd, job.last_finished),
            (Metric::LastDuration, job.last_seconds),
            (Metric::LastBytesBefore, job.bytes_before),
            (Metric::LastBytesAfter, job.bytes_after),
        ] {
            if let Some(value) = value {
                page.put(metric, &labels, value);
            }
        }
    }
    for entry in source.config.entries.iter().filter(|entry| entry.paused == Paused::No) {
        let next = gauges.entries.iter().find(|gauge| gauge.entry == entry.name.as_str());
        if let Some(next) = next {
            page.put(Metric::NextDue, &[entry.name.as_str(), entry.job.as_str()], next.next_due);
        }
    }
}
