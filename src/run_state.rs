//! The words for where a run stands and how it ended.
//!
//! Each set is closed and spelt the same in SQL, in `--json`, in logs and in the docs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text from the ledger that is not one of the words of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a {set} (known: {known})")]
pub struct UnknownWord {
    set: &'static str,
    known: String,
    word: String,
}

impl UnknownWord {
    /// Says that `word` is not in the set called `set`, and what is.
    pub fn new(set: &'static str, known: impl IntoIterator<Item = &'static str>, word: &str) -> Self {
        Self { set, known: known.into_iter().collect::<Vec<_>>().join(", "), word: word.to_owned() }
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $set:ident as $noun:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $set { $($(#[$variant_doc])* $variant,)* }

        impl $set {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word as it stands in SQL, JSON and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $set {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(UnknownWord::new($noun, [$($word,)*], word)),
                }
            }
        }

        impl TryFrom<String> for $set {
            type Error = UnknownWord;

            fn try_from(word: String) -> Result<Self, UnknownWord> {
                word.parse()
            }
        }

        impl From<$set> for &'static str {
            fn from(word: $set) -> &'static str {
                word.as_str()
            }
        }
    )*};
}

words! {
    /// Where a run stands.
    RunState as "run state" {
        /// On record, waiting for a worker.
        Queued = "queued",
        /// Claimed by a worker that holds its lease.
        Running = "running",
        /// Ended, with an outcome.
        Finished = "finished",
    }

    /// How a run ended.
    Outcome as "outcome" {
        /// All that was planned is done; an empty plan too.
        Succeeded = "succeeded",
        /// Something that was planned was not done.
        Partial = "partial",
        /// A fault ended it.
        Failed = "failed",
        /// Somebody asked for it to stop.
        Cancelled = "cancelled",
        /// It reached its job's `timeout`.
        TimedOut = "timed_out",
        /// Its worker died once too often.
        Lost = "lost",
        /// It fell due while nothing could run it, or its window closed first.
        Missed = "missed",
        /// It was decided not to run it: overlap, pause.
        Skipped = "skipped",
    }

    /// How one attempt at a run ended.
    AttemptOutcome as "attempt outcome" {
        /// As [`Outcome::Succeeded`].
        Succeeded = "succeeded",
        /// As [`Outcome::Partial`].
        Partial = "partial",
        /// As [`Outcome::Failed`].
        Failed = "failed",
        /// As [`Outcome::Cancelled`].
        Cancelled = "cancelled",
        /// As [`Outcome::TimedOut`].
        TimedOut = "timed_out",
        /// The worker died, or lost its lease.
        Lost = "lost",
        /// The worker gave the run back to the queue: shutdown, a lock held elsewhere, a target that is away.
        HandedBack = "handed_back",
    }

    /// How one step ended.
    StepOutcome as "step outcome" {
        /// The step did what it says, and that was checked.
        Done = "done",
        /// The statement came back normally, but the work is not done.
        NotDone = "not_done",
        /// The statement failed.
        Failed = "failed",
        /// We stopped it.
        Cancelled = "cancelled",
        /// The worker died or was cut off while it ran.
        Lost = "lost",
    }

    /// What made a firing.
    Trigger as "trigger" {
        /// It fell due while a daemon was watching.
        Schedule = "schedule",
        /// It fell due while nothing was running, and the entry's rule made up for it.
        CatchUp = "catch_up",
        /// A person asked for it.
        Manual = "manual",
        /// A reload of the configuration fired it.
        Reload = "reload",
    }
}

impl Outcome {
    /// Whether somebody should be told: work was wanted and is not done.
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Succeeded | Self::Cancelled | Self::Skipped => false,
            Self::Partial | Self::Failed | Self::TimedOut | Self::Lost | Self::Missed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
        }
        for trigger in Trigger::ALL {
            assert_eq!(trigger.as_str().parse(), Ok(*trigger));
        }
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_known_ones() {
        let error = "done".parse::<RunState>().expect_err("not a run state");
        assert_eq!(error.to_string(), "\"done\" is not a run state (known: queued, running, finished)");
    }
}
