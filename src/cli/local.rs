//! `run --local`: performs a run in this process, by the same rules as a daemon's worker.
//!
//! The run has its row, its claim, its lease and its locks like any other, so it never works beside a run that a daemon
//! has, and a daemon rescues it should this process die.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::exit::Exit;
use super::follow::{Followed, LOOK_EVERY, Screen, follow};
use super::prepare::Prepared;
use crate::config::env::process_variable;
use crate::config::{LogFormat, Logging, Stderr, Target};
use crate::engine::{Shared, attempt, rescuer};
use crate::ledger::LedgerError;
use crate::ledger::run::Capacity;
use crate::pg::session::Session;
use crate::signals::Signals;
use crate::telemetry::logging::{self, Guard};

/// What is logged unless `RUST_LOG` says otherwise: not what the steps and the answer say anyway.
const LEVEL: &str = "warn,sqlx=error,pgupkeep::engine::attempt=off,pgupkeep::jobs::drive=off";
/// How often dead workers are looked for while the run waits.
const RESCUE_EVERY: Duration = Duration::from_secs(2);
/// How long a run may take to stop after it was cancelled.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Log lines to standard error, for as long as the guard is held.
///
/// # Errors
/// [`Exit::Usage`] when `RUST_LOG` cannot be read.
pub(super) fn log(prepared: &Prepared) -> Result<Guard, Exit> {
    let logging = Logging { level: LEVEL.to_owned(), format: LogFormat::Text, stderr: Stderr::On, file: None };
    let level = process_variable("RUST_LOG").ok();
    logging::start(&logging, level.as_deref(), &prepared.redactor).map_err(|error| {
        prepared.complain(&error.to_string());
        Exit::Usage
    })
}

/// Makes sure that a target can be worked on, before anything is written.
///
/// # Errors
/// [`Exit::Unreachable`], or [`Exit::Failed`] for a standby, with the reason printed.
pub(super) async fn preflight(prepared: &Prepared, target: &Target) -> Result<(), Exit> {
    match Session::open(&target.connection, "pgupkeep/preflight").await {
        Ok(session) => {
            let is_standby = session.server.in_recovery;
            session.close().await;
            if is_standby {
                prepared.complain(&format!(
                    "the target {} is a standby, where nothing can be done until it is promoted; no run was written",
                    target.name
                ));
                return Err(Exit::Failed);
            }
            Ok(())
        }
        Err(error) => {
            let exit = prepared.refuse_target(&target.name, &error);
            prepared.complain("no run was written");
            Err(exit)
        }
    }
}

/// Performs a run that was written just now, and shows how it goes, until it has ended.
///
/// # Errors
/// [`Exit::Failed`] when it was left before its end, or the ledger's failure; with the reason printed.
pub(super) async fn perform(
    prepared: &Prepared,
    shared: &Shared,
    (run, target): (&Followed, &Target),
    screen: &Screen,
    signals: &mut Signals,
) -> Result<(), Exit> {
    let work = async {
        let ended = Notify::new();
        let mut following = std::pin::pin!(follow(&shared.ledger, run, screen, &ended));
        let worked = tokio::select! {
            followed = &mut following => return followed.map(drop),
            worked = work(shared, run.run_id, target) => worked,
        };
        worked?;
        ended.notify_one();
        following.await.map(drop)
    };
    let mut work = std::pin::pin!(work);
    let mut leave_at: Option<Instant> = None;
    loop {
        let too_long = async {
            match leave_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            worked = &mut work => return worked.map_err(|error| prepared.refuse(&error)),
            _ = signals.next() => {
                if leave_at.is_some() {
                    screen.line("leaving at once; the server stops the statement, and a daemon or the next `run --local` ends the run");
                    return Err(Exit::Failed);
                }
                screen.line("cancelling the run; press Ctrl-C again to leave at once");
                leave_at = Some(Instant::now() + STOP_LIMIT);
                if let Err(error) = shared.ledger.cancel_run(run.run_id).await {
                    screen.line(&prepared.redactor.clean(&format!("the run could not be cancelled: {error}")));
                }
                // Its heartbeat hears of it now, not seconds later.
                shared.work.ring();
            }
            () = too_long => {
                screen.line("the run did not stop in time; leaving, the server stops the statement");
                return Err(Exit::Failed);
            }
        }
    }
}

/// Claims the run whenever it may begin, and performs it, until it has ended here or elsewhere.
async fn work(shared: &Shared, run_id: Uuid, target: &Target) -> Result<(), LedgerError> {
    let capacity = Capacity { targets: vec![(target.name.clone(), target.max_runs.get())], only: Some(run_id) };
    let lease = shared.config.borrow().lease;
    let mut kept = BTreeSet::new();
    let mut rescue_at = Instant::now();
    loop {
        match shared.ledger.claim_run(shared.daemon_id, &capacity, lease).await {
            Ok(Some(claimed)) => {
                if attempt::perform(shared, claimed).await.is_some() {
                    return Ok(());
                }
            }
            Ok(None) => {
                let standing = patient(shared.ledger.standing(run_id).await)?.flatten();
                if standing.is_some_and(|standing| standing.state == "finished") {
                    return Ok(());
                }
            }
            Err(error) => drop(patient::<()>(Err(error))?),
        }
        // Without a daemon, nobody else takes its keys from a worker that died.
        if Instant::now() >= rescue_at {
            patient(rescuer::once(shared, &mut kept).await)?;
            rescue_at = Instant::now() + RESCUE_EVERY;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Nothing, where waiting helps.
fn patient<T>(result: Result<T, LedgerError>) -> Result<Option<T>, LedgerError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_passing() => Ok(None),
        Err(error) => Err(error),
    }
}
