//! The retention of the archive itself: groups that were kept long enough leave it for good, exported first where there is
//! a repository.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use serde_json::json;
use sqlx::PgConnection;

use super::changes::affect_only;
use super::consistency::verify_groups;
use super::rule::Rule;
use super::spec::Archive;
use super::step::ExpireStep;
use super::store::{KnownRule, Source, Store, execute};
use super::verify::{Groups, Verified, verify};
use crate::fault::Fault;
use crate::jobs::backup::read_server;
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::lengths::CalendarSpan;
use crate::pg::connect::within;
use crate::pg::statement::{Statement, literal};
use crate::repository::export::{Export, Exported, ExportedTable};

const FACTS_LIMIT: Duration = Duration::from_secs(20);
/// How many groups go in one transaction, and about how many rows.
const GROUPS: usize = 1000;
const ROWS: i64 = 1_000_000;
/// When the job began, by the clock of the server whose archive it is.
const BEGUN: &str = "select pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)";

/// Whose groups go: what a rule has archived under its condition, however it named groups then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    /// The rule's name.
    pub(super) rule: &'a str,
    /// Its condition.
    pub(super) condition: Option<&'a str>,
}

impl<'a> Of<'a> {
    /// What this rule has archived.
    pub(super) fn rule(rule: &'a Rule) -> Self {
        Self { rule: &rule.name, condition: rule.condition.as_deref() }
    }
}

/// The steps that delete what was last active longer ago than it is to be kept; held groups stay, and so does what this
/// very job, begun so long ago, has archived.
///
/// # Errors
/// When the catalogue cannot be read.
pub(super) async fn plan(
    conn: &mut PgConnection,
    store: &Store,
    of: Of<'_>,
    (keep, repository): (CalendarSpan, Option<&str>),
    begun_ago: Duration,
) -> Result<Vec<ExpireStep>, JobError> {
    let begun =
        within(FACTS_LIMIT, sqlx::query_scalar(BEGUN).bind(begun_ago.as_secs_f64()).fetch_one(&mut *conn)).await?;
    let statement = Statement::built(format!(
        "select g.group_id, g.row_count, to_char(({}) at time zone 'UTC', 'YYYY-MM-DD') as before from {} g \
         join {} u on u.rule_id = g.rule_id where u.name = $1 and u.definition ->> 'condition' is not distinct from $2 \
         and g.row_count > 0 and {} order by g.last_activity, g.group_id",
        kept_from(keep),
        store.table("group_state"),
        store.table("rule"),
        is_due(store, keep, begun)
    ));
    let query = sqlx::query_as::<_, (i64, i64, String)>(statement.to_sql()).bind(of.rule).bind(of.condition);
    let due = within(FACTS_LIMIT, query.fetch_all(conn)).await?;
    let steps = chunks(&due).into_iter().map(|groups| ExpireStep {
        rule: of.rule.to_owned(),
        condition: of.condition.map(str::to_owned),
        groups: groups.iter().map(|(id, ..)| *id).collect(),
        rows: groups.iter().map(|(_, rows, _)| rows).sum(),
        repository: repository.map(str::to_owned),
        before: groups.first().map(|(.., before)| before.clone()).unwrap_or_default(),
        keep,
        begun,
    });
    Ok(steps.collect())
}

/// How many rows a rule has archived under other conditions, which `archive_keep` says nothing of.
///
/// # Errors
/// When the catalogue cannot be read.
pub(super) async fn kept_apart(conn: &mut PgConnection, store: &Store, of: Of<'_>) -> Result<i64, JobError> {
    let statement = Statement::built(format!(
        "select coalesce(sum(g.row_count), 0)::bigint from {} g join {} u on u.rule_id = g.rule_id \
         where u.name = $1 and u.definition ->> 'condition' is distinct from $2",
        store.table("group_state"),
        store.table("rule"),
    ));
    let query = sqlx::query_scalar(statement.to_sql()).bind(of.rule).bind(of.condition);
    Ok(within(FACTS_LIMIT, query.fetch_one(conn)).await?)
}

/// The instant since which groups are kept.
fn kept_from(keep: CalendarSpan) -> String {
    format!("clock_timestamp() - {}", keep.to_interval())
}

/// The condition over a group `g` that it has been kept long enough, has got no rows since the job began, and is not held:
/// not by itself, and not as what another rule has archived of the same root.
fn is_due(store: &Store, keep: CalendarSpan, begun: DateTime<Utc>) -> String {
    let (group_state, rule) = (store.table("group_state"), store.table("rule"));
    format!(
        "g.last_activity < {} and g.archived_at < {} and not exists (select 1 from {group_state} h \
         join {rule} v on v.rule_id = h.rule_id join {rule} w on w.rule_id = g.rule_id where h.group_key = g.group_key \
         and h.hold_until > clock_timestamp() and (h.rule_id = g.rule_id or v.definition -> 'root' = w.definition -> 'root' \
         and v.definition -> 'group' = w.definition -> 'group'))",
        kept_from(keep),
        literal(begun.to_rfc3339())
    )
}

/// As many groups as one transaction takes.
fn chunks(due: &[(i64, i64, String)]) -> Vec<&[(i64, i64, String)]> {
    let (mut chunks, mut from, mut rows) = (Vec::new(), 0, 0);
    for (at, (_, count, _)) in due.iter().enumerate() {
        if at > from && (at - from == GROUPS || rows + count > ROWS) {
            chunks.push(&due[from..at]);
            (from, rows) = (at, 0);
        }
        rows += count;
    }
    if from < due.len() {
        chunks.push(&due[from..]);
    }
    chunks
}

/// Exports the groups' rows where there is a repository for them, and deletes them, in one transaction that holds them.
pub(super) async fn perform(
    spec: &Archive,
    step: &ExpireStep,
    name: &str,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let store = Store::new(&spec.schema);
    let planned = Groups::Only(&step.groups).condition("group_id");
    let goes = Groups::Expiring.condition("group_id");
    let sources = store.sources(cx.reader().await?, None).await?;
    let export = match &spec.repository {
        Some(repository) => Some(begin(repository, step, cx).await?),
        None => None,
    };
    let rules = store.rules(cx.reader().await?).await?;
    let is_of = |rule: &KnownRule| rule.name == step.rule && rule.definition.condition == step.condition;
    let unmarks = rules.into_iter().find(is_of).map(|rule| rule.definition.unmarks).unwrap_or_default();
    let hold = vec![
        "begin".to_owned(),
        "set local search_path = pg_catalog, pg_temp".to_owned(),
        format!("select 1 from {} where {planned} order by group_id for update", store.table("group_state")),
        "drop table if exists pg_temp.pgupkeep_restored".to_owned(),
        // The moves of this very run, a restore or its hold may have changed what was due when the plan was made.
        format!(
            "create temporary table pgupkeep_restored on commit drop as select group_id, group_key, row_count from {} g \
             where {planned} and {}",
            store.table("group_state"),
            is_due(&store, step.keep, step.begun)
        ),
    ];
    let count = "select count(*), coalesce(sum(row_count), 0)::bigint from pg_temp.pgupkeep_restored";
    let copies: Vec<String> = match &export {
        Some(_) => sources.iter().map(|source| copy_of(source, Groups::Expiring)).collect(),
        None => Vec::new(),
    };
    let mut delete: Vec<String> =
        sources.iter().map(|source| format!("delete from {} where {goes}", source.place.segments())).collect();
    delete.push(format!("delete from {} where {goes}", store.table("group_state")));
    let commit = "commit".to_owned();
    let script = hold.iter().chain(&copies).chain(&delete).chain(&unmarks).chain([&commit]);
    let script = Statement::built(script.map(String::as_str).collect::<Vec<_>>().join(";\n"));
    let mut conn = cx.session.lend()?;
    let work = async {
        execute(&mut conn, &hold).await?;
        let (groups, rows) = sqlx::query_as::<_, (i64, i64)>(count).fetch_one(&mut conn).await?;
        let written = match &export {
            Some((export, manifest)) if groups > 0 => {
                let written = write(&mut conn, export, manifest.clone(), &store, &sources).await;
                if written.is_err() {
                    export.discard();
                }
                Some(written?)
            }
            _ => None,
        };
        execute(&mut conn, &delete).await?;
        // What is gone for good is not said to be in the archive.
        affect_only(&mut conn, &unmarks).await?;
        execute(&mut conn, &[commit]).await?;
        Ok((groups, rows, written))
    };
    let done = cx.oversee(name, &script, work).await;
    let (gone, rows, written) = cx.take_back(conn, done).await?;
    let planned = i64::try_from(step.groups.len()).unwrap_or(i64::MAX);
    let detail = json!({
        "groups": gone,
        "no_longer_due": planned - gone,
        "last_active_before": step.before,
        "export": written.as_ref().map(|manifest| manifest.id.as_str()),
        "exported_bytes": written.map(|manifest| manifest.tables.iter().map(|table| table.file.bytes).sum::<u64>()),
    });
    Ok(StepReport::Done(Measures { rows: Some(rows), detail: Some(detail), ..Measures::default() }))
}

/// An export's place, and what it says of itself so far.
async fn begin(repository: &str, step: &ExpireStep, cx: &mut Context) -> Result<(Export, Exported), JobError> {
    let repository = cx.outfit.repositories.open(repository)?;
    let server = read_server(cx).await?;
    let export = repository.begin_export(&server.system_identifier, server.now);
    let manifest = Exported {
        version: 1,
        id: export.id.clone(),
        target: cx.target.to_string(),
        database: server.database,
        rule: step.rule.clone(),
        run_id: cx.run_id(),
        program: concat!("pgupkeep ", env!("CARGO_PKG_VERSION")).to_owned(),
        system_identifier: server.system_identifier,
        exported_at: server.now,
        tables: Vec::new(),
    };
    Ok((export, manifest))
}

fn copy_of(source: &Source, groups: Groups<'_>) -> String {
    let columns: Vec<String> = source.shape.columns.iter().map(|column| format!("a.{}", column.name)).collect();
    format!(
        "copy (select {} from {} a where {}) to stdout (format csv, header)",
        columns.join(", "),
        source.place.rows(),
        groups.condition("a.pgupkeep_group")
    )
}

/// Writes the rows that are about to go, once they are known to be what was archived, reads the files back, and publishes
/// them.
async fn write(
    conn: &mut PgConnection,
    export: &Export,
    mut manifest: Exported,
    store: &Store,
    sources: &[Source],
) -> Result<Exported, JobError> {
    let groups = Groups::Expiring;
    sound(verify_groups(conn, store, sources, groups).await?)?;
    for source in sources {
        let Source { place, shape, .. } = source;
        let rows = sound(verify(conn, None, source, groups).await?)?.rows;
        if rows == 0 {
            continue;
        }
        let mut file = export.begin_file(&shape.table, place.source_id).await?;
        let mut pieces = conn.copy_out_raw(&copy_of(source, groups)).await?;
        while let Some(piece) = pieces.try_next().await? {
            file.push(&piece).await?;
        }
        drop(pieces);
        let (file, csv_sha256) = file.finish().await?;
        manifest.tables.push(ExportedTable {
            schema: shape.table.schema.0.clone(),
            name: shape.table.name.0.clone(),
            columns: shape.columns.iter().map(|column| (column.name.0.clone(), column.shown.clone())).collect(),
            rows: u64::try_from(rows).unwrap_or_default(),
            file,
            csv_sha256,
        });
    }
    export.publish(&manifest).await?;
    Ok(manifest)
}

/// Refuses to export what is damaged: the export would take its place for good.
fn sound(verified: Verified) -> Result<Verified, JobError> {
    match &verified.damaged[..] {
        [] => Ok(verified),
        [first, more @ ..] => {
            let others = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            let message = format!(
                "the archive of {} is damaged: {first}{others}; these groups were neither exported nor deleted; \
                 `pgupkeep archive verify` names all that is damaged",
                verified.table
            );
            Err(JobError::Refused { fault: Fault::Corrupt, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_a_bounded_number_of_groups_and_rows() {
        let sizes = |rows: &[i64]| {
            let due: Vec<_> = rows.iter().map(|rows| (0, *rows, String::new())).collect();
            chunks(&due).iter().map(|chunk| chunk.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![1; 2500]), [1000, 1000, 500]);
        assert_eq!(sizes(&[600_000, 400_000, 1, 5_000_000, 1]), [2, 1, 1, 1]);
    }
}
