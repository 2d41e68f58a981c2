//! The retention of the archive itself: groups that were kept long enough are deleted from it, for good.

use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;

use super::spec::Archive;
use super::step::ExpireStep;
use super::store::{Store, execute};
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::lengths::CalendarSpan;
use crate::pg::connect::within;
use crate::pg::statement::Statement;

const FACTS_LIMIT: Duration = Duration::from_secs(20);
/// How many groups go in one transaction.
const GROUPS: usize = 1000;

/// The steps that delete what was last active longer ago than it is to be kept; held groups stay.
///
/// # Errors
/// When the catalogue cannot be read.
pub(super) async fn plan(
    conn: &mut PgConnection,
    store: &Store,
    rule: &str,
    keep: CalendarSpan,
) -> Result<Vec<ExpireStep>, JobError> {
    let statement = Statement::built(format!(
        "select g.group_id, g.row_count, to_char(b.before at time zone 'UTC', 'YYYY-MM-DD') as before \
         from (select clock_timestamp() - make_interval(months => $2, days => $3) as before) b, {} g \
         join {} u on u.rule_id = g.rule_id where u.name = $1 and g.row_count > 0 and g.last_activity < b.before \
         and coalesce(g.hold_until <= clock_timestamp(), true) order by g.last_activity, g.group_id",
        store.table("group_state"),
        store.table("rule")
    ));
    let query =
        sqlx::query_as::<_, (i64, i64, String)>(statement.to_sql()).bind(rule).bind(keep.months).bind(keep.days);
    let due = within(FACTS_LIMIT, query.fetch_all(conn)).await?;
    let steps = due.chunks(GROUPS).map(|groups| ExpireStep {
        groups: groups.iter().map(|(id, ..)| *id).collect(),
        rows: groups.iter().map(|(_, rows, _)| rows).sum(),
        before: groups.first().map(|(.., before)| before.clone()).unwrap_or_default(),
    });
    Ok(steps.collect())
}

pub(super) async fn perform(
    spec: &Archive,
    step: &ExpireStep,
    name: &str,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let store = Store::new(&spec.schema);
    let ids = step.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sources = store.sources(cx.reader().await?, None).await?;
    let mut statements = vec![
        "begin".to_owned(),
        "set local search_path = pg_catalog, pg_temp".to_owned(),
        format!("select 1 from {} where group_id in ({ids}) for update", store.table("group_state")),
    ];
    for source in &sources {
        statements.push(format!("delete from {} where group_id in ({ids})", source.place.segments()));
    }
    statements.push(format!("delete from {} where group_id in ({ids})", store.table("group_state")));
    statements.push("commit".to_owned());
    let script = Statement::built(statements.join(";\n"));
    let mut conn = cx.session.lend()?;
    let done = cx.oversee(name, &script, execute(&mut conn, &statements)).await;
    cx.session.take_back(conn, done.is_ok()).await?;
    done?;
    let detail = json!({ "groups": step.groups.len(), "last_active_before": step.before });
    Ok(StepReport::Done(Measures { rows: Some(step.rows), detail: Some(detail), ..Measures::default() }))
}
