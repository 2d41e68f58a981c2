//! What must be known of an index, read without locking its table.

use std::collections::HashMap;

use sqlx::postgres::types::Oid;

use super::Reindex;
use super::decide::{Inclusion, inclusion, is_meant};
use super::evidence::{Density, Grade};
use crate::jobs::context::{Context, JobError};
use crate::jobs::pattern::TablePattern;
use crate::jobs::vacuum::Holder;
use crate::ledger::LedgerError;
use crate::ledger::baseline::KnownBaseline;
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified, Statement};

/// How long a question may take; the server's own limit for the statement is shorter.
pub(super) const FACTS_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
/// A transaction that is younger, in seconds, is taken to end by itself.
const YOUNG: f64 = 2.0;

/// What sort of index it is, as far as a concurrent rebuild is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// It can be rebuilt.
    Plain,
    /// It belongs to the system.
    Catalogue,
    /// It belongs to a temporary table of some session.
    Temporary,
    /// It enforces an exclusion constraint.
    Exclusion,
    /// It is invalid already.
    Invalid,
}

/// An index, as the catalogue and the statistics have it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(Debug, Clone, PartialEq)]
pub struct IndexFacts {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// Its name.
    pub index: Qualified,
    /// The number of the table that it is built on; for a TOAST table's, of that.
    pub table_oid: Oid,
    /// The table as people know it; for a TOAST table's, the one that it belongs to.
    pub table: Qualified,
    /// The access method, such as `btree`.
    pub method: String,
    /// What sort it is.
    pub sort: Sort,
    /// The role that owns it.
    pub owner: String,
    /// Whether that role is a superuser, whose membership nobody should be given.
    pub owner_is_superuser: bool,
    /// The role that we are.
    pub role: String,
    /// Whether we are a member of its owner, without which we could not drop what an interrupted rebuild leaves.
    pub permitted: bool,
    /// Whether we may call things in its schema by their names.
    pub schema_open: bool,
    /// Its entries, as last counted; 0 when nobody ever did.
    pub tuples: f64,
    /// The server's block size.
    pub block_size: i32,
    /// How full its pages are made.
    pub fill_factor: i32,
    /// The names that a pattern may mean it by.
    pub known: Vec<Qualified>,
    /// Whether its table has changed too much since the last ANALYZE.
    pub stale: bool,
    /// Whether we see statistics of every column, and it is on plain columns of all rows.
    pub has_statistics: bool,
    /// Whether the server keeps equal entries together, so that statistics do not tell its size.
    pub deduplicated: bool,
    /// Whether a column is of type `name`, whose statistics tell another width than it has here.
    pub has_name: bool,
    /// The average bytes of an entry's data.
    pub width: f64,
    /// Whether its columns hold nulls.
    pub has_nulls: bool,
}

impl IndexFacts {
    /// Whether a pattern means it: by its name, its table's, or that of a partitioned one above.
    pub fn is_meant_by(&self, pattern: &TablePattern) -> bool {
        self.known.iter().any(|name| pattern.matches(name))
    }

    /// Whether it is a TOAST table's and closed to us: a role that owns the table may still lack the schema's `USAGE`,
    /// and what is granted on a table does not reach its TOAST table.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.index.schema.0 == "pg_toast" && !(self.permitted && self.schema_open)
    }
}

/// An index that may be rebuilt, with all that is known of its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The index.
    pub facts: IndexFacts,
    /// Its size; `None` while somebody has locked it.
    pub bytes: Option<i64>,
    /// What pgstatindex says.
    pub density: Option<Density>,
    /// What it measured right after our last rebuild.
    pub baseline: Option<KnownBaseline>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(sqlx::FromRow)]
struct Row {
    oid: Oid,
    schema: String,
    name: String,
    table_oid: Oid,
    table_schema: String,
    table_name: String,
    method: String,
    sort: String,
    owner: String,
    owner_is_superuser: bool,
    role: String,
    permitted: bool,
    schema_open: bool,
    tuples: f64,
    block_size: i32,
    fill_factor: i32,
    known_schemas: Vec<Option<String>>,
    known_names: Vec<Option<String>>,
    stale: bool,
    has_statistics: bool,
    deduplicated: bool,
    has_name: bool,
    width: f64,
    has_nulls: bool,
}

impl From<Row> for IndexFacts {
    fn from(row: Row) -> Self {
        let known = row.known_schemas.into_iter().zip(row.known_names);
        Self {
            oid: row.oid,
            index: Qualified::new(row.schema, row.name),
            table_oid: row.table_oid,
            table: Qualified::new(row.table_schema, row.table_name),
            method: row.method,
            sort: match row.sort.as_str() {
                "catalogue" => Sort::Catalogue,
                "temporary" => Sort::Temporary,
                "exclusion" => Sort::Exclusion,
                "invalid" => Sort::Invalid,
                _ => Sort::Plain,
            },
            owner: row.owner,
            owner_is_superuser: row.owner_is_superuser,
            role: row.role,
            permitted: row.permitted,
            schema_open: row.schema_open,
            tuples: row.tuples,
            block_size: row.block_size,
            fill_factor: row.fill_factor,
            known: known.filter_map(|(schema, name)| Some(Qualified::new(schema?, name?))).collect(),
            stale: row.stale,
            has_statistics: row.has_statistics,
            deduplicated: row.deduplicated,
            has_name: row.has_name,
            width: row.width,
            has_nulls: row.has_nulls,
        }
    }
}

/// Reads every index that the job may have to do with; measures those that it may measure.
pub(super) async fn read_candidates(spec: &Reindex, cx: &mut Context) -> Result<Vec<Candidate>, JobError> {
    let indexes = read(cx, None).await?;
    let mut baselines = read_baselines(cx).await?;
    let measures = !spec.always && spec.evidence.contains(&Grade::Measured);
    let pgstatindex = if measures { find_pgstatindex(cx).await? } else { None };
    let mut candidates = Vec::new();
    let mut out_of_reach = 0;
    for facts in indexes {
        let inclusion = inclusion(spec, &facts);
        if inclusion == Inclusion::Out {
            out_of_reach += u32::from(facts.is_out_of_reach() && is_meant(spec, &facts));
            continue;
        }
        cx.gate()?;
        let bytes = index_bytes(cx, facts.oid).await?;
        let small = bytes.is_some_and(|bytes| bytes < spec.min_size.bytes());
        let large = spec.max_size.is_some_and(|most| bytes.is_some_and(|bytes| bytes > most.bytes()));
        if small && inclusion != Inclusion::Named || large {
            if large {
                tracing::info!(index = %facts.index, bytes, "larger than max_size, so it is left alone");
            }
            continue;
        }
        let measurable = facts.sort == Sort::Plain && facts.method == "btree";
        let density = match (&pgstatindex, bytes) {
            (Some(schema), Some(bytes)) if measurable && bytes <= spec.measure_up_to.bytes() => {
                measure(cx, schema, facts.oid).await?
            }
            _ => None,
        };
        let baseline = baselines.remove(&facts.index).filter(|known| known.baseline.index_oid == facts.oid);
        candidates.push(Candidate { facts, bytes, density, baseline });
    }
    if out_of_reach > 0 {
        let number = if out_of_reach == 1 { "index of a TOAST table is" } else { "indexes of TOAST tables are" };
        cx.note(format!(
            "{out_of_reach} {number} left out, because this role may not rebuild them: that takes their owner, and \
             GRANT USAGE ON SCHEMA pg_toast"
        ));
    }
    Ok(candidates)
}

/// Reads the facts about one index; `None` when it is no longer there.
pub(super) async fn read_index(cx: &mut Context, oid: Oid) -> Result<Option<IndexFacts>, JobError> {
    Ok(read(cx, Some(oid)).await?.into_iter().next())
}

/// Reads the facts about the index that has taken another one's place.
pub(super) async fn read_successor(cx: &mut Context, before: &IndexFacts) -> Result<Option<IndexFacts>, JobError> {
    read_named(cx, &before.index, before.table_oid).await
}

/// Reads the facts about the index that has this name on this table now.
pub(super) async fn read_named(
    cx: &mut Context,
    index: &Qualified,
    table: Oid,
) -> Result<Option<IndexFacts>, JobError> {
    let query = sqlx::query_scalar::<_, Oid>(
        "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and c.relname = $2",
    )
    .bind(&index.schema.0)
    .bind(&index.name.0);
    let oid = within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await?;
    let Some(oid) = oid else { return Ok(None) };
    Ok(read_index(cx, oid).await?.filter(|after| after.table_oid == table))
}

async fn read(cx: &mut Context, only: Option<Oid>) -> Result<Vec<IndexFacts>, JobError> {
    let query = sqlx::query_as::<_, Row>(include_str!("../sql/read_indexes.sql")).bind(only);
    let rows = within(FACTS_LIMIT, query.fetch_all(cx.reader().await?)).await?;
    Ok(rows.into_iter().map(IndexFacts::from).collect())
}

/// What we know of the target's indexes from earlier rebuilds; nothing where there is no ledger yet to know it.
async fn read_baselines(cx: &Context) -> Result<HashMap<Qualified, KnownBaseline>, JobError> {
    let known = match cx.ledger().read_baselines(cx.target.as_str()).await {
        Err(error) if has_no_ledger(&error) => Vec::new(),
        known => known?,
    };
    let name = |known: &KnownBaseline| Qualified::new(&*known.baseline.schema_name, &*known.baseline.index_name);
    Ok(known.into_iter().map(|known| (name(&known), known)).collect())
}

/// Whether the control database holds no tables of ours, or older ones: a plan may be asked for before the first run.
pub(super) fn has_no_ledger(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Pg(error) if matches!(error.sqlstate(), Some("42P01" | "3F000")))
}

/// The schema of pgstatindex, where the extension is and we may use it.
async fn find_pgstatindex(cx: &mut Context) -> Result<Option<Ident>, JobError> {
    let query = sqlx::query_as::<_, (String, bool)>(include_str!("../sql/find_pgstatindex.sql"));
    match within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await? {
        Some((schema, true)) => Ok(Some(Ident(schema))),
        Some((_, false)) => {
            cx.note("pgstattuple is installed, but this role may not use it; grant it pg_stat_scan_tables");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Measures a b-tree; `None` when that takes longer than 15 s, or somebody has locked the index.
async fn measure(cx: &mut Context, schema: &Ident, oid: Oid) -> Result<Option<Density>, JobError> {
    let statement = Statement::built(format!(
        "select leaf_pages, empty_pages, deleted_pages, avg_leaf_density from {schema}.pgstatindex($1::oid::regclass)"
    ));
    let query = sqlx::query_as::<_, Density>(statement.to_sql()).bind(oid);
    tolerate(within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await.map(Some), "could not be measured")
}

/// The bytes of an index; `None` when it is locked or no longer there.
pub(super) async fn index_bytes(cx: &mut Context, oid: Oid) -> Result<Option<i64>, JobError> {
    let query = sqlx::query_scalar("select pg_catalog.pg_relation_size($1)").bind(oid);
    tolerate(within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await, "has a size that could not be read")
}

fn tolerate<T>(answer: Result<Option<T>, PgError>, what: &'static str) -> Result<Option<T>, JobError> {
    match answer {
        Err(error @ PgError::Server { .. }) => {
            tracing::debug!(%error, "an index {what}");
            Ok(None)
        }
        answer => Ok(answer?),
    }
}

/// Whose transactions count for a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// A rebuild waits for every snapshot of the database, and for every lock on its table.
    Snapshots,
    /// Dropping waits for the locks only.
    Locks,
}

/// Who has to be waited for already, by a statement on the table that has not begun yet.
pub(super) async fn obstacle(cx: &mut Context, table: Oid, awaits: Awaits) -> Result<Option<Holder>, JobError> {
    if let Some(holder) = crate::jobs::vacuum::lock_holder(cx, table).await? {
        return Ok(Some(holder));
    }
    let query = sqlx::query_as(include_str!("../sql/find_build_blocker.sql"))
        .bind(table)
        .bind(cx.session.pid)
        .bind(YOUNG)
        .bind(awaits == Awaits::Snapshots);
    Ok(within(FACTS_LIMIT, query.fetch_optional(cx.reader().await?)).await?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger::baseline::Baseline;

    /// A b-tree of 10,000 entries in 400,000 bytes, of which nothing else is known.
    pub(in super::super) fn candidate(name: &str) -> Candidate {
        let (index, table) = (Qualified::new("public", name), Qualified::new("public", "t"));
        let facts = IndexFacts {
            oid: Oid(16_390),
            known: vec![index.clone(), table.clone()],
            index,
            table_oid: Oid(16_384),
            table,
            method: "btree".to_owned(),
            sort: Sort::Plain,
            owner: "owner".to_owned(),
            owner_is_superuser: false,
            role: "upkeep".to_owned(),
            permitted: true,
            schema_open: true,
            tuples: 10_000.0,
            block_size: 8192,
            fill_factor: 90,
            stale: false,
            has_statistics: true,
            deduplicated: false,
            has_name: false,
            width: 4.0,
            has_nulls: false,
        };
        Candidate { facts, bytes: Some(400_000), density: None, baseline: None }
    }

    /// What 10,000 entries measured an hour ago.
    pub(in super::super) fn baseline(bytes: i64) -> KnownBaseline {
        let (schema_name, index_name) = ("public".to_owned(), "i".to_owned());
        let baseline = Baseline { schema_name, index_name, index_oid: Oid(16_390), bytes, tuples: 10_000.0 };
        KnownBaseline { baseline, rebuilt_ago: 3600.0 }
    }
}
