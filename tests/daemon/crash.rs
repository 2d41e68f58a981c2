//! `kill -9` in the middle of long steps, at random moments, again and again.

use std::time::Duration;

use super::*;

/// A schedule that always has a long step under way, with a short lease so that a test can watch many rescues.
fn config(seconds: f64) -> ConfigFile {
    ConfigFile::new(&format!(
        r#"
version: 1
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
defaults: {{ lease: 2s, overlap: queue, catch_up: all, catch_up_limit: 1000 }}
jobs:
  long: {{ kind: sql, with: {{ statement: "{}" }} }}
schedules:
  cron: [ {{ job: long, cron: "*/4 * * * * *" }} ]
"#,
        work("long", seconds)
    ))
}

/// A small generator of moments: the test is repeatable, the moments are not regular.
fn moments(seed: u64) -> impl Iterator<Item = Duration> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(200 + (state >> 33) % 2_500)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_at_random_moments_loses_and_doubles_nothing() {
    let Some(bench) = Bench::start("crash", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let config = config(2.0);
    let began = bench.column("select clock_timestamp()").await[0].clone();
    let kills = rounds(5, 50);
    let mut conn = bench.connect().await;
    for moment in moments(7).take(kills as usize) {
        let mut daemon = bench.daemon(&config).await;
        // The moments are counted from a statement under way, so that nearly every kill hits one.
        wait_until("a step under way", START, async || {
            let sql =
                "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%' and state = 'active'
                        and query like '%pg_sleep%' and pid <> pg_backend_pid()";
            (column(&mut conn, sql).await[0] != "0").then_some(())
        })
        .await;
        tokio::time::sleep(moment).await;
        daemon.crash().await;
        let orphans =
            "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%' and state = 'active'
                        and pid <> pg_backend_pid()";
        wait_until("no orphaned SQL within 5 s of a kill", Duration::from_secs(5), async || {
            (column(&mut conn, orphans).await[0] == "0").then_some(())
        })
        .await;
    }
    // One more daemon finishes what is left; then every instant of the time in between must have its row.
    let mut daemon = bench.daemon(&config).await;
    let until = bench.column("select clock_timestamp()").await[0].clone();
    bench
        .wait_for_count(
            "everything due until now is finished",
            &format!(
                "select case when exists (select from pgupkeep.run where due_at <= '{until}' and state <> 'finished')
                   then 0 else 1 end"
            ),
            1,
            Duration::from_secs(60 + 12 * u64::from(kills)),
        )
        .await;
    daemon.stop(START).await;
    let missing = format!(
        "select due from generate_series(date_bin('4 s', '{began}'::timestamptz, 'epoch') + interval '8 s', '{until}', '4 s') due
          where not exists (select from pgupkeep.run r where r.due_at = due and r.job = 'long')"
    );
    // The first entry counts from the moment that the first daemon took it up, a little after `began`.
    let first = bench.column("select min(due_at) from pgupkeep.run").await[0].clone();
    let missing: Vec<String> =
        bench.column(&missing).await.into_iter().filter(|due| due.as_str() >= first.as_str()).collect();
    assert!(missing.is_empty(), "firings were lost: {missing:?}");
    check_invariants(&mut conn).await;
    let failed = bench
        .column("select coalesce(error, outcome) from pgupkeep.attempt where outcome not in ('succeeded', 'lost', 'handed_back')")
        .await;
    assert!(failed.is_empty(), "two steps of one key worked together, or something failed: {failed:?}");
    let lost = bench.number("select count(*) from pgupkeep.attempt where outcome = 'lost'").await;
    assert!(lost > 0, "no kill hit a run: the test has proved nothing");
    let doubled = bench
        .number(
            "select (select count(*) from work where ended is not null)
                  - (select count(*) from pgupkeep.run where outcome = 'succeeded')",
        )
        .await;
    assert!(
        (0..=lost).contains(&doubled),
        "committed work and succeeded runs differ by {doubled}; only a kill between commit and record explains one"
    );
    println!("{kills} kills: {lost} attempts lost, {doubled} pieces of work repeated after their commit");
}
