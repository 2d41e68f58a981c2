//! Baselines: what an index measured right after we had rebuilt it, and whether a statement of ours came to its end.

use sqlx::postgres::types::Oid;

use super::{Ledger, LedgerError};

/// An index right after a rebuild of ours.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Baseline {
    /// The schema of the index.
    pub schema_name: String,
    /// Its name.
    pub index_name: String,
    /// Its number in the catalogue.
    pub index_oid: Oid,
    /// Its size.
    pub bytes: i64,
    /// The number of its entries; never 0.
    pub tuples: f64,
}

/// A baseline with its age.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct KnownBaseline {
    /// What was measured.
    #[sqlx(flatten)]
    pub baseline: Baseline,
    /// How many seconds ago, by the control database's clock.
    pub rebuilt_ago: f64,
}

impl Ledger {
    /// The baselines of a target's indexes.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn read_baselines(&self, target: &str) -> Result<Vec<KnownBaseline>, LedgerError> {
        let query = sqlx::query_as(include_str!("sql/read_baselines.sql")).bind(target);
        let mut lent = self.lend().await?;
        let baselines = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(baselines)
    }

    /// Writes what an index measures right after its rebuild, over what was known of it.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn record_baseline(&self, target: &str, baseline: &Baseline) -> Result<(), LedgerError> {
        let query = sqlx::query(include_str!("sql/record_baseline.sql"))
            .bind(target)
            .bind(&baseline.schema_name)
            .bind(&baseline.index_name)
            .bind(baseline.index_oid)
            .bind(baseline.bytes)
            .bind(baseline.tuples);
        let mut lent = self.lend().await?;
        self.answer(query.execute(&mut *lent)).await?;
        lent.give_back();
        Ok(())
    }

    /// Whether the last of these statements that we sent to the target did not come to a checked end; `false` when none
    /// of them was ever sent.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn left_unfinished(&self, target: &str, statements: &[String]) -> Result<bool, LedgerError> {
        let query = sqlx::query_scalar(include_str!("sql/left_unfinished.sql")).bind(target).bind(statements);
        let mut lent = self.lend().await?;
        let unfinished: Option<bool> = self.answer(query.fetch_optional(&mut *lent)).await?;
        lent.give_back();
        Ok(unfinished.unwrap_or(false))
    }
}
