//! What a backup has to know of a server.

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use sqlx::postgres::types::Oid;

use crate::clock::from_sql;
use crate::jobs::context::{Context, JobError};
use crate::pg::connect::within;
use crate::pg::session::ANSWER_LIMIT;

/// Databases of managed services that no customer may read; left out where we may not connect to them.
const OF_THE_PROVIDER: [&str; 4] = ["rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys"];

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::jobs) struct ServerFacts {
    /// A number that its data directory was made with; a copy of it has the same.
    pub system_identifier: String,
    /// Its version, such as `16.4`.
    pub version: String,
    /// The database that the target is.
    pub database: String,
    /// What time it is there.
    pub now: Timestamp,
}

/// A database that is to be dumped.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct DatabaseFacts {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// Its encoding.
    pub encoding: String,
    /// Its collation.
    pub collate: String,
    /// Its character classes.
    pub ctype: String,
    /// Whether we may connect to it.
    pub permitted: bool,
    /// Its size.
    pub bytes: i64,
    /// The role that we are.
    pub role: String,
}

/// Whether a database belongs to a managed service.
pub(crate) fn is_of_the_provider(database: &str) -> bool {
    OF_THE_PROVIDER.contains(&database)
}

/// Asks the server what it is.
pub(in crate::jobs) async fn read_server(cx: &mut Context) -> Result<ServerFacts, JobError> {
    let query = sqlx::query_as(include_str!("../sql/read_backup_server.sql"));
    let row: (String, String, String, DateTime<Utc>) =
        within(ANSWER_LIMIT, query.fetch_one(cx.reader().await?)).await?;
    let (system_identifier, version, database, now) = row;
    Ok(ServerFacts { system_identifier, version, database, now: from_sql(now) })
}

/// The databases that hold data of people.
pub(super) async fn read_databases(cx: &mut Context) -> Result<Vec<DatabaseFacts>, JobError> {
    let query = sqlx::query_as(include_str!("../sql/read_databases.sql"));
    let mut databases: Vec<DatabaseFacts> = within(ANSWER_LIMIT, query.fetch_all(cx.reader().await?)).await?;
    databases.retain(|database| database.permitted || !is_of_the_provider(&database.name));
    Ok(databases)
}
