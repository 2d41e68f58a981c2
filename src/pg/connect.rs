//! How a connection of ours begins: its name, its time limits and what the server shall do when we vanish.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection as _};

use super::PgError;
use crate::config::Connection;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the server looks whether we are still there; no server has this by itself, so it tells that settings arrive.
pub(super) const CHECK_INTERVAL: &str = "1s";

/// Settings of every session of ours.
///
/// `client_connection_check_interval` (PostgreSQL 14+) makes the server notice within a second that we died while
/// it works; the keepalives do the same for a network that went silent. Both leave nothing of ours running behind.
const EVERY_SESSION: &[(&str, &str)] = &[
    ("client_connection_check_interval", CHECK_INTERVAL),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("DateStyle", "ISO"),
    ("array_nulls", "on"),
];

/// What a connection is for, which decides its time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Short reads and writes: nothing may wait or run for long.
    Short,
    /// A run's own statements: the run's deadline is the limit, not the server's settings.
    Work,
}

/// Reads a connection URL; as with libpq, the host may be missing where `host=` names the folder of a socket.
///
/// # Errors
/// When it is no URL.
pub fn parse_url(text: &str) -> Result<url::Url, url::ParseError> {
    let read = url::Url::parse(text);
    let Err(url::ParseError::EmptyHost) = read else { return read };
    let Some((scheme, rest)) = text.split_once("://") else { return read };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !authority.ends_with('@') {
        return read;
    }
    url::Url::parse(&format!("{scheme}://{authority}localhost{path}"))
}

/// The driver's options for a connection, or why its settings cannot be used.
///
/// # Errors
/// When the URL is not one that the driver takes; the text names no part of it.
pub fn options(connection: &Connection, name: &str, purpose: Purpose) -> Result<PgConnectOptions, PgError> {
    let url = parse_url(connection.url.expose())
        .map_err(|error| PgError::Settings(sqlx::Error::Configuration(Box::new(error))))?;
    let mut options = PgConnectOptions::from_url(&url).map_err(PgError::from)?;
    if let Some(password) = &connection.password {
        options = options.password(password.expose());
    }
    let limits: &[(&str, &str)] = match purpose {
        Purpose::Short => &[
            ("statement_timeout", "15s"),
            ("lock_timeout", "3s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("default_transaction_isolation", "read committed"),
            ("search_path", "pg_catalog"),
        ],
        Purpose::Work => &[
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            // Ended while it waits, the session would lose its advisory locks.
            ("idle_session_timeout", "0"),
            ("default_transaction_isolation", "read committed"),
        ],
    };
    Ok(options.application_name(name).options(EVERY_SESSION.iter().chain(limits).copied()).disable_statement_logging())
}

/// Opens a connection.
///
/// # Errors
/// When it cannot be made within [`CONNECT_TIMEOUT`], or the server refuses the login.
pub async fn connect(connection: &Connection, name: &str, purpose: Purpose) -> Result<PgConnection, PgError> {
    connect_by(options(connection, name, purpose)?).await
}

/// Opens a connection to another database of the same server, with the same credentials.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to(
    connection: &Connection,
    database: &str,
    name: &str,
    purpose: Purpose,
) -> Result<PgConnection, PgError> {
    connect_by(options(connection, name, purpose)?.database(database)).await
}

async fn connect_by(options: PgConnectOptions) -> Result<PgConnection, PgError> {
    // On the heap: the driver's way of connecting is large, and it is part of whatever waits for a session.
    let connecting = Box::pin(PgConnection::connect_with(&options));
    within(CONNECT_TIMEOUT, connecting).await.map_err(|error| {
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.unwrap_or_else(|| options.get_host().to_owned());
        error.at(format!("{host}:{} as {}", options.get_port(), options.get_username()))
    })
}

/// Waits for a statement for so long and no longer.
///
/// # Errors
/// The statement's own, or [`PgError::Stalled`]; the connection must then not be used again.
pub async fn within<T>(limit: Duration, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, PgError> {
    match tokio::time::timeout(limit, statement).await {
        Ok(result) => result.map_err(PgError::from),
        Err(_) => Err(PgError::Stalled(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_lead_to_a_socket_without_a_host() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_url(text).ok().map(|url| url.to_string()).as_deref(), expected, "{text}");
        };
        let socket = "postgres://u@localhost/app?host=/run/postgresql&port=5433";
        check("postgres://u@/app?host=/run/postgresql&port=5433", Some(socket));
        check("postgres:///app?host=/run/postgresql", Some("postgres:///app?host=/run/postgresql"));
        check("postgres://u@h/app", Some("postgres://u@h/app"));
        check("postgres://u:p@:5432/app", None);
    }
}
