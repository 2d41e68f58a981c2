//! The one loop for every kind: what it leaves on record when a step fails in the middle.

use std::fmt;

use pgupkeep::fault::Fault;
use pgupkeep::jobs::context::{Context, JobError};
use pgupkeep::jobs::drive::{End, drive};
use pgupkeep::jobs::{Job, Measures, Profile, StepReport, Weight};
use pgupkeep::pg::statement::Statement;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::workplace::{QUIET, StepRow, Workplace, never, vacuum};
use crate::support::{Cluster, one_major};

/// A job that sends a statement and then cannot find out what it did, and goes on with a step that sends nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Forgetful {}

enum Step {
    Sends,
    SendsNothing,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sends => "sends",
            Self::SendsNothing => "sends nothing",
        })
    }
}

impl Job for Forgetful {
    const KIND: &'static str = "forgetful";
    const PROFILE: Profile = Profile { weight: Weight::Light, retries: 0, about: "a test" };
    type Step = Step;

    async fn plan(&self, _: &mut Context) -> Result<Vec<Step>, JobError> {
        Ok(vec![Step::Sends, Step::SendsNothing])
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        match step {
            Step::Sends => {
                cx.send("sends", &Statement::built("select 1")).await?;
                Err(JobError::Refused { fault: Fault::Locked, message: "nobody could say".to_owned() })
            }
            Step::SendsNothing => Ok(StepReport::Done(Measures::default())),
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_after_its_statement_does_not_leave_its_row_to_the_next_step() {
    let Some(major) = one_major("jobs::drive") else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, "").await;
    let run_id = place.insert(&vacuum(json!({}))).await;
    let went = place.attempt_by(run_id, never(), async |_, cx| drive(&Forgetful {}, cx).await).await;
    assert_eq!(went.finish.end, End::Partial);
    let told: Vec<_> = went.rows.iter().map(StepRow::told).collect();
    assert_eq!(told, [("vacuum", "sends", "not_done"), ("vacuum", "sends nothing", "done")]);
    let error = went.rows[0].error.as_deref();
    assert_eq!(error, Some("the statement ended, but what it did could not be checked: nobody could say"));
    assert_eq!(went.rows[1].statement, None);
}
