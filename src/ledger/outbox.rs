//! The outbox: what people must be told, delivered by exactly one daemon.

use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Ledger, LedgerError};

/// One thing that people must be told.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Notice {
    /// Its place in the outbox.
    pub outbox_id: i64,
    /// The run it is about.
    pub run_id: Uuid,
    /// One line for people.
    pub subject: String,
    /// The same for programs.
    pub body: Json<Value>,
}

impl Ledger {
    /// Takes what waits in the outbox; each notice goes to one taker only.
    ///
    /// Taken is delivered: our one way out is the log, which cannot fail afterwards.
    ///
    /// # Errors
    /// When the control database fails.
    pub async fn take_notices(&self) -> Result<Vec<Notice>, LedgerError> {
        let mut lent = self.lend().await?;
        let query = sqlx::query_as(include_str!("sql/take_notices.sql"));
        let notices = self.answer(query.fetch_all(&mut *lent)).await?;
        lent.give_back();
        Ok(notices)
    }
}
