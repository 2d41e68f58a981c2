//! What interrupted rebuilds leave behind: found by its identity in the catalogue, dropped only if it is ours.
//!
//! A leftover is ours when the last statement that we sent about it or about its twin, by our own record, did not come
//! to a checked end. That is enough, because a rebuild of ours begins only when no invalid copy is there: whatever copy
//! there is after it, it has made.

use std::time::Duration;

use sqlx::postgres::types::Oid;
use tokio::time::Instant;

use super::Reindex;
use super::facts::{Awaits, IndexFacts, has_no_ledger, obstacle};
use super::perform::{LOOK_EVERY, blocked, record_baseline};
use super::step::{DropStep, Step, drop_statement, rebuild_statement};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::pattern::TablePattern;
use crate::jobs::until::Until;
use crate::jobs::{Measures, StepReport};
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified};
use crate::policy::gate::Stop;

const FACTS_LIMIT: Duration = Duration::from_secs(20);
/// How long clearing up after a rebuild that failed may wait for others; the next plan finds what is left then.
const CLEAR_UP_WAIT: Duration = Duration::from_mins(1);
/// How long it may take after an order to stop.
const LAST_ACT: Duration = Duration::from_secs(10);

/// Whose a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Our own record says so, or the job adopts whatever it finds.
    Ours,
    /// Somebody else's, or nobody can say.
    Theirs,
}

/// An invalid index.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// Its name.
    pub index: Qualified,
    /// Its table's number in the catalogue.
    pub table_oid: Oid,
    /// Its table; for a TOAST table's index, the one that the TOAST table belongs to.
    pub table: Qualified,
    /// Whether it is the old copy: then the rebuild had succeeded.
    pub rebuilt: bool,
    /// The valid index that it is a copy of, if it is one.
    pub twin: Option<Qualified>,
    /// The role that owns it.
    pub owner: String,
    /// Whether that role is a superuser, whose membership nobody should be given.
    pub owner_is_superuser: bool,
    /// The role that we are.
    pub role: String,
    /// Whether we may drop it.
    pub permitted: bool,
    /// Whether somebody works on its table just now.
    pub building: bool,
    /// Whose it is.
    pub origin: Origin,
}

impl Leftover {
    /// Whether the job's patterns mean it, its table or the index that it is a copy of.
    pub(super) fn is_meant(&self, spec: &Reindex) -> bool {
        let names = || [&self.index, &self.table].into_iter().chain(self.twin.as_ref());
        let by = |patterns: &[TablePattern]| patterns.iter().any(|pattern| names().any(|name| pattern.matches(name)));
        (spec.include.is_empty() || by(&spec.include)) && !by(&spec.exclude)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the catalogue")]
#[derive(sqlx::FromRow)]
struct Row {
    oid: Oid,
    table_oid: Oid,
    schema: String,
    name: String,
    table_schema: String,
    table_name: String,
    rebuilt: bool,
    twin_schema: Option<String>,
    twin_name: Option<String>,
    owner: String,
    owner_is_superuser: bool,
    role: String,
    permitted: bool,
    building: bool,
}

impl From<Row> for Leftover {
    fn from(row: Row) -> Self {
        Self {
            oid: row.oid,
            index: Qualified::new(row.schema, row.name),
            table_oid: row.table_oid,
            table: Qualified::new(row.table_schema, row.table_name),
            rebuilt: row.rebuilt,
            twin: row.twin_schema.zip(row.twin_name).map(|(schema, name)| Qualified::new(schema, name)),
            owner: row.owner,
            owner_is_superuser: row.owner_is_superuser,
            role: row.role,
            permitted: row.permitted,
            building: row.building,
            origin: Origin::Theirs,
        }
    }
}

/// Reads every invalid index, and whose it is.
pub(super) async fn read(spec: &Reindex, cx: &mut Context) -> Result<Vec<Leftover>, JobError> {
    let mut leftovers = find(cx, None).await?;
    for leftover in &mut leftovers {
        let Some(twin) = &leftover.twin else { continue };
        let statements = [rebuild_statement(twin), drop_statement(&leftover.index)].map(|sql| sql.as_str().to_owned());
        let ours = match cx.ledger().left_unfinished(cx.target.as_str(), &statements).await {
            Err(error) if has_no_ledger(&error) => false,
            ours => ours?,
        };
        if ours || spec.adopt {
            leftover.origin = Origin::Ours;
        }
    }
    Ok(leftovers)
}

/// Reads the invalid indexes of one table, or of all; whose they are is not asked.
async fn find(cx: &mut Context, table: Option<Oid>) -> Result<Vec<Leftover>, JobError> {
    let pid = cx.session.pid;
    let query = sqlx::query_as::<_, Row>(include_str!("../sql/find_invalid_indexes.sql")).bind(table).bind(pid);
    let rows = within(FACTS_LIMIT, query.fetch_all(cx.reader().await?)).await?;
    Ok(rows.into_iter().map(Leftover::from).collect())
}

/// The copies of an index that interrupted rebuilds have left, whoever began them.
pub(super) async fn of_index(cx: &mut Context, facts: &IndexFacts) -> Result<Vec<Leftover>, JobError> {
    let mut leftovers = find(cx, Some(facts.table_oid)).await?;
    leftovers.retain(|leftover| leftover.twin.as_ref() == Some(&facts.index));
    Ok(leftovers)
}

/// Drops one leftover, as planned: waits until that holds nobody up, and looks once more that it still is one.
pub(super) async fn drop_planned(
    spec: &Reindex,
    step: &DropStep,
    name: &str,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let patience = Instant::now() + spec.max_blocker_wait.0;
    loop {
        let found = find(cx, Some(step.table_oid)).await?.into_iter().find(|leftover| leftover.oid == step.oid);
        let Some(leftover) = found else { return Ok(gone("gone since it was planned")) };
        if leftover.index != step.leftover || leftover.twin.as_ref() != Some(&step.twin) {
            let reason = format!(
                "{} is no longer what it was when this was planned, a copy of {}; it was left alone",
                step.leftover, step.twin
            );
            return Ok(StepReport::NotDone { reason, fault: Fault::Locked, measures: Measures::default() });
        }
        if !leftover.permitted {
            return Ok(not_permitted(&leftover));
        }
        let Some(holder) = obstacle(cx, step.table_oid, Awaits::Locks).await? else {
            return drop_leftover(&leftover, name, Until::Waited(spec.max_blocker_wait.0), cx).await;
        };
        let now = Instant::now();
        if now >= patience {
            return Ok(blocked(spec, &step.leftover, &holder));
        }
        cx.pause(LOOK_EVERY.min(patience.saturating_duration_since(now))).await?;
    }
}

async fn drop_leftover(
    leftover: &Leftover,
    name: &str,
    until: Until,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let bytes_before = super::facts::index_bytes(cx, leftover.oid).await?;
    cx.send_until(name, &drop_statement(&leftover.index), until).await?;
    if find(cx, Some(leftover.table_oid)).await?.iter().any(|left| left.oid == leftover.oid) {
        let reason = format!("the server said that {} was dropped, but it is still there", leftover.index);
        return Ok(StepReport::NotDone { reason, fault: Fault::Internal, measures: Measures::default() });
    }
    if let Some(twin) = leftover.twin.as_ref().filter(|_| leftover.rebuilt) {
        record_baseline(cx, twin, leftover.table_oid).await?;
    }
    Ok(StepReport::Done(Measures { bytes_before, bytes_after: Some(0), ..Measures::default() }))
}

/// After a rebuild that failed: drops the copies that it has left, each as a step of its own.
///
/// When the session is lost, or the run goes back to the queue at once, that is left to the next attempt, whose plan
/// finds them. Gives back what is to be said of the failure.
pub(super) async fn clear_up(spec: &Reindex, facts: &IndexFacts, error: JobError, cx: &mut Context) -> JobError {
    let until = match &error {
        JobError::Ledger(_) | JobError::Stopped(Stop::Shutdown | Stop::LeaseLost) => return error,
        JobError::Stopped(_) => Until::Elapsed(LAST_ACT),
        _ => Until::Waited(spec.max_blocker_wait.0.min(CLEAR_UP_WAIT)),
    };
    if !cx.session.is_usable() {
        return error;
    }
    match drop_all(facts, until, cx).await {
        Ok(()) => error,
        Err(left) => {
            let message = format!("{error}; what it has left is dropped by the next attempt, because now {left}");
            match error {
                JobError::Stopped(_) => {
                    tracing::warn!(index = %facts.index, "{message}");
                    error
                }
                error => JobError::Refused { fault: error.fault(), message },
            }
        }
    }
}

async fn drop_all(facts: &IndexFacts, until: Until, cx: &mut Context) -> Result<(), JobError> {
    for leftover in of_index(cx, facts).await? {
        let step = Step::Drop(DropStep {
            oid: leftover.oid,
            leftover: leftover.index.clone(),
            table_oid: leftover.table_oid,
            twin: facts.index.clone(),
        });
        let name = step.to_string();
        let report = drop_leftover(&leftover, &name, until, cx).await?;
        cx.settle(&name, &report).await?;
        tracing::info!(step = name, "the rebuild did not come to its end, so what it has left was dropped");
    }
    Ok(())
}

pub(super) fn gone(note: &str) -> StepReport {
    let detail = Some(serde_json::json!({ "note": note }));
    StepReport::Done(Measures { detail, ..Measures::default() })
}

fn not_permitted(leftover: &Leftover) -> StepReport {
    let (owner, role) = (Ident(leftover.owner.clone()), Ident(leftover.role.clone()));
    let remedy = if leftover.owner_is_superuser {
        format!("drop it by hand as a superuser, or give {} to another owner", leftover.table)
    } else {
        format!("GRANT {owner} TO {role} and USAGE on its schema, or run pgupkeep as {owner}, or drop it by hand")
    };
    let reason = format!(
        "the role {role} may not drop {}, which belongs to {owner}; nothing was sent; {remedy}",
        leftover.index
    );
    StepReport::NotDone { reason, fault: Fault::Privilege, measures: Measures::default() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An invalid index of `public.t`, which belongs to the role `owner`.
    pub(in super::super) fn leftover(name: &str, twin: Option<&str>, origin: Origin) -> Leftover {
        Leftover {
            oid: Oid(16_400),
            index: Qualified::new("public", name),
            table_oid: Oid(16_384),
            table: Qualified::new("public", "t"),
            rebuilt: name.contains("ccold"),
            twin: twin.map(|twin| Qualified::new("public", twin)),
            owner: "owner".to_owned(),
            owner_is_superuser: false,
            role: "upkeep".to_owned(),
            permitted: true,
            building: false,
            origin,
        }
    }

    #[test]
    fn nobody_is_told_to_be_granted_a_superuser() {
        let check = |owner_is_superuser, expected: &str| {
            let leftover = Leftover { owner_is_superuser, ..leftover("i_ccnew", Some("i"), Origin::Ours) };
            let StepReport::NotDone { reason, fault, .. } = not_permitted(&leftover) else { panic!("not done") };
            assert_eq!(fault, Fault::Privilege);
            assert!(reason.contains(expected), "{reason}");
        };
        check(false, r#"GRANT "owner" TO "upkeep" and USAGE"#);
        check(true, r#"give "public"."t" to another owner"#);
    }
}
