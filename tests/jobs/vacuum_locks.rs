//! The `vacuum` job beside other sessions: it waits for them within bounds, and makes nobody wait.

use std::time::Duration;

use pgupkeep::fault::Fault;
use pgupkeep::jobs::drive::End;
use serde_json::json;
use sqlx::Connection as _;
use tokio::time::Instant;

use super::workplace::{QUIET, Workplace, vacuum};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::vacuum_locks";

#[tokio::test]
async fn a_locked_table_is_not_done_after_lock_wait_and_the_others_are() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mode in ["access exclusive", "share", "share update exclusive"] {
        let sql = "create table locked (n int); create table idle (n int)";
        let place = Workplace::new(&cluster, sql).await;
        let mut locker = place.session().await;
        let lock = format!("set application_name = 'migration'; begin; lock table locked in {mode} mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut locker).await.unwrap();
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut locker).await.unwrap();

        let started = Instant::now();
        let spec = vacuum(json!({ "always": true, "lock_wait": "2s" }));
        let waiting = async {
            let mut most = 0;
            loop {
                let sql = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
                            where a.application_name like 'pgupkeep/%' and not l.granted";
                most = most.max(place.ask(sql).await.parse::<i64>().unwrap());
                assert_eq!(most, 0, "we wait in a lock's queue");
            }
        };
        let went = tokio::select! {
            went = place.run(&spec) => went,
            () = waiting => unreachable!(),
        };
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        assert_eq!(went.finish.end, End::Partial, "{went:#?}");
        assert_eq!(went.finish.fault, Some(Fault::Locked));
        assert_eq!(went.row("public.idle").outcome.as_deref(), Some("done"));
        let row = went.row("public.locked");
        assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None));
        let error = row.error.clone().unwrap();
        let holder = format!("session {pid} (application \"migration\", role \"postgres\") holds ");
        assert!(error.starts_with(&holder), "{error}");
        assert!(error.contains("waited for during 2s"), "{error}");
        locker.close().await.unwrap();
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.row("public.locked").outcome.as_deref(), Some("done"));
    }
}

#[tokio::test]
async fn a_partition_that_is_locked_keeps_its_parent_waiting() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let sql = "create table parent (n int) partition by range (n);
               create table part partition of parent for values from (0) to (9)";
    let place = Workplace::new(&cluster, sql).await;
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table part").execute(&mut locker).await.unwrap();
    let went = place.run(&vacuum(json!({ "always": true, "include": ["parent"], "lock_wait": "0s" }))).await;
    assert_eq!(went.finish.end, End::Partial, "{went:#?}");
    assert_eq!(went.finish.fault, Some(Fault::Locked));
    assert_eq!(went.row("public.parent").statement, None);
    locker.close().await.unwrap();
}

#[tokio::test]
async fn one_locked_table_does_not_sink_the_plan() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let sql = "create table parent (n int) partition by range (n);
               create table part partition of parent for values from (0) to (9);
               create table t (n int); insert into t select generate_series(1, 500)";
    let place = Workplace::new(&cluster, sql).await;
    place.wait_for("select n_live_tup = 500 from pg_stat_user_tables where relname = 't'").await;
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table parent, t").execute(&mut locker).await.unwrap();
    let started = Instant::now();
    let plan = place.plan(&vacuum(json!({}))).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(plan[0], "vacuum (analyze) public.t [inserts, analyze, never_analyzed]");
    locker.close().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_given_back_in_time_is_waited_for() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, "create table t (n int)").await;
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table t").execute(&mut locker).await.unwrap();
    let release = async {
        place.wait_for_statement("find_lock_holder").await;
        locker.close().await.unwrap();
    };
    let spec = vacuum(json!({ "always": true }));
    let (went, ()) = tokio::join!(place.run(&spec), release);
    assert_eq!(went.succeeded().row("public.t").outcome.as_deref(), Some("done"));
}

#[tokio::test]
async fn autovacuum_is_waited_for_and_not_made_to_give_way() {
    let Some(major) = one_major(SUITE) else { return };
    let settings = [
        "autovacuum = on",
        "autovacuum_naptime = 1s",
        "autovacuum_vacuum_cost_delay = 100ms",
        "autovacuum_vacuum_cost_limit = 100",
        "autovacuum_vacuum_threshold = 1000",
        "log_autovacuum_min_duration = 0",
        "deadlock_timeout = 100ms",
    ];
    let cluster = Cluster::start(&major, &settings).await;
    let sql =
        "create table t (n int, t text); insert into t select i, repeat('x', 300) from generate_series(1, 5000) i;
               delete from t";
    let place = Workplace::new(&cluster, sql).await;
    place.wait_for("select exists (select from pg_stat_progress_vacuum where relid = 't'::regclass)").await;
    let went = place.run(&vacuum(json!({ "include": ["t"], "always": true }))).await.succeeded();
    assert_eq!(went.row("public.t").outcome.as_deref(), Some("done"));
    let log = cluster.log();
    assert!(!log.contains("canceling autovacuum task"), "{log}");
    let name = format!("automatic vacuum of table \"{}.public.t\"", place.database);
    assert!(log.contains(&name), "{log}");
}
