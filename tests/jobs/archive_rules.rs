//! What moves by the preset for MLflow: every scope on schemas that MLflow's own migrations made, and every reason to stay.

use std::collections::BTreeMap;

use pgupkeep::jobs::archive::Archive;
use pgupkeep::jobs::archive::candidates::{Candidates, candidates};
use pgupkeep::jobs::archive::resolve::resolve;
use pgupkeep::jobs::archive::rule::Rule;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::workplace::QUIET;
use crate::support::{Cluster, mlflows, one_major};

const SUITE: &str = "jobs::archive_rules";

/// A session that finds nothing by a search path, as the one that reads facts.
pub async fn reader(cluster: &Cluster, database: &str) -> PgConnection {
    let mut conn = cluster.connect(database).await;
    conn.execute("set search_path = pg_catalog").await.unwrap();
    conn
}

pub fn spec(with: Value) -> Archive {
    serde_json::from_value(with).unwrap()
}

pub async fn run(conn: &mut PgConnection, sql: impl Into<String>) {
    let sql = sql.into();
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(conn).await {
        panic!("{sql}: {error}");
    }
}

/// What could move and what stays, as text.
pub async fn found(spec: &Archive, conn: &mut PgConnection) -> (Rule, Candidates) {
    let rule = resolve(spec, conn).await.unwrap_or_else(|error| panic!("{error}"));
    let found = candidates(&rule, spec, conn).await.unwrap_or_else(|error| panic!("{error}"));
    (rule, found)
}

pub fn reasons(found: &Candidates) -> BTreeMap<&str, i64> {
    found.excluded.iter().map(|excluded| (excluded.because.as_str(), excluded.count)).collect()
}

/// Sends everything that a moving transaction would send, to be understood and not to be done.
pub async fn check_statements(rule: &Rule, conn: &mut PgConnection) {
    let keys = rule.root.keys.iter().enumerate().map(|(nth, (_, kind))| format!(", k{} {kind}", nth + 1));
    let keys = keys.collect::<Vec<_>>().concat();
    run(conn, format!("begin; create temp table pgupkeep_picked (tid tid, group_key text{keys})")).await;
    run(conn, "create temp table pgupkeep_moved (group_key text, points bigint)").await;
    let root = &rule.root;
    let list =
        format!("explain select {}, {} from {} r where {}", root.group, root.activity, root.table, root.eligible);
    let strike = format!(
        "explain delete from pg_temp.pgupkeep_picked p where not exists (select from {} r where r.ctid = p.tid and ({}))",
        root.table, root.fenced
    );
    run(conn, list).await;
    run(conn, strike).await;
    for lock in &rule.locks {
        run(conn, format!("explain {lock}")).await;
    }
    for part in &rule.parts {
        let delete = format!("explain delete from {} t using {} where {}", part.table, part.using, part.on);
        run(conn, format!("{delete} returning t.*, p.group_key")).await;
        if let Some(kept) = &part.kept {
            run(conn, format!("{delete} and t.ctid not in ({kept})")).await;
        }
    }
    for mark in &rule.marks {
        run(conn, format!("explain {mark}")).await;
    }
    run(conn, "rollback").await;
}

#[tokio::test]
async fn every_scope_resolves_on_the_schemas_that_both_mlflows_make() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mlflow in mlflows(SUITE) {
        let database = mlflow.database(&cluster).await;
        let mut conn = reader(&cluster, &database).await;
        let mut parts = BTreeMap::new();
        for scope in ["metric_history", "runs", "experiments", "traces"] {
            let mut with = json!({ "preset": "mlflow", "scope": scope });
            if scope == "metric_history" {
                with["keep_points"] = json!(320);
            }
            let (rule, found) = found(&spec(with), &mut conn).await;
            assert_eq!(rule.name, format!("mlflow/{scope}"));
            assert!(rule.schema_version.as_ref().is_some_and(|version| version.len() == 12), "{rule:?}");
            assert_eq!((found.groups.len(), found.pages.len(), found.excluded.len()), (0, 0, 0));
            check_statements(&rule, &mut conn).await;
            let names: Vec<String> = rule.parts.iter().map(|part| part.table.name.0.clone()).collect();
            assert_eq!(rule.root.leaves, names.last() == Some(&rule.root.table.name.0), "{scope}: {names:?}");
            parts.insert(scope, names);
        }
        assert_eq!(parts["metric_history"], ["metrics"]);
        let old = mlflow.version.starts_with('2');
        let has = |scope: &str, table: &str| parts[scope].iter().any(|part| part == table);
        for (scope, table) in [
            ("runs", "logged_model_metrics"),
            ("runs", "entity_associations"),
            ("experiments", "logged_models"),
            ("traces", "spans"),
            ("traces", "assessments"),
        ] {
            assert_eq!(has(scope, table), !old, "{scope} {table} with MLflow {}", mlflow.version);
        }
        assert!(has("runs", "inputs") && has("runs", "input_tags") && has("traces", "trace_tags"));
        for scope in ["runs", "experiments", "traces"] {
            assert!(!has(scope, "datasets") && !has(scope, "experiments"), "{scope} moves what is shared");
        }
    }
}

#[tokio::test]
async fn a_schema_that_is_not_known_stops_every_scope_before_anything_moves() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let database = mlflow.database(&cluster).await;
    let mut conn = reader(&cluster, &database).await;
    let cases = [
        (
            "alter table public.metrics add unit text",
            "metric_history",
            "metrics.unit (text) is not known to the preset",
        ),
        ("alter table public.metrics alter step type numeric", "metric_history", "metrics.step is of type numeric"),
        ("alter table public.params add unit text", "metric_history", ""),
        ("alter table public.params add unit text", "runs", "params.unit (text) is not known"),
        (
            "create table public.notes (run varchar(32) references public.runs on delete cascade)",
            "runs",
            "public.notes refers to public.runs by the foreign key \"notes_run_fkey\", of which the preset mlflow knows",
        ),
        ("create table public.notes (run varchar(32) references public.runs on delete cascade)", "metric_history", ""),
        ("create table public.notes (t varchar(50) references public.trace_info)", "traces", "knows nothing"),
        (
            "create rule keep as on delete to public.metrics do instead nothing",
            "metric_history",
            "the rule \"keep\" of public.metrics makes something else of what is sent",
        ),
        (
            "create table public.more () inherits (public.metrics)",
            "metric_history",
            "public.metrics has tables that inherit from it",
        ),
        ("drop table public.trace_tags", "runs", ""),
        ("drop table public.trace_tags cascade", "traces", "needs a table trace_tags"),
        ("drop table public.latest_metrics", "metric_history", "no schema of this database has the tables"),
        (
            "create schema copy; create table copy.experiments (); create table copy.runs ();
             create table copy.metrics (); create table copy.latest_metrics (); create table copy.params ();
             create table copy.tags (); create table copy.trace_info (); create table copy.model_versions ()",
            "runs",
            "in several schemas (copy, public)",
        ),
        (
            "insert into public.experiments (experiment_id, name, lifecycle_stage) values (7, 'e', 'active');
             insert into public.trace_info (request_id, experiment_id, timestamp_ms, status, db_payload_generation)
             values ('t', 7, 1, 'OK', 0);
             insert into public.trace_tags values ('mlflow.trace.spansLocation', 'ARCHIVE_REPO', 't')",
            "traces",
            "MLflow's own trace archival is on",
        ),
        (
            "insert into public.workspaces (name, trace_archival_retention) values ('w', '30d')",
            "traces",
            "MLflow's own trace archival is on (a workspace",
        ),
    ];
    for (change, scope, expected) in cases {
        run(&mut conn, format!("begin; {change}")).await;
        let resolved = resolve(&spec(json!({ "preset": "mlflow", "scope": scope })), &mut conn).await;
        match resolved {
            Ok(_) => assert_eq!(expected, "", "{scope} after {change}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{scope} after {change}: {error}");
                assert!(error.ends_with("; nothing was touched"), "{error}");
            }
        }
        run(&mut conn, "rollback").await;
    }
}

/// A day ago and half a year ago, as MLflow's clients write them.
pub const TIMES: &str = "create schema s;
    create function s.ago(days int) returns bigint language sql as
      'select (extract(epoch from now() - make_interval(days => days)) * 1000)::bigint';
    create function s.run(id text, status text, days int, experiment int default 1) returns void language sql as $$
      insert into public.runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                               end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
      values (id, id, 'LOCAL', '', '', 'u', status, s.ago(days), case when status <> 'RUNNING' then s.ago(days) end, '',
              'active', '', experiment);
      insert into public.metrics (key, value, timestamp, run_uuid, step, is_nan)
      select k, i, s.ago(days), id, i, false from unnest(array['a', 'b']) k, generate_series(1, 5) i;
      insert into public.latest_metrics select distinct on (key) key, value, timestamp, step, is_nan, run_uuid
        from public.metrics where run_uuid = id order by key, step desc;
    $$;
    insert into public.experiments (experiment_id, name, lifecycle_stage, creation_time, last_update_time)
    select i, 'e' || i, 'active', s.ago(400), s.ago(400) from generate_series(1, 9) i;";

/// Cases that both schemas have: what is done, and the reason to stay it gives the run `x`; none: it moves.
const RUN_CASES: &[(&str, &str)] = &[
    ("select s.run('x', 'FINISHED', 200)", ""),
    ("select s.run('x', 'KILLED', 200); update public.runs set lifecycle_stage = 'deleted', deleted_time = s.ago(100)", ""),
    ("select s.run('x', 'FINISHED', 10)", "younger than the cutoff"),
    ("select s.run('x', 'FINISHED', 200); update public.runs set deleted_time = s.ago(3)", "younger than the cutoff"),
    ("select s.run('x', 'FINISHED', 200); update public.runs set end_time = s.ago(-5000)", "younger than the cutoff"),
    ("select s.run('x', 'FAILED', 200); update public.latest_metrics set timestamp = s.ago(5) where key = 'a'",
     "younger than the cutoff"),
    // Somebody logs microseconds, or his own numbers: that says nothing about when.
    ("select s.run('x', 'FAILED', 200); update public.latest_metrics set timestamp = timestamp * 1000", ""),
    ("select s.run('x', 'FAILED', 200); update public.latest_metrics set timestamp = 9223372036854775807", ""),
    ("select s.run('x', 'FINISHED', 200); update public.runs set start_time = -9223372036854775808", ""),
    ("select s.run('x', 'RUNNING', 200)", "the run has not ended"),
    ("select s.run('x', 'SCHEDULED', 200)", "the run has not ended"),
    ("select s.run('x', 'FINISHED', 200); update public.runs set status = null", "the run has not ended"),
    ("select s.run('x', 'FINISHED', 200); update public.runs set start_time = null, end_time = null;
      delete from public.latest_metrics", "nothing tells when the run was last active"),
    ("select s.run('x', 'FINISHED', 200); update public.runs set start_time = null, end_time = null", ""),
    ("select s.run('x', 'FINISHED', 200); insert into public.tags values ('pgupkeep.keep', '', 'x')", "a tag keeps the run"),
    ("select s.run('x', 'FINISHED', 200); insert into public.tags values ('it''s \\ mine', '', 'x')", "a tag keeps the run"),
    ("select s.run('x', 'FINISHED', 200); insert into public.tags values ('other', '', 'x')", ""),
    ("select s.run('x', 'FINISHED', 200); insert into public.experiment_tags values ('pgupkeep.archive.after', 'Never', 1)",
     "the experiment's tag pgupkeep.archive.after says never"),
    ("select s.run('x', 'FINISHED', 200); insert into public.experiment_tags values ('pgupkeep.archive.after', '1 year', 1)",
     "younger than the cutoff"),
    ("select s.run('x', 'FINISHED', 40); insert into public.experiment_tags values ('pgupkeep.archive.after', '30d', 1)", ""),
    ("select s.run('x', 'FINISHED', 200); insert into public.experiment_tags values ('pgupkeep.archive.after', '9999 years', 1)",
     "the experiment's tag pgupkeep.archive.after is neither never nor a span such as 30d"),
    ("select s.run('x', 'FINISHED', 200); insert into public.experiment_tags values ('pgupkeep.archive.after', '30 minutes', 1)",
     "the experiment's tag pgupkeep.archive.after is neither never nor a span such as 30d"),
    ("select s.run('x', 'FINISHED', 200); insert into public.experiment_tags values ('pgupkeep.archive.after', 'never', 2)", ""),
    ("select s.run('x', 'FINISHED', 200); insert into public.registered_models (name) values ('m');
      insert into public.model_versions (name, version, run_id) values ('m', 1, 'x')",
     "a registered model version comes from the run"),
    ("select s.run('x', 'FINISHED', 200); insert into public.registered_models (name) values ('m');
      insert into public.model_versions (name, version, source) values ('m', 1, 'runs:/x/model')",
     "a registered model version comes from the run"),
    ("select s.run('x', 'FINISHED', 200), s.run('child', 'FINISHED', 10);
      insert into public.tags values ('mlflow.parentRunId', 'x', 'child')", "a child of the run stays"),
    ("select s.run('x', 'FINISHED', 200), s.run('child', 'FINISHED', 150), s.run('grandchild', 'RUNNING', 150);
      insert into public.tags values ('mlflow.parentRunId', 'x', 'child'), ('mlflow.parentRunId', 'child', 'grandchild')",
     "a child of the run stays"),
    ("select s.run('x', 'FINISHED', 200), s.run('child', 'FINISHED', 150);
      insert into public.tags values ('mlflow.parentRunId', 'x', 'child')", ""),
    ("select s.run('x', 'FINISHED', 200), s.run('parent', 'FINISHED', 10);
      insert into public.tags values ('mlflow.parentRunId', 'parent', 'x')", ""),
];

/// Cases that only MLflow 3 has.
const RUN_CASES_3: &[(&str, &str)] = &[
    ("select s.run('x', 'FINISHED', 200); insert into public.registered_models (name) values ('m');
      insert into public.logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms,
      last_updated_timestamp_ms, status, lifecycle_stage, source_run_id) values ('m-1', 1, 'n', '', 1, 1, 2, 'active', 'x');
      insert into public.model_versions (name, version, source) values ('m', 1, 'models:/m-1')",
     "a registered model version comes from the run"),
    ("select s.run('x', 'FINISHED', 200); insert into public.issues (issue_id, experiment_id, name, description, status,
      source_run_id, created_timestamp, last_updated_timestamp) values ('i', 1, 'n', '', 'pending', 'x', 1, 1)", "issue"),
];

#[tokio::test]
async fn each_reason_to_stay_keeps_the_run_and_its_absence_lets_it_move() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mlflow in mlflows(SUITE) {
        let database = mlflow.database(&cluster).await;
        let mut conn = reader(&cluster, &database).await;
        run(&mut conn, TIMES).await;
        let more = if mlflow.version.starts_with('3') { RUN_CASES_3 } else { &[] };
        for (change, expected) in RUN_CASES.iter().chain(more) {
            for scope in ["metric_history", "runs"] {
                run(&mut conn, format!("begin; {change}")).await;
                let keep_tags = ["pgupkeep.keep", "it's \\ mine"];
                let spec = spec(json!({ "preset": "mlflow", "scope": scope, "keep_tags": keep_tags }));
                let (rule, found) = found(&spec, &mut conn).await;
                let at = format!("{scope} with MLflow {} after {change}", mlflow.version);
                let moves = found.groups.iter().find(|group| group.group_key == "x");
                let reasons = reasons(&found);
                if expected.is_empty() {
                    let rows = moves.unwrap_or_else(|| panic!("{at}: {reasons:?}")).rows;
                    let all = if scope == "runs" { 11 } else { 10 };
                    assert!(rows >= all && (scope == "runs" || rows == all), "{at}: {rows} rows");
                } else {
                    assert_eq!(moves, None, "{at}");
                    assert!(reasons.keys().any(|reason| reason.contains(expected)), "{at}: {reasons:?}");
                }
                // What is asked again under the locks agrees, but for the children of a run whose history alone moves.
                let agrees = scope == "runs" || !expected.contains("child");
                if agrees && !change.contains("grandchild") {
                    check_fence(&rule, expected.is_empty(), &at, &mut conn).await;
                }
                run(&mut conn, "rollback").await;
            }
        }
    }
}

/// Whether the second look lets the run `x` go.
async fn check_fence(rule: &Rule, moves: bool, at: &str, conn: &mut PgConnection) {
    let fence = format!(
        "create temp table pgupkeep_picked on commit drop as select r.ctid as tid, r.run_uuid::text as group_key,
         r.run_uuid as k1 from {0} r where r.run_uuid = 'x'",
        rule.root.table
    );
    run(conn, fence).await;
    let sql = format!("select count(*) from {} r where r.run_uuid = 'x' and ({})", rule.root.table, rule.root.fenced);
    let left: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(conn).await.unwrap();
    assert_eq!(left, i64::from(moves), "fenced: {at}");
}

#[tokio::test]
async fn options_change_what_stays() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let database = mlflow.database(&cluster).await;
    let mut conn = reader(&cluster, &database).await;
    run(&mut conn, TIMES).await;
    let cases = [
        ("select s.run('x', 'RUNNING', 200)", json!({ "stale_running_after": "100 days" }), 10),
        ("select s.run('x', 'RUNNING', 200)", json!({ "stale_running_after": "1 year" }), 0),
        ("select s.run('x', 'FINISHED', 50)", json!({ "older_than": "1 month" }), 10),
        ("select s.run('x', 'FINISHED', 200)", json!({ "older_than": "1 year" }), 0),
        (
            "select s.run('x', 'FINISHED', 200); insert into public.registered_models (name) values ('m');
             insert into public.model_versions (name, version, run_id) values ('m', 1, 'x')",
            json!({ "registered_models": "include" }),
            10,
        ),
        (
            "select s.run('x', 'FINISHED', 200); insert into public.tags values ('pgupkeep.keep', '', 'x')",
            json!({ "keep_tags": [] }),
            10,
        ),
        // Of each series of five rows two stay.
        ("select s.run('x', 'FINISHED', 200)", json!({ "keep_points": 2 }), 6),
        ("select s.run('x', 'FINISHED', 200)", json!({ "keep_points": 5 }), 0),
        ("select s.run('x', 'FINISHED', 200); delete from public.metrics", json!({}), 0),
        ("select s.run('x', 'FINISHED', 200); delete from public.metrics where key = 'a'", json!({}), 5),
    ];
    for (change, mut with, expected) in cases {
        run(&mut conn, format!("begin; {change}")).await;
        let at = format!("{with} after {change}");
        with["preset"] = json!("mlflow");
        let (_, found) = found(&spec(with), &mut conn).await;
        let rows: i64 = found.groups.iter().map(|group| group.rows).sum();
        assert_eq!(rows, expected, "{at}: {found:?}");
        run(&mut conn, "rollback").await;
    }
}

#[tokio::test]
async fn the_rows_that_stay_of_a_series_are_those_that_mlflow_would_show() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let database = mlflow.database(&cluster).await;
    let mut conn = reader(&cluster, &database).await;
    run(&mut conn, TIMES).await;
    run(
        &mut conn,
        "select s.run('x', 'FINISHED', 200); delete from public.metrics;
         insert into public.metrics (key, value, timestamp, run_uuid, step, is_nan)
         select 'k' || n, sin(i * n), s.ago(200) + (i * 7919) % 1000, 'x', i / (1 + n % 3), i % 97 = 0
           from unnest(array[1, 2, 319, 320, 321, 322, 640, 641, 800, 5000]) n, generate_series(1, n) i",
    )
    .await;
    let rule = resolve(&spec(json!({ "preset": "mlflow", "keep_points": 320 })), &mut conn).await.unwrap();
    let kept = rule.parts[0].kept.as_ref().unwrap();
    run(
        &mut conn,
        format!(
            "create temp table pgupkeep_picked as select r.ctid as tid, r.run_uuid::text as group_key, r.run_uuid as k1
               from public.runs r;
             create table s.kept as select m.key, m.step, m.timestamp, m.value, m.is_nan from public.metrics m
              where m.ctid in ({kept})"
        ),
    )
    .await;
    // MLflow's own sampling, asked for the same series.
    let oracle = "
import json, sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore(sys.argv[1], 'file:///nowhere')
rows = [[n, m.step, m.timestamp, repr(m.value) if m.value == m.value else None]
        for n in (1, 2, 319, 320, 321, 322, 640, 641, 800, 5000)
        for m in store.get_metric_history_bulk_interval(
            run_ids=['x'], metric_key=f'k{n}', max_results=320, start_step=None, end_step=None)]
print(json.dumps(rows))
";
    let url = cluster.url(&database).replace("postgres://", "postgresql+psycopg2://");
    let output = mlflow.program().args(["-c", oracle, &url]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Vec<(i64, i64, i64, Option<String>)> =
        serde_json::from_slice(output.stdout.trim_ascii()).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let read = |value: Option<String>| value.map(|value| value.parse::<f64>().unwrap());
    let mut shown: Vec<(i64, i64, i64, Option<f64>)> =
        shown.into_iter().map(|(n, step, at, value)| (n, step, at, read(value))).collect();
    let sql = "select substr(key, 2)::int8, step, timestamp, case when not is_nan then value end from s.kept";
    let mut kept: Vec<(i64, i64, i64, Option<f64>)> = sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap();
    let order = |a: &(i64, i64, i64, Option<f64>), b: &(i64, i64, i64, Option<f64>)| a.partial_cmp(b).unwrap();
    shown.sort_by(order);
    kept.sort_by(order);
    assert_eq!(kept.len(), 1 + 2 + 319 + 320 * 7);
    assert_eq!(kept, shown);
}

#[tokio::test]
async fn traces_and_whole_experiments_stay_for_their_reasons() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let database = mlflow.database(&cluster).await;
    let mut conn = reader(&cluster, &database).await;
    run(&mut conn, TIMES).await;
    run(
        &mut conn,
        "create function s.trace(id text, status text, days int, experiment int default 1) returns void language sql as $$
           insert into public.trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status,
             db_payload_generation) values (id, experiment, s.ago(days), 5, status, 0);
           insert into public.spans (trace_id, experiment_id, span_id, status, start_time_unix_nano, content)
             values (id, experiment, 's', 'OK', 1, '{}');
         $$",
    )
    .await;
    let trace = "select s.trace('t', 'OK', 200);";
    let whole = "select s.run('x', 'FINISHED', 200), s.trace('t', 'OK', 200);";
    let assessment = "insert into public.assessments (assessment_id, trace_id, name, assessment_type, value,
        created_timestamp, last_updated_timestamp, source_type, valid) values ('a', 't', 'n', 'feedback', '1', 1, {at},
        'HUMAN', true)";
    let young = assessment.replace("{at}", "s.ago(3)");
    let old = assessment.replace("{at}", "s.ago(100)");
    let cases = [
        ("traces", trace.to_owned(), ""),
        ("traces", format!("{trace} {old}"), ""),
        ("traces", "select s.trace('t', 'OK', 10)".to_owned(), "younger than the cutoff"),
        ("traces", format!("{trace} update public.trace_info set timestamp_ms = 9223372036854775807"), "younger"),
        ("traces", format!("{trace} update public.trace_info set timestamp_ms = -9223372036854775808"), ""),
        ("traces", "select s.trace('t', 'IN_PROGRESS', 200)".to_owned(), "the trace has not ended"),
        ("traces", format!("{trace} {young}"), "an assessment of the trace is younger"),
        ("traces", format!("{trace} insert into public.trace_tags values ('pgupkeep.keep', '', 't')"), "a tag keeps"),
        ("experiments", whole.to_owned(), ""),
        ("experiments", format!("{whole} select s.run('y', 'FINISHED', 10)"), "a run of the experiment stays"),
        ("experiments", format!("{whole} select s.run('y', 'FINISHED', 10, 2)"), ""),
        ("experiments", format!("{whole} select s.trace('u', 'OK', 10)"), "a trace of the experiment stays"),
        (
            "experiments",
            format!("{whole} update public.experiments set last_update_time = s.ago(3) where experiment_id = 1"),
            "the experiment itself was changed",
        ),
        (
            "experiments",
            format!("{whole} insert into public.experiment_tags values ('pgupkeep.archive.after', 'never', 1)"),
            "says never",
        ),
        (
            "experiments",
            format!(
                "{whole} select s.run('child', 'FINISHED', 10, 2);
                 insert into public.tags values ('mlflow.parentRunId', 'x', 'child')"
            ),
            "a child of one of its runs stays",
        ),
        (
            "experiments",
            format!(
                "{whole} insert into public.issues (issue_id, experiment_id, name, description, status, source_run_id,
                 created_timestamp, last_updated_timestamp) values ('i', 2, 'n', '', 'resolved', 'x', 1, 1)"
            ),
            "a run of the experiment stays",
        ),
    ];
    for (scope, change, expected) in cases {
        run(&mut conn, format!("begin; {change}")).await;
        let (_, found) = found(&spec(json!({ "preset": "mlflow", "scope": scope })), &mut conn).await;
        let at = format!("{scope} after {change}: {found:?}");
        let moves = found.groups.iter().any(|group| group.group_key == "1") || !found.pages.is_empty();
        assert_eq!(moves, expected.is_empty(), "{at}");
        assert!(expected.is_empty() || reasons(&found).keys().any(|reason| reason.contains(expected)), "{at}");
        if scope == "experiments" && expected.is_empty() {
            // Ten points and two latest of them, a run, a trace and a span.
            let rows = found.groups.iter().find(|group| group.group_key == "1").unwrap().rows;
            assert_eq!(rows, 15, "{at}");
        }
        run(&mut conn, "rollback").await;
    }
}
