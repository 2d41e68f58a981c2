//! What the live tables need once rows have left: their indexes rebuilt, and VACUUM. The catalogue knows what is owed, so that a
//! run that was cut short leaves it to the next one, be there rows to move or not.

use std::time::Duration;

use sqlx::PgConnection;

use super::perform::inner;
use super::spec::Archive;
use super::step::Step;
use super::store::{CATALOGUE_LIMIT, Store, execute};
use crate::jobs::context::{Context, JobError};
use crate::jobs::drive;
use crate::jobs::pattern::TablePattern;
use crate::jobs::reindex::{Rebuild, Reindex};
use crate::jobs::vacuum::Vacuum;
use crate::jobs::{Measures, StepReport};
use crate::pg::connect::within;
use crate::pg::statement::{Qualified, Statement, literal};

/// Until so small a share of the rows has left, nothing needs to be done: VACUUM reads every index.
const WORTH: f64 = 0.01;
/// The share of a table's rows whose leaving makes air of its indexes.
const MUCH: f64 = 0.2;

/// Rows that have left since somebody looked after the tables.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Owed {
    /// Since the last VACUUM of each table, whoever's that was.
    vacuum: i64,
    /// Since its indexes were last looked after.
    indexes: i64,
}

/// The steps that these tables, of so many rows, need when so many more have left.
pub(super) async fn plan(
    spec: &Archive,
    store: &Store,
    exists: bool,
    tables: &[Qualified],
    (leaving, all): (u64, f64),
    cx: &mut Context,
) -> Result<Vec<Step>, JobError> {
    let owed = if exists { store.owed(cx.reader().await?, tables).await? } else { Owed { vacuum: 0, indexes: 0 } };
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let is_worth = |owed: i64| (leaving + owed.unsigned_abs()) as f64 / all.max(1.0) >= WORTH;
    let (vacuums, rebuilds) = (spec.vacuum && is_worth(owed.vacuum), spec.reindex && is_worth(owed.indexes));
    if spec.vacuum && !vacuums && leaving > 0 {
        cx.note(format!(
            "no VACUUM yet: with these, {} rows have left since the last one, less than a hundredth of what is there",
            leaving + owed.vacuum.unsigned_abs()
        ));
    }
    let mut steps = Vec::new();
    // First what shrank: VACUUM has little to do in indexes that are new, and much in those that lost their rows.
    if rebuilds {
        for index in find_fixed_indexes(tables, cx).await? {
            cx.note(format!(
                "{} is of an exclusion constraint, which the server does not rebuild concurrently; it stays as large as it is until \
                 somebody runs REINDEX INDEX {index}",
                index.plain()
            ));
        }
        steps.push(Step::Reindex(Rebuild::All, tables.to_vec()));
    }
    if vacuums {
        steps.push(Step::Vacuum(tables.to_vec()));
    }
    if rebuilds {
        steps.push(Step::Reindex(Rebuild::Bloated, tables.to_vec()));
    }
    Ok(steps)
}

/// VACUUM (ANALYZE) of the tables.
pub(super) async fn vacuum(tables: &[Qualified], cx: &mut Context) -> Result<StepReport, JobError> {
    if cx.server().version >= 150_000 {
        // What the last batch counts as dead would else be told after the VACUUM, as if it had been left.
        let mut conn = cx.session.lend()?;
        let told = sqlx::raw_sql("select pg_catalog.pg_stat_force_next_flush()").execute(&mut conn).await;
        cx.take_back(conn, told.map(drop).map_err(JobError::from)).await?;
    }
    let job = Vacuum::of_tables(tables);
    // What others have vacuumed meanwhile was before the last rows left, for all we know.
    inner(cx.as_a_part(Duration::ZERO, async |cx| drive::drive(&job, cx).await).await)
}

/// Rebuilds all indexes of the tables that have lost a large share of their rows, or any by the evidence of their bloat.
pub(super) async fn reindex(
    spec: &Archive,
    which: Rebuild,
    tables: &[Qualified],
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let store = Store::new(&spec.schema);
    // What was rebuilt since the last rows left is done.
    let (affected, left_ago) = match which {
        Rebuild::All => store.shrunk(cx.reader().await?, tables).await?,
        Rebuild::Bloated => (tables.to_vec(), Duration::ZERO),
    };
    let mut report = StepReport::Done(Measures::default());
    if !affected.is_empty() {
        let exclude = find_fixed_indexes(&affected, cx).await?.iter().map(TablePattern::of).collect();
        let (disk, keep_free) = (spec.disk.clone(), spec.keep_free);
        let job = Reindex { exclude, disk, keep_free, ..Reindex::of_tables(&affected, which) };
        report = inner(cx.as_a_part(left_ago, async |cx| drive::drive(&job, cx).await).await)?;
    }
    if which == Rebuild::All && matches!(report, StepReport::Done(_)) {
        let mut conn = cx.session.lend()?;
        let tended = store.tend(&mut conn, tables).await;
        cx.take_back(conn, tended).await?;
    }
    Ok(report)
}

/// The indexes of these tables that no REINDEX CONCURRENTLY rebuilds: those of exclusion constraints.
async fn find_fixed_indexes(tables: &[Qualified], cx: &mut Context) -> Result<Vec<Qualified>, JobError> {
    let query = sqlx::query_as::<_, (String, String)>(include_str!("../sql/find_exclusion_constraints.sql"));
    let found = within(CATALOGUE_LIMIT, query.bind(names(tables)).fetch_all(cx.reader().await?)).await?;
    Ok(found.into_iter().map(|(schema, name)| Qualified::new(schema, name)).collect())
}

fn names(tables: &[Qualified]) -> Vec<String> {
    tables.iter().map(ToString::to_string).collect()
}

impl Store {
    /// The batches `a` that rows have left the tables $1 with, how many rows `b`, and each table `c` as it is known, `s`.
    fn left(&self) -> String {
        format!(
            "{} b join {} a on a.batch_id = b.batch_id join {} s on s.source_id = b.source_id \
             join pg_catalog.pg_namespace n on n.nspname = s.table_schema \
             join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = s.table_name \
             and c.oid = any (array(select pg_catalog.to_regclass(t) from pg_catalog.unnest($1::text[]) t))",
            self.table("batch_source"),
            self.table("batch"),
            self.table("source")
        )
    }

    async fn owed(&self, conn: &mut PgConnection, tables: &[Qualified]) -> Result<Owed, JobError> {
        let since = |moment: &str| format!("filter (where a.archived_at > coalesce({moment}, '-infinity'))");
        let statement = Statement::built(format!(
            "select coalesce(sum(b.row_count) {}, 0)::bigint as vacuum, coalesce(sum(b.row_count) {}, 0)::bigint as indexes \
             from {} left join pg_catalog.pg_stat_all_tables v on v.relid = c.oid",
            since("greatest(v.last_vacuum, v.last_autovacuum)"),
            since("s.tended_at"),
            self.left()
        ));
        Ok(within(CATALOGUE_LIMIT, sqlx::query_as(statement.to_sql()).bind(names(tables)).fetch_one(conn)).await?)
    }

    /// The tables that have lost a large share of their rows since their indexes were last looked after, and how long ago
    /// the last ones left.
    async fn shrunk(
        &self,
        conn: &mut PgConnection,
        tables: &[Qualified],
    ) -> Result<(Vec<Qualified>, Duration), JobError> {
        let statement = Statement::built(format!(
            "select s.table_schema, s.table_name, \
             extract(epoch from pg_catalog.clock_timestamp() - max(a.archived_at))::float8 as ago \
             from {} where a.archived_at > coalesce(s.tended_at, '-infinity') group by s.table_schema, s.table_name, c.reltuples \
             having sum(b.row_count) / greatest(c.reltuples, sum(b.row_count)::float8, 1) >= {MUCH}",
            self.left()
        ));
        let query = sqlx::query_as::<_, (String, String, f64)>(statement.to_sql()).bind(names(tables));
        let found = within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?;
        let last = found.iter().map(|(.., ago)| Duration::from_secs_f64(ago.max(0.0))).min().unwrap_or_default();
        Ok((found.into_iter().map(|(schema, name, _)| Qualified::new(schema, name)).collect(), last))
    }

    /// Notes that the tables' indexes were looked after.
    async fn tend(&self, conn: &mut PgConnection, tables: &[Qualified]) -> Result<(), JobError> {
        let lines = tables.iter().map(|Qualified { schema, name }| {
            format!(
                "update {} set tended_at = pg_catalog.clock_timestamp() where table_schema = {} and table_name = {}",
                self.table("source"),
                literal(&schema.0),
                literal(&name.0)
            )
        });
        execute(conn, &lines.collect::<Vec<_>>()).await
    }
}
