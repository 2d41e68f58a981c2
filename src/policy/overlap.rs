//! What becomes of a firing whose job still waits or works on the target.

use crate::calendar::Overlap;
use crate::run_state::RunState;

/// How many firings of one job may wait on one target under `overlap: queue`.
///
/// A queue without an end hides that the job is too slow for its schedule.
pub const LONGEST_QUEUE: usize = 100;

/// A run that waits or works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// The job's name.
    pub job: String,
    /// The target's name.
    pub target: String,
    /// Which run.
    pub run_id: uuid::Uuid,
    /// Queued or running.
    pub state: RunState,
}

/// Why a firing is skipped, in words; `None` when it goes into the queue.
pub fn reason_to_skip(overlap: Overlap, job: &str, target: &str, active: &[Active]) -> Option<String> {
    let same = || active.iter().filter(|run| run.job == job && run.target == target);
    match overlap {
        Overlap::Skip => same().next().map(|run| {
            let doing = match run.state {
                RunState::Running => "is still running",
                RunState::Queued | RunState::Finished => "still waits",
            };
            format!("overlap: run {} of this job {doing} on this target", run.run_id)
        }),
        Overlap::Queue => {
            let waiting = same().filter(|run| run.state == RunState::Queued).count();
            (waiting >= LONGEST_QUEUE)
                .then(|| format!("overlap: {waiting} runs of this job wait on this target already, the most allowed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(state: RunState) -> Active {
        Active { job: "vacuum".to_owned(), target: "db".to_owned(), run_id: uuid::Uuid::nil(), state }
    }

    #[test]
    fn skip_names_the_run_in_the_way_and_queue_has_an_end() {
        let check = |overlap, runs: &[Active], expected: Option<&str>| {
            let reason = reason_to_skip(overlap, "vacuum", "db", runs);
            assert_eq!(reason.as_deref(), expected);
        };
        let nil = uuid::Uuid::nil();
        check(Overlap::Skip, &[], None);
        check(
            Overlap::Skip,
            &[active(RunState::Running)],
            Some(&format!("overlap: run {nil} of this job is still running on this target")),
        );
        check(
            Overlap::Skip,
            &[active(RunState::Queued)],
            Some(&format!("overlap: run {nil} of this job still waits on this target")),
        );
        check(Overlap::Queue, &[active(RunState::Running)], None);
        let full = vec![active(RunState::Queued); LONGEST_QUEUE];
        check(
            Overlap::Queue,
            &full,
            Some("overlap: 100 runs of this job wait on this target already, the most allowed"),
        );
        assert_eq!(reason_to_skip(Overlap::Skip, "other", "db", &full), None);
        assert_eq!(reason_to_skip(Overlap::Skip, "vacuum", "other", &full), None);
    }
}
