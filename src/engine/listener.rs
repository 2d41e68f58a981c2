//! The listener: rings when another process wrote a run or asked for a cancel.
//!
//! Only a short cut. A notification that is lost costs a few seconds: workers and heartbeats look by themselves.
//! Its connection is the one that is always open, so it is here that a cut which nobody else noticed is told.

use std::time::Duration;

use sqlx::postgres::PgListener;

use super::Shared;
use crate::ledger::CHANNEL;
use crate::pg::connect::{Purpose, options};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Listens for ever.
pub async fn run(shared: Shared) {
    let mut listened = Listened::Never;
    loop {
        if let Err(error) = listen(&shared, &mut listened).await {
            tracing::debug!(%error, "not listening; trying again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether there was a connection to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listened {
    Never,
    Before,
}

async fn listen(shared: &Shared, listened: &mut Listened) -> Result<(), sqlx::Error> {
    let connection = shared.ledger.connection();
    let options = options(&connection, "pgupkeep/listen", Purpose::Short)
        .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    if std::mem::replace(listened, Listened::Before) == Listened::Before {
        tell_new_connection();
    }
    shared.work.ring();
    // `None` is a reconnection: something may have been missed, which the ring makes up for.
    while let Ok(notified) = listener.try_recv().await {
        if notified.is_none() {
            tell_new_connection();
        }
        shared.work.ring();
    }
    Ok(())
}

fn tell_new_connection() {
    tracing::info!("the connection to the control database was lost; a new one is made");
}
