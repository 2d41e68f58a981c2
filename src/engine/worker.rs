//! A worker: claims the run that has waited longest, performs it, looks for the next.

use std::time::Duration;

use super::{Shared, attempt};
use crate::ledger::LedgerError;
use crate::ledger::run::{Capacity, Claimed};

/// How long a worker waits before it looks by itself: for retries whose back-off is over, and for lost rings.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Works until told to take on nothing more.
pub async fn run(shared: Shared) {
    let mut ear = shared.work.listen();
    while !shared.drain.is_cancelled() {
        match shared.told("worker", claim(&shared).await).flatten() {
            Some(claimed) => {
                attempt::perform(&shared, claimed).await;
            }
            None => tokio::select! {
                () = ear.heard() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shared.drain.cancelled() => {}
            },
        }
    }
}

/// Claims a run for a target that is configured here and fit to be worked on.
///
/// # Errors
/// When the control database fails.
pub async fn claim(shared: &Shared) -> Result<Option<Claimed>, LedgerError> {
    let (capacity, lease) = {
        let config = shared.config.borrow();
        let targets = config
            .targets
            .values()
            .filter(|target| shared.availability.is_fit(&target.name))
            .map(|target| (target.name.clone(), target.max_runs.get()))
            .collect();
        (Capacity { targets, only: None }, config.lease)
    };
    if capacity.targets.is_empty() {
        return Ok(None);
    }
    shared.ledger.claim_run(shared.daemon_id, &capacity, lease).await
}
