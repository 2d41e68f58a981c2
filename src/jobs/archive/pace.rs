//! How much one transaction of a chunk takes: less when it took too long or too much memory, more again when it did not.

use std::time::Duration;

use super::spec::Archive;
use super::step::MoveStep;

/// Fewer rows than this are not tried when batches take too long.
const FEWEST_ROWS: u64 = 500;

/// What a batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many rows at most; nothing when the chunk is known to be small enough.
    pub rows: Option<u64>,
    /// Whether rows are also limited by their size, which costs a look at each before it is deleted.
    pub by_size: bool,
    /// How long the deletion of a table's rows may take.
    pub time: Duration,
    /// How long a lock is waited for.
    pub lock_wait: Duration,
    /// Whether it is the first of the transactions that a chunk is split over.
    pub first: bool,
}

/// The bounds of the transactions of one chunk, each after the one before.
#[derive(Debug)]
pub(super) struct Pace {
    /// Those of the next one.
    pub(super) bounds: Bounds,
    /// How many rows it may grow to again.
    most: u64,
}

impl Pace {
    /// What a chunk of the step begins with.
    pub(super) fn of(step: &MoveStep, spec: &Archive) -> Self {
        let bounds = Bounds {
            rows: step.is_large().then_some(step.most),
            by_size: false,
            time: spec.batch_time.0,
            lock_wait: spec.lock_wait.0,
            first: true,
        };
        Self { bounds, most: step.most }
    }

    /// So many rows have left, and there are more.
    pub(super) fn went_on(&mut self, rows: u64) {
        if self.bounds.by_size {
            self.bounds.rows = Some((rows * 2).clamp(1, self.most));
        }
        self.bounds.first = false;
    }

    /// Nothing has left, since only so many rows fit into memory.
    pub(super) fn was_too_large(&mut self, fitting: u64) {
        (self.bounds.rows, self.bounds.by_size) = (Some(fitting.min(self.most)), true);
        tracing::info!(fitting, "rows are too large to be in memory together; they are looked at first");
    }

    /// Nothing has left, since the server stopped it; gives back whether fewer rows are worth trying.
    pub(super) fn was_too_slow(&mut self) -> bool {
        let rows = self.bounds.rows.unwrap_or(self.most) / 2;
        if rows < FEWEST_ROWS && self.bounds.by_size {
            return false;
        }
        self.most = rows.max(1);
        (self.bounds.rows, self.bounds.by_size) = (Some(self.most), true);
        tracing::info!(rows, batch_time = ?self.bounds.time, "a batch took too long; the next ones are smaller");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rows: Option<u64>) -> Pace {
        let (time, lock_wait) = (Duration::from_secs(30), Duration::from_secs(2));
        Pace { bounds: Bounds { rows, by_size: false, time, lock_wait, first: true }, most: 10_000 }
    }

    #[test]
    fn batches_shrink_and_grow_again_up_to_what_was_not_too_slow() {
        let mut pace = pace(None);
        pace.was_too_large(3);
        assert_eq!((pace.bounds.rows, pace.bounds.by_size, pace.bounds.first), (Some(3), true, true));
        let grown = [3, 6, 12, 9000].map(|rows| {
            pace.went_on(rows);
            pace.bounds.rows
        });
        assert_eq!((grown, pace.bounds.first), ([Some(6), Some(12), Some(24), Some(10_000)], false));
        assert!(pace.was_too_slow());
        pace.went_on(5000);
        assert_eq!(pace.bounds.rows, Some(5000));
    }

    #[test]
    fn a_batch_that_is_too_slow_is_halved_until_it_is_too_small_to_help() {
        let mut pace = pace(Some(600));
        assert!(pace.was_too_slow(), "their sizes were not looked at yet");
        assert_eq!((pace.bounds.rows, pace.bounds.by_size), (Some(300), true));
        assert!(!pace.was_too_slow());
        assert_eq!(pace.bounds.rows, Some(300));
    }
}
