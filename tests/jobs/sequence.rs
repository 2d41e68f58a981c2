//! The `sequence` job: order, failure, what a later attempt leaves out, and an inner job's own timeout.

use pgupkeep::fault::Fault;
use pgupkeep::jobs::JobSpec;
use pgupkeep::jobs::drive::End;
use pgupkeep::policy::gate::Stop;
use serde_json::json;
use tokio::sync::watch;

use super::workplace::{QUIET, StepRow, Workplace, job, never, sequence, vacuum};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::sequence";

fn sql(name: &str, statement: &str) -> JobSpec {
    job(name, "sql", &json!({ "statement": statement }))
}

fn note(name: &str) -> JobSpec {
    sql(name, &format!("insert into said values ('{name}')"))
}

const SAID: &str = "create table said (what text)";
const WHAT_WAS_SAID: &str = "select coalesce(string_agg(what, ' '), '') from said";

fn told(rows: &[StepRow]) -> Vec<(&str, &str, &str)> {
    rows.iter().map(StepRow::told).collect()
}

#[tokio::test]
async fn jobs_are_done_in_order_under_their_own_names() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, SAID).await;
    let all = sequence(&[note("one"), note("two")], "stop");
    assert_eq!(place.plan(&all).await, ["one (1 of 2)", "two (2 of 2)"]);
    let went = place.run(&all).await.succeeded();
    assert_eq!(
        told(&went.rows),
        [
            ("one", "insert into said values ('one')", "done"),
            ("all", "one (1 of 2)", "done"),
            ("two", "insert into said values ('two')", "done"),
            ("all", "two (2 of 2)", "done"),
        ]
    );
    assert_eq!(went.rows[1].detail, Some(json!({ "steps_done": 1, "steps_planned": 1 })));
    assert_eq!(place.ask(WHAT_WAS_SAID).await, "one two");
}

#[tokio::test]
async fn a_failure_stops_the_sequence_or_does_not() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let check = async |on_failure: &str, said: &str, end: End| {
        let place = Workplace::new(&cluster, SAID).await;
        let inner = [note("one"), sql("bad", "select 1 / 0"), note("three")];
        let went = place.run(&sequence(&inner, on_failure)).await;
        assert_eq!(went.finish.end, end, "{went:#?}");
        assert_eq!(went.finish.fault, Some(Fault::Statement));
        let error = went.finish.error().unwrap();
        assert_eq!(error, "bad (2 of 3): select 1 / 0: division by zero (SQLSTATE 22012)");
        assert_eq!(place.ask(WHAT_WAS_SAID).await, said);
    };
    check("stop", "one", End::Partial).await;
    check("continue", "one three", End::Partial).await;
}

#[tokio::test]
async fn a_later_attempt_leaves_out_what_is_done() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, SAID).await;
    let inner = [note("one"), sql("two", "insert into said select 'two' from late"), note("one")];
    let run_id = place.insert(&sequence(&inner, "stop")).await;
    let first = place.attempt(run_id, never()).await;
    assert_eq!((first.finish.end, first.finish.done, first.finish.planned), (End::Partial, 1, 3));
    place.execute("create table late as select 1").await;
    let second = place.attempt(run_id, never()).await.succeeded();
    assert_eq!((second.finish.done, second.finish.planned), (2, 2));
    assert_eq!(place.ask(WHAT_WAS_SAID).await, "one two one");
}

#[tokio::test]
async fn a_jobs_own_timeout_ends_that_job_only() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let slow = JobSpec { timeout_ms: Some(1500), ..sql("slow", "select pg_sleep(60)") };
    let check = async |on_failure: &str, said: &str| {
        let place = Workplace::new(&cluster, SAID).await;
        let went = place.run(&sequence(&[slow.clone(), note("next")], on_failure)).await;
        assert_eq!(went.finish.fault, Some(Fault::Timeout), "{went:#?}");
        assert_eq!(went.rows[0].told(), ("slow", "select pg_sleep(60)", "cancelled"));
        assert!(went.finish.error().unwrap().contains("timeout was reached"), "{:?}", went.finish);
        assert_eq!(place.ask(WHAT_WAS_SAID).await, said);
        assert_eq!(place.at_work("pg_sleep").await, 0);
    };
    check("stop", "").await;
    check("continue", "next").await;
}

#[tokio::test]
async fn an_order_to_stop_ends_the_whole_sequence() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, SAID).await;
    let inner = [note("one"), sql("slow", "select pg_sleep(61)"), note("three")];
    let run_id = place.insert(&sequence(&inner, "continue")).await;
    let (sender, orders) = watch::channel(None);
    let mut attempt = std::pin::pin!(place.attempt(run_id, orders));
    tokio::select! {
        () = place.wait_for_statement("pg_sleep(61)") => (),
        went = &mut attempt => panic!("it ended by itself: {went:#?}"),
    }
    sender.send(Some(Stop::Shutdown)).unwrap();
    let went = attempt.await;
    assert_eq!((went.finish.end, went.finish.done), (End::Stopped(Stop::Shutdown), 1));
    assert_eq!(place.ask(WHAT_WAS_SAID).await, "one");
}

#[tokio::test]
async fn a_job_that_has_two_turns_works_in_both() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, SAID).await;
    let always = vacuum(json!({ "always": true, "include": ["said"] }));
    place.run(&sequence(&[always.clone(), note("between"), always], "stop")).await.succeeded();
    place.wait_for("select vacuum_count = 2 from pg_stat_user_tables where relname = 'said'").await;
}
