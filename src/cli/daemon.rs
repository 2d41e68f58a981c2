//! `pgupkeep daemon`: runs the schedules until told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::exit::Exit;
use super::{load, output};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::config::env::process_variable;
use crate::config::problem::Finding;
use crate::engine::reload::{Reloaded, patiently, register, reload};
use crate::engine::{Engine, Pulse, beside};
use crate::http::{self, LastReload, Phase, Reloads, Source};
use crate::ledger::{Ledger, LedgerError};
use crate::secret::{Redactor, SecretSet};
use crate::signals::{Order, Signals};
use crate::telemetry::logging::{self, LoggingError};

/// Loads, logs, runs; everything that can be wrong with the file is said before anything starts.
pub fn daemon(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => Arc::new(config),
        Err(exit) => return exit,
    };
    let (secrets, redactor) = Redactor::new();
    secrets.learn(config.secrets.iter().cloned());
    let level = process_variable("RUST_LOG").ok();
    let guard = match logging::start(&config.logging, level.as_deref(), &redactor) {
        Ok(guard) => guard,
        Err(error) => {
            output::complain(&placed(path, &error));
            return Exit::Configuration;
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let exit = super::wait_for(run(path, config, (secrets, redactor)));
    drop(guard);
    exit
}

/// The words for logging that cannot be set up, with the place of what is to blame.
fn placed(path: &Path, error: &LoggingError) -> String {
    let keys: &[&str] = match error {
        LoggingError::Folder { .. } => &["logging", "file", "directory"],
        LoggingError::Level(..) | LoggingError::Twice(_) => return error.to_string(),
    };
    Config::problem_at(path, keys, Finding::new(error.to_string())).to_string()
}

async fn run(path: &Path, config: Arc<Config>, secrets: (SecretSet, Redactor)) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be listened to");
            return Exit::Failed;
        }
    };
    let daemon_id = Uuid::new_v4();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        daemon = %daemon_id,
        config = %path.display(),
        targets = config.targets.len(),
        jobs = config.jobs.len(),
        entries = config.entries.len() + config.reload.len(),
        workers = config.workers,
        "pgupkeep starts"
    );
    notify(&[NotifyState::Ready, NotifyState::Status("waiting for the control database")]);
    let ledger = match Ledger::new(&config.control.connection, "pgupkeep/ledger") {
        Ok(ledger) => ledger,
        Err(error) => return refuse(&error),
    };
    let source = watch::Sender::new(Source {
        config: Arc::clone(&config),
        ledger: ledger.clone(),
        redactor: secrets.1.clone(),
        engine: None,
        reloads: Reloads { taken: 0, kept: 0, taken_at: SystemClock.now(), last: LastReload::Taken },
        phase: Phase::Starting,
    });
    let _pages = beside(http::serve(source.subscribe()));
    tokio::select! {
        prepared = prepare(&ledger, &config, daemon_id) => if let Err(error) = prepared {
            return refuse(&error);
        },
        () = signals.stop() => {
            tracing::info!("told to stop before the control database was reached");
            return Exit::Done;
        }
        () = feed_watchdog() => {}
    }
    let engine = match Engine::start(Arc::clone(&config), ledger, daemon_id, secrets).await {
        Ok(engine) => engine,
        Err(error) => {
            tracing::error!(%error, "the engine could not be started");
            return Exit::Failed;
        }
    };
    source.send_modify(|source| {
        source.engine = Some((engine.shared.clone(), engine.pulse.clone()));
        source.phase = Phase::Working;
    });
    tracing::info!("ready");
    attend(path, engine, &mut signals, &source).await
}

/// Brings the ledger up to date and registers this daemon, waiting for the control database where it is away.
async fn prepare(ledger: &Ledger, config: &Config, daemon_id: Uuid) -> Result<(), LedgerError> {
    let applied = patiently(ledger, || ledger.migrate()).await?;
    if !applied.is_empty() {
        tracing::info!(versions = ?applied, "brought the ledger up to date");
    }
    patiently(ledger, || ledger.beat_daemon(daemon_id)).await?;
    register(ledger, daemon_id, config).await
}

/// Tells systemd for ever that this process is alive: for waits that may last, such as that for the control database.
async fn feed_watchdog() {
    let mut watchdog = tokio::time::interval(watchdog_interval());
    loop {
        watchdog.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Follows orders until the end.
async fn attend(path: &Path, mut engine: Engine, signals: &mut Signals, source: &watch::Sender<Source>) -> Exit {
    let mut watchdog = tokio::time::interval(watchdog_interval());
    let mut pulse = engine.pulse.clone();
    loop {
        tokio::select! {
            order = signals.next() => match order {
                Order::Reload => {
                    notify(&reloading());
                    tracing::info!("reloading");
                    let reloaded = tokio::select! {
                        reloaded = reload(&engine, path) => reloaded,
                        () = signals.stop() => return stop(engine, signals, source, Exit::Done).await,
                        () = feed_watchdog() => Reloaded::Kept,
                    };
                    source.send_modify(|source| note_reload(source, &engine, reloaded));
                    let status = match reloaded {
                        Reloaded::Taken => "reloaded",
                        Reloaded::Kept => "reload refused; the running configuration stays in force",
                    };
                    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
                }
                Order::Stop => return stop(engine, signals, source, Exit::Done).await,
            },
            _ = watchdog.tick() => {
                // When the scheduler is stuck, the watchdog is left to bite.
                if !pulse.borrow().is_stuck() {
                    notify(&[NotifyState::Watchdog]);
                }
            }
            Ok(()) = pulse.changed() => tell_next(&pulse.borrow_and_update()),
            broken = engine.broken() => {
                tracing::error!("{broken}; stopping, so that whoever supervises this process starts it anew");
                return stop(engine, signals, source, Exit::Failed).await;
            }
        }
    }
}

/// Brings the pages up to date after a reload.
fn note_reload(source: &mut Source, engine: &Engine, reloaded: Reloaded) {
    let reloads = &mut source.reloads;
    match reloaded {
        Reloaded::Taken => {
            source.config = engine.shared.config.borrow().clone();
            reloads.taken += 1;
            reloads.taken_at = SystemClock.now();
            reloads.last = LastReload::Taken;
        }
        Reloaded::Kept => {
            reloads.kept += 1;
            reloads.last = LastReload::Kept;
        }
    }
}

async fn stop(engine: Engine, signals: &mut Signals, source: &watch::Sender<Source>, exit: Exit) -> Exit {
    source.send_modify(|source| source.phase = Phase::Stopping);
    let grace = engine.shared.config.borrow().shutdown_grace;
    tracing::info!(grace = %humantime::format_duration(grace), "stopping: no new work");
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    let began = Instant::now();
    tokio::select! {
        () = engine.drain(grace) => {
            tracing::info!(elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "stopped");
            exit
        }
        () = signals.stop() => {
            tracing::warn!("told a second time: leaving now; what ran is rescued when its lease is over");
            Exit::Failed
        }
    }
}

fn tell_next(pulse: &Pulse) {
    let status = pulse.next.as_ref().map_or_else(|| "nothing is scheduled".to_owned(), |next| format!("next: {next}"));
    notify(&[NotifyState::Status(&status)]);
}

fn reloading() -> Vec<NotifyState<'static>> {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    states
}

/// Tells systemd; where there is none, nothing happens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Half of what systemd allows; without a watchdog the ticks go nowhere.
fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(30), |limit| limit / 2)
}

fn refuse(error: &LedgerError) -> Exit {
    tracing::error!(fault = %error.fault(), hint = error.hint(), %error, "pgupkeep cannot start");
    Exit::of_ledger(error)
}
