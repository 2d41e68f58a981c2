//! Exit codes, part of the interface; after `sysexits.h` where it has one.

use std::process::ExitCode;

use crate::fault::Fault;
use crate::ledger::LedgerError;
use crate::run_state::Outcome;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Something that was planned was not done.
    Partial,
    /// The command line makes no sense.
    Usage,
    /// A database cannot be reached, or refuses us.
    Unreachable,
    /// The configuration is wrong.
    Configuration,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Partial => 2,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Configuration => 78,
        }
    }

    /// The worse of two ends: what could not begin comes before what failed, and that before what is partial.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let badness = |exit: Self| match exit {
            Self::Done => 0,
            Self::Partial => 1,
            Self::Failed => 2,
            Self::Unreachable => 3,
            Self::Usage => 4,
            Self::Configuration => 5,
        };
        if badness(other) > badness(self) { other } else { self }
    }

    /// What a run's outcome means for who waited for it.
    pub const fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Done,
            Outcome::Partial => Self::Partial,
            Outcome::Failed
            | Outcome::Cancelled
            | Outcome::TimedOut
            | Outcome::Lost
            | Outcome::Missed
            | Outcome::Skipped => Self::Failed,
        }
    }

    /// What a failure of the ledger means.
    pub fn of_ledger(error: &LedgerError) -> Self {
        Self::of_fault(error.fault())
    }

    /// What a fault means for a command that could not begin.
    pub const fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable | Fault::Login | Fault::Exhausted => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_those_that_the_docs_promise() {
        let codes = [Exit::Done, Exit::Failed, Exit::Partial, Exit::Usage, Exit::Unreachable, Exit::Configuration];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 64, 69, 78]);
    }

    #[test]
    fn only_a_run_that_did_everything_exits_with_0() {
        for outcome in Outcome::ALL {
            assert_eq!(Exit::of_outcome(*outcome) == Exit::Done, *outcome == Outcome::Succeeded, "{outcome}");
        }
    }
}
