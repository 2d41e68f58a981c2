//! The working session: the one connection that does a run's work and holds its advisory locks.
//!
//! Because the locks and the statements live in the same server process, the guard against a second copy of the
//! work ends exactly when the work does, whoever dies first. Locks are only ever tried: a session that *waits* for an
//! advisory lock holds a snapshot, and so blocks every concurrent index build in its database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Row as _};

use super::PgError;
use super::connect::{Purpose, connect, within};
use super::pooler;
use super::progress::{Seen, look};
use super::statement::Statement;
use crate::config::Connection;
use crate::fault::Fault;

/// How long a short question may stay unanswered.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often a working session is looked at from outside.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a statement that we cancelled may take to end before the session is given up.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// How long the server may say that our session is idle, or may not answer at all, before the session is given up.
const LOST_AFTER: Duration = Duration::from_secs(15);

/// How long the locks of a connection that we closed are waited for.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);

/// in_failed_sql_transaction: only ROLLBACK is accepted.
const FAILED_TRANSACTION: &str = "25P02";

/// How a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The statement or the connection failed.
    #[error(transparent)]
    Pg(#[from] PgError),
    /// We were told to stop, and the server confirmed that the statement ended.
    #[error("stopped before it ended")]
    Stopped,
}

/// What the server is, as it said when the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`, such as 160004.
    pub version: i32,
    /// Whether it is a standby.
    pub in_recovery: bool,
}

impl Server {
    /// The major version, such as 16.
    pub const fn major(self) -> i32 {
        self.version / 10_000
    }
}

/// A direct connection of one run, seen from outside by a second one.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    name: String,
    /// `None` once the session was given up.
    work: Option<PgConnection>,
    /// The second connection: reads facts, looks at the first, cancels it.
    reader: Option<PgConnection>,
    /// The server process that works for us.
    pub pid: i32,
    /// When that process began; with the pid it names the session for good.
    pub backend_start: DateTime<Utc>,
    /// What the server is.
    pub server: Server,
    /// The advisory locks that it holds.
    keys: Vec<String>,
}

/// What became of a session whose connection was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It goes on as it was.
    Same,
    /// Another server process works for it now, under the same locks.
    Anew,
}

impl Session {
    /// Opens a session under the given `application_name`.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses the login, or lies behind a pooler that lends its processes.
    pub async fn open(connection: &Connection, name: &str) -> Result<Self, PgError> {
        let mut work = connect(connection, name, Purpose::Work).await?;
        pooler::refuse(connection, &mut work).await?;
        let (pid, backend_start, server) = introduce(&mut work).await?;
        Ok(Self {
            connection: connection.clone(),
            name: name.to_owned(),
            work: Some(work),
            reader: None,
            pid,
            backend_start,
            server,
            keys: Vec::new(),
        })
    }

    /// Tries to take every lock; gives back the first key that somebody else holds, and then holds none.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn try_locks(&mut self, keys: &[String]) -> Result<Option<String>, PgError> {
        let work = self.work.as_mut().ok_or_else(gone)?;
        let query = sqlx::query_as::<_, (String, bool)>(include_str!("sql/try_locks.sql")).bind(keys);
        let rows = within(ANSWER_LIMIT, query.fetch_all(&mut *work)).await?;
        let busy = rows.into_iter().find_map(|(key, taken)| (!taken).then_some(key));
        if busy.is_some() {
            self.unlock().await?;
        } else {
            self.keys = keys.to_vec();
        }
        Ok(busy)
    }

    /// Gives every advisory lock back.
    ///
    /// # Errors
    /// When the server cannot be asked; the locks then end with the session.
    pub async fn unlock(&mut self) -> Result<(), PgError> {
        let work = self.work.as_mut().ok_or_else(gone)?;
        self.keys.clear();
        within(ANSWER_LIMIT, work.execute("select pg_catalog.pg_advisory_unlock_all()")).await.map(drop)
    }

    /// The connection for reading facts: short time limits, never inside a transaction.
    ///
    /// # Errors
    /// When it has to be opened anew and cannot.
    pub async fn reader(&mut self) -> Result<&mut PgConnection, PgError> {
        reader(&mut self.reader, &self.connection, &self.name).await
    }

    /// How the target is reached.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sends a statement and waits for its end, the order to stop, or the loss of the session.
    ///
    /// Dropping a future does not stop a statement on the server; so the order to stop cancels it there and waits
    /// for the server to say that it ended.
    ///
    /// # Errors
    /// The statement's own failure, [`SessionError::Stopped`], or that the session is lost.
    pub async fn send(
        &mut self,
        statement: &Statement,
        stop: impl Future<Output = ()>,
        on_look: impl Fn(Seen),
    ) -> Result<u64, SessionError> {
        let Self { connection, name, work: slot, reader: watch, pid, backend_start, .. } = self;
        let mut conn = slot.take().ok_or_else(gone)?;
        let (ended, usable) = {
            let mut work = std::pin::pin!(conn.execute(sqlx::raw_sql(statement.to_sql())));
            tokio::select! {
                biased;
                result = &mut work => (result.map_err(PgError::from).map_err(SessionError::from), true),
                () = stop => {
                    let cancelled = cancel(connection, *pid, *backend_start).await;
                    match tokio::time::timeout(CANCEL_LIMIT, &mut work).await {
                        Ok(Ok(result)) => (Ok(result), true),
                        Ok(Err(error)) => {
                            let error = PgError::from(error);
                            // Once the server said that it took the cancellation, none is on its way any more,
                            // and the session can go on to the next job of a sequence.
                            let interrupted = error.fault() == Fault::Interrupted;
                            let stopped = interrupted || error.fault() == Fault::Unreachable;
                            (Err(if stopped { SessionError::Stopped } else { error.into() }), interrupted)
                        }
                        Err(_) => (Err(cancelled.err().map_or(SessionError::Stopped, SessionError::from)), false),
                    }
                }
                lost = watch_over(watch, connection, name, (*pid, *backend_start), on_look) => {
                    (Err(lost.into()), false)
                }
            }
        };
        // What is no answer of the server's, as after a COPY that nobody feeds, leaves a connection that waits for ever;
        // and a server that ends the session says so in its last answer.
        let is_over = |error: &PgError| error.sqlstate().is_none() || error.fault() == Fault::Unreachable;
        let usable = usable && !matches!(&ended, Err(SessionError::Pg(error)) if is_over(error));
        if usable {
            *slot = Some(conn);
        }
        ended.map(|result| result.rows_affected())
    }

    /// Lends the connection to a conversation of several statements, which [`Session::oversee`] looks after.
    ///
    /// # Errors
    /// When the session was given up.
    pub fn lend(&mut self) -> Result<PgConnection, PgError> {
        self.work.take().ok_or_else(gone)
    }

    /// Takes a lent connection back; what it left open is rolled back unless all went well.
    ///
    /// A COPY that fails after its last row, as by a trigger or a foreign key, leaves sqlx one answer behind the server.
    /// Nothing that such a connection says can be relied on, so another one takes its place.
    ///
    /// # Errors
    /// When the server does not answer, or the locks cannot be had again; the session is then given up.
    pub async fn take_back(&mut self, mut conn: PgConnection, went_well: bool) -> Result<Returned, PgError> {
        if went_well || is_in_step(&mut conn, self.pid).await {
            self.work = Some(conn);
            return Ok(Returned::Same);
        }
        // Its server process rolls back and gives up the locks as soon as it finds that nobody is there.
        drop(conn);
        let keys = std::mem::take(&mut self.keys);
        let mut work = connect(&self.connection, &self.name, Purpose::Work).await?;
        (self.pid, self.backend_start, self.server) = introduce(&mut work).await?;
        self.work = Some(work);
        let locked = self.lock_again(&keys).await;
        if locked.is_err() {
            // Nothing may be done without them.
            self.work = None;
        }
        locked.map(|()| Returned::Anew)
    }

    async fn lock_again(&mut self, keys: &[String]) -> Result<(), PgError> {
        let patience = tokio::time::Instant::now() + HANDOVER_LIMIT;
        while let Some(busy) = self.try_locks(keys).await? {
            if tokio::time::Instant::now() >= patience {
                tracing::debug!(busy, "the lock could not be had again");
                return Err(gone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits for the end of a conversation on the lent connection, the order to stop, or the loss of the session.
    ///
    /// As with [`Session::send`], the order to stop cancels what the server is doing and waits for the conversation to
    /// end of it.
    ///
    /// # Errors
    /// The conversation's own failure, [`SessionError::Stopped`], or that the session is lost.
    pub async fn oversee<T, E: From<SessionError>>(
        &mut self,
        conversation: impl Future<Output = Result<T, E>>,
        stop: impl Future<Output = ()>,
        on_look: impl Fn(Seen),
    ) -> Result<T, E> {
        let Self { connection, name, reader: watch, pid, backend_start, .. } = self;
        let mut conversation = std::pin::pin!(conversation);
        tokio::select! {
            biased;
            result = &mut conversation => return result,
            () = stop => {}
            lost = watch_over(watch, connection, name, (*pid, *backend_start), on_look) => {
                return Err(SessionError::Pg(lost).into());
            }
        }
        // Between two of its statements there is nothing to cancel, so it is tried until the conversation ends.
        let patience = tokio::time::Instant::now() + CANCEL_LIMIT;
        while tokio::time::Instant::now() < patience {
            // If it cannot be cancelled now, the next turn tries again.
            let _cancelled = cancel(connection, *pid, *backend_start).await;
            match tokio::time::timeout(Duration::from_millis(500), &mut conversation).await {
                // It came to its end before the cancellation reached it.
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(_)) => return Err(SessionError::Stopped.into()),
                Err(_) => {}
            }
        }
        Err(SessionError::Stopped.into())
    }

    /// Undoes what an operator's statement may have left behind: an open transaction, settings, roles, cursors,
    /// temporary tables. The advisory locks stay.
    ///
    /// # Errors
    /// When the server does not answer as it should; the session is then given up.
    pub async fn reset(&mut self) -> Result<(), PgError> {
        let mut conn = self.work.take().ok_or_else(gone)?;
        let reset = include_str!("sql/reset_session.sql");
        if let Err(error) = within(ANSWER_LIMIT, conn.execute(sqlx::raw_sql(reset))).await {
            if error.sqlstate() != Some(FAILED_TRANSACTION) {
                return Err(error);
            }
            within(ANSWER_LIMIT, conn.execute("rollback")).await?;
            within(ANSWER_LIMIT, conn.execute(sqlx::raw_sql(reset))).await?;
        }
        lift_transaction_timeout(&mut conn, self.server).await?;
        self.work = Some(conn);
        Ok(())
    }

    /// Whether the session can still be used.
    pub fn is_usable(&self) -> bool {
        self.work.is_some()
    }

    /// Ends both connections politely, without waiting for long.
    pub async fn close(self) {
        for conn in [self.work, self.reader].into_iter().flatten() {
            // A server that does not answer has nothing left to be told.
            let _ended = tokio::time::timeout(Duration::from_secs(2), conn.close()).await;
        }
    }
}

/// Takes the limit off that PostgreSQL 17 brought: VACUUM of a large table is one long transaction.
///
/// It cannot be among the settings that a connection begins with, because an older server would refuse it.
async fn lift_transaction_timeout(conn: &mut PgConnection, server: Server) -> Result<(), PgError> {
    if server.version >= 170_000 {
        within(ANSWER_LIMIT, conn.execute("set transaction_timeout = 0")).await?;
    }
    Ok(())
}

/// Who works for us, and what it is.
async fn introduce(work: &mut PgConnection) -> Result<(i32, DateTime<Utc>, Server), PgError> {
    let row = sqlx::query_as::<_, (i32, DateTime<Utc>, i32, bool)>(include_str!("sql/introduce_session.sql"));
    let (pid, backend_start, version, in_recovery) = within(ANSWER_LIMIT, row.fetch_one(&mut *work)).await?;
    let server = Server { version, in_recovery };
    lift_transaction_timeout(work, server).await?;
    Ok((pid, backend_start, server))
}

/// Rolls back, and sees whether the answers of a connection are still those to our questions.
async fn is_in_step(conn: &mut PgConnection, pid: i32) -> bool {
    if within(ANSWER_LIMIT, conn.execute("rollback")).await.is_err() {
        return false;
    }
    let asked = sqlx::raw_sql("select pg_catalog.pg_backend_pid()::text").fetch_optional(&mut *conn);
    match within(ANSWER_LIMIT, asked).await {
        Ok(Some(row)) => row.try_get_unchecked::<String, _>(0).is_ok_and(|answer| answer == pid.to_string()),
        Ok(None) | Err(_) => false,
    }
}

fn gone() -> PgError {
    PgError::Connection(sqlx::Error::WorkerCrashed)
}

async fn reader<'a>(
    slot: &'a mut Option<PgConnection>,
    connection: &Connection,
    name: &str,
) -> Result<&'a mut PgConnection, PgError> {
    let conn = match slot.take() {
        Some(conn) => conn,
        None => connect(connection, name, Purpose::Short).await?,
    };
    Ok(slot.insert(conn))
}

/// Cancels what a session of ours is doing, through a connection made for it.
///
/// # Errors
/// When the server cannot be asked.
pub async fn cancel(connection: &Connection, pid: i32, backend_start: DateTime<Utc>) -> Result<(), PgError> {
    let mut conn = connect(connection, "pgupkeep/cancel", Purpose::Short).await?;
    let query = sqlx::query(include_str!("sql/cancel_session.sql")).bind(pid).bind(backend_start);
    within(ANSWER_LIMIT, query.execute(&mut conn)).await.map(drop)
}

/// Looks at a working session from outside until it is lost; hands on what it sees.
///
/// A connection that went silent looks to us like a long statement. The server knows better: the session is lost
/// when it is gone from `pg_stat_activity`, or sits there idle, or when nobody could be asked for [`LOST_AFTER`].
async fn watch_over(
    slot: &mut Option<PgConnection>,
    connection: &Connection,
    name: &str,
    (pid, backend_start): (i32, DateTime<Utc>),
    on_look: impl Fn(Seen),
) -> PgError {
    let mut answered = tokio::time::Instant::now();
    let mut absent = 0_u8;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let seen = match reader(slot, connection, name).await {
            Ok(conn) => look(conn, pid, backend_start).await,
            Err(error) => Err(error),
        };
        match seen {
            Ok(Some(seen)) => {
                answered = tokio::time::Instant::now();
                absent = 0;
                if seen.state.as_deref() == Some("idle") && seen.state_seconds > LOST_AFTER.as_secs_f64() {
                    return PgError::Stalled(LOST_AFTER);
                }
                on_look(seen);
            }
            Ok(None) => {
                absent += 1;
                if absent > 2 {
                    return gone();
                }
            }
            Err(error) => {
                *slot = None;
                if error.fault() != Fault::Unreachable {
                    // The server is there, but will not let a second session in; that says nothing of the first.
                    answered = tokio::time::Instant::now();
                } else if answered.elapsed() > LOST_AFTER {
                    return error;
                }
            }
        }
    }
}
