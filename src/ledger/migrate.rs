//! The ledger's own schema, brought up to date.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::migrate::{MigrateError, Migrator};
use tokio::time::Instant;

use super::{Ledger, LedgerError};
use crate::pg::{PgError, pooler};

/// Where sqlx notes which migrations were applied.
const TABLE: &str = "pgupkeep.migration";
/// How long we try for the migration lock before we say so.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long one round of migrations may take.
const MIGRATION_LIMIT: Duration = Duration::from_mins(10);

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    // The default would *wait* in pg_advisory_lock, and a waiter blocks concurrent index builds.
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// The newest migration that this binary knows.
pub fn newest_known() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Ledger {
    /// Applies what is missing, one daemon at a time, and gives back the versions that were applied.
    ///
    /// # Errors
    /// When the control database fails or is a standby, when its ledger is newer than this binary, or when another
    /// session holds the migration lock for longer than a minute.
    pub async fn migrate(&self) -> Result<Vec<i64>, LedgerError> {
        let mut lent = self.lend().await?;
        pooler::refuse(&self.connection(), &mut lent).await?;
        let started = Instant::now();
        loop {
            let query = sqlx::query_scalar::<_, bool>(include_str!("sql/try_migration_lock.sql"));
            if self.answer(query.fetch_one(&mut *lent)).await? {
                break;
            }
            if started.elapsed() > LOCK_PATIENCE {
                return Err(LedgerError::MigrationLocked(LOCK_PATIENCE));
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
        let before = self.applied(&mut lent).await?;
        check_versions(&before)?;
        let migrator = migrator();
        let missing: Vec<i64> =
            migrator.iter().map(|migration| migration.version).filter(|version| !before.contains(version)).collect();
        if !missing.is_empty() {
            if before.is_empty() {
                self.answer(lent.execute("create schema if not exists pgupkeep")).await?;
            }
            self.answer(lent.execute("set statement_timeout = 0")).await?;
            match tokio::time::timeout(MIGRATION_LIMIT, migrator.run_direct(None, &mut *lent, false)).await {
                Ok(result) => result.map_err(explain)?,
                Err(_) => return Err(PgError::Stalled(MIGRATION_LIMIT).into()),
            }
        }
        // The loan ends here unreturned: closing the session gives the lock back.
        Ok(missing)
    }

    /// Checks that the ledger is there and is of the version that this binary wants, without touching it.
    ///
    /// # Errors
    /// When it is absent, older or newer.
    pub async fn check_version(&self) -> Result<(), LedgerError> {
        let mut lent = self.lend().await?;
        let applied = self.applied(&mut lent).await?;
        lent.give_back();
        let Some(found) = applied.iter().copied().max() else { return Err(LedgerError::NoLedger) };
        check_versions(&applied)?;
        let wanted = newest_known();
        if found < wanted {
            return Err(LedgerError::TooOld { found, wanted });
        }
        Ok(())
    }

    async fn applied(&self, lent: &mut super::Lent) -> Result<Vec<i64>, LedgerError> {
        let there = sqlx::query_scalar::<_, bool>("select pg_catalog.to_regclass('pgupkeep.migration') is not null");
        if !self.answer(there.fetch_one(&mut **lent)).await? {
            return Ok(Vec::new());
        }
        let versions = sqlx::query_scalar::<_, i64>("select version from pgupkeep.migration order by version");
        self.answer(versions.fetch_all(&mut **lent)).await
    }
}

fn check_versions(applied: &[i64]) -> Result<(), LedgerError> {
    let known = newest_known();
    match applied.iter().copied().max() {
        Some(found) if found > known => Err(LedgerError::TooNew { found, known }),
        _ => Ok(()),
    }
}

fn explain(error: MigrateError) -> LedgerError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMismatch(version) => LedgerError::Altered(version),
        MigrateError::VersionMissing(found) => LedgerError::TooNew { found, known: newest_known() },
        other => LedgerError::Row(other.to_string()),
    }
}
