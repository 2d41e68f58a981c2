//! A pooler between us and the server: how it is known, and why nothing is done through it.
//!
//! Application and pgupkeep differ in what they need of a connection. A working session holds advisory locks, has its own
//! time limits, and is cancelled by the number of its server process: all of that belongs to somebody else a moment
//! later where processes are lent by the transaction.

use std::fmt;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use super::PgError;
use super::connect::{CHECK_INTERVAL, Purpose, connect, within};
use super::session::ANSWER_LIMIT;
use crate::config::Connection;

/// How often our process is looked at again.
const LOOKS: usize = 4;
const OWN_PROCESS: &str = "select pg_catalog.pg_backend_pid()::text";

/// What to do about any of them.
pub const DIRECTLY: &str = "give the server's own host and port in the url; the application may keep the pooler";

/// Something between us and the server that is no place to work through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pooler {
    /// It lends one server process to several clients by turns: transaction or statement mode.
    Lends,
    /// It does not let our settings through, and says so at the login.
    Refuses(String),
    /// It is the pooler's own console; its answer to `SHOW VERSION`.
    Console(String),
}

impl fmt::Display for Pooler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lends => f.write_str(
                "a pooler in transaction or statement mode is in between: the server process changed hands between \
                 statements",
            ),
            Self::Refuses(message) => {
                write!(f, "a pooler is in between, which refuses the session's settings: {message}")
            }
            Self::Console(version) => {
                write!(f, "this is a pooler's own console, which says {version:?}, not a database")
            }
        }
    }
}

impl Pooler {
    /// Why that is no place to work through.
    pub const fn why(&self) -> &'static str {
        match self {
            Self::Lends => {
                "it is no place for working sessions: advisory locks, settings and the process of a statement would belong to \
                 somebody else a moment later, so that nothing would guard the work, and cancelling would hit strangers"
            }
            Self::Refuses(_) => {
                "a session of ours needs its own time limits, and the server must notice when we vanish; a pooler in \
                 transaction mode is refused for working sessions in any case"
            }
            Self::Console(_) => "there is nothing to maintain in it",
        }
    }
}

/// Whether a login failed because a pooler does not know the settings that we ask for.
pub fn is_refusal(code: &str, message: &str) -> bool {
    code.starts_with("08") && message.contains("unsupported startup parameter")
}

/// Whether a statement failed because the server process is not the one that it was prepared in.
pub fn is_mixed_up(code: &str, message: &str) -> bool {
    matches!(code, "42P05" | "26000") && message.contains("sqlx_s_")
}

/// Whether what we ask for at the login has taken effect.
///
/// # Errors
/// When the server does not answer.
pub async fn settings_arrive(conn: &mut PgConnection) -> Result<bool, PgError> {
    let setting = "select pg_catalog.current_setting('client_connection_check_interval')";
    Ok(ask_simply(conn, setting).await? == CHECK_INTERVAL)
}

/// What of a pooler there is behind a connection.
///
/// # Errors
/// When the server does not answer, or a second connection cannot be made.
pub async fn find(connection: &Connection, conn: &mut PgConnection) -> Result<Option<Pooler>, PgError> {
    let pid = match ask_simply(conn, OWN_PROCESS).await {
        Ok(pid) => pid,
        // A console understands a few words of its own, and no SQL.
        Err(error) => match ask_simply(conn, "show version").await {
            Ok(version) => return Ok(Some(Pooler::Console(version))),
            Err(_) => return Err(error),
        },
    };
    Ok(is_lent(connection, conn, &pid).await?.then_some(Pooler::Lends))
}

/// Refuses a connection through a pooler that lends server processes.
///
/// Where our settings arrive nothing of the kind is in between, so the usual cost is one answer.
///
/// # Errors
/// [`PgError::Pooler`], or that the server does not answer.
pub async fn refuse(connection: &Connection, conn: &mut PgConnection) -> Result<(), PgError> {
    if settings_arrive(conn).await? {
        return Ok(());
    }
    find(connection, conn).await?.map_or(Ok(()), |pooler| Err(PgError::Pooler(pooler)))
}

/// Whether our server process is given to another client while we are between two statements.
///
/// A second client opens a transaction, for the length of which it must have a process of its own. If that is ours, or
/// if we get another one meanwhile, somebody lends processes by the transaction. PgBouncer lends the one that came
/// back last unless told to lend them in turn. Nothing of this is seen by looking at one connection alone.
async fn is_lent(connection: &Connection, conn: &mut PgConnection, pid: &str) -> Result<bool, PgError> {
    let mut other = connect(connection, "pgupkeep/pooler", Purpose::Short).await?;
    match ask_simply(&mut other, "begin").await {
        // Lent by the statement: there are no transactions at all.
        Err(PgError::Server { message, .. }) if message.contains("statement pooling") => return Ok(true),
        begun => drop(begun?),
    }
    let theirs = ask_simply(&mut other, OWN_PROCESS).await?;
    let ours = ask_simply(conn, OWN_PROCESS).await?;
    ask_simply(&mut other, "rollback").await?;
    let _ended = within(ANSWER_LIMIT, other.close()).await;
    let mut lent = ours != pid || theirs == ours || theirs == pid;
    // One that lends its processes in turn gives us the other client's now.
    for _ in 0..LOOKS {
        lent |= ask_simply(conn, OWN_PROCESS).await? != pid;
    }
    Ok(lent)
}

/// Asks by the simple protocol, which prepares nothing, and gives back the first column of the first row.
async fn ask_simply(conn: &mut PgConnection, sql: &'static str) -> Result<String, PgError> {
    let row = within(ANSWER_LIMIT, sqlx::raw_sql(sql).fetch_optional(conn)).await?;
    row.map_or_else(|| Ok(String::new()), |row| row.try_get_unchecked(0).map_err(PgError::from))
}
