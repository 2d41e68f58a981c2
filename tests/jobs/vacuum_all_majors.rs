//! The `vacuum` job where the server's versions differ: options, counters, privileges.

use serde_json::json;

use super::workplace::{QUIET, Workplace, vacuum};
use crate::support::{Cluster, majors};

const SUITE: &str = "jobs::vacuum";

/// Tables of every sort that the job must deal with, none of them ever vacuumed.
const SCHEMA: &str = r#"
create table updated (n int, t text);
insert into updated select i, 'x' from generate_series(1, 3000) i;
update updated set t = 'y';
create table inserted (n int, t text);
insert into inserted select i, repeat('x', 500) from generate_series(1, 20000) i;
create table never_vacuumed (n int) with (autovacuum_enabled = off);
insert into never_vacuumed select generate_series(1, 10);
create table empty_one (n int);
create table no_columns ();
create unlogged table unlogged_one (n int);
insert into unlogged_one select generate_series(1, 500);
create table toasted (n int, t text);
alter table toasted alter column t set storage external;
insert into toasted select i, repeat('x', 9000) from generate_series(1, 200) i;
update toasted set t = repeat('y', 9000);
create table parent (n int) partition by range (n);
create table part_1 partition of parent for values from (0) to (100) partition by range (n);
create table part_1a partition of part_1 for values from (0) to (50);
create table part_2 partition of parent for values from (100) to (200);
insert into parent select 150 from generate_series(1, 500);
insert into parent select 20 from generate_series(1, 500);
create table empty_parent (n int) partition by range (n);
create table elder (n int);
create table heir () inherits (elder);
insert into heir select generate_series(1, 500);
create materialized view seen as select * from updated;
create materialized view unseen as select 1 with no data;
create schema "Größe.1";
create table "Größe.1"."we""ird; drop" (n int);
insert into "Größe.1"."we""ird; drop" select generate_series(1, 500);
create table "sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr" (n int);
insert into "sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr" select generate_series(1, 500);
create temporary table passing (n int);
"#;

#[tokio::test]
async fn everything_that_needs_it_is_done_and_a_second_plan_is_empty_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(&cluster, SCHEMA).await;
        place.wait_for("select n_dead_tup > 2000 from pg_stat_user_tables where relname = 'updated'").await;
        place.wait_for("select n_live_tup > 0 from pg_stat_user_tables where relname like 'sixty%'").await;
        let spec = vacuum(json!({}));
        let planned = place.plan(&spec).await;
        let went = place.run(&spec).await.succeeded();
        println!("{major:?}: {planned:#?}");
        assert_eq!(went.rows.iter().map(|row| row.step.clone()).collect::<Vec<_>>(), planned);
        for expected in [
            "vacuum (analyze) public.updated [dead_rows, inserts, analyze, never_analyzed]",
            "vacuum (analyze) public.inserted [inserts, analyze, never_analyzed]",
            "vacuum (analyze) Größe.1.we\"ird; drop [inserts, analyze, never_analyzed]",
            "vacuum (analyze) public.sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr [inserts, analyze, \
             never_analyzed]",
            "vacuum (analyze) public.part_1a [inserts, analyze, never_analyzed]",
            "analyze public.parent [partitions]",
            "analyze public.part_1 [partitions]",
            "analyze public.never_vacuumed [never_analyzed]",
        ] {
            assert!(planned.contains(&expected.to_owned()), "no {expected} in {planned:#?}");
        }
        for absent in ["empty_one", "no_columns", "empty_parent", "unseen", "passing", "elder", "pg_catalog"] {
            assert!(!planned.iter().any(|step| step.contains(absent)), "{absent} in {planned:#?}");
        }
        assert_eq!(place.plan(&spec).await, Vec::<String>::new(), "{major:?}");

        let always = vacuum(json!({ "always": true }));
        let went = place.run(&always).await.succeeded();
        assert!(went.outcomes().keys().any(|step| step.contains("public.no_columns")), "{:#?}", went.outcomes());
        assert!(went.row("public.unseen").outcome.as_deref() == Some("done"));
    }
}

#[tokio::test]
async fn what_was_measured_is_on_record_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let sql = "create table t (n int); insert into t select generate_series(1, 3000); delete from t where n > 10";
        let place = Workplace::new(&cluster, sql).await;
        place.wait_for("select n_dead_tup > 2000 from pg_stat_user_tables where relname = 't'").await;
        let went = place.run(&vacuum(json!({}))).await.succeeded();
        let row = went.row("public.t");
        let statement = row.statement.clone().unwrap();
        let database_stats = major.number >= 16;
        assert_eq!(statement.contains("SKIP_DATABASE_STATS"), database_stats, "{statement}");
        assert!(statement.starts_with("VACUUM (SKIP_LOCKED, ANALYZE, TRUNCATE false"), "{statement}");
        assert!(statement.ends_with(r#""public"."t""#), "{statement}");
        let detail = row.detail.clone().unwrap();
        assert_eq!(detail["dead_before"], 2990, "{detail}");
        assert_eq!(detail["dead_after"], 0, "{detail}");
        assert_eq!(detail["held_by"], serde_json::Value::Null, "{detail}");
        assert!(row.bytes_before.unwrap() > 0 && row.bytes_after.unwrap() > 0, "{row:?}");
        let last = went.rows.last().unwrap().statement.clone().unwrap();
        assert_eq!(last == "VACUUM (ONLY_DATABASE_STATS)", database_stats, "{last}");
    }
}

#[tokio::test]
async fn a_missing_privilege_is_not_done_and_the_grant_it_names_helps_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(
            &cluster,
            r#"create role "app owner"; create role upkeep login;
               create table foreign_one (n int); insert into foreign_one select generate_series(1, 500);
               alter table foreign_one owner to "app owner";
               create table own (n int); insert into own select generate_series(1, 500);
               alter table own owner to upkeep"#,
        )
        .await
        .working_as("upkeep");
        place.wait_for("select bool_and(n_live_tup > 0) from pg_stat_user_tables").await;
        let spec = vacuum(json!({}));
        let went = place.run(&spec).await;
        assert_eq!(went.finish.end, pgupkeep::jobs::drive::End::Partial, "{went:#?}");
        assert_eq!(went.finish.fault, Some(pgupkeep::fault::Fault::Privilege));
        assert_eq!(went.row("public.own").outcome.as_deref(), Some("done"));
        let row = went.row("public.foreign_one");
        assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None));
        let error = row.error.clone().unwrap();
        let grant = error.split_once("GRANT ").unwrap().1;
        let grant = grant.split_once(", or exclude").unwrap().0;
        place.execute(&format!("GRANT {grant}")).await;
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.row("public.foreign_one").outcome.as_deref(), Some("done"));
        assert_eq!(place.plan(&spec).await, Vec::<String>::new());
    }
}
