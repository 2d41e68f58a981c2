//! Verifying the catalogue: what it says of groups, batches, rules and tables, against the segments and each other.

use serde_json::Value;
use sqlx::PgConnection;

use super::store::{Definition, Source, Store, exists};
use super::verify::{Groups, Verified};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::PgError;
use crate::pg::statement::Statement;

/// The tables whose segments are gone, and those whose are not.
///
/// # Errors
/// When the server cannot be asked.
pub async fn find_gone(
    conn: &mut PgConnection,
    sources: Vec<Source>,
) -> Result<(Vec<Verified>, Vec<Source>), JobError> {
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for source in sources {
        if exists(conn, &source.place.segments()).await? {
            there.push(source);
            continue;
        }
        let (table, source_id) = (source.shape.table.plain(), source.place.source_id);
        let damaged = vec![format!("{} is gone, and the rows in it", source.place.segments().plain())];
        gone.push(Verified { table, source_id, damaged, ..Verified::default() });
    }
    Ok((gone, there))
}

/// The groups whose segments hold another number of rows than the catalogue says, since a segment that is gone leaves no
/// digest; and those that it does not know.
///
/// # Errors
/// When the server cannot be asked.
pub async fn verify_groups(
    conn: &mut PgConnection,
    store: &Store,
    sources: &[Source],
    groups: Groups<'_>,
) -> Result<Verified, JobError> {
    let counts = sources.iter().map(|source| format!("select group_id, row_count from {}", source.place.segments()));
    let counts = std::iter::once("select null::bigint as group_id, 0 as row_count".to_owned()).chain(counts);
    let statement = Statement::built(format!(
        "select s.group_id, g.group_key, g.row_count, coalesce(s.rows, 0)::bigint, u.rule_id is not null from {} g \
         left join {} u on u.rule_id = g.rule_id full join \
         (select group_id, sum(row_count) as rows from ({}) c where group_id is not null group by group_id) s \
         on s.group_id = g.group_id where {} \
         and (g.row_count is distinct from coalesce(s.rows, 0) or g.row_count > 0 and u.rule_id is null) order by coalesce(g.group_id, s.group_id)",
        store.table("group_state"),
        store.table("rule"),
        counts.collect::<Vec<_>>().join(" union all "),
        groups.condition("coalesce(g.group_id, s.group_id)")
    ));
    let found = sqlx::query_as::<_, (Option<i64>, Option<String>, Option<i64>, i64, bool)>(statement.to_sql());
    let found = found.fetch_all(conn).await?;
    let tell = |(number, group, rows, found, has_rule): (Option<i64>, Option<String>, Option<i64>, i64, bool)| match (
        group, rows,
    ) {
        (Some(group), Some(rows)) if has_rule || rows != found => {
            format!("the group {group} should have {rows} rows and its segments have {found}")
        }
        (Some(group), _) => format!("the catalogue knows no rule of the group {group}, which has {found} rows"),
        _ => {
            format!("the catalogue knows no group {}, of which segments hold {found} rows", number.unwrap_or_default())
        }
    };
    let table = store.table("group_state").plain();
    Ok(Verified { table, damaged: found.into_iter().map(tell).collect(), ..Verified::default() })
}

/// What the catalogue contradicts itself or the segments in, besides the numbers of groups.
///
/// # Errors
/// When the server cannot be asked.
pub async fn verify_catalogue(
    conn: &mut PgConnection,
    store: &Store,
    sources: &[Source],
) -> Result<Verified, JobError> {
    let mut damaged = verify_rules(conn, store, sources).await?;
    for source in sources {
        damaged.extend(verify_batches(conn, store, source).await?);
    }
    let (source, batch, batch_source) = (store.table("source"), store.table("batch"), store.table("batch_source"));
    let statement = Statement::built(format!(
        "select 'the catalogue speaks of rows of batch ' || b.batch_id || ' in segments_' || b.source_id || ', and knows no such ' \
         || case when a.batch_id is null then 'batch' else 'table' end from {batch_source} b \
         left join {batch} a on a.batch_id = b.batch_id left join {source} s on s.source_id = b.source_id \
         where a.batch_id is null or s.source_id is null \
         union all select 'the catalogue has ' || count(*) filter (where current) || ' present shapes of ' \
         || table_schema || '.' || table_name || ' in place of one' from {source} group by table_schema, table_name \
         having count(*) filter (where current) <> 1 order by 1"
    ));
    damaged.extend(sqlx::query_scalar::<_, String>(statement.to_sql()).fetch_all(&mut *conn).await?);
    damaged.extend(verify_readers(conn, store, sources).await?);
    Ok(Verified { table: store.table("batch").plain(), damaged, ..Verified::default() })
}

/// Rules that do not say what a restore has to know, or not of every table that they have rows in.
async fn verify_rules(conn: &mut PgConnection, store: &Store, sources: &[Source]) -> Result<Vec<String>, JobError> {
    let mut damaged = Vec::new();
    let statement =
        Statement::built(format!("select rule_id, name, definition from {} order by 1", store.table("rule")));
    let rules = sqlx::query_as::<_, (i64, String, Value)>(statement.to_sql()).fetch_all(&mut *conn).await?;
    for (rule_id, name, definition) in rules {
        let tables = match serde_json::from_value::<Definition>(definition) {
            Ok(definition) => definition.tables,
            Err(error) => {
                damaged.push(format!("the rule {name} does not say what a restore has to know: {error}"));
                continue;
            }
        };
        for source in sources.iter().filter(|source| !tables.contains(&source.shape.table)) {
            let statement = Statement::built(format!(
                "select exists (select from {} s join {} g on g.group_id = s.group_id where g.rule_id = $1)",
                source.place.segments(),
                store.table("group_state")
            ));
            let query = sqlx::query_scalar::<_, bool>(statement.to_sql()).bind(rule_id);
            if query.fetch_one(&mut *conn).await? {
                let table = source.shape.table.plain();
                damaged.push(format!("the rule {name} does not know of {table}, of which its groups have rows"));
            }
        }
    }
    Ok(damaged)
}

/// Batches that were made by another rule than the groups that they have rows of.
async fn verify_batches(conn: &mut PgConnection, store: &Store, source: &Source) -> Result<Vec<String>, JobError> {
    let statement = Statement::built(format!(
        "select distinct s.batch from {} s join {} g on g.group_id = s.group_id join {} b on b.batch_id = s.batch \
         where b.rule_id <> g.rule_id order by 1",
        source.place.segments(),
        store.table("group_state"),
        store.table("batch")
    ));
    let batches = sqlx::query_scalar::<_, i64>(statement.to_sql()).fetch_all(conn).await?;
    let table = source.shape.table.plain();
    Ok(batches
        .into_iter()
        .map(|batch| format!("batch {batch} and its groups in {table} are not of one rule, as the catalogue has it"))
        .collect())
}

/// Views and functions for people that are gone, and views that show another number of rows than there are.
async fn verify_readers(conn: &mut PgConnection, store: &Store, sources: &[Source]) -> Result<Vec<String>, JobError> {
    let mut damaged = Vec::new();
    for source in sources.iter().filter(|source| source.current) {
        let table = &source.shape.table;
        let of_table: Vec<&Source> = sources.iter().filter(|other| other.shape.table == *table).collect();
        let missing = store.missing_readers(conn, table).await?;
        let shown = source.place.shown();
        // The views that take segments apart are told with them.
        let is_rows = |name: &&String| of_table.iter().any(|source| source.place.rows().to_string() == **name);
        damaged.extend(
            missing
                .iter()
                .filter(|name| !is_rows(name))
                .map(|name| format!("{name} is gone; the next archival makes it anew")),
        );
        if !missing.is_empty() {
            continue;
        }
        let kept = of_table
            .iter()
            .map(|source| format!("(select coalesce(sum(row_count), 0)::bigint from {})", source.place.segments()))
            .collect::<Vec<_>>()
            .join(" + ");
        // In one statement, so that nothing comes or goes between the two.
        let statement = Statement::built(format!("select (select count(*) from {shown}), {kept}"));
        let counted = sqlx::query_as::<_, (i64, i64)>(statement.to_sql()).fetch_one(&mut *conn).await;
        let shown = shown.plain();
        let (seen, kept) = match counted.map_err(PgError::from) {
            Ok(counted) => counted,
            Err(error) if error.fault() == Fault::Unreachable => return Err(error.into()),
            Err(error) => {
                damaged.push(format!("{shown} cannot be read: {error}"));
                continue;
            }
        };
        if seen != kept {
            damaged.push(format!(
                "{shown} shows {seen} rows, and there are {kept}; the next archival makes it anew once it is dropped"
            ));
        }
    }
    Ok(damaged)
}
