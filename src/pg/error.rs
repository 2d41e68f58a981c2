//! What a PostgreSQL server, or the way to it, said when something failed.

use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

use super::pooler::{self, Pooler};
use crate::fault::Fault;

/// A failure of a statement or of a connection.
///
/// The driver's own text is not shown for server errors: it ends in a line number of the server's C source.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The server answered with an error.
    #[error("{message}{} (SQLSTATE {code})", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Server {
        /// The five characters of the SQLSTATE.
        code: String,
        /// The server's primary message.
        message: String,
        /// Its detail line.
        detail: Option<String>,
        /// Its hint line.
        hint: Option<String>,
    },
    /// The connection could not be made, or broke.
    #[error("the connection failed: {0}")]
    Connection(#[source] sqlx::Error),
    /// The URL or its TLS settings cannot be used.
    #[error("the connection settings cannot be used: {0}")]
    Settings(#[source] sqlx::Error),
    /// The statement wants to copy to or from us.
    #[error("COPY from standard input or to standard output is not possible here; use a file on the server, or psql")]
    Copy,
    /// A connection could not be made.
    #[error("cannot connect to {place}: {}", reason.without_wrapping())]
    Connect {
        /// Host, port and role.
        place: String,
        /// What the operating system or the server said.
        reason: Box<PgError>,
    },
    /// The way to the server leads through something that no work is done through.
    #[error("{0}; nothing was done")]
    Pooler(Pooler),
    /// Nothing came back in time.
    #[error("the server did not answer within {}", humantime::format_duration(*.0))]
    Stalled(Duration),
    /// The answer was not what the statement asks for.
    #[error("unexpected answer from the server: {0}")]
    Answer(#[source] sqlx::Error),
}

impl PgError {
    /// The code that the program handles this by.
    pub fn fault(&self) -> Fault {
        match self {
            // It refuses for good, whatever the code says.
            Self::Server { code, message, .. } if pooler::is_refusal(code, message) => Fault::Login,
            Self::Server { code, .. } => Fault::from_sqlstate(code),
            Self::Connection(_) | Self::Stalled(_) => Fault::Unreachable,
            Self::Settings(_) | Self::Pooler(_) => Fault::Login,
            Self::Connect { reason, .. } => reason.fault(),
            Self::Copy => Fault::Statement,
            Self::Answer(_) => Fault::Internal,
        }
    }

    /// Says where a connection was to lead.
    #[must_use]
    pub fn at(self, place: String) -> Self {
        Self::Connect { place, reason: Box::new(self) }
    }

    /// What the server said at the login, where this is a connection that it refused.
    pub fn refusal(&self) -> Option<(&str, &str)> {
        match self {
            Self::Connect { reason, .. } => reason.refusal(),
            Self::Server { code, message, .. } => Some((code, message)),
            _ => None,
        }
    }

    fn without_wrapping(&self) -> String {
        match self {
            Self::Connection(sqlx::Error::Io(error)) => error.to_string(),
            Self::Connection(error) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Connect { reason, .. } => reason.sqlstate(),
            _ => None,
        }
    }

    /// What to do next: the server's own hint where it gave one.
    pub fn hint(&self) -> String {
        match self {
            Self::Pooler(_) => pooler::DIRECTLY.to_owned(),
            Self::Server { code, message, .. }
                if pooler::is_refusal(code, message) || pooler::is_mixed_up(code, message) =>
            {
                format!("a pooler is in between, through which nothing can be done; {}", pooler::DIRECTLY)
            }
            Self::Server { hint: Some(hint), .. } => hint.clone(),
            Self::Connect { reason, .. } => reason.hint(),
            _ => self.fault().hint().to_owned(),
        }
    }
}

impl From<sqlx::Error> for PgError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref server) => match server.try_downcast_ref::<PgDatabaseError>() {
                Some(server) => Self::Server {
                    code: server.code().to_owned(),
                    message: server.message().to_owned(),
                    detail: server.detail().map(str::to_owned),
                    hint: server.hint().map(str::to_owned),
                },
                None => Self::Answer(error),
            },
            // The driver has no type of its own for this.
            sqlx::Error::Protocol(ref text) if text.contains("CopyOutResponse") || text.contains("CopyInResponse") => {
                Self::Copy
            }
            sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => Self::Settings(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Connection(error),
            _ => Self::Answer(error),
        }
    }
}
