//! What a transaction has changed, by the server's own counters, so that nothing changes unseen beside what moves.
//!
//! The counters hold the work of cascades, triggers and rules, which leaves no trace in a command tag. A TRUNCATE resets
//! them, so that locks against everybody are looked at as well.

use std::collections::HashMap;
use std::fmt;

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::store::{affect, execute};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::statement::{Ident, Qualified};

/// Lets deferred constraints and their triggers do now, where it can still be seen, what they would do at the commit.
pub(super) const FIRE_DEFERRED: &str = "set constraints all immediate";

/// What a transaction has changed in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) inserted: i64,
    pub(super) updated: i64,
    pub(super) deleted: i64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inserted, {} updated, {} deleted", self.inserted, self.updated, self.deleted)
    }
}

/// What this session has changed in every table, and which it has locked against everybody.
#[derive(Debug, Default)]
pub(super) struct Changes {
    tables: HashMap<Oid, (Qualified, Change)>,
    locked: HashMap<Oid, String>,
}

impl Changes {
    pub(super) async fn read(conn: &mut PgConnection) -> Result<Self, JobError> {
        let query = sqlx::query_as::<_, (Oid, String, String, i64, i64, i64)>(include_str!("../sql/read_changes.sql"));
        let rows = query.fetch_all(&mut *conn).await?;
        let tables = rows.into_iter().map(|(oid, schema, name, inserted, updated, deleted)| {
            (oid, (Qualified::new(schema, name), Change { inserted, updated, deleted }))
        });
        let query = sqlx::query_as::<_, (Oid, String)>(include_str!("../sql/read_exclusive_locks.sql"));
        let locked = query.fetch_all(conn).await?.into_iter().collect();
        Ok(Self { tables: tables.collect(), locked })
    }

    /// What was added since; earlier transactions' changes may still be in the counters.
    pub(super) fn since(mut self, before: &Self) -> Self {
        for (oid, (_, change)) in &mut self.tables {
            if let Some((_, earlier)) = before.tables.get(oid) {
                change.inserted -= earlier.inserted;
                change.updated -= earlier.updated;
                change.deleted -= earlier.deleted;
            }
        }
        self.locked.retain(|oid, _| !before.locked.contains_key(oid));
        self
    }

    /// Looks whether since then exactly the expected changes were made, and any in `ours`, the schema of the archive's
    /// catalogue; in words, what else was. What is put off to the commit is made to happen before.
    ///
    /// # Errors
    /// The server's, or a deferred trigger's.
    pub(super) async fn beyond(
        &self,
        conn: &mut PgConnection,
        ours: &Ident,
        expected: &HashMap<Qualified, Change>,
    ) -> Result<Option<String>, JobError> {
        execute(conn, &[FIRE_DEFERRED.to_owned()]).await?;
        let since = Self::read(conn).await?.since(self);
        for (table, expected) in expected {
            let found =
                since.tables.values().find(|(name, _)| name == table).map(|(_, found)| *found).unwrap_or_default();
            if found != *expected {
                let why = if found == Change::default() { "; is track_counts off?" } else { "" };
                return Ok(Some(format!("{table} has {found}; expected {expected}{why}")));
            }
        }
        for (table, found) in since.tables.values() {
            if table.schema != *ours && !expected.contains_key(table) && *found != Change::default() {
                return Ok(Some(format!("{table} has {found}")));
            }
        }
        Ok(since.locked.values().next().map(|table| format!("{table} was truncated, altered or dropped")))
    }
}

/// Sends statements that set or remove marks, and sees that no row is changed but those that they affect themselves.
///
/// # Errors
/// The server's; or that something else has changed. The caller must roll back.
pub(super) async fn affect_only(conn: &mut PgConnection, marks: &[String]) -> Result<(), JobError> {
    let before = Changes::read(conn).await?;
    let mut affected = 0;
    for mark in marks {
        affected += affect(conn, mark).await?;
    }
    let since = Changes::read(conn).await?.since(&before);
    let written: i64 = since.tables.values().map(|(_, change)| change.inserted + change.updated + change.deleted).sum();
    if since.locked.is_empty() && written == i64::try_from(affected).unwrap_or(i64::MAX) {
        return Ok(());
    }
    let message = format!(
        "writing marks has changed {written} rows where {affected} were meant, probably by a trigger; all of it was rolled \
         back"
    );
    Err(JobError::Refused { fault: Fault::Statement, message })
}
