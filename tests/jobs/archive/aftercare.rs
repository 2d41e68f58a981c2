//! What an archival costs the live tables, and what it leaves of them: few pages, small indexes, and no detours.

use serde_json::json;

use super::super::archive_rules::TIMES;
use super::super::workplace::{QUIET, Workplace};
use super::archive;
use super::bad_days::{EVENTS, events};
use crate::support::{Cluster, mlflows, one_major};

const SUITE: &str = "jobs::archive::aftercare";

#[tokio::test]
async fn indexes_that_shrank_are_rebuilt_before_vacuum_would_clean_them() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let spec =
        archive(json!({ "table": "public.t", "age": "at", "older_than": "90days", "vacuum": true, "reindex": true }));
    // Of 40,000 rows with two indexes of a megabyte or so each.
    let check = async |old: u32, expected: &[&str]| {
        let rows = format!(
            "create table t (id int primary key, at timestamptz not null, v double precision);
             insert into t select i, now() - make_interval(days => case when i <= {old} then 900 else 1 end), random()
               from generate_series(1, 40000) i;
             create index t_v on t (v)"
        );
        let place = Workplace::new(&cluster, &rows).await;
        place.execute("vacuum analyze t").await;
        let went = place.run(&spec).await.succeeded();
        let steps = went.rows.iter().map(|row| row.step.split(" [").next().unwrap());
        let after: Vec<&str> =
            steps.filter(|step| step.contains("index") || step.contains("vacuum (analyze)")).collect();
        assert_eq!(after, expected, "{old}");
        let vacuumed = "select relallvisible = relpages and reltuples = (select count(*) from t) from pg_class where oid = 't'::regclass";
        assert_eq!(place.ask(vacuumed).await, "true", "{old}");
        if major.number >= 15 {
            let dead = "select n_dead_tup from pg_stat_user_tables where relid = 't'::regclass";
            assert_eq!(place.ask(dead).await, "0", "{old}");
        }
        assert_eq!(place.ask("select pg_relation_size('t_v') < 28 * count(*) from t").await, "true", "{old}");
    };
    let inner = ["reindex public.t_pkey", "reindex public.t_v"];
    let (first, vacuum, last) =
        ("reindex what shrank of public.t", "vacuum (analyze) public.t", "reindex what is bloated of public.t");
    check(30_000, &[inner[0], inner[1], first, vacuum, last]).await;
    check(4000, &[first, vacuum, last]).await;
}

#[tokio::test]
async fn what_a_run_that_was_cut_short_owes_is_done_by_the_next_one() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null);
         insert into t select i, now() - make_interval(days => case when i <= 60000 then 900 else 1 end) from generate_series(1, 80000) i;
         analyze t",
    )
    .await;
    let spec = |older_than: &str, aftercare: bool| {
        archive(
            json!({ "table": "public.t", "age": "at", "older_than": older_than, "vacuum": aftercare, "reindex": aftercare }),
        )
    };
    // What is cut short after its moves is a run that only moves.
    place.run(&spec("90days", false)).await.succeeded();
    let owed = place.plan(&spec("90days", true)).await;
    let expected = [
        "reindex what shrank of public.t",
        "vacuum public.t",
        "reindex what is bloated of public.t",
        "measure public.t and the archive",
    ];
    assert_eq!(owed, expected);
    let went = place.run(&spec("90days", true)).await.succeeded();
    assert!(
        went.row("reindex public.t_pkey").statement.is_some()
            && went.row("vacuum (analyze) public.t").statement.is_some()
    );
    assert_eq!(place.plan(&spec("90days", true)).await, Vec::<String>::new());
    assert_eq!(place.ask("select pg_relation_size('t_pkey') < 28 * count(*) from t").await, "true");
}

#[tokio::test]
async fn an_index_that_could_not_be_rebuilt_is_owed_and_the_others_are_not_rebuilt_again() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null); create table broken (n int);
         create function f(i int) returns int language plpgsql immutable as
           'begin if exists (select from public.broken) then raise exception ''broken''; end if; return i; end';
         insert into t select i, now() - make_interval(days => case when i <= 60000 then 900 else 1 end) from generate_series(1, 80000) i;
         create index t_f on t (f(id)); insert into broken values (1)",
    )
    .await;
    let spec =
        archive(json!({ "table": "public.t", "age": "at", "older_than": "90days", "vacuum": true, "reindex": true }));
    let went = place.run(&spec).await;
    assert!(went.finish.problems.join("; ").contains("broken"), "{went:#?}");
    let file = "select pg_relation_filenode('t_pkey')";
    let rebuilt = place.ask(file).await;
    assert!(place.plan(&spec).await.contains(&"reindex what shrank of public.t".to_owned()));
    place.execute("truncate broken").await;
    place.run(&spec).await.succeeded();
    assert_eq!(place.ask(file).await, rebuilt);
    assert_eq!(place.ask("select pg_relation_size('t_f') < 28 * count(*) from t").await, "true");
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_vacuum_by_somebody_else_meanwhile_is_no_reason_to_leave_the_last_rows_to_others() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let spec = events(json!({ "batch_rows": 100, "vacuum": true, "pause_between": "300ms" }));
    let work = place.run(&spec);
    let meanwhile = async {
        place.wait_for("(select count(*) from t) < 900").await;
        place.execute("vacuum analyze t").await;
    };
    let (went, ()) = tokio::join!(work, meanwhile);
    let went = went.succeeded();
    assert!(went.row("vacuum (analyze) public.t").statement.is_some(), "{went:#?}");
}

#[tokio::test]
async fn what_leaves_by_and_by_is_vacuumed_once_it_is_a_hundredth() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null);
         insert into t select i, case when i <= 2000 then now() - make_interval(days => 100 + i / 100) else now() end
           from generate_series(1, 40000) i; analyze t",
    )
    .await;
    let mut vacuumed = Vec::new();
    for days in (100..=120).rev() {
        let spec =
            archive(json!({ "table": "public.t", "age": "at", "older_than": format!("{days}days"), "vacuum": true }));
        let notes = place.notes(&spec).await;
        let plan = place.plan(&spec).await;
        let is_planned = plan.iter().any(|step| step.starts_with("vacuum"));
        assert_eq!(
            notes.iter().any(|note| note.contains("no VACUUM yet")),
            !plan.is_empty() && !is_planned,
            "{notes:?}"
        );
        place.run(&spec).await.succeeded();
        vacuumed.push(is_planned);
    }
    assert_eq!(vacuumed.iter().filter(|is| **is).count(), 5, "{vacuumed:?}");
}

#[tokio::test]
async fn a_batch_looks_at_its_own_roots_and_no_others() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('r' || i, 'FINISHED', 200) from generate_series(1, 600) i").await;
    for table in ["runs", "metrics", "latest_metrics"] {
        place.execute(&format!("vacuum analyze {table}")).await;
    }
    let read = "select (seq_tup_read + idx_tup_fetch)::text from pg_stat_user_tables where relname = 'runs'";
    let before: u64 = place.ask(read).await.parse().unwrap();
    place.run(&archive(json!({ "preset": "mlflow", "batch_rows": 100 }))).await.succeeded();
    let after: u64 = place.ask(read).await.parse().unwrap();
    let batches: u64 = place.ask("select count(*) from archive_store.batch").await.parse().unwrap();
    assert!(batches > 50, "{batches} batches");
    // A few times for the plan, and for each batch those that it moves.
    assert!(after - before < 600 * 20, "{} rows of runs were read for {batches} batches", after - before);
}

#[tokio::test]
async fn pages_are_given_back_although_few_of_them_have_dead_rows() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // All but the last two hundred, which are on one page of a hundred, are older than those.
    let wide = "create table t (id int primary key, at timestamptz not null, v text) with (fillfactor = 10, autovacuum_enabled = off);
        insert into t select i, now() - make_interval(days => case when i > 19800 then 650 else 800 end), repeat('x', 300)
          from generate_series(1, 20000) i; analyze t";
    let place = Workplace::new(&cluster, wide).await;
    let old = |days: u32| {
        archive(json!({ "table": "public.t", "age": "at", "older_than": format!("{days}days"), "vacuum": true }))
    };
    place.run(&old(700)).await.succeeded();
    assert_eq!(place.ask("select count(*) from t").await, "200");
    place.run(&old(600)).await.succeeded();
    assert_eq!(place.ask("select pg_relation_size('t')").await, "0");
}

#[tokio::test]
async fn an_index_that_cannot_be_rebuilt_beside_the_application_stays_and_is_told() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let rooms = "create table t (id int primary key, at timestamptz not null, r int4range, exclude using gist (r with &&));
        insert into t select i, now() - make_interval(days => 900), int4range(i, i + 1) from generate_series(1, 30000) i; analyze t";
    let place = Workplace::new(&cluster, rooms).await;
    assert_eq!(place.ask("select pg_relation_size('t_r_excl') > 1 << 20").await, "true");
    let spec =
        archive(json!({ "table": "public.t", "age": "at", "older_than": "90days", "vacuum": true, "reindex": true }));
    let went = place.run(&spec).await;
    went.succeeded();
    assert_eq!(place.ask("select count(*) from archive.t").await, "30000");
}
