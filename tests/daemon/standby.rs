//! A standby as target: noticed, not written to, taken up on promotion.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_left_alone_until_it_is_promoted() {
    let Some(bench) = Bench::start("standby", &[]).await else { return };
    bench.execute("create table ticks (at timestamptz not null default clock_timestamp())").await;
    let standby = bench.cluster.standby(&[]).await;
    let control = bench.cluster.create_database().await;
    let config = ConfigFile::new(
        r#"
version: 1
control: { url: "env:CONTROL_URL" }
targets: { app: { url: "env:DATABASE_URL" } }
jobs: { tick: { kind: sql, with: { statement: "insert into public.ticks default values" } } }
schedules: { cron: [ { job: tick, cron: "* * * * * *" } ] }
"#,
    );
    let (control_url, standby_url) = (bench.cluster.url(&control), standby.url(&bench.database));
    let variables = [("CONTROL_URL", control_url.as_str()), ("DATABASE_URL", standby_url.as_str())];
    let mut daemon = Daemon::start(&config.path(), &variables);
    daemon.wait_for_line("the target is a standby", START).await;
    let mut ledger = bench.cluster.connect(&control).await;
    wait_until("later firings to be skipped while one waits", START, async || {
        let skipped = column(&mut ledger, "select count(*) from pgupkeep.run where outcome = 'skipped'").await;
        (skipped[0].parse::<i64>().unwrap() >= 2).then_some(())
    })
    .await;
    let waiting = column(&mut ledger, "select reason from pgupkeep.run where state = 'queued'").await;
    assert_eq!(waiting, ["the target is a standby; its runs wait until it is promoted"]);
    standby.promote().await;
    daemon.wait_for_line("the target takes writes; taking it up", START).await;
    wait_until("a run on the promoted server", START, async || {
        let done = column(&mut ledger, "select count(*) from pgupkeep.run where outcome = 'succeeded'").await;
        (done[0].parse::<i64>().unwrap() >= 2).then_some(())
    })
    .await;
    daemon.stop(START).await;
    check_invariants(&mut ledger).await;
    let said = daemon.lines().iter().filter(|line| line.contains("is a standby; its runs wait")).count();
    assert!(said <= 3, "it is said when it is noticed, not at every look: {:#?}", daemon.lines());
}
