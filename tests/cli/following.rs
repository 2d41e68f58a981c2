//! `run --watch`, `run --local` and `cancel` while the work goes on.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::process::Child;

use super::{Bench, JOBS, assert_said};
use crate::support::*;

fn spawn(bench: &Bench, arguments: &[&str]) -> Child {
    binary(&[("DATABASE_URL", &bench.url)])
        .arg("--config")
        .arg(bench.config.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
}

async fn end(child: Child) -> Said {
    let output = tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()).await.unwrap().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn watch_follows_a_run_of_a_daemon_and_exits_by_its_outcome() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let mut daemon = bench.daemon().await;
    let said = bench.expect(0, &["run", "tidy", "--watch"]).await;
    assert_said!(said.stdout, @"tidy on main ([id]): succeeded in [took], 1 step done");
    assert!(said.stderr.contains("tidy on main: done: delete from junk ("), "{said:?}");
    let said = bench.expect(1, &["run", "broken", "--watch"]).await;
    assert_said!(said.stdout, @r"
    broken on main ([id]): failed in [took]: select 1/0: division by zero (SQLSTATE 22012)
    ");
    let said = bench.expect(2, &["run", "half", "--watch", "--json"]).await;
    assert_eq!(said.json()["runs"][0]["outcome"], "partial");
    daemon.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_watched_run_waits_for_a_daemon_to_start() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let watching = spawn(&bench, &["run", "tidy", "--watch"]);
    wait_until("the run to be written", MOMENT, async || {
        let there = bench.column("select count(*)::text from pg_class where relname = 'run' and relkind = 'r'").await;
        (there == ["1"] && bench.column("select state from pgupkeep.run").await == ["queued"]).then_some(())
    })
    .await;
    let mut daemon = bench.daemon().await;
    let said = end(watching).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("no daemon is up"), "{said:?}");
    daemon.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn an_interrupt_ends_the_watching_and_not_the_run() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let mut daemon = bench.daemon().await;
    let watching = spawn(&bench, &["run", "slow", "--watch"]);
    bench.wait_for_work("pg_sleep(60)").await;
    interrupt(&watching);
    let said = end(watching).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no longer following; the run goes on"), "{said:?}");
    assert_said!(said.stdout, @"slow on main ([id]): running");
    assert_eq!(bench.column("select state from pgupkeep.run").await, ["running"]);

    // Everything that reads says so, and `cancel` ends it.
    let status = bench.expect(0, &["status", "--json"]).await.json();
    assert_eq!(status["active"][0]["state"], "running");
    let id = status["active"][0]["run_id"].as_str().unwrap().to_owned();
    let said = bench.expect(0, &["cancel", &id]).await;
    assert_said!(said.stdout, @"slow on main ([id]) is asked to stop; its worker ends it within seconds");
    assert_eq!(said.stderr, "");
    wait_until("the run to end", MOMENT, async || {
        (bench.column("select outcome from pgupkeep.run where outcome is not null").await == ["cancelled"])
            .then_some(())
    })
    .await;
    daemon.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn an_interrupt_cancels_a_local_run() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let working = spawn(&bench, &["run", "slow", "--local"]);
    bench.wait_for_work("pg_sleep(60)").await;
    interrupt(&working);
    let said = end(working).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_said!(said.stdout, @"slow on main ([id]): cancelled in [took]: cancelled by postgres");
    assert_eq!(bench.column("select outcome from pgupkeep.run").await, ["cancelled"]);
    assert_eq!(bench.column("select outcome from pgupkeep.step").await, ["cancelled"]);
}

#[tokio::test]
async fn a_local_run_can_be_cancelled_from_elsewhere() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let working = spawn(&bench, &["run", "slow", "--local"]);
    bench.wait_for_work("pg_sleep(60)").await;
    let id = bench.column("select run_id::text from pgupkeep.run").await.remove(0);
    let said = bench.expect(0, &["cancel", &id]).await;
    assert!(said.stderr.contains("no daemon is up"), "{said:?}");
    let said = end(working).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("cancelled by postgres"), "{said:?}");
}

#[tokio::test]
async fn a_second_local_run_waits_for_the_first_and_says_for_what() {
    let yaml = JOBS.replace("pg_sleep(60)", "pg_sleep(4)");
    let Some(bench) = Bench::start(&yaml).await else { return };
    let first = spawn(&bench, &["run", "slow", "--local"]);
    bench.wait_for_work("pg_sleep(4)").await;
    let said = bench.expect(0, &["run", "slow", "--local"]).await;
    assert!(said.stderr.contains("slow on main: waits for slow ("), "{said:?}");
    assert_eq!(end(first).await.code, Some(0));
    let overlaps = "select count(*)::text from pgupkeep.run a join pgupkeep.run b
                    on a.run_id < b.run_id and b.started_at < a.finished_at";
    assert_eq!(bench.column(overlaps).await, ["0"]);
}

#[tokio::test]
async fn a_local_run_is_left_to_this_process_while_a_daemon_is_up() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let mut daemon = bench.daemon().await;
    bench.expect(0, &["run", "tidy", "--local"]).await;
    let by_daemon =
        "select count(*)::text from pgupkeep.attempt where daemon_id in (select daemon_id from pgupkeep.daemon)";
    assert_eq!(bench.column(by_daemon).await, ["0"]);
    daemon.stop(Duration::from_secs(20)).await;
}
