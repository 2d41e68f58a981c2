//! One table's turn: wait until it is free, send, and check by the server's own counters that it was done.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Vacuum;
use super::decide::skips_database_stats;
use super::facts::{Holder, TableFacts, horizon_holder, lock_holder, read_table, sees_all, table_bytes};
use super::step::{Step, TableStep, Work};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::pg::session::Server;
use crate::pg::statement::Statement;

/// How often a locked table is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long counters may lag behind the work: before 15 a separate process gathered them.
const COUNTERS_LAG: Duration = Duration::from_secs(5);
const COUNTERS_POLL: Duration = Duration::from_millis(100);
/// How often a table may be skipped with nobody in sight before the next attempt has to deal with it.
const MOST_UNEXPLAINED: u8 = 3;
/// Dead rows that are not worth asking who holds them.
const FEW_DEAD_ROWS: i64 = 100;

/// Does one step.
pub(super) async fn perform(spec: &Vacuum, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
    let name = step.to_string();
    match step {
        Step::Table(table) => perform_table(spec, table, &name, cx).await,
        Step::DatabaseStats => {
            cx.send(&name, &Statement::built("VACUUM (ONLY_DATABASE_STATS)")).await?;
            Ok(StepReport::Done(Measures::default()))
        }
    }
}

async fn perform_table(spec: &Vacuum, step: &TableStep, name: &str, cx: &mut Context) -> Result<StepReport, JobError> {
    let patience = Instant::now() + spec.lock_wait.0;
    let mut left = step.work;
    let mut unexplained = 0_u8;
    let mut first: Option<(TableFacts, Option<i64>)> = None;
    loop {
        let Some(before) = read_table(cx, step.oid).await? else { return Ok(dropped()) };
        if !before.permitted {
            return Ok(not_permitted(&before, cx.server()));
        }
        if let Some(holder) = lock_holder(cx, step.oid).await? {
            if Instant::now() >= patience {
                return Ok(locked(spec, step, &holder));
            }
            cx.pause(LOOK_EVERY.min(patience.saturating_duration_since(Instant::now()))).await?;
            continue;
        }
        if first.is_none() {
            let bytes = table_bytes(cx, step.oid).await?;
            first = Some((before.clone(), bytes));
        }
        let statement = statement(spec, step, left, &before, cx.server());
        if let Err(error) = cx.send(name, &statement).await {
            let gone = is_missing(&error) && cx.session.is_usable() && read_table(cx, step.oid).await?.is_none();
            return if gone { Ok(dropped()) } else { Err(error) };
        }
        let Some(after) = counters_after(cx, &before, left).await? else { return Ok(dropped()) };
        match still_to_do(&before, &after, left) {
            None => {
                let (before, bytes_before) = first.unwrap_or((before, None));
                return measured(step, &before, bytes_before, &after, cx).await;
            }
            Some(rest) => left = rest,
        }
        // Somebody took a lock between our look and the statement, which then skipped the table.
        let holder = lock_holder(cx, step.oid).await?;
        unexplained += u8::from(holder.is_none());
        let report = holder.map_or_else(|| skipped(&after), |holder| locked(spec, step, &holder));
        if unexplained >= MOST_UNEXPLAINED || Instant::now() >= patience {
            return Ok(report);
        }
        cx.settle(name, &report).await?;
        cx.pause(LOOK_EVERY).await?;
    }
}

/// The statement for a table, with the options that the server knows.
///
/// SKIP_LOCKED, because a VACUUM that waits makes autovacuum give way to it and every later lock wait behind it.
fn statement(spec: &Vacuum, step: &TableStep, work: Work, facts: &TableFacts, server: Server) -> Statement {
    let table = &facts.table;
    // From 18 on a parent takes its children along unless told not to; each is a step of its own here, or left out.
    let only = if server.version >= 180_000 { "ONLY " } else { "" };
    if !work.vacuums() {
        return Statement::built(format!("ANALYZE (SKIP_LOCKED) {only}{table}"));
    }
    let mut options = vec!["SKIP_LOCKED"];
    if work.analyzes() {
        options.push("ANALYZE");
    }
    if step.freezes() {
        options.push("FREEZE");
    }
    if spec.truncate {
        // Where few pages have dead rows, the server would leave their pointers, and with them the pages.
        options.extend(["INDEX_CLEANUP on", "TRUNCATE true"]);
    } else {
        options.push("TRUNCATE false");
    }
    if skips_database_stats(server) {
        options.push("SKIP_DATABASE_STATS");
    }
    Statement::built(format!("VACUUM ({}) {only}{table}", options.join(", ")))
}

/// What of the work the counters do not show as done.
fn still_to_do(before: &TableFacts, after: &TableFacts, work: Work) -> Option<Work> {
    let vacuumed = after.last_vacuum.is_some() && after.last_vacuum != before.last_vacuum;
    let analyzed = after.last_analyze.is_some() && after.last_analyze != before.last_analyze;
    match (work.vacuums() && !vacuumed, work.analyzes() && !analyzed) {
        (true, true) => Some(Work::VacuumAnalyze),
        (true, false) => Some(Work::Vacuum),
        (false, true) => Some(Work::Analyze),
        (false, false) => None,
    }
}

/// Reads the counters until they show the work as done, or long enough; `None` when the table is gone.
async fn counters_after(cx: &mut Context, before: &TableFacts, work: Work) -> Result<Option<TableFacts>, JobError> {
    let patience = Instant::now() + if cx.server().major() < 15 { COUNTERS_LAG } else { Duration::ZERO };
    loop {
        let Some(after) = read_table(cx, before.oid).await? else { return Ok(None) };
        if still_to_do(before, &after, work).is_none() || Instant::now() >= patience {
            return Ok(Some(after));
        }
        cx.pause(COUNTERS_POLL).await?;
    }
}

async fn measured(
    step: &TableStep,
    before: &TableFacts,
    bytes_before: Option<i64>,
    after: &TableFacts,
    cx: &mut Context,
) -> Result<StepReport, JobError> {
    let mut detail = json!({
        "reasons": step.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
        "dead_before": before.dead,
        "dead_after": after.dead,
    });
    if step.work.vacuums() && after.dead >= FEW_DEAD_ROWS.max(before.dead / 2) {
        let held_by = match horizon_holder(cx).await? {
            Some(holder) => Some(holder.to_string()),
            // With everybody in sight, nobody keeps them: the counter has rows that were deleted shortly before, and reported
            // after the VACUUM that removed them.
            None if sees_all(cx).await? => None,
            // On less than one page in fifty the server leaves their pointers for another time.
            None if after.dead < after.live / 50 => None,
            None => Some("nobody that this role can see; grant it pg_monitor to see every session".to_owned()),
        };
        if let Some(held_by) = held_by {
            tracing::warn!(table = %after.table, dead = after.dead, %held_by, "dead rows could not be removed");
            detail["held_by"] = Value::from(held_by);
        }
    }
    let bytes_after = table_bytes(cx, step.oid).await?;
    Ok(StepReport::Done(Measures { rows: None, bytes_before, bytes_after, detail: Some(detail) }))
}

fn dropped() -> StepReport {
    let detail = Some(json!({ "note": "dropped since it was planned" }));
    StepReport::Done(Measures { detail, ..Measures::default() })
}

fn locked(spec: &Vacuum, step: &TableStep, holder: &Holder) -> StepReport {
    let reason = format!(
        "{holder} on {}, which was waited for during {} (lock_wait); nothing was done to it",
        step.table, spec.lock_wait
    );
    StepReport::NotDone { reason, fault: Fault::Locked, measures: Measures::default() }
}

fn skipped(facts: &TableFacts) -> StepReport {
    let reason = format!(
        "the server skipped {}, probably for a lock that was gone when we looked; its log has a WARNING that says why; \
         the work is left for the next attempt",
        facts.table
    );
    StepReport::NotDone { reason, fault: Fault::Locked, measures: Measures::default() }
}

fn not_permitted(facts: &TableFacts, server: Server) -> StepReport {
    use crate::pg::statement::Ident;
    let TableFacts { table, owner, role, .. } = facts;
    let (owner, role) = (Ident(owner.clone()), Ident(role.clone()));
    let grant = if server.version >= 170_000 {
        format!("GRANT MAINTAIN ON TABLE {table} TO {role}")
    } else if facts.owner_is_superuser {
        // Up to 16 only the owner may, and nobody should become a superuser for that.
        format!("ALTER TABLE {table} OWNER TO {role}")
    } else {
        format!("GRANT {owner} TO {role}")
    };
    let reason = format!(
        "the role {role} may not vacuum or analyze {table} of {owner}; nothing was sent; {grant}, or exclude it"
    );
    StepReport::NotDone { reason, fault: Fault::Privilege, measures: Measures::default() }
}

/// Whether a statement failed because its table does not exist.
fn is_missing(error: &JobError) -> bool {
    matches!(error, JobError::Target(error) if matches!(error.sqlstate(), Some("42P01" | "3F000")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::vacuum::Reason;
    use crate::jobs::vacuum::facts::tests::facts;
    use crate::jobs::vacuum::step::Permission;

    fn server(version: i32) -> Server {
        Server { version, in_recovery: false }
    }

    #[test]
    fn a_statement_has_the_options_that_its_server_knows() {
        let check = |version, work, reasons: &[Reason], expected: &str| {
            let spec: Vacuum = serde_json::from_value(json!({})).expect("defaults");
            let facts = facts("we\"ird; drop");
            let step = TableStep {
                oid: facts.oid,
                table: facts.table.clone(),
                work,
                reasons: reasons.to_vec(),
                permission: Permission::Granted,
            };
            assert_eq!(statement(&spec, &step, work, &facts, server(version)).as_str(), expected);
        };
        let dead = &[Reason::DeadRows];
        check(
            150_000,
            Work::VacuumAnalyze,
            dead,
            r#"VACUUM (SKIP_LOCKED, ANALYZE, TRUNCATE false) "public"."we""ird; drop""#,
        );
        check(
            160_004,
            Work::Vacuum,
            &[Reason::Age],
            r#"VACUUM (SKIP_LOCKED, FREEZE, TRUNCATE false, SKIP_DATABASE_STATS) "public"."we""ird; drop""#,
        );
        check(180_000, Work::Analyze, dead, r#"ANALYZE (SKIP_LOCKED) ONLY "public"."we""ird; drop""#);
        check(
            180_000,
            Work::Vacuum,
            dead,
            r#"VACUUM (SKIP_LOCKED, TRUNCATE false, SKIP_DATABASE_STATS) ONLY "public"."we""ird; drop""#,
        );
    }

    #[test]
    fn work_is_done_when_the_counters_say_so() {
        let (then, now) = (chrono::DateTime::from_timestamp(1, 0), chrono::DateTime::from_timestamp(2, 0));
        let check = |vacuumed: bool, analyzed: bool, work, expected| {
            let before = TableFacts { last_vacuum: then, last_analyze: None, ..facts("t") };
            let after = TableFacts {
                last_vacuum: if vacuumed { now } else { then },
                last_analyze: if analyzed { now } else { None },
                ..facts("t")
            };
            assert_eq!(still_to_do(&before, &after, work), expected);
        };
        check(true, true, Work::VacuumAnalyze, None);
        check(true, false, Work::VacuumAnalyze, Some(Work::Analyze));
        check(false, true, Work::VacuumAnalyze, Some(Work::Vacuum));
        check(false, false, Work::VacuumAnalyze, Some(Work::VacuumAnalyze));
        check(true, false, Work::Vacuum, None);
        check(true, false, Work::Analyze, Some(Work::Analyze));
    }

    #[test]
    fn counters_that_were_reset_prove_nothing() {
        let before = TableFacts { last_vacuum: chrono::DateTime::from_timestamp(1, 0), ..facts("t") };
        assert_eq!(still_to_do(&before, &facts("t"), Work::Vacuum), Some(Work::Vacuum));
    }

    #[test]
    fn a_missing_privilege_is_reported_with_the_grant_that_helps() {
        let check = |version, owner_is_superuser, expected: &str| {
            let facts = TableFacts { owner_is_superuser, ..facts("t") };
            let StepReport::NotDone { reason, fault, .. } = not_permitted(&facts, server(version)) else {
                panic!("not done");
            };
            assert_eq!(fault, Fault::Privilege);
            assert!(reason.contains(expected), "{reason}");
        };
        check(160_000, false, r#"GRANT "owner" TO "upkeep", or"#);
        check(160_000, true, r#"ALTER TABLE "public"."t" OWNER TO "upkeep", or"#);
        check(170_000, true, r#"GRANT MAINTAIN ON TABLE "public"."t" TO "upkeep""#);
    }
}
