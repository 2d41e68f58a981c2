//! Addresses that are taken, changed and given up, refused reloads, and `pgupkeep healthcheck`.

use std::net::TcpListener;

use super::*;

async fn healthcheck(config: &ConfigFile, arguments: &[&str]) -> Said {
    // Nothing in its environment: a health check needs no secrets.
    pgupkeep(&config.path(), &[&["healthcheck"], arguments].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_costs_nothing_but_the_pages_until_it_is_free() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let squatter = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = squatter.local_addr().unwrap();
    let config = ConfigFile::new(&config(&address.to_string()));
    let mut daemon = bench.daemon(&config).await;
    daemon.wait_for_line("cannot be served there; everything else goes on", START).await;
    let variables = [("DATABASE_URL", bench.url.as_str())];
    assert_eq!(pgupkeep(&config.path(), &["run", "clean", "--watch"], &variables).await.code, Some(0));
    drop(squatter);
    assert_eq!(pages_of(&daemon, 0).await, address);
    wait_for_status(address, "/readyz", 200).await;
    let said = daemon.lines().join("\n");
    assert_eq!(said.matches("cannot be served there").count(), 1, "it is said once: {said}");
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_takes_effect_at_a_reload_and_a_bad_reload_is_told() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    let file = ConfigFile::new(&config("127.0.0.1:0"));
    let mut daemon = bench.daemon(&file).await;
    let first = pages_of(&daemon, 0).await;
    wait_for_status(first, "/readyz", 200).await;
    let page = get(first, "/metrics").await.body;
    assert_eq!(sample(&page, "pgupkeep_config_last_reload_successful"), Some(1.0));
    let read_at = sample(&page, "pgupkeep_config_last_reload_success_timestamp_seconds").unwrap();

    file.rewrite("version: 1\nnonsense: true\n");
    let mark = daemon.mark();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line_after(mark, "the running configuration stays in force", START).await;
    let page = wait_until("the metric is set", START, async || {
        let page = get(first, "/metrics").await.body;
        (sample(&page, "pgupkeep_config_last_reload_successful") == Some(0.0)).then_some(page)
    })
    .await;
    assert_eq!(sample(&page, "pgupkeep_config_reloads_total{result=\"kept\"}"), Some(1.0));
    assert_eq!(sample(&page, "pgupkeep_config_last_reload_success_timestamp_seconds"), Some(read_at));
    let ready = get(first, "/readyz").await;
    assert!(ready.status == 200 && ready.body.contains("the last reload was refused"), "{ready:?}");

    let mark = daemon.mark();
    // Any other spelling of "a free port" is another address.
    file.rewrite(&config("[::1]:0").replace("  clean: {", "  tidy: { kind: vacuum }\n  clean: {"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line_after(mark, "reloaded", START).await;
    let said = daemon.wait_for_line_after(mark, "pages for monitoring", START).await;
    let second = if said.contains("are up") { pages_of(&daemon, mark).await } else { first };
    let page = get(second, "/metrics").await.body;
    assert_eq!(sample(&page, "pgupkeep_config_last_reload_successful"), Some(1.0));
    assert_eq!(sample(&page, "pgupkeep_config_reloads_total{result=\"taken\"}"), Some(1.0));
    assert!(page.contains("job_name=\"tidy\""), "a new job has its series at once");

    let mark = daemon.mark();
    file.rewrite(&config("off"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line_after(mark, "the pages for monitoring are off", START).await;
    wait_until("nobody answers", START, async || tokio::net::TcpStream::connect(second).await.is_err().then_some(()))
        .await;
    let said = healthcheck(&file, &[]).await;
    assert!(said.code == Some(1) && said.stderr.contains("listen: off"), "{said:?}");
    daemon.stop(START).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_says_what_the_daemon_says_and_needs_neither_secrets_nor_a_good_file() {
    let Some(bench) = Bench::start("http", &[]).await else { return };
    // The address is in the file, so it cannot be one that the system chooses.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = ConfigFile::new(&config(&format!("0.0.0.0:{}", address.port())));
    let said = healthcheck(&file, &[]).await;
    assert!(said.code == Some(1) && said.stderr.contains("is the daemon up?"), "{said:?}");

    let mut daemon = bench.daemon(&file).await;
    wait_for_status(address, "/readyz", 200).await;
    let said = healthcheck(&file, &[]).await;
    assert!(said.code == Some(0) && said.stdout.starts_with("ready\n"), "{said:?}");

    file.rewrite(&config(&address.to_string()).replace("version: 1", "version: nonsense\nmore: nonsense"));
    assert_eq!(healthcheck(&file, &[]).await.code, Some(0), "the daemon goes on, whatever is being edited");
    file.rewrite("targets: [");
    let address = address.to_string();
    assert_eq!(healthcheck(&file, &["--address", &address]).await.code, Some(0));

    bench.cluster.stop(StopMode::Fast).await;
    wait_for_status(address.parse().unwrap(), "/readyz", 503).await;
    let said = healthcheck(&file, &["--address", &address]).await;
    assert!(said.code == Some(1) && said.stdout.contains("FAIL control database"), "{said:?}");
    assert_eq!(healthcheck(&file, &["--live", "--address", &address]).await.code, Some(0));
    bench.cluster.start_again().await;
    daemon.stop(START).await;
}
