//! Groups that move in several batches: each comes to its end, or what stayed is told and what had left can be brought back.

use pgupkeep::jobs::drive::End;
use serde_json::json;

use super::super::archive_rules::TIMES;
use super::super::workplace::{QUIET, Workplace};
use super::bad_days::events;
use super::{archive, archived_rows, restore, restore_all};
use crate::support::{Cluster, mlflows, one_major};

const SUITE: &str = "jobs::archive::split";

/// Runs whose points are more than a batch takes.
const LONG: &str = "
    select s.run(id, 'FINISHED', 200) from unnest(array['x', 'y', 'z']) id;
    insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
    select 'long', i, s.ago(200), id, i, false from unnest(array['x', 'y', 'z']) id, generate_series(1, 300) i;
    create table copy as table metrics; analyze";

/// A table with a child, five rows of it for each row.
const FAMILY: &str = "
    create table t (id int primary key, at timestamptz not null, v text);
    create table c (id int primary key, t int references t on delete cascade, v text); create index on c (t);
    insert into t select i, '2001-01-01', 'x' from generate_series(1, 200) i;
    insert into c select i, (i - 1) / 5 + 1, 'y' from generate_series(1, 1000) i; analyze t, c";

#[tokio::test]
async fn several_long_series_are_thinned_out_by_one_session() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute(LONG).await;
    place.run(&archive(json!({ "preset": "mlflow", "keep_points": 20, "batch_rows": 100 }))).await.succeeded();
    let kept =
        "select string_agg(n::text, ' ') from (select count(*) n from metrics where key = 'long' group by run_uuid) k";
    assert_eq!(place.ask(kept).await, "20 20 20");
    let lost = "select count(*) from (table copy except (table metrics union all table archive.metrics)) d";
    assert_eq!(place.ask(lost).await, "0");
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select (select count(*) from metrics) - (select count(*) from copy)").await, "0");
}

#[tokio::test]
async fn a_run_that_is_resumed_between_two_batches_is_told_and_found_by_a_condition() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    for scope in ["metric_history", "runs"] {
        let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
        place.execute(LONG).await;
        let spec = archive(json!({ "preset": "mlflow", "scope": scope, "batch_rows": 100, "pause_between": "300ms" }));
        let resume = async {
            place.wait_for("select to_regclass('archive_store.batch') is not null").await;
            place.wait_for("select count(*) > 0 from archive_store.batch").await;
            place.execute("update runs set status = 'RUNNING' where run_uuid = 'x'").await;
        };
        let (went, ()) = tokio::join!(place.run(&spec), resume);
        assert_eq!(went.finish.end, End::Partial, "{scope}: {went:#?}");
        let told = went.finish.problems.join("; ");
        assert!(told.contains("1 of 1 rows of public.runs were not free to move"), "{scope}: {told}");
        assert!(told.contains("`archive restore` brings them back"), "{scope}: {told}");
        assert_eq!(place.ask("select string_agg(run_uuid, ' ') from runs where status = 'RUNNING'").await, "x");
        place.run(&restore(json!({ "where": "r.run_uuid = 'x'" }))).await.succeeded();
        let lost = "select count(*) from (table copy except table metrics) d where run_uuid = 'x'";
        assert_eq!(place.ask(lost).await, "0", "{scope}");
    }
}

#[tokio::test]
async fn a_trigger_that_keeps_children_makes_no_orphans() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for batch_rows in [20_000, 50] {
        let place = Workplace::new(
            &cluster,
            &format!(
                "{FAMILY}; create function keep() returns trigger language plpgsql as
                   'begin if old.id = 7 then return null; end if; return old; end';
                 create trigger keeps before delete on c for each row execute function keep()"
            ),
        )
        .await;
        let went = place.run(&events(json!({ "batch_rows": batch_rows }))).await;
        let told = went.finish.problems.join("; ");
        assert!(told.contains("a trigger of \"public\".\"c\" keeps rows that were to be deleted"), "{told}");
        assert_eq!(place.ask("select count(*) from c where not exists (select from t where t.id = c.t)").await, "0");
        assert_eq!(place.ask("select count(*) from t where id = 2").await, "1", "{batch_rows}");
    }
}

#[tokio::test]
async fn a_few_large_rows_do_not_make_the_batches_of_small_ones_small() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        &format!(
            "{FAMILY}; update c set v = repeat(id::text, 10000000) where id in (101, 102, 500); create table copy as table c"
        ),
    )
    .await;
    place.run(&events(json!({}))).await.succeeded();
    let batches: i64 = place.ask("select count(*) from archive_store.batch").await.parse().unwrap();
    assert!((2..20).contains(&batches), "{batches}");
    assert_eq!(place.ask("select count(*) from (table archive.c except table copy) d").await, "0");
    assert_eq!(archived_rows(&place).await, "1200");
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select count(*) from (table c except table copy) d").await, "0");
}

#[tokio::test]
async fn what_has_no_binary_form_is_refused_before_anything_moves() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, &format!("{FAMILY}; alter table c add a aclitem")).await;
    let told = place.run(&events(json!({}))).await.finish.problems.join("; ");
    assert!(told.contains("the column \"a\" of \"public\".\"c\" is of type aclitem"), "{told}");
    assert_eq!(place.ask("select to_regnamespace('archive') is null").await, "true");
}
