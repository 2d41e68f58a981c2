//! What old history leaves the ledger.
//!
//! Only runs that have ended go, with their attempts, steps and delivered notices. The newest of each job, target and
//! outcome stay whatever their age, so that the last success and the last failure can always be looked up.

use std::num::NonZeroU32;

use sqlx::postgres::types::PgInterval;

use super::{Ledger, LedgerError};
use crate::lengths::CalendarSpan;

/// What history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Everything that ended since so long ago.
    pub younger_than: CalendarSpan,
    /// So many of each job, target and outcome, whatever their age.
    pub newest: NonZeroU32,
}

impl Kept {
    fn newest(&self) -> i64 {
        i64::from(self.newest.get())
    }
}

/// A span as SQL takes it: months and days stay apart, so that the server's calendar decides what they come to.
const fn interval(span: CalendarSpan) -> PgInterval {
    PgInterval { months: span.months, days: span.days, microseconds: 0 }
}

impl Ledger {
    /// How many runs, and how many daemons that are gone, are not kept.
    ///
    /// # Errors
    /// When the control database fails or holds no ledger.
    pub async fn count_prunable(&self, kept: &Kept) -> Result<(u64, u64), LedgerError> {
        let query = sqlx::query_as::<_, (i64, i64)>(include_str!("sql/count_prunable.sql"))
            .bind(interval(kept.younger_than))
            .bind(kept.newest());
        let mut lent = self.lend().await?;
        let (runs, daemons) = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok((runs.unsigned_abs(), daemons.unsigned_abs()))
    }

    /// Deletes at most `batch` runs that are not kept; gives back how many. 0 means that none is left.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn prune_runs(&self, kept: &Kept, batch: NonZeroU32) -> Result<u64, LedgerError> {
        let query = sqlx::query_scalar::<_, i64>(include_str!("sql/prune_runs.sql"))
            .bind(interval(kept.younger_than))
            .bind(kept.newest())
            .bind(i64::from(batch.get()));
        let mut lent = self.lend().await?;
        let pruned = self.answer(query.fetch_one(&mut *lent)).await?;
        lent.give_back();
        Ok(pruned.unsigned_abs())
    }

    /// Deletes the daemons that stopped, or were last heard of, too long ago; gives back how many.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn prune_daemons(&self, kept: &Kept) -> Result<u64, LedgerError> {
        let query = sqlx::query(include_str!("sql/prune_daemons.sql")).bind(interval(kept.younger_than));
        let mut lent = self.lend().await?;
        let pruned = self.answer(query.execute(&mut *lent)).await?.rows_affected();
        lent.give_back();
        Ok(pruned)
    }
}
