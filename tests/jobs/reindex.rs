//! The `reindex` job on every major: what is found by which evidence, what is refused, and that a second plan is empty.

use pgupkeep::fault::Fault;
use pgupkeep::jobs::JobSpec;
use pgupkeep::jobs::drive::End;
use serde_json::{Value, json};

use super::workplace::{QUIET, Workplace, job};
use crate::support::{Cluster, majors, one_major};

const SUITE: &str = "jobs::reindex";

/// A `reindex` job for indexes of any size that does not wait for long.
pub fn reindex(mut with: Value) -> JobSpec {
    for (key, usual) in [("min_size", "0B"), ("max_blocker_wait", "1s")] {
        let with = with.as_object_mut().unwrap();
        with.entry(key).or_insert_with(|| usual.into());
    }
    job("reindex", "reindex", &with)
}

/// How many invalid indexes there are.
pub async fn invalid(place: &Workplace<'_>) -> String {
    place
        .ask("select coalesce(string_agg(indexrelid::regclass::text, ', '), '') from pg_index where not indisvalid")
        .await
}

/// A table with a unique and a deduplicated index, both of them dense.
const TABLE: &str = "create table t (id int, k int);
    insert into t select i, i % 100 from generate_series(1, 40000) i;
    create unique index t_id on t (id); create index t_k on t (k);
    vacuum (analyze) t";

/// Leaves a tenth of the rows, everywhere in the indexes.
const BLOAT: &str = "delete from t where id % 1000 >= 100; vacuum (analyze) t";

/// Waits until the server's counters have heard of the last ANALYZE.
async fn settled(place: &Workplace<'_>) {
    place
        .wait_for(
            "select pg_stat_get_mod_since_analyze('t'::regclass) = 0 and pg_stat_get_live_tuples('t'::regclass) > 0
                     and pg_stat_get_live_tuples('t'::regclass) = (select count(*) from t)",
        )
        .await;
}

#[tokio::test]
async fn bloat_is_found_by_each_grade_of_evidence_and_a_second_plan_is_empty_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let nothing = Vec::<String>::new();

        let place = Workplace::new(&cluster, "create schema ext; create extension pgstattuple schema ext").await;
        place.execute_each(TABLE).await;
        let spec = reindex(json!({ "include": ["t"] }));
        assert_eq!(place.plan(&spec).await, nothing, "{major:?}");
        place.execute_each(BLOAT).await;
        let planned = place.plan(&spec).await;
        assert_eq!(planned.len(), 2, "{planned:?}");
        assert!(planned[0].starts_with("reindex public.t_id [") && planned[0].contains("measured "), "{planned:?}");
        let went = place.run(&spec).await.succeeded();
        let row = went.row("public.t_id");
        assert_eq!(row.statement.as_deref(), Some(r#"REINDEX INDEX CONCURRENTLY "public"."t_id""#));
        assert!(row.bytes_after.unwrap() * 3 < row.bytes_before.unwrap(), "{row:?}");
        assert_eq!(row.detail.as_ref().unwrap()["evidence"], "measured");
        assert_eq!(place.plan(&spec).await, nothing, "{major:?}");

        // Without the extension only the unique index can be estimated; once rebuilt, both have a baseline.
        let place = Workplace::new(&cluster, "").await;
        place.execute_each(&format!("{TABLE}; {BLOAT}")).await;
        settled(&place).await;
        let planned = place.plan(&spec).await;
        assert_eq!(planned.len(), 1, "{planned:?}");
        assert!(planned[0].starts_with("reindex public.t_id [") && planned[0].contains("estimate "), "{planned:?}");
        let measured_only = reindex(json!({ "evidence": ["measured", "baseline"] }));
        assert_eq!(place.plan(&measured_only).await, nothing, "{major:?}");
        let notes = place.notes(&measured_only).await.join("; ");
        assert!(notes.contains("nothing trustworthy is known of the bloat of public.t_id ("), "{notes}");
        place.run(&spec).await.succeeded();
        assert_eq!(place.plan(&spec).await, nothing, "{major:?}");

        let place = Workplace::new(&cluster, "").await;
        place.execute_each(TABLE).await;
        settled(&place).await;
        place.run(&reindex(json!({ "always": true, "include": ["t"] }))).await.succeeded();
        place.execute_each(BLOAT).await;
        settled(&place).await;
        let planned = place.plan(&spec).await;
        assert_eq!(planned.len(), 2, "{planned:?}");
        assert!(planned.iter().all(|step| step.contains("baseline ")), "{planned:?}");
        let went = place.run(&spec).await.succeeded();
        assert!(went.row("t_k").detail.as_ref().unwrap()["waste"].as_f64().unwrap() > 0.3, "{went:?}");
        assert_eq!(place.plan(&spec).await, nothing, "{major:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_named_and_everything_else_is_rebuilt_on_every_major() {
    let sql = r#"
        create extension btree_gist;
        create table t (id int primary key, k int, d text, r int4range, exclude using gist (k with =, r with &&));
        insert into t select i, i, repeat('x', 3000), int4range(i, i + 1) from generate_series(1, 50) i;
        alter table t alter column d set storage external; update t set d = repeat('y', 3000);
        create index t_brin on t using brin (id);
        create index t_expr on t (lower(d), (k + 1)) include (id) where k > 10 or d like 'y%';
        create table parent (n int) partition by range (n);
        create index parent_n on parent (n);
        create table part_1 partition of parent for values from (0) to (50);
        create table part_2 partition of parent for values from (50) to (100);
        insert into parent select generate_series(1, 99);
        create schema "Größe.1"; create table "Größe.1"."we""ird; drop" (n int);
        create index "in""dex; drop table t; --" on "Größe.1"."we""ird; drop" (n);
        create index "x23456789_123456789_123456789_123456789_123456789_123456789äö" on t (k, id)"#;
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(&cluster, sql).await;
        let before = place.ask("select string_agg(pg_get_indexdef(indexrelid), ';' order by indexrelid::regclass::text)
                                  from pg_index where indrelid >= 16384 and indrelid::regclass::text not like 'pg_toast%'")
            .await;
        let went = place.run(&reindex(json!({ "always": true }))).await;
        assert_eq!(went.finish.end, End::Partial, "{went:#?}");
        assert_eq!(went.finish.fault, Some(Fault::Statement));
        let outcomes = went.outcomes();
        let refused: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| **outcome != "done").map(|(step, _)| *step).collect();
        assert_eq!(refused.len(), 1, "{outcomes:#?}");
        assert!(refused[0].starts_with("refuse public.t_k_r_excl: the server cannot rebuild"), "{refused:?}");
        for done in [
            "public.t_pkey",
            "public.t_expr",
            "public.part_1_n_idx",
            "public.part_2_n_idx",
            "Größe.1.in\"dex; drop table t; --",
            "public.x23456789_123456789_123456789_123456789_123456789_123456789äö",
            "pg_toast.pg_toast_",
        ] {
            assert!(outcomes.keys().any(|step| step.contains(done)), "{done}: {outcomes:#?}");
        }
        assert!(!outcomes.keys().any(|step| step.contains("t_brin") || step.contains("pg_catalog")), "{outcomes:#?}");
        let after = place.ask("select string_agg(pg_get_indexdef(indexrelid), ';' order by indexrelid::regclass::text)
                                 from pg_index where indrelid >= 16384 and indrelid::regclass::text not like 'pg_toast%'")
            .await;
        assert_eq!(before, after);
        assert_eq!(invalid(&place).await, "");

        let named =
            reindex(json!({ "always": true, "include": ["t_brin", "parent_n", "pg_catalog.pg_class_oid_index"] }));
        let planned = place.plan(&named).await;
        assert_eq!(planned.len(), 4, "{planned:?}");
        for name in ["reindex public.t_brin", "reindex public.part_1_n_idx", "reindex public.part_2_n_idx"] {
            assert!(planned.iter().any(|step| step.starts_with(name)), "{name}: {planned:?}");
        }
        assert!(planned[3].starts_with("refuse pg_catalog.pg_class_oid_index: the server does not"), "{planned:?}");
    }
}

#[tokio::test]
async fn a_missing_privilege_is_not_done_and_the_grant_it_names_helps_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(
            &cluster,
            r#"create role "app owner"; create role upkeep login;
               create table theirs (n int); create index theirs_n on theirs (n);
               alter table theirs owner to "app owner"; grant usage on schema public to upkeep;
               create table own (n int); create index own_n on own (n); alter table own owner to upkeep;
               grant create on schema public to upkeep, "app owner""#,
        )
        .await
        .working_as("upkeep");
        let spec = reindex(json!({ "always": true, "include": ["own", "theirs"] }));
        let went = place.run(&spec).await;
        assert_eq!((went.finish.end.clone(), went.finish.fault), (End::Partial, Some(Fault::Privilege)), "{went:#?}");
        assert_eq!(went.row("public.own_n").outcome.as_deref(), Some("done"));
        let row = went.row("public.theirs_n");
        assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None));
        let error = row.error.clone().unwrap();
        let grant = error.split_once("GRANT ").unwrap().1;
        let grant = grant.split_once(", or run").or(grant.split_once(" or exclude")).unwrap().0;
        place.execute(&format!("GRANT {grant}")).await;
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.row("public.theirs_n").outcome.as_deref(), Some("done"));
    }
}

#[tokio::test]
async fn an_index_of_a_superuser_is_not_done_and_names_no_membership_in_it() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let sql = "create role upkeep login; create table theirs (n int); create index theirs_n on theirs (n)";
    let place = Workplace::new(&cluster, sql).await.working_as("upkeep");
    let went = place.run(&reindex(json!({ "always": true, "include": ["theirs"] }))).await;
    assert_eq!(went.finish.fault, Some(Fault::Privilege), "{went:#?}");
    let error = went.row("public.theirs_n").error.clone().unwrap();
    assert!(error.contains("belongs to the superuser") && !error.contains("GRANT"), "{error}");
}

#[tokio::test]
async fn always_goes_on_after_a_failure_with_what_remains() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let sql = "create table a (n int); create index a_n on a (n); insert into a values (1);
               create table b (n int); create index b_n on b (n); insert into b values (1)";
    let place = Workplace::new(&cluster, sql).await;
    let mut locker = place.session().await;
    sqlx::raw_sql("begin; lock table b").execute(&mut locker).await.unwrap();
    let run_id = place.insert(&reindex(json!({ "always": true }))).await;
    let first = place.attempt(run_id, super::workplace::never()).await;
    assert_eq!((first.finish.end.clone(), first.finish.done), (End::Partial, 1), "{first:#?}");
    sqlx::raw_sql("rollback").execute(&mut locker).await.unwrap();
    let second = place.attempt(run_id, super::workplace::never()).await.succeeded();
    assert_eq!((second.finish.planned, second.finish.done), (1, 1), "{second:#?}");
}
