//! The beginning of a run's id, as people type it.

use std::str::FromStr;

use uuid::Uuid;

use super::exit::Exit;
use super::prepare::Prepared;
use crate::ledger::Ledger;
use crate::ledger::history::FoundRun;

/// A run's id, or the beginning of one: every id that it may stand for lies between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunPrefix {
    typed: String,
    lowest: Uuid,
    highest: Uuid,
}

/// A text that is not the beginning of a run's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a run's id such as 0193c1f0-5a3e-7b21-9d0c-2f6a1b7c8d9e, or the beginning of one")]
pub(super) struct NotAPrefix;

impl FromStr for RunPrefix {
    type Err = NotAPrefix;

    fn from_str(typed: &str) -> Result<Self, NotAPrefix> {
        let digits: String = typed.chars().filter(|c| *c != '-').collect();
        if digits.is_empty() || digits.len() > 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(NotAPrefix);
        }
        let fill = |with: char| {
            let full: String = digits.chars().chain(std::iter::repeat(with)).take(32).collect();
            Uuid::try_parse(&full).map_err(|_| NotAPrefix)
        };
        Ok(Self { typed: typed.to_owned(), lowest: fill('0')?, highest: fill('f')? })
    }
}

/// Which runs a prefix may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// Any run.
    All,
    /// A run that works or waits, if there is one; else a finished one.
    ActiveFirst,
}

impl RunPrefix {
    /// The one run that begins so.
    ///
    /// # Errors
    /// [`Exit::Usage`] when there is none or more than one, with the ids printed; or the ledger's failure.
    pub(super) async fn find(&self, among: Among, ledger: &Ledger, prepared: &Prepared) -> Result<FoundRun, Exit> {
        let found = ledger.find_runs(self.lowest, self.highest).await.map_err(|error| prepared.refuse(&error))?;
        let active = found.iter().filter(|run| run.state != "finished").count();
        let mut candidates = match among {
            Among::ActiveFirst if active > 0 => found.into_iter().take(active).collect(),
            _ => found,
        };
        match candidates.len() {
            1 => Ok(candidates.remove(0)),
            0 => {
                prepared.complain(&format!("no run's id begins with {}; `pgupkeep history` shows them", self.typed));
                Err(Exit::Usage)
            }
            count => {
                prepared.complain(&format!("{count} runs or more begin with {}; give more of the id:", self.typed));
                for run in candidates {
                    let end = run.outcome.unwrap_or(run.state);
                    prepared.complain(&format!("  {} {} on {}, {end}", run.run_id, run.job, run.target));
                }
                Err(Exit::Usage)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stands_for_every_id_that_begins_so() {
        let check = |typed: &str, lowest: &str, highest: &str| {
            let prefix: RunPrefix = typed.parse().expect(typed);
            assert_eq!(
                (prefix.lowest.to_string(), prefix.highest.to_string()),
                (lowest.to_owned(), highest.to_owned())
            );
        };
        let id = "0193c1f0-5a3e-7b21-9d0c-2f6a1b7c8d9e";
        check(id, id, id);
        check("0193C1F0-5", "0193c1f0-5000-0000-0000-000000000000", "0193c1f0-5fff-ffff-ffff-ffffffffffff");
    }

    #[test]
    fn what_cannot_begin_an_id_is_refused() {
        for typed in ["", "-", "xyz", "'; drop table run; --", "0193c1f0-5a3e-7b21-9d0c-2f6a1b7c8d9e0"] {
            assert_eq!(typed.parse::<RunPrefix>(), Err(NotAPrefix), "{typed}");
        }
    }
}
