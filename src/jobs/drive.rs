//! One loop for every kind: plan, then for each step gate, perform, report.

use serde_json::Value;

use super::context::{Context, JobError};
use super::{Job, OnFailure, StepReport, parse_with};
use crate::fault::Fault;
use crate::lengths::rough;
use crate::policy::gate::Stop;

/// How many problems a run's error quotes.
const MOST_PROBLEMS: usize = 2;

/// How driving a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// How it ended.
    pub end: End,
    /// Steps done.
    pub done: u32,
    /// Steps planned.
    pub planned: u32,
    /// What went wrong, one sentence a step, in order.
    pub problems: Vec<String>,
    /// The code that the run is handled by: the one that a retry helps most.
    pub fault: Option<Fault>,
}

/// How driving a job ended, before retries are thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything planned is done; an empty plan too.
    Succeeded,
    /// Some of what was planned is not done.
    Partial,
    /// Nothing could be done, or nothing of use.
    Failed,
    /// It was told to stop.
    Stopped(Stop),
}

impl Finish {
    /// What went wrong, in one text: the first problems, and how many more there are; each is on its step's row.
    pub fn error(&self) -> Option<String> {
        let (first, rest) = self.problems.split_at(self.problems.len().min(MOST_PROBLEMS));
        let more = (!rest.is_empty()).then(|| format!("and {} more, each on its step's row", rest.len()));
        (!first.is_empty()).then(|| first.iter().cloned().chain(more).collect::<Vec<_>>().join("; "))
    }

    fn failed(error: &JobError) -> Self {
        let (end, fault) = match error {
            JobError::Stopped(stop) => (End::Stopped(stop.clone()), None),
            other => (End::Failed, Some(other.fault())),
        };
        Self { end, done: 0, planned: 0, problems: vec![error.to_string()], fault }
    }
}

/// Reads the run's copy of `with:`, then drives the job.
pub async fn drive_spec<J: Job>(with: &Value, cx: &mut Context) -> Finish {
    match parse_with::<J>(with) {
        Ok(job) => drive(&job, cx).await,
        Err(error) => Finish::failed(&error.into()),
    }
}

/// Plans, and performs step by step until the plan is done or something says stop.
pub async fn drive<J: Job>(job: &J, cx: &mut Context) -> Finish {
    let steps = match job.plan(cx).await {
        Ok(steps) => steps,
        Err(error) => return Finish::failed(&error),
    };
    let planned = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    tracing::debug!(steps = planned, "planned");
    let mut finish = Finish { end: End::Succeeded, done: 0, planned, problems: Vec::new(), fault: None };
    let mut failures = 0_u32;
    let mut vital = steps.iter().filter(|step| job.is_vital(step)).count();
    for step in &steps {
        let name = step.to_string();
        match perform(job, step, &name, cx).await {
            Ok(StepReport::Done(_)) => {
                finish.done += 1;
                vital -= usize::from(job.is_vital(step));
            }
            Ok(StepReport::NotDone { reason, fault, .. }) => {
                // The name of a step that only refuses holds the reason.
                let told = if name.ends_with(&reason) { name } else { format!("{name}: {reason}") };
                finish.note(told, fault);
                if job.on_failure() == OnFailure::Stop {
                    break;
                }
            }
            Err(JobError::Stopped(stop)) => {
                finish.problems.push(format!("{stop}: {} of {planned} steps done", finish.done));
                finish.end = End::Stopped(stop);
                return finish;
            }
            Err(error) => {
                failures += 1;
                finish.note(format!("{name}: {error}"), error.fault());
                let hopeless = matches!(error, JobError::Ledger(_)) || job.is_hopeless(step, error.fault());
                if hopeless || !cx.session.is_usable() || job.on_failure() == OnFailure::Stop {
                    break;
                }
            }
        }
    }
    finish.end = match (finish.done, failures) {
        (done, _) if done == planned => End::Succeeded,
        (0, 1..) => End::Failed,
        _ if vital > 0 => End::Failed,
        _ => End::Partial,
    };
    finish
}

async fn perform<J: Job>(job: &J, step: &J::Step, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    cx.gate()?;
    let started = tokio::time::Instant::now();
    tracing::debug!(step = name, "step begins");
    let result = job.perform(step, cx).await;
    let elapsed = rough(started.elapsed());
    // At DEBUG: the step's row has it all, and the end of the run tells what went wrong, once.
    match &result {
        Ok(report) => {
            cx.settle(name, report).await?;
            match report {
                StepReport::Done(_) => tracing::debug!(step = name, %elapsed, "step done"),
                StepReport::NotDone { reason, .. } => tracing::debug!(step = name, %elapsed, reason, "step not done"),
            }
        }
        Err(error) => {
            cx.abandon(error).await?;
            match error {
                JobError::Stopped(stop) => tracing::debug!(step = name, %elapsed, %stop, "step stopped"),
                error => tracing::debug!(step = name, %elapsed, fault = %error.fault(), %error, "step failed"),
            }
        }
    }
    result
}

impl Finish {
    fn note(&mut self, problem: String, fault: Fault) {
        self.problems.push(problem);
        let hopeful = |fault| crate::policy::retry::back_off(fault, 0, u32::MAX).is_some();
        if self.fault.is_none_or(|known| !hopeful(known) && hopeful(fault)) {
            self.fault = Some(fault);
        }
    }
}
