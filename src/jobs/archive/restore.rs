//! Restoring a group: its rows go back where they were, proven, and leave the archive in the same transaction.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::changes::{Change, Changes, FIRE_DEFERRED, affect_only};
use super::digest::{Digest, RowHasher};
use super::lasting::Lasting;
use super::selection::Wanted;
use super::shape::{Column, ONE_TEXT, Shape, cast_to};
use super::store::{KnownRule, Source, Store, execute};
use super::wire::stream;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::PgError;
use crate::pg::statement::{Ident, Qualified, Statement, literal};

/// What a restore is to do besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold(pub String);

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Rows that were written.
    pub written: u64,
    /// Rows that were there already, the same in every byte.
    pub present: u64,
}

/// A column that archived values go back to, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LiveColumn {
    name: String,
    declared: String,
    fits: bool,
    identity: bool,
    generated: bool,
    kind: String,
}

/// The live columns of each source, by its number.
pub type Live = HashMap<i64, Vec<LiveColumn>>;

/// What the columns of the sources are now.
///
/// # Errors
/// When they cannot be read.
pub async fn live(conn: &mut PgConnection, sources: &[Source]) -> Result<Live, JobError> {
    let mut live = Live::new();
    for source in sources {
        let columns = &source.shape.columns;
        let names: Vec<String> = columns.iter().map(|column| column.name.0.clone()).collect();
        let types: Vec<String> = columns.iter().map(|column| column.declared.clone()).collect();
        let query = sqlx::query_as::<_, LiveColumn>(include_str!("../sql/read_live_columns.sql"));
        let texts: Vec<bool> = columns.iter().map(Column::is_shown_as_text).collect();
        let query = query.bind(source.shape.table.to_string()).bind(names).bind(types).bind(texts);
        live.insert(source.place.source_id, query.fetch_all(&mut *conn).await?);
    }
    Ok(live)
}

/// Why a source's rows cannot go back to what the table is now.
fn misfit(source: &Source, live: &[LiveColumn]) -> Option<String> {
    let table = &source.shape.table;
    if let Some(kind) = live.first().map(|column| column.kind.as_str()).filter(|kind| *kind != "r") {
        let what = if kind == "p" { "partitioned" } else { "no plain table" };
        return Some(format!("{table} is {what} now; its archived rows stay readable"));
    }
    let column = live.iter().find(|column| !column.fits)?;
    let was = source.shape.columns.iter().find(|known| known.name.0 == column.name)?;
    Some(format!(
        "{table} has the column {} as {} now, which was {}, and a value could mean something else there; its archived rows stay \
         readable",
        was.name, column.declared, was.declared
    ))
}

/// The statements of the transaction, for the record.
pub fn script(store: &Store, wanted: &Wanted, sources: &[Source], live: &Live, hold: &Hold) -> Statement {
    let mut lines = begin(store, wanted);
    for source in in_order(wanted, sources) {
        lines.push(insert(source, wanted.group_id, live));
        lines.push(forget(source, wanted.group_id));
    }
    lines.push(settle(store, wanted, hold, u64::try_from(wanted.rows).unwrap_or_default()));
    lines.push(FIRE_DEFERRED.to_owned());
    lines.extend(wanted.rule.definition.unmarks.iter().cloned());
    lines.push("commit".to_owned());
    Statement::built(lines.join(";\n"))
}

/// Restores one group.
///
/// # Errors
/// Whatever failed; the caller must roll back, and nothing has changed then.
pub async fn restore(
    conn: &mut PgConnection,
    store: &Store,
    wanted: &Wanted,
    sources: &[Source],
    live: &Live,
    hold: &Hold,
) -> Result<Restored, JobError> {
    execute(conn, &begin(store, wanted)).await?;
    let role = sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(&mut *conn).await?;
    let outdated = outdated_marks(conn, store, wanted, sources).await?;
    let before = Changes::read(conn).await?;
    let mut restored = Restored::default();
    let mut written_to: HashMap<Qualified, Change> = HashMap::new();
    for source in in_order(wanted, sources) {
        let kept = kept_digest(conn, source, wanted.group_id).await?;
        if kept.rows == 0 {
            continue;
        }
        if let Some(why) = live.get(&source.place.source_id).and_then(|live| misfit(source, live)) {
            return Err(refuse(wanted, &why));
        }
        let written = digest_of(conn, &insert(source, wanted.group_id, live), &source.shape)
            .await
            .map_err(|error| explain(error, wanted, &role))?;
        // What was not written was there: the same row, or another one in its place.
        let there = if written == kept { kept } else { present_digest(conn, source, wanted).await? };
        if there != kept {
            return Err(refuse(
                wanted,
                &format!(
                    "not all of the {} archived rows of {} are there in the same form after the restore: rows with their keys \
                     were written since, a trigger or a column that was altered changes them, or the archive is damaged \
                     (`pgupkeep archive verify` tells)",
                    kept.rows, source.shape.table
                ),
            ));
        }
        restored.written += written.rows;
        let inserted = i64::try_from(written.rows).unwrap_or(i64::MAX);
        written_to.entry(source.shape.table.clone()).or_default().inserted += inserted;
        restored.present += kept.rows - written.rows;
        execute(conn, &[forget(source, wanted.group_id)]).await?;
    }
    // A segment that is gone has left no digest; the catalogue still knows how many rows there were.
    let total = restored.written + restored.present;
    let settled =
        sqlx::raw_sql(Statement::built(settle(store, wanted, hold, total)).to_sql()).execute(&mut *conn).await?;
    if settled.rows_affected() != 1 {
        let reason = format!(
            "its segments hold {total} rows, and the catalogue says another number (`pgupkeep archive verify` tells)"
        );
        return Err(refuse(wanted, &reason));
    }
    // Rows that a trigger changes after they were written are not the ones that were proven.
    if let Some(found) = before.beyond(conn, &store.store, &written_to).await? {
        let why = format!(
            "writing its rows has done more than that, as a trigger or a rule does: {found}; switch it off meanwhile"
        );
        return Err(refuse(wanted, &why));
    }
    affect_only(conn, &wanted.rule.definition.unmarks).await?;
    for (rule, groups) in outdated {
        let listed = format!(
            "delete from pg_temp.pgupkeep_restored; \
             insert into pg_temp.pgupkeep_restored select unnest(array[{}]::text[])",
            groups.iter().map(literal).collect::<Vec<_>>().join(", ")
        );
        execute(conn, &[listed]).await?;
        affect_only(conn, &rule.definition.unmarks).await?;
    }
    sqlx::raw_sql("commit").execute(conn).await?;
    Ok(restored)
}

/// The groups of other rules whose roots come back marked, though the archive has given up meanwhile what the marks are about.
async fn outdated_marks(
    conn: &mut PgConnection,
    store: &Store,
    wanted: &Wanted,
    sources: &[Source],
) -> Result<Vec<(KnownRule, Vec<String>)>, JobError> {
    let mut outdated = Vec::new();
    for rule in store.rules(conn).await? {
        let roots = sources.iter().filter(|source| source.shape.table == rule.definition.root);
        let roots: Vec<&Source> =
            roots.filter(|source| wanted.rule.definition.tables.contains(&source.shape.table)).collect();
        if rule.definition.unmarks.is_empty() || rule.rule_id == wanted.rule.rule_id || roots.is_empty() {
            continue;
        }
        let mut groups: Vec<String> = Vec::new();
        for source in roots {
            let statement = Statement::built(format!(
                "select k.group_key from (select distinct {} as group_key from {} r where r.pgupkeep_group = $1) k \
                 where not exists (select 1 from {} g join {} u on u.rule_id = g.rule_id where g.group_key = k.group_key \
                 and g.row_count > 0 and u.definition -> 'root' = $2 and jsonb_array_length(u.definition -> 'unmarks') > 0)",
                rule.definition.group,
                source.place.rows(),
                store.table("group_state"),
                store.table("rule")
            ));
            let root = sqlx::types::Json(&rule.definition.root);
            let query = sqlx::query_scalar(statement.to_sql()).bind(wanted.group_id).bind(root);
            execute(conn, &["savepoint marks".to_owned()]).await?;
            match query.fetch_all(&mut *conn).await.map_err(PgError::from) {
                Ok(found) => groups.extend::<Vec<String>>(found),
                // Rows of an earlier shape do not tell how they would be called now.
                Err(error) if error.fault() == Fault::Statement => {
                    execute(conn, &["rollback to savepoint marks".to_owned()]).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !groups.is_empty() {
            outdated.push((rule, groups));
        }
    }
    Ok(outdated)
}

fn begin(store: &Store, wanted: &Wanted) -> Vec<String> {
    let mut begin = vec![
        "begin isolation level read committed".to_owned(),
        "set local search_path = pg_catalog, pg_temp".to_owned(),
        "set local lock_timeout = '5s'".to_owned(),
        "set local idle_in_transaction_session_timeout = '60s'".to_owned(),
        "drop table if exists pg_temp.pgupkeep_restored".to_owned(),
        format!(
            "create temporary table pgupkeep_restored on commit drop as select {}::text as group_key",
            literal(&wanted.group_key)
        ),
        // Nobody else archives or restores the group meanwhile.
        format!("select 1 from {} where group_id = {} for update", store.table("group_state"), wanted.group_id),
    ];
    begin.extend(ONE_TEXT.map(str::to_owned));
    begin
}

/// The group's tables, what is referred to first; a table's earlier shapes before its present one.
fn in_order<'a>(wanted: &'a Wanted, sources: &'a [Source]) -> impl Iterator<Item = &'a Source> {
    wanted.rule.definition.tables.iter().flat_map(move |table| {
        let mut of_table: Vec<&Source> = sources.iter().filter(|source| source.shape.table == *table).collect();
        of_table.sort_by_key(|source| source.place.source_id);
        of_table
    })
}

fn insert(source: &Source, group_id: i64, live: &Live) -> String {
    let Shape { table, columns, .. } = &source.shape;
    let live = live.get(&source.place.source_id).map(Vec::as_slice).unwrap_or_default();
    let now = |column: &Column| live.iter().find(|live| live.name == column.name.0);
    let written = || columns.iter().filter(|column| !now(column).is_some_and(|live| live.generated));
    let names = written().map(|column| column.name.to_string()).collect::<Vec<_>>().join(", ");
    // What is kept as text goes into what its type is called by now.
    let of = |column: &'_ Column| match now(column).filter(|_| column.is_shown_as_text()) {
        Some(live) => live.declared.clone(),
        None => column.declared.clone(),
    };
    let values =
        written().map(|column| format!("a.{}{}", column.name, cast_to(&of(column)))).collect::<Vec<_>>().join(", ");
    let overriding = if live.iter().any(|column| column.identity) { " overriding system value" } else { "" };
    let back = given_back(&source.shape);
    format!(
        "copy (insert into {table} as t ({names}){overriding} select {values} from {} a where a.pgupkeep_group = {group_id} \
         on conflict do nothing returning {back}) to stdout (format binary)",
        source.place.rows()
    )
}

/// A live row's columns in the form that lasts, as their digest was made of: in the types that they had when they were
/// archived, since a wider one may hold the very same value, and those that the archive shows as text as that.
fn given_back(shape: &Shape) -> String {
    let column = |column: &Column| {
        let of = if column.is_shown_as_text() { "text" } else { &column.declared };
        format!("t.{}::{of}", column.name)
    };
    shape.columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn forget(source: &Source, group_id: i64) -> String {
    format!("delete from {} where group_id = {group_id}", source.place.segments())
}

fn settle(store: &Store, wanted: &Wanted, hold: &Hold, rows: u64) -> String {
    format!(
        "update {} set row_count = 0, restored_at = case when row_count > 0 then clock_timestamp() else restored_at end, hold_until = {} where group_id = {} and row_count = {rows}",
        store.table("group_state"),
        hold.0,
        wanted.group_id
    )
}

/// What the segments of a group say that they hold.
async fn kept_digest(conn: &mut PgConnection, source: &Source, group_id: i64) -> Result<Digest, JobError> {
    let statement = format!("select row_count, digest from {} where group_id = {group_id}", source.place.segments());
    let rows = sqlx::query_as::<_, (i32, Vec<u8>)>(Statement::built(statement).to_sql()).fetch_all(conn).await?;
    let mut all = Digest::default();
    for (rows, digest) in rows {
        let digest = u64::try_from(rows).ok().and_then(|rows| Digest::from_bytes(&digest, rows));
        all.merge(digest.ok_or_else(|| JobError::Refused {
            fault: Fault::Corrupt,
            message: format!("a segment of {} has no digest; nothing was restored", source.place.segments()),
        })?);
    }
    Ok(all)
}

/// The archived rows of a group that are in the live table, as they are there.
async fn present_digest(conn: &mut PgConnection, source: &Source, wanted: &Wanted) -> Result<Digest, JobError> {
    let shape = &source.shape;
    let key = sqlx::query_scalar::<_, String>(include_str!("../sql/read_unique_key.sql"))
        .bind(shape.table.to_string())
        .fetch_all(&mut *conn)
        .await?;
    let joined = shape
        .columns
        .iter()
        .filter(|column| key.contains(&column.name.0))
        .map(|column| {
            let name = &column.name;
            if column.is_shown_as_text() {
                format!("t.{name}::text = a.{name}")
            } else {
                format!("t.{name} = a.{name}::{}", column.declared)
            }
        })
        .collect::<Vec<_>>();
    if joined.is_empty() {
        return Ok(Digest::default());
    }
    let back = given_back(shape);
    let copy = format!(
        "copy (select {back} from {} a join {} t on {} where a.pgupkeep_group = {}) to stdout (format binary)",
        source.place.rows(),
        shape.table,
        joined.join(" and "),
        wanted.group_id
    );
    digest_of(conn, &copy, shape).await
}

async fn digest_of(conn: &mut PgConnection, copy: &str, shape: &Shape) -> Result<Digest, JobError> {
    let (mut digest, mut hasher, lasting) = (Digest::default(), RowHasher::default(), Lasting::shown(shape));
    stream(conn, copy, shape.columns.len(), |fields| {
        let own = hasher.hash(fields.iter().copied());
        digest.add(lasting.hash(own, fields, &mut hasher));
        Ok(())
    })
    .await?;
    Ok(digest)
}

fn refuse(wanted: &Wanted, why: &str) -> JobError {
    let message =
        format!("{} of {} was not restored, and nothing has changed: {why}", wanted.group_key, wanted.rule.name);
    JobError::Refused { fault: Fault::Statement, message }
}

/// foreign_key_violation, undefined_table, undefined_column, not_null_violation, insufficient_privilege: what the rows belong
/// to has changed or is gone, or is not ours to write.
fn explain(error: JobError, wanted: &Wanted, role: &str) -> JobError {
    let code = match &error {
        JobError::Target(error) => error.sqlstate().map(str::to_owned),
        _ => None,
    };
    match code.as_deref() {
        Some("23503") => refuse(
            wanted,
            &format!(
                "what its rows belong to is gone, or is in the archive as well and has to come back first ({error}); its archived \
                 rows stay readable"
            ),
        ),
        // Besides: a type that is gone, text that is no value of a type any more.
        Some("42P01" | "42703" | "23502" | "42704" | "22P02" | "42846") => {
            refuse(wanted, &format!("its table has changed since ({error}); its archived rows stay readable"))
        }
        Some("42501") => {
            let tables = wanted.rule.definition.tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!(
                "{} of {} was not restored, and nothing has changed: {error}; GRANT SELECT, INSERT ON {tables} TO {}",
                wanted.group_key,
                wanted.rule.name,
                Ident(role.to_owned())
            );
            JobError::Refused { fault: Fault::Privilege, message }
        }
        _ => error,
    }
}
