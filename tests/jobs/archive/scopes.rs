//! What several scopes of MLflow have archived of the same run comes back together, and a hold of one is respected by all.

use serde_json::json;
use sqlx::Executor as _;

use super::super::archive_rules::TIMES;
use super::super::workplace::{QUIET, Workplace};
use super::{archive, archived_rows, restore};
use crate::support::{Cluster, mlflows, one_major};

const SUITE: &str = "jobs::archive::scopes";

fn scope(name: &str) -> pgupkeep::jobs::JobSpec {
    archive(json!({ "preset": "mlflow", "scope": name, "older_than": "90days" }))
}

const POINTS: &str = "select count(*) from public.metrics";

#[tokio::test]
async fn a_run_that_two_scopes_have_archived_is_restored_whole() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mlflow in mlflows(SUITE) {
        for whole in ["runs", "experiments"] {
            let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
            place.execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 300)").await;
            place.run(&scope("metric_history")).await.succeeded();
            assert_eq!(place.ask(POINTS).await, "0");
            place.run(&scope(whole)).await.succeeded();
            assert_eq!(place.ask("select count(*) from public.runs").await, "0");
            // By a condition over whichever root fits, both at once.
            place.run(&restore(json!({ "where": "r.experiment_id = 1" }))).await.succeeded();
            assert_eq!(place.ask(POINTS).await, "20", "{whole} of {}", mlflow.version);
            assert_eq!(place.ask("select count(*) from public.runs").await, "2");
            assert_eq!(place.ask("select count(*) from public.tags where key like 'pgupkeep%'").await, "0");
            assert_eq!(archived_rows(&place).await, "0");
            for name in ["metric_history", "runs", "experiments"] {
                assert_eq!(place.plan(&scope(name)).await, Vec::<String>::new(), "{name} after {whole}: it is held");
            }
        }
    }
}

#[tokio::test]
async fn a_hold_of_one_scope_is_respected_by_the_others() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mlflow in mlflows(SUITE) {
        let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
        place.execute("select s.run('x', 'FINISHED', 200, 1), s.run('y', 'FINISHED', 300, 2)").await;
        place.run(&scope("experiments")).await.succeeded();
        place.run(&restore(json!({ "groups": ["1"] }))).await.succeeded();
        for name in ["metric_history", "runs"] {
            assert_eq!(place.plan(&scope(name)).await, Vec::<String>::new(), "{name}: the run's experiment is held");
        }
        place.execute("select s.run('z', 'FINISHED', 300, 3), s.run('w', 'FINISHED', 300, 4)").await;
        place.run(&scope("metric_history")).await.succeeded();
        place.run(&restore(json!({ "groups": ["z"] }))).await.succeeded();
        place.run(&scope("experiments")).await.succeeded();
        let left = "select string_agg(run_uuid, ',' order by run_uuid) from public.runs";
        assert_eq!(place.ask(left).await, "x,z", "the experiments of held runs stay");
        assert_eq!(place.ask(POINTS).await, "20");
    }
}

#[tokio::test]
async fn what_a_restore_is_asked_for_is_looked_at_first() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 300)").await;
    for name in ["metric_history", "runs"] {
        place.run(&scope(name)).await.succeeded();
    }
    let archived = archived_rows(&place).await;
    let nowhere = format!("{:?}", place.run(&restore(json!({ "groups": ["x"], "schema": "other" }))).await.finish);
    assert!(nowhere.contains("there is no archive in the schema other"), "{nowhere}");
    let now = jiff::Timestamp::now();
    for (with, words) in [
        (json!({ "groups": ["x", "nobody"] }), "the archive knows no group"),
        (json!({ "groups": ["x"], "rule": "mlflow/run" }), "there are mlflow/metric_history, mlflow/runs"),
        (json!({ "between": { "from": now, "to": now } }), "the end is not after the beginning"),
        (json!({ "groups": ["x"], "where": "true" }), "in exactly one way"),
    ] {
        let went = format!("{:?}", place.run(&restore(with.clone())).await.finish);
        assert!(went.contains(words), "{with}: {went}");
        assert_eq!(archived_rows(&place).await, archived);
    }
    // One rule's share by itself.
    place.run(&restore(json!({ "groups": ["x"], "rule": "mlflow/runs" }))).await.succeeded();
    assert_eq!(place.ask("select count(*) from public.runs").await, "1");
    assert_eq!(place.ask(POINTS).await, "0");
    place.run(&restore(json!({ "groups": ["x"] }))).await.succeeded();
    assert_eq!(place.ask(POINTS).await, "10");
    // Once more changes nothing, and is no mistake.
    place.run(&restore(json!({ "groups": ["x"] }))).await.succeeded();
}

#[tokio::test]
async fn what_the_archive_no_longer_keeps_is_no_longer_marked() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 900)").await;
    place.run(&scope("metric_history")).await.succeeded();
    let marked = "select string_agg(run_uuid, ',' order by run_uuid) from public.tags where key = 'pgupkeep.archived'";
    assert_eq!(place.ask(marked).await, "x,y");
    place.run(&archive(json!({ "preset": "mlflow", "archive_keep": "2 years" }))).await.succeeded();
    assert_eq!(place.ask(marked).await, "x");
    assert_eq!(archived_rows(&place).await, "10");
}

#[tokio::test]
async fn what_came_back_and_was_deleted_is_not_said_to_be_back() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200)").await;
    place.run(&scope("metric_history")).await.succeeded();
    let named = restore(json!({ "groups": ["x"], "hold": "1 day" }));
    place.run(&named).await.succeeded();
    for table in ["tags", "metrics", "latest_metrics", "runs"] {
        place.execute(&format!("delete from {table} where run_uuid = 'x'")).await;
    }
    let longer = restore(json!({ "groups": ["x"], "hold": "90 days" }));
    for asked in [&named, &longer] {
        let told = format!("{:?}", place.run(asked).await.finish).replace('\\', "");
        assert!(told.contains("\"x\" was restored before, and somebody has deleted it since"), "{told}");
    }
    let all = restore(json!({ "where": "true", "hold": "90 days" }));
    assert_eq!(place.plan(&all).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_hold_can_be_ended_before_its_time() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 300)").await;
    place.run(&scope("metric_history")).await.succeeded();
    place.run(&restore(json!({ "groups": ["x", "y"] }))).await.succeeded();
    assert_eq!(place.plan(&scope("metric_history")).await, Vec::<String>::new());
    let back = place.ask("select restored_at from archive_store.group_state where group_key = 'x'").await;
    let release = restore(json!({ "where": "r.run_uuid = 'x'", "hold": "off" }));
    assert_eq!(place.plan(&release).await, ["end the hold of x of mlflow/metric_history"]);
    place.run(&release).await.succeeded();
    assert_eq!(place.plan(&release).await, Vec::<String>::new());
    assert_eq!(place.ask("select restored_at from archive_store.group_state where group_key = 'x'").await, back);
    place.run(&scope("metric_history")).await.succeeded();
    assert_eq!(place.ask("select string_agg(distinct run_uuid, ',') from public.metrics").await, "y");
    // Without a hold in the first place; then with one after all.
    place.run(&restore(json!({ "groups": ["x"], "hold": "off" }))).await.succeeded();
    assert_ne!(place.plan(&scope("metric_history")).await, Vec::<String>::new());
    let again = restore(json!({ "groups": ["x"], "hold": "10days" }));
    assert_eq!(place.plan(&again).await, ["hold x of mlflow/metric_history, which is back"]);
    place.run(&again).await.succeeded();
    assert_eq!(place.plan(&again).await, Vec::<String>::new());
    assert_eq!(place.plan(&scope("metric_history")).await, Vec::<String>::new());
    // However the groups are named.
    for way in ["where", "between"] {
        let span = json!({ "from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z" });
        let (means, hold) = if way == "where" { (json!("r.run_uuid = 'x'"), "20days") } else { (span, "30days") };
        let again = restore(json!({ way: means, "hold": hold }));
        assert_eq!(place.plan(&again).await[0], "hold x of mlflow/metric_history, which is back", "{way}");
        place.run(&again).await.succeeded();
        assert_eq!(place.plan(&again).await, Vec::<String>::new(), "{way}");
    }
}

#[tokio::test]
async fn a_row_alone_in_its_table_does_not_make_batches_small() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('r' || i, 'FINISHED', 200) from generate_series(1, 1200) i").await;
    place.execute("insert into public.input_tags values ('x', 'a', 'b'); analyze").await;
    let moves = place.plan(&scope("runs")).await.into_iter().filter(|step| step.starts_with("move ")).count();
    assert_eq!(moves, 1);
}

#[tokio::test]
async fn a_run_that_comes_back_does_not_say_that_history_is_archived_which_has_gone() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    let strict = archive(json!({ "preset": "mlflow", "archive_keep": "2 years" }));
    place.execute("select s.run('held', 'FINISHED', 900), s.run('gone', 'FINISHED', 900)").await;
    for name in ["metric_history", "runs"] {
        place.run(&scope(name)).await.succeeded();
    }
    // Its history stays in the archive while it is held as a run.
    place.run(&restore(json!({ "groups": ["held"], "rule": "mlflow/runs" }))).await.succeeded();
    place.run(&strict).await.succeeded();
    place.run(&restore(json!({ "groups": ["gone"] }))).await.succeeded();
    assert_eq!(place.ask("select count(*) from archive.metrics_of('held')").await, "10");
    assert_eq!(place.ask("select count(*) from archive.metrics_of('gone')").await, "0");
    let marked = "select string_agg(run_uuid, ',' order by run_uuid) from public.tags where key = 'pgupkeep.archived'";
    assert_eq!(place.ask(marked).await, "held");
    place.run(&restore(json!({ "groups": ["held"] }))).await.succeeded();
    assert_eq!(place.ask(POINTS).await, "10");
    // Nor does one that comes back with its experiment, where another one's history is still there.
    place.execute("select s.run('a', 'FINISHED', 900, 7), s.run('b', 'FINISHED', 300, 7)").await;
    for name in ["metric_history", "experiments"] {
        place.run(&scope(name)).await.succeeded();
    }
    place.run(&strict).await.succeeded();
    place.run(&restore(json!({ "groups": ["7"] }))).await.succeeded();
    assert_eq!(place.ask("select count(*) from public.runs where run_uuid in ('a', 'b')").await, "2");
    assert_eq!(place.ask(marked).await, "b");
    // What another rule says is its own.
    let preset = std::fs::read_to_string("presets/mlflow.yaml").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.yaml");
    std::fs::write(&own, preset.replacen("name: mlflow", "name: own", 1)).unwrap();
    place.execute("select s.run('z', 'FINISHED', 200, 8)").await;
    place.run(&archive(json!({ "preset": own }))).await.succeeded();
    place.run(&scope("runs")).await.succeeded();
    place.run(&restore(json!({ "groups": ["z"], "rule": "mlflow/runs", "hold": "off" }))).await.succeeded();
    let marked = "select count(*) from public.tags where key = 'pgupkeep.archived' and run_uuid = 'z'";
    assert_eq!(place.ask(marked).await, "1");
    place.run(&restore(json!({ "groups": ["z"], "hold": "off" }))).await.succeeded();
    assert_eq!(place.ask(marked).await, "0");
}

#[tokio::test]
async fn an_application_has_one_archive_in_a_database() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 300)").await;
    place.execute("create table public.own (id int primary key, at timestamptz); insert into public.own values (1, '2001-01-01')").await;
    // A table's own archive has no marks.
    let own = json!({ "table": "public.own", "age": "at", "older_than": "90days", "schema": "owns" });
    place.run(&archive(own)).await.succeeded();
    place.run(&scope("metric_history")).await.succeeded();
    let elsewhere = |scope: &str| archive(json!({ "preset": "mlflow", "scope": scope, "schema": "other" }));
    for scope in ["metric_history", "runs", "traces"] {
        let told = format!("{:?}", place.run(&elsewhere(scope)).await.finish);
        assert!(told.contains("the schema archive already has an archive of this application"), "{scope}: {told}");
    }
    assert_eq!(archived_rows(&place).await, "20");
    assert_eq!(place.ask("select count(*) from pg_namespace where nspname like 'other%'").await, "0");
    // Nor while what came back is held.
    place.run(&restore(json!({ "where": "true" }))).await.succeeded();
    assert!(
        format!("{:?}", place.run(&elsewhere("metric_history")).await.finish)
            .contains("holds of mlflow/metric_history")
    );
    // What only looks like an archive is none, and one that cannot be read is told.
    place
        .execute("create schema x_store; create table x_store.rule (a int); create table x_store.group_state (b int)")
        .await;
    // Once it is empty, another may be begun.
    place.run(&restore(json!({ "where": "true", "hold": "off" }))).await.succeeded();
    place.run(&elsewhere("metric_history")).await.succeeded();
    assert_eq!(place.ask("select count(*) from other.metrics").await, "20");
}

#[tokio::test]
async fn a_run_comes_back_by_its_id_with_the_experiment_that_it_was_archived_in() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for mlflow in mlflows(SUITE) {
        let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
        place
            .execute("select s.run('x', 'FINISHED', 200), s.run('y', 'FINISHED', 300), s.run('z', 'FINISHED', 300, 2)")
            .await;
        place.run(&scope("metric_history")).await.succeeded();
        place.execute("insert into public.metrics (key, value, timestamp, run_uuid, step, is_nan) values ('late', 1, 0, 'x', 0, false)").await;
        place.run(&scope("experiments")).await.succeeded();
        assert_eq!(place.ask("select count(*) from public.runs").await, "0");
        let around = place.ask("select row_count from archive_store.group_state where group_key = '1'").await;
        for asked in [json!({ "groups": ["x"] }), json!({ "where": "r.run_uuid = 'x'" })] {
            assert_eq!(
                place.plan(&restore(asked)).await,
                [
                    format!("restore 1 of mlflow/experiments, which x is in [{around} rows]"),
                    "restore x of mlflow/metric_history [10 rows]".to_owned()
                ]
            );
        }
        let both = place.plan(&restore(json!({ "groups": ["x", "y"] }))).await;
        assert_eq!(both[0], format!("restore 1 of mlflow/experiments, which 2 of them are in [{around} rows]"));
        place.run(&restore(json!({ "groups": ["x"] }))).await.succeeded();
        let points = "select string_agg(run_uuid || key, ',' order by run_uuid, key) from (select distinct run_uuid, key from public.metrics) m";
        assert_eq!(place.ask(points).await, "xa,xb,xlate");
        assert_eq!(place.ask("select string_agg(run_uuid, ',' order by run_uuid) from public.runs").await, "x,y");
        assert_eq!(place.plan(&restore(json!({ "groups": ["x"] }))).await, Vec::<String>::new());
        // Another one besides, which is still there.
        let both = place.plan(&restore(json!({ "groups": ["y", "z"] }))).await;
        assert_eq!(both.len(), 3, "{both:?}");
        assert!(both[0].starts_with("restore 2 of mlflow/experiments, which z is in"), "{both:?}");
        // One by its id alone, and what nobody knows.
        assert_eq!(place.plan(&restore(json!({ "groups": ["z"], "rule": "mlflow/metric_history" }))).await.len(), 1);
        let told = format!("{:?}", place.run(&restore(json!({ "groups": ["z", "nobody"] }))).await.finish);
        assert!(told.contains("the archive knows no group \\\"nobody\\\""), "{told}");
        // One that no other rule knows is back, and by its id again changes nothing.
        place.execute("select s.run('w', 'FINISHED', 300, 3)").await;
        place.run(&scope("experiments")).await.succeeded();
        place.run(&restore(json!({ "groups": ["w"] }))).await.succeeded();
        let held = "select (hold_until > now() + interval '100 days')::text from archive_store.group_state where group_key = '3'";
        for (hold, step, until) in [
            ("90days", None, "false"),
            ("200days", Some("hold 3 of mlflow/experiments, which w came back with"), "true"),
            ("off", Some("end the hold of 3 of mlflow/experiments, which w came back with"), ""),
        ] {
            let again = restore(json!({ "groups": ["w"], "hold": hold }));
            assert_eq!(place.plan(&again).await, step.into_iter().collect::<Vec<_>>(), "{hold}");
            place.run(&again).await.succeeded();
            assert_eq!(place.ask(&format!("select coalesce(({held}), '')")).await, until, "{hold}");
            assert_eq!(place.plan(&again).await, Vec::<String>::new(), "{hold}");
            assert_eq!(place.ask("select count(*) from public.runs where run_uuid = 'w'").await, "1");
        }
        place.execute("select s.run('never', 'FINISHED', 1, 9)").await;
        let told = format!("{:?}", place.run(&restore(json!({ "groups": ["never"] }))).await.finish);
        assert!(told.contains("the archive knows no group"), "{told}");
    }
}

#[tokio::test]
async fn a_run_in_an_archived_experiment_is_read_by_an_index() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run(md5(i::text), 'FINISHED', 200) from generate_series(1, 20) i").await;
    place.execute("insert into public.metrics select 'long', s / 7.0, s, md5(i::text), s, false from generate_series(1, 20) i, generate_series(1, 9000) s").await;
    let before = place
        .ask("select md5(string_agg(m::text, ',' order by m::text)) from public.metrics m where run_uuid = md5('7')")
        .await;
    place.run(&scope("experiments")).await.succeeded();
    assert_eq!(
        place.ask("select md5(string_agg(m::text, ',' order by m::text)) from archive.metrics_of(md5('7')) m").await,
        before
    );
    assert_eq!(place.ask("select count(*) from archive.metrics_of(md5('7'), 'long')").await, "9000");
    assert_eq!(place.ask("select count(*) from archive.latest_metrics_of(md5('7'))").await, "2");
    let mut session = place.session().await;
    session.execute("set enable_seqscan = off").await.unwrap();
    let plan = sqlx::query_scalar::<_, String>("explain select * from archive.metrics_of(md5('7'), 'long')");
    let plan = plan.fetch_all(&mut session).await.unwrap().join(
        "
",
    );
    assert!(plan.contains("_lo") && plan.contains("Index") && !plan.contains("Seq Scan"), "{plan}");
    // Of the run's series only the one that is meant is taken apart.
    let read = sqlx::query_scalar::<_, String>(
        "explain (analyze, costs off, timing off) select * from archive.metrics_of(md5('7'), 'a')",
    );
    let read = read.fetch_all(&mut session).await.unwrap().join("; ");
    assert!(!read.contains("rows=9"), "{read}");
}

#[tokio::test]
async fn a_run_is_read_by_its_id_whichever_rule_came_first() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    // A scope that keeps bounds of another column of the same type than the others have groups by.
    let preset = std::fs::read_to_string("presets/mlflow.yaml").unwrap();
    let preset =
        preset.replacen("name: mlflow", "name: own", 1).replacen("series: [run_uuid, key]", "series: [key]", 1);
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.yaml");
    std::fs::write(&own, preset).unwrap();
    place.execute("select s.run('e', 'FINISHED', 300, 1)").await;
    place.run(&archive(json!({ "preset": own, "scope": "experiments" }))).await.succeeded();
    assert_eq!(place.ask("select count(*) from archive.metrics_of('a')").await, "5");
    place.execute("select s.run('h', 'FINISHED', 300, 2)").await;
    place.run(&scope("metric_history")).await.succeeded();
    for run in ["e", "h"] {
        assert_eq!(place.ask(&format!("select count(*) from archive.metrics_of('{run}')")).await, "10", "{run}");
        assert_eq!(place.ask(&format!("select count(*) from archive.metrics_of('{run}', 'a')")).await, "5", "{run}");
    }
}

#[tokio::test]
async fn scopes_that_take_turns_keep_one_place_each_and_the_functions_of_all() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    let places = "select count(*) from archive_store.source where table_name = 'metrics'";
    place.execute("select s.run('young', 'FINISHED', 1, 1)").await;
    for turn in 1..=3 {
        place.execute(&format!("select s.run('h{turn}', 'FINISHED', 200, 1)")).await;
        place.run(&scope("metric_history")).await.succeeded();
        if turn == 1 {
            // What others have built on a function outlives another scope.
            place.execute("create view public.mine as select * from archive.metrics_of('h1')").await;
        }
        place.execute(&format!("select s.run('e{turn}', 'FINISHED', 300, {})", turn + 1)).await;
        place.run(&scope("experiments")).await.succeeded();
        for run in [format!("h{turn}"), format!("e{turn}")] {
            let read = format!("select count(*) from archive.metrics_of('{run}')");
            assert_eq!(place.ask(&read).await, "10", "{run} in turn {turn}");
        }
        assert_eq!(place.ask(places).await, "2", "after turn {turn}");
    }
    assert_eq!(place.ask("select count(*) from archive.metrics").await, "60");
    assert_eq!(place.ask("select count(*) from public.mine").await, "10");
    assert_eq!(
        place.ask("select count(*) from archive.metrics_of('h1', (select min(key) from archive.metrics))").await,
        "5"
    );
    for name in ["metric_history", "experiments"] {
        assert_eq!(place.plan(&scope(name)).await, Vec::<String>::new(), "{name}");
    }
}
