//! SIGTERM, a second signal, systemd, PID 1.

use std::os::unix::net::UnixDatagram;

use super::*;

fn config(seconds: f64, grace: &str) -> ConfigFile {
    ConfigFile::new(&format!(
        r#"
version: 1
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
defaults: {{ shutdown_grace: {grace}, lease: 5s }}
jobs: {{ long: {{ kind: sql, with: {{ statement: "{}" }} }} }}
schedules: {{ cron: [ {{ job: long, cron: "*/2 * * * * *" }} ] }}
"#,
        work("long", seconds)
    ))
}

const ACTIVE: &str = "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%'
                       and query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()";

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ends_within_the_grace_is_finished() {
    let Some(bench) = Bench::start("signals-grace", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let mut daemon = bench.daemon(&config(1.5, "30s")).await;
    bench.wait_for_count("a statement under way", ACTIVE, 1, START).await;
    daemon.stop(START).await;
    assert_eq!(bench.number("select count(*) from work where ended is null").await, 0);
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
    assert!(bench.number("select count(*) from pgupkeep.run where outcome = 'succeeded'").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_outlasts_the_grace_is_cancelled_and_its_run_handed_back() {
    let Some(bench) = Bench::start("signals-hand-back", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let mut daemon = bench.daemon(&config(600.0, "1s")).await;
    bench.wait_for_count("a statement under way", ACTIVE, 1, START).await;
    daemon.stop(START).await;
    assert_eq!(bench.number(ACTIVE).await, 0, "the statement was cancelled on the server");
    assert_eq!(bench.column("select state from pgupkeep.run where attempts > 0").await, ["queued"]);
    assert_eq!(bench.column("select outcome from pgupkeep.attempt").await, ["handed_back"]);
    assert_eq!(bench.column("select outcome from pgupkeep.step").await, ["cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once() {
    let Some(bench) = Bench::start("signals-second", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let mut daemon = bench.daemon(&config(600.0, "10m")).await;
    bench.wait_for_count("a statement under way", ACTIVE, 1, START).await;
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("stopping", START).await;
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1), "{status}");
    wait_until("the server ends what we left behind", Duration::from_secs(10), async || {
        (bench.number(ACTIVE).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_ready_reloading_stopping_status_and_the_watchdog() {
    let Some(bench) = Bench::start("signals-systemd", &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let config = config(0.1, "8s");
    let socket = config.folder().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let variables = [
        ("DATABASE_URL", bench.url.as_str()),
        ("NOTIFY_SOCKET", socket.to_str().unwrap()),
        ("WATCHDOG_USEC", "1000000"),
    ];
    let mut daemon = Daemon::start(&config.path(), &variables);
    let mut heard = String::new();
    let mut hear = async |what: &str| {
        wait_until(what, START, async || {
            let mut buffer = [0_u8; 4096];
            while let Ok(length) = systemd.recv(&mut buffer) {
                heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
                heard.push('\n');
            }
            heard.find(what).map(|at| heard.drain(..at + what.len()).collect::<String>())
        })
        .await
    };
    hear("READY=1").await;
    hear("STATUS=next: cron/long at ").await;
    hear("WATCHDOG=1").await;
    hear("WATCHDOG=1").await;
    daemon.signal(Signal::SIGHUP);
    hear("RELOADING=1").await;
    hear("MONOTONIC_USEC=").await;
    hear("READY=1").await;
    daemon.signal(Signal::SIGTERM);
    hear("STOPPING=1").await;
    assert!(daemon.wait_exit(START).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reloads_and_stops_as_the_first_process_of_a_container() {
    let suite = "signals-pid-1";
    let Some(bench) = Bench::start(suite, &[]).await else { return };
    bench.execute(WORK_TABLE).await;
    let config = config(0.1, "8s");
    let allowed = tokio::process::Command::new("unshare").args(["--pid", "--fork", "true"]).output().await;
    if !allowed.is_ok_and(|output| output.status.success()) {
        return skip_suite(suite, "this user may not make a PID namespace (unshare --pid)");
    }
    // A shell inside the namespace tells the outside which process is the daemon, then becomes it.
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]).arg(env!("CARGO_BIN_EXE_pgupkeep"));
    command.arg("--config").arg(config.path()).arg("daemon").env("DATABASE_URL", &bench.url).kill_on_drop(true);
    let log = std::fs::File::create(config.folder().join("log")).unwrap();
    command.stderr(log);
    let mut child = command.spawn().unwrap();
    let said = || std::fs::read_to_string(config.folder().join("log")).unwrap();
    wait_until("the daemon to be ready", START, async || said().contains("ready").then_some(())).await;
    let children = format!("/proc/{0}/task/{0}/children", child.id().unwrap());
    let pid: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let daemon = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(daemon, Signal::SIGHUP).unwrap();
    wait_until("a reload", START, async || said().contains("reloaded").then_some(())).await;
    nix::sys::signal::kill(daemon, Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(START, child.wait()).await.expect("it stops").unwrap();
    assert!(status.success(), "{status}: {}", said());
    assert!(said().contains("stopped"), "{}", said());
}
