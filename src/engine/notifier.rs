//! The notifier: tells people what the outbox holds, each notice once over all daemons.
//!
//! Its one way out is the log, under the target `pgupkeep::notice`: each notice stands there once over all daemons, so
//! that a filter on it can send mail without sending it twice.

use std::time::Duration;

use super::Shared;
use crate::ledger::LedgerError;

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Tells for ever.
pub async fn run(shared: Shared) {
    let mut ear = shared.work.listen();
    loop {
        shared.told("notifier", once(&shared).await);
        tokio::select! {
            () = ear.heard() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Tells what waits; gives back how many notices that were.
///
/// # Errors
/// When the control database fails.
pub async fn once(shared: &Shared) -> Result<usize, LedgerError> {
    let notices = shared.ledger.take_notices().await?;
    for notice in &notices {
        tracing::info!(target: "pgupkeep::notice", run = %notice.run_id, "{}", shared.redactor.clean(&notice.subject));
    }
    Ok(notices.len())
}
