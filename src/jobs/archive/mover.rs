//! The moving transaction: rows leave a live table only together with the proof that the archive gives them back.
//!
//! In one short transaction: lock the roots and look again whether they may go, delete the rows and receive them, write
//! them as segments, read them back through the archive's own SQL, compare, see that nothing else has changed, commit.
//! Whatever goes wrong before the commit leaves everything as it was, and after it there is nothing left to do.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;
use uuid::Uuid;

use super::batch::{Batch, MOST_BYTES, Unreadable};
use super::changes::{Change, Changes, FIRE_DEFERRED, affect_only};
use super::condition::LOOK_LIMIT;
use super::digest::Digest;
use super::lasting::Lasting;
use super::layout::Place;
use super::narrow::Byte;
use super::pace::Bounds;
use super::rule::{Part, Root, Rule};
use super::segment::encode;
use super::shape::{ONE_TEXT, Shape, cast_to};
use super::store::{Definition, NewBatch, Store, affect, check_shape, execute};
use super::wire::{Received, read_digests, stream, write};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::{Qualified, Statement, literal};

/// Which roots a batch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// These groups.
    Groups(Vec<String>),
    /// The roots in these pages of their table: from, and up to but without.
    Pages(i64, i64),
}

/// Everything that a move needs to know.
#[derive(Debug)]
pub struct Move<'a> {
    /// What moves together.
    pub rule: &'a Rule,
    /// The shape and the place of each part's table, in the order of the rule's parts.
    pub sources: &'a [(Shape, Place)],
    /// The archive.
    pub store: &'a Store,
    /// The run that does it.
    pub run_id: Option<Uuid>,
    /// What the server can dump.
    pub byte: Byte,
}

/// What a batch has moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Rows of each part, in the order of the rule's parts.
    pub rows: Vec<u64>,
    /// Roots that were locked and looked at.
    pub roots: u64,
    /// Whether rows are left because the batch was full.
    pub more: bool,
    /// Bytes of WAL that the server wrote meanwhile, others' included.
    pub wal_bytes: i64,
    /// That nothing was moved, because the rows are too large to be in memory together, and how many would be.
    pub fitting: Option<u64>,
}

impl Moved {
    /// Rows of all parts.
    pub fn total(&self) -> u64 {
        self.rows.iter().sum()
    }
}

impl Move<'_> {
    /// What the transaction sends, for the record.
    pub fn script(&self, chunk: &Chunk, bounds: Bounds) -> Statement {
        let mut lines = self.begin(bounds);
        lines.push(self.pick(chunk));
        lines.extend(self.rule.locks.iter().cloned());
        lines.push(self.unpick());
        lines.extend(self.keep_apart(bounds));
        for (part, (shape, place)) in self.rule.parts.iter().zip(self.sources) {
            lines.push(Self::delete(part, shape, bounds.rows, bounds.by_size));
            lines.push(format!("copy {} from stdin (format binary)", place.segments()));
            lines.push(Self::read_back(shape, place, None));
        }
        lines.push(FIRE_DEFERRED.to_owned());
        lines.extend(self.rule.marks.iter().cloned());
        lines.push("commit".to_owned());
        Statement::built(lines.join(";\n"))
    }

    /// Moves what the chunk holds, as far as the bounds allow.
    ///
    /// # Errors
    /// Whatever failed; the caller must roll back, and nothing has changed then.
    pub async fn perform(&self, conn: &mut PgConnection, chunk: &Chunk, bounds: Bounds) -> Result<Moved, JobError> {
        let wal_before = wal_position(conn).await?;
        execute(conn, &self.begin(bounds)).await?;
        for (part, (shape, _)) in self.rule.parts.iter().zip(self.sources) {
            check_shape(conn, part, shape).await?;
        }
        let before = Changes::read(conn).await?;
        let oids: Vec<Oid> = self.rule.parts.iter().map(|part| part.oid).collect();
        let query = sqlx::query_scalar::<_, Oid>(include_str!("../sql/find_keeping_triggers.sql")).bind(&oids);
        let keeping = query.fetch_all(&mut *conn).await?;
        let roots = affect(conn, &self.pick(chunk)).await?;
        execute(conn, &self.rule.locks).await?;
        let gone = affect(conn, &self.unpick()).await?;
        let mut moved = Moved { roots: roots - gone, rows: vec![0; self.rule.parts.len()], ..Moved::default() };
        if moved.roots == 0 {
            sqlx::raw_sql("rollback").execute(conn).await?;
            return Ok(moved);
        }
        sqlx::raw_sql("analyze pg_temp.pgupkeep_picked").execute(&mut *conn).await?;
        execute(conn, &self.keep_apart(bounds)).await?;
        let rule_id = self.store.rule_id(conn, &self.rule.name, &self.definition()).await?;
        let batch = NewBatch {
            run_id: self.run_id,
            cutoff: &self.rule.cutoff,
            schema_version: self.rule.schema_version.as_deref(),
        };
        let batch_id = self.store.begin_batch(conn, rule_id, &batch).await?;
        let mut left = bounds.rows;
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for (nth, (part, (shape, place))) in self.rule.parts.iter().zip(self.sources).enumerate() {
            if left == Some(0) {
                // What is left may refer to what follows, so that has to wait for it.
                break;
            }
            let rows = self.receive(conn, part, shape, left, bounds.by_size).await?;
            if let Some(fitting) = rows.fitting() {
                sqlx::raw_sql("rollback").execute(conn).await?;
                let rows = vec![0; self.rule.parts.len()];
                return Ok(Moved { rows, more: true, fitting: Some(fitting), ..Moved::default() });
            }
            moved.rows[nth] = rows.digest.rows;
            if let Some(most) = left {
                left = Some(most.saturating_sub(rows.digest.rows));
            }
            let is_in_doubt = (bounds.by_size || keeping.contains(&part.oid)) && left != Some(0);
            if is_in_doubt && Self::has_remaining(conn, part, left).await? {
                if !bounds.by_size || rows.digest.rows == 0 {
                    return Err(kept_by_trigger(&part.table));
                }
                // What is left may refer to what follows.
                left = Some(0);
            }
            if rows.digest.rows > 0 {
                self.keep(conn, (shape, place), rows, (rule_id, batch_id), &mut counts).await?;
            }
        }
        moved.more = left == Some(0);
        self.prove_roots_left(&moved)?;
        if moved.total() == 0 {
            sqlx::raw_sql("rollback").execute(conn).await?;
            return Ok(moved);
        }
        let counts: Vec<(i64, i64)> = counts.into_iter().collect();
        self.store.count_groups(conn, &counts).await?;
        self.prove_nothing_else_changed(conn, &before, &moved).await?;
        self.mark(conn, &counts).await?;
        sqlx::raw_sql("commit").execute(&mut *conn).await?;
        moved.wal_bytes = wal_position(conn).await? - wal_before;
        Ok(moved)
    }

    fn begin(&self, bounds: Bounds) -> Vec<String> {
        let Root { keys, .. } = &self.rule.root;
        let columns = keys.iter().enumerate().map(|(nth, (_, of))| format!(", k{} {of}", nth + 1));
        let columns = columns.collect::<Vec<_>>().concat();
        let tables = super::step::tables(self.rule).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        // Dropped before anything is counted: the lock that this takes must not be mistaken for somebody else's.
        let kept =
            self.kept_apart(bounds).map(|(part, _)| format!("drop table if exists pg_temp.{}", kept_table(part)));
        let begin = [
            "begin isolation level read committed".to_owned(),
            "set local search_path = pg_catalog, pg_temp".to_owned(),
            format!("set local lock_timeout = {}", bounds.lock_wait.as_millis()),
            format!("set local statement_timeout = {}", bounds.time.as_millis()),
            // Longer than we ever think between two statements; whoever waits for our rows is not kept for ever.
            "set local idle_in_transaction_session_timeout = '60s'".to_owned(),
            // What a DELETE locks anyway, but before anybody looks at the columns: they cannot change from here on.
            format!("lock table {tables} in row exclusive mode"),
            "drop table if exists pg_temp.pgupkeep_picked".to_owned(),
            format!(
                "create temporary table pgupkeep_picked (tid tid, group_key text, activity timestamptz{columns}) on commit drop"
            ),
        ];
        begin.into_iter().chain(ONE_TEXT.map(str::to_owned)).chain(kept).collect()
    }

    /// Locks the roots that may go. New rows that refer to one of them wait from here on for the end of the batch.
    fn pick(&self, chunk: &Chunk) -> String {
        let Root { table, keys, group, eligible, activity, .. } = &self.rule.root;
        let columns = keys.iter().map(|(key, _)| format!(", r.{key}")).collect::<Vec<_>>().concat();
        let within = match chunk {
            Chunk::Groups(groups) => {
                let list = groups.iter().map(literal).collect::<Vec<_>>().join(", ");
                format!("{group} in ({list})")
            }
            Chunk::Pages(from, to) => format!("r.ctid >= '({from},0)'::tid and r.ctid < '({to},0)'::tid"),
        };
        format!(
            "insert into pg_temp.pgupkeep_picked select r.ctid, {group}, {activity}{columns} from {table} r \
             where {within} and ({eligible}) and {} for update of r skip locked",
            self.not_held()
        )
    }

    /// Looks again, now that they are locked, with what others have committed meanwhile.
    fn unpick(&self) -> String {
        let Root { table, fenced, .. } = &self.rule.root;
        // A scalar, which is asked for by each row's place: a join would have every root of the table looked at.
        format!(
            "delete from pg_temp.pgupkeep_picked p where not coalesce((select true from {table} r \
             where r.ctid = p.tid and ({fenced}) and {}), false)",
            self.not_held()
        )
    }

    /// Writes down which rows stay, where a chunk is split: what is said of the whole does not hold for a rest.
    fn keep_apart(&self, bounds: Bounds) -> Vec<String> {
        let tables = self.kept_apart(bounds).flat_map(|(part, kept)| {
            let table = kept_table(part);
            [
                format!("create temporary table {table} on commit preserve rows as {kept}"),
                format!("analyze pg_temp.{table}"),
            ]
        });
        tables.collect()
    }

    /// The parts of which some rows stay, where that has to be written down now; with the SELECT of those rows.
    fn kept_apart(&self, bounds: Bounds) -> impl Iterator<Item = (&Part, &String)> {
        let begins = bounds.rows.is_some() && bounds.first;
        self.rule.parts.iter().filter(move |_| begins).filter_map(|part| part.kept.as_ref().map(|kept| (part, kept)))
    }

    fn not_held(&self) -> String {
        format!("not {}", super::candidates::held(self.rule, self.store))
    }

    /// The condition that a row is none of those that stay, after others.
    fn to_leave(part: &Part, most: Option<u64>) -> String {
        let kept = part.kept.as_ref().map(|kept| match most {
            Some(_) => format!(" and not exists (select 1 from pg_temp.{} k where k.tid = t.ctid)", kept_table(part)),
            None => format!(" and not exists (select 1 from ({kept}) k where k.tid = t.ctid)"),
        });
        kept.unwrap_or_default()
    }

    /// Whether a part has rows of the picked roots that should have left.
    async fn has_remaining(conn: &mut PgConnection, part: &Part, most: Option<u64>) -> Result<bool, JobError> {
        let Part { table, using, on, kept, .. } = part;
        if kept.is_some() && most.is_none() {
            // What is said of the whole does not hold for a rest.
            return Ok(false);
        }
        let to_leave = Self::to_leave(part, most);
        let statement =
            Statement::built(format!("select exists (select 1 from {table} t, {using} where {on}{to_leave})"));
        let left = sqlx::query_scalar::<_, bool>(statement.to_sql()).fetch_one(conn).await;
        Ok(left.map_err(PgError::from)?)
    }

    fn delete(part: &Part, shape: &Shape, most: Option<u64>, by_size: bool) -> String {
        let Part { table, using, on, .. } = part;
        let kept = Self::to_leave(part, most);
        let some = most.map(|most| {
            let chosen = format!("from {table} t, {using} where {on}{kept} limit {most}");
            if by_size {
                // The first row goes whatever its size is.
                let sums = "sum(s.size) over rows_before as sum, row_number() over rows_before as no";
                let size = shape.size();
                format!(
                    " and t.ctid = any (array(select s.ctid from (select s.ctid, {sums} from (select t.ctid, {size} as size \
                     {chosen}) s window rows_before as (rows unbounded preceding)) s where s.sum <= {MOST_BYTES} or s.no = 1))"
                )
            } else {
                format!(" and t.ctid = any (array(select t.ctid {chosen}))")
            }
        });
        let some = some.unwrap_or(kept);
        format!(
            "copy (delete from {table} t using {using} where {on}{some} returning p.group_key, {}) to stdout (format binary)",
            shape.returning()
        )
    }

    fn read_back(shape: &Shape, place: &Place, batch_id: Option<i64>) -> String {
        let batch = batch_id.map_or_else(|| "$1".to_owned(), |batch_id| batch_id.to_string());
        let texts = shape.shown_as_text().map(|(_, column)| format!(", a.{}", column.name));
        format!(
            "copy (select a.pgupkeep_no, {}{} from {} a where a.pgupkeep_batch = {batch}) to stdout (format binary)",
            shape.as_declared("a"),
            texts.collect::<String>(),
            place.rows()
        )
    }

    /// Deletes a part's rows and receives them.
    async fn receive<'s>(
        &self,
        conn: &mut PgConnection,
        part: &Part,
        shape: &'s Shape,
        most: Option<u64>,
        by_size: bool,
    ) -> Result<Batch<'s>, JobError> {
        // The way by an index is right for a batch, whatever old statistics make the planner believe.
        let scan = if part.indexed { "off" } else { "on" };
        sqlx::raw_sql(Statement::built(format!("set local enable_seqscan = {scan}")).to_sql())
            .execute(&mut *conn)
            .await?;
        let mut batch = Batch::new(shape);
        stream(conn, &Self::delete(part, shape, most, by_size), Batch::fields(shape) + 1, |fields| {
            let (group, fields) = fields.split_first().ok_or(Received::Unreadable(Unreadable))?;
            batch.push(group.unwrap_or_default(), fields)?;
            Ok(())
        })
        .await?;
        sqlx::raw_sql("set local enable_seqscan = on").execute(&mut *conn).await?;
        Ok(batch)
    }

    /// Writes rows as segments, and compares what the archive's own SQL gives back with what was received.
    async fn keep(
        &self,
        conn: &mut PgConnection,
        (shape, place): (&Shape, &Place),
        rows: Batch<'_>,
        (rule_id, batch_id): (i64, i64),
        counts: &mut BTreeMap<i64, i64>,
    ) -> Result<(), JobError> {
        let (digest, lasting) = (rows.digest, rows.lasting_digest);
        let ids = self.store.group_ids(conn, rule_id, &rows.group_keys()).await?;
        let segments = encode(rows, shape, (batch_id, self.byte), &|key| ids.get(key).copied())
            .map_err(|message| JobError::Refused { fault: Fault::Internal, message })?;
        for (key, rows) in &segments.groups {
            if let Some(id) = ids.get(key) {
                *counts.entry(*id).or_default() += i64::try_from(*rows).unwrap_or(i64::MAX);
            }
        }
        write(conn, place, &segments).await?;
        self.store.end_batch(conn, (batch_id, place.source_id), segments.digests.len(), lasting).await?;
        self.prove(conn, (shape, place), batch_id, digest, &segments.digests).await
    }

    async fn prove(
        &self,
        conn: &mut PgConnection,
        (shape, place): (&Shape, &Place),
        batch_id: i64,
        received: Digest,
        segments: &[Digest],
    ) -> Result<(), JobError> {
        let lasting = Lasting::of(shape, shape.shown_as_text());
        let copy = Self::read_back(shape, place, Some(batch_id));
        let (found, each) =
            read_digests(conn, &copy, shape.columns.len() + shape.shown_as_text().count(), &lasting).await?;
        let differing = segments
            .iter()
            .enumerate()
            .find(|(no, digest)| i32::try_from(*no).ok().and_then(|no| each.get(&no)) != Some(digest));
        if found == received && differing.is_none() && each.len() == segments.len() {
            return Ok(());
        }
        sqlx::raw_sql("rollback").execute(&mut *conn).await?;
        if let Some(message) = unlike_their_text(conn, shape).await {
            return Err(JobError::Refused { fault: Fault::Statement, message });
        }
        let message = format!(
            "the archive does not give back what was deleted from {}: {} rows left it, {} came back{}; the batch was \
             rolled back and nothing was moved",
            shape.table,
            received.rows,
            found.rows,
            differing.map(|(no, _)| format!(", and segment {no} differs")).unwrap_or_default(),
        );
        Err(JobError::Refused { fault: Fault::Internal, message })
    }

    /// What a restore has to know of the rule.
    fn definition(&self) -> Definition {
        let Root { table, group, by_archival, leaves, .. } = &self.rule.root;
        let mut tables = super::step::tables(self.rule);
        tables.reverse();
        Definition {
            root: table.clone(),
            group: group.clone(),
            by_archival: *by_archival,
            condition: self.rule.condition.clone(),
            leaves: *leaves,
            tables,
            inner: self.rule.inner.clone(),
            unmarks: self.rule.unmarks.clone(),
            wanted: self.rule.wanted.clone(),
        }
    }

    /// A trigger can keep a row from being deleted, and says nothing.
    fn prove_roots_left(&self, moved: &Moved) -> Result<(), JobError> {
        let Root { table, oid, leaves, .. } = &self.rule.root;
        let place = self.rule.parts.iter().position(|part| part.oid == *oid).filter(|_| *leaves && !moved.more);
        let left = place.map_or(moved.roots, |place| moved.rows[place]);
        if left >= moved.roots { Ok(()) } else { Err(kept_by_trigger(table)) }
    }

    /// Counts what the transaction has changed in every table, so that a cascade, a trigger or a rule cannot hide.
    async fn prove_nothing_else_changed(
        &self,
        conn: &mut PgConnection,
        before: &Changes,
        moved: &Moved,
    ) -> Result<(), JobError> {
        let deleted = |rows: &u64| Change { deleted: i64::try_from(*rows).unwrap_or(i64::MAX), ..Change::default() };
        let expected = self.rule.parts.iter().zip(&moved.rows).map(|(part, rows)| (part.table.clone(), deleted(rows)));
        match before.beyond(conn, &self.store.store, &expected.collect()).await? {
            None => Ok(()),
            Some(found) => Err(JobError::Refused {
                fault: Fault::Statement,
                message: format!(
                    "the batch has done more than move rows, as a cascade, a trigger or a rule does: {found}; it was rolled back \
                     and nothing was moved"
                ),
            }),
        }
    }

    /// Marks the roots that stay; the marks may write to one table and no other.
    async fn mark(&self, conn: &mut PgConnection, counts: &[(i64, i64)]) -> Result<(), JobError> {
        if self.rule.marks.is_empty() {
            return Ok(());
        }
        let ids = counts.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ");
        let totals = format!(
            "create temporary table pgupkeep_moved on commit drop as \
             select g.group_key, g.row_count as points from {} g where g.group_id in ({ids})",
            self.store.table("group_state")
        );
        execute(conn, &["drop table if exists pg_temp.pgupkeep_moved".to_owned(), totals]).await?;
        affect_only(conn, &self.rule.marks).await
    }
}

fn kept_by_trigger(table: &Qualified) -> JobError {
    let message = format!(
        "a trigger of {table} keeps rows that were to be deleted; the batch was rolled back, and nothing of it was moved"
    );
    JobError::Refused { fault: Fault::Statement, message }
}

/// What is wrong with a batch that was rolled back, if values of the table are not those that the server makes of their text,
/// as which they are carried: an array or a row can hold a NaN with a sign or a payload, which text does not tell.
async fn unlike_their_text(conn: &mut PgConnection, shape: &Shape) -> Option<String> {
    for (_, column) in shape.texts() {
        let (table, name) = (&shape.table, &column.name);
        let same = format!("t.{name}::text{}", cast_to(&column.declared));
        // Rows of one column, since the server has no such operator for the values themselves; by names that no column has.
        let row = |name: &str, value: &str| format!("(select pgupkeep_{name} from (values ({value})) pgupkeep_{name})");
        let (is, says) = (row("is", &format!("t.{name}")), row("says", &same));
        let differs = format!("{is} operator(pg_catalog.*<>) {says}");
        let look = Statement::built(format!("select exists (select from {table} t where {differs})"));
        // Whoever cannot say why a batch failed says that it did.
        let found = within(LOOK_LIMIT, sqlx::query_scalar::<_, bool>(look.to_sql()).fetch_one(&mut *conn)).await;
        if found.is_ok_and(|found| found) {
            return Some(format!(
                "{table} has values in the column {name} that are other ones when the server reads their text, as which the \
                 archive carries them, such as a NaN with a sign inside of an array; the batch was rolled back and nothing was \
                 moved: leave their rows out by `where`, or have the values written as their text says, by UPDATE {table} t SET \
                 {name} = {same} WHERE {differs}"
            ));
        }
    }
    None
}

/// Where the rows of a part that stay are written down.
fn kept_table(part: &Part) -> String {
    format!("pgupkeep_kept_{}", part.oid.0)
}

async fn wal_position(conn: &mut PgConnection) -> Result<i64, JobError> {
    let position = sqlx::query_scalar::<_, i64>(include_str!("../sql/read_wal_position.sql"));
    Ok(position.fetch_one(conn).await.map_err(PgError::from)?)
}
