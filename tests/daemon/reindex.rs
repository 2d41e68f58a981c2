//! `kill -9` of the daemon and a crash of the server in the middle of a rebuild: the next run drops what is left.

use super::*;

const CONFIG: &str = r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
defaults: { lease: 2s }
jobs:
  rebuild: { kind: reindex, retries: 20, with: { include: [t_slow], always: true, min_size: 0B } }
schedules: {}
"#;

/// An index that takes a while to be built, one that does not, and one of somebody's whose name looks like a leftover.
const TABLE: &str = "create table t (n int); insert into t select generate_series(1, 300);
    create function slow (n int) returns int immutable language sql return n;
    create index t_slow on t (slow(n)); create index t_n on t (n); create index t_slow_ccnew on t (slow(n));
    create table other (n int);
    create or replace function slow (n int) returns int immutable language plpgsql
        as 'begin perform pg_sleep(0.005); return n; end'";

const SUITE: &str = "daemon::reindex";

async fn bench() -> Option<Bench> {
    let bench = Bench::start(SUITE, &["synchronous_commit = on", "autovacuum = off", "fsync = on"]).await?;
    bench.execute(TABLE).await;
    Some(bench)
}

async fn phase(bench: &Bench, like: &str) {
    let sql = format!("select count(*) from pg_stat_progress_create_index where phase like '{like}'");
    bench.wait_for_count(like, &sql, 1, START).await;
}

async fn request(bench: &Bench, config: &ConfigFile) {
    let said = pgupkeep(&config.path(), &["run", "rebuild"], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

async fn check_done(bench: &Bench, runs: i64) {
    let done = "select count(*) from pgupkeep.run where outcome = 'succeeded'";
    bench.wait_for_count("the run", done, runs, START * 2).await;
    let indexes = bench
        .column(
            "select indexrelid::regclass || ' ' || indisvalid from pg_index where indrelid = 't'::regclass order by 1",
        )
        .await;
    assert_eq!(indexes, ["t_n true", "t_slow true", "t_slow_ccnew true"]);
}

/// Where a rebuild may be interrupted: while it builds, while it waits to put the new copy in place, and after that.
const PHASES: [&str; 3] = ["building index%", "waiting for old snapshots", "waiting for readers before marking dead"];

/// Asks for a rebuild and brings it to a phase; whoever keeps it there is given back.
async fn brought_to(bench: &Bench, config: &ConfigFile, where_to: &str) -> PgConnection {
    let mut holder = bench.connect().await;
    request(bench, config).await;
    if where_to.starts_with("waiting") {
        phase(bench, "building index%").await;
        let reads = if where_to.contains("snapshots") {
            "begin isolation level repeatable read; select 1"
        } else {
            "begin; select from t limit 1"
        };
        sqlx::raw_sql(reads).execute(&mut holder).await.unwrap();
    }
    phase(bench, where_to).await;
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_each_phase_of_a_rebuild_leaves_nothing_for_long() {
    let Some(bench) = bench().await else { return };
    let config = ConfigFile::new(CONFIG);
    let mut daemon = bench.daemon(&config).await;
    for (number, where_killed) in (1..).zip(PHASES) {
        let snapshot = brought_to(&bench, &config, where_killed).await;
        daemon.crash().await;
        let at_work = "select case when exists (select from pg_stat_progress_create_index) then 0 else 1 end";
        bench.wait_for_count("no orphaned rebuild", at_work, 1, Duration::from_secs(5)).await;
        let left = bench.column("select indexrelid::regclass from pg_index where not indisvalid").await;
        let expected = if where_killed.contains("readers") { "t_slow_ccold" } else { "t_slow_ccnew1" };
        assert_eq!(left, [expected], "{where_killed}");
        drop(snapshot);
        daemon = bench.daemon(&config).await;
        check_done(&bench, number).await;
        let drops = "select count(*) from pgupkeep.step where outcome = 'done' and statement like 'DROP INDEX%'";
        assert_eq!(bench.number(drops).await, number, "{where_killed}");
    }
    daemon.stop(START).await;
    check_invariants(&mut bench.connect().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_each_phase_of_a_rebuild_is_cleared_up_after_its_restart() {
    let Some(bench) = bench().await else { return };
    let config = ConfigFile::new(CONFIG);
    let mut daemon = bench.daemon(&config).await;
    for (number, where_crashed) in (1..).zip(PHASES) {
        let holder = brought_to(&bench, &config, where_crashed).await;
        bench.cluster.restart(StopMode::Immediate).await;
        drop(holder);
        check_done(&bench, number).await;
        let dropped = if where_crashed.contains("readers") { "t_slow_ccold" } else { "t_slow_ccnew1" };
        let drops = bench
            .column(
                "select statement from pgupkeep.step where outcome = 'done' and statement like 'DROP%'
                    and run_id = (select run_id from pgupkeep.run order by due_at desc limit 1)",
            )
            .await;
        assert_eq!(drops, [format!("DROP INDEX CONCURRENTLY \"public\".\"{dropped}\"")], "{where_crashed}");
    }
    daemon.stop(START).await;
    check_invariants(&mut bench.connect().await).await;
}
