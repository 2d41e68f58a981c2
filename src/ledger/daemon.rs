//! Which daemons there are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Ledger, LedgerError};

/// A daemon is up while its last heartbeat is younger than this.
pub const DAEMON_FRESH: Duration = Duration::from_secs(30);
/// How often a daemon says that it is up.
pub const DAEMON_HEARTBEAT: Duration = Duration::from_secs(10);

/// A daemon that is up.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DaemonRow {
    /// Made anew at each start.
    pub daemon_id: Uuid,
    /// The version of its binary.
    pub version: String,
    /// Its process id, in its own process namespace.
    pub pid: i32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last said that it is alive.
    pub heartbeat_at: DateTime<Utc>,
}

impl Ledger {
    /// Registers this daemon, or says again that it is up.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn beat_daemon(&self, daemon_id: Uuid) -> Result<(), LedgerError> {
        let query = sqlx::query(include_str!("sql/beat_daemon.sql"))
            .bind(daemon_id)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(i32::try_from(std::process::id()).unwrap_or(0));
        let mut lent = self.lend().await?;
        self.answer(query.execute(&mut *lent)).await?;
        self.note_write();
        lent.give_back();
        Ok(())
    }

    /// Says that this daemon ended in good order.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn stop_daemon(&self, daemon_id: Uuid) -> Result<(), LedgerError> {
        let query = sqlx::query("update pgupkeep.daemon set stopped_at = clock_timestamp() where daemon_id = $1")
            .bind(daemon_id);
        let mut lent = self.lend().await?;
        self.answer(query.execute(&mut *lent)).await?;
        lent.give_back();
        Ok(())
    }

    /// How many daemons are up.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn daemons_up(&self) -> Result<i64, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/daemons_up.sql")).bind(DAEMON_FRESH.as_secs_f64());
        let mut lent = self.lend().await?;
        let up = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(up)
    }

    /// The daemons that are up, the oldest first.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn daemons(&self) -> Result<Vec<DaemonRow>, LedgerError> {
        let query = sqlx::query_as(include_str!("sql/read_daemons.sql")).bind(DAEMON_FRESH.as_secs_f64());
        let mut lent = self.lend().await?;
        let rows = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(rows)
    }
}
