//! What `pgupkeep archive` answers, for programs and for people.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::output;
use crate::jobs::archive::holdings::{ArchiveGroupTable, ArchiveRule, ArchiveTable};
use crate::jobs::archive::verify::Verified;

/// What `archive list` answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ArchiveList {
    /// What is held by each rule: a scope of a preset, or a table with its children.
    pub rules: Vec<ArchiveRule>,
    /// What is held of each table, once for each shape that the table has had.
    pub tables: Vec<ArchiveTable>,
}

/// What the archive holds of one group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ArchiveGroup {
    /// The group, such as the id of a run.
    pub group: String,
    /// By which rule it was archived.
    pub rule: String,
    /// What was asked for and is in it, such as a run of an experiment that was archived as a whole.
    pub inner: Vec<String>,
    /// Its rows, of all tables.
    pub rows: i64,
    /// The same by table.
    pub tables: Vec<ArchiveGroupTable>,
}

/// What `archive verify` found of one table.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ArchiveDamage {
    /// The table, as `schema.table`.
    pub table: String,
    /// Segments that were read.
    pub segments: i64,
    /// Rows that were read.
    pub rows: i64,
    /// What is damaged, a sentence a segment or batch; empty when all is well.
    pub damaged: Vec<String>,
}

impl From<Verified> for ArchiveDamage {
    fn from(verified: Verified) -> Self {
        let Verified { table, segments, rows, damaged, .. } = verified;
        Self { table, segments, rows, damaged }
    }
}

impl ArchiveList {
    pub(super) fn tell(&self) {
        let mut rules = output::table(&["RULE", "WHERE", "GROUPS", "ROWS", "LAST ACTIVE", "ARCHIVED", "HELD"]);
        for rule in &self.rules {
            let span = match (&rule.oldest_activity, &rule.newest_activity) {
                (Some(oldest), Some(newest)) => format!("{} to {}", day(oldest), day(newest)),
                _ => String::new(),
            };
            let archived = rule.archived_at.clone().unwrap_or_default();
            rules.add_row([
                rule.rule.clone(),
                rule.condition.clone().unwrap_or_default(),
                rule.groups.to_string(),
                rule.rows.to_string(),
                span,
                archived,
                rule.held.to_string(),
            ]);
        }
        output::say_table(&rules);
        output::say("");
        let mut tables = output::table(&["TABLE", "VIEW", "STORED IN", "SEGMENTS", "ROWS", "SIZE"]);
        for table in &self.tables {
            let size = output::bytes(table.bytes);
            tables.add_row([
                table.table.clone(),
                table.view.clone(),
                table.store.clone(),
                table.segments.to_string(),
                table.rows.to_string(),
                size,
            ]);
        }
        output::say_table(&tables);
    }
}

fn day(instant: &str) -> &str {
    instant.get(..10).unwrap_or(instant)
}

pub(super) fn tell_groups(groups: &[ArchiveGroup]) {
    for group in groups {
        let inner = if group.inner.is_empty() { String::new() } else { format!(", with {}", group.inner.join(", ")) };
        output::say(&format!("{} of {}{inner}: {}", group.group, group.rule, output::rows(group.rows)));
        for table in &group.tables {
            let batches = table.batches.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            output::say(&format!(
                "  {}: {} in {} segments, batch {batches}",
                table.table,
                output::rows(table.rows),
                table.segments
            ));
        }
    }
}

pub(super) fn tell_verified(all: &[ArchiveDamage]) {
    for table in all {
        let read = format!("{}: {} in {} segments", table.table, output::rows(table.rows), table.segments);
        if table.damaged.is_empty() {
            output::say(&format!("{read}, all as they were"));
        } else {
            let places = table.damaged.len();
            let read = if table.segments > 0 { read } else { table.table.clone() };
            output::say(&format!("{read}; damaged in {places} {}:", if places == 1 { "place" } else { "places" }));
            for damage in &table.damaged {
                output::say(&format!("  {damage}"));
            }
        }
    }
}
