//! The archive's catalogue: what was moved, when, by which rule, in which shape, with which digest.
//!
//! It lives beside the segments in the target's own database, so that a dump of the database carries all of it, and so
//! that a batch and its catalogue rows are committed together.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::digest::Digest;
use super::layout::{self, Place, fitting};
use super::readers::{show, show_missing};
use super::rule::{Inner, Part};
use super::shape::{Column, Shape};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified, Statement};

pub(super) const CATALOGUE_LIMIT: Duration = Duration::from_secs(20);

/// The version of the catalogue and of the segments' form.
const FORMAT: i32 = 1;

/// The catalogue of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The schema for people.
    pub schema: Ident,
    /// The schema of the segments and the catalogue.
    pub store: Ident,
}

/// One table in one shape, as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where its rows are.
    pub place: Place,
    /// What they look like.
    pub shape: Shape,
    /// Whether it is the table's present shape.
    pub current: bool,
}

impl Source {
    /// The one of a table's sources, the present one first, that rows of this shape go to: the views show its columns,
    /// though another rule's shape of the same columns may be the present one.
    pub fn find<'s>(known: &'s [Self], shape: &Shape) -> Option<&'s Self> {
        let found = known.iter().find(|source| source.shape == *shape)?;
        known[0].shape.has_columns_of(shape).then_some(found)
    }
}

/// What a restore has to know of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The root's table.
    pub root: Qualified,
    /// Text over `r`, the root's row: its group.
    pub group: String,
    /// Whether the group is when the rows were archived: a live row does not tell it.
    #[serde(default)]
    pub by_archival: bool,
    /// What else a row had to fulfil, by the configuration.
    #[serde(default)]
    pub condition: Option<String>,
    /// Whether the root leaves with its rows.
    pub leaves: bool,
    /// The tables in the order in which they are restored: what is referred to first.
    pub tables: Vec<Qualified>,
    /// What of a group has a name of its own, by which people may ask for it.
    #[serde(default)]
    pub inner: Vec<Inner>,
    /// Statements that take the marks off; they read `pg_temp.pgupkeep_restored (group_key text)`.
    pub unmarks: Vec<String>,
    /// A SELECT of the group keys whose restore somebody asks for in the application.
    pub wanted: Option<String>,
}

/// A rule as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRule {
    /// Its number.
    pub rule_id: i64,
    /// Its name.
    pub name: String,
    /// What a restore has to know.
    pub definition: Definition,
}

/// A batch that is about to be written.
#[derive(Debug, Clone)]
pub struct NewBatch<'a> {
    /// The run that moves it; nothing for a restore's rest.
    pub run_id: Option<Uuid>,
    /// What was older than this was moved, as PostgreSQL writes a `timestamptz` in UTC.
    pub cutoff: &'a str,
    /// The version of the application's schema.
    pub schema_version: Option<&'a str>,
}

#[derive(sqlx::FromRow)]
struct SourceRow {
    source_id: i64,
    table_schema: String,
    table_name: String,
    view_name: String,
    columns: sqlx::types::Json<Vec<Column>>,
    series: Vec<String>,
    ordered_by: Vec<String>,
    current: bool,
}

impl Store {
    /// The archive in a schema.
    pub fn new(schema: &str) -> Self {
        let schema = Ident(schema.to_owned());
        Self { store: Place::store(&schema), schema }
    }

    /// A table of the catalogue.
    pub fn table(&self, name: &str) -> Qualified {
        Qualified { schema: self.store.clone(), name: Ident(name.to_owned()) }
    }

    /// Whether there is a catalogue.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn exists(&self, conn: &mut PgConnection) -> Result<bool, JobError> {
        exists(conn, &self.table("batch_source")).await
    }

    /// Which of its schemas are not there.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn missing_schemas(&self, conn: &mut PgConnection) -> Result<Vec<Ident>, JobError> {
        let statement = "select n from unnest($1::text[]) n where not exists \
                         (select from pg_catalog.pg_namespace s where s.nspname = n)";
        let query = sqlx::query_scalar::<_, String>(statement).bind(vec![self.schema.0.clone(), self.store.0.clone()]);
        Ok(within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?.into_iter().map(Ident).collect())
    }

    /// Everything that the catalogue knows of a table, the present shape first; of all tables without a name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn sources(&self, conn: &mut PgConnection, table: Option<&Qualified>) -> Result<Vec<Source>, JobError> {
        let statement = Statement::built(format!(
            "select source_id, table_schema, table_name, view_name, columns, series, ordered_by, current from {} \
             where $1::text is null or (table_schema = $1 and table_name = $2) order by table_schema, table_name, current desc, source_id desc",
            self.table("source")
        ));
        let query = sqlx::query_as::<_, SourceRow>(statement.to_sql());
        let query = query.bind(table.map(|table| table.schema.0.clone())).bind(table.map(|table| table.name.0.clone()));
        let rows = within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?;
        rows.into_iter().map(|row| self.source(row)).collect()
    }

    fn source(&self, row: SourceRow) -> Result<Source, JobError> {
        let columns = row.columns.0;
        let places = |names: &[String]| {
            let place = |name: &String| columns.iter().position(|column| column.name.0 == *name);
            names.iter().map(place).collect::<Option<Vec<usize>>>()
        };
        let (Some(series), Some(order)) = (places(&row.series), places(&row.ordered_by)) else {
            let message =
                format!("the archive's catalogue of {}.{} contradicts itself", row.table_schema, row.table_name);
            return Err(JobError::Refused { fault: Fault::Internal, message });
        };
        let place = Place { schema: self.schema.clone(), source_id: row.source_id, view: Ident(row.view_name) };
        let table = Qualified::new(row.table_schema, row.table_name);
        Ok(Source { place, shape: Shape { table, columns, series, order }, current: row.current })
    }

    /// The place of a table in its present shape, made where it is missing.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub async fn ensure_source(&self, conn: &mut PgConnection, shape: &Shape) -> Result<Place, JobError> {
        let mut known = self.sources(conn, Some(&shape.table)).await?;
        if let Some(source) = Source::find(&known, shape) {
            let place = source.place.clone();
            let missing = self.missing_readers(conn, &shape.table).await?;
            if !missing.is_empty() {
                let Source { place, shape, .. } = known.remove(0);
                self.check_names(conn, &place, &shape, &earlier(known.clone())).await?;
                execute(conn, &show_missing(&place, &shape, &earlier(known), &missing)).await?;
                // What is made anew is read by nobody yet.
                self.set(conn, &shape.table, "readers = '{}'").await?;
            }
            return Ok(place);
        }
        if let Some(nth) = known.iter().position(|source| source.shape == *shape) {
            let place = known.remove(nth).place;
            self.set(conn, &shape.table, "current = false").await?;
            let revive = format!("update {} set current = true where source_id = $1", self.table("source"));
            let revive = Statement::built(revive);
            let query = sqlx::query(revive.to_sql()).bind(place.source_id);
            within(CATALOGUE_LIMIT, query.execute(&mut *conn)).await?;
            let older = earlier(known);
            self.check_names(conn, &place, shape, &older).await?;
            execute(conn, &show(&place, shape, &older)).await?;
            return Ok(place);
        }
        let view = match known.first() {
            Some(source) => source.place.view.clone(),
            None => self.free_view(conn, &shape.table).await?,
        };
        self.set(conn, &shape.table, "current = false").await?;
        let names =
            |places: &[usize]| places.iter().map(|place| shape.columns[*place].name.0.clone()).collect::<Vec<_>>();
        let insert = Statement::built(format!(
            "insert into {} (table_schema, table_name, view_name, columns, series, ordered_by, format) \
             values ($1, $2, $3, $4, $5, $6, $7) returning source_id",
            self.table("source")
        ));
        let query = sqlx::query_scalar::<_, i64>(insert.to_sql())
            .bind(&shape.table.schema.0)
            .bind(&shape.table.name.0)
            .bind(&view.0)
            .bind(sqlx::types::Json(&shape.columns))
            .bind(names(&shape.series))
            .bind(names(&shape.order))
            .bind(FORMAT);
        let source_id = within(CATALOGUE_LIMIT, query.fetch_one(&mut *conn)).await?;
        let place = Place { schema: self.schema.clone(), source_id, view };
        let lz4 = sqlx::query_scalar::<_, bool>(include_str!("../sql/read_lz4.sql"));
        let lz4 = within(CATALOGUE_LIMIT, lz4.fetch_one(&mut *conn)).await?;
        let older = earlier(known);
        self.check_names(conn, &place, shape, &older).await?;
        let mut statements = layout::create(&place, shape, lz4);
        statements.extend(show(&place, shape, &older));
        execute(conn, &statements).await?;
        Ok(place)
    }

    /// Sets a column of all of a table's sources.
    async fn set(&self, conn: &mut PgConnection, table: &Qualified, to: &str) -> Result<(), JobError> {
        let set = format!("update {} set {to} where table_schema = $1 and table_name = $2", self.table("source"));
        let set = Statement::built(set);
        let query = sqlx::query(set.to_sql()).bind(&table.schema.0).bind(&table.name.0);
        within(CATALOGUE_LIMIT, query.execute(conn)).await?;
        Ok(())
    }

    /// A name for a table's view, so that neither it nor what is named after it is taken: the table's own, with its
    /// schema, or with a number.
    async fn free_view(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Ident, JobError> {
        let own = &table.name.0;
        let with_schema = format!("{}_{own}", table.schema.0);
        let numbered = (2..100).map(|nth| fitting("", own, &format!("_{nth}")));
        for view in [fitting("", own, ""), fitting("", &with_schema, "")].into_iter().chain(numbered) {
            let place = Place { schema: self.schema.clone(), source_id: 0, view };
            let names = [place.shown(), place.all(), place.of()].map(|name| name.name.0);
            let query = sqlx::query_scalar::<_, String>(include_str!("../sql/find_taken_names.sql"));
            let query = query.bind(&self.schema.0).bind(&names[..]);
            if within(CATALOGUE_LIMIT, query.fetch_all(&mut *conn)).await?.is_empty() {
                return Ok(place.view);
            }
        }
        Err(JobError::Refused {
            fault: Fault::Statement,
            message: format!("the schema {} has no name free for a view of {table}; nothing was made", self.schema),
        })
    }

    /// The number of a rule; what a restore has to know of it is written down. Tables that no longer move with it may still
    /// have rows of it in the archive, so they stay in the list.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn rule_id(&self, conn: &mut PgConnection, name: &str, definition: &Definition) -> Result<i64, JobError> {
        let statement = Statement::built(format!(
            "insert into {} as u (name, definition) values ($1, $2) \
             on conflict (name, (definition ->> 'group'), coalesce(definition ->> 'condition', '')) do update set definition = jsonb_set(excluded.definition, '{{tables}}', \
             (excluded.definition -> 'tables') || coalesce((select jsonb_agg(t) from \
             jsonb_array_elements(u.definition -> 'tables') t where not (excluded.definition -> 'tables') \
             @> jsonb_build_array(t)), '[]')) returning rule_id",
            self.table("rule")
        ));
        let query = sqlx::query_scalar::<_, i64>(statement.to_sql()).bind(name).bind(sqlx::types::Json(definition));
        Ok(within(CATALOGUE_LIMIT, query.fetch_one(conn)).await?)
    }

    /// Every rule by which something was archived.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn rules(&self, conn: &mut PgConnection) -> Result<Vec<KnownRule>, JobError> {
        let statement = Statement::built(format!(
            "select rule_id, name, definition from {} order by name, rule_id",
            self.table("rule")
        ));
        let query = sqlx::query_as::<_, (i64, String, Value)>(statement.to_sql());
        let rows = within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?;
        let read = |(rule_id, name, definition)| match serde_json::from_value(definition) {
            Ok(definition) => Ok(KnownRule { rule_id, name, definition }),
            Err(error) => Err(JobError::Refused {
                fault: Fault::Corrupt,
                message: format!(
                    "the catalogue of the archive is damaged: the rule {name} does not say what a restore has to know ({error}); \
                     nothing was touched (`pgupkeep archive verify`)"
                ),
            }),
        };
        rows.into_iter().map(read).collect()
    }

    /// Writes that a batch begins; gives back its number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin_batch(
        &self,
        conn: &mut PgConnection,
        rule_id: i64,
        batch: &NewBatch<'_>,
    ) -> Result<i64, JobError> {
        let statement = Statement::built(format!(
            "insert into {} (rule_id, run_id, cutoff, schema_version, program) values ($1, $2, $3::text::timestamptz, $4, $5) returning batch_id",
            self.table("batch")
        ));
        let query = sqlx::query_scalar::<_, i64>(statement.to_sql())
            .bind(rule_id)
            .bind(batch.run_id)
            .bind(batch.cutoff)
            .bind(batch.schema_version)
            .bind(env!("CARGO_PKG_VERSION"));
        Ok(within(CATALOGUE_LIMIT, query.fetch_one(conn)).await?)
    }

    /// Writes what a batch holds of a table.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn end_batch(
        &self,
        conn: &mut PgConnection,
        (batch_id, source_id): (i64, i64),
        segments: usize,
        digest: Digest,
    ) -> Result<(), JobError> {
        let statement = Statement::built(format!(
            "insert into {} (batch_id, source_id, row_count, segments, digest) values ($1, $2, $3, $4, $5)",
            self.table("batch_source")
        ));
        let query = sqlx::query(statement.to_sql())
            .bind(batch_id)
            .bind(source_id)
            .bind(i64::try_from(digest.rows).unwrap_or(i64::MAX))
            .bind(i32::try_from(segments).unwrap_or(i32::MAX))
            .bind(digest.to_bytes().to_vec());
        within(CATALOGUE_LIMIT, query.execute(conn)).await?;
        Ok(())
    }

    /// Gives groups their numbers.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn group_ids(
        &self,
        conn: &mut PgConnection,
        rule_id: i64,
        groups: &[String],
    ) -> Result<HashMap<String, i64>, JobError> {
        let statement = Statement::built(format!(
            "insert into {} as g (rule_id, group_key, archived_at) select $1, k, clock_timestamp() from unnest($2::text[]) k \
             on conflict (rule_id, group_key) do update set archived_at = excluded.archived_at returning group_key, group_id",
            self.table("group_state")
        ));
        let query = sqlx::query_as::<_, (String, i64)>(statement.to_sql()).bind(rule_id).bind(groups);
        Ok(within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?.into_iter().collect())
    }

    /// Adds to how many rows of each group are in the archive, and notes when something last happened to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn count_groups(&self, conn: &mut PgConnection, counts: &[(i64, i64)]) -> Result<(), JobError> {
        let statement = Statement::built(format!(
            "update {} g set row_count = g.row_count + c.n, last_activity = greatest(g.last_activity, a.last_activity) \
             from unnest($1::bigint[], $2::bigint[]) c(id, n), (select p.group_key, max(p.activity) as last_activity \
             from pg_temp.pgupkeep_picked p group by p.group_key) a where g.group_id = c.id and a.group_key = g.group_key",
            self.table("group_state")
        ));
        let (ids, numbers): (Vec<i64>, Vec<i64>) = counts.iter().copied().unzip();
        within(CATALOGUE_LIMIT, sqlx::query(statement.to_sql()).bind(ids).bind(numbers).execute(conn)).await?;
        Ok(())
    }
}

/// Whether there is a relation of that name, whatever the role may do with it.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn exists(conn: &mut PgConnection, name: &Qualified) -> Result<bool, JobError> {
    let statement = "select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                     where n.nspname = $1 and c.relname = $2)";
    let query = sqlx::query_scalar::<_, bool>(statement).bind(&name.schema.0).bind(&name.name.0);
    Ok(within(CATALOGUE_LIMIT, query.fetch_one(conn)).await?)
}

pub(super) fn earlier(sources: Vec<Source>) -> Vec<(Place, Shape)> {
    sources.into_iter().map(|source| (source.place, source.shape)).collect()
}

/// Sends statements one after the other.
///
/// # Errors
/// The first one's that fails.
pub(super) async fn execute(conn: &mut PgConnection, statements: &[String]) -> Result<(), JobError> {
    for statement in statements {
        let statement = Statement::built(statement.clone());
        sqlx::raw_sql(statement.to_sql()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Sends a statement; gives back how many rows it affected.
///
/// # Errors
/// The server's.
pub(super) async fn affect(conn: &mut PgConnection, statement: &str) -> Result<u64, JobError> {
    let statement = Statement::built(statement);
    Ok(sqlx::raw_sql(statement.to_sql()).execute(conn).await?.rows_affected())
}

/// Whether a part's table is still as it was when its shape was read.
///
/// # Errors
/// When it is not, with words; or when it cannot be read.
pub(super) async fn check_shape(conn: &mut PgConnection, part: &Part, planned: &Shape) -> Result<(), JobError> {
    if Shape::read(conn, part).await? == *planned {
        return Ok(());
    }
    let message = format!(
        "{} was altered since the plan was made; nothing of this batch was moved, and the next attempt plans anew",
        part.table
    );
    Err(JobError::Refused { fault: Fault::Locked, message })
}
