//! Downtime and clocks that jump.

use super::*;

const DAILY: &str = r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
jobs: { tick: { kind: sql, with: { statement: "insert into public.ticks default values" } } }
schedules: { daily: [ { job: tick, at: "00:00" } ] }
"#;

const TICKS: &str = "create table ticks (at timestamptz not null default clock_timestamp())";

#[tokio::test(flavor = "multi_thread")]
async fn down_over_three_daily_firings_leads_to_one_run_and_two_rows_that_say_missed() {
    let Some(faketime) = faketime_library("clock-down") else { return };
    let Some(major) = one_major("clock-down") else { return };
    let cluster = Cluster::start_with_clock(&major, &faketime).await;
    let bench = Bench::of(cluster).await;
    bench.execute(TICKS).await;
    let config = ConfigFile::new(DAILY);
    bench.daemon(&config).await.stop(START).await;
    // Three midnights pass while no daemon is up.
    bench.cluster.step_clock("+3d");
    let mut daemon = bench.daemon(&config).await;
    let ended = "select count(*) from pgupkeep.run where state = 'finished'";
    bench.wait_for_count("the run and two that were missed", ended, 3, START).await;
    let rows = bench
        .column(
            "select trigger || ' ' || outcome || coalesce(' ' || nullif(reason, ''), '') from pgupkeep.run
              where state = 'finished' order by due_at",
        )
        .await;
    daemon.stop(START).await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].starts_with("schedule missed"), "{rows:?}");
    assert!(rows[1].starts_with("schedule missed"), "{rows:?}");
    assert!(rows[2].starts_with("catch_up succeeded"), "{rows:?}");
    assert_eq!(bench.number("select count(*) from ticks").await, 1);
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_stepped_fires_nothing_twice_and_forgets_nothing() {
    let Some(faketime) = faketime_library("clock-step") else { return };
    let Some(major) = one_major("clock-step") else { return };
    let cluster = Cluster::start_with_clock(&major, &faketime).await;
    let bench = Bench::of(cluster).await;
    bench.execute(TICKS).await;
    let config = ConfigFile::new(
        r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
jobs: { tick: { kind: sql, with: { statement: "insert into public.ticks default values" } } }
schedules:
  cron: [ { job: tick, cron: "* * * * * *", overlap: queue }, { name: hourly, job: tick, cron: "0 * * * *", overlap: queue } ]
"#,
    );
    let mut daemon = bench.daemon(&config).await;
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded' and entry = 'cron/tick'";
    let fresh = "select count(*) from pgupkeep.run where outcome = 'succeeded' and entry = 'cron/tick'
                  and due_at > clock_timestamp() - interval '30 s'";
    bench.wait_for_count("firings on the true clock", done, 3, START).await;
    for offset in ["+1h", "+40d"] {
        bench.cluster.step_clock(offset);
        bench.wait_for_count(&format!("firings at {offset}"), fresh, 3, START).await;
    }
    // Every instant since the first has a row, or is within a missed row that stands for many.
    let hours = bench.number("select count(*) from pgupkeep.run where entry = 'hourly'").await;
    assert!((40 * 24 - 1..=40 * 24 + 1).contains(&hours), "every hour of the 40 days has its row: {hours}");
    let collapsed = bench.column("select reason from pgupkeep.run where reason like '%stands for%'").await;
    assert!(!collapsed.is_empty(), "forty days of seconds are told in few rows");
    // Back by forty days: nothing fires twice, and the daemon says that it waits.
    let runs = "select count(*) from pgupkeep.run";
    bench.cluster.step_clock("-1h");
    daemon.wait_for_line("the database's clock was set back", START).await;
    let quiet = bench.number(runs).await;
    // The scheduler comes round at least every 30 s; two rounds of another entry would show here.
    bench.cluster.step_clock("+0");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.number(runs).await, quiet, "nothing fires a second time");
    // The clock catches up: the schedule goes on by itself.
    bench.cluster.step_clock("+41d");
    bench.wait_for_count("firings after the clock caught up", fresh, 2, START).await;
    daemon.stop(START).await;
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_daemon_does_not_matter() {
    let Some(faketime) = faketime_library("clock-daemon") else { return };
    let Some(bench) = Bench::start("clock-daemon", &[]).await else { return };
    bench.execute(TICKS).await;
    let config = ConfigFile::new(
        r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
jobs: { tick: { kind: sql, with: { statement: "insert into public.ticks default values" } } }
schedules: { cron: [ { job: tick, cron: "* * * * * *", overlap: queue } ] }
"#,
    );
    let clock = config.folder().join("clock");
    std::fs::write(&clock, "+0\n").unwrap();
    let variables = [
        ("DATABASE_URL", bench.url.as_str()),
        ("LD_PRELOAD", faketime.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut daemon = Daemon::start(&config.path(), &variables);
    daemon.wait_for_line("ready", START).await;
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    for offset in ["+0", "+1h", "-1h", "+40d", "+0"] {
        std::fs::write(&clock, format!("{offset}\n")).unwrap();
        let before = bench.number(done).await;
        bench.wait_for_count(&format!("firings at {offset}"), done, before + 3, START).await;
    }
    daemon.stop(START).await;
    let gaps = bench
        .column(
            "select due_at from (select due_at, lead(due_at) over (order by due_at) as next from pgupkeep.run) r
              where next - due_at <> interval '1 s'",
        )
        .await;
    assert!(gaps.is_empty(), "a step of the daemon's clock lost or doubled a firing: {gaps:?}");
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
}
