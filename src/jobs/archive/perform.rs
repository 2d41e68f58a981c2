//! The steps of an archival, performed: batch by batch, and what follows when rows have left.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::aftercare;
use super::layout::Place;
use super::limit::Limit;
use super::mover::{Chunk, Move, Moved};
use super::narrow::Byte;
use super::pace::{Bounds, Pace};
use super::rule::Rule;
use super::shape::Shape;
use super::spec::Archive;
use super::step::{MoveStep, ReportStep, Sizes, Step};
use super::store::{self, Source, Store};
use crate::amounts::ByteSize;
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::drive::{End, Finish};
use crate::jobs::reindex::room;
use crate::jobs::vacuum::{Holder, lock_holder, row_locker};
use crate::jobs::{Measures, StepReport};
use crate::pg::connect::within;
use crate::pg::statement::{Qualified, Statement};

const FACTS_LIMIT: Duration = Duration::from_secs(20);
/// How often the way is looked at when a standby or the WAL is behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does one step.
pub(super) async fn perform(spec: &Archive, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
    let name = step.to_string();
    match step {
        Step::Prepare { rule, .. } => prepare(spec, rule, &name, cx).await,
        Step::Move(step) => move_rows(spec, step, &name, cx).await,
        Step::Vacuum(tables) => aftercare::vacuum(tables, cx).await,
        Step::Reindex(which, tables) => aftercare::reindex(spec, *which, tables, cx).await,
        Step::Report(step) => report(spec, step, &name, cx).await,
        Step::Expire(step) => super::expire::perform(spec, step, &name, cx).await,
    }
}

/// Makes the archive's schemas, its catalogue, and the places of the rule's tables.
async fn prepare(spec: &Archive, rule: &Rule, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let store = Store::new(&spec.schema);
    let exists = store.exists(cx.reader().await?).await?;
    let mut statements = vec!["begin".to_owned(), "set local search_path = pg_catalog, pg_temp".to_owned()];
    for schema in store.missing_schemas(cx.reader().await?).await? {
        statements.extend(store.create_schema(&schema));
    }
    if !exists {
        statements.extend(store.create());
    }
    let script =
        Statement::built(format!("{};\n-- and what each table's shape needs;\ncommit", statements.join(";\n")));
    let mut conn = cx.session.lend()?;
    let work = async {
        store::execute(&mut conn, &statements).await?;
        for part in &rule.parts {
            let shape = Shape::read(&mut conn, part).await?;
            store.ensure_source(&mut conn, &shape).await?;
            let access = store.access(&mut conn, &part.table).await?;
            store::execute(&mut conn, &access).await?;
        }
        sqlx::raw_sql("commit").execute(&mut conn).await?;
        Ok(())
    };
    let done = cx.oversee(name, &script, work).await;
    cx.take_back(conn, done).await?;
    Ok(StepReport::Done(Measures::default()))
}

async fn move_rows(spec: &Archive, step: &MoveStep, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let store = Store::new(&spec.schema);
    let rule = &*step.rule;
    let sources = known_sources(&store, rule, cx).await?;
    let moving =
        Move { rule, sources: &sources, store: &store, run_id: cx.run_id(), byte: Byte::of(cx.server().version) };
    let mut totals = Totals::new(rule);
    for chunk in step.chunks() {
        let mut pace = Pace::of(step, spec);
        loop {
            if step.follows || totals.last.is_some() {
                cx.pause(spec.pause_between.0).await?;
            }
            way_is_free(spec, cx).await?;
            // The row of the last batch is closed by the step's own report, those before it here.
            if let Some(before) = totals.unsettled() {
                cx.settle(name, &StepReport::Done(before)).await?;
            }
            let (worked, bounds) = (cx.session.pid, pace.bounds);
            match one_batch(&moving, &chunk, bounds, name, cx).await {
                Ok(moved) => {
                    let (more, rows, fitting) = (moved.more, moved.total(), moved.fitting);
                    totals.add(moved, bounds);
                    match fitting {
                        Some(fitting) => pace.was_too_large(fitting),
                        None if more => pace.went_on(rows),
                        None => break,
                    }
                }
                // Which rows of a chunk stay is remembered in the session, so another one cannot go on with a rest.
                Err(error)
                    if is_too_slow(&error) && cx.session.is_usable() && (bounds.first || cx.session.pid == worked) =>
                {
                    if !pace.was_too_slow() {
                        return Err(error);
                    }
                }
                Err(error) if is_locked(&error) => return Ok(totals.locked(&holder_of(rule, cx).await?, spec)),
                Err(error) => return Err(error),
            }
        }
    }
    let locker = if totals.left(step) > 0 { row_locker(cx, rule.root.oid).await? } else { None };
    Ok(totals.report(step, locker.as_ref()))
}

/// One transaction, on record.
async fn one_batch(
    moving: &Move<'_>,
    chunk: &Chunk,
    bounds: Bounds,
    name: &str,
    cx: &mut Context,
) -> Result<Moved, JobError> {
    let script = moving.script(chunk, bounds);
    let mut conn = cx.session.lend()?;
    let moved = cx.oversee(name, &script, moving.perform(&mut conn, chunk, bounds)).await;
    cx.take_back(conn, moved).await
}

/// query_canceled: by `statement_timeout`, since nobody else cancels sessions of ours without an order.
fn is_too_slow(error: &JobError) -> bool {
    matches!(error, JobError::Target(error) if error.sqlstate() == Some("57014"))
}

/// lock_not_available: by `lock_timeout`.
pub(super) fn is_locked(error: &JobError) -> bool {
    matches!(error, JobError::Target(error) if error.sqlstate() == Some("55P03"))
}

/// Who has locked one of the rule's tables, or else may have locked rows of one.
pub(super) async fn holder_of(rule: &Rule, cx: &mut Context) -> Result<String, JobError> {
    for part in &rule.parts {
        if let Some(holder) = lock_holder(cx, part.oid).await? {
            return Ok(format!("{}: {holder}", part.table));
        }
    }
    for part in &rule.parts {
        if let Some(locker) = row_locker(cx, part.oid).await? {
            return Ok(format!("{}: perhaps {locker}", part.table));
        }
    }
    Ok("somebody who has gone meanwhile".to_owned())
}

/// The shape and the place of each part's table, as the archive knows them.
async fn known_sources(store: &Store, rule: &Rule, cx: &mut Context) -> Result<Vec<(Shape, Place)>, JobError> {
    let mut sources = Vec::new();
    let conn = cx.reader().await?;
    let exists = store.exists(conn).await?;
    for part in &rule.parts {
        let shape = Shape::read(conn, part).await?;
        let known = if exists { store.sources(conn, Some(&part.table)).await? } else { Vec::new() };
        let is_known = known.iter().any(|source| source.current);
        let found = Source::find(&known, &shape);
        let place = found.map(|source| source.place.clone()).ok_or_else(|| JobError::Refused {
            fault: Fault::Locked,
            message: if is_known {
                format!(
                    "{} was altered since the plan was made, or its place in the archive could not be made anew; nothing was \
                     moved, and the next attempt plans again",
                    part.table
                )
            } else {
                format!("there is no place for {} in the archive, since making it failed; nothing was moved", part.table)
            },
        })?;
        sources.push((shape, place));
    }
    Ok(sources)
}

/// Waits until standbys have caught up and the WAL that is held back is little enough.
async fn way_is_free(spec: &Archive, cx: &mut Context) -> Result<(), JobError> {
    if let Some(disk) = &spec.disk {
        let free = room::free_on(Path::new(disk));
        let why = match free {
            Ok(free) if free >= spec.keep_free.0 => None,
            Ok(free) => Some(format!("{} are free at {disk}, and keep_free is {}", ByteSize(free), spec.keep_free)),
            Err(error) => Some(format!("the free space at {disk} could not be read: {error}")),
        };
        if let Some(why) = why {
            let message = format!("{why}; nothing more was moved, and what was is complete");
            return Err(JobError::Refused { fault: Fault::DiskFull, message });
        }
    }
    let mut told = false;
    loop {
        let query = sqlx::query_as::<_, (Option<f64>, Option<i64>)>(include_str!("../sql/read_pressure.sql"));
        let (lag, held) = within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await?;
        let reason = match (spec.max_replica_lag, spec.max_wal) {
            (Limit::At(most), _) if lag.is_some_and(|lag| lag > most.0.as_secs_f64()) => {
                format!("a standby is {:.0} s behind (max_replica_lag {most})", lag.unwrap_or_default())
            }
            (_, Limit::At(most)) if held.is_some_and(|held| held > most.bytes()) => {
                format!("replication slots hold back {} bytes of WAL (max_wal {most})", held.unwrap_or_default())
            }
            _ => return Ok(()),
        };
        if !told {
            tracing::warn!(reason, "the archival waits");
            told = true;
        }
        cx.pause(LOOK_EVERY).await?;
    }
}

/// What the batches of a step have moved.
struct Totals {
    tables: Vec<Qualified>,
    rows: Vec<u64>,
    roots: u64,
    /// Groups that were split over batches and were not free any more for the rest.
    split: u64,
    /// The place of the root's own table, where roots leave.
    leaving: Option<usize>,
    wal_bytes: i64,
    last: Option<Moved>,
    began: Instant,
}

impl Totals {
    fn new(rule: &Rule) -> Self {
        let tables: Vec<Qualified> = rule.parts.iter().map(|part| part.table.clone()).collect();
        let rows = vec![0; tables.len()];
        let leaving = rule.parts.iter().position(|part| part.oid == rule.root.oid).filter(|_| rule.root.leaves);
        Self { tables, rows, roots: 0, split: 0, leaving, wal_bytes: 0, last: None, began: Instant::now() }
    }

    /// Takes a batch in; a chunk's roots are those of its first.
    fn add(&mut self, moved: Moved, bounds: Bounds) {
        if moved.fitting.is_none() && bounds.first {
            self.roots += moved.roots;
        } else if moved.fitting.is_none() && moved.roots == 0 {
            self.split += 1;
        }
        for (total, rows) in self.rows.iter_mut().zip(&moved.rows) {
            *total += rows;
        }
        self.wal_bytes += moved.wal_bytes;
        self.last = Some(moved);
    }

    /// How many roots were not done: not free in the first place, or not any more when the rest of their rows was to move.
    fn left(&self, step: &MoveStep) -> u64 {
        match self.leaving {
            Some(place) => step.roots.max(self.roots).saturating_sub(self.rows[place]),
            None => step.roots.saturating_sub(self.roots) + self.split,
        }
    }

    /// What is to be said of the last batch, where that was not said yet.
    fn unsettled(&mut self) -> Option<Measures> {
        self.last.take().map(|moved| self.of_batch(&moved))
    }

    fn of_batch(&self, moved: &Moved) -> Measures {
        let rows: serde_json::Map<String, serde_json::Value> = self
            .tables
            .iter()
            .zip(&moved.rows)
            .filter(|(_, rows)| **rows > 0)
            .map(|(table, rows)| (table.plain(), (*rows).into()))
            .collect();
        let detail = json!({ "rows": rows, "wal_bytes": moved.wal_bytes, "proven": moved.total() > 0 });
        let total = i64::try_from(moved.total()).ok();
        Measures { rows: total, detail: Some(detail), ..Measures::default() }
    }

    /// What is said when a table was locked for longer than is waited for.
    fn locked(&mut self, holder: &str, spec: &Archive) -> StepReport {
        let reason = format!(
            "a table or rows were locked for longer than lock_wait ({}): {holder}; the rest was left as it is for the next attempt",
            spec.lock_wait
        );
        let measures = self.unsettled().unwrap_or_default();
        StepReport::NotDone { reason, fault: Fault::Locked, measures }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a figure for people")]
    fn report(self, step: &MoveStep, locker: Option<&Holder>) -> StepReport {
        let locker = locker.map(|locker| format!(" (perhaps by {locker})")).unwrap_or_default();
        let total: u64 = self.rows.iter().sum();
        let seconds = self.began.elapsed().as_secs_f64();
        let mut measures = self.last.as_ref().map(|moved| self.of_batch(moved)).unwrap_or_default();
        if let Some(detail) = measures.detail.as_mut() {
            detail["rows_per_second"] = ((total as f64 / seconds.max(0.001)).round() as i64).into();
        }
        let (left, all) = (self.left(step), step.roots.max(self.roots));
        if left == 0 {
            return StepReport::Done(measures);
        }
        let part = if left > step.roots.saturating_sub(self.roots) {
            "; rows that had left before are in the archive, and `archive restore` brings them back"
        } else {
            ""
        };
        let reason = format!(
            "{left} of {all} rows of {} were not free to move: they are locked by somebody{locker}, held, or not old enough \
             any more; what hangs on them was left as it is for the next attempt{part}",
            step.rule.root.table.plain()
        );
        StepReport::NotDone { reason, fault: Fault::Locked, measures }
    }
}

/// Measures the tables and the archive once more, beside what they were when the plan was made.
async fn report(spec: &Archive, step: &ReportStep, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let after = Sizes::read(&Store::new(&spec.schema), &step.tables, cx).await?;
    let detail = json!({ "before": step.before, "after": after });
    // An earlier attempt's bytes are those of the same tables: they count once.
    let counts = !cx.steps_done().await?.iter().any(|done| done == name);
    let bytes_before = counts.then(|| step.before.total());
    let bytes_after = counts.then(|| after.total());
    Ok(StepReport::Done(Measures { rows: None, bytes_before, bytes_after, detail: Some(detail) }))
}

/// What this job makes of the end of one that it had done.
pub(super) fn inner(finish: Finish) -> Result<StepReport, JobError> {
    let error = finish.error().unwrap_or_default();
    let Finish { end, done, planned, fault, .. } = finish;
    let detail = Some(json!({ "steps_done": done, "steps_planned": planned }));
    let fault = fault.unwrap_or(Fault::Internal);
    match end {
        End::Succeeded => Ok(StepReport::Done(Measures { detail, ..Measures::default() })),
        End::Partial | End::Failed => {
            Ok(StepReport::NotDone { reason: error, fault, measures: Measures { detail, ..Measures::default() } })
        }
        End::Stopped(stop) => Err(JobError::Stopped(stop)),
    }
}
