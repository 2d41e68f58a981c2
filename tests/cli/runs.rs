//! `run`, `plan` and `cancel`.

use std::time::Duration;

use super::documents::assert_documented;
use super::{Bench, JOBS, assert_said};
use crate::support::*;

#[tokio::test]
async fn run_local_does_the_work_and_exits_by_its_outcome() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let said = bench.expect(0, &["run", "tidy", "--local"]).await;
    assert_said!(said.stdout, @"tidy on main ([id]): succeeded in [took], 1 step done");
    assert_said!(said.stderr, @"tidy on main: done: delete from junk ([took], 3 rows)");
    assert_eq!(bench.column("select count(*)::text from junk").await, ["0"]);

    let said = bench.expect(0, &["run", "nothing", "--local"]).await;
    assert_said!(said.stdout, @"nothing on main ([id]): succeeded in [took]: nothing to do");

    let said = bench.expect(1, &["run", "broken", "--local"]).await;
    assert_said!(said.stdout, @r"
    broken on main ([id]): failed in [took]: select 1/0: division by zero (SQLSTATE 22012)
    ");
    assert_said!(said.stderr, @r"
    broken on main: failed: select 1/0 ([took]): division by zero (SQLSTATE 22012)
    ");

    let said = bench.expect(2, &["run", "half", "--local"]).await;
    assert_said!(said.stdout, @r"
    half on main ([id]): partial in [took], 1 of 2 steps done: broken (2 of 2): select 1/0: division by zero (SQLSTATE 22012)
    ");

    let said = bench.expect(0, &["history", "--json"]).await.json();
    let outcomes: Vec<_> = said.as_array().unwrap().iter().map(|run| (&run["job"], &run["outcome"])).collect();
    assert_eq!(
        format!("{outcomes:?}"),
        r#"[(String("half"), String("partial")), (String("broken"), String("failed")), (String("nothing"), String("succeeded")), (String("tidy"), String("succeeded"))]"#
    );
}

#[tokio::test]
async fn run_local_tells_programs_the_whole_run() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let answer = bench.expect(0, &["run", "tidy", "--local", "--json"]).await.json();
    assert_documented("Asked", &answer);
    let run = &answer["runs"][0];
    assert_documented("Run", run);
    assert_documented("Attempt", &run["attempts_detail"][0]);
    assert_documented("Step", &run["steps"][0]);
    assert_eq!(
        (&run["outcome"], &run["trigger"], &run["attempts"]),
        (&"succeeded".into(), &"manual".into(), &1.into())
    );
    assert_eq!(run["steps"][0]["rows_affected"], 3);
}

#[tokio::test]
async fn run_local_leaves_everything_alone_when_the_target_is_away() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.cluster.stop(StopMode::Fast).await;
    let said = bench.expect(69, &["run", "tidy", "--local"]).await;
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("target `main`: cannot connect to 127.0.0.1:"), "{said:?}");
    assert!(said.stderr.contains("no run was written"), "{said:?}");
}

#[tokio::test]
async fn run_local_refuses_a_standby() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let standby = bench.cluster.standby(&[]).await;
    bench.config.rewrite(&JOBS.replace(
        "main: { url: \"env:DATABASE_URL\" }",
        &format!("main: {{ url: \"env:DATABASE_URL\" }}\n  copy: {{ url: \"{}\" }}", standby.url(&bench.database)),
    ));
    let said = bench.expect(1, &["run", "tidy", "--local"]).await;
    assert!(said.stderr.contains("the target copy is a standby"), "{said:?}");
    let said = bench.expect(1, &["history"]).await;
    assert!(said.stderr.contains("holds no ledger yet"), "nothing was written: {said:?}");
    let said = bench.expect(0, &["plan", "tidy", "--target", "copy"]).await;
    assert_said!(said.stdout, @"tidy on copy: the target is a standby; nothing is done there until it is promoted");
    // The other target is fit.
    bench.expect(0, &["run", "tidy", "--local", "--target", "main"]).await;
}

#[tokio::test]
async fn several_targets_exit_by_the_worst() {
    let yaml = JOBS.replace(
        "main: { url: \"env:DATABASE_URL\" }",
        "main: { url: \"env:DATABASE_URL\" }\n  other: { url: \"env:OTHER_URL\" }",
    );
    let Some(bench) = Bench::start(&yaml).await else { return };
    // No table `junk` there.
    let other = bench.cluster.url(&bench.cluster.create_database().await);
    let variables = [("DATABASE_URL", bench.url.as_str()), ("OTHER_URL", other.as_str())];
    let said = pgupkeep(&bench.config.path(), &["run", "tidy", "--local"], &variables).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_said!(said.stdout, @r#"
    tidy on main ([id]): succeeded in [took], 1 step done
    tidy on other ([id]): failed in [took]: delete from junk: relation "junk" does not exist (SQLSTATE 42P01)
    "#);
    let said = pgupkeep(&bench.config.path(), &["run", "tidy", "--local", "--target", "main"], &variables).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn a_run_without_a_daemon_is_written_and_says_that_it_waits() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let said = bench.expect(0, &["run", "tidy"]).await;
    assert_said!(said.stdout, @"tidy on main ([id]): queued");
    assert_said!(said.stderr, @r"
    pgupkeep: no daemon is up: the run waits until one starts; `pgupkeep run tidy --local` does the work without one
    ");
    let answer = bench.expect(0, &["run", "tidy", "--json"]).await.json();
    assert_documented("Asked", &answer);
    assert_eq!((&answer["daemons_up"], &answer["runs"][0]["state"]), (&0.into(), &"queued".into()));
    // A daemon that comes later does both.
    let mut daemon = bench.daemon().await;
    wait_until("both runs to end", MOMENT, async || {
        let ended = bench.column("select count(*)::text from pgupkeep.run where outcome = 'succeeded'").await;
        (ended == ["2"]).then_some(())
    })
    .await;
    daemon.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_local_run_does_not_wait_behind_queued_ones_that_nobody_works_on() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["run", "tidy"]).await;
    bench.expect(0, &["run", "tidy", "--local"]).await;
    assert_eq!(bench.column("select state from pgupkeep.run order by run_id").await, ["queued", "finished"]);
}

#[tokio::test]
async fn a_local_run_takes_its_keys_from_a_worker_that_died() {
    let yaml = format!("{JOBS}\ndefaults: {{ lease: 5s }}");
    let Some(bench) = Bench::start(&yaml).await else { return };
    let mut first = binary(&[("DATABASE_URL", &bench.url)])
        .arg("--config")
        .arg(bench.config.path())
        .args(["run", "slow", "--local"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    bench.wait_for_work("pg_sleep(60)").await;
    first.kill().await.unwrap();
    bench.config.rewrite(&yaml.replace("pg_sleep(60)", "pg_sleep(0)"));
    let said = bench.expect(0, &["run", "slow", "--local"]).await;
    assert!(said.stderr.contains("waits for slow"), "{said:?}");
    assert_eq!(bench.column("select outcome from pgupkeep.attempt order by started_at").await, ["lost", "succeeded"]);
}

#[tokio::test]
async fn plan_shows_the_steps_and_changes_nothing() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let said = bench.expect(0, &["plan", "tidy"]).await;
    assert_said!(said.stdout, @r"
    tidy on main: 1 step
      1. delete from junk
    ");
    let said = bench.expect(0, &["plan", "half"]).await;
    assert_said!(said.stdout, @r"
    half on main: 2 steps
      1. tidy (1 of 2)
      2. broken (2 of 2)
      tidy on main: 1 step
      1. delete from junk
      broken on main: 1 step
      1. select 1/0
    ");
    let said = bench.expect(0, &["plan", "nothing"]).await;
    assert_said!(said.stdout, @r"
    nothing on main: nothing to do
      note: the pattern nowhere.* of include means no table
    ");
    let answer = bench.expect(0, &["plan", "tidy", "--json"]).await.json();
    assert_documented("Plan", &answer[0]);
    assert_eq!(answer[0]["steps"].as_array().unwrap().len(), 1);
    assert_eq!(bench.column("select count(*)::text from junk").await, ["3"]);
    let schemas = bench.column("select count(*)::text from pg_namespace where nspname = 'pgupkeep'").await;
    assert_eq!(schemas, ["0"], "no ledger was made");

    bench.cluster.stop(StopMode::Fast).await;
    let said = bench.expect(69, &["plan", "tidy", "--json"]).await;
    assert_documented("Plan", &said.json()[0]);
    assert_eq!(said.json()[0]["steps"], serde_json::Value::Null);
}

#[tokio::test]
async fn cancel_ends_a_queued_run_and_only_once() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let answer = bench.expect(0, &["run", "tidy", "--json"]).await.json();
    let id = answer["runs"][0]["run_id"].as_str().unwrap();
    let said = bench.expect(0, &["cancel", &id[..30]]).await;
    assert_said!(said.stdout, @"tidy on main ([id]) is cancelled; it was not at work");
    let said = bench.expect(1, &["cancel", id, "--json"]).await;
    assert_documented("Cancelled", &said.json());
    assert_eq!((&said.json()["result"], &said.json()["outcome"]), (&"finished".into(), &"cancelled".into()));
    let said = bench.expect(1, &["cancel", id]).await;
    assert_said!(said.stdout, @"tidy on main ([id]) had finished already: cancelled");
    let said = bench.expect(64, &["cancel", "ffffffff"]).await;
    assert_said!(said.stderr, @"pgupkeep: no run's id begins with ffffffff; `pgupkeep history` shows them");
}

#[tokio::test]
async fn an_ambiguous_beginning_cancels_nothing() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let first = bench.expect(0, &["run", "tidy", "--json"]).await.json();
    bench.expect(0, &["run", "tidy"]).await;
    let shared = &first["runs"][0]["run_id"].as_str().unwrap()[..3];
    let said = bench.expect(64, &["cancel", shared]).await;
    assert!(said.stderr.contains("2 runs") && said.stderr.contains("tidy on main, queued"), "{said:?}");
    assert_eq!(bench.column("select distinct state from pgupkeep.run").await, ["queued"]);
}

#[tokio::test]
async fn secrets_stay_out_of_what_commands_print() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.execute("create role keeper login superuser password 'canary-4711'").await;
    let url = bench.url.replace("postgres@", "keeper:canary-4711@");
    bench.config.rewrite(&JOBS.replace("delete from junk", "select canary-4711"));
    for arguments in [
        &["plan", "tidy"][..],
        &["run", "tidy", "--local"],
        &["history", "--steps"],
        &["status"],
        &["run", "tidy", "--local", "--json"],
    ] {
        let said = pgupkeep(&bench.config.path(), arguments, &[("DATABASE_URL", &url), ("RUST_LOG", "debug")]).await;
        assert!(!format!("{said:?}").contains("canary-4711"), "{arguments:?}: {said:?}");
    }
}
