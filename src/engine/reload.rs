//! Taking up a configuration: at the start, and at every SIGHUP.
//!
//! A bad file changes nothing. A good one is made known to the ledger first and swapped in after that, so that its
//! entries never plan against another file's cursors.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::Engine;
use super::scheduler::admit;
use crate::config::diff::{difference, needs_restart};
use crate::config::env::process_variable;
use crate::config::resolve::LoadError;
use crate::config::{Config, Paused};
use crate::ledger::run::NewRun;
use crate::ledger::schedule::{CountsFrom, Decision, Registered, View};
use crate::ledger::{Ledger, LedgerError};
use crate::names::EntryName;
use crate::run_state::{Outcome, Trigger};

const RETRY: Duration = Duration::from_secs(1);

/// Makes a configuration's entries known, waiting for the control database where it is away.
///
/// # Errors
/// When the control database fails in a way that waiting does not mend.
pub async fn register(ledger: &Ledger, daemon_id: Uuid, config: &Config) -> Result<(), LedgerError> {
    let entries = definitions(config);
    let registered = patiently(ledger, || ledger.register_entries(daemon_id, &entries, CountsFrom::Now)).await?;
    for (entry, what) in registered {
        match what {
            Registered::New => tracing::info!(%entry, "schedule entry is new; it counts from now"),
            Registered::Changed => tracing::info!(%entry, "schedule entry has changed; it counts from now"),
            Registered::Retired => tracing::info!(%entry, "schedule entry is no longer configured"),
        }
    }
    Ok(())
}

/// Makes the running configuration's entries count again, once no daemon is up that took up another one later.
///
/// # Errors
/// When the control database fails.
pub async fn take_back(ledger: &Ledger, daemon_id: Uuid, config: &Config) -> Result<bool, LedgerError> {
    if !ledger.is_newest(daemon_id).await? {
        return Ok(false);
    }
    ledger.register_entries(daemon_id, &definitions(config), CountsFrom::WhereItStopped).await?;
    tracing::warn!(
        "the daemon with another configuration is gone; the entries of this one count again, those that it had retired from \
         where they stopped"
    );
    Ok(true)
}

fn definitions(config: &Config) -> Vec<(EntryName, String)> {
    config.entries.iter().map(|entry| (entry.name.clone(), entry.cadence.fingerprint())).collect()
}

/// Tries until it is done, while the failure is a passing one.
///
/// # Errors
/// Any failure that is not.
pub async fn patiently<T, F: Future<Output = Result<T, LedgerError>>>(
    ledger: &Ledger,
    work: impl Fn() -> F,
) -> Result<T, LedgerError> {
    loop {
        match work().await {
            Err(error) if error.is_passing() => {
                ledger.complain("start or reload", &error);
                tokio::time::sleep(RETRY).await;
            }
            result => return result,
        }
    }
}

/// What a SIGHUP led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The new configuration is in force and its `reload` entries have fired.
    Taken,
    /// The file was bad, or the ledger failed: the running configuration stays.
    Kept,
}

/// Reloads: load, validate everything, show the difference, swap or keep, fire the `reload` entries.
pub async fn reload(engine: &Engine, path: &Path) -> Reloaded {
    let old = engine.shared.config.borrow().clone();
    let new = match Config::load(path, &process_variable) {
        Ok(new) => Arc::new(new),
        Err(error) => {
            tell_bad(&error);
            return Reloaded::Kept;
        }
    };
    if let Err(error) = register(&engine.shared.ledger, engine.shared.daemon_id, &new).await {
        tracing::error!(%error, "the reload failed; the running configuration stays in force");
        return Reloaded::Kept;
    }
    let lines = difference(&old, &new);
    for line in &lines {
        tracing::info!("reload: {line}");
    }
    for line in needs_restart(&old, &new) {
        tracing::warn!("reload: {line}");
    }
    engine.swap_config(Arc::clone(&new));
    let instant = OnceLock::new();
    match patiently(&engine.shared.ledger, || fire(&engine.shared.ledger, &new, &instant)).await {
        Ok(fired) => tracing::info!(changes = lines.len(), fired, "reloaded"),
        Err(error) => tracing::error!(%error, "reloaded, but the reload entries could not be fired"),
    }
    engine.shared.work.ring();
    Reloaded::Taken
}

fn tell_bad(error: &LoadError) {
    for line in error.to_string().lines() {
        tracing::error!("reload: {line}");
    }
    tracing::error!("the file was not taken up; the running configuration stays in force");
}

/// Writes a run for each `reload` entry and target, due now; gives back how many.
///
/// The instant is kept over tries: when the answer to a commit was lost, the second try meets the rows of the first.
async fn fire(ledger: &Ledger, config: &Config, instant: &OnceLock<Timestamp>) -> Result<usize, LedgerError> {
    if config.reload.is_empty() {
        return Ok(0);
    }
    loop {
        if let Some((_, written)) =
            ledger.plan_firings(|view| reload_firings(config, view, *instant.get_or_init(|| view.now))).await?
        {
            return Ok(written.len());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn reload_firings(config: &Config, view: &View, instant: Timestamp) -> Decision {
    let mut active = view.active.clone();
    let mut runs = Vec::new();
    for entry in &config.reload {
        let Some(job) = config.jobs.get(&entry.job) else { continue };
        for target in &job.targets {
            let run = NewRun::queued(Some(entry.name.clone()), &job.spec, target, Trigger::Reload, instant);
            runs.push(match entry.paused {
                Paused::Yes => run.finished(Outcome::Skipped, "the schedule entry is paused".to_owned()),
                Paused::No => admit(run, entry.overlap, &mut active),
            });
        }
    }
    Decision { runs, cursors: Vec::new() }
}
