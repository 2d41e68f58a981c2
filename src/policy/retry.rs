//! When a run is tried again after a failure, and after the loss of its worker.

use std::time::Duration;

use crate::fault::Fault;

/// The longest pause between two attempts.
const LONGEST_BACK_OFF: Duration = Duration::from_mins(15);
/// The longest pause after a worker was lost.
const LONGEST_LOSS_BACK_OFF: Duration = Duration::from_mins(5);
/// A run that has lost so many workers is given up: it may be what kills them.
const MOST_LOSSES: u32 = 20;

/// The first pause after a failure of this sort; `None` when trying again cannot help.
const fn first_back_off(fault: Fault) -> Option<Duration> {
    match fault {
        Fault::Unreachable => Some(Duration::from_secs(5)),
        Fault::Locked | Fault::Exhausted | Fault::ReadOnly | Fault::Interrupted => Some(Duration::from_secs(30)),
        Fault::DiskFull => Some(Duration::from_mins(5)),
        Fault::Privilege | Fault::Login | Fault::Timeout | Fault::Statement | Fault::Corrupt | Fault::Internal => None,
    }
}

/// How long to wait before the next attempt; `None` ends the run.
///
/// `failures` counts the attempts that failed, this one included; the pause doubles with each.
pub fn back_off(fault: Fault, failures: u32, retries: u32) -> Option<Duration> {
    if failures > retries {
        return None;
    }
    let doublings = failures.saturating_sub(1).min(16);
    first_back_off(fault).map(|first| first.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF))
}

/// How long to wait after a worker was lost; `None` gives the run up.
///
/// The first loss is no fault of the run's, so it goes on at once.
pub fn back_off_after_loss(losses: u32) -> Option<Duration> {
    match losses {
        0 | 1 => Some(Duration::ZERO),
        2..=MOST_LOSSES => Some(Duration::from_secs(1 << (losses - 2).min(16)).min(LONGEST_LOSS_BACK_OFF)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_ends_with_the_retries() {
        let check = |fault, failures, retries, seconds: Option<u64>| {
            assert_eq!(
                back_off(fault, failures, retries),
                seconds.map(Duration::from_secs),
                "{fault} after {failures} of {retries}"
            );
        };
        check(Fault::Unreachable, 1, 3, Some(5));
        check(Fault::Unreachable, 2, 3, Some(10));
        check(Fault::Unreachable, 3, 3, Some(20));
        check(Fault::Unreachable, 4, 3, None);
        check(Fault::Locked, 1, 0, None);
        check(Fault::Locked, 9, 20, Some(900));
        check(Fault::Statement, 1, 3, None);
        check(Fault::Privilege, 1, 3, None);
    }

    #[test]
    fn a_lost_run_goes_on_at_once_then_slower_then_not_at_all() {
        let seconds = |losses| back_off_after_loss(losses).map(|delay| delay.as_secs());
        assert_eq!([1, 2, 3, 4, 12].map(seconds), [Some(0), Some(1), Some(2), Some(4), Some(300)]);
        assert_eq!(seconds(MOST_LOSSES + 1), None);
    }

    proptest::proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(failures in 0_u32..1000, retries in 0_u32..1000) {
            for fault in Fault::ALL {
                if let Some(delay) = back_off(*fault, failures, retries) {
                    proptest::prop_assert!(delay <= LONGEST_BACK_OFF);
                }
            }
        }
    }
}
