//! `pgupkeep plan`: what a job would do now.

use std::path::Path;

use super::exit::Exit;
use super::prepare::Prepared;
use super::{json, output};
use crate::config::Target;
use crate::jobs::context::{Context, JobError};
use crate::jobs::outfit::Outfit;
use crate::jobs::{JobSpec, kind};
use crate::ledger::Ledger;
use crate::pg::session::Session;

/// What `plan` is asked.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The job.
    job: String,
    /// Only this target of the job's; may be given several times.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Prints the steps for each target; changes nothing.
pub async fn plan(path: &Path, args: &Plan) -> Exit {
    match plan_all(path, args).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn plan_all(path: &Path, args: &Plan) -> Result<Exit, Exit> {
    let prepared = Prepared::load(path)?;
    let job = prepared.find_job(&args.job)?;
    let mut exit = Exit::Done;
    let mut plans = Vec::new();
    for target in prepared.find_targets(job, &args.target)? {
        let (plan, one_exit) = plan_whole(&prepared, &job.spec, target).await?;
        exit = exit.worse(one_exit);
        if !args.json {
            tell(&plan, "");
        }
        plans.push(plan);
    }
    if args.json {
        output::say_json(&plans);
    }
    Ok(exit)
}

/// Plans a job, and the jobs of a sequence with it: they are planned for good only when their turn comes.
async fn plan_whole(prepared: &Prepared, spec: &JobSpec, target: &Target) -> Result<(json::Plan, Exit), Exit> {
    let (mut plan, mut exit) = plan_one(prepared, spec, target).await?;
    // Where the sequence itself finds nothing to work on, its jobs would only say the same again.
    if plan.steps.as_ref().is_some_and(|steps| !steps.is_empty()) {
        for inner in &spec.inner {
            let (inner, inner_exit) = plan_one(prepared, inner, target).await?;
            exit = exit.worse(inner_exit);
            plan.inner.push(inner);
        }
    }
    Ok((plan, exit))
}

async fn plan_one(prepared: &Prepared, spec: &JobSpec, target: &Target) -> Result<(json::Plan, Exit), Exit> {
    let plan = json::Plan {
        job: spec.name.to_string(),
        kind: spec.kind.clone(),
        target: target.name.to_string(),
        standby: false,
        steps: None,
        notes: Vec::new(),
        error: None,
        inner: Vec::new(),
    };
    let session = match Session::open(&target.connection, "pgupkeep/plan").await {
        Ok(session) => session,
        Err(error) => {
            let exit = prepared.refuse_target(&target.name, &error);
            return Ok((json::Plan { error: Some(prepared.redactor.clean(&error.to_string())), ..plan }, exit));
        }
    };
    if session.server.in_recovery {
        session.close().await;
        return Ok((json::Plan { standby: true, steps: Some(Vec::new()), ..plan }, Exit::Done));
    }
    // Not reached unless the job asks for it.
    let ledger =
        Ledger::new(&prepared.config.control.connection, "pgupkeep/plan").map_err(|error| prepared.refuse(&error))?;
    match steps_of(spec, target, (session, ledger), prepared.config.outfit()).await {
        Ok((steps, notes)) => {
            let clean = |texts: Vec<String>| texts.iter().map(|text| prepared.redactor.clean(text)).collect();
            Ok((json::Plan { steps: Some(clean(steps)), notes: clean(notes), ..plan }, Exit::Done))
        }
        Err(error) => {
            prepared.complain(&format!("{} on {} cannot be planned: {error}", plan.job, plan.target));
            // What a job refuses says itself what to do, and is no matter of the database.
            let exit = if matches!(error, JobError::Refused { .. }) {
                Exit::Failed
            } else {
                prepared.complain(error.fault().hint());
                Exit::of_fault(error.fault())
            };
            Ok((json::Plan { error: Some(prepared.redactor.clean(&error.to_string())), ..plan }, exit))
        }
    }
}

/// The steps, and what else is to be told of the plan.
async fn steps_of(
    spec: &JobSpec,
    target: &Target,
    (session, ledger): (Session, Ledger),
    outfit: Outfit,
) -> Result<(Vec<String>, Vec<String>), JobError> {
    let mut cx = Context::for_plan((target.name.clone(), spec.clone()), session, ledger).equipped(outfit);
    let steps = match kind(&spec.kind) {
        Some(kind) => (kind.plan)(&spec.with, &mut cx).await,
        None => Ok(Vec::new()),
    };
    let notes = cx.notes().to_vec();
    cx.session.close().await;
    Ok((steps?, notes))
}

fn tell(plan: &json::Plan, indent: &str) {
    let name = format!("{indent}{} on {}", plan.job, plan.target);
    match &plan.steps {
        _ if plan.standby => {
            output::say(&format!("{name}: the target is a standby; nothing is done there until it is promoted"));
        }
        // Its error was printed when it came up.
        None => {}
        Some(steps) if steps.is_empty() => output::say(&format!("{name}: nothing to do")),
        Some(steps) => {
            let plural = if steps.len() == 1 { "" } else { "s" };
            output::say(&format!("{name}: {} step{plural}", steps.len()));
            for (nth, step) in steps.iter().enumerate() {
                output::say(&format!("{indent}  {}. {step}", nth + 1));
            }
        }
    }
    for note in &plan.notes {
        output::say(&format!("{indent}  note: {note}"));
    }
    for inner in &plan.inner {
        tell(inner, "     ");
    }
}
