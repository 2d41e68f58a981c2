//! What `doctor` must know of a server: facts only, read without locking anything; what they mean is decided elsewhere.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::PgError;
use super::connect::{Purpose, connect, connect_to, within};
use super::pooler::{self, Pooler};
use super::session::ANSWER_LIMIT;
use crate::clock::{Clock, from_sql, to_sql};
use crate::config::Connection;

/// How long the whole catalogue may take to be read; the server's own limit for the statement is shorter.
const CATALOGUE_LIMIT: Duration = Duration::from_secs(20);

/// What is asked besides what is always asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// How long a transaction must have been open to be told of.
    pub open_for: Duration,
    /// The zone whose clocks are compared, by its IANA name.
    pub zone: &'a str,
    /// The instants at which they are compared.
    pub moments: &'a [Timestamp],
}

/// What was found where the connection leads to.
#[derive(Debug)]
pub enum Seen {
    /// A server that we can work with, perhaps through something that swallows our settings.
    Server(Box<Facts>),
    /// Something in between that is no place to work through.
    Pooler(Pooler),
}

/// Everything that was read of a server.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The server, we on it, its settings.
    pub server: ServerFacts,
    /// Whether the settings of our sessions reach the server.
    pub settings_arrive: SettingsArrive,
    /// By how many seconds its clock is ahead of this machine's; and by how many that may be wrong.
    pub clock_ahead: (f64, f64),
    /// Settings of our role and of the database.
    pub settings: Vec<Setting>,
    /// The tables that a job may be for.
    pub tables: Vec<Table>,
    /// Invalid indexes that nobody is building, quoted, with their schemas; at most a hundred.
    pub invalid_indexes: Vec<String>,
    /// The databases of the whole server that hold data of people.
    pub databases: Vec<Database>,
    /// Who keeps dead rows or WAL from being removed.
    pub holders: Vec<Holder>,
    /// Our own schema.
    pub ledger: LedgerFacts,
    /// For each moment asked for, the seconds that the zone's clocks are ahead of UTC; `None` for an unknown zone.
    pub offsets: Option<Vec<i32>>,
}

/// Whether what we ask for at the login takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsArrive {
    /// It does.
    Yes,
    /// Something in between swallows it.
    No,
}

/// A server, we on it, its settings.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of one row: a setting or a right")]
pub struct ServerFacts {
    /// `server_version_num`, such as 160004.
    pub version: i32,
    /// The same for people, such as `16.4`.
    pub version_text: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The database.
    pub database: String,
    /// The role that we are.
    pub role: String,
    /// Whether that is a superuser.
    pub is_superuser: bool,
    /// Whether it is a member of `pg_monitor`.
    pub sees_all: bool,
    /// Whether it is a member of `pg_read_all_data`.
    pub reads_all: bool,
    /// Whether it may read the hashes of passwords.
    pub reads_hashes: bool,
    /// Whether it may create a schema in the database.
    pub may_create: bool,
    /// Whether we may make temporary tables in the database.
    pub may_use_temporary: bool,
    /// The setting `autovacuum`.
    pub autovacuum: bool,
    /// The setting `track_counts`.
    pub track_counts: bool,
    /// The setting `fsync`.
    pub fsync: bool,
    /// The setting `full_page_writes`.
    pub full_page_writes: bool,
    /// The setting `default_transaction_read_only`, as it reaches our sessions.
    pub read_only: bool,
    /// The setting `maintenance_work_mem` in bytes.
    pub maintenance_work_mem: i64,
    /// Whether a slot may keep WAL without limit.
    pub slots_unlimited: bool,
    /// How many replication slots there are.
    pub slots: i64,
    /// The age of the database's oldest transaction id.
    pub xid_age: f64,
    /// The age at which autovacuum is forced for it.
    pub xid_max: f64,
    /// The age of the database's oldest multixact id.
    pub multixact_age: f64,
    /// The age at which autovacuum is forced for it.
    pub multixact_max: f64,
}

impl ServerFacts {
    /// The major version, such as 16.
    pub const fn major(&self) -> i32 {
        self.version / 10_000
    }
}

/// A setting of our role or of the database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Setting {
    /// `role_in_database`, `role`, `database` or `all_roles`.
    pub place: String,
    /// Its name.
    pub name: String,
    /// Its value as it was set.
    pub value: String,
}

/// A table that a job may be for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of one row")]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether that is a superuser.
    pub owner_is_superuser: bool,
    /// Whether we may VACUUM and ANALYZE it.
    pub permitted: bool,
    /// Whether we own it or are a member of its owner, which dropping an index of it takes.
    pub owned: bool,
    /// Whether we may use its schema, without which its name means nothing to us.
    pub schema_open: bool,
    /// The names of its indexes, which are in its schema.
    pub indexes: Vec<String>,
    /// Whether autovacuum is switched off for it.
    pub autovacuum_off: bool,
}

/// A database of the server.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whether we may connect to it.
    pub permitted: bool,
    /// Whether everybody may.
    pub open_to_all: bool,
}

/// Something of a database that a dump of it would fail at, by our role or by one that owns nothing.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Closed {
    /// Its name as SQL writes it.
    pub name: String,
    /// What keeps one from reading it: `right`, `row_security` or `large_objects`.
    pub by: String,
    /// Whether it is our role that it is closed to.
    pub to_us: bool,
}

/// Somebody who keeps dead rows or WAL from being removed.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Holder {
    /// `session`, `prepared` or `slot`.
    pub sort: String,
    /// The pid, the transaction's global id, the slot's name.
    pub name: String,
    /// Its database.
    pub database: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// For how long.
    pub seconds: Option<f64>,
    /// How much WAL.
    pub bytes: Option<i64>,
}

/// Our own schema, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LedgerFacts {
    /// Whether there is one.
    pub present: bool,
    /// The role that owns it.
    pub owner: Option<String>,
    /// Whether we may use it.
    pub usable: bool,
    /// Its tables that we may not read and write.
    pub closed: Vec<String>,
    /// Its tables and views.
    pub relations: Vec<String>,
}

/// Looks at a server.
///
/// # Errors
/// When it cannot be reached, refuses the login, or does not answer.
pub async fn inspect(
    connection: &Connection,
    question: Question<'_>,
    clock: &(impl Clock + ?Sized),
) -> Result<Seen, PgError> {
    let mut conn = match connect(connection, "pgupkeep/doctor", Purpose::Short).await {
        Ok(conn) => conn,
        Err(error) => match error.refusal() {
            Some((code, message)) if pooler::is_refusal(code, message) => {
                return Ok(Seen::Pooler(Pooler::Refuses(message.to_owned())));
            }
            _ => return Err(error),
        },
    };
    if let Some(pooler) = pooler::find(connection, &mut conn).await? {
        return Ok(Seen::Pooler(pooler));
    }
    let facts = read(&mut conn, question, clock).await?;
    // Everything is known already; how the connection ends does not matter.
    let _ended = within(ANSWER_LIMIT, conn.close()).await;
    Ok(Seen::Server(Box::new(facts)))
}

/// What of a database of the server a dump would fail at, what is closed to us first; at most a hundred tables.
///
/// # Errors
/// When the database cannot be reached or does not answer.
pub async fn closed_to_dumps(connection: &Connection, database: &str) -> Result<Vec<Closed>, PgError> {
    let mut conn = connect_to(connection, database, "pgupkeep/doctor", Purpose::Short).await?;
    let query = sqlx::query_as(include_str!("sql/inspect_closed.sql"));
    let closed = within(CATALOGUE_LIMIT, query.fetch_all(&mut conn)).await?;
    let _ended = within(ANSWER_LIMIT, conn.close()).await;
    Ok(closed)
}

/// Whose objects are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those of owners that we are no member of.
    Others,
    /// Those of everybody else than the role.
    NotTheRoles,
}

/// The statements that hand an archive's two schemas, with all that is in them, over to a role.
///
/// # Errors
/// When the server does not answer.
pub async fn hand_over(
    conn: &mut PgConnection,
    schemas: (&str, &str),
    role: &str,
    whose: Whose,
) -> Result<Vec<String>, PgError> {
    let query = sqlx::query_scalar(include_str!("sql/inspect_archive.sql"));
    let query = query.bind(schemas.0).bind(schemas.1).bind(role).bind(whose == Whose::Others);
    within(CATALOGUE_LIMIT, query.fetch_all(conn)).await
}

async fn read(
    conn: &mut PgConnection,
    question: Question<'_>,
    clock: &(impl Clock + ?Sized),
) -> Result<Facts, PgError> {
    let clock_ahead = compare_clocks(conn, clock).await?;
    let server = sqlx::query_as(include_str!("sql/inspect_server.sql"));
    let server = within(ANSWER_LIMIT, server.fetch_one(&mut *conn)).await?;
    let settings_arrive = if pooler::settings_arrive(conn).await? { SettingsArrive::Yes } else { SettingsArrive::No };
    let settings = sqlx::query_as(include_str!("sql/inspect_settings.sql"));
    let settings = within(ANSWER_LIMIT, settings.fetch_all(&mut *conn)).await?;
    let tables = sqlx::query_as(include_str!("sql/inspect_tables.sql"));
    let tables = within(CATALOGUE_LIMIT, tables.fetch_all(&mut *conn)).await?;
    let invalid_indexes = sqlx::query_scalar(include_str!("sql/inspect_invalid_indexes.sql"));
    let invalid_indexes = within(CATALOGUE_LIMIT, invalid_indexes.fetch_all(&mut *conn)).await?;
    let databases = sqlx::query_as(include_str!("sql/inspect_databases.sql"));
    let databases = within(CATALOGUE_LIMIT, databases.fetch_all(&mut *conn)).await?;
    let holders = sqlx::query_as(include_str!("sql/inspect_holders.sql")).bind(question.open_for.as_secs_f64());
    let holders = within(CATALOGUE_LIMIT, holders.fetch_all(&mut *conn)).await?;
    let ledger = sqlx::query_as(include_str!("sql/inspect_ledger.sql"));
    let ledger = within(ANSWER_LIMIT, ledger.fetch_one(&mut *conn)).await?;
    let offsets = read_offsets(conn, question).await?;
    Ok(Facts {
        server,
        settings_arrive,
        clock_ahead,
        settings,
        tables,
        invalid_indexes,
        databases,
        holders,
        ledger,
        offsets,
    })
}

/// The server's answer lies somewhere between our two looks at the clock; its middle is the best guess.
async fn compare_clocks(conn: &mut PgConnection, clock: &(impl Clock + ?Sized)) -> Result<(f64, f64), PgError> {
    // Prepared by a first question, so that the second one takes as little time as it can.
    let mut ahead = (0.0, 0.0);
    for _ in 0..2 {
        let before = clock.now();
        let theirs = sqlx::query_scalar("select pg_catalog.clock_timestamp()");
        let theirs: DateTime<Utc> = within(ANSWER_LIMIT, theirs.fetch_one(&mut *conn)).await?;
        let half = clock.now().duration_since(before) / 2;
        let between = before.saturating_add(half).unwrap_or(before);
        ahead = (from_sql(theirs).duration_since(between).as_secs_f64(), half.as_secs_f64().abs());
    }
    Ok(ahead)
}

/// The zone's offsets at each moment; `None` when the server does not know the zone.
async fn read_offsets(conn: &mut PgConnection, question: Question<'_>) -> Result<Option<Vec<i32>>, PgError> {
    let mut offsets = Vec::new();
    for moment in question.moments {
        let query = sqlx::query_scalar(include_str!("sql/inspect_offset.sql"));
        let query = query.bind(to_sql(*moment)).bind(question.zone);
        match within(ANSWER_LIMIT, query.fetch_one(&mut *conn)).await {
            Ok(ahead) => offsets.push(ahead),
            // invalid_parameter_value: that is how it says that there is no such zone.
            Err(error) if error.sqlstate() == Some("22023") => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(offsets))
}
