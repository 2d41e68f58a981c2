//! What lies outside the databases: repositories, programs, and which targets are backed up.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::names::TargetName;
use crate::repository::Repositories;

/// What lies outside the databases, for the kinds that need it.
#[derive(Debug, Clone)]
pub struct Outfit {
    /// Where backups are.
    pub repositories: Repositories,
    /// Where programs are looked for, after the places that PostgreSQL's packages have.
    pub search_path: Vec<PathBuf>,
    /// The targets that a backup job is configured for.
    pub backed_up: BTreeSet<TargetName>,
    /// The binary of pgupkeep, which starts other programs so that they die with it.
    pub starter: PathBuf,
}

impl Default for Outfit {
    fn default() -> Self {
        let starter = crate::child::THIS_BINARY.into();
        let (repositories, search_path, backed_up) = Default::default();
        Self { repositories, search_path, backed_up, starter }
    }
}
