//! The `prune_history` job: our own retention, in the control database.
//!
//! It deletes old history from pgupkeep's own tables and touches nothing else: nothing in the target, no run that
//! waits or works (its own neither), nothing that people have not been told of yet, and of each job, target and outcome
//! never the newest ones. It serves the whole ledger, so one target is enough for it: `targets: [..]`.

use std::fmt;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, JobError};
use super::{Job, Measures, Profile, StepReport, Weight};
use crate::ledger::LedgerError;
use crate::ledger::retention::Kept;
use crate::lengths::CalendarSpan;
use crate::pg::PgError;

/// The parameters of a `prune_history` job, all of them optional.
///
/// ```
/// # let yaml = r#"
/// older_than: 90days    # runs that ended longer ago go
/// keep_last: 10         # but of each job, target and outcome so many stay, whatever their age
/// batch: 1000           # runs deleted in one short transaction
/// # "#;
/// # let prune: pgupkeep::jobs::prune_history::PruneHistory = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(prune.keep_last.get(), 10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneHistory {
    /// How long ago a run must have ended.
    #[serde(default = "older_than")]
    pub older_than: CalendarSpan,
    /// How many runs of each job, target and outcome stay, whatever their age.
    #[serde(default = "keep_last")]
    pub keep_last: NonZeroU32,
    /// How many runs are deleted in one short transaction.
    #[serde(default = "batch")]
    pub batch: NonZeroU32,
}

const fn older_than() -> CalendarSpan {
    CalendarSpan { months: 0, days: 90 }
}

const fn keep_last() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

const fn batch() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(999)
}

/// The one unit of work: what has grown old enough to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    older_than: CalendarSpan,
    runs: u64,
    daemons: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { older_than, runs, daemons } = self;
        write!(f, "prune history older than {older_than}: {runs} runs, {daemons} daemons")
    }
}

/// Decides what to do about so many runs and daemons that may go.
fn decide(spec: &PruneHistory, runs: u64, daemons: u64) -> Vec<Step> {
    if runs + daemons == 0 { Vec::new() } else { vec![Step { older_than: spec.older_than, runs, daemons }] }
}

impl PruneHistory {
    const fn kept(&self) -> Kept {
        Kept { younger_than: self.older_than, newest: self.keep_last }
    }
}

impl Job for PruneHistory {
    const KIND: &'static str = "prune_history";
    const PROFILE: Profile = Profile {
        weight: Weight::Light,
        retries: 3,
        about: "delete pgupkeep's own old history from the control database",
    };
    type Step = Step;

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        cx.ledger().check_version().await?;
        let (runs, daemons) = cx.ledger().count_prunable(&self.kept()).await?;
        Ok(decide(self, runs, daemons))
    }

    async fn perform(&self, _: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        let kept = self.kept();
        let (mut runs, mut batch) = (0, self.batch);
        loop {
            cx.gate()?;
            match cx.ledger().prune_runs(&kept, batch).await {
                Ok(0) => break,
                Ok(pruned) => runs += pruned,
                // Runs with very many steps take their time: a smaller batch ends within it.
                Err(LedgerError::Pg(PgError::Stalled(_))) if batch.get() > 1 => {
                    batch = NonZeroU32::new(batch.get() / 2).unwrap_or(NonZeroU32::MIN);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let daemons = cx.ledger().prune_daemons(&kept).await?;
        Ok(StepReport::Done(Measures {
            rows: i64::try_from(runs + daemons).ok(),
            detail: Some(json!({ "runs": runs, "daemons": daemons })),
            ..Measures::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn every_parameter_has_a_default() {
        let prune: PruneHistory = parse_with(&json!({})).expect("no parameter is needed");
        let written = serde_json::to_value(&prune).expect("it can be written");
        assert_eq!(written, json!({ "older_than": "90 days", "keep_last": 10, "batch": 1000 }));
        assert_eq!(parse_with::<PruneHistory>(&written), Ok(prune));
    }

    #[test]
    fn a_parameter_that_would_keep_nothing_is_refused_with_its_place() {
        let check = |with, path: &str, message: &str| {
            let error = parse_with::<PruneHistory>(&with).expect_err("refused");
            assert_eq!(error.path, [path], "{error}");
            assert!(error.message.contains(message), "{error}");
        };
        check(json!({ "keep_last": 0 }), "keep_last", "nonzero");
        check(json!({ "batch": 0 }), "batch", "nonzero");
        check(json!({ "older_than": "1 hour" }), "older_than", "nothing shorter");
    }

    #[test]
    fn nothing_old_is_nothing_to_do() {
        let prune: PruneHistory = parse_with(&json!({ "older_than": "1 year" })).expect("parameters");
        assert_eq!(decide(&prune, 0, 0), []);
        let steps: Vec<String> = decide(&prune, 3, 1).iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["prune history older than 1 year: 3 runs, 1 daemons"]);
    }
}
