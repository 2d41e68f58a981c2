//! What each page says while a daemon works, waits and stops, and what it does with clients that are not well-behaved.

use std::time::{Duration, Instant};

use sqlx::Executor as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers_as_documented_and_nothing_else_does() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    let mut daemon = bench.daemon(&config).await;
    let address = pages_of(&daemon, 0).await;
    let ready = wait_for_status(address, "/readyz", 200).await;
    assert!(ready.body.starts_with("ready\nok   process: answers\n"), "{}", ready.body);
    assert!(ready.body.contains("ok   control database: answers"), "{}", ready.body);
    let alive = get(address, "/livez").await;
    assert!(alive.status == 200 && alive.body.starts_with("alive\n"), "{alive:?}");
    let metrics = get(address, "/metrics?x=1").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert_eq!(sample(&metrics.body, "pgupkeep_control_up"), Some(1.0), "{}", metrics.body);

    for (page, status) in [("/", 404), ("/metrics/", 404), ("/livez/../readyz", 404), ("//readyz", 404)] {
        assert_eq!(get(address, page).await.status, status, "{page}");
    }
    let head = request(address, "HEAD /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
    let post = request(address, "POST /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(post.status == 405 && post.head.contains("allow: get, head"), "{post:?}");
    assert_eq!(request(address, "nonsense\r\n\r\n").await.status, 400);
    let endless = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    assert!(matches!(request(address, &endless).await.status, 400..=431), "a head without end is refused");
    assert_eq!(get(address, "/readyz").await.status, 200);
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_are_let_go_and_keep_nobody_else_out_for_long() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    let daemon = bench.daemon(&config).await;
    let address = pages_of(&daemon, 0).await;
    let mut silent = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: ").await.unwrap();
        }
        silent.push(stream);
    }
    let began = Instant::now();
    assert_eq!(get(address, "/livez").await.status, 200);
    assert!(began.elapsed() < START, "{:?}", began.elapsed());
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(START, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a silent client is let go");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_and_gauges_tell_what_the_ledger_tells() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    bench.execute("create table t as select g from generate_series(1, 10000) g").await;
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    let mut daemon = bench.daemon(&config).await;
    let address = pages_of(&daemon, 0).await;
    wait_for_status(address, "/readyz", 200).await;
    let clean = |name: &str, more: &str| format!("pgupkeep_{name}{{job_name=\"clean\",target=\"app\"{more}}}");
    let odd = |name: &str, more: &str| format!("pgupkeep_{name}{{job_name=\"{ODD_LABEL}\",target=\"app\"{more}}}");
    let before = get(address, "/metrics").await.body;
    assert_eq!(sample(&before, &clean("runs_total", ",outcome=\"succeeded\"")), Some(0.0), "from zero on: {before}");
    assert_eq!(sample(&before, &clean("job_last_success_timestamp_seconds", "")), Some(0.0));

    let variables = [("DATABASE_URL", bench.url.as_str())];
    assert_eq!(pgupkeep(&config.path(), &["run", "clean", "--watch"], &variables).await.code, Some(0));
    assert_eq!(pgupkeep(&config.path(), &["run", ODD, "--watch"], &variables).await.code, Some(1));
    let page = wait_until("the page tells of both runs", START, async || {
        let page = get(address, "/metrics").await.body;
        let done = sample(&page, &odd("job_last_outcome", ",outcome=\"failed\"")) == Some(1.0);
        done.then_some(page)
    })
    .await;
    let check = |name: String, expected: f64| assert_eq!(sample(&page, &name), Some(expected), "{name} in\n{page}");
    check(clean("runs_total", ",outcome=\"succeeded\""), 1.0);
    check(clean("attempts_total", ",outcome=\"succeeded\""), 1.0);
    check(clean("job_last_outcome", ",outcome=\"succeeded\""), 1.0);
    check(odd("runs_total", ",outcome=\"failed\""), 1.0);
    check(odd("runs_total", ",outcome=\"succeeded\""), 0.0);
    check(odd("statements_total", ""), 1.0);
    check(odd("steps_total", ",outcome=\"failed\""), 1.0);
    check(odd("job_last_success_timestamp_seconds", ""), 0.0);
    check("pgupkeep_daemons".to_owned(), 1.0);
    check("pgupkeep_target_available{target=\"app\"}".to_owned(), 1.0);
    let steps = bench.number("select count(*) from pgupkeep.step where job = 'clean' and outcome = 'done'").await;
    assert_eq!(
        sample(&page, &clean("steps_total", ",outcome=\"done\"")),
        Some(f64::from(i32::try_from(steps).unwrap()))
    );
    let ended = "select extract(epoch from last_success_at)::bigint from pgupkeep.overview where job = 'clean'";
    let told = sample(&page, &clean("job_last_success_timestamp_seconds", "")).unwrap();
    let ended: f64 = bench.column(ended).await[0].parse().unwrap();
    assert!((told - ended).abs() <= 1.0, "{told} is {ended}");
    let due = sample(&page, "pgupkeep_entry_next_due_timestamp_seconds{entry=\"daily/clean\",job_name=\"clean\"}");
    assert!(due.is_some_and(|due| due > told), "{page}");
    assert!(!page.contains("entry=\"paused\""), "a paused entry has no next instant");

    // What is true over all daemons outlives this one; the counters begin anew.
    daemon.stop(START).await;
    let daemon = bench.daemon(&config).await;
    let address = pages_of(&daemon, 0).await;
    wait_for_status(address, "/readyz", 200).await;
    let page = get(address, "/metrics").await.body;
    assert_eq!(sample(&page, &clean("job_last_success_timestamp_seconds", "")), Some(told));
    assert_eq!(sample(&page, &clean("runs_total", ",outcome=\"succeeded\"")), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_alive_but_not_ready_while_its_control_database_is_away() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    bench.cluster.stop(StopMode::Fast).await;
    let daemon = Daemon::start(&config.path(), &[("DATABASE_URL", &bench.url)]);
    let address = pages_of(&daemon, 0).await;
    assert_eq!(get(address, "/livez").await.status, 200, "before the first contact");
    let away = get(address, "/readyz").await;
    assert_eq!(away.status, 503);
    assert!(away.body.starts_with("not ready\n"), "{}", away.body);
    assert!(away.body.contains("FAIL control database: ") && away.body.contains("FAIL engine: "), "{}", away.body);

    bench.cluster.start_again().await;
    wait_for_status(address, "/readyz", 200).await;
    bench.cluster.stop(StopMode::Immediate).await;
    let away = wait_for_status(address, "/readyz", 503).await;
    assert!(away.body.contains("FAIL control database: "), "{}", away.body);
    let page = get(address, "/metrics").await.body;
    assert_eq!(sample(&page, "pgupkeep_control_up"), Some(0.0));
    assert!(!page.contains("pgupkeep_job_last_success"), "what is not known is not told: {page}");
    assert!(page.contains("pgupkeep_runs_total{"), "what the process knows is told: {page}");
    assert_eq!(get(address, "/livez").await.status, 200);

    bench.cluster.start_again().await;
    wait_for_status(address, "/readyz", 200).await;
    bench.execute("update pgupkeep.migration set version = 9999 where version = (select max(version) from pgupkeep.migration)").await;
    let newer = wait_for_status(address, "/readyz", 503).await;
    assert!(newer.body.contains("version 9999, newer than"), "{}", newer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_database_that_takes_no_writes_is_told_of_once_and_nobody_is_ready_meanwhile() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let file = ConfigFile::new(&config("127.0.0.1:0"));
    let mut daemon = bench.daemon(&file).await;
    let address = pages_of(&daemon, 0).await;
    wait_for_status(address, "/readyz", 200).await;
    let set = async |value: &str| {
        let mut conn = bench.connect().await;
        for sql in [
            "set default_transaction_read_only = off",
            &format!("alter system set default_transaction_read_only = {value}"),
            "select pg_reload_conf()",
        ] {
            conn.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
        }
    };
    let mark = daemon.mark();
    set("on").await;
    daemon.wait_for_line_after(mark, "the control database takes no writes", START).await;
    let ready = wait_for_status(address, "/readyz", 503).await;
    assert!(ready.body.contains("FAIL control database: answers, but takes no writes"), "{ready:?}");
    assert_eq!(get(address, "/livez").await.status, 200);
    // It is read all the while, which is no reason to take it for well.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(get(address, "/readyz").await.status, 503);
    let told = daemon.lines()[mark..].iter().filter(|line| line.contains("the control database")).count();
    assert_eq!(told, 1, "{:#?}", &daemon.lines()[mark..]);
    set("off").await;
    daemon.wait_for_line_after(mark, "the control database is back", START).await;
    wait_for_status(address, "/readyz", 200).await;
    daemon.stop(START).await;
}
