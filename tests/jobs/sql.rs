//! The `sql` job: rows, failures, and a session that is as good as new afterwards.

use std::time::Duration;

use pgupkeep::fault::Fault;
use pgupkeep::jobs::JobSpec;
use pgupkeep::jobs::drive::End;
use pgupkeep::policy::gate::Stop;
use serde_json::json;
use tokio::sync::watch;

use super::workplace::{Workplace, job, sequence};
use crate::support::{Cluster, majors, one_major};

const SUITE: &str = "jobs::sql";

fn sql(name: &str, statement: &str, transaction: &str) -> JobSpec {
    job(name, "sql", &json!({ "statement": statement, "transaction": transaction }))
}

#[tokio::test]
async fn rows_are_on_record_and_all_of_it_happens_or_nothing() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create table t (n int primary key)").await;

    let text = "insert into t select generate_series(1, 5);\ninsert into t values (6) -- the last";
    let went = place.run(&sql("fill", text, "inside")).await.succeeded();
    assert_eq!(went.rows.len(), 1);
    assert_eq!(went.rows[0].told(), ("fill", "insert into t select generate_series(1, 5);", "done"));
    assert_eq!(went.rows[0].rows_affected, Some(6));
    let sent = went.rows[0].statement.as_deref().unwrap();
    assert!(
        sent.starts_with("begin;") && sent.contains(&format!("\n{text}\n;")) && sent.ends_with(";commit"),
        "{sent}"
    );

    let text = "set transaction isolation level serializable; insert into t values (0)";
    let went = place.run(&sql("level", text, "inside")).await.succeeded();
    assert_eq!(went.rows[0].rows_affected, Some(1));
    place.execute("delete from t where n = 0").await;

    let went = place.run(&sql("fail", "insert into t values (7); insert into t values (1)", "inside")).await;
    assert_eq!(went.finish.end, End::Failed);
    assert_eq!(went.finish.fault, Some(Fault::Statement));
    assert_eq!(went.rows[0].outcome.as_deref(), Some("failed"));
    assert!(went.rows[0].error.as_ref().unwrap().contains("duplicate key"), "{:?}", went.rows[0]);
    assert_eq!(place.ask("select count(*) from t").await, "6");
}

#[tokio::test]
async fn a_text_that_ends_its_transaction_has_failed_and_is_told_what_stands() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create table t (n int primary key)").await;
    let ends =
        ["commit", "rollback", "commit and chain", "rollback and chain", "commit; begin", "commit; begin; reset all"];
    for (n, end) in (1..).zip(ends) {
        let went = place.run(&sql("ends", &format!("insert into t values ({n}); {end}"), "inside")).await;
        assert_eq!((&went.finish.end, went.finish.fault), (&End::Failed, Some(Fault::Statement)), "{went:#?}");
        let error = went.finish.error().unwrap();
        assert!(error.contains("ended its transaction itself") && error.contains("`transaction: outside`"), "{error}");
    }
    assert_eq!(place.ask("select string_agg(n::text, ' ') from t").await, "1 3 5 6");
}

#[tokio::test]
async fn a_copy_that_nobody_feeds_fails_and_holds_nothing() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create table t (n int)").await;
    let went = place.run(&sql("feed", "copy t from stdin", "inside")).await;
    assert_eq!(went.finish.end, End::Failed, "{went:#?}");
    place.wait_for("select not exists (select from pg_locks where relation = 't'::regclass)").await;
}

#[tokio::test]
async fn what_cannot_be_in_a_transaction_is_sent_outside_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, &[]).await;
        let place = Workplace::new(&cluster, "create table t (n int)").await;
        for statement in ["create index concurrently t_n on t (n)", "vacuum t", "reindex table concurrently t"] {
            let went = place.run(&sql("inside", statement, "inside")).await;
            assert_eq!(went.finish.end, End::Failed, "{statement}");
            assert!(went.finish.error().unwrap().contains("transaction block"), "{:?}", went.finish);
            place.run(&sql("outside", statement, "outside")).await.succeeded();
        }
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends_on_the_server() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create table t (n int)").await;
    let run_id = place.insert(&sql("slow", "insert into t values (1); select pg_sleep(60)", "inside")).await;
    let (sender, orders) = watch::channel(None);
    let attempt = place.attempt(run_id, orders);
    let mut attempt = std::pin::pin!(attempt);
    tokio::select! {
        () = place.wait_for_statement("pg_sleep") => (),
        went = &mut attempt => panic!("it ended by itself: {went:#?}"),
    }
    sender.send(Some(Stop::TimedOut)).unwrap();
    let went = tokio::time::timeout(Duration::from_secs(10), attempt).await.unwrap();
    assert_eq!(went.finish.end, End::Stopped(Stop::TimedOut));
    assert_eq!(went.rows[0].outcome.as_deref(), Some("cancelled"));
    assert_eq!(place.ask("select count(*) from t").await, "0");
    assert_eq!(place.at_work("pg_sleep").await, 0);
}

#[tokio::test]
async fn nothing_of_a_statement_is_left_in_the_session_but_the_locks_are() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create role other; create table said (what text)").await;
    let mess = [
        sql("settings", "set search_path = nowhere; set role other; create temp table said (x int)", "inside"),
        sql("open", "begin; create table never (n int)", "outside"),
        sql("broken", "begin; select 1 / 0", "outside"),
    ];
    for mess in mess {
        let fails = mess.name.as_str() == "broken";
        let check = "insert into public.said select format('%s %s %s', current_setting('search_path'), current_user,
                        to_regclass('pg_temp.said') is not null)";
        let went = place.run(&sequence(&[mess, sql("look", check, "inside")], "continue")).await;
        assert_eq!(went.finish.end, if fails { End::Partial } else { End::Succeeded }, "{went:#?}");
    }
    assert_eq!(place.ask("select string_agg(distinct what, '; ') from said").await, "\"$user\", public postgres f");
    assert_eq!(place.ask("select to_regclass('never') is null").await, "true");
}
