//! Servers that restart, connections that are cut or go silent.

use super::*;

fn config(url: &str, seconds: f64) -> ConfigFile {
    ConfigFile::new(&format!(
        r#"
version: 1
control: {{ url: "env:CONTROL_URL" }}
targets: {{ app: {{ url: "{url}" }} }}
defaults: {{ lease: 5s, overlap: queue }}
jobs:
  long: {{ kind: sql, retries: 20, with: {{ statement: "{}" }} }}
schedules:
  cron: [ {{ job: long, cron: "*/4 * * * * *" }} ]
"#,
        work("long", seconds)
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_restarts_is_waited_for() {
    let Some(bench) = Bench::start("outage-restart", &["fsync = on"]).await else { return };
    bench.execute(WORK_TABLE.replace("unlogged ", "").as_str()).await;
    let config = config("env:DATABASE_URL", 2.0);
    let variables = [("DATABASE_URL", bench.url.as_str()), ("CONTROL_URL", bench.url.as_str())];
    let mut daemon = Daemon::start(&config.path(), &variables);
    daemon.wait_for_line("ready", START).await;
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    for _ in 0..rounds(2, 10) {
        let before = bench.number(done).await;
        bench.wait_for_count("a run", done, before + 1, START).await;
        let mark = daemon.mark();
        bench.cluster.stop(StopMode::Immediate).await;
        daemon.wait_for_line_after(mark, "the control database is away", START).await;
        bench.cluster.start_again().await;
        daemon.wait_for_line_after(mark, "the control database is back", START).await;
        let before = bench.number(done).await;
        bench.wait_for_count("a run after the restart", done, before + 1, START).await;
        // A run that goes back to the queue names the reason, too, but does not warn.
        for what in ["the control database is away", "the target is away"] {
            let warns = |line: &&String| line.contains(" WARN ") && line.contains(what);
            let told = daemon.lines()[mark..].iter().filter(warns).count();
            assert!(told <= 1, "{what} is said once: {:#?}", &daemon.lines()[mark..]);
        }
    }
    daemon.stop(START).await;
    let mut conn = bench.connect().await;
    settle(&bench, &config, &variables).await;
    check_invariants(&mut conn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_or_go_silent_are_given_up_and_made_anew() {
    let Some(bench) = Bench::start("outage-proxy", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let (to_target, to_control) =
        (Proxy::start(bench.cluster.address()).await, Proxy::start(bench.cluster.address()).await);
    let target_url = bench.cluster.url_through(to_target.address(), &bench.database);
    let control_url = bench.cluster.url_through(to_control.address(), &bench.database);
    let config = config("env:DATABASE_URL", 2.0);
    let variables = [("DATABASE_URL", target_url.as_str()), ("CONTROL_URL", control_url.as_str())];
    let mut daemon = Daemon::start(&config.path(), &variables);
    daemon.wait_for_line("ready", START).await;
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    let active =
        "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%' and query like '%pg_sleep%'
                   and state = 'active' and pid <> pg_backend_pid()";
    let limit = Duration::from_mins(2);
    for round in 0..rounds(1, 5) {
        for (proxy, name) in [(&to_target, "target"), (&to_control, "control")] {
            bench.wait_for_count("a statement under way", active, 1, limit).await;
            proxy.cut();
            let before = bench.number(done).await;
            bench.wait_for_count(&format!("{round}: a run after the {name} was cut"), done, before + 2, limit).await;
            bench.wait_for_count("a statement under way", active, 1, limit).await;
            proxy.set(Traffic::Stall).await;
            // Silent for longer than the lease, so that whoever waits must notice by itself.
            tokio::time::sleep(Duration::from_secs(8)).await;
            proxy.set(Traffic::Pass).await;
            let before = bench.number(done).await;
            bench.wait_for_count(&format!("{round}: a run after the {name} was silent"), done, before + 2, limit).await;
            proxy.set(Traffic::Refuse).await;
            proxy.cut();
            tokio::time::sleep(Duration::from_secs(2)).await;
            proxy.set(Traffic::Pass).await;
            let before = bench.number(done).await;
            bench.wait_for_count(&format!("{round}: a run after the {name} refused"), done, before + 2, limit).await;
        }
    }
    daemon.stop(START).await;
    settle(&bench, &config, &variables).await;
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
    let odd = bench
        .column("select error from pgupkeep.attempt where error like '%lock timeout%' or error like '%duplicate key%'")
        .await;
    assert!(odd.is_empty(), "two pieces of work of one key were at work together: {odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_and_made_anew_at_once_are_told_of_once() {
    let Some(bench) = Bench::start("outage-ended", &[]).await else { return };
    let config = config("env:DATABASE_URL", 0.1);
    let variables = [("DATABASE_URL", bench.url.as_str()), ("CONTROL_URL", bench.url.as_str())];
    let told = "the connection to the control database was lost; a new one is made";
    let listens = "select count(*) from pg_stat_activity where application_name = 'pgupkeep/listen'";
    let mut daemon = Daemon::start(&config.path(), &variables);
    for _ in 0..2 {
        bench.wait_for_count("the listener", listens, 1, START).await;
        let mark = daemon.mark();
        bench
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgupkeep/%'")
            .await;
        daemon.wait_for_line_after(mark, told, START).await;
        let lines = daemon.lines()[mark..].iter().filter(|line| line.contains(told)).count();
        assert_eq!(lines, 1, "{:#?}", daemon.lines());
    }
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_before_its_server_waits_for_it() {
    let Some(bench) = Bench::start("outage-early", &[]).await else { return };
    bench.execute(WORK_TABLE.replace("unlogged ", "").as_str()).await;
    bench.cluster.stop(StopMode::Fast).await;
    let config = config("env:DATABASE_URL", 0.1);
    let variables = [("DATABASE_URL", bench.url.as_str()), ("CONTROL_URL", bench.url.as_str())];
    let mut daemon = Daemon::start(&config.path(), &variables);
    daemon.wait_for_line("the control database is away", START).await;
    bench.cluster.start_again().await;
    daemon.wait_for_line("ready", START).await;
    bench.wait_for_count("a run", "select count(*) from pgupkeep.run where outcome = 'succeeded'", 1, START).await;
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_lease_does_not_make_a_live_worker_a_dead_one() {
    let Some(bench) = Bench::start("outage-lease", &["fsync = on"]).await else { return };
    let config = ConfigFile::new(
        r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
defaults: { lease: 5s }
jobs:
  once: { kind: sql, retries: 0, with: { statement: "select pg_sleep(600)" } }
schedules:
  cron: [ { job: once, cron: "*/2 * * * * *" } ]
"#,
    );
    let mut daemon = Daemon::start(&config.path(), &[("DATABASE_URL", bench.url.as_str())]);
    daemon.wait_for_line("ready", START).await;
    let active = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()";
    bench.wait_for_count("a statement under way", active, 1, START).await;
    bench.cluster.stop(StopMode::Immediate).await;
    // Longer than the lease.
    tokio::time::sleep(Duration::from_secs(7)).await;
    bench.cluster.start_again().await;
    bench.wait_for_count("its end", "select count(*) from pgupkeep.run where outcome = 'failed'", 1, START).await;
    let told = "select r.attempts || ' ' || a.outcome || ' ' || a.fault from pgupkeep.run r join pgupkeep.attempt a using (run_id)
                 where r.outcome = 'failed'";
    assert_eq!(bench.column(told).await, ["1 failed unreachable"]);
    daemon.stop(START).await;
}

/// Lets a fresh daemon finish what a fault left over, so that the ledger comes to rest.
async fn settle(bench: &Bench, config: &ConfigFile, variables: &[(&str, &str)]) {
    let mut daemon = Daemon::start(&config.path(), variables);
    daemon.wait_for_line("ready", START).await;
    let running =
        "select case when exists (select from pgupkeep.run where state = 'running' and lease_until < clock_timestamp())
                   then 0 else 1 end";
    bench.wait_for_count("no lapsed run is left", running, 1, Duration::from_secs(90)).await;
    daemon.stop(START).await;
}
