//! `pgupkeep history`: what ran, newest first.

use std::path::Path;

use clap::builder::PossibleValuesParser;

use super::exit::Exit;
use super::prefix::{Among, RunPrefix};
use super::prepare::Prepared;
use super::{json, output};
use crate::ledger::history::{Filter, HistoryRow};
use crate::ledger::{Ledger, LedgerError};
use crate::run_state::Outcome;

/// What `history` is asked.
#[derive(Debug, clap::Args)]
pub struct History {
    /// Only runs of this job.
    #[arg(long)]
    job: Option<String>,
    /// Only runs on this target.
    #[arg(long)]
    target: Option<String>,
    /// Only runs that ended so.
    #[arg(long, value_parser = outcomes())]
    outcome: Option<String>,
    /// This run only, with its attempts and steps; the beginning of its id is enough.
    #[arg(long, value_name = "ID")]
    run: Option<RunPrefix>,
    /// At most so many runs.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    limit: i64,
    /// With the attempts and steps of each run.
    #[arg(long)]
    steps: bool,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

fn outcomes() -> PossibleValuesParser {
    PossibleValuesParser::new(Outcome::ALL.iter().map(|outcome| outcome.as_str()))
}

/// Prints runs.
pub async fn history(path: &Path, args: &History) -> Exit {
    match show(path, args).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn show(path: &Path, args: &History) -> Result<(), Exit> {
    let prepared = Prepared::load_for_ledger(path)?;
    let ledger = prepared.ledger_as_it_is("pgupkeep/history").await?;
    let run_id = match &args.run {
        Some(prefix) => Some(prefix.find(Among::All, &ledger, &prepared).await?.run_id),
        None => None,
    };
    let filter = Filter {
        job: args.job.clone(),
        target: args.target.clone(),
        outcome: args.outcome.clone(),
        run_id,
        limit: args.limit,
    };
    let read = async {
        let mut runs = Vec::new();
        for row in ledger.history(&filter).await? {
            runs.push(if args.steps || run_id.is_some() { with_steps(&ledger, row).await? } else { row.into() });
        }
        Ok(runs)
    };
    let runs: Vec<json::Run> = read.await.map_err(|error: LedgerError| prepared.refuse(&error))?;
    if args.json {
        output::say_json(&runs);
    } else if runs.is_empty() {
        let is_filtered = args.job.is_some() || args.target.is_some() || args.outcome.is_some() || args.run.is_some();
        output::say(if is_filtered { "no run matches" } else { "no run is on record yet" });
    } else {
        tell(&runs);
    }
    Ok(())
}

/// A run with its attempts and steps.
///
/// # Errors
/// When the control database fails.
pub(super) async fn with_steps(ledger: &Ledger, row: HistoryRow) -> Result<json::Run, LedgerError> {
    let run_id = row.run_id;
    let attempts = ledger.attempts(run_id).await?.into_iter().map(Into::into).collect();
    let steps = ledger.steps_after(run_id, 0).await?.into_iter().map(Into::into).collect();
    Ok(json::Run { attempts_detail: Some(attempts), steps: Some(steps), ..row.into() })
}

fn tell(runs: &[json::Run]) {
    let mut table =
        output::table(&["DUE", "JOB", "TARGET", "TRIGGER", "OUTCOME", "TOOK", "ATTEMPTS", "BYTES", "RUN", "REMARK"]);
    for run in runs {
        match (&run.attempts_detail, &run.steps) {
            (Some(attempts), Some(steps)) => {
                output::say(&heading(run));
                tell_details(attempts, steps);
            }
            _ => drop(table.add_row(row_of(run))),
        }
    }
    if table.row_count() > 0 {
        output::say_table(&table);
    }
}

/// A run in one line.
fn heading(run: &json::Run) -> String {
    let end = run.outcome.as_deref().unwrap_or(&run.state);
    let took = output::or_blank(run.duration_ms.map(|took| format!(", took {}", output::elapsed(took))));
    let why = output::or_blank(run.error.as_deref().or(run.reason.as_deref()).map(|why| format!(": {why}")));
    let (due, trigger) = (run.due_at.for_people(), &run.trigger);
    format!("{} {} on {}, {trigger}, due {due}{took}: {end}{why}", run.run_id, run.job, run.target)
}

fn row_of(run: &json::Run) -> [String; 10] {
    [
        run.due_at.for_people(),
        run.job.clone(),
        run.target.clone(),
        run.trigger.clone(),
        run.outcome.clone().unwrap_or_else(|| run.state.clone()),
        output::or_blank(run.duration_ms.map(output::elapsed)),
        run.attempts.to_string(),
        bytes(run.bytes_before, run.bytes_after),
        run.run_id.clone(),
        output::brief(run.error.as_deref().or(run.reason.as_deref()).unwrap_or_default()),
    ]
}

fn tell_details(attempts: &[json::Attempt], steps: &[json::Step]) {
    for attempt in attempts {
        let end = attempt.outcome.as_deref().unwrap_or("running");
        let steps_done = match (attempt.steps_done, attempt.steps_planned) {
            (Some(done), Some(planned)) => format!(", {done} of {planned} steps"),
            _ => String::new(),
        };
        let error = output::or_blank(attempt.error.as_deref().map(|error| format!(": {error}")));
        output::say(&format!(
            "  attempt {} at {}: {end}{steps_done}{error}",
            attempt.attempt,
            attempt.started_at.for_people()
        ));
        for step in steps.iter().filter(|step| step.attempt == attempt.attempt) {
            let end = step.outcome.as_deref().unwrap_or("running");
            let rows = output::or_blank(step.rows_affected.map(|rows| format!(", {}", output::rows(rows))));
            let size = match bytes(step.bytes_before, step.bytes_after) {
                size if size.is_empty() => size,
                size => format!(", {size}"),
            };
            // The name of a step that only refuses holds the reason.
            let error = step.error.as_deref().filter(|error| !step.step.ends_with(error));
            let error = output::or_blank(error.map(|error| format!(": {error}")));
            output::say(&format!("    {end}: {}{rows}{size}{error}", step.step));
            if let Some(statement) = &step.statement {
                output::say(&format!("      {}", output::brief(statement)));
            }
        }
    }
}

/// How a size changed, for people.
pub(super) fn bytes(before: Option<i64>, after: Option<i64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("{} -> {}", output::bytes(before), output::bytes(after)),
        (Some(one), None) | (None, Some(one)) => output::bytes(one),
        (None, None) => String::new(),
    }
}
