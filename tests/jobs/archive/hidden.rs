//! What triggers do in secret while rows move or come back: each is seen, named, and rolled back.

use pgupkeep::jobs::drive::End;
use serde_json::json;

use super::super::workplace::{QUIET, Went, Workplace};
use super::bad_days::{EVENTS, LIVE, assert_whole, events};
use super::{archived_rows, restore_all};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::archive::hidden";

/// Everything that a run has told, without the quotes of texts inside texts.
fn told(went: &Went) -> String {
    format!("{went:?}").replace(['\\', '"'], "")
}

fn assert_refused(what: &str, went: &Went, words: &str) {
    assert!(!matches!(went.finish.end, End::Succeeded), "{what}: {went:#?}");
    assert!(told(went).contains(words), "{what}: {}", told(went));
}

#[tokio::test]
async fn whatever_changes_something_else_rolls_the_batch_back_and_is_named() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let cases = [
        // Before each row, after each row, once for the statement, and at the commit.
        (
            "trigger",
            "before delete on t for each row",
            "update public.counts set n = n - 1; return old",
            "public.counts",
        ),
        (
            "trigger",
            "after delete on t for each row",
            "insert into public.counts values (1); return null",
            "public.counts",
        ),
        ("trigger", "after delete on t for each statement", "delete from public.counts; return null", "public.counts"),
        (
            "constraint trigger",
            "after delete on t deferrable initially deferred for each row",
            "delete from public.counts; return null",
            "public.counts",
        ),
        // Neither leaves a trace in the counters of tables.
        (
            "trigger",
            "after delete on t for each statement",
            "truncate public.counts; return null",
            "more than move rows, as a cascade, a trigger or a rule does: public.counts was truncated",
        ),
        (
            "trigger",
            "after delete on t for each statement",
            "perform lo_unlink(oid) from pg_largeobject_metadata; return null",
            "pg_catalog.pg_largeobject",
        ),
    ];
    for (sort, when, does, words) in cases {
        let place = Workplace::new(&cluster, EVENTS).await;
        place
            .execute("create table counts (n int, words text); insert into counts values (900); select lo_from_bytea(0, 'large')")
            .await;
        let function = format!("create function f() returns trigger language plpgsql as 'begin {does}; end'");
        place.execute(&function).await;
        place.execute(&format!("create {sort} tr {when} execute function f()")).await;
        let went = place.run(&events(json!({}))).await;
        assert_refused(when, &went, "the batch has done more than move rows");
        assert_refused(when, &went, words);
        assert_eq!(place.ask(LIVE).await, "900", "{when}");
        assert_eq!(place.ask("select sum(n) from counts").await, "900", "{when}");
        assert_eq!(place.ask("select count(*) from pg_largeobject_metadata").await, "1", "{when}");
    }
    // One that keeps rows where they are.
    let place = Workplace::new(&cluster, EVENTS).await;
    place.execute("create function f() returns trigger language plpgsql as 'begin return null; end'").await;
    place.execute("create trigger tr before delete on t for each row execute function f()").await;
    let went = place.run(&events(json!({}))).await;
    assert_eq!(place.ask(LIVE).await, "900", "{went:#?}");
    assert!(!matches!(went.finish.end, End::Succeeded), "{went:#?}");
    assert_whole(&place).await;
}

#[tokio::test]
async fn a_restore_that_sets_off_more_than_its_rows_is_refused_and_the_archive_keeps_them() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let cases = [
        ("trigger", "before insert on t for each row", "new.v := 1; return new", "not all of the"),
        (
            "trigger",
            "after insert on t for each row",
            "update public.t set v = 1 where id = new.id; return null",
            "updated",
        ),
        ("trigger", "after insert on t for each row", "insert into public.log values (1); return null", "public.log"),
        (
            "constraint trigger",
            "after insert on t deferrable initially deferred for each row",
            "update public.t set v = 1 where id = new.id; return null",
            "updated",
        ),
    ];
    for (sort, when, does, words) in cases {
        let place = Workplace::new(&cluster, EVENTS).await;
        place.run(&events(json!({}))).await.succeeded();
        let archived = archived_rows(&place).await;
        place.execute("create table log (n int)").await;
        let function = format!("create function f() returns trigger language plpgsql as 'begin {does}; end'");
        place.execute(&function).await;
        place.execute(&format!("create {sort} tr {when} execute function f()")).await;
        let went = place.run(&restore_all()).await;
        assert_refused(when, &went, words);
        assert_eq!(archived_rows(&place).await, archived, "{when}");
        assert_eq!(place.ask("select count(*) from log").await, "0", "{when}");
        assert_whole(&place).await;
        place.execute("drop trigger tr on t").await;
        place.run(&restore_all()).await.succeeded();
        assert_eq!(place.ask("select count(*) from t where v = id / 7.0").await, "900", "{when}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_after_its_last_row_spoils_none_of_the_others() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let function = "create function f() returns trigger language plpgsql as
        'begin if old.id = 150 then raise exception ''not this one''; end if; return null; end'";
    place.execute(function).await;
    place.execute("create trigger tr after delete on t for each row execute function f()").await;
    let went = place.run(&events(json!({ "batch_rows": 100, "vacuum": false, "reindex": false }))).await;
    assert_refused("a trigger that raises", &went, "not this one");
    assert!(!told(&went).contains("unexpected"), "{}", told(&went));
    // Every row but those of the one batch has moved.
    let left = place.ask("select count(*) from t where id < 690").await;
    assert!((1..=300).contains(&left.parse::<i64>().unwrap()), "{left} {went:#?}");
    assert_whole(&place).await;
    place.execute("drop trigger tr on t").await;
    place.run(&events(json!({}))).await.succeeded();
    assert_whole(&place).await;
}
