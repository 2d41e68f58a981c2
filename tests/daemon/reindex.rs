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

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_each_phase_of_a_rebuild_leaves_nothing_for_long() {
    let Some(bench) = bench().await else { return };
    let config = ConfigFile::new(CONFIG);
    let mut daemon = bench.daemon(&config).await;
    for (number, where_killed) in
        (1..).zip(["building index%", "waiting for old snapshots", "waiting for readers before marking dead"])
    {
        let mut snapshot = bench.connect().await;
        request(&bench, &config).await;
        if where_killed.starts_with("waiting") {
            phase(&bench, "building index%").await;
            let reads = if where_killed.contains("snapshots") {
                "begin isolation level repeatable read; select 1"
            } else {
                "begin; select from t limit 1"
            };
            sqlx::raw_sql(reads).execute(&mut snapshot).await.unwrap();
        }
        phase(&bench, where_killed).await;
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
async fn a_server_that_crashes_in_mid_rebuild_is_cleared_up_after_its_restart() {
    let Some(bench) = bench().await else { return };
    let config = ConfigFile::new(CONFIG);
    let mut daemon = bench.daemon(&config).await;
    request(&bench, &config).await;
    phase(&bench, "building index%").await;
    bench.cluster.restart(StopMode::Immediate).await;
    check_done(&bench, 1).await;
    assert_eq!(
        bench.column("select statement from pgupkeep.step where statement like 'DROP%'").await,
        [r#"DROP INDEX CONCURRENTLY "public"."t_slow_ccnew1""#]
    );
    daemon.stop(START).await;
    check_invariants(&mut bench.connect().await).await;
}
