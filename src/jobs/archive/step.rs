//! The steps of an `archive` job, and how they read in a plan.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::batch::MOST_BYTES;
use super::mover::Chunk;
use super::rule::Rule;
use super::store::Store;
use crate::amounts::rough_size;
use crate::jobs::context::{Context, JobError};
use crate::jobs::reindex::Rebuild;
use crate::lengths::CalendarSpan;
use crate::pg::connect::within;
use crate::pg::statement::Qualified;

const FACTS_LIMIT: Duration = Duration::from_secs(20);

/// What a plan expects of its moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// Rows.
    pub rows: u64,
    /// Bytes of those rows and their index entries in the live tables.
    pub bytes: i64,
    /// Bytes in the archive.
    pub archived: i64,
    /// Bytes of WAL.
    pub wal: i64,
    /// How long, in seconds.
    pub seconds: u64,
}

/// Some rows' turn.
#[derive(Debug, Clone, PartialEq)]
pub struct MoveStep {
    /// What moves together.
    pub rule: Arc<Rule>,
    /// Which of it.
    pub chunk: Chunk,
    /// How many roots that is at the least: each group has one, and in pages they were counted.
    pub roots: u64,
    /// What is expected.
    pub expected: Expected,
    /// Whether it follows another one, after a rest.
    pub follows: bool,
    /// How many rows one transaction may move; fewer than the job says where rows are wide.
    pub most: u64,
}

impl MoveStep {
    /// The transactions of the step: one, unless a single group is too large for it.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        match &self.chunk {
            Chunk::Groups(groups) if self.expected.rows > self.most => {
                groups.iter().map(|group| Chunk::Groups(vec![group.clone()])).collect()
            }
            chunk => vec![chunk.clone()],
        }
    }

    /// How many transactions that takes, about.
    pub(super) fn transactions(&self) -> u64 {
        let by_bytes = self.expected.archived.unsigned_abs().div_ceil(MOST_BYTES as u64);
        self.expected.rows.div_ceil(self.most).max(by_bytes).max(1)
    }

    /// Whether a chunk may have more rows than one transaction should move; of pages that is only estimated.
    pub(super) const fn is_large(&self) -> bool {
        self.expected.rows > self.most || matches!(self.chunk, Chunk::Pages(..))
    }
}

/// The bytes of some tables, and of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sizes {
    /// Of the tables' own files and their TOAST tables.
    pub heap: i64,
    /// Of their indexes.
    pub indexes: i64,
    /// Of the archive, catalogue included.
    pub archive: i64,
}

impl Sizes {
    /// All of it.
    pub const fn total(&self) -> i64 {
        self.heap + self.indexes + self.archive
    }

    /// Measures.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn read(store: &Store, tables: &[Qualified], cx: &mut Context) -> Result<Self, JobError> {
        let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
        let query = sqlx::query_as::<_, (i64, i64, i64)>(include_str!("../sql/read_sizes.sql"));
        let query = query.bind(names).bind(store.store.0.clone());
        let (heap, indexes, archive) = within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await?;
        Ok(Self { heap, indexes, archive })
    }
}

/// What is told at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportStep {
    /// The tables that rows have left.
    pub tables: Vec<Qualified>,
    /// What they took when the plan was made.
    pub before: Sizes,
}

/// What is removed from the archive for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireStep {
    /// The rule that they were archived by.
    pub rule: String,
    /// The condition that they were archived under.
    pub condition: Option<String>,
    /// The groups' numbers.
    pub groups: Vec<i64>,
    /// Their rows.
    pub rows: i64,
    /// Where they are exported to before they go, if anywhere.
    pub repository: Option<String>,
    /// What was last active before this goes, as a date for people.
    pub before: String,
    /// How long the archive keeps them.
    pub keep: CalendarSpan,
    /// When the job began: groups that have got rows since then stay.
    pub begun: DateTime<Utc>,
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make the archive's schemas and tables where they are missing.
    Prepare {
        /// For what.
        rule: Arc<Rule>,
        /// Where.
        schema: String,
    },
    /// Move rows.
    Move(MoveStep),
    /// VACUUM (ANALYZE) the tables that rows have left, and give back what is free at their ends.
    Vacuum(Vec<Qualified>),
    /// Rebuild all indexes of those that have lost a large share of their rows, or any that are bloated.
    Reindex(Rebuild, Vec<Qualified>),
    /// Measure what was gained.
    Report(ReportStep),
    /// Delete archived rows that were kept long enough.
    Expire(ExpireStep),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { rule, schema } => write!(f, "make room in schema {schema} for {}", rule.name),
            Self::Move(MoveStep { chunk, expected, .. }) => {
                match chunk {
                    Chunk::Groups(groups) => match &groups[..] {
                        [one] => write!(f, "move {one}")?,
                        [first, .., last] => write!(f, "move {} groups, {first} to {last}", groups.len())?,
                        [] => write!(f, "move nothing")?,
                    },
                    Chunk::Pages(from, to) => write!(f, "move what is old in pages {from} to {}", to - 1)?,
                }
                let Expected { rows, bytes, archived, .. } = expected;
                write!(f, " [about {rows} rows, {} to {}]", rough_size(*bytes), rough_size(*archived))
            }
            Self::Vacuum(tables) => write!(f, "vacuum {}", plain(tables)),
            Self::Reindex(Rebuild::All, tables) => write!(f, "reindex what shrank of {}", plain(tables)),
            Self::Reindex(Rebuild::Bloated, tables) => write!(f, "reindex what is bloated of {}", plain(tables)),
            Self::Report(step) => write!(f, "measure {} and the archive", plain(&step.tables)),
            Self::Expire(ExpireStep { groups, rows, before, repository, .. }) => {
                let fate = match repository {
                    Some(repository) => format!("after an export to {repository}"),
                    None => "for good: there is no repository for an export".to_owned(),
                };
                let groups = groups.len();
                write!(f, "delete {groups} groups from the archive, last active before {before}, {fate} [{rows} rows]")
            }
        }
    }
}

fn plain(tables: &[Qualified]) -> String {
    match tables {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{}, {}, {} and {} more", first.plain(), second.plain(), third.plain(), rest.len())
        }
        few => few.iter().map(Qualified::plain).collect::<Vec<_>>().join(", "),
    }
}

/// The tables that rows leave, each once.
pub(super) fn tables(rule: &Rule) -> Vec<Qualified> {
    let mut tables: Vec<Qualified> = Vec::new();
    for part in &rule.parts {
        if !tables.contains(&part.table) {
            tables.push(part.table.clone());
        }
    }
    tables
}
