//! The plan of an archival: which rows move in which transactions, what that is expected to cost, and what follows.

use std::sync::Arc;
use std::time::Duration;

use super::candidates::{Candidate, Candidates, candidates_read_only};
use super::catalogue::read_rows;
use super::expire::Of;
use super::limit::Limit;
use super::mover::Chunk;
use super::perform::{holder_of, is_locked};
use super::resolve::{outlived, resolve, root_of};
use super::rule::{Rule, name_of};
use super::shape::{Carrier, Column, Role, Shape};
use super::spec::Archive;
use super::step::{self, Expected, MoveStep, ReportStep, Sizes, Step};
use super::store::{Source, Store};
use super::{aftercare, backup, expire, layout};
use crate::amounts::rough_size;
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::vacuum::lock_holder;
use crate::pg::connect::within;
use crate::pg::statement::Ident;

const FACTS_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of WAL for a row that moves, with the VACUUM that follows. Measured: docs/benchmarks.md, `archive`.
const WAL_PER_ROW: i64 = 300;
/// Rows that move in a second. Measured: docs/benchmarks.md, `archive`.
const ROWS_PER_SECOND: u64 = 150_000;
/// About how many bytes of live rows one transaction may take, since they are in memory until it ends.
const BATCH_BYTES: f64 = 96.0 * 1024.0 * 1024.0;
/// However wide rows are, a transaction takes so many.
const FEWEST_ROWS: u64 = 1000;
/// A transaction takes no more groups than this: each is a segment of its own, which is in memory until the end.
const MOST_GROUPS: usize = 5000;

/// Reads what is to be done and decides the steps.
pub(super) async fn plan(spec: &Archive, cx: &mut Context) -> Result<Vec<Step>, JobError> {
    let (store, conn) = (Store::new(&spec.schema), cx.reader().await?);
    let exists = store.exists(conn).await?;
    if exists {
        store.check_owned(conn).await?;
    }
    if let Some(steps) = of_a_table_that_is_gone(spec, cx).await? {
        return Ok(steps);
    }
    let rule = match resolve(spec, cx.reader().await?).await {
        Err(error) if is_locked(&error) => {
            let holder = match root_of(spec, cx.reader().await?).await? {
                Some(oid) => lock_holder(cx, oid).await?,
                None => None,
            };
            return Err(locked(&holder.map_or_else(|| error.to_string(), |holder| holder.to_string())));
        }
        rule => Arc::new(rule?),
    };
    for warning in &rule.warnings {
        cx.note(warning.clone());
    }
    let found = match candidates_read_only(&rule, spec, cx.reader().await?).await {
        Err(error) if is_locked(&error) => return Err(locked(&holder_of(&rule, cx).await?)),
        found => found?,
    };
    for excluded in &found.excluded {
        cx.note(format!("{} of {} stay: {}", excluded.count, rule.root.table.plain(), excluded.because));
    }
    let mut steps = Vec::new();
    let measured = measure(&rule, cx).await?;
    let moves = decide(spec, &rule, found, &measured);
    if !moves.is_empty() {
        check_rights(&store, cx).await?;
        backup::require(spec, cx).await?;
    }
    let lacks = if exists { lacks_something(&store, &rule, cx).await? } else { Lacks::Places };
    if lacks == Lacks::Readers || lacks == Lacks::Places && !moves.is_empty() {
        check_rights(&store, cx).await?;
        steps.push(Step::Prepare { rule: Arc::clone(&rule), schema: spec.schema.clone() });
    }
    for table in step::tables(&rule) {
        if let Some(note) = store.tell_shut_out(cx.reader().await?, &table).await? {
            cx.note(note);
        }
    }
    let rows: u64 = moves.iter().map(|step| step.expected.rows).sum();
    if !moves.is_empty() {
        tell(&moves, rows, cx);
    }
    steps.extend(moves.into_iter().map(Step::Move));
    let tables = step::tables(&rule);
    let care = aftercare::plan(spec, &store, exists, &tables, (rows, measured.rows), cx).await?;
    if rows > 0 || !care.is_empty() {
        let before = Sizes::read(&store, &tables, cx).await?;
        steps.extend(care);
        steps.push(Step::Report(ReportStep { tables, before }));
    }
    if exists {
        steps.extend(expiring(spec, &store, Of::rule(&rule), cx).await?);
    }
    Ok(steps)
}

fn locked(holder: &str) -> JobError {
    let message =
        format!("which rows could move cannot be looked at, since a table is locked ({holder}); nothing was touched");
    JobError::Refused { fault: Fault::Locked, message }
}

/// The steps that take out of the archive what was kept long enough.
async fn expiring(spec: &Archive, store: &Store, of: Of<'_>, cx: &mut Context) -> Result<Vec<Step>, JobError> {
    let Limit::At(keep) = spec.archive_keep else { return Ok(Vec::new()) };
    let begun_ago = cx.job_age().await?.unwrap_or_default();
    let apart = expire::kept_apart(cx.reader().await?, store, of).await?;
    if apart > 0 {
        cx.note(format!(
            "{apart} archived rows of {} are kept whatever `archive_keep` is: they were archived under another `where`",
            of.rule
        ));
    }
    let due = expire::plan(cx.reader().await?, store, of, (keep, spec.repository.as_deref()), begun_ago).await?;
    Ok(due.into_iter().map(Step::Expire).collect())
}

/// What is left to do for a table that was dropped: its archive is kept as long as it was to be.
async fn of_a_table_that_is_gone(spec: &Archive, cx: &mut Context) -> Result<Option<Vec<Step>>, JobError> {
    let Some(root) = outlived(spec, cx.reader().await?).await? else { return Ok(None) };
    cx.note(format!("there is no table {root} any more; only what `archive_keep` says of its archived rows is done"));
    let (name, condition) = (name_of(&root), spec.condition());
    let of = Of { rule: &name, condition: condition.as_deref() };
    expiring(spec, &Store::new(&spec.schema), of, cx).await.map(Some)
}

/// What a row of the rule's tables costs, live and in the archive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// Rows in the tables that rows leave.
    pub(super) rows: f64,
    /// Bytes of a live row with its index entries.
    pub(super) live_bytes: f64,
    /// Bytes of an archived row, about.
    pub(super) archived_bytes: f64,
    /// Bytes of a row, without its index entries, of the table that has the widest; of tables that are large enough to tell.
    pub(super) widest: f64,
}

async fn measure(rule: &Rule, cx: &mut Context) -> Result<Measured, JobError> {
    let (mut rows, mut live, mut archived, mut widest) = (0.0, 0.0, 0.0, 1.0_f64);
    for part in &rule.parts {
        let conn = cx.reader().await?;
        let Some(known) = read_rows(conn, &[part.oid]).await?.pop() else { continue };
        let shape = Shape::read(conn, part).await?;
        if !layout::fits(&shape) {
            return Err(JobError::Refused {
                fault: Fault::Statement,
                message: format!(
                    "{} has too many columns ({}) for a segment of the archive; nothing was touched",
                    part.table.plain(),
                    shape.columns.len()
                ),
            });
        }
        let widths = sqlx::query_as::<_, (String, i32)>(include_str!("../sql/read_widths.sql")).bind(part.oid);
        let widths = within(FACTS_LIMIT, widths.fetch_all(conn)).await?;
        let width = |column: &Column| {
            let found = widths.iter().find(|(name, _)| *name == column.name.0);
            f64::from(found.map_or(8, |(_, width)| *width))
        };
        let tuples = known.tuples;
        rows += tuples;
        if known.uncounted {
            cx.note(format!("{} was never analyzed, so that its rows are guessed from its size", part.table.plain()));
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (bytes, own_bytes, toast_bytes) = (known.bytes as f64, known.own_bytes as f64, known.toast_bytes as f64);
        live += bytes;
        // What fits into a transaction as a whole may be as wide as it likes: a page with one row says nothing.
        if own_bytes > BATCH_BYTES {
            widest = widest.max(own_bytes / tuples.max(1.0));
        }
        // Of a long value statistics tell the width of what points to it.
        archived += toast_bytes;
        archived += if widths.is_empty() {
            (own_bytes - toast_bytes) / 2.0
        } else {
            tuples * shape.columns.iter().map(|column| archived_width(column, width(column))).sum::<f64>()
        };
    }
    let each = |bytes: f64| if rows > 0.0 { bytes / rows } else { 0.0 };
    Ok(Measured { rows, live_bytes: each(live), archived_bytes: each(archived), widest })
}

/// About how many bytes of a column's value remain in the archive.
fn archived_width(column: &Column, live: f64) -> f64 {
    match (column.role, column.carrier) {
        (Role::Group | Role::Series, _) => 0.2,
        (Role::Row, Carrier::Whole(_)) => 1.2,
        (Role::Row, Carrier::Double) => 7.0,
        (Role::Row, Carrier::Plain | Carrier::Text) if live <= 1.0 => 0.1,
        (Role::Row, Carrier::Plain | Carrier::Text) => live / 2.0,
    }
}

/// Packs what moves into transactions of about `batch_rows`.
pub(super) fn decide(spec: &Archive, rule: &Arc<Rule>, found: Candidates, measured: &Measured) -> Vec<MoveStep> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and bounded")]
    let fitting = (BATCH_BYTES / measured.widest.max(1.0)) as u64;
    let most = u64::from(spec.batch_rows).min(fitting.max(FEWEST_ROWS));
    let step = |chunk, roots, rows| MoveStep {
        rule: Arc::clone(rule),
        chunk,
        roots,
        expected: expected(rows, &chunk_size(rows, measured)),
        follows: false,
        most,
    };
    let mut steps = Vec::new();
    let (mut keys, mut rows) = (Vec::new(), 0);
    for Candidate { group_key, rows: more } in found.groups {
        let more = u64::try_from(more).unwrap_or_default();
        if !keys.is_empty() && (rows + more > most || keys.len() == MOST_GROUPS) {
            let roots = keys.len() as u64;
            steps.push(step(Chunk::Groups(std::mem::take(&mut keys)), roots, rows));
            rows = 0;
        }
        keys.push(group_key);
        rows += more;
    }
    if !keys.is_empty() {
        let roots = keys.len() as u64;
        steps.push(step(Chunk::Groups(keys), roots, rows));
    }
    steps.extend(found.pages.into_iter().map(|pages| {
        let rows = u64::try_from(pages.rows).unwrap_or_default();
        step(Chunk::Pages(pages.from, pages.to), pages.roots.unsigned_abs(), rows)
    }));
    steps.iter_mut().skip(1).for_each(|step| step.follows = true);
    steps
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an estimate")]
fn chunk_size(rows: u64, measured: &Measured) -> (i64, i64) {
    ((rows as f64 * measured.live_bytes) as i64, (rows as f64 * measured.archived_bytes) as i64)
}

fn expected(rows: u64, (bytes, archived): &(i64, i64)) -> Expected {
    let wal = i64::try_from(rows).unwrap_or(i64::MAX).saturating_mul(WAL_PER_ROW).saturating_add(*archived);
    Expected { rows, bytes: *bytes, archived: *archived, wal, seconds: rows / ROWS_PER_SECOND + 1 }
}

fn tell(moves: &[MoveStep], rows: u64, cx: &mut Context) {
    let sum = |of: fn(&Expected) -> i64| moves.iter().map(|step| of(&step.expected)).sum::<i64>();
    let groups: usize =
        moves.iter().map(|step| if let Chunk::Groups(groups) = &step.chunk { groups.len() } else { 0 }).sum();
    let seconds = moves.iter().map(|step| step.expected.seconds).sum::<u64>();
    let groups = if groups > 0 { format!("{groups} groups, ") } else { String::new() };
    let transactions: u64 = moves.iter().map(MoveStep::transactions).sum();
    cx.note(format!(
        "about {groups}{rows} rows move in {transactions} transactions: {} with their index entries now, about {} in the \
         archive, about {} of WAL, about {}",
        rough_size(sum(|expected| expected.bytes)),
        rough_size(sum(|expected| expected.archived)),
        rough_size(sum(|expected| expected.wal)),
        humantime::format_duration(Duration::from_secs(seconds)),
    ));
}

/// What the archive lacks before rows can move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Nothing,
    /// A table has a place, and other readers than its archived rows; or what they read by is gone.
    Readers,
    /// A table has no place in its present shape.
    Places,
}

async fn lacks_something(store: &Store, rule: &Rule, cx: &mut Context) -> Result<Lacks, JobError> {
    let conn = cx.reader().await?;
    let (mut lacks, mut foreign) = (Lacks::Nothing, Vec::new());
    for part in &rule.parts {
        let shape = Shape::read(conn, part).await?;
        let known = store.sources(conn, Some(&part.table)).await?;
        if Source::find(&known, &shape).is_none() {
            return Ok(Lacks::Places);
        }
        for name in store.foreign_readers(conn, &part.table).await? {
            foreign.push(format!(
                "{name} is somebody else's by now, and archived rows of {} were read by that name; it is left alone",
                part.table.plain()
            ));
        }
        let is_shown = store.missing_readers(conn, &part.table).await?.is_empty();
        if !is_shown || !store.access(conn, &part.table).await?.is_empty() {
            lacks = Lacks::Readers;
        }
    }
    for note in foreign {
        cx.note(note);
    }
    Ok(lacks)
}

/// Refuses where the archive could not be made, or a batch not be begun, and names the GRANT.
async fn check_rights(store: &Store, cx: &mut Context) -> Result<(), JobError> {
    store.check_makes(cx.reader().await?).await?;
    let schemas = store.missing_schemas(cx.reader().await?).await?;
    let query = sqlx::query_as::<_, (bool, bool, String, String)>(include_str!("../sql/read_archive_rights.sql"));
    let (create, temporary, role, database) = within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await?;
    let needed = [(create || schemas.is_empty(), "CREATE"), (temporary, "TEMPORARY")];
    let missing: Vec<&str> = needed.iter().filter(|(given, _)| !given).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "rights are missing on the database: GRANT {} ON DATABASE {} TO {}; nothing was touched",
        missing.join(", "),
        Ident(database),
        Ident(role)
    );
    Err(JobError::Refused { fault: Fault::Privilege, message })
}
