//! What a target is, at a glance, for `status`.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::PgError;
use super::connect::{Purpose, connect, within};
use super::session::ANSWER_LIMIT;
use crate::config::Connection;
use crate::fault::Fault;

/// Where an application's tables tell the revision of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// In `alembic_version`, on the role's own search path; MLflow keeps it there.
    Alembic,
}

/// A target as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The server's version, such as `16.4`.
    pub server_version: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The name of the database.
    pub database: String,
    /// The size of the database in bytes.
    pub size_bytes: i64,
    /// The revision of the application's schema, where it was asked for and can be read.
    pub schema_revision: Option<String>,
}

/// Looks at a target; sends nothing but reads.
///
/// # Errors
/// When it cannot be reached or refuses the login.
pub async fn describe(connection: &Connection, revision: Option<Revision>) -> Result<Description, PgError> {
    // A working session keeps the role's own search path, by which the application's tables are found.
    let mut conn = connect(connection, "pgupkeep/status", Purpose::Work).await?;
    let row = sqlx::query_as::<_, (String, bool, String, i64)>(include_str!("sql/describe_target.sql"));
    let (server_version, in_recovery, database, size_bytes) = within(ANSWER_LIMIT, row.fetch_one(&mut conn)).await?;
    let schema_revision = match revision {
        Some(Revision::Alembic) => alembic_revision(&mut conn).await?,
        None => None,
    };
    // Everything is known already; how the connection ends does not matter.
    let _ended = within(ANSWER_LIMIT, conn.close()).await;
    Ok(Description { server_version, in_recovery, database, size_bytes, schema_revision })
}

/// The revision of MLflow's schema; `None` where there is no such table, or we may not or cannot read it now.
async fn alembic_revision(conn: &mut PgConnection) -> Result<Option<String>, PgError> {
    let limits = sqlx::query("select pg_catalog.set_config('lock_timeout', '1s', false)");
    within(ANSWER_LIMIT, limits.execute(&mut *conn)).await?;
    let query = sqlx::query_scalar(include_str!("sql/read_alembic_revision.sql"));
    match within(ANSWER_LIMIT, query.fetch_one(&mut *conn)).await {
        Err(error) if matches!(error.fault(), Fault::Statement | Fault::Privilege | Fault::Locked) => Ok(None),
        result => result,
    }
}
