//! How old a target's newest good backup is, by our own record.

use std::time::Duration;

use super::{Ledger, LedgerError};

impl Ledger {
    /// The age of the newest backup of a target that succeeded; nothing inside when none has, and nothing at all where no
    /// backup job has ever had a run for it.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn backup_age(&self, target: &str) -> Result<Option<Option<Duration>>, LedgerError> {
        let query = sqlx::query_as::<_, (i64, Option<f64>)>(include_str!("sql/read_backup_age.sql")).bind(target);
        let mut lent = self.lend().await?;
        let found = self.answer(query.fetch_one(&mut *lent)).await;
        lent.give_back();
        // undefined_table: a plan may come before the ledger.
        let (runs, age) = match found {
            Err(LedgerError::Pg(error)) if error.sqlstate() == Some("42P01") => return Ok(None),
            found => found?,
        };
        let age = age.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        Ok((runs > 0).then_some(age))
    }
}
