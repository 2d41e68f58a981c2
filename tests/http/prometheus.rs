//! The real Prometheus reads our pages, and its promtool our names and alerts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs};

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::*;

/// One of Prometheus's programs; `None` is a skipped suite.
fn program(name: &str) -> Option<PathBuf> {
    let named = env::var_os("PGUPKEEP_PROMETHEUS").map(|folder| PathBuf::from(folder).join(name));
    let found = named.into_iter().chain([Path::new("/usr/bin").join(name)]).find(|path| path.is_file());
    if found.is_none() {
        skip_suite("prometheus", "prometheus and promtool are not here (package prometheus)");
    }
    found
}

async fn succeed(command: &mut Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let said = child.wait_with_output().await.unwrap();
    let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.status.success(), "{command:?}: {text}");
    text
}

#[tokio::test]
async fn promtool_accepts_the_alerts_and_they_fire_when_they_should() {
    let Some(promtool) = program("promtool") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    let said = succeed(Command::new(&promtool).args(["check", "rules", "alerts.yml"]).current_dir(&folder), "").await;
    assert!(said.contains("10 rules found"), "{said}");
    succeed(Command::new(&promtool).args(["test", "rules", "alerts_test.yml"]).current_dir(&folder), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_say_against_the_metrics() {
    let Some(promtool) = program("promtool") else { return };
    let Some(bench) = Bench::start("prometheus", &[]).await else { return };
    bench.execute("create table t as select g from generate_series(1, 1000) g").await;
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    let daemon = bench.daemon(&config).await;
    let address = pages_of(&daemon, 0).await;
    let variables = [("DATABASE_URL", bench.url.as_str())];
    assert_eq!(pgupkeep(&config.path(), &["run", "clean", "--watch"], &variables).await.code, Some(0));
    assert_eq!(pgupkeep(&config.path(), &["run", ODD, "--watch"], &variables).await.code, Some(1));
    let page = wait_until("the page tells of the run", START, async || {
        let page = get(address, "/metrics").await.body;
        page.contains("pgupkeep_job_last_end_timestamp_seconds").then_some(page)
    })
    .await;
    let said = succeed(Command::new(&promtool).args(["check", "metrics"]), &page).await;
    assert_eq!(said.trim(), "", "{page}");
}

/// A Prometheus of the test's own, with the shipped alerts; killed when dropped.
struct Prometheus {
    _child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Prometheus {
    async fn start(program: &Path, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n\
             - {{ job_name: pgupkeep, static_configs: [{{ targets: [\"{target}\"] }}] }}\n",
            rules.display()
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = None;
        let address = wait_until("Prometheus is ready", START, async || {
            // Its port is free when we look, and may be taken when it does: then another one is tried.
            if child.as_mut().is_none_or(|(child, _): &mut (Child, SocketAddr)| child.try_wait().unwrap().is_some()) {
                let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
                let mut command = Command::new(program);
                command.arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()));
                command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
                command.arg(format!("--web.listen-address={address}")).current_dir(folder.path());
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().unwrap()).kill_on_drop(true);
                child = Some((command.spawn().unwrap(), address));
            }
            let address = child.as_ref().unwrap().1;
            let is_up = tokio::net::TcpStream::connect(address).await.is_ok();
            (is_up && ask(address, "/-/ready").await.status == 200).then_some(address)
        })
        .await;
        Self { _child: child.unwrap().0, _folder: folder, address }
    }

    /// The value of the only series of a query, if there is one.
    async fn value(&self, query: &str) -> Option<String> {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = ask(self.address, &format!("/api/v1/query?query={query}")).await;
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        Some(json["data"]["result"].as_array()?.first()?["value"][1].as_str()?.to_owned())
    }
}

/// Asks a server that would keep the connection.
async fn ask(address: SocketAddr, page: &str) -> Answer {
    request(address, &format!("GET {page} HTTP/1.0\r\nhost: test\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_a_running_daemon_and_raises_the_alert_of_a_refused_reload() {
    let (Some(prometheus), Some(bench)) = (program("prometheus"), Bench::start("prometheus", &[]).await) else {
        return;
    };
    bench.execute("create table t as select g from generate_series(1, 1000) g").await;
    let config = ConfigFile::new(&config("127.0.0.1:0"));
    let daemon = bench.daemon(&config).await;
    let prometheus = Prometheus::start(&prometheus, pages_of(&daemon, 0).await).await;
    let is = async |query: &str, expected: &str| {
        wait_until(&format!("{query} is {expected}"), START, async || {
            (prometheus.value(query).await.as_deref() == Some(expected)).then_some(())
        })
        .await;
    };
    is("up{job=\"pgupkeep\"}", "1").await;
    is("pgupkeep_control_up", "1").await;
    let variables = [("DATABASE_URL", bench.url.as_str())];
    assert_eq!(pgupkeep(&config.path(), &["run", ODD, "--watch"], &variables).await.code, Some(1));
    is(&format!("pgupkeep_runs_total{{job_name=\"{ODD_LABEL}\",outcome=\"failed\"}}"), "1").await;
    is("sum(pgupkeep_runs_total) == 1", "1").await;
    config.rewrite("version: 1\n");
    daemon.signal(Signal::SIGHUP);
    is("ALERTS{alertname=\"PgupkeepReloadRefused\",alertstate=\"pending\"}", "1").await;
}
