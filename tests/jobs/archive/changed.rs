//! Tables that are altered, renamed readers, rules that change: what was archived before is shown as it was, and comes back or
//! says why it does not.

use pgupkeep::jobs::drive::End;
use serde_json::json;

use super::super::workplace::{QUIET, Workplace};
use super::bad_days::{EVENTS, assert_whole, events};
use super::{archive, archived_rows, restore, restore_all};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::archive::changed";

/// Brings 100 rows of an altered table's `t` back to an age at which they are archived again.
const MORE: &str = "update t set at = now() - interval '900 days' where id between 700 and 800";

#[tokio::test]
async fn after_a_change_of_columns_old_rows_are_shown_as_they_were_and_archiving_goes_on() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let first = format!(
        "{EVENTS}; alter table t add n numeric(20,6) default 1.123456, add s varchar(50) default repeat('x', 40),
         add k int default 7, add ts timestamp default '2024-01-01 12:00'"
    );
    // What is altered; the columns whose values must read as they did; and whether the rows can go back.
    let cases = [
        ("add extra int", "id, at, v, n, s, k, ts", true),
        ("alter k type bigint", "id, at, v, n, s, k, ts", true),
        ("alter n type numeric(12,2), alter s type varchar(10) using 'y'", "id, at, v, n, s, k, ts", false),
        ("alter k drop default, alter k type uuid using null", "id, at, v, n, s, k::text, ts", false),
        ("alter ts type timestamptz", "id, at, v, n, s, k, ts::text", false),
        ("alter id add generated always as identity", "id, at, v, n, s, k, ts", true),
        ("drop column k", "id, at, v, n, s, ts", false),
    ];
    for (alter, columns, comes_back) in cases {
        let place = Workplace::new(&cluster, &first).await;
        place.run(&events(json!({}))).await.succeeded();
        let shown = |where_: &str| {
            format!(
                "select md5(string_agg(r::text, ',' order by id)) from (select {columns} from archive.t where {where_}) r"
            )
        };
        let before = place.ask(&shown("id < 600")).await;
        // Somebody has built on the archive.
        if alter == "add extra int" {
            place.execute("create view dashboard as select * from archive.t").await;
        }
        place.execute(&format!("alter table t {alter}")).await;
        place.execute(MORE).await;
        place.run(&events(json!({}))).await.succeeded();
        assert_eq!(place.ask(&shown("id < 600")).await, before, "{alter}");
        assert_eq!(place.ask("select count(*) from archive.all_t").await, "900", "{alter}");
        assert_whole(&place).await;
        let went = place.run(&restore_all()).await;
        assert_eq!(matches!(went.finish.end, End::Succeeded), comes_back, "{alter}: {went:#?}");
        assert_whole(&place).await;
    }
}

#[tokio::test]
async fn the_functions_of_a_group_follow_its_columns() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let preset = "name: p\nrecognised_by: [t]\ndefault_scope: s\ntables: { t: { id: int4|int8, at: timestamptz, v: float8, w: int4 } }
reasons: { young: { because: young, when: 'r.at >= {cutoff}' } }
scopes: { s: { about: rows, root: { table: t, keys: [id], group: 'r.id::text', activity: r.at, chunks: pages, leaves: true },
  stays: [young], parts: [{ table: t, on: t.ctid = p.tid, group_columns: [id] }] } }";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, preset).unwrap();
    let place = Workplace::new(&cluster, EVENTS).await;
    let spec = archive(json!({ "preset": file, "older_than": "300days" }));
    place.run(&spec).await.succeeded();
    assert_eq!(place.ask("select count(*) from archive.t_of(5)").await, "1");
    place.execute("alter table t alter id type bigint, add w int").await;
    place.execute(MORE).await;
    place.run(&spec).await.succeeded();
    for id in ["5", "750"] {
        assert_eq!(place.ask(&format!("select count(*) from archive.t_of({id})")).await, "1", "{id}");
    }
    assert_whole(&place).await;
    place.run(&restore_all()).await.succeeded();
    assert_eq!(archived_rows(&place).await, "0");
}

#[tokio::test]
async fn a_table_that_no_longer_moves_with_a_rule_still_comes_back_by_it() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let sql = format!(
        "{EVENTS}; create table child (n int primary key, id int references t); create index on child (id);
         insert into child select i, i from generate_series(1, 900) i; analyze child"
    );
    for loosen in ["alter table child drop constraint child_id_fkey", "drop table if exists nothing"] {
        let place = Workplace::new(&cluster, &sql).await;
        place.run(&events(json!({}))).await.succeeded();
        place.execute(loosen).await;
        place.execute(MORE).await;
        let more = if loosen.starts_with("drop") { json!({ "stay": ["public.child"] }) } else { json!({}) };
        place.run(&events(more)).await;
        place.run(&restore_all()).await.succeeded();
        assert_eq!(place.ask("select count(*) from child").await, "900", "{loosen}");
        assert_eq!(archived_rows(&place).await, "0", "{loosen}");
    }
}

#[tokio::test]
async fn what_could_not_come_back_or_would_not_fit_is_refused_before_it_moves() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let wide = (0..150).map(|nth| format!(", c{nth} bigint")).collect::<Vec<_>>().concat();
    for (sql, words) in [
        ("drop table t; create table t (id int primary key deferrable, at timestamptz); insert into t values (1, '2001-01-01')".to_owned(),
         "the constraint t_pkey of public.t is deferrable"),
        (format!("drop table t; create table t (id int primary key, at timestamptz{wide}); insert into t values (1, '2001-01-01')"),
         "public.t has too many columns (152)"),
    ] {
        let place = Workplace::new(&cluster, &format!("{EVENTS}; {sql}")).await;
        let told = format!("{:?}", place.run(&events(json!({}))).await.finish).replace(['\\', '"'], "");
        assert!(told.contains(words), "{told}");
        assert_eq!(place.ask("select count(*) from t").await, "1");
    }
}

#[tokio::test]
async fn a_hold_counts_for_every_rule_about_the_same_table() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place =
        Workplace::new(&cluster, &format!("{EVENTS}; alter table t add seen timestamptz; update t set seen = at"))
            .await;
    place.run(&events(json!({}))).await.succeeded();
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.plan(&events(json!({ "age": "seen" }))).await, Vec::<String>::new());
    place.execute("update archive_store.group_state set hold_until = null").await;
    assert_ne!(place.plan(&events(json!({ "age": "seen" }))).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_became_active_in_the_same_run_is_kept_by_the_archive() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // Their group is the month of their archival, since there is no age.
    let place = Workplace::new(&cluster, EVENTS).await;
    let spec = |keep: &str| archive(json!({ "table": "public.t", "where": "id < 100", "archive_keep": keep }));
    place.run(&spec("off")).await.succeeded();
    place.execute("update archive_store.group_state set last_activity = now() - interval '1500 days'").await;
    place.execute("insert into t select i, now(), 0 from generate_series(-50, 0) i").await;
    let planned = place.plan(&spec("3 years")).await.join("; ");
    assert!(planned.contains("delete 1 groups"), "{planned}");
    place.run(&spec("3 years")).await.succeeded();
    assert_eq!(archived_rows(&place).await, "150");
    assert_eq!(place.plan(&spec("3 years")).await, Vec::<String>::new());
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select count(*) from t").await, "951");
}

#[tokio::test]
async fn what_has_no_age_is_kept_from_its_archival_on() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let spec = archive(json!({ "table": "public.t", "where": "id < 100", "archive_keep": "2 days" }));
    let rows = place.ask("select count(*)::text from t where id < 100").await;
    for _ in 0..2 {
        place.run(&spec).await.succeeded();
        assert_eq!(archived_rows(&place).await, rows);
    }
    place.execute("update archive_store.group_state set last_activity = last_activity - interval '3 days'").await;
    place.run(&spec).await.succeeded();
    assert_eq!(archived_rows(&place).await, "0");
}

#[tokio::test]
async fn a_condition_that_writes_is_refused_by_the_plan_already() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let writer = "create table log (id int); create function w(id int) returns bool language sql volatile
         begin atomic insert into log values (id); select true; end";
    let place = Workplace::new(&cluster, EVENTS).await;
    place.execute(writer).await;
    let went = place.run(&archive(json!({ "table": "public.t", "where": "public.w(id)" }))).await;
    let told = format!("{:?}", went.finish);
    assert!(told.contains("a function in it writes") && told.contains("nothing was touched"), "{told}");
    assert_eq!(place.ask("select count(*) from log").await, "0");
    assert_whole(&place).await;
    place.run(&events(json!({}))).await.succeeded();
    let told = format!("{:?}", place.run(&restore(json!({ "where": "public.w(id)" }))).await.finish);
    assert!(told.contains("a function in it writes") && told.contains("nothing was touched"), "{told}");
    assert_eq!(place.ask("select count(*) from log").await, "0");
}

#[tokio::test]
async fn a_condition_that_is_none_by_itself_is_refused_before_anything_moves() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let rows = place.ask("select count(*)::text from t").await;
    // The first would switch off `age`, to which it is joined.
    let conditions = [
        "true) or (true",
        "true) union select (1",
        "true; drop table t",
        "true; drop table t; select 1 from t",
        "id <",
        "nobody = 1",
        "id",
        "id > $1",
    ];
    for condition in conditions {
        let went = place.run(&archive(json!({ "table": "public.t", "age": "at", "where": condition }))).await;
        let told = format!("{:?}", went.finish);
        assert!(told.contains("`where` is no condition over public.t"), "{condition}: {told}");
        assert_eq!(place.ask("select count(*)::text from t").await, rows, "{condition}");
    }
    place.run(&events(json!({}))).await.succeeded();
    let (left, archived) = (place.ask("select count(*)::text from t").await, archived_rows(&place).await);
    assert_ne!(left, rows);
    for condition in conditions {
        let told = format!("{:?}", place.run(&restore(json!({ "where": condition }))).await.finish);
        assert!(told.contains("`where` is no condition over what was archived"), "{condition}: {told}");
        assert_eq!(archived_rows(&place).await, archived, "{condition}");
    }
    assert_eq!(place.ask("select count(*)::text from t").await, left);
}

#[tokio::test]
async fn a_table_that_is_altered_back_goes_on_in_the_place_that_it_had() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let rows = "select md5(string_agg((id, at, v)::text, ',' order by id)) from archive.all_t";
    for (there, back) in [
        ("add extra int default 3", "drop column extra"),
        ("rename v to w", "rename w to v"),
        ("alter id type bigint", "alter id type integer"),
    ] {
        let place = Workplace::new(&cluster, EVENTS).await;
        place.run(&events(json!({}))).await.succeeded();
        let before = place.ask(rows).await;
        place.execute(&format!("alter table t {there}")).await;
        place.execute(MORE).await;
        place.run(&events(json!({}))).await.succeeded();
        place.execute(&format!("alter table t {back}")).await;
        place.execute("update t set at = now() - interval '900 days' where id between 801 and 850").await;
        place.run(&events(json!({}))).await.succeeded();
        let places = "select count(*) || ', ' || count(*) filter (where current) from archive_store.source where table_name = 't'";
        assert_eq!(place.ask(places).await, "2, 1", "{there}");
        assert_eq!(place.ask("select count(*) from archive.all_t").await, "900", "{there}");
        assert_ne!(place.ask(rows).await, before, "{there}: what was made older shows");
        assert_whole(&place).await;
    }
}
