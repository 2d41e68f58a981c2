//! The steps of a `vacuum` job, and how they read in a plan.

use std::fmt;

use sqlx::postgres::types::Oid;

use super::facts::TableFacts;
use crate::pg::statement::Qualified;

/// Why a table is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its transaction ids grow old; freezing now keeps the forced autovacuum away from the busy hours.
    Age,
    /// Dead rows.
    DeadRows,
    /// Rows were inserted that no VACUUM has seen, or its visibility map has gaps, so that index-only scans read it.
    Inserts,
    /// Rows changed since its statistics were gathered.
    Analyze,
    /// Its statistics were never gathered, or the server lost its counters.
    NeverAnalyzed,
    /// It is partitioned, and one of its partitions changed or its statistics are a week old.
    Partitions,
    /// The job says `always`.
    Always,
}

impl Reason {
    /// The reason's word in plans and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::DeadRows => "dead_rows",
            Self::Inserts => "inserts",
            Self::Analyze => "analyze",
            Self::NeverAnalyzed => "never_analyzed",
            Self::Partitions => "partitions",
            Self::Always => "always",
        }
    }

    /// How urgent it is: smaller comes first.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Age => 0,
            Self::DeadRows => 1,
            Self::Inserts | Self::Always => 2,
            Self::Analyze | Self::NeverAnalyzed => 3,
            Self::Partitions => 4,
        }
    }
}

/// What is sent for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// VACUUM.
    Vacuum,
    /// VACUUM (ANALYZE).
    VacuumAnalyze,
    /// ANALYZE.
    Analyze,
}

impl Work {
    /// Whether VACUUM is part of it.
    pub const fn vacuums(self) -> bool {
        matches!(self, Self::Vacuum | Self::VacuumAnalyze)
    }

    /// Whether ANALYZE is part of it.
    pub const fn analyzes(self) -> bool {
        matches!(self, Self::Analyze | Self::VacuumAnalyze)
    }
}

/// One table's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct TableStep {
    /// The table's number in the catalogue.
    pub oid: Oid,
    /// Its name when it was planned.
    pub table: Qualified,
    /// What is sent.
    pub work: Work,
    /// Why, the most urgent first.
    pub reasons: Vec<Reason>,
    /// Whether the role may do it; a step that it may not do is planned all the same, and ends as not done.
    pub permission: Permission,
}

/// Whether the role may vacuum a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// It may not.
    Missing,
}

impl Permission {
    pub(super) const fn of(facts: &TableFacts) -> Self {
        if facts.permitted { Self::Granted } else { Self::Missing }
    }
}

impl TableStep {
    /// Whether old rows are frozen.
    pub fn freezes(&self) -> bool {
        self.reasons.contains(&Reason::Age)
    }
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// VACUUM, ANALYZE or both for a table.
    Table(TableStep),
    /// The database's oldest transaction id, computed once at the end instead of after each table (16 and later).
    DatabaseStats,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Table(step) = self else { return f.write_str("vacuum (only_database_stats)") };
        let options: Vec<&str> = [("analyze", step.work.analyzes()), ("freeze", step.freezes())]
            .into_iter()
            .filter_map(|(option, on)| on.then_some(option))
            .collect();
        match (step.work, options.as_slice()) {
            (Work::Analyze, _) => f.write_str("analyze")?,
            (_, []) => f.write_str("vacuum")?,
            (_, options) => write!(f, "vacuum ({})", options.join(", "))?,
        }
        let reasons: Vec<&str> = step.reasons.iter().map(|reason| reason.as_str()).collect();
        write!(f, " {} [{}]", step.table.plain(), reasons.join(", "))?;
        match step.permission {
            Permission::Granted => Ok(()),
            Permission::Missing => f.write_str(" (not permitted to this role)"),
        }
    }
}
