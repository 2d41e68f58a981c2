//! The steps of a `backup` job, and how they read in a plan.

use std::fmt;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::facts::{DatabaseFacts, ServerFacts};
use super::tools::Tools;
use crate::amounts::rough_size;
use crate::jobs::context::JobError;
use crate::policy::retention::Keep;
use crate::repository::Repository;
use crate::repository::layout::Spot;
use crate::repository::lease::Turn;
use crate::repository::manifest::{Database, Globals};
use crate::repository::spool::Spool;

/// One unit of work.
#[derive(Debug)]
pub struct Step {
    pub(super) site: Arc<Site>,
    pub(super) what: What,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Removes what is left over and what is not kept, before anything needs room.
    MakeRoom {
        /// How many leftovers there are.
        leftovers: usize,
        /// How many backups are not kept.
        backups: usize,
    },
    /// Dumps roles and tablespaces.
    Globals,
    /// Dumps the database at this place of the list, and reads the dump.
    Database(usize),
    /// Reads everything back, and makes a backup of it.
    Publish,
    /// Removes what is not kept any more.
    Prune(Keep),
}

/// What the steps of one backup share.
#[derive(Debug)]
pub(super) struct Site {
    /// The repository; for a mere plan it may be yet to be made.
    pub(super) repository: Option<Repository>,
    pub(super) repository_name: String,
    pub(super) spot: Spot,
    pub(super) server: ServerFacts,
    pub(super) tools: Tools,
    pub(super) run_id: Uuid,
    pub(super) databases: Vec<DatabaseFacts>,
    /// What became of the globals.
    pub(super) globals: OnceLock<Result<Globals, String>>,
    /// What became of each database.
    pub(super) dumped: Vec<OnceLock<Result<Database, String>>>,
    pub(super) spool: OnceLock<Spool>,
    /// Nobody else makes a backup of this server meanwhile; the last field, so that it is given back last.
    pub(super) _turn: Option<Turn>,
}

impl Site {
    /// The repository to work in.
    pub(super) fn repository(&self) -> Result<&Repository, JobError> {
        self.repository.as_ref().ok_or_else(|| JobError::Refused {
            fault: crate::fault::Fault::Internal,
            message: "a plan must not write; nothing was written".to_owned(),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.site.repository_name;
        match &self.what {
            What::MakeRoom { leftovers, backups } => {
                write!(f, "make room in {name}: {leftovers} leftovers, {backups} backups that are not kept")
            }
            What::Globals => f.write_str("dump globals: roles and tablespaces"),
            What::Database(nth) => match self.site.databases.get(*nth) {
                Some(facts) => {
                    write!(f, "dump database {} [{}]", plain(&facts.name), rough_size(facts.bytes))
                }
                None => f.write_str("dump database"),
            },
            What::Publish => write!(f, "read back and publish {} in {name}", self.site.spot.id),
            What::Prune(keep) => write!(f, "prune {name}: keep {keep}"),
        }
    }
}

/// A database's name in a line of text, whatever is in it.
pub(super) fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
