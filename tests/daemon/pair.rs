//! Two daemons on one control database.

use std::time::Duration;

use super::*;

fn config(targets: &[&str], lease: &str) -> ConfigFile {
    let targets: Vec<String> =
        targets.iter().map(|name| format!("  {name}: {{ url: \"env:URL_{}\" }}", name.to_uppercase())).collect();
    ConfigFile::new(&format!(
        r#"
version: 1
targets:
{}
workers: 4
defaults: {{ lease: {lease}, overlap: queue, catch_up: all, catch_up_limit: 1000 }}
jobs:
  tick: {{ kind: sql, with: {{ statement: "insert into public.ticks default values" }} }}
schedules:
  cron: [ {{ job: tick, cron: "* * * * * *" }} ]
"#,
        targets.join("\n")
    ))
}

const TICKS: &str = "create table ticks (at timestamptz not null default clock_timestamp())";

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_perform_each_firing_once_and_one_takes_over_from_the_other() {
    let Some(bench) = Bench::start("pair", &[]).await else { return };
    let second = bench.cluster.create_database().await;
    bench.execute(TICKS).await;
    bench.cluster.execute(&second, TICKS).await;
    let config = config(&["one", "two"], "5s");
    let second_url = bench.cluster.url(&second);
    let variables = [("URL_ONE", bench.url.as_str()), ("URL_TWO", second_url.as_str())];
    let firings = i64::from(rounds(40, 500));
    let limit = Duration::from_secs(120 + u64::try_from(firings).unwrap());
    let mut first = Daemon::start(&config.path(), &variables);
    let mut other = Daemon::start(&config.path(), &variables);
    first.wait_for_line("ready", START).await;
    other.wait_for_line("ready", START).await;
    let finished = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    bench.wait_for_count("half of the firings", finished, firings / 2, limit).await;
    let claimers = bench.number("select count(distinct daemon_id) from pgupkeep.attempt").await;
    assert_eq!(claimers, 2, "both daemons work");
    let killed_at = bench.column("select clock_timestamp()").await[0].clone();
    first.crash().await;
    bench
        .wait_for_count(
            "the other takes over within 60 s",
            &format!("select count(*) from pgupkeep.run where outcome = 'succeeded' and due_at > '{killed_at}'"),
            2,
            Duration::from_mins(1),
        )
        .await;
    bench.wait_for_count("all firings", finished, firings, limit).await;
    other.stop(START).await;
    // What was under way when the first was killed is finished by whoever comes next.
    let mut last = Daemon::start(&config.path(), &variables);
    last.wait_for_line("ready", START).await;
    let until = bench.column("select clock_timestamp()").await[0].clone();
    let open = format!(
        "select case when exists (select from pgupkeep.run where due_at <= '{until}' and state <> 'finished') then 0 else 1 end"
    );
    bench.wait_for_count("nothing is left over", &open, 1, START).await;
    last.stop(START).await;
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
    let skipped = bench.column("select reason from pgupkeep.run where outcome <> 'succeeded'").await;
    assert!(skipped.is_empty(), "some firing was not performed: {skipped:?}");
    let gaps = bench
        .column(
            "select target || ' ' || due_at from (select target, due_at, lead(due_at) over (partition by target order by due_at) as next
               from pgupkeep.run) r where next - due_at <> interval '1 s'",
        )
        .await;
    assert!(gaps.is_empty(), "instants without a row after: {gaps:?}");
    let lost = bench.number("select count(*) from pgupkeep.attempt where outcome = 'lost'").await;
    for (target, ticks) in [
        ("one", bench.number("select count(*) from ticks").await),
        (
            "two",
            column(&mut bench.cluster.connect(&second).await, "select count(*) from ticks").await[0].parse().unwrap(),
        ),
    ] {
        let runs = bench.number(&format!("select count(*) from pgupkeep.run where target = '{target}'")).await;
        assert!(
            (0..=lost).contains(&(ticks - runs)),
            "{target}: {runs} runs made {ticks} ticks, {lost} attempts were lost"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_start_at_once_migrate_once() {
    let Some(bench) = Bench::start("pair-migrate", &[]).await else { return };
    bench.execute(TICKS).await;
    let config = config(&["one"], "5s");
    let variables = [("URL_ONE", bench.url.as_str())];
    let mut daemons: Vec<Daemon> = (0..4).map(|_| Daemon::start(&config.path(), &variables)).collect();
    for daemon in &daemons {
        daemon.wait_for_line("ready", START).await;
    }
    let migrated = daemons
        .iter()
        .filter(|daemon| daemon.lines().iter().any(|line| line.contains("brought the ledger up to date")));
    assert_eq!(migrated.count(), 1, "one of them applied the migrations");
    for daemon in &mut daemons {
        daemon.stop(START).await;
    }
    assert_eq!(bench.number("select count(*) from pgupkeep.daemon where stopped_at is not null").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_newer_than_the_binary_is_refused_with_clear_words() {
    let Some(bench) = Bench::start("pair-newer", &[]).await else { return };
    let config = config(&["one"], "5s");
    let variables = [("URL_ONE", bench.url.as_str())];
    let said = pgupkeep(&config.path(), &["migrate"], &variables).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    bench
        .execute(
            "insert into pgupkeep.migration (version, description, success, checksum, execution_time)
             values (9999, 'from the future', true, '\\x00', 0)",
        )
        .await;
    for command in ["daemon", "migrate", "history"] {
        let said = pgupkeep(&config.path(), &[command], &variables).await;
        assert_eq!(said.code, Some(1), "{command}: {said:?}");
        assert!(said.stderr.contains("version 9999, newer than the"), "{command}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_its_entries_back_when_the_one_with_another_file_is_gone() {
    let Some(bench) = Bench::start("pair of files", &[]).await else { return };
    bench.execute(TICKS).await;
    let config = config(&["one"], "5s");
    let other = ConfigFile::new(
        "version: 1\ntargets: { one: { url: \"env:URL_ONE\" } }\njobs: { v: { kind: vacuum } }\n\
         schedules: { daily: [ { job: v, at: \"02:00\" } ] }",
    );
    let variables = [("URL_ONE", bench.url.as_str())];
    let mut own = Daemon::start(&config.path(), &variables);
    own.wait_for_line("ready", START).await;
    let fired = "select count(*) from pgupkeep.run where entry = 'cron/tick'";
    bench.wait_for_count("firings", fired, 2, START).await;
    let mut stray = Daemon::start(&other.path(), &variables);
    own.wait_for_line("leaving it alone until a reload", START).await;
    let status = pgupkeep(&config.path(), &["status"], &variables).await;
    assert!(status.stdout.contains("left alone: the configuration that was taken up last has it not"), "{status:?}");
    let displaced = bench.number(fired).await;
    stray.stop(START).await;
    own.wait_for_line("the daemon with another configuration is gone", START).await;
    bench.wait_for_count("what fell due meanwhile", fired, displaced + 2, START).await;
    own.stop(START).await;
    // Not one second is without its row.
    let forgotten = "select count(*) from (select due_at - lag(due_at) over (order by due_at) as gap from pgupkeep.run
                      where entry = 'cron/tick') g where gap > interval '1 second'";
    assert_eq!(bench.number(forgotten).await, 0);
    check_invariants(&mut bench.connect().await).await;
}
