//! The `sequence` job: named jobs in order, in one run.
//!
//! Each job inside is planned only when its turn comes, works with its own parameters and `timeout`, and puts its
//! statements on record under its own name. A job inside is not tried again by itself; the sequence's `retries` are,
//! and a later attempt leaves out what earlier ones have done. Other work on the target waits until the sequence ends.

use std::fmt;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::context::{Context, JobError};
use super::drive::{End, Finish};
use super::{Job, JobSpec, Measures, OnFailure, Profile, StepReport, Weight, kind};
use crate::fault::Fault;
use crate::names::JobName;
use crate::policy::gate::Stop;

/// The parameters of a `sequence` job.
///
/// ```
/// # let yaml = r#"
/// jobs: [vacuum-analyze, tidy-sessions]    # names of jobs, done in this order
/// on_failure: stop                         # or continue: do the others all the same
/// # "#;
/// # let sequence: pgupkeep::jobs::sequence::Sequence = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(sequence.jobs.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// The jobs, in order; a sequence cannot be one of them.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub jobs: Vec<JobName>,
    /// What becomes of the jobs after one that failed or was not wholly done.
    #[serde(default = "stop")]
    pub on_failure: OnFailure,
}

const fn stop() -> OnFailure {
    OnFailure::Stop
}

fn at_least_one<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<JobName>, D::Error> {
    let jobs = Vec::<JobName>::deserialize(input)?;
    if jobs.is_empty() { Err(D::Error::custom("a sequence needs at least one job")) } else { Ok(jobs) }
}

/// One job's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    place: usize,
    of: usize,
    inner: JobSpec,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The place tells two turns of one job apart, here and in the ledger.
        write!(f, "{} ({} of {})", self.inner.name, self.place, self.of)
    }
}

/// Decides which jobs still have their turn to come.
fn decide(inner: &[JobSpec], done: &[String]) -> Vec<Step> {
    let turns = inner.iter().enumerate().map(|(at, job)| Step { place: at + 1, of: inner.len(), inner: job.clone() });
    turns.filter(|step| !done.contains(&step.to_string())).collect()
}

impl Job for Sequence {
    const KIND: &'static str = "sequence";
    const PROFILE: Profile =
        Profile { weight: Weight::Heavy, retries: 3, about: "named jobs in order, stop or continue on failure" };
    type Step = Step;

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        Ok(decide(&cx.spec.inner, &cx.steps_done().await?))
    }

    fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        let inner = &step.inner;
        let kind = kind(&inner.kind).filter(|kind| kind.name != Self::KIND).ok_or_else(|| JobError::Refused {
            fault: Fault::Internal,
            message: format!("job {} is of kind {:?}, which cannot be part of a sequence", inner.name, inner.kind),
        })?;
        cx.enter(inner);
        let finish = (kind.drive)(&inner.with, cx).await;
        cx.leave();
        if matches!(finish.end, End::Stopped(_)) {
            // An order to stop, or the window, ends the sequence as well; the inner job's own timeout does not.
            cx.gate()?;
        }
        report(finish)
    }
}

/// What the sequence makes of a job's end.
fn report(finish: Finish) -> Result<StepReport, JobError> {
    let error = finish.error();
    let Finish { end, done, planned, fault, .. } = finish;
    let detail = Some(json!({ "steps_done": done, "steps_planned": planned }));
    let measures = Measures { detail, ..Measures::default() };
    let fault = fault.unwrap_or(Fault::Internal);
    match end {
        End::Succeeded => Ok(StepReport::Done(measures)),
        End::Partial => Ok(StepReport::NotDone { reason: error.unwrap_or_default(), fault, measures }),
        End::Failed => Err(JobError::Refused { fault, message: error.unwrap_or_default() }),
        End::Stopped(Stop::TimedOut) => {
            Err(JobError::Refused { fault: Fault::Timeout, message: error.unwrap_or_default() })
        }
        End::Stopped(stop) => Err(JobError::Stopped(stop)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::jobs::parse_with;

    fn job(name: &str) -> JobSpec {
        JobSpec {
            name: JobName::parse(name).expect("a name"),
            kind: "vacuum".to_owned(),
            with: Value::Null,
            timeout_ms: None,
            retries: 0,
            inner: Vec::new(),
        }
    }

    #[test]
    fn a_job_that_has_had_its_turn_is_left_out_but_a_second_turn_is_not() {
        let inner = [job("vacuum"), job("archive"), job("vacuum")];
        let check = |done: &[&str], expected: &[&str]| {
            let done: Vec<String> = done.iter().map(ToString::to_string).collect();
            let steps: Vec<String> = decide(&inner, &done).iter().map(ToString::to_string).collect();
            assert_eq!(steps, expected);
        };
        check(&[], &["vacuum (1 of 3)", "archive (2 of 3)", "vacuum (3 of 3)"]);
        check(&["vacuum (1 of 3)"], &["archive (2 of 3)", "vacuum (3 of 3)"]);
        check(&["vacuum (1 of 3)", "archive (2 of 3)", "vacuum (3 of 3)"], &[]);
    }

    #[test]
    fn the_end_of_a_job_becomes_the_report_of_its_turn() {
        let end = |end, problems: &[&str], fault| {
            let problems = problems.iter().map(ToString::to_string).collect();
            report(Finish { end, done: 1, planned: 2, problems, fault })
        };
        assert!(matches!(end(End::Succeeded, &[], None), Ok(StepReport::Done(_))));
        assert!(matches!(
            end(End::Partial, &["a", "b"], Some(Fault::Locked)),
            Ok(StepReport::NotDone { reason, fault: Fault::Locked, .. }) if reason == "a; b"
        ));
        assert!(matches!(
            end(End::Failed, &["a"], Some(Fault::Statement)),
            Err(JobError::Refused { fault: Fault::Statement, .. })
        ));
        assert!(matches!(
            end(End::Stopped(Stop::TimedOut), &["late"], None),
            Err(JobError::Refused { fault: Fault::Timeout, .. })
        ));
        assert!(matches!(end(End::Stopped(Stop::Shutdown), &[], None), Err(JobError::Stopped(Stop::Shutdown))));
    }

    #[test]
    fn a_sequence_stops_at_a_failure_unless_told_otherwise() {
        let read = |with| parse_with::<Sequence>(&with);
        let sequence = read(json!({ "jobs": ["a", "b"] })).expect("a sequence");
        assert_eq!(sequence.on_failure(), OnFailure::Stop);
        let sequence = read(json!({ "jobs": ["a"], "on_failure": "continue" })).expect("a sequence");
        assert_eq!(sequence.on_failure(), OnFailure::Continue);
        assert_eq!(read(json!({ "jobs": ["a\nb"] })).expect_err("not a name").path, ["jobs", "0"]);
        assert!(read(json!({ "jobs": [] })).expect_err("no job").message.contains("at least one job"));
        assert!(read(json!({})).expect_err("no jobs").message.contains("jobs"));
    }
}
