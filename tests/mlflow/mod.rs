//! A database made by MLflow itself, with MLflow's client at work on it.

mod archive;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::daemon::{Bench, START, check_invariants};
use crate::support::*;

async fn succeed(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_keeps_working_while_the_daemon_vacuums_and_analyzes_its_database() {
    let suite = "mlflow";
    let Some(path) = mlflow_python(suite) else { return };
    let Some(bench) = Bench::start(suite, &["autovacuum = off"]).await else { return };
    let url = bench.url.replace("postgres://", "postgresql+psycopg2://");
    succeed(mlflow_program(&path).args(["-m", "mlflow", "db", "upgrade", &url])).await;
    let tables = bench.number("select count(*) from pg_tables where schemaname = 'public'").await;
    assert!(tables > 60, "MLflow made {tables} tables");
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow/client.py");
    let rounds = rounds(15, 100).to_string();
    let mut at_work = mlflow_program(&path)
        .arg(&client)
        .args([&url, &rounds])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Every minute in the long rounds, as a user would; every few seconds in the usual ones.
    let (needed, all) = if rounds == "100" { ("* * * * *", "* * * * *") } else { ("*/5 * * * * *", "*/10 * * * * *") };
    let config = ConfigFile::new(&format!(
        r#"
version: 1
targets: {{ mlflow: {{ url: "env:DATABASE_URL", preset: mlflow }} }}
jobs:
  needed: {{ kind: vacuum }}
  all: {{ kind: vacuum, with: {{ always: true }} }}
schedules:
  cron: [ {{ job: needed, cron: "{needed}" }}, {{ job: all, cron: "{all}" }} ]
"#
    ));
    let mut daemon = bench.daemon(&config).await;
    let done = |job: &str| {
        format!(
            "select count(*) from pgupkeep.run where job = '{job}' and outcome = 'succeeded' and state = 'finished'"
        )
    };
    bench.wait_for_count("vacuums where needed", &done("needed"), 2, Duration::from_mins(4)).await;
    bench.wait_for_count("vacuums of everything", &done("all"), 1, Duration::from_mins(4)).await;
    let ended = tokio::time::timeout(Duration::from_mins(3), at_work.wait()).await.expect("the client ends").unwrap();
    if !ended.success() {
        let output = at_work.wait_with_output().await.unwrap();
        panic!("MLflow's client failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Everything that was logged before is vacuumed and analyzed now.
    let before = bench.number(&done("all")).await;
    bench.wait_for_count("a vacuum after the last write", &done("all"), before + 2, Duration::from_mins(4)).await;
    daemon.stop(START).await;
    let untouched = bench
        .column(
            "select relname from pg_stat_user_tables
              where schemaname = 'public' and (last_vacuum is null or last_analyze is null)",
        )
        .await;
    assert!(untouched.is_empty(), "not vacuumed and analyzed: {untouched:?}");
    let trouble = bench
        .column("select coalesce(error, outcome) from pgupkeep.run where outcome in ('failed', 'lost', 'timed_out')")
        .await;
    assert!(trouble.is_empty(), "{trouble:?}");
    let mut conn = bench.connect().await;
    check_invariants(&mut conn).await;
    // And after: the client still works on what pgupkeep has maintained.
    succeed(mlflow_program(&path).arg(&client).args([&url, "2"])).await;
    succeed(mlflow_program(&path).args(["-m", "mlflow", "db", "upgrade", &url])).await;
}
