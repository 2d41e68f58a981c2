//! MLflow as the judge of an archival: what its own client sees before, meanwhile and after the way back.

use std::path::Path;

use serde_json::Value;

use super::succeed;
use crate::daemon::{Bench, START};
use crate::support::*;

const CONFIG: &str = r#"
version: 1
targets: { mlflow: { url: "env:DATABASE_URL", preset: mlflow } }
jobs:
  history: { kind: archive, with: { preset: mlflow } }
  runs: { kind: archive, with: { preset: mlflow, scope: runs } }
  experiments: { kind: archive, with: { preset: mlflow, scope: experiments } }
  traces: { kind: archive, with: { preset: mlflow, scope: traces } }
"#;

/// Nothing has happened to any run for 200 days.
const AGE: &str = "update runs set start_time = start_time - 17280000000, end_time = end_time - 17280000000;
    update latest_metrics set timestamp = timestamp - 17280000000 where timestamp > 1700000400000";

/// The same of its traces, and of the experiment itself.
const AGE_REST: &str = "update trace_info set timestamp_ms = timestamp_ms - 17280000000;
    update experiments set creation_time = creation_time - 17280000000,
                           last_update_time = last_update_time - 17280000000";
/// And of what only the newer MLflow has.
const AGE_ASSESSMENTS: &str = "update assessments set created_timestamp = created_timestamp - 17280000000,
    last_updated_timestamp = last_updated_timestamp - 17280000000";

const NOTHING_HELD: &str = "update archive_store.group_state set hold_until = null";

struct Judge {
    mlflow: Mlflow,
    url: String,
}

impl Judge {
    async fn ask(&self, arguments: &[&str]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow/archive.py");
        let said = succeed(self.mlflow.program().arg(script).arg(&self.url).args(arguments)).await;
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The same about several runs or traces.
    async fn ask_of(&self, arguments: &[&str], ids: &[String]) -> Value {
        let ids = ids.iter().map(String::as_str);
        self.ask(&arguments.iter().copied().chain(ids).collect::<Vec<_>>()).await
    }
}

/// A database of an MLflow's own making, and that MLflow's client.
async fn judged(major: &Major, mlflow: Mlflow) -> (Bench, Judge) {
    let cluster = Cluster::start(major, &["autovacuum = off"]).await;
    let database = mlflow.database(&cluster).await;
    let bench = Bench { url: cluster.url(&database), cluster, database };
    let url = bench.url.replace("postgres://", "postgresql+psycopg2://");
    (bench, Judge { mlflow, url })
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

async fn keeper(bench: &Bench, config: &ConfigFile, arguments: &[&str]) -> Said {
    let said = pgupkeep(&config.path(), arguments, &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_sees_what_is_promised_of_archived_histories_and_runs_and_everything_after_the_way_back() {
    let suite = "mlflow archive";
    let Some(major) = one_major(suite) else { return };
    for mlflow in mlflows(suite) {
        let (bench, judge) = judged(&major, mlflow).await;
        let config = ConfigFile::new(CONFIG);
        let logged = judge.ask(&["log"]).await;
        let (experiment, runs) = (logged["experiment"].as_str().unwrap(), names(&logged["runs"]));
        bench.execute(AGE).await;
        histories_leave_and_come_back(&bench, &config, &judge, experiment, &runs).await;
        runs_leave_and_come_back(&bench, &config, &judge, experiment, &runs).await;
    }
}

async fn histories_leave_and_come_back(
    bench: &Bench,
    config: &ConfigFile,
    judge: &Judge,
    experiment: &str,
    runs: &[String],
) {
    let before = judge.ask_of(&["histories"], runs).await;
    // The histories leave; everything else of MLflow goes on working.
    keeper(bench, config, &["run", "history", "--local"]).await;
    assert_eq!(bench.number("select count(*) from archive.metrics").await, 3600);
    judge.ask_of(&["archived_history", experiment], runs).await;

    // One way back by the command line, one by a tag that the daemon finds.
    keeper(bench, config, &["archive", "restore", "--run", &runs[2]]).await;
    judge.ask(&["wish", &runs[3]]).await;
    let mut daemon = bench.daemon(config).await;
    let restored = "select count(*) from pgupkeep.run where kind = 'archive_restore' and outcome = 'succeeded'";
    bench.wait_for_count("the restore by a tag", restored, 2, START).await;
    daemon.stop(START).await;
    keeper(bench, config, &["archive", "restore", "--experiment", experiment]).await;
    let after = judge.ask_of(&["histories"], runs).await;
    for run in runs {
        let points = |seen: &Value| seen[run].as_array().unwrap().clone();
        let (before, mut after) = (points(&before), points(&after));
        if *run == runs[0] {
            // The point that was logged while the others were away.
            let late = after.iter().position(|point| point[3] == 1000).expect("the late point is there, too");
            after.remove(late);
        }
        assert_eq!(before, after, "the history of {run}");
    }
    let tags = judge.ask(&["tags", &runs[3]]).await;
    assert!(tags.get("pgupkeep.archived").is_none() && tags.get("pgupkeep.restore").is_none(), "{tags}");
}

/// Whole runs leave and come back; one that MLflow deletes for good is not in the way of anything.
async fn runs_leave_and_come_back(
    bench: &Bench,
    config: &ConfigFile,
    judge: &Judge,
    experiment: &str,
    runs: &[String],
) {
    bench.execute(NOTHING_HELD).await;
    bench.execute(AGE).await;
    bench.execute("update latest_metrics set timestamp = 1700000000000").await;
    let whole = judge.ask_of(&["histories"], runs).await;
    keeper(bench, config, &["run", "runs", "--local"]).await;
    judge.ask_of(&["archived_runs", experiment], runs).await;
    keeper(bench, config, &["archive", "verify"]).await;
    keeper(bench, config, &["archive", "restore", "--where", &format!("r.run_uuid <> '{}'", runs[3])]).await;
    keeper(bench, config, &["archive", "restore", "--run", &runs[3]]).await;
    assert_eq!(judge.ask_of(&["histories"], runs).await, whole);
    bench.execute(NOTHING_HELD).await;
    keeper(bench, config, &["run", "history", "--local"]).await;
    judge.ask(&["hard_delete", &runs[1]]).await;
    let left = format!("select count(*) from archive.metrics where run_uuid = '{}'", runs[1]);
    assert_eq!(bench.number(&left).await, 900, "its archived rows stay readable");
    let said =
        pgupkeep(&config.path(), &["archive", "restore", "--run", &runs[1]], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(1), "there is no run that they could belong to: {said:?}");
    assert_eq!(bench.number(&left).await, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_sees_what_is_promised_of_archived_traces_and_experiments_and_everything_after_the_way_back() {
    let suite = "mlflow archive traces";
    let Some(major) = one_major(suite) else { return };
    for mlflow in mlflows(suite) {
        let has_assessments = mlflow.version.starts_with('3');
        let (bench, judge) = judged(&major, mlflow).await;
        let config = ConfigFile::new(CONFIG);
        let logged = judge.ask(&["log"]).await;
        let (experiment, runs) = (logged["experiment"].as_str().unwrap(), names(&logged["runs"]));
        let traces = names(&judge.ask(&["log_traces", experiment]).await["traces"]);
        bench.execute(AGE).await;
        bench.execute(AGE_REST).await;
        if has_assessments {
            bench.execute(AGE_ASSESSMENTS).await;
        }
        let seen = judge.ask_of(&["traces"], &traces).await;
        keeper(&bench, &config, &["run", "traces", "--local"]).await;
        assert_eq!(bench.number("select count(*) from archive.trace_info").await, 3);
        judge.ask_of(&["archived_traces", experiment], &traces).await;
        keeper(&bench, &config, &["archive", "restore", "--experiment", experiment]).await;
        assert_eq!(judge.ask_of(&["traces"], &traces).await, seen);

        // The experiment with all that is in it, the traces included.
        bench.execute(NOTHING_HELD).await;
        let histories = judge.ask_of(&["histories"], &runs).await;
        keeper(&bench, &config, &["run", "experiments", "--local"]).await;
        judge.ask_of(&["archived_experiment", experiment], &runs).await;
        keeper(&bench, &config, &["archive", "verify"]).await;
        keeper(&bench, &config, &["archive", "restore", "--experiment", experiment]).await;
        assert_eq!(judge.ask_of(&["histories"], &runs).await, histories);
        assert_eq!(judge.ask_of(&["traces"], &traces).await, seen);
        assert_eq!(bench.number("select count(*) from experiment_tags where key like 'pgupkeep%'").await, 0);
        assert_eq!(bench.number("select count(*) from archive.metrics").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_mlflow_is_not_held_up_by_the_archive_and_the_archive_still_reads() {
    let suite = "mlflow archive migration";
    let versions = mlflows(suite);
    let [old, new] = versions.as_slice() else { return };
    let Some(major) = one_major(suite) else { return };
    let (bench, judge) = judged(&major, old.clone()).await;
    let config = ConfigFile::new(CONFIG);
    let logged = judge.ask(&["log"]).await;
    let run = logged["runs"][0].as_str().unwrap();
    bench.execute(AGE).await;
    let before = judge.ask(&["histories", run]).await;
    keeper(&bench, &config, &["run", "history", "--local"]).await;
    succeed(new.program().args(["-m", "mlflow", "db", "upgrade", &judge.url])).await;
    assert_eq!(bench.number("select count(*) from archive.metrics").await, 3600);
    assert_eq!(bench.number("select count(*) from archive.all_metrics").await, 3600);
    keeper(&bench, &config, &["archive", "restore", "--run", run]).await;
    let judge = Judge { mlflow: new.clone(), url: judge.url };
    assert_eq!(judge.ask(&["histories", run]).await, before);
}
