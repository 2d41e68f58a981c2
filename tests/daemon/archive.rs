//! Archiving while everything goes wrong: at every stop, live and archived rows together are what was there and what
//! writers have logged since, each as often as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection as _;

use super::*;

const CONFIG: &str = r#"
version: 1
targets: { mlflow: { url: "env:DATABASE_URL", preset: mlflow } }
defaults: { lease: 2s }
jobs:
  archive: { kind: archive, with: { preset: mlflow, older_than: 90days, batch_rows: 700, vacuum: false, reindex: false } }
"#;

/// What was there, and what writers have logged since: rows are in both or in neither.
const KEEP_BOOKS: &str = "create table original as table metrics; create table logged (like metrics)";

/// One point of an old run, or of one that is not archived yet, and the book in which it stands, in one transaction.
const LOG: &str = "with point as (
    insert into metrics select 'late', random(), 1700000000000 + $1, run_uuid, $1, false
      from runs order by md5(run_uuid || $1) limit 1 returning *)
    insert into logged select * from point";

/// Rows that are missing or too many, in one snapshot.
const DIFFERENCE: &str = "select (select count(*) from (select * from archive.all_metrics except all
        (table original union all table logged)) more)
    || ' too many, ' || (select count(*) from ((table original union all table logged) except all
        select * from archive.all_metrics) less) || ' missing'";

/// Writes without a pause until it is told to stop; gives back how many points it has logged.
async fn write(cluster_url: String, stop: Arc<AtomicBool>) -> i64 {
    let mut conn = PgConnection::connect(&cluster_url).await.unwrap();
    let mut logged = 0;
    while !stop.load(Ordering::Relaxed) {
        // A server that crashes under it ends its connection, and what it says then does not matter here.
        match sqlx::query(LOG).bind(logged).execute(&mut conn).await {
            Ok(_) => logged += 1,
            Err(_) => match PgConnection::connect(&cluster_url).await {
                Ok(new) => conn = new,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    logged
}

async fn archive_exists(bench: &Bench) -> bool {
    bench.number("select count(*) from pg_views where schemaname = 'archive' and viewname = 'all_metrics'").await > 0
}

/// Everything that was archived goes back by itself and may be archived again at once.
async fn start_over(bench: &Bench, config: &ConfigFile) {
    let url = [("DATABASE_URL", bench.url.as_str())];
    let said = pgupkeep(&config.path(), &["archive", "restore", "--where", "true"], &url).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(bench.number("select count(*) from archive.metrics").await, 0);
    bench.execute("update archive_store.group_state set hold_until = null").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archival_killed_at_random_moments_under_writers_loses_and_doubles_no_row() {
    let Some(major) = one_major("archive crash") else { return };
    let cluster = Cluster::start(&major, &["autovacuum = off", "fsync = on"]).await;
    let database = mlflow_database(&cluster, DemoSize { runs: 120, points: 30_000 }).await;
    let url = cluster.url(&database);
    let bench = Bench { cluster, database, url };
    bench.execute(KEEP_BOOKS).await;
    let config = ConfigFile::new(CONFIG);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(bench.url.clone(), Arc::clone(&stop)));
    let kills = rounds(5, 100);
    let (mut hit, mut state) = (0, 11_u64);
    for round in 0..kills {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut run = binary(&[("DATABASE_URL", &bench.url)])
            .arg("--config")
            .arg(config.path())
            .args(["run", "archive", "--local"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Either it is at work on a batch, or it has come to its end before anybody looked.
        let at_work = "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%'
            and xact_start is not null and query like 'copy (%'";
        let mut conn = bench.connect().await;
        let mut looks = 0;
        wait_until("a batch under way, or the end", START, async || {
            looks += 1;
            (column(&mut conn, at_work).await[0] != "0" || looks > 400).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis((state >> 33) % 700)).await;
        // SIGKILL, whatever it is doing.
        run.kill().await.unwrap();
        if round % 3 == 2 {
            bench.cluster.restart(StopMode::Immediate).await;
        }
        if !archive_exists(&bench).await {
            continue;
        }
        assert_eq!(bench.column(DIFFERENCE).await, ["0 too many, 0 missing"], "after kill {round}");
        let archived = bench.number("select count(*) from archive.metrics").await;
        hit += i64::from(archived > 0);
        let said = pgupkeep(&config.path(), &["archive", "verify"], &[("DATABASE_URL", &bench.url)]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        if bench.number("select count(*) from pgupkeep.run where kind = 'archive' and outcome = 'succeeded'").await > 0
        {
            start_over(&bench, &config).await;
            assert_eq!(bench.column(DIFFERENCE).await, ["0 too many, 0 missing"], "after the restore");
        }
    }
    assert!(hit > 0, "no kill came after the first batch: the test has proved nothing");
    // What is left is archived by an undisturbed run, and a second one finds nothing but what was logged meanwhile.
    stop.store(true, Ordering::Relaxed);
    let logged = writer.await.unwrap();
    let said = pgupkeep(&config.path(), &["run", "archive", "--local"], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(bench.column(DIFFERENCE).await, ["0 too many, 0 missing"]);
    let said = pgupkeep(&config.path(), &["plan", "archive"], &[("DATABASE_URL", &bench.url)]).await;
    assert!(said.stdout.starts_with("archive on mlflow: nothing to do"), "{said:?}");
    start_over(&bench, &config).await;
    let live = "select (select count(*) from (table metrics except all (table original union all table logged)) a)
                     + (select count(*) from ((table original union all table logged) except all table metrics) b)";
    assert_eq!(bench.number(live).await, 0, "everything is back in its table");
    println!("{kills} kills, {hit} of them with rows in the archive; {logged} points logged meanwhile");
}
