//! The `vacuum` job on one server: why tables are chosen, and what it does when things stand in its way.

use pgupkeep::jobs::drive::End;
use pgupkeep::policy::gate::Stop;
use serde_json::json;
use sqlx::Connection as _;
use tokio::sync::watch;

use super::workplace::{QUIET, Workplace, never, vacuum};
use crate::support::{Cluster, MOMENT, one_major, wait_until};

const SUITE: &str = "jobs::vacuum";

async fn start(major: &crate::support::Major) -> Cluster {
    Cluster::start(major, QUIET).await
}

/// Fills tables and brings them to rest, so that a plan for them is empty. Each report of counters is waited for: on 14 they
/// come late, and one that comes after a later one's counts again what that had settled.
async fn bring_to_rest(place: &Workplace<'_>, names: &[&str], options: &str) {
    for name in names {
        let insert = format!("insert into {name} select i, repeat('x', 500) from generate_series(1, 20000) i");
        place.execute_each(&format!("create table {name} (n int, t text) {options}; {insert}")).await;
    }
    let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let counted = |what: &str| format!("select bool_and({what}) from pg_stat_user_tables where relname in ({list})");
    place.wait_for(&counted("n_ins_since_vacuum = 20000")).await;
    for name in names {
        place.execute(&format!("vacuum (freeze, analyze) {name}")).await;
    }
    place.wait_for(&counted("n_ins_since_vacuum = 0 and n_mod_since_analyze = 0")).await;
}

#[tokio::test]
async fn a_table_is_chosen_for_the_reason_that_holds() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let check = async |change: &str, counted: &str, expected: &str| {
        let place = Workplace::new(&cluster, "").await;
        bring_to_rest(&place, &["t"], "").await;
        let spec = vacuum(json!({}));
        assert_eq!(place.plan(&spec).await, Vec::<String>::new(), "before {change}");
        place.execute_each(change).await;
        place.wait_for(&format!("select {counted} from pg_stat_user_tables where relname = 't'")).await;
        assert_eq!(place.plan(&spec).await.first().map(String::as_str), Some(expected), "{change}");
        place.run(&spec).await.succeeded();
        assert_eq!(place.plan(&spec).await, Vec::<String>::new(), "after {change}");
    };
    check("delete from t where n % 8 = 0", "n_dead_tup >= 2500", "vacuum (analyze) public.t [dead_rows, analyze]")
        .await;
    check("update t set n = n where n < 1200", "n_mod_since_analyze > 1000", "vacuum (analyze) public.t [analyze]")
        .await;
    check(
        "insert into t select i, repeat('x', 500) from generate_series(1, 20000) i",
        "n_ins_since_vacuum > 10000",
        "vacuum (analyze) public.t [inserts, analyze]",
    )
    .await;
    check("select pg_stat_reset()", "last_analyze is null", "vacuum (analyze) public.t [never_analyzed]").await;
}

#[tokio::test]
async fn however_much_of_a_table_changed_a_second_plan_is_empty() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "").await;
    let percents = [1, 4, 6, 9, 11, 30];
    let names = percents.map(|percent| ["updated", "deleted", "grown"].map(|name| format!("{name}_{percent}")));
    bring_to_rest(&place, &names.as_flattened().iter().map(String::as_str).collect::<Vec<_>>(), "").await;
    for percent in percents {
        let share = format!("n % 100 < {percent}");
        place.execute(&format!("update updated_{percent} set n = n where {share}")).await;
        place.execute(&format!("delete from deleted_{percent} where {share}")).await;
        place.execute(&format!("insert into grown_{percent} select n, t from grown_{percent} where {share}")).await;
    }
    place.wait_for("select bool_and(n_mod_since_analyze >= 200) from pg_stat_user_tables").await;
    let spec = vacuum(json!({}));
    let went = place.run(&spec).await.succeeded();
    let chosen = went.outcomes().into_keys().filter(|step| step.contains("public.")).count();
    // From 6 percent on every table is analyzed at least; below that none is touched.
    assert_eq!(chosen, 12, "{:#?}", went.outcomes());
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_whose_transactions_grow_old_is_frozen() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "").await;
    bring_to_rest(&place, &["t"], "with (autovacuum_freeze_max_age = 100000)").await;
    place.execute("do $$ begin for i in 1..51000 loop perform txid_current(); commit; end loop; end $$").await;
    let spec = vacuum(json!({}));
    let went = place.run(&spec).await.succeeded();
    assert_eq!(went.rows[0].step, "vacuum (freeze) public.t [age]");
    let age: i64 = place.ask("select age(relfrozenxid) from pg_class where relname = 't'").await.parse().unwrap();
    assert!(age < 100, "{age}");
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn storage_options_overrule_the_servers_thresholds() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "").await;
    let patient = "with (autovacuum_vacuum_threshold = 1000000, autovacuum_analyze_threshold = 1000000,
                         autovacuum_vacuum_insert_threshold = -1)";
    let eager = "with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20,
                       autovacuum_analyze_scale_factor = 1, autovacuum_enabled = off)";
    for (name, options) in [("patient", patient), ("eager", eager)] {
        bring_to_rest(&place, &[name], options).await;
        place.execute(&format!("update {name} set n = n where n <= 15")).await;
    }
    place.wait_for("select bool_and(n_dead_tup = 15) from pg_stat_user_tables").await;
    let plan = place.plan(&vacuum(json!({}))).await;
    assert_eq!(plan[0], "vacuum (analyze) public.eager [dead_rows]");
    assert!(!plan.iter().any(|step| step.contains("patient")), "{plan:?}");
}

#[tokio::test]
async fn dead_rows_of_a_toast_table_count_for_its_table() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "").await;
    place
        .execute_each(
            "create table t (n int, t text); alter table t alter column t set storage external;
         insert into t select i, repeat('x', 20000) from generate_series(1, 1000) i;
         vacuum (freeze, analyze) t;
         update t set t = repeat('y', 20000) where n <= 300",
        )
        .await;
    place.wait_for("select pg_stat_get_dead_tuples(reltoastrelid) >= 3000 from pg_class where relname = 't'").await;
    // 300 of 1,000 rows would be enough by themselves, so the table's own threshold is raised.
    place
        .execute("alter table t set (autovacuum_vacuum_threshold = 100000, toast.autovacuum_vacuum_threshold = 50)")
        .await;
    let spec = vacuum(json!({}));
    let plan = place.plan(&spec).await;
    assert!(plan[0].starts_with("vacuum (analyze) public.t [dead_rows"), "{plan:?}");
    let went = place.run(&spec).await.succeeded();
    assert_eq!(went.rows[0].detail.as_ref().unwrap()["dead_after"], 0);
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn whoever_keeps_dead_rows_from_being_removed_is_named() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let sql = "create table t (n int); insert into t select generate_series(1, 3000)";
    let place = Workplace::new(&cluster, sql).await;
    let mut reader = place.session().await;
    sqlx::raw_sql("set application_name = 'old reader'; begin isolation level repeatable read; select count(*) from t")
        .execute(&mut reader)
        .await
        .unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    place.execute("delete from t").await;
    place.wait_for("select n_dead_tup = 3000 from pg_stat_user_tables").await;
    let went = place.run(&vacuum(json!({}))).await.succeeded();
    let detail = went.row("public.t").detail.clone().unwrap();
    assert_eq!(detail["dead_after"], 3000, "{detail}");
    let held_by = detail["held_by"].as_str().unwrap();
    let expected =
        format!("session {pid} (application \"old reader\", role \"postgres\") has had its transaction open");
    assert!(held_by.starts_with(&expected), "{held_by}");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn an_order_to_stop_ends_the_vacuum_on_the_server_too() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let sql = "create table t (n int); insert into t select generate_series(1, 30000); delete from t";
    let place = Workplace::new(&cluster, sql).await;
    place.wait_for("select n_dead_tup = 30000 from pg_stat_user_tables").await;
    // Slow enough to be caught in the act; a role's settings reach the working session.
    place.execute("alter role postgres set vacuum_cost_delay = '100ms'").await;
    place.execute("alter role postgres set vacuum_cost_limit = 1").await;
    let run_id = place.insert(&vacuum(json!({}))).await;
    let (sender, orders) = watch::channel(None);
    let attempt = place.attempt(run_id, orders);
    let mut attempt = std::pin::pin!(attempt);
    let mut session = cluster.connect("postgres").await;
    let seen = wait_until("the vacuum to be at work", MOMENT, async || {
        sqlx::query_scalar::<_, i32>("select pid from pg_stat_progress_vacuum")
            .fetch_optional(&mut session)
            .await
            .unwrap()
    });
    let pid = tokio::select! {
        pid = seen => pid,
        went = &mut attempt => panic!("it ended by itself: {went:#?}"),
    };
    let stop = Stop::Cancelled { by: "a test".to_owned() };
    sender.send(Some(stop.clone())).unwrap();
    let went = attempt.await;
    assert_eq!(went.finish.end, End::Stopped(stop));
    assert_eq!(went.row("public.t").outcome.as_deref(), Some("cancelled"));
    assert_eq!(went.row("public.t").error.as_deref(), Some("cancelled by a test"));
    let at_work: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where pid = $1 and state = 'active'")
        .bind(pid)
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert_eq!(at_work, 0);
}

#[tokio::test]
async fn always_goes_on_after_a_stop_with_what_remains() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place =
        Workplace::new(&cluster, "create table a (n int); create table b (n int); create table c (n int)").await;
    let spec = vacuum(json!({ "always": true }));
    // The first attempt does a and c, but has no patience with the lock on b.
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table b").execute(&mut locker).await.unwrap();
    let spec_without_patience = vacuum(json!({ "always": true, "lock_wait": "0s" }));
    let run_id = place.insert(&spec_without_patience).await;
    let first = place.attempt(run_id, never()).await;
    assert_eq!(first.finish.end, End::Partial);
    assert_eq!((first.finish.done, first.finish.planned), if major.number >= 16 { (3, 4) } else { (2, 3) });
    locker.close().await.unwrap();
    // Before 15 the statistics that tell of it come a moment later.
    place.wait_for("select count(*) = 2 from pg_stat_user_tables where last_vacuum is not null").await;
    let second = place.attempt(run_id, never()).await.succeeded();
    assert_eq!(second.finish.planned, if major.number >= 16 { 2 } else { 1 });
    assert_eq!(place.plan(&spec).await.iter().filter(|step| step.contains("[always]")).count(), 3);
}

#[tokio::test]
async fn a_table_that_is_dropped_after_the_plan_is_no_failure() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "create table a (n int); create table b (n int)").await;
    // The job waits for the lock on a; meanwhile b goes.
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table a").execute(&mut locker).await.unwrap();
    let spec = vacuum(json!({ "always": true }));
    let run_id = place.insert(&spec).await;
    let other = async {
        place.wait_for_statement("find_lock_holder").await;
        place.execute("drop table b").await;
        locker.close().await.unwrap();
    };
    let (went, ()) = tokio::join!(place.attempt(run_id, never()), other);
    let went = went.succeeded();
    assert_eq!(went.row("public.b").detail.as_ref().unwrap()["note"], "dropped since it was planned");
    assert_eq!(went.row("public.b").statement, None);
}

#[tokio::test]
async fn the_ledgers_own_tables_are_looked_after_like_any_other() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = start(&major).await;
    let place = Workplace::new(&cluster, "").await.in_control();
    let went = place.run(&vacuum(json!({ "always": true }))).await.succeeded();
    for table in ["run", "attempt", "step", "outbox", "schedule", "daemon"] {
        assert_eq!(went.row(&format!("pgupkeep.{table} ")).outcome.as_deref(), Some("done"));
    }
}
