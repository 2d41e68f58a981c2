//! Waiting for something to become true, with a limit and a message that says what did not happen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for anything that takes no time, even on a busy machine; a limit, never a pause.
pub const MOMENT: Duration = Duration::from_secs(20);

/// Polls until the probe answers, and panics with `what` if the limit passes first.
///
/// The probe is tried once more after the limit, so that a machine that stood still does not fail a test.
#[track_caller]
pub fn wait_until<T, F: AsyncFnMut() -> Option<T>>(
    what: &str,
    limit: Duration,
    mut probe: F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        loop {
            let over = started.elapsed() > limit;
            if let Some(answer) = probe().await {
                return answer;
            }
            assert!(!over, "{caller}: waited {limit:?} in vain for: {what}");
            sleep(Duration::from_millis(25)).await;
        }
    }
}
