//! The `reindex` job beside sessions that never end, and after ends in the middle: it leaves nothing invalid behind,
//! ends nobody, holds nobody up, and drops exactly what is its own.

use std::time::Duration;

use pgupkeep::fault::Fault;
use pgupkeep::jobs::drive::End;
use pgupkeep::policy::gate::Stop;
use serde_json::json;
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::time::Instant;

use super::reindex::{invalid, reindex};
use super::workplace::{QUIET, Went, Workplace, never};
use crate::support::{Cluster, Major, majors};

const SUITE: &str = "jobs::reindex_hostile";

async fn start(major: &Major) -> Cluster {
    let settings: Vec<&str> = QUIET.iter().copied().chain(["max_prepared_transactions = 5"]).collect();
    Cluster::start(major, &settings).await
}

async fn hold(place: &Workplace<'_>, sql: &'static str) -> (PgConnection, i32) {
    let mut session = place.session().await;
    sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    (session, pid)
}

/// A session that has a snapshot and nothing else.
const SNAPSHOT: &str = "set application_name = 'report'; begin isolation level repeatable read; select 1";

/// The longest that an INSERT takes, over and over, until the run has ended.
async fn beside_inserts(place: &Workplace<'_>, table: &str, run: impl Future<Output = Went>) -> (Went, Duration) {
    let mut session = place.session().await;
    let sql = format!("insert into {table} values (1)");
    let mut longest = Duration::ZERO;
    let inserts = async {
        loop {
            let started = Instant::now();
            sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&mut session).await.unwrap();
            longest = longest.max(started.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let went = tokio::select! {
        went = run => went,
        () = inserts => unreachable!(),
    };
    (went, longest)
}

#[tokio::test]
async fn what_others_hold_up_is_not_done_and_named_and_the_rest_is_done_on_every_major() {
    for major in majors(SUITE) {
        let cluster = start(&major).await;
        let place = Workplace::new(
            &cluster,
            "create table idle (n int); create index idle_n on idle (n);
             create table prepared (n int); create index prepared_n on prepared (n);
             create table locked (n int); create index locked_n on locked (n);
             create table free (n int); create index free_n on free (n); insert into free select generate_series(1, 1000)",
        )
        .await;
        let idle = hold(&place, "set application_name = 'forgotten'; begin; insert into idle values (1)").await;
        let mut prepared = place.session().await;
        sqlx::raw_sql("begin; insert into prepared values (1); prepare transaction 'in doubt'")
            .execute(&mut prepared)
            .await
            .unwrap();
        let locked = hold(&place, "set application_name = 'migration'; begin; lock table locked in share mode").await;
        place.wait_for("select count(*) = 2 from pg_stat_activity where xact_start < now() - interval '2 s'").await;
        place.wait_for("select prepared < now() - interval '2 s' from pg_prepared_xacts").await;

        let spec = reindex(json!({ "always": true, "include": ["idle", "prepared", "locked", "free"] }));
        let (went, longest) = Box::pin(beside_inserts(&place, "free", place.run(&spec))).await;
        assert_eq!((went.finish.end.clone(), went.finish.fault), (End::Partial, Some(Fault::Locked)), "{went:#?}");
        assert_eq!(went.row("public.free_n").outcome.as_deref(), Some("done"), "{went:#?}");
        let check = |index: &str, expected: String| {
            let row = went.row(index);
            assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None), "{row:?}");
            let error = row.error.clone().unwrap();
            assert!(error.contains(&expected) && error.contains("waited for during 1s (max_blocker_wait)"), "{error}");
        };
        check("idle_n", format!("session {} (application \"forgotten\", role \"postgres\") has had", idle.1));
        check("prepared_n", "prepared transaction 'in doubt' (role \"postgres\") waits to be".to_owned());
        check("locked_n", format!("session {} (application \"migration\", role \"postgres\") holds", locked.1));
        assert!(longest < Duration::from_secs(1), "an INSERT took {longest:?}");
        assert_eq!(invalid(&place).await, "");
        let pids = format!("select count(*) from pg_stat_activity where pid in ({}, {})", idle.1, locked.1);
        assert_eq!(place.ask(&pids).await, "2");

        // A snapshot holds up every rebuild in its database, so none is begun.
        place.execute("rollback prepared 'in doubt'").await;
        drop((idle, locked));
        let report = hold(&place, SNAPSHOT).await;
        let waited =
            "select xact_start < now() - interval '2 s' from pg_stat_activity where application_name = 'report'";
        place.wait_for(waited).await;
        let went = place.run(&reindex(json!({ "always": true, "include": ["free"] }))).await;
        let row = went.row("free_n");
        assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None), "{row:?}");
        assert!(row.error.as_ref().unwrap().starts_with(&format!("session {} (application \"report\"", report.1)));
        assert_eq!(invalid(&place).await, "");
        drop(report);
        place.wait_for("select count(*) = 0 from pg_stat_activity where application_name in ('report', 'forgotten', 'migration')").await;
        place.run(&spec).await.succeeded();
    }
}

/// A role that cannot see how old other roles' transactions are, so that the rebuild is begun beside them.
const BLIND: &str = "create role upkeep login; create table t (n int); insert into t select generate_series(1, 2000);
    grant create on schema public to upkeep; alter table t owner to upkeep; set role upkeep;
    create index t_n on t (n); create index t_n_ccnew on t (n)";

#[tokio::test]
async fn a_rebuild_that_waits_too_long_cancels_itself_and_clears_up_on_every_major() {
    for major in majors(SUITE) {
        let cluster = start(&major).await;
        let place = Workplace::new(&cluster, BLIND).await.working_as("upkeep");
        let (report, pid) = hold(&place, SNAPSHOT).await;
        let spec = reindex(json!({ "always": true, "include": ["t_n"] }));
        let (went, longest) = Box::pin(beside_inserts(&place, "t", place.run(&spec))).await;
        assert_eq!((went.finish.end.clone(), went.finish.fault), (End::Failed, Some(Fault::Locked)), "{went:#?}");
        let told: Vec<_> =
            went.rows.iter().map(|row| (row.statement.clone().unwrap(), row.outcome.clone().unwrap())).collect();
        let leftover = r#"DROP INDEX CONCURRENTLY "public"."t_n_ccnew1""#;
        assert_eq!(
            told,
            [
                (r#"REINDEX INDEX CONCURRENTLY "public"."t_n""#.to_owned(), "cancelled".to_owned()),
                (leftover.to_owned(), "done".to_owned()),
            ]
        );
        let error = went.rows[0].error.clone().unwrap();
        assert!(error.contains(&format!("waiting during 1s for session {pid} (application \"report\")")), "{error}");
        assert!(longest < Duration::from_secs(1), "an INSERT took {longest:?}");
        assert_eq!(invalid(&place).await, "");
        assert_eq!(place.ask("select string_agg(indexrelid::regclass::text, ' ' order by 1) from pg_index where indrelid = 't'::regclass").await, "t_n t_n_ccnew");
        assert_eq!(place.ask(&format!("select count(*) from pg_stat_activity where pid = {pid}")).await, "1");

        // An order to stop clears up as well.
        let patient = reindex(json!({ "always": true, "include": ["t_n"], "max_blocker_wait": "10m" }));
        let run_id = place.insert(&patient).await;
        let (sender, orders) = watch::channel(None);
        let attempt = place.attempt(run_id, orders);
        let mut attempt = std::pin::pin!(attempt);
        tokio::select! {
            () = waits(&place) => (),
            went = &mut attempt => panic!("it ended by itself: {went:#?}"),
        }
        let stop = Stop::Cancelled { by: "a test".to_owned() };
        sender.send(Some(stop.clone())).unwrap();
        let went = attempt.await;
        assert_eq!(went.finish.end, End::Stopped(stop));
        assert_eq!(invalid(&place).await, "");
        place.ledger.cancel_run(run_id).await.unwrap();

        // Whoever reads the table at the very end is waited for when the new copy is in place already.
        drop(report);
        let reader = hold(&place, "begin; select * from t limit 1").await;
        let went = place.run(&spec).await;
        assert_eq!(went.finish.end, End::Failed, "{went:#?}");
        drop(reader);
        place.wait_for("select count(*) = 0 from pg_stat_activity where state like 'idle in transaction%'").await;
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.rows[0].told().2, "done", "{went:#?}");
        assert!(went.rows[0].step.starts_with("drop public.t_n_ccold, left by"), "{went:#?}");
        assert_eq!(went.rows.len(), 1, "the rebuild had succeeded: {went:#?}");
        assert_eq!(invalid(&place).await, "");
        assert_eq!(place.ask("select indisvalid from pg_index where indexrelid = 't_n_ccnew'::regclass").await, "true");
    }
}

/// Waits until a rebuild of ours waits for others.
async fn waits(place: &Workplace<'_>) {
    place
        .wait_for("select exists (select from pg_stat_progress_create_index where phase like 'waiting for old%')")
        .await;
}

#[tokio::test]
async fn after_the_loss_of_our_session_exactly_our_leftovers_are_dropped_on_every_major() {
    for major in majors(SUITE) {
        let cluster = start(&major).await;
        let long = "x23456789_123456789_123456789_123456789_123456789_123456789äö";
        let quoted = r#"in"dex; drop table t; --"#;
        let place = Workplace::new(
            &cluster,
            &format!(
                r#"{BLIND}; create index "{long}" on t (n, (n + 1)) where n > 5;
                   create index "{}" on t (n desc); create index theirs on t ((n * 2));"#,
                quoted.replace('"', "\"\"")
            ),
        )
        .await
        .working_as("upkeep");
        // Somebody else's leftover, of an index that we have rebuilt well before.
        place.run(&reindex(json!({ "always": true, "include": ["theirs"] }))).await.succeeded();
        let snapshot = hold(&place, SNAPSHOT).await;
        let mut other = place.session().await;
        let broken = sqlx::raw_sql("set statement_timeout = '300ms'").execute(&mut other).await;
        broken.unwrap();
        sqlx::raw_sql("reindex index concurrently theirs").execute(&mut other).await.unwrap_err();
        assert_eq!(invalid(&place).await, "theirs_ccnew");

        let patient = |index: &str| reindex(json!({ "always": true, "include": [index], "max_blocker_wait": "10m" }));
        for index in ["t_n", long, quoted] {
            let run_id = place.insert(&patient(index)).await;
            let attempt = place.attempt(run_id, never());
            let end = async {
                waits(&place).await;
                // As a crash of the server process would.
                place
                    .execute("select pg_terminate_backend(pid) from pg_stat_activity where query like 'REINDEX%' and application_name like 'pgupkeep/%'")
                    .await;
            };
            let (went, ()) = tokio::join!(attempt, end);
            assert_eq!(went.finish.fault, Some(Fault::Unreachable), "{went:#?}");
            assert_eq!(went.rows.last().unwrap().outcome.as_deref(), Some("lost"), "{went:#?}");
            // Each attempt has dropped what the one before it has left, and nothing else.
            let drops = went.rows.iter().filter(|row| row.step.starts_with("drop ")).count();
            assert_eq!(drops, usize::from(index != "t_n"), "{went:#?}");
            place.ledger.cancel_run(run_id).await.unwrap();
            place.wait_for("select count(*) = 0 from pg_stat_progress_create_index").await;
        }
        assert_eq!(place.ask("select count(*) from pg_index where not indisvalid").await, "2");
        drop(snapshot);
        place.wait_for("select count(*) = 0 from pg_stat_activity where application_name = 'report'").await;

        let spec = reindex(json!({ "include": ["t"] }));
        let planned = place.plan(&spec).await;
        let drops = planned.iter().filter(|step| step.starts_with("drop ")).count();
        assert_eq!((drops, planned.len()), (1, 2), "{planned:#?}");
        assert!(
            planned[1].starts_with("refuse public.theirs_ccnew: it is invalid, a copy of public.theirs"),
            "{planned:#?}"
        );
        let went = place.run(&spec).await;
        assert_eq!((went.finish.end.clone(), went.finish.done), (End::Partial, 1), "{went:#?}");
        assert_eq!(invalid(&place).await, "theirs_ccnew");
        assert_eq!(place.ask("select indisvalid from pg_index where indexrelid = 't_n_ccnew'::regclass").await, "true");
        assert_eq!(place.plan(&spec).await, planned[1..]);

        place.run(&reindex(json!({ "include": ["t"], "adopt": true }))).await.succeeded();
        assert_eq!(invalid(&place).await, "");
        assert_eq!(place.ask("select count(*) from pg_index where indrelid = 't'::regclass").await, "5");
    }
}

#[tokio::test]
async fn what_is_left_of_a_toast_index_is_dropped_and_the_index_rebuilt_on_every_major() {
    for major in majors(SUITE) {
        let cluster = start(&major).await;
        let place = Workplace::new(
            &cluster,
            "create table doc (d text); alter table doc alter column d set storage external;
             insert into doc select repeat('x', 3000) from generate_series(1, 100)",
        )
        .await;
        let toast = "select relname from pg_class where oid = (select indexrelid from pg_index where indisvalid
                      and indrelid = (select reltoastrelid from pg_class where relname = 'doc'))";
        let toast = place.ask(toast).await;
        let report = hold(&place, SNAPSHOT).await;
        // A superuser sees the snapshot and would not begin beside it; a long patience is what a plan cannot see.
        place
            .execute(
                "create role upkeep login; grant usage on schema pg_toast to upkeep; alter table doc owner to upkeep",
            )
            .await;
        let place = place.working_as("upkeep");
        let patient = reindex(json!({ "always": true, "include": ["doc"], "max_blocker_wait": "10m" }));
        let run_id = place.insert(&patient).await;
        let end = async {
            waits(&place).await;
            place
                .execute("select pg_terminate_backend(pid) from pg_stat_activity where query like 'REINDEX%' and application_name like 'pgupkeep/%'")
                .await;
        };
        let (went, ()) = tokio::join!(place.attempt(run_id, never()), end);
        assert_eq!(went.finish.fault, Some(Fault::Unreachable), "{went:#?}");
        place.ledger.cancel_run(run_id).await.unwrap();
        place.wait_for("select count(*) = 0 from pg_stat_progress_create_index").await;
        assert_eq!(invalid(&place).await, format!("pg_toast.{toast}_ccnew"));

        drop(report);
        place.wait_for("select count(*) = 0 from pg_stat_activity where application_name = 'report'").await;
        let went = place.run(&patient).await.succeeded();
        let told: Vec<_> = went.rows.iter().map(|row| row.statement.clone().unwrap()).collect();
        assert_eq!(
            told,
            [
                format!("DROP INDEX CONCURRENTLY \"pg_toast\".\"{toast}_ccnew\""),
                format!("REINDEX INDEX CONCURRENTLY \"pg_toast\".\"{toast}\""),
            ]
        );
        assert_eq!(invalid(&place).await, "");
    }
}
