//! The journal: where a job's statements go on record, before they are sent.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::context::JobError;
use super::{JobSpec, Measures};
use crate::ledger::lease::Lease;
use crate::ledger::step::{StepBegin, StepId};
use crate::ledger::{Ledger, LedgerError};
use crate::pg::progress::Progress;
use crate::run_state::StepOutcome;
use crate::secret::Redactor;

/// How long a write to the ledger is tried while the control database is away; the heartbeat stops a run sooner when
/// its lease is over.
const INSIST: Duration = Duration::from_mins(1);

/// Where a job's statements go on record.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The ledger.
    pub ledger: Ledger,
    /// The right to write about this attempt.
    pub lease: Lease,
    /// Cleans what goes on record.
    pub redactor: Redactor,
    /// How far the present statement is; read by the heartbeat.
    pub progress: watch::Sender<Option<Progress>>,
}

impl Journal {
    /// Writes that a statement, or a step without one, is about to begin.
    ///
    /// # Errors
    /// When the ledger cannot be written; the statement must then not be sent.
    pub(super) async fn begin(&self, spec: &JobSpec, step: &str, statement: Option<&str>) -> Result<StepId, JobError> {
        let (step, statement) = (self.redactor.clean(step), statement.map(|text| self.redactor.clean(text)));
        let begin = StepBegin { job: spec.name.as_str(), step: &step, statement: statement.as_deref() };
        self.insist(|| self.ledger.begin_step(&self.lease, begin)).await
    }

    /// Writes how it ended.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub(super) async fn end(
        &self,
        id: StepId,
        outcome: StepOutcome,
        measures: &Measures,
        error: Option<&str>,
    ) -> Result<(), JobError> {
        let error = error.map(|error| self.redactor.clean(error));
        let detail = measures.detail.as_ref().map(|detail| self.redactor.clean_json(detail));
        let measures = Measures { detail, ..measures.clone() };
        self.insist(|| self.ledger.end_step(&id, outcome, &measures, error.as_deref())).await
    }

    /// Writes, and while the control database is away tries again, for [`INSIST`] at most.
    async fn insist<T, F: Future<Output = Result<T, LedgerError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Result<T, JobError> {
        let patience = Instant::now() + INSIST;
        loop {
            match write().await {
                Err(error) if error.is_passing() && Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                result => return Ok(result?),
            }
        }
    }
}
