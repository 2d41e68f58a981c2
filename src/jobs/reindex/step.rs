//! The steps of a `reindex` job, and how they read in a plan.

use std::fmt;

use sqlx::postgres::types::Oid;

use super::evidence::Grade;
use crate::amounts::rough_size;
use crate::fault::Fault;
use crate::pg::statement::{Qualified, Statement};

/// Why an index is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The job says `always`.
    Always,
    /// This share of it is waste.
    Waste(Grade, f64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Waste(grade, waste) => write!(f, "{} {:.0}% waste", grade.as_str(), waste * 100.0),
        }
    }
}

/// One index's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct RebuildStep {
    /// Its number in the catalogue, which it loses by the rebuild.
    pub oid: Oid,
    /// Its name.
    pub index: Qualified,
    /// Its size when it was planned.
    pub bytes: Option<i64>,
    /// Why.
    pub why: Why,
}

/// One leftover's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropStep {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// Its name.
    pub leftover: Qualified,
    /// Its table's number in the catalogue.
    pub table_oid: Oid,
    /// The valid index that it is a copy of.
    pub twin: Qualified,
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Drop what an interrupted rebuild has left.
    Drop(DropStep),
    /// Rebuild an index.
    Rebuild(RebuildStep),
    /// Something that was asked for, or has to be looked at, and that we do not do.
    Refuse {
        /// The index.
        index: Qualified,
        /// Why, and what to do.
        reason: String,
        /// How that is handled.
        fault: Fault,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop(DropStep { leftover, twin, .. }) => {
                write!(f, "drop {}, left by a rebuild of {}", leftover.plain(), twin.plain())
            }
            Self::Rebuild(RebuildStep { index, bytes, why, .. }) => {
                let size = bytes.map_or_else(|| "size unknown".to_owned(), rough_size);
                write!(f, "reindex {} [{size}, {why}]", index.plain())
            }
            Self::Refuse { index, reason, .. } => write!(f, "refuse {}: {reason}", index.plain()),
        }
    }
}

/// The statement that rebuilds an index.
pub(super) fn rebuild_statement(index: &Qualified) -> Statement {
    Statement::built(format!("REINDEX INDEX CONCURRENTLY {index}"))
}

/// The statement that drops a leftover.
pub(super) fn drop_statement(leftover: &Qualified) -> Statement {
    Statement::built(format!("DROP INDEX CONCURRENTLY {leftover}"))
}
