//! Verifying what is in the segments: every archived row is read again through the archive's own SQL and compared with its
//! segment's digest. `consistency.rs` looks at the catalogue.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::Serialize;
use sqlx::PgConnection;

use super::digest::Digest;
use super::lasting::Lasting;
use super::layout::{Bounded, all_bounded};
use super::store::{Source, Store, exists};
use super::wire::read_digests;
use crate::config::Connection;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::PgError;
use crate::pg::connect::{Purpose, connect, within};
use crate::pg::session::ANSWER_LIMIT;
use crate::pg::statement::Statement;

/// What was found of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verified {
    /// The table, as `schema.table`.
    pub table: String,
    /// The number of its shape.
    pub source_id: i64,
    /// Segments that were read.
    pub segments: i64,
    /// Rows that were read.
    pub rows: i64,
    /// What is wrong, a sentence a segment or batch.
    pub damaged: Vec<String>,
}

/// The groups that are read.
#[derive(Debug, Clone, Copy)]
pub enum Groups<'a> {
    /// Every group.
    All,
    /// Those with these numbers.
    Only(&'a [i64]),
    /// Those that the present transaction is about to delete.
    Expiring,
}

impl Groups<'_> {
    /// The condition that `column` is the number of one of them.
    pub(super) fn condition(self, column: &str) -> String {
        match self {
            Self::All => "true".to_owned(),
            Self::Expiring => format!("{column} in (select group_id from pg_temp.pgupkeep_restored)"),
            Self::Only([]) => "false".to_owned(),
            Self::Only(ids) => {
                format!("{column} in ({})", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Reads what the archive holds of the groups in one table in one shape.
///
/// What cannot be read leaves the connection out of step. With `anew`, another one takes its place and the rest is read;
/// without, nothing more is, and the connection must not be used again.
///
/// # Errors
/// When the server cannot be asked; what is damaged is no error, but found.
pub async fn verify(
    conn: &mut PgConnection,
    anew: Option<&Connection>,
    source: &Source,
    groups: Groups<'_>,
) -> Result<Verified, JobError> {
    let segments = source.place.segments();
    let (kept_of, shown_of) = (groups.condition("group_id"), groups.condition("a.pgupkeep_group"));
    let mut verified =
        Verified { table: source.shape.table.plain(), source_id: source.place.source_id, ..Verified::default() };
    if !exists(conn, &source.place.rows()).await? {
        let rows = source.place.rows().plain();
        verified
            .damaged
            .push(format!("{rows} is gone, so that its segments were not read; the next archival makes it anew"));
        return Ok(verified);
    }
    let batches = Statement::built(format!("select distinct batch from {segments} where {kept_of} order by batch"));
    let batches = sqlx::query_scalar::<_, i64>(batches.to_sql()).fetch_all(&mut *conn).await?;
    let lasting = Lasting::shown(&source.shape);
    for batch in batches {
        if anew.is_some() {
            // What a restore or archival commits meanwhile is no damage.
            sqlx::raw_sql("begin isolation level repeatable read").execute(&mut *conn).await?;
        }
        let kept = Statement::built(format!(
            "select no, row_count, digest from {segments} where batch = {batch} and {kept_of}"
        ));
        let kept = sqlx::query_as::<_, (i32, i32, Vec<u8>)>(kept.to_sql()).fetch_all(&mut *conn).await?;
        verified.segments += i64::try_from(kept.len()).unwrap_or(i64::MAX);
        let copy = format!(
            "copy (select a.pgupkeep_no, {} from {} a where a.pgupkeep_batch = {batch} and {shown_of}) to stdout (format binary)",
            source.shape.as_shown("a"),
            source.place.rows()
        );
        if let Groups::All = groups {
            verified.damaged.extend(verify_batch(conn, source, batch, &kept).await?);
        }
        match read_digests(conn, &copy, lasting.columns(), &lasting).await {
            Ok((all, mut each)) => {
                verified.rows += i64::try_from(all.rows).unwrap_or(i64::MAX);
                verified.damaged.extend(compare(batch, kept, &mut each));
            }
            Err(error) if error.fault() == Fault::Unreachable => return Err(error),
            Err(error) => {
                verified.damaged.push(format!("batch {batch} cannot be read: {error}"));
                let Some(anew) = anew else { return Ok(verified) };
                *conn = connect_to_read(anew).await?;
            }
        }
        verified.damaged.extend(hidden(conn, source, batch, &shown_of).await?);
        if anew.is_some() {
            sqlx::raw_sql("rollback").execute(&mut *conn).await?;
        }
    }
    Ok(verified)
}

/// What the catalogue says of a batch that its segments contradict. Groups leave it by and by; while none has, its digest is
/// theirs.
async fn verify_batch(
    conn: &mut PgConnection,
    source: &Source,
    batch: i64,
    kept: &[(i32, i32, Vec<u8>)],
) -> Result<Option<String>, JobError> {
    let store = Store::new(&source.place.schema.0);
    let statement = Statement::built(format!(
        "select s.row_count, s.segments, s.digest from {} s join {} b on b.batch_id = s.batch_id \
         where s.batch_id = $1 and s.source_id = $2",
        store.table("batch_source"),
        store.table("batch")
    ));
    let query = sqlx::query_as::<_, (i64, i32, Vec<u8>)>(statement.to_sql()).bind(batch).bind(source.place.source_id);
    let Some((rows, segments, digest)) = query.fetch_optional(conn).await? else {
        return Ok(Some(format!("the catalogue knows no batch {batch}, of which there are {} segments", kept.len())));
    };
    let mut all = Digest::default();
    for (_, rows, digest) in kept {
        // A digest that is none is told with its segment.
        let digest = u64::try_from(*rows).ok().and_then(|rows| Digest::from_bytes(digest, rows));
        all.merge(digest.unwrap_or_default());
    }
    let expected = u64::try_from(rows).ok().and_then(|rows| Digest::from_bytes(&digest, rows));
    let is_sound = match usize::try_from(segments).unwrap_or_default().cmp(&kept.len()) {
        Ordering::Greater => u64::try_from(rows).is_ok_and(|rows| all.rows <= rows),
        Ordering::Equal => expected == Some(all),
        Ordering::Less => false,
    };
    Ok((!is_sound).then(|| {
        format!(
            "batch {batch} has {} rows in {} segments, which is not what the catalogue says of it ({rows} in {segments})",
            all.rows,
            kept.len()
        )
    }))
}

/// A connection that only reads, and sees the archive's values in one form.
///
/// # Errors
/// When it cannot be made.
pub async fn connect_to_read(connection: &Connection) -> Result<PgConnection, PgError> {
    let mut conn = connect(connection, "pgupkeep/archive", Purpose::Work).await?;
    let quiet = "set default_transaction_read_only = on; set search_path = pg_catalog";
    within(ANSWER_LIMIT, sqlx::raw_sql(quiet).execute(&mut conn)).await?;
    Ok(conn)
}

/// The segments with rows of which their own bounds would let a reader know nothing.
async fn hidden(conn: &mut PgConnection, source: &Source, batch: i64, shown_of: &str) -> Result<Vec<String>, JobError> {
    let hides = all_bounded(&source.shape).map(|Bounded { place, least, greatest, one }| {
        let key = &source.shape.columns[place].name;
        format!(
            "a.{key} is not null and not coalesce(a.{least} <= a.{key}::text and a.{greatest} >= a.{key}::text \
             and (a.{one} is null or a.{one} = a.{key}), false)"
        )
    });
    let hides = hides.collect::<Vec<_>>().join(" or ");
    if hides.is_empty() {
        return Ok(Vec::new());
    }
    let statement = Statement::built(format!(
        "select a.pgupkeep_no, count(*) from {} a where a.pgupkeep_batch = {batch} and {shown_of} and ({hides}) \
         group by 1 order by 1",
        source.place.rows()
    ));
    match sqlx::query_as::<_, (i32, i64)>(statement.to_sql()).fetch_all(conn).await.map_err(PgError::from) {
        Ok(found) => Ok(found
            .into_iter()
            .map(|(no, rows)| format!("segment {no} of batch {batch} hides {rows} rows from readers of a series"))
            .collect()),
        Err(error) if error.fault() == Fault::Unreachable => Err(error.into()),
        // Told already, by what cannot be read.
        Err(_) => Ok(Vec::new()),
    }
}

fn compare(batch: i64, kept: Vec<(i32, i32, Vec<u8>)>, found: &mut HashMap<i32, Digest>) -> Vec<String> {
    let mut damaged = Vec::new();
    for (no, rows, digest) in kept {
        let expected = u64::try_from(rows).ok().and_then(|rows| Digest::from_bytes(&digest, rows));
        let found = found.remove(&no).unwrap_or_default();
        if expected != Some(found) {
            let same = if u64::try_from(rows) == Ok(found.rows) { "as many, but not the same" } else { "" };
            damaged.push(
                format!("segment {no} of batch {batch} should give {rows} rows and gives {} {same}", found.rows)
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    damaged
}
