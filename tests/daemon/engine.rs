//! Cancel, timeout, retries, limits and windows: what the engine does with a run.

use super::*;

fn config(rest: &str) -> ConfigFile {
    ConfigFile::new(&format!(
        "version: 1\ntargets: {{ app: {{ url: \"env:DATABASE_URL\", max_runs: 2 }} }}\nworkers: 8\n{rest}"
    ))
}

const SLEEPING: &str = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active'
                         and pid <> pg_backend_pid()";

async fn run(bench: &Bench, config: &ConfigFile, job: &str) -> String {
    let said = pgupkeep(&config.path(), &["run", job], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    bench.column("select run_id from pgupkeep.run order by run_id desc limit 1").await[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_is_stopped_on_the_server_and_says_by_whom() {
    let Some(bench) = Bench::start("engine-cancel", &[]).await else { return };
    let config =
        config("jobs: { long: { kind: sql, with: { statement: \"select pg_sleep(600)\" } } }\nschedules: {}\n");
    let mut daemon = bench.daemon(&config).await;
    let run_id = run(&bench, &config, "long").await;
    bench.wait_for_count("the statement", SLEEPING, 1, START).await;
    let said = pgupkeep(&config.path(), &["cancel", &run_id], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let ended = "select count(*) from pgupkeep.run where state = 'finished'";
    bench.wait_for_count("the end", ended, 1, Duration::from_secs(10)).await;
    assert_eq!(bench.number(SLEEPING).await, 0);
    let row = bench.column("select outcome || ': ' || reason from pgupkeep.run").await;
    assert_eq!(row, ["cancelled: cancelled by postgres"]);
    // A run that still waits ends without a worker.
    daemon.stop(START).await;
    let run_id = run(&bench, &config, "long").await;
    let said = pgupkeep(&config.path(), &["cancel", &run_id], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let row = bench.column("select outcome || ': ' || reason from pgupkeep.run order by run_id desc limit 1").await;
    assert_eq!(row, ["cancelled: cancelled by postgres before it began"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_outlasts_its_timeout_is_stopped_on_the_server() {
    let Some(bench) = Bench::start("engine-timeout", &[]).await else { return };
    let config = config(
        "jobs: { long: { kind: sql, timeout: 1s, with: { statement: \"select pg_sleep(600)\" } } }\nschedules: {}\n",
    );
    let mut daemon = bench.daemon(&config).await;
    run(&bench, &config, "long").await;
    let ended = "select count(*) from pgupkeep.run where outcome = 'timed_out'";
    bench.wait_for_count("the timeout", ended, 1, START).await;
    assert_eq!(bench.number(SLEEPING).await, 0);
    assert_eq!(bench.column("select outcome from pgupkeep.step").await, ["cancelled"]);
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_may_pass_is_tried_again_and_one_that_cannot_is_not() {
    let Some(bench) = Bench::start("engine-retry", &[]).await else { return };
    bench.execute("create table t (id int)").await;
    let config = config(
        r#"
jobs:
  locked: { kind: sql, retries: 2, with: { statement: "lock table public.t in exclusive mode nowait" } }
  wrong: { kind: sql, retries: 2, with: { statement: "select * from nowhere" } }
schedules: {}
"#,
    );
    let mut daemon = bench.daemon(&config).await;
    let mut holder = bench.connect().await;
    sqlx::raw_sql("begin; lock table public.t in access exclusive mode").execute(&mut holder).await.unwrap();
    run(&bench, &config, "locked").await;
    run(&bench, &config, "wrong").await;
    let wrong = "select count(*) from pgupkeep.run where job = 'wrong' and outcome = 'failed' and fault = 'statement'";
    bench.wait_for_count("the wrong statement fails at once", wrong, 1, START).await;
    let again = "select count(*) from pgupkeep.run where job = 'locked' and state = 'queued' and failures = 1
                  and fault = 'locked' and eligible_at > clock_timestamp() + interval '15 s'";
    bench.wait_for_count("the locked one waits for its back-off", again, 1, START).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    bench.execute("update pgupkeep.run set eligible_at = clock_timestamp() where state = 'queued'").await;
    let done = "select count(*) from pgupkeep.run where job = 'locked' and outcome = 'succeeded' and attempts = 2";
    bench.wait_for_count("the second attempt", done, 1, START).await;
    daemon.stop(START).await;
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_works_on_no_more_runs_than_it_allows() {
    let Some(bench) = Bench::start("engine-limit", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let jobs: Vec<String> = (0..6)
        .map(|number| {
            format!("  job-{number}: {{ kind: sql, with: {{ statement: \"{}\" }} }}", work(&format!("j{number}"), 0.5))
        })
        .collect();
    let config = config(&format!("jobs:\n{}\nschedules: {{}}\n", jobs.join("\n")));
    let mut daemon = bench.daemon(&config).await;
    for number in 0..6 {
        run(&bench, &config, &format!("job-{number}")).await;
    }
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    bench.wait_for_count("all runs", done, 6, START).await;
    daemon.stop(START).await;
    let most = bench
        .number("select max((select count(*) from work b where b.began <= a.began and b.ended > a.began)) from work a")
        .await;
    assert_eq!(most, 2, "max_runs is 2, with 8 workers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_window_closes_before_it_is_started_is_missed_and_somebody_is_told() {
    let Some(bench) = Bench::start("engine-window", &[]).await else { return };
    let config = config("jobs: { one: { kind: sql, with: { statement: \"select 1\" } } }\nschedules: {}\n");
    let said = pgupkeep(&config.path(), &["migrate"], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    run(&bench, &config, "one").await;
    run(&bench, &config, "one").await;
    // One of them was worked on and handed back.
    bench
        .execute(
            "update pgupkeep.run set attempts = 1, reason = 'the daemon stops'
              where run_id = (select run_id from pgupkeep.run limit 1)",
        )
        .await;
    bench
        .execute("update pgupkeep.run set closes_at = clock_timestamp() - interval '1 s', eligible_at = clock_timestamp() - interval '1 h'")
        .await;
    let mut daemon = bench.daemon(&config).await;
    let missed = "select count(*) from pgupkeep.run where outcome = 'missed'
                   and reason = 'its window closed before it could be started'";
    bench.wait_for_count("the missed run", missed, 1, START).await;
    let missed = "select count(*) from pgupkeep.run where outcome = 'missed'
                   and reason = 'its window closed before it could be started again; the daemon stops'";
    bench.wait_for_count("the run that had begun", missed, 1, START).await;
    daemon.wait_for_line("one on app was missed: its window closed", START).await;
    daemon.stop(START).await;
    assert_eq!(bench.number("select count(*) from pgupkeep.outbox where delivered_at is not null").await, 2);
    assert_eq!(bench.number("select count(*) from pgupkeep.attempt").await, 0);
}
