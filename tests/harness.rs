//! The harness itself: what the other suites rely on is shown to hold here.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::support::{
    Cluster, DemoSize, MOMENT, Proxy, StopMode, Traffic, majors, mlflow_database, one_major, wait_until,
};

const SUITE: &str = "harness";

async fn answer(session: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select 42").fetch_one(session).await
}

#[tokio::test]
async fn every_major_starts_crashes_and_comes_back() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, &["autovacuum = off"]).await;
        let mut session = cluster.connect("postgres").await;
        let (version, autovacuum): (String, String) =
            sqlx::query_as("select current_setting('server_version_num'), current_setting('autovacuum')")
                .fetch_one(&mut session)
                .await
                .unwrap();
        assert!(version.starts_with(&major.number.to_string()), "{version}");
        assert_eq!(autovacuum, "off");

        cluster.execute("postgres", "create table kept (n int); insert into kept values (1)").await;
        cluster.execute("postgres", "checkpoint").await;
        let before = cluster.pid().unwrap();
        cluster.restart(StopMode::Immediate).await;
        assert_ne!(cluster.pid().unwrap(), before);
        answer(&mut session).await.expect_err("the session died with the server");
        let mut session = cluster.connect("postgres").await;
        let kept: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&mut session).await.unwrap();
        assert_eq!(kept, 1);
    }
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process_and_no_folder() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let (data, address) = (cluster.data(), cluster.address());
    assert!(data.is_dir());
    drop(cluster);
    assert!(!data.exists());
    std::net::TcpStream::connect(address).expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_second_cluster_is_a_copy_and_quick() {
    let Some(major) = one_major(SUITE) else { return };
    let _first = Cluster::start(&major, &[]).await;
    let started = Instant::now();
    let second = Cluster::start(&major, &[]).await;
    let took = started.elapsed();
    let mut session = second.connect("postgres").await;
    assert_eq!(answer(&mut session).await.unwrap(), 42);
    // Usually 0.3 s; the limit only has to tell a copy from a machine that initialises each time.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_stalled_proxy_holds_an_answer_back_and_then_delivers_it() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let proxy = Proxy::start(cluster.address()).await;
    let url = cluster.url_through(proxy.address(), "postgres");
    let mut session = PgConnection::connect(&url).await.unwrap();
    assert_eq!(answer(&mut session).await.unwrap(), 42);
    assert_eq!(proxy.connections(), 1);

    proxy.set(Traffic::Stall).await;
    let mut waiting = Box::pin(answer(&mut session));
    tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.expect_err("no byte moves");
    proxy.set(Traffic::Pass).await;
    assert_eq!(waiting.await.unwrap(), 42);
}

#[tokio::test]
async fn a_cut_proxy_resets_connections_and_a_refusing_one_takes_no_new_ones() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let proxy = Proxy::start(cluster.address()).await;
    let url = cluster.url_through(proxy.address(), "postgres");
    let mut session = PgConnection::connect(&url).await.unwrap();

    proxy.set(Traffic::Refuse).await;
    assert_eq!(answer(&mut session).await.unwrap(), 42, "existing connections go on");
    let refused = PgConnection::connect(&url).await.unwrap_err();
    assert!(matches!(&refused, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused));

    proxy.cut();
    answer(&mut session).await.expect_err("the connection was cut");
    wait_until("the server side to close too", MOMENT, async || (proxy.connections() == 0).then_some(())).await;

    proxy.set(Traffic::Pass).await;
    let mut session = PgConnection::connect(&url).await.unwrap();
    assert_eq!(answer(&mut session).await.unwrap(), 42);
}

#[tokio::test]
async fn a_standby_streams_and_takes_writes_once_promoted() {
    let Some(major) = one_major(SUITE) else { return };
    let primary = Cluster::start(&major, &[]).await;
    let standby = primary.standby(&[]).await;
    primary.execute("postgres", "create table seen (n int)").await;
    let mut session = standby.connect("postgres").await;
    wait_until("the table to arrive at the standby", MOMENT, async || {
        let arrived: bool =
            sqlx::query_scalar("select to_regclass('seen') is not null").fetch_one(&mut session).await.unwrap();
        arrived.then_some(())
    })
    .await;
    sqlx::query("insert into seen values (1)").execute(&mut session).await.expect_err("a standby takes no writes");
    standby.promote().await;
    sqlx::query("insert into seen values (1)").execute(&mut session).await.unwrap();
}

#[tokio::test]
async fn the_demo_database_has_every_shape_of_row() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &["autovacuum = off"]).await;
    let database = mlflow_database(&cluster, DemoSize::SMALL).await;
    let mut session = cluster.connect(&database).await;
    let shapes = [
        ("runs", "select count(*) from runs"),
        ("deleted runs", "select count(*) from runs where lifecycle_stage = 'deleted'"),
        ("NaN", "select count(*) from metrics where is_nan and value = 0"),
        ("Inf", "select count(*) from metrics where value = 1.7976931348623157e308"),
        ("-Inf", "select count(*) from metrics where value = -1.7976931348623157e308"),
        ("points logged twice", "select count(*) - count(distinct (run_uuid, key, step)) from metrics"),
        ("latest values", "select count(*) from latest_metrics"),
    ];
    for (shape, sql) in shapes {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap();
        assert!(count > 0, "no row: {shape}");
    }
    let dead: i64 = wait_until("the counters to be reported", MOMENT, async || {
        let sql = "select n_dead_tup from pg_stat_user_tables where relname = 'latest_metrics'";
        let dead: i64 = sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap();
        (dead > 0).then_some(dead)
    })
    .await;
    assert!(dead >= 600, "{dead}");
}
