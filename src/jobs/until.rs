//! What may end a statement of ours before it is done: an order, a deadline, other sessions waited for too long.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::context::JobError;
use crate::fault::Fault;
use crate::policy::gate::Stop;

/// What may end a statement of ours before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// An order to stop.
    Ordered,
    /// An order to stop, or having waited for other sessions without a break for so long.
    Waited(Duration),
    /// So much time and nothing else: for clearing up what an order to stop has left.
    Elapsed(Duration),
}

/// Since when a statement has waited for other sessions, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    since: Instant,
    whom: String,
}

impl Waiting {
    /// Notes what a look at the session has shown.
    pub(super) fn note(slot: &watch::Sender<Option<Self>>, whom: Option<String>) {
        slot.send_modify(|known| {
            let since = known.as_ref().map_or_else(Instant::now, |known| known.since);
            *known = whom.map(|whom| Self { since, whom });
        });
    }
}

impl Until {
    pub(super) const fn heeds_orders(self) -> bool {
        !matches!(self, Self::Elapsed(_))
    }

    /// Waits until the limit is reached; for ever when there is none.
    pub(super) async fn reached(self, mut waiting: watch::Receiver<Option<Waiting>>) -> JobError {
        let whom = match self {
            Self::Ordered => std::future::pending().await,
            Self::Elapsed(limit) => {
                tokio::time::sleep(limit).await;
                let known = waiting.borrow();
                known.as_ref().map_or_else(|| "nobody in particular".to_owned(), |known| known.whom.clone())
            }
            Self::Waited(limit) => loop {
                let known = waiting.borrow_and_update().clone();
                let over = async {
                    match known.as_ref().and_then(|known| known.since.checked_add(limit)) {
                        Some(over) => tokio::time::sleep_until(over).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = over => break known.map(|known| known.whom).unwrap_or_default(),
                    Ok(()) = waiting.changed() => {}
                    else => std::future::pending().await,
                }
            },
        };
        let (Self::Waited(limit) | Self::Elapsed(limit)) = self else { return std::future::pending().await };
        let limit = humantime::format_duration(limit);
        let message = format!("the statement was cancelled by pgupkeep after waiting during {limit} for {whom}");
        JobError::Refused { fault: Fault::Locked, message }
    }
}

/// Waits for the order to stop or the inner job's deadline; for ever when there is neither.
pub(super) async fn ordered(orders: &mut watch::Receiver<Option<Stop>>, deadline: Option<Instant>) -> Stop {
    let order = async {
        match orders.wait_for(Option::is_some).await.map(|order| order.clone()) {
            Ok(Some(stop)) => stop,
            _ => std::future::pending().await,
        }
    };
    let timed_out = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        Stop::TimedOut
    };
    tokio::select! {
        biased;
        stop = order => stop,
        stop = timed_out => stop,
    }
}
