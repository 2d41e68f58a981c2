//! `pgupkeep run`: a job, now.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::exit::Exit;
use super::follow::{Followed, Screen, follow};
use super::history::with_steps;
use super::prepare::Prepared;
use super::{json, local, output};
use crate::config::{Job, Target};
use crate::engine::Shared;
use crate::jobs::JobSpec;
use crate::ledger::history::Filter;
use crate::ledger::{Ledger, LedgerError};
use crate::run_state::Outcome;
use crate::signals::Signals;

/// What `run` is asked.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The job.
    job: String,
    /// Only this target of the job's; may be given several times.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Follow the run until it ends, and exit by its outcome.
    #[arg(long, conflicts_with = "local")]
    watch: bool,
    /// Do the work in this process, without a daemon, and exit by its outcome.
    #[arg(long)]
    local: bool,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Writes a run for each target, and follows or performs it where that is asked for.
pub async fn run(path: &Path, args: &Run) -> Exit {
    match run_all(path, args).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn run_all(path: &Path, args: &Run) -> Result<Exit, Exit> {
    let prepared = Prepared::load(path)?;
    let job = prepared.find_job(&args.job)?;
    let targets = prepared.find_targets(job, &args.target)?;
    if args.local {
        return perform_here(&prepared, &job.spec, &targets, args.json).await;
    }
    let ledger = ledger(&prepared).await?;
    let daemons_up = ledger.daemons_up().await.map_err(|error| prepared.refuse(&error))?;
    let runs = ask(&prepared, &ledger, job, &targets).await?;
    if daemons_up == 0 {
        tell_no_daemon(job);
    }
    let exit = if args.watch { watch(&prepared, &ledger, &runs).await? } else { Exit::Done };
    answer(&prepared, &ledger, &runs, args.json).await?;
    Ok(exit)
}

/// Writes a run of a job for each target, and performs it in this process.
///
/// # Errors
/// The exit code, with the reason printed.
pub(super) async fn perform_here(
    prepared: &Prepared,
    spec: &JobSpec,
    targets: &[&Target],
    as_json: bool,
) -> Result<Exit, Exit> {
    let _guard = local::log(prepared)?;
    for target in targets {
        local::preflight(prepared, target).await?;
    }
    let ledger = ledger(prepared).await?;
    let (runs, exit) = run_here(prepared, &ledger, spec, targets).await?;
    answer(prepared, &ledger, &runs, as_json).await?;
    Ok(exit)
}

async fn ledger(prepared: &Prepared) -> Result<Ledger, Exit> {
    let ledger = prepared.ledger("pgupkeep/run").await?;
    ledger.migrate().await.map_err(|error| prepared.refuse(&error))?;
    Ok(ledger)
}

/// Prints how the runs stand.
async fn answer(prepared: &Prepared, ledger: &Ledger, runs: &[Followed], as_json: bool) -> Result<(), Exit> {
    let runs = read(ledger, runs).await.map_err(|error| prepared.refuse(&error))?;
    if as_json {
        let daemons_up = ledger.daemons_up().await.map_err(|error| prepared.refuse(&error))?;
        output::say_json(&json::Asked { daemons_up, runs });
    } else {
        for run in &runs {
            output::say(&sentence(run));
        }
    }
    Ok(())
}

/// Writes a run for each target, for a daemon to pick up.
async fn ask(prepared: &Prepared, ledger: &Ledger, job: &Job, targets: &[&Target]) -> Result<Vec<Followed>, Exit> {
    let mut runs = Vec::new();
    for target in targets {
        let run_id =
            ledger.insert_manual_run(&job.spec, &target.name).await.map_err(|error| prepared.refuse(&error))?;
        runs.push(Followed { run_id, name: format!("{} on {}", job.spec.name, target.name) });
    }
    Ok(runs)
}

fn tell_no_daemon(job: &Job) {
    let name = &job.spec.name;
    output::complain(&format!(
        "no daemon is up: the run waits until one starts; `pgupkeep run {name} --local` does the work without one"
    ));
}

/// Follows runs side by side until all have ended, or until told to stop following.
async fn watch(prepared: &Prepared, ledger: &Ledger, runs: &[Followed]) -> Result<Exit, Exit> {
    let mut signals = listen()?;
    let screen = Screen::new();
    let soon = Notify::new();
    let all = join_all(runs.iter().map(|run| follow(ledger, run, &screen, &soon)));
    tokio::select! {
        ended = all => {
            let mut exit = Exit::Done;
            for standing in ended {
                let standing = standing.map_err(|error| prepared.refuse(&error))?;
                exit = exit.worse(exit_of(standing.and_then(|standing| standing.outcome).as_deref()));
            }
            Ok(exit)
        }
        _ = signals.next() => {
            screen.line("no longer following; the run goes on, and `pgupkeep cancel` stops it");
            Ok(Exit::Failed)
        }
    }
}

/// Writes and performs one run after the other in this process.
async fn run_here(
    prepared: &Prepared,
    ledger: &Ledger,
    spec: &JobSpec,
    targets: &[&Target],
) -> Result<(Vec<Followed>, Exit), Exit> {
    let mut signals = listen()?;
    let screen = Screen::new();
    let shared = Shared::local(Arc::clone(&prepared.config), ledger.clone(), prepared.redactor.clone());
    let (mut runs, mut exit) = (Vec::new(), Exit::Done);
    for target in targets {
        let run_id = ledger.insert_local_run(spec, &target.name).await.map_err(|error| prepared.refuse(&error))?;
        let run = Followed { run_id, name: format!("{} on {}", spec.name, target.name) };
        Box::pin(local::perform(prepared, &shared, (&run, target), &screen, &mut signals)).await?;
        let standing = ledger.standing(run_id).await.map_err(|error| prepared.refuse(&error))?;
        let outcome = standing.and_then(|standing| standing.outcome);
        exit = exit.worse(exit_of(outcome.as_deref()));
        runs.push(run);
        if outcome.as_deref() == Some(Outcome::Cancelled.as_str()) {
            break;
        }
    }
    Ok((runs, exit))
}

fn listen() -> Result<Signals, Exit> {
    Signals::listen().map_err(|error| {
        output::complain(&format!("signals cannot be listened to: {error}; nothing was done"));
        Exit::Failed
    })
}

/// What an outcome means; a run whose row is gone, or that has none, has not succeeded.
fn exit_of(outcome: Option<&str>) -> Exit {
    outcome.and_then(|outcome| outcome.parse().ok()).map_or(Exit::Failed, Exit::of_outcome)
}

/// The runs as they stand now.
async fn read(ledger: &Ledger, runs: &[Followed]) -> Result<Vec<json::Run>, LedgerError> {
    let mut read = Vec::new();
    for run in runs {
        let filter = Filter { run_id: Some(run.run_id), limit: 1, ..Filter::default() };
        for row in ledger.history(&filter).await? {
            read.push(with_steps(ledger, row).await?);
        }
    }
    Ok(read)
}

fn sentence(run: &json::Run) -> String {
    let name = format!("{} on {} ({})", run.job, run.target, run.run_id);
    let Some(outcome) = &run.outcome else { return format!("{name}: {}", run.state) };
    let why = output::or_blank(run.error.as_deref().or(run.reason.as_deref()).map(|why| format!(": {why}")));
    let took = output::or_blank(run.duration_ms.map(|took| format!(" in {}", output::elapsed(took))));
    let last = run.attempts_detail.as_ref().and_then(|attempts| attempts.last());
    let steps = last.and_then(|attempt| attempt.steps_done.zip(attempt.steps_planned));
    let done = match steps {
        None | Some((_, 0) | (0, 1)) => String::new(),
        Some((1, 1)) => ", 1 step done".to_owned(),
        Some((done, planned)) if done == planned => format!(", {done} steps done"),
        Some((done, planned)) => format!(", {done} of {planned} steps done"),
    };
    format!("{name}: {outcome}{took}{done}{why}")
}
