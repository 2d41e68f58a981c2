//! One index's turn: wait until nobody is in sight whom it would have to wait for, rebuild, and check that it was done.

use std::time::Duration;

use serde_json::json;
use sqlx::postgres::types::Oid;
use tokio::time::Instant;

use super::Reindex;
use super::decide::cannot;
use super::facts::{Awaits, IndexFacts, index_bytes, obstacle, read_index, read_successor};
use super::leftovers::{self, gone};
use super::room;
use super::step::{RebuildStep, Step, Why, rebuild_statement};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::until::Until;
use crate::jobs::vacuum::Holder;
use crate::jobs::{Measures, StepReport};
use crate::ledger::baseline::Baseline;
use crate::pg::statement::{Ident, Qualified};

/// How often an obstacle is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does one step.
pub(super) async fn perform(spec: &Reindex, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
    let name = step.to_string();
    match step {
        Step::Drop(leftover) => leftovers::drop_planned(spec, leftover, &name, cx).await,
        Step::Rebuild(index) => rebuild(spec, index, &name, cx).await,
        Step::Refuse { reason, fault, .. } => Ok(not_done(reason.clone(), *fault)),
    }
}

async fn rebuild(spec: &Reindex, step: &RebuildStep, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let patience = Instant::now() + spec.max_blocker_wait.0;
    let before = loop {
        let Some(facts) = read_index(cx, step.oid).await? else { return Ok(gone("gone since it was planned")) };
        if let Some(report) = refusal(&facts) {
            return Ok(report);
        }
        if let Some(leftover) = leftovers::of_index(cx, &facts).await?.first() {
            let reason = format!("{} is still there; {} is rebuilt when it is gone", leftover.index, facts.index);
            return Ok(not_done(reason, Fault::Locked));
        }
        let Some(holder) = obstacle(cx, facts.table_oid, Awaits::Snapshots).await? else { break facts };
        let now = Instant::now();
        if now >= patience {
            return Ok(blocked(spec, &facts.index, &holder));
        }
        cx.pause(LOOK_EVERY.min(patience.saturating_duration_since(now))).await?;
    };
    let bytes_before = index_bytes(cx, before.oid).await?;
    if let Some(report) = room::lacking(spec, &before.index, before.oid, bytes_before, cx).await? {
        return Ok(report);
    }
    let sent = cx.send_until(name, &rebuild_statement(&before.index), Until::Waited(spec.max_blocker_wait.0)).await;
    if let Err(error) = sent {
        let error = leftovers::clear_up(spec, &before, error, cx).await;
        if matches!(error, JobError::Stopped(_) | JobError::Ledger(_)) || !cx.session.is_usable() {
            return Err(error);
        }
        return match read_successor(cx, &before).await? {
            None => Ok(gone("gone since it was planned")),
            // It was interrupted when the new copy was in place already, and only the old one was left to be dropped.
            Some(after) if is_rebuilt(&before, &after) && leftovers::of_index(cx, &before).await?.is_empty() => {
                measured(step, &before, bytes_before, &after, cx).await
            }
            Some(_) => Err(error),
        };
    }
    match read_successor(cx, &before).await? {
        None => Ok(gone("dropped right after it was rebuilt")),
        Some(after) if is_rebuilt(&before, &after) => measured(step, &before, bytes_before, &after, cx).await,
        Some(_) => {
            let reason = format!(
                "the server answered normally, but {} was not rebuilt; its log has a WARNING that says why",
                before.index
            );
            Ok(not_done(reason, Fault::Internal))
        }
    }
}

/// A concurrent rebuild makes a new index in the old one's place, so the proof is a new number in the catalogue.
fn is_rebuilt(before: &IndexFacts, after: &IndexFacts) -> bool {
    after.oid != before.oid && after.sort == super::Sort::Plain
}

async fn measured(
    step: &RebuildStep,
    before: &IndexFacts,
    bytes_before: Option<i64>,
    after: &IndexFacts,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let bytes_after = index_bytes(cx, after.oid).await?;
    let (evidence, waste) = match step.why {
        Why::Always => ("always", None),
        Why::Waste(grade, waste) => (grade.as_str(), Some((waste * 1000.0).round() / 1000.0)),
    };
    let detail = json!({
        "evidence": evidence,
        "waste": waste,
        "bytes_per_tuple_before": per_tuple(bytes_before, before.tuples),
        "bytes_per_tuple_after": per_tuple(bytes_after, after.tuples),
    });
    record(cx, after, bytes_after).await?;
    Ok(StepReport::Done(Measures { rows: None, bytes_before, bytes_after, detail: Some(detail) }))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_tuple(bytes: Option<i64>, tuples: f64) -> Option<f64> {
    bytes.filter(|_| tuples > 0.0).map(|bytes| (bytes as f64 / tuples * 10.0).round() / 10.0)
}

/// Writes down what an index measures that was rebuilt just now.
async fn record(cx: &Context, after: &IndexFacts, bytes: Option<i64>) -> Result<(), JobError> {
    let Some(bytes) = bytes.filter(|_| after.tuples > 0.0) else { return Ok(()) };
    let Qualified { schema, name } = after.index.clone();
    let (index_oid, tuples) = (after.oid, after.tuples);
    let baseline = Baseline { schema_name: schema.0, index_name: name.0, index_oid, bytes, tuples };
    Ok(cx.ledger().record_baseline(cx.target.as_str(), &baseline).await?)
}

/// The same for the index of that name on that table, whose rebuild turned out to have succeeded.
pub(super) async fn record_baseline(cx: &mut Context, index: &Qualified, table: Oid) -> Result<(), JobError> {
    let Some(after) = super::facts::read_named(cx, index, table).await? else { return Ok(()) };
    let bytes = index_bytes(cx, after.oid).await?;
    record(cx, &after, bytes).await
}

/// Why an index is not even tried.
fn refusal(facts: &IndexFacts) -> Option<StepReport> {
    if let Some(reason) = cannot(facts.sort) {
        return Some(not_done(reason.to_owned(), Fault::Statement));
    }
    let index = &facts.index;
    if facts.permitted && facts.schema_open {
        return None;
    }
    let (owner, role) = (Ident(facts.owner.clone()), Ident(facts.role.clone()));
    let reason = if facts.permitted {
        format!(
            "the role {role} may not use the schema of {index}; nothing was sent; GRANT USAGE ON SCHEMA {} TO {role} or \
             exclude it",
            index.schema
        )
    } else if facts.owner_is_superuser {
        format!(
            "{index} belongs to the superuser {owner}, of whom no safe role is a member, and {role} could not drop what an \
             interrupted rebuild leaves; nothing was sent; give {} to another owner, or exclude it",
            facts.table
        )
    } else {
        format!(
            "the role {role} is no member of {owner}, to whom {index} belongs, and could not drop what an interrupted rebuild \
             leaves; nothing was sent; GRANT {owner} TO {role}, or run pgupkeep as {owner}, or exclude it"
        )
    };
    Some(not_done(reason, Fault::Privilege))
}

pub(super) fn blocked(spec: &Reindex, index: &Qualified, holder: &Holder) -> StepReport {
    let reason = format!(
        "{holder}, which was waited for during {} (max_blocker_wait); {index} was left as it is for the next attempt",
        spec.max_blocker_wait
    );
    not_done(reason, Fault::Locked)
}

fn not_done(reason: String, fault: Fault) -> StepReport {
    StepReport::NotDone { reason, fault, measures: Measures::default() }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::candidate;
    use super::*;

    #[test]
    fn a_missing_privilege_is_reported_with_the_grant_that_helps() {
        let check = |facts: IndexFacts, expected: &str| {
            let Some(StepReport::NotDone { reason, fault, .. }) = refusal(&facts) else { panic!("refused") };
            assert_eq!(fault, Fault::Privilege);
            assert!(reason.contains(expected), "{reason}");
        };
        let facts = candidate("i").facts;
        let grant = r#"GRANT "owner" TO "upkeep", or run pgupkeep as "owner","#;
        check(IndexFacts { permitted: false, ..facts.clone() }, grant);
        let superusers = IndexFacts { permitted: false, owner_is_superuser: true, ..facts.clone() };
        check(superusers, r#"give "public"."t" to another owner, or exclude it"#);
        check(IndexFacts { schema_open: false, ..facts }, r#"GRANT USAGE ON SCHEMA "public" TO "upkeep""#);
    }

    #[test]
    fn only_a_new_valid_index_is_proof_of_a_rebuild() {
        let before = candidate("i").facts;
        assert!(!is_rebuilt(&before, &before));
        let after = IndexFacts { oid: Oid(1), ..before.clone() };
        assert!(is_rebuilt(&before, &after));
        assert!(!is_rebuilt(&before, &IndexFacts { sort: super::super::Sort::Invalid, ..after }));
    }
}
