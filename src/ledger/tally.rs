//! What this process has put on record, counted: the counters of `/metrics`.
//!
//! Every verb counts when its write has succeeded, so that a counter never tells more than the ledger does. A counter
//! begins at zero with the process, as those who read counters expect; what must be true over all daemons and restarts
//! is read from the tables instead (`gauges`).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::run_state::{AttemptOutcome, Outcome, StepOutcome};

/// A job's name and a target's.
pub type Place = (String, String);

/// The counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Runs that ended, by how.
    pub runs: BTreeMap<(Place, Outcome), u64>,
    /// Seconds from the first attempt's begin to the end of runs that ended.
    pub run_seconds: BTreeMap<Place, f64>,
    /// Attempts that ended, by how.
    pub attempts: BTreeMap<(Place, AttemptOutcome), u64>,
    /// Steps that ended, by how.
    pub steps: BTreeMap<(Place, StepOutcome), u64>,
    /// Statements put on record and sent.
    pub statements: BTreeMap<Place, u64>,
    /// Bytes that things have shrunk by.
    pub freed_bytes: BTreeMap<Place, u64>,
}

/// Where the counters are kept.
#[derive(Debug, Clone)]
pub(super) struct Tally(watch::Sender<Counts>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Counts::default()))
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.borrow().clone()
    }

    /// A run ended; `took` is since its first attempt began, if one did.
    pub(super) fn run_ended(&self, place: Place, outcome: Outcome, took: Option<Duration>) {
        self.0.send_modify(|counts| {
            if let Some(took) = took {
                *counts.run_seconds.entry(place.clone()).or_default() += took.as_secs_f64();
            }
            *counts.runs.entry((place, outcome)).or_default() += 1;
        });
    }

    pub(super) fn attempt_ended(&self, place: Place, outcome: AttemptOutcome) {
        self.0.send_modify(|counts| *counts.attempts.entry((place, outcome)).or_default() += 1);
    }

    pub(super) fn statement_recorded(&self, place: Place) {
        self.0.send_modify(|counts| *counts.statements.entry(place).or_default() += 1);
    }

    pub(super) fn step_ended(&self, place: Place, outcome: StepOutcome, freed_bytes: u64) {
        self.0.send_modify(|counts| {
            *counts.freed_bytes.entry(place.clone()).or_default() += freed_bytes;
            *counts.steps.entry((place, outcome)).or_default() += 1;
        });
    }
}

impl super::Ledger {
    /// What this process has put on record so far.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }
}
