//! The dumps themselves: globals by `pg_dumpall`, each database by `pg_dump` under a snapshot of ours, and the proof
//! that `pg_restore` can read all of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::time::Instant;

use super::Backup;
use super::complaints::{explain, judge};
use super::compress::{compress_below, read_frames_below};
use super::count::{count_tables, take_snapshot};
use super::facts::DatabaseFacts;
use super::reach::{Reach, WITHOUT, named};
use super::step::{Site, plain};
use crate::child::{Ended, Program};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::pg::PgError;
use crate::pg::connect::{Purpose, connect_to, within};
use crate::pg::session::ANSWER_LIMIT;
use crate::pg::statement::Ident;
use crate::repository::layout::{GLOBALS, database_folder};
use crate::repository::manifest::{Compression, Database, Extension, Globals, Passwords, Table};
use crate::repository::spool::Spool;

/// The first `pg_dump` that compresses by Zstandard itself.
const FIRST_WITH_ZSTD: i32 = 16;
/// How long sessions of a tool that was ended may take to be gone before they are ended as well.
const SESSIONS_LIMIT: Duration = Duration::from_secs(3);

/// The folder that the backup is made in, begun by the first step that needs it.
fn spool(site: &Site) -> Result<&Spool, JobError> {
    if let Some(spool) = site.spool.get() {
        return Ok(spool);
    }
    let repository = site.repository()?;
    let begun = Spool::begin(repository, &site.spot, &format!("run {}", site.run_id))?;
    Ok(site.spool.get_or_init(|| begun))
}

/// Dumps roles and tablespaces; without password hashes where those may not be read.
pub(super) async fn dump_globals(site: &Site, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let done = globals(site, name, cx).await;
    note(&site.globals, &done);
    let globals = done?;
    let bytes = std::fs::metadata(spool(site)?.folder().join(GLOBALS)).map(|file| file.len()).unwrap_or_default();
    if globals.passwords == Passwords::LeftOut {
        tracing::warn!(
            "the role may not read password hashes, so they are not in the backup; after restoring, every role needs a \
             new password"
        );
    }
    let detail = json!({ "passwords": globals.passwords });
    Ok(StepReport::Done(Measures {
        bytes_after: i64::try_from(bytes).ok(),
        detail: Some(detail),
        ..Measures::default()
    }))
}

async fn globals(site: &Site, name: &str, cx: &mut Context) -> Result<Globals, JobError> {
    let reach = Reach::new(cx.session.connection(), &cx.session_name())?;
    let output = spool(site)?.folder().join(GLOBALS);
    let database = named(&site.server.database);
    let arguments = |more: &[&str]| {
        let fixed = ["--globals-only", "--no-password"].iter().chain(more).map(OsString::from);
        fixed.chain([format!("--database={database}").into()]).collect::<Vec<OsString>>()
    };
    let with = program(site, "pg_dumpall", arguments(&[]), &reach, Some(output.clone()), cx);
    cx.begin(name, &with.describe()).await?;
    let ended = run(&with, cx).await?;
    let passwords = if ended.status.success() {
        Passwords::Included
    } else if ended.complaints.contains("pg_authid") {
        let without =
            program(site, "pg_dumpall", arguments(&["--no-role-passwords"]), &reach, Some(output.clone()), cx);
        judge("pg_dumpall", &run(&without, cx).await?)?;
        Passwords::LeftOut
    } else {
        judge("pg_dumpall", &ended)?;
        Passwords::Included
    };
    let bytes = std::fs::metadata(&output).map(|file| file.len()).unwrap_or_default();
    if bytes == 0 {
        return Err(empty("pg_dumpall", "the file of globals"));
    }
    Ok(Globals { path: GLOBALS.to_owned(), passwords })
}

/// Dumps a database and reads the dump; what became of it is kept for the manifest.
pub(super) async fn dump_database(
    spec: &Backup,
    site: &Site,
    nth: usize,
    name: &str,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let (Some(facts), Some(slot)) = (site.databases.get(nth), site.dumped.get(nth)) else {
        return Err(JobError::Refused { fault: Fault::Internal, message: "no such database in the plan".to_owned() });
    };
    let done = database(spec, site, facts, name, cx).await;
    if done.is_err() {
        clear(site, facts);
    }
    note(slot, &done);
    let dumped = match done {
        Ok(dumped) => dumped,
        // Failed before anything was started, and of no concern to the other databases: on record all the same.
        Err(error @ (JobError::Target(_) | JobError::Refused { .. }))
            if !cx.has_begun() && matches!(error.fault(), Fault::Privilege | Fault::Login) =>
        {
            let (reason, fault) = (error.to_string(), error.fault());
            return Ok(StepReport::NotDone { reason, fault, measures: Measures::default() });
        }
        Err(error) => return Err(error),
    };
    let counted = dumped.tables.iter().filter(|table| table.counted).count();
    let detail = json!({
        "tables": dumped.tables.len(),
        "tables_counted": counted,
        "database_bytes": facts.bytes,
        "compression": dumped.compression,
        "dump_seconds": dumped.dump_seconds,
        "read_seconds": dumped.read_seconds,
    });
    Ok(StepReport::Done(Measures {
        rows: Some(dumped.tables.iter().map(|table| table.rows).sum()),
        bytes_after: i64::try_from(dumped.bytes).ok(),
        detail: Some(detail),
        ..Measures::default()
    }))
}

/// Keeps what became of a part, in words.
fn note<T: Clone>(slot: &std::sync::OnceLock<Result<T, String>>, done: &Result<T, JobError>) {
    let kept = match done {
        Ok(value) => Ok(value.clone()),
        Err(error) => Err(error.to_string()),
    };
    let _first = slot.set(kept);
}

/// A database that failed leaves its room to the others.
fn clear(site: &Site, facts: &DatabaseFacts) {
    if let Some(spool) = site.spool.get() {
        let folder = spool.folder().join(database_folder(&facts.name, facts.oid.0));
        // What cannot be removed now goes with the whole, or stands in the manifest's list of files.
        let _gone = std::fs::remove_dir_all(folder);
    }
}

async fn database(
    spec: &Backup,
    site: &Site,
    facts: &DatabaseFacts,
    name: &str,
    cx: &mut Context,
) -> Result<Database, JobError> {
    if !facts.permitted {
        let (database, role) = (Ident(facts.name.clone()), Ident(facts.role.clone()));
        return Err(JobError::Refused {
            fault: Fault::Privilege,
            message: format!(
                "the role {role} may not connect to it, so it was not dumped; \
                 GRANT CONNECT ON DATABASE {database} TO {role}, or exclude it by `exclude:`"
            ),
        });
    }
    let session_name = cx.session_name();
    let connection = cx.session.connection().clone();
    let reach = Reach::new(&connection, &session_name)?;
    let folder = database_folder(&facts.name, facts.oid.0);
    let output = spool(site)?.folder().join(&folder);
    std::fs::create_dir_all(output.parent().unwrap_or(&output)).map_err(|error| disk(&output, &error))?;

    let mut holder = connect_to(&connection, &facts.name, &session_name, Purpose::Work).await?;
    lift_limits(&mut holder, cx).await?;
    within(ANSWER_LIMIT, holder.execute("begin isolation level repeatable read read only")).await?;
    let query = sqlx::query_as(include_str!("../sql/export_snapshot.sql"));
    let (snapshot, lsn): (String, String) = within(ANSWER_LIMIT, query.fetch_one(&mut holder)).await?;
    let query = sqlx::query_as(include_str!("../sql/read_extensions.sql"));
    let extensions: Vec<(String, String)> = within(ANSWER_LIMIT, query.fetch_all(&mut holder)).await?;
    let mut counter = connect_to(&connection, &facts.name, &session_name, Purpose::Work).await?;
    lift_limits(&mut counter, cx).await?;
    take_snapshot(&mut counter, &snapshot).await?;

    let major = cx.server().major();
    let mut compression = if major >= FIRST_WITH_ZSTD { Compression::PgDumpZstd } else { Compression::FileZstd };
    let dumping = |compression: Compression| {
        let arguments = dump_arguments(spec, &output, &snapshot, &facts.name, compression);
        program(site, "pg_dump", arguments, &reach, None, cx)
    };
    let (command, gzip, began) = (dumping(compression), dumping(Compression::PgDumpGzip), Instant::now());
    cx.begin(name, &command.describe()).await?;
    let tables = {
        let mut counting = std::pin::pin!(count_tables(&mut counter, spec.count_within.0));
        let mut tables: Option<Vec<Table>> = None;
        let mut ended = beside(Box::pin(run(&command, cx)), &mut counting, &mut tables).await?;
        if compression == Compression::PgDumpZstd && ended.complaints.contains("does not support compression") {
            compression = Compression::PgDumpGzip;
            ended = beside(Box::pin(run(&gzip, cx)), &mut counting, &mut tables).await?;
        }
        if let Err(error) = judge("pg_dump", &ended) {
            return Err(explain(error, facts));
        }
        match tables {
            Some(tables) => tables,
            None => {
                tokio::select! {
                    counted = counting => counted?,
                    stop = cx.stop() => return Err(JobError::Stopped(stop)),
                }
            }
        }
    };
    let dump_seconds = seconds(began);
    for conn in [counter, holder] {
        // They have only read; how they end does not matter.
        let _ended = tokio::time::timeout(ANSWER_LIMIT, conn.close()).await;
    }
    if !output.join("toc.dat").metadata().is_ok_and(|file| file.len() > 0) {
        return Err(empty("pg_dump", "its table of contents"));
    }
    if let Some(file) = first_empty(&output).map_err(|error| disk(&output, &error))? {
        return Err(empty("pg_dump", &file));
    }
    spool(site)?.measure()?;
    let began = Instant::now();
    let arguments = vec!["--file=/dev/null".into(), output.clone().into_os_string()];
    let reading = program(site, "pg_restore", arguments, &reach, None, cx);
    judge("pg_restore", &run(&reading, cx).await?).map_err(|error| JobError::Refused {
        fault: if error.fault() == Fault::Statement { Fault::Corrupt } else { error.fault() },
        message: format!("the dump of {} cannot be read, so it was thrown away: {error}", plain(&facts.name)),
    })?;
    let read_seconds = seconds(began);
    let files = output.clone();
    let packs = compression == Compression::FileZstd;
    let packing =
        tokio::task::spawn_blocking(move || if packs { compress_below(&files) } else { read_frames_below(&files) });
    let packed = tokio::select! {
        packed = packing => packed,
        stop = cx.stop() => return Err(JobError::Stopped(stop)),
    };
    packed.map_err(|error| JobError::Refused { fault: Fault::Internal, message: error.to_string() })?.map_err(
        |error| {
            if packs { disk(&output, &error) } else { torn(&facts.name, &error) }
        },
    )?;
    let bytes = spool(site)?.measure_below(&folder)?;
    Ok(Database {
        name: facts.name.clone(),
        oid: facts.oid.0,
        folder,
        compression,
        encoding: facts.encoding.clone(),
        collate: facts.collate.clone(),
        ctype: facts.ctype.clone(),
        bytes_live: facts.bytes,
        bytes,
        snapshot,
        lsn,
        dump_seconds,
        read_seconds,
        extensions: extensions.into_iter().map(|(name, version)| Extension { name, version }).collect(),
        tables,
    })
}

/// Dumps while rows are counted; the count may take longer, and goes on then.
async fn beside(
    mut dumping: impl Future<Output = Result<Ended, JobError>> + Unpin,
    counting: &mut (impl Future<Output = Result<Vec<Table>, PgError>> + Unpin),
    tables: &mut Option<Vec<Table>>,
) -> Result<Ended, JobError> {
    tokio::select! {
        ended = &mut dumping => ended,
        counted = counting, if tables.is_none() => {
            *tables = Some(counted?);
            dumping.await
        }
    }
}

fn dump_arguments(
    spec: &Backup,
    output: &Path,
    snapshot: &str,
    database: &str,
    compression: Compression,
) -> Vec<OsString> {
    let compress = match compression {
        Compression::PgDumpZstd => "zstd:3",
        Compression::PgDumpGzip => "6",
        Compression::FileZstd => "0",
    };
    let mut file = OsString::from("--file=");
    file.push(output);
    let mut arguments = vec![OsString::from("--format=directory"), file];
    arguments.extend(
        [
            format!("--jobs={}", spec.jobs),
            format!("--compress={compress}"),
            format!("--snapshot={snapshot}"),
            format!("--lock-wait-timeout={}", spec.lock_wait.0.as_millis()),
            "--no-password".to_owned(),
            // Everything is flushed once, before it is published.
            "--no-sync".to_owned(),
            format!("--dbname={}", named(database)),
        ]
        .map(OsString::from),
    );
    arguments
}

fn program(
    site: &Site,
    tool: &str,
    arguments: Vec<OsString>,
    reach: &Reach,
    output: Option<PathBuf>,
    cx: &Context,
) -> Program {
    Program {
        starter: cx.outfit.starter.clone(),
        path: site.tools.program(tool),
        arguments,
        variables: reach.variables.clone(),
        without: WITHOUT,
        output,
    }
}

/// Runs a tool until it ends or we are told to stop; then its sessions on the server end as well.
async fn run(program: &Program, cx: &mut Context) -> Result<Ended, JobError> {
    let stop = std::sync::OnceLock::new();
    let ordered = cx.stop();
    let ended = program.run(async {
        let _first = stop.set(ordered.await);
    });
    let ended = Box::pin(ended).await.map_err(|error| JobError::Refused {
        fault: crate::repository::fault_of_io(error.kind()),
        message: format!("{} could not be started: {error}; nothing was dumped", program.path.display()),
    })?;
    match stop.into_inner() {
        Some(stop) => {
            end_sessions(cx).await;
            Err(JobError::Stopped(stop))
        }
        None => Ok(ended),
    }
}

/// Waits until the sessions of a tool that was ended are gone, and ends those that are not.
async fn end_sessions(cx: &mut Context) {
    let (name, own) = (cx.session_name(), cx.session.pid);
    let patience = Instant::now() + SESSIONS_LIMIT;
    let ended = async {
        loop {
            let query = sqlx::query_scalar(include_str!("../sql/read_tool_sessions.sql")).bind(&name).bind(own);
            let left: Vec<i32> = within(ANSWER_LIMIT, query.fetch_all(cx.reader().await?)).await?;
            if left.is_empty() {
                return Ok::<(), JobError>(());
            }
            if Instant::now() >= patience {
                let query = sqlx::query(include_str!("../sql/end_tool_sessions.sql")).bind(&name).bind(own);
                within(ANSWER_LIMIT, query.execute(cx.reader().await?)).await?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "the sessions of a tool that was ended could not be looked at");
    }
}

/// Takes the limit off that PostgreSQL 17 brought: a snapshot is held for as long as the dump takes.
async fn lift_limits(conn: &mut PgConnection, cx: &Context) -> Result<(), JobError> {
    if cx.server().version >= 170_000 {
        within(ANSWER_LIMIT, conn.execute("set transaction_timeout = 0")).await?;
    }
    Ok(())
}

/// The first data file of a table that is empty, if there is one.
///
/// Even that of an empty table holds something, but `pg_restore` takes a compressed file of no bytes for one of no
/// rows. A large object may be empty.
fn first_empty(folder: &Path) -> std::io::Result<Option<String>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(|c: char| c.is_ascii_digit()) && entry.metadata()?.len() == 0 {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn torn(database: &str, error: &std::io::Error) -> JobError {
    let message = format!("the dump of {} cannot be read, so it was thrown away: {error}", plain(database));
    JobError::Refused { fault: Fault::Corrupt, message }
}

fn empty(tool: &str, what: &str) -> JobError {
    let message = format!("{tool} ended as if all were well, but {what} is empty; it was thrown away");
    JobError::Refused { fault: Fault::Internal, message }
}

fn disk(path: &Path, error: &std::io::Error) -> JobError {
    let message = format!("could not write below {}: {error}", path.display());
    JobError::Refused { fault: crate::repository::fault_of_io(error.kind()), message }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
