//! The gate before every step: may the run go on?

use tokio::time::Instant;

/// Why a run must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Cancelled {
        /// The database role that asked, or what the process was told.
        by: String,
    },
    /// The job's `timeout` is over.
    TimedOut,
    /// The daemon is to end and its grace period is over.
    Shutdown,
    /// The lease could not be kept: another worker may have the run by now.
    LeaseLost,
    /// The window closed.
    WindowClosed,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled { by } => write!(f, "cancelled by {by}"),
            Self::TimedOut => f.write_str("the job's timeout was reached"),
            Self::Shutdown => f.write_str("the daemon is shutting down"),
            Self::LeaseLost => f.write_str("the lease was lost"),
            Self::WindowClosed => f.write_str("its window closed"),
        }
    }
}

/// Decides whether the next step may begin: an order comes first, then the window.
pub fn gate(order: Option<&Stop>, closes: Option<Instant>, now: Instant) -> Result<(), Stop> {
    match (order, closes) {
        (Some(stop), _) => Err(stop.clone()),
        (None, Some(closes)) if now >= closes => Err(Stop::WindowClosed),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_order_stops_a_run_before_its_window_does() {
        let now = Instant::now();
        let past = now.checked_sub(Duration::from_secs(1));
        let later = Some(now + Duration::from_secs(1));
        assert_eq!(gate(None, None, now), Ok(()));
        assert_eq!(gate(None, later, now), Ok(()));
        assert_eq!(gate(None, past, now), Err(Stop::WindowClosed));
        assert_eq!(gate(Some(&Stop::TimedOut), later, now), Err(Stop::TimedOut));
        assert_eq!(gate(Some(&Stop::Shutdown), past, now), Err(Stop::Shutdown));
    }
}
