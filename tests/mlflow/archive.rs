//! MLflow as the judge of an archival: what its own client sees before, meanwhile and after the way back.

use std::path::Path;

use serde_json::Value;

use super::{python, succeed};
use crate::daemon::{Bench, START};
use crate::support::*;

const CONFIG: &str = r#"
version: 1
targets: { mlflow: { url: "env:DATABASE_URL", preset: mlflow } }
jobs:
  history: { kind: archive, with: { preset: mlflow } }
  runs: { kind: archive, with: { preset: mlflow, scope: runs } }
"#;

/// Nothing has happened to any run for 200 days.
const AGE: &str = "update runs set start_time = start_time - 17280000000, end_time = end_time - 17280000000;
    update latest_metrics set timestamp = timestamp - 17280000000 where timestamp > 1700000400000";

struct Judge {
    python: std::path::PathBuf,
    url: String,
}

impl Judge {
    async fn ask(&self, arguments: &[&str]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow/archive.py");
        let said = succeed(python(&self.python).arg(script).arg(&self.url).args(arguments)).await;
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

async fn keeper(bench: &Bench, config: &ConfigFile, arguments: &[&str]) -> Said {
    let said = pgupkeep(&config.path(), arguments, &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_sees_what_is_promised_of_archived_histories_and_runs_and_everything_after_the_way_back() {
    let suite = "mlflow archive";
    let Some(path) = mlflow_python(suite) else { return };
    let Some(bench) = Bench::start(suite, &["autovacuum = off"]).await else { return };
    let judge = Judge { python: path.clone(), url: bench.url.replace("postgres://", "postgresql+psycopg2://") };
    succeed(python(&path).args(["-m", "mlflow", "db", "upgrade", &judge.url])).await;
    let config = ConfigFile::new(CONFIG);

    let logged = judge.ask(&["log"]).await;
    let experiment = logged["experiment"].as_str().unwrap().to_owned();
    let runs: Vec<&str> = logged["runs"].as_array().unwrap().iter().map(|run| run.as_str().unwrap()).collect();
    bench.execute(AGE).await;
    let all: Vec<&str> = ["histories"].into_iter().chain(runs.iter().copied()).collect();
    let before = judge.ask(&all).await;

    // The histories leave; everything else of MLflow goes on working.
    keeper(&bench, &config, &["run", "history", "--local"]).await;
    assert_eq!(bench.number("select count(*) from archive.metrics").await, 3600);
    let seen: Vec<&str> = ["archived_history", &experiment].into_iter().chain(runs.iter().copied()).collect();
    judge.ask(&seen).await;

    // One way back by the command line, one by a tag that the daemon finds.
    keeper(&bench, &config, &["archive", "restore", "--run", runs[2]]).await;
    judge.ask(&["wish", runs[3]]).await;
    let mut daemon = bench.daemon(&config).await;
    let restored = "select count(*) from pgupkeep.run where kind = 'archive_restore' and outcome = 'succeeded'";
    bench.wait_for_count("the restore by a tag", restored, 2, START).await;
    daemon.stop(START).await;
    keeper(&bench, &config, &["archive", "restore", "--experiment", &experiment]).await;
    let after = judge.ask(&all).await;
    for run in &runs {
        let (mut before, after) = (before[run].as_array().unwrap().clone(), after[run].as_array().unwrap().clone());
        if *run == runs[0] {
            // The point that was logged while the others were away.
            let late = after.iter().find(|point| point[3] == 1000).expect("the late point is there, too").clone();
            before.push(late);
            before.sort_by_key(Value::to_string);
            let mut after = after;
            after.sort_by_key(Value::to_string);
            assert_eq!(before, after);
        } else {
            assert_eq!(before, after, "the history of {run}");
        }
    }
    let tags = judge.ask(&["tags", runs[3]]).await;
    assert!(tags.get("pgupkeep.archived").is_none() && tags.get("pgupkeep.restore").is_none(), "{tags}");

    // Whole runs leave and come back; one that MLflow deletes for good is not in the way of anything.
    bench.execute("update archive_store.group_state set hold_until = null").await;
    bench.execute(AGE).await;
    bench.execute("update latest_metrics set timestamp = 1700000000000").await;
    let whole = judge.ask(&all).await;
    keeper(&bench, &config, &["run", "runs", "--local"]).await;
    let gone: Vec<&str> = ["archived_runs", &experiment].into_iter().chain(runs.iter().copied()).collect();
    judge.ask(&gone).await;
    keeper(&bench, &config, &["archive", "verify"]).await;
    keeper(&bench, &config, &["archive", "restore", "--where", &format!("r.run_uuid <> '{}'", runs[3])]).await;
    keeper(&bench, &config, &["archive", "restore", "--run", runs[3]]).await;
    assert_eq!(judge.ask(&all).await, whole);
    bench.execute("update archive_store.group_state set hold_until = null").await;
    keeper(&bench, &config, &["run", "history", "--local"]).await;
    judge.ask(&["hard_delete", runs[1]]).await;
    let left = format!("select count(*) from archive.metrics where run_uuid = '{}'", runs[1]);
    assert_eq!(bench.number(&left).await, 900, "its archived rows stay readable");
    let said =
        pgupkeep(&config.path(), &["archive", "restore", "--run", runs[1]], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(1), "there is no run that they could belong to: {said:?}");
    assert_eq!(bench.number(&left).await, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_mlflow_is_not_held_up_by_the_archive_and_the_archive_still_reads() {
    let suite = "mlflow archive migration";
    let versions = mlflows(suite);
    let [old, new] = versions.as_slice() else { return };
    let Some(major) = one_major(suite) else { return };
    let cluster = Cluster::start(&major, &["autovacuum = off"]).await;
    let database = old.database(&cluster).await;
    let url = cluster.url(&database);
    let bench = Bench { cluster, database, url };
    let config = ConfigFile::new(CONFIG);
    let url = bench.url.replace("postgres://", "postgresql+psycopg2://");
    let judge = Judge { python: old.python.clone(), url: url.clone() };
    let logged = judge.ask(&["log"]).await;
    let run = logged["runs"][0].as_str().unwrap();
    bench.execute(AGE).await;
    let before = judge.ask(&["histories", run]).await;
    keeper(&bench, &config, &["run", "history", "--local"]).await;
    succeed(python(&new.python).args(["-m", "mlflow", "db", "upgrade", &url])).await;
    assert_eq!(bench.number("select count(*) from archive.metrics").await, 3600);
    assert_eq!(bench.number("select count(*) from archive.all_metrics").await, 3600);
    keeper(&bench, &config, &["archive", "restore", "--run", run]).await;
    let judge = Judge { python: new.python.clone(), url };
    assert_eq!(judge.ask(&["histories", run]).await, before);
}
