//! A canary password, given by every allowed way, turns up nowhere.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const CANARY: &str = "c4nary/Pa55 w@rd";
const ENCODED: &str = "c4nary%2FPa55%20w%40rd";

/// How a password reaches us: the way's name, the target in the configuration, and the variables.
type Way = (&'static str, String, Vec<(&'static str, String)>);

/// Every allowed way.
fn ways(bench: &Bench, folder: &std::path::Path) -> Vec<Way> {
    let address = bench.cluster.address();
    let full = format!("postgres://keeper:{ENCODED}@{address}/{}?sslmode=disable", bench.database);
    let bare = format!("postgres://keeper@{address}/{}?sslmode=disable", bench.database);
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let passfile = file("passfile", &format!("*:*:*:keeper:{CANARY}"));
    vec![
        ("literal url", format!("{{ url: \"{full}\" }}"), vec![]),
        ("env url", "{ url: \"env:THE_URL\" }".to_owned(), vec![("THE_URL", full.clone())]),
        ("file url", format!("{{ url: \"file:{}\" }}", file("url", &full)), vec![]),
        ("password: file", format!("{{ url: \"{bare}\", password: \"file:{}\" }}", file("password", CANARY)), vec![]),
        (
            "password: env",
            format!("{{ url: \"{bare}\", password: \"env:THE_PASSWORD\" }}"),
            vec![("THE_PASSWORD", CANARY.to_owned())],
        ),
        ("PGPASSWORD", format!("{{ url: \"{bare}\" }}"), vec![("PGPASSWORD", CANARY.to_owned())]),
        ("PGPASSFILE", format!("{{ url: \"{bare}\" }}"), vec![("PGPASSFILE", passfile)]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_password_appears_in_no_argv_log_ledger_row_or_error() {
    let Some(bench) = Bench::start("secrets", &[]).await else { return };
    bench.execute(&format!("create role keeper superuser login password '{CANARY}'")).await;
    let hba = bench.cluster.data().join("pg_hba.conf");
    std::fs::write(&hba, "host all postgres all trust\nhost all keeper all scram-sha-256\n").unwrap();
    bench.execute("select pg_reload_conf()").await;
    let folder = tempfile::tempdir().unwrap();
    for (way, target, variables) in ways(&bench, folder.path()) {
        let config = ConfigFile::new(&format!(
            r#"
version: 1
targets: {{ app: {target} }}
http: {{ listen: "127.0.0.1:0" }}
logging: {{ level: "trace", file: {{ directory: "{}", rotation: daily, keep: 3 }} }}
jobs:
  tick: {{ kind: sql, with: {{ statement: "select 1" }} }}
  failing: {{ kind: sql, with: {{ statement: "select 1 / 0" }} }}
schedules: {{ cron: [ {{ job: tick, cron: "* * * * * *" }}, {{ job: failing, cron: "* * * * * *" }} ] }}
"#,
            folder.path().display()
        ));
        bench.execute("drop schema if exists pgupkeep cascade").await;
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut daemon = Daemon::start(&config.path(), &variables);
        daemon.wait_for_line("ready", START).await;
        let done = "select count(*) from pgupkeep.run where outcome in ('succeeded', 'failed')";
        bench.wait_for_count(&format!("{way}: runs"), done, 4, START).await;
        let argv = std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
        // A refused login makes the server and the driver talk about the credentials.
        bench.execute("alter role keeper password 'changed'").await;
        bench
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgupkeep/%'")
            .await;
        daemon.wait_for_line("password authentication failed", START).await;
        let mut said = vec![argv, daemon.lines().join("\n")];
        let address = pages_of(&daemon, 0).await;
        for page in ["/livez", "/readyz", "/metrics"] {
            said.push(get(address, page).await.body);
        }
        for command in ["status", "history", "check", "migrate"] {
            let answer = pgupkeep(&config.path(), &[command], &variables).await;
            said.push(format!("{}{}", answer.stdout, answer.stderr));
        }
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit(START).await;
        bench.execute(&format!("alter role keeper password '{CANARY}'")).await;
        said.push(bench.cluster.run_client("pg_dump", &["-n", "pgupkeep", "-d", &bench.database]).await);
        for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".log") {
                said.push(std::fs::read_to_string(entry.path()).unwrap());
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        for text in said {
            for secret in [CANARY, ENCODED, "c4nary"] {
                let line = text.lines().find(|line| line.contains(secret));
                assert!(line.is_none(), "{way}: the canary was seen in: {line:?}");
            }
        }
    }
}
