//! The ledger: our own tables in the control database, one verb a function.
//!
//! Every verb takes a connection from a small pool, works for a short time and gives it back. One whose use did not
//! end well is closed, never pooled. Time is the database's clock throughout, so that daemons agree on it.

pub mod backup_age;
pub mod baseline;
pub mod daemon;
pub mod gauges;
pub mod history;
pub mod lease;
pub mod migrate;
pub mod outbox;
pub mod rescue;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod step;
pub mod tally;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{PgPool, Postgres};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Connection;
use crate::fault::Fault;
use crate::lengths::rough;
use crate::pg::PgError;
use crate::pg::connect::{Purpose, connect, options, within};
use tally::Tally;

/// The channel on which the ledger says that something is to be looked at; it carries no data.
pub const CHANNEL: &str = "pgupkeep";

/// How long a verb may take.
const VERB_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait for one of the pool's connections.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// How long a pooled connection is used. The pool hands them out in turn, so that none of those that a burst has opened
/// is idle for long: by age they go all the same.
const CONNECTION_AGE: Duration = Duration::from_mins(2);

/// A verb that failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The control database failed, or is away.
    #[error("the control database: {0}")]
    Pg(#[from] PgError),
    /// There are no tables of ours yet.
    #[error("the control database holds no ledger yet; run `pgupkeep migrate` or start the daemon")]
    NoLedger,
    /// The tables are older than this binary.
    #[error("the ledger has version {found}, this binary wants {wanted}; run `pgupkeep migrate` or start the daemon")]
    TooOld {
        /// The newest migration that was applied.
        found: i64,
        /// The newest one that this binary knows.
        wanted: i64,
    },
    /// The tables are newer than this binary.
    #[error(
        "the ledger has version {found}, newer than the {known} that this binary knows; nothing was changed; \
         install the pgupkeep that made it, or a later one"
    )]
    TooNew {
        /// The newest migration that was applied.
        found: i64,
        /// The newest one that this binary knows.
        known: i64,
    },
    /// An applied migration is not the one that this binary holds.
    #[error("migration {0} of the ledger was changed after it had been applied; nothing was changed")]
    Altered(i64),
    /// Somebody else is applying migrations and does not come to an end.
    #[error("another session has held the migration lock for {}; nothing was changed", humantime::format_duration(*.0))]
    MigrationLocked(Duration),
    /// A row holds something that this binary does not understand.
    #[error("a row of the ledger cannot be read: {0}")]
    Row(String),
    /// The run was given to somebody else, or ended, since it was claimed.
    #[error("the lease on run {0} is no longer ours; nothing was recorded")]
    LeaseLost(uuid::Uuid),
}

impl LedgerError {
    /// The code that the program handles this by.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Pg(error) => error.fault(),
            Self::MigrationLocked(_) => Fault::Locked,
            Self::NoLedger | Self::TooOld { .. } | Self::TooNew { .. } | Self::Altered(_) => Fault::Statement,
            Self::Row(_) | Self::LeaseLost(_) => Fault::Internal,
        }
    }

    /// One sentence that tells an operator what to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Pg(error) => error.hint(),
            Self::TooNew { .. } => "update pgupkeep to the release that made this ledger, or to a later one".to_owned(),
            _ => self.fault().hint().to_owned(),
        }
    }

    /// Whether waiting helps: the control database is away, or is a standby for now.
    pub fn is_passing(&self) -> bool {
        matches!(self.fault(), Fault::Unreachable | Fault::ReadOnly | Fault::Exhausted | Fault::Locked)
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Pg(error.into())
    }
}

/// A row whose words are not ours.
pub(crate) fn odd(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Row(error.to_string())
}

/// Whether the control database can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It answered last time.
    Up,
    /// It has not answered, or has refused us, since then.
    Down(Instant),
    /// It answers, but has taken no writes since then: a standby, or a setting.
    ReadOnly(Instant),
}

/// What a statement's end says of the control database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It answered.
    Answer,
    /// It wrote what it was told to.
    Write,
    /// It is away, or refuses us.
    Outage,
    /// It refuses to write.
    Refusal,
}

/// How long an outage lasts at least: while a server goes down, connections that it has not got to yet still answer.
const SHORTEST_OUTAGE: Duration = Duration::from_secs(1);

impl Reach {
    /// What news makes of this; `None` where it changes nothing.
    fn after(self, news: News, now: Instant) -> Option<Self> {
        let next = match (self, news) {
            (Self::Up | Self::Down(_), News::Refusal) => Self::ReadOnly(now),
            (Self::Up, News::Outage) => Self::Down(now),
            (Self::Down(since), News::Answer | News::Write) if now.duration_since(since) >= SHORTEST_OUTAGE => Self::Up,
            // Whatever only reads succeeds all the time.
            (Self::ReadOnly(_), News::Write) => Self::Up,
            _ => return None,
        };
        Some(next)
    }
}

/// How long the same complaint is not made again.
const SAME_COMPLAINT: Duration = Duration::from_mins(5);

/// The control database, reached through a small pool.
#[derive(Debug, Clone)]
pub struct Ledger {
    connection: watch::Sender<Connection>,
    name: String,
    pool: PgPool,
    reach: watch::Sender<Reach>,
    /// What each loop complained of last, and when.
    complaints: watch::Sender<BTreeMap<String, (String, Instant)>>,
    tally: Tally,
}

/// What is on record must outlive a crash of the server, whatever its default is: a statement is sent once its row is.
async fn durable(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let local =
        "select set_config('synchronous_commit', 'local', false) where current_setting('synchronous_commit') = 'off'";
    sqlx::raw_sql(local).execute(conn).await.map(drop)
}

impl Ledger {
    /// A ledger behind a connection; nothing is contacted yet.
    ///
    /// # Errors
    /// When the connection's settings cannot be used.
    pub fn new(connection: &Connection, name: &str) -> Result<Self, LedgerError> {
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .min_connections(0)
            .acquire_timeout(ACQUIRE_LIMIT)
            .max_lifetime(CONNECTION_AGE)
            .after_connect(|conn, _| Box::pin(durable(conn)))
            .connect_lazy_with(options(connection, name, Purpose::Short)?);
        Ok(Self {
            connection: watch::Sender::new(connection.clone()),
            name: name.to_owned(),
            pool,
            reach: watch::Sender::new(Reach::Up),
            complaints: watch::Sender::new(BTreeMap::new()),
            tally: Tally::new(),
        })
    }

    /// How the control database is reached now.
    pub fn connection(&self) -> Connection {
        self.connection.borrow().clone()
    }

    /// Makes new connections with other credentials, as after a password was changed; the database stays the same.
    ///
    /// # Errors
    /// When the connection's settings cannot be used; the old ones stay then.
    pub fn renew_credentials(&self, connection: &Connection) -> Result<(), LedgerError> {
        self.pool.set_connect_options(options(connection, &self.name, Purpose::Short)?);
        self.connection.send_replace(connection.clone());
        Ok(())
    }

    /// Logs that a verb failed, unless that has been said: an outage is told once, any other failure every five minutes.
    pub fn complain(&self, who: &str, error: &LedgerError) {
        let text = error.to_string();
        let told = is_outage(error.fault())
            || !self.complaints.send_if_modified(|last| {
                let said = last.get(who).is_some_and(|(said, at)| *said == text && at.elapsed() < SAME_COMPLAINT);
                if !said {
                    last.insert(who.to_owned(), (text.clone(), Instant::now()));
                }
                !said
            });
        if told {
            tracing::debug!(error = text, "the {who} tries again");
        } else {
            tracing::error!(fault = %error.fault(), error = text, hint = error.hint(), "the {who} failed; it tries again");
        }
    }

    /// Closes the pool, without waiting for long.
    pub async fn close(&self) {
        let _ended = tokio::time::timeout(Duration::from_secs(2), self.pool.close()).await;
    }

    /// Takes a connection that is closed again unless [`Lent::give_back`] is called.
    async fn lend(&self) -> Result<Lent, LedgerError> {
        let taken = match self.pool.acquire().await {
            // The pool keeps the reason to itself, so the question is asked once more without it.
            Err(sqlx::Error::PoolTimedOut) => {
                let connection = self.connection();
                match connect(&connection, &self.name, Purpose::Short).await {
                    Err(reason) => Err(reason),
                    // The database is there: whoever waited through an outage that is over is no news of another one.
                    Ok(_) => return Err(PgError::Connection(sqlx::Error::PoolTimedOut).into()),
                }
            }
            taken => taken.map_err(PgError::from),
        };
        // A connection from the pool may be dead without knowing it: only an answer says that all is well.
        if let Err(error) = &taken {
            self.note(Some(error));
        }
        Ok(Lent(Some(taken?)))
    }

    /// Waits for a statement, at most [`VERB_LIMIT`], and notes whether the control database is there.
    async fn answer<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, LedgerError> {
        let answer = within(VERB_LIMIT, statement).await;
        self.note(answer.as_ref().err());
        Ok(answer?)
    }

    /// Notes that something was written.
    fn note_write(&self) {
        self.note_news(News::Write, None);
    }

    fn note(&self, error: Option<&PgError>) {
        let outage = error.filter(|error| is_outage(error.fault()));
        let news = match outage.map(PgError::fault) {
            None => News::Answer,
            Some(Fault::ReadOnly) => News::Refusal,
            Some(_) => News::Outage,
        };
        self.note_news(news, outage);
    }

    /// Says once that the control database went away or refuses us, and once that it is back.
    fn note_news(&self, news: News, outage: Option<&PgError>) {
        self.reach.send_if_modified(|reach| {
            let Some(next) = reach.after(news, Instant::now()) else { return false };
            match (next, *reach) {
                (Reach::Up, Reach::Up) => {}
                (Reach::Up, Reach::Down(since) | Reach::ReadOnly(since)) => {
                    tracing::info!(away = %rough(since.elapsed()), "the control database is back");
                }
                (Reach::Down(_) | Reach::ReadOnly(_), _) => {
                    // At its start a daemon waits for a server, but not for a login that is refused.
                    let state = match outage.map(PgError::fault) {
                        Some(Fault::Login) => "refuses us",
                        Some(Fault::ReadOnly) => "takes no writes; waiting for it",
                        _ => "is away; waiting for it",
                    };
                    let (error, hint) = (outage.map(ToString::to_string), outage.map(PgError::hint));
                    tracing::warn!(error, hint, "the control database {state}");
                }
            }
            *reach = next;
            true
        });
    }

    /// Whether writes are refused, as far as is known.
    pub fn is_read_only(&self) -> bool {
        matches!(*self.reach.borrow(), Reach::ReadOnly(_))
    }
}

/// Whether this fault means that nothing can be done with the control database at all, for now.
const fn is_outage(fault: Fault) -> bool {
    matches!(fault, Fault::Unreachable | Fault::Login | Fault::Exhausted | Fault::ReadOnly)
}

/// A connection on loan; dropped, it is closed.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    /// Puts it back into the pool, after a use that ended well.
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Detached from the pool and dropped, the socket closes at once; the server then rolls back.
        drop(self.0.take().map(PoolConnection::detach));
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    #[expect(clippy::expect_used, reason = "the connection is taken only where self is consumed")]
    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("a loan holds its connection until it ends")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "the connection is taken only where self is consumed")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("a loan holds its connection until it ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(news: &[(u64, News)], expected: &[(u64, &str)]) {
        let begin = Instant::now();
        let mut reach = Reach::Up;
        let mut told = Vec::new();
        for (millis, news) in news {
            if let Some(next) = reach.after(*news, begin + Duration::from_millis(*millis)) {
                let word = match next {
                    Reach::Up => "up",
                    Reach::Down(_) => "down",
                    Reach::ReadOnly(_) => "read-only",
                };
                told.push((*millis, word));
                reach = next;
            }
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn an_outage_is_told_once_while_some_connections_still_answer() {
        use News::{Answer, Outage};
        check(
            &[(0, Answer), (1, Outage), (2, Answer), (3, Outage), (4, Answer), (900, Outage), (5_000, Answer)],
            &[(1, "down"), (5_000, "up")],
        );
    }

    #[test]
    fn a_server_that_takes_no_writes_is_told_of_once_while_it_answers() {
        use News::{Answer, Outage, Refusal, Write};
        check(
            &[(0, Refusal), (2_000, Answer), (2_001, Refusal), (3_000, Outage), (9_000, Answer), (9_001, Write)],
            &[(0, "read-only"), (9_001, "up")],
        );
        check(
            &[(0, Outage), (4_000, Refusal), (8_000, Answer), (8_001, Write)],
            &[(0, "down"), (4_000, "read-only"), (8_001, "up")],
        );
    }
}
