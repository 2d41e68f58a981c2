//! SIGHUP, with good files and bad ones.

use nix::sys::signal::Signal;

use super::*;

fn good(note: u16) -> String {
    format!(
        r#"
version: 1
# edition {note}
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
workers: 4
jobs:
  ping: {{ kind: sql, with: {{ statement: "insert into public.pings default values" }}, timeout: {}m }}
  long: {{ kind: sql, with: {{ statement: "{}" }} }}
schedules:
  cron: [ {{ job: long, cron: "*/3 * * * * *" }} ]
  reload: [ {{ job: ping, overlap: queue }} ]
"#,
        1 + note,
        work("long", 1.0)
    )
}

const BAD: &[&str] = &[
    "version: 1\ntargets: [",
    "version: 1\ntargets: { app: { url: \"env:NOT_SET\" } }\njobs: {}\nschedules: {}\n",
    "version: 1\ntargets: { app: { url: \"env:DATABASE_URL\" } }\njobs: { x: { kind: vacum } }\nschedules: {}\n",
    "",
    "version: 2\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn fifty_reloads_half_of_them_bad_fire_exactly_the_good_ones() {
    let Some(bench) = Bench::start("reload", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    bench.execute("create table pings (at timestamptz not null default clock_timestamp())").await;
    let config = ConfigFile::new(&good(0));
    let mut daemon = bench.daemon(&config).await;
    let reloads: u16 = 50;
    for number in 0..reloads {
        let mark = daemon.mark();
        if number % 2 == 0 {
            config.rewrite(&good(number));
            daemon.signal(Signal::SIGHUP);
            daemon.wait_for_line_after(mark, "reloaded", START).await;
        } else {
            config.rewrite(BAD[usize::from(number) / 2 % BAD.len()]);
            daemon.signal(Signal::SIGHUP);
            daemon.wait_for_line_after(mark, "the running configuration stays in force", START).await;
        }
    }
    let fired = "select count(*) from pgupkeep.run where trigger = 'reload'";
    assert_eq!(bench.number(fired).await, i64::from(reloads) / 2, "exactly the good ones fired");
    bench
        .wait_for_count("every firing was performed", "select count(*) from pings", i64::from(reloads) / 2, START)
        .await;
    let said = daemon.lines().join("\n");
    assert!(said.contains("job ping"), "the log shows what changed: {said}");
    config.rewrite(&good(1));
    daemon.stop(START).await;
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
    let odd = bench.column("select coalesce(error, outcome) from pgupkeep.attempt where attempt > 1").await;
    assert!(odd.is_empty(), "something was restarted: {odd:?}");
    let gaps = bench
        .column(
            "select due_at from (select due_at, lead(due_at) over (order by due_at) as next
               from pgupkeep.run where job = 'long') r where next - due_at <> interval '3 s'",
        )
        .await;
    assert!(gaps.is_empty(), "the schedule lost a firing after: {gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_never_changes_a_run_that_has_fired_and_never_fires_retroactively() {
    let Some(bench) = Bench::start("reload-fired", &[]).await else { return };
    bench.execute("create table pings (what text not null)").await;
    let file = |what: &str, at: &str| {
        format!(
            r#"
version: 1
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
jobs: {{ ping: {{ kind: sql, with: {{ statement: "insert into public.pings values ('{what}')" }} }} }}
schedules: {{ daily: [ {{ job: ping, at: "{at}", jitter: 20s }} ] }}
"#
        )
    };
    let config = ConfigFile::new(&file("old", "00:00"));
    let mut daemon = bench.daemon(&config).await;
    // A firing under the old definition, held in the queue. The first planning must be over, or it would move the cursor.
    let planned = "select count(*) from pgupkeep.schedule where next_due_at is not null";
    bench.wait_for_count("the first planning", planned, 1, START).await;
    bench.execute("update pgupkeep.schedule set cursor_at = date_trunc('day', now()) - interval '1 s'").await;
    let mark = daemon.mark();
    config.rewrite(&file("old", "00:00"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line_after(mark, "reloaded", START).await;
    bench.wait_for_count("the firing", "select count(*) from pgupkeep.run", 1, START).await;
    let mark = daemon.mark();
    config.rewrite(&file("new", "00:01"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line_after(mark, "reloaded", START).await;
    bench.wait_for_count("the run", "select count(*) from pings", 1, START).await;
    assert_eq!(bench.column("select what from pings").await, ["old"]);
    daemon.stop(START).await;
    assert_eq!(bench.number("select count(*) from pgupkeep.run").await, 1, "00:01 of today is past: it must not fire");
}
