//! `pgupkeep cancel`: asks a run to stop.

use std::path::Path;

use super::exit::Exit;
use super::prefix::{Among, RunPrefix};
use super::prepare::Prepared;
use super::{json, output};
use crate::run_state::{Outcome, RunState};

/// What `cancel` is asked.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// The run's id; the beginning of it is enough.
    run: RunPrefix,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Asks, and says what came of it.
pub async fn cancel(path: &Path, args: &Cancel) -> Exit {
    match ask(path, args).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn ask(path: &Path, args: &Cancel) -> Result<Exit, Exit> {
    let prepared = Prepared::load_for_ledger(path)?;
    let ledger = prepared.ledger_as_it_is("pgupkeep/cancel").await?;
    let found = args.run.find(Among::ActiveFirst, &ledger, &prepared).await?;
    let (before, run_id) = (found.state.as_str(), found.run_id);
    let now = ledger.cancel_run(run_id).await.map_err(|error| prepared.refuse(&error))?;
    let daemons_up = ledger.daemons_up().await.map_err(|error| prepared.refuse(&error))?;
    let (result, outcome) = match now {
        Some((RunState::Running | RunState::Queued, _)) => (Said::Asked, None),
        // It may have ended by itself between our two looks.
        Some((RunState::Finished, Some(Outcome::Cancelled))) if before != "finished" => {
            (Said::Ended, Some(Outcome::Cancelled))
        }
        Some((RunState::Finished, outcome)) => (Said::Finished, outcome),
        None => (Said::Finished, None),
    };
    if args.json {
        output::say_json(&json::Cancelled {
            run_id: run_id.to_string(),
            result: result.as_str().to_owned(),
            outcome: outcome.map(|outcome| outcome.to_string()),
            daemons_up,
        });
    } else {
        let name = format!("{} on {} ({run_id})", found.job, found.target);
        output::say(&match result {
            Said::Ended => format!("{name} is cancelled; it was not at work"),
            Said::Asked => format!("{name} is asked to stop; its worker ends it within seconds"),
            Said::Finished => format!("{name} had finished already: {}", output::or_blank(outcome)),
        });
    }
    if result == Said::Asked && daemons_up == 0 {
        prepared.complain(
            "no daemon is up: unless `run --local` works on it, its worker is dead, and it ends when a daemon starts",
        );
    }
    Ok(match result {
        Said::Ended | Said::Asked => Exit::Done,
        Said::Finished => Exit::Failed,
    })
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It was queued and is over.
    Ended,
    /// It works, and its worker was asked to stop.
    Asked,
    /// It had ended before.
    Finished,
}

impl Said {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Asked => "asked",
            Self::Finished => "finished",
        }
    }
}
