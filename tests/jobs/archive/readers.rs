//! Who may read archived rows, under which names they are read, and what the role of an archival has to be allowed.

use pgupkeep::jobs::archive::store::Store;
use serde_json::json;
use sqlx::Executor as _;

use super::super::workplace::{QUIET, Workplace};
use super::bad_days::{EVENTS, events};
use super::{archive, damage, restore_all};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::archive::readers";

fn table(name: &str) -> pgupkeep::jobs::JobSpec {
    archive(json!({ "table": format!("public.{name}"), "age": "at", "older_than": "300days" }))
}

async fn may_read(place: &Workplace<'_>, role: &str, what: &str) -> bool {
    let mut session = place.session().await;
    session.execute(sqlx::AssertSqlSafe(format!("set role {role}"))).await.unwrap();
    session.execute(sqlx::AssertSqlSafe(format!("select count(*) from {what}"))).await.is_ok()
}

#[tokio::test]
async fn whoever_may_read_the_table_may_read_its_archived_rows_and_nobody_else() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    cluster.execute("postgres", "create role early; create role late; create role guest").await;
    place.execute("grant select on t to early").await;
    place.run(&events(json!({}))).await.succeeded();
    // What the application's owner has granted by hand is not ours to take away.
    place.execute("grant usage on schema archive to guest; grant select on archive.t to guest").await;
    assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new());
    let seen = async || {
        let mut seen = Vec::new();
        for role in ["early", "late", "guest"] {
            seen.push((may_read(&place, role, "archive.t").await, may_read(&place, role, "archive.all_t").await));
        }
        seen
    };
    assert_eq!(seen().await, [(true, true), (false, false), (true, false)]);
    place.execute("revoke select on t from early; grant select on t to late").await;
    // There is nothing to move, but something to set right; and then nothing.
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(seen().await, [(false, false), (true, true), (true, false)]);
    assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new());
    // Policies hold for the table only, so whoever they are for does not read the archive.
    place.execute("alter table t enable row level security; create policy p on t using (id > 800)").await;
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(seen().await, [(false, false), (false, false), (true, false)]);
}

#[tokio::test]
async fn readers_of_earlier_shapes_of_closed_schemas_and_of_other_names_are_followed() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    cluster.execute("postgres", "create role first; create role second; create role third; create role gone").await;
    place.execute("grant select on t to first, gone; create schema closed; alter table t set schema closed").await;
    let spec = || archive(json!({ "table": "closed.t", "age": "at", "older_than": "300days" }));
    // Nobody may enter the schema, so nobody reads the archive.
    place.execute("grant select on closed.t to public").await;
    place.run(&spec()).await.succeeded();
    let rows = "archive_store.rows_1";
    assert_eq!([may_read(&place, "first", "archive.t").await, may_read(&place, "third", rows).await], [false, false]);
    place.execute("grant usage on schema closed to first, gone; revoke select on closed.t from public").await;
    place.run(&spec()).await.succeeded();
    assert_eq!([may_read(&place, "first", rows).await, may_read(&place, "third", rows).await], [true, false]);
    // A new shape, and other readers: the old one's follow.
    place.execute("alter table closed.t add extra int; revoke select on closed.t from first, gone").await;
    place.execute("grant usage on schema closed to second; grant select on closed.t to second").await;
    place.execute("update closed.t set at = now() - interval '900 days' where id between 700 and 800").await;
    place.run(&spec()).await.succeeded();
    assert_eq!([may_read(&place, "first", rows).await, may_read(&place, "second", rows).await], [false, true]);
    assert!(may_read(&place, "second", "archive.all_t").await);
    // Roles that are renamed or dropped hold nothing up.
    place.execute("alter role second rename to other").await;
    place.run(&spec()).await.succeeded();
    place.execute("drop owned by gone; drop role gone").await;
    place.execute("revoke select on closed.t from other").await;
    place.run(&spec()).await.succeeded();
    assert!(!may_read(&place, "other", rows).await);
    assert_eq!(place.plan(&spec()).await, Vec::<String>::new());
}

#[tokio::test]
async fn views_that_somebody_drops_are_made_anew_with_their_readers() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    cluster.execute("postgres", "create role reader").await;
    place.execute("grant select on t to reader").await;
    place.run(&events(json!({}))).await.succeeded();
    place.execute("alter table t add extra int").await;
    place.execute("update t set at = now() - interval '900 days' where id between 700 and 800").await;
    place.run(&events(json!({}))).await.succeeded();
    let rows = place.ask("select md5(string_agg(t::text, ',' order by id)) from archive.all_t t").await;
    for gone in [
        "drop view archive.t",
        "drop view archive.all_t",
        "drop function archive_store.all_rows_2() cascade",
        "drop view archive_store.rows_1 cascade",
        "drop view archive_store.rows_2 cascade",
        "drop schema archive cascade",
    ] {
        place.execute(gone).await;
        let steps = place.plan(&events(json!({}))).await;
        assert!(steps.len() == 1 && steps[0].starts_with("make room"), "{gone}: {steps:?}");
        place.run(&events(json!({}))).await.succeeded();
        assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new(), "{gone}");
        assert_eq!(
            place.ask("select md5(string_agg(t::text, ',' order by id)) from archive.all_t t").await,
            rows,
            "{gone}"
        );
        assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new(), "{gone}");
        for view in ["archive.t", "archive.all_t", "archive_store.rows_1", "archive_store.rows_2"] {
            assert!(may_read(&place, "reader", view).await, "{view} after {gone}");
        }
    }
}

#[tokio::test]
async fn what_somebody_else_has_put_in_the_place_of_a_view_is_left_alone() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    cluster.execute("postgres", "create role reader").await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    for (theirs, gone) in [
        ("view archive.t as select 1 as mine", "view archive.t"),
        ("table archive.t as select 1 as mine", "table archive.t"),
        ("view archive.all_t as select 1 as mine", "view archive.all_t"),
    ] {
        place.execute("drop view if exists archive.all_t; drop view if exists archive.t").await;
        place.execute(&format!("create {theirs}")).await;
        let told = format!("{:?}", place.run(&events(json!({}))).await.finish);
        assert!(told.contains("is somebody else's by now") && told.contains("it was left alone"), "{theirs}: {told}");
        place.execute("grant select on t to reader").await;
        let _partial = place.run(&events(json!({}))).await;
        let name = gone.split_once(' ').unwrap().1;
        assert!(!may_read(&place, "reader", name).await, "{theirs}");
        place.execute("revoke select on t from reader").await;
        assert_eq!(place.ask(&format!("select mine from {name}")).await, "1");
        assert_ne!(damage(&mut place.session().await).await, Vec::<String>::new());
        place.execute(&format!("drop {gone}")).await;
        place.run(&events(json!({}))).await.succeeded();
        assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new());
        assert_eq!(place.ask("select count(*) from archive.all_t").await, "900");
    }
}

#[tokio::test]
async fn no_view_of_somebody_else_is_replaced_and_no_two_tables_share_one() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let long = "x".repeat(62);
    let tables = ["yy", "all_yy", "zz", "all_zz", "tt", "taken", &format!("{long}a"), &format!("{long}b")];
    let create = |(nth, name): (usize, &&str)| {
        format!(
            "create table {name} as select i as id, now() - make_interval(days => 900) as at from generate_series(1, {}) i;
             alter table {name} add primary key (id);",
            nth + 1
        )
    };
    let theirs = "create schema archive; create view archive.all_tt as select 'mine' as whose;
                  create table archive.taken (whose text);";
    let sql = theirs.to_owned() + &tables.iter().enumerate().map(create).collect::<String>();
    let place = Workplace::new(&cluster, &sql).await;
    for name in ["yy", "all_yy", "all_zz", "zz", "tt", "taken", &format!("{long}a"), &format!("{long}b")] {
        place.run(&table(name)).await.succeeded();
    }
    assert_eq!(place.ask("select whose from archive.all_tt").await, "mine");
    assert_eq!(place.ask("select count(*) from archive.taken").await, "0");
    for (nth, name) in tables.iter().enumerate() {
        let view = format!("select view_name from archive_store.source where table_name = '{name}'");
        let view = place.ask(&view).await;
        let count = format!("select count(*) from archive.{view}");
        assert_eq!(place.ask(&count).await, (nth + 1).to_string(), "{name} is shown as {view}");
    }
    let views = place.ask("select count(distinct view_name) from archive_store.source").await;
    assert_eq!(views, tables.len().to_string());
}

#[tokio::test]
async fn a_role_that_may_not_make_an_archive_is_told_the_grant_before_anything_is_touched() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    cluster.execute("postgres", "create role keeper login").await;
    let place = Workplace::new(&cluster, EVENTS).await.working_as("keeper");
    let database = place.database.clone();
    place.execute(&format!("revoke temporary on database {database} from public")).await;
    place.execute("grant select, update, delete on t to keeper").await;
    for grant in ["CREATE, TEMPORARY", "TEMPORARY"] {
        let told = format!("{:?}", place.run(&events(json!({}))).await.finish).replace('\\', "");
        assert!(told.contains(&format!("GRANT {grant} ON DATABASE \"{database}\" TO \"keeper\"")), "{told}");
        let first = grant.split(", ").next().unwrap();
        place.execute(&format!("grant {first} on database {database} to keeper")).await;
    }
    place.run(&events(json!({}))).await.succeeded();
    // And back: the right that only a restore needs is named when it is missing.
    let told = format!("{:?}", place.run(&restore_all()).await.finish).replace('\\', "");
    assert!(told.contains("GRANT SELECT, INSERT ON \"public\".\"t\""), "{told}");
    place.execute("grant insert on t to keeper").await;
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select count(*) from t").await, "900");
}

#[tokio::test]
async fn a_role_that_did_not_make_the_archive_is_told_the_grant_that_lets_it_read_and_the_one_that_lets_it_work() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    cluster.execute("postgres", "create role keeper login; create role other login").await;
    let place = Workplace::new(&cluster, EVENTS).await.working_as("keeper");
    let database = place.database.clone();
    place.execute(&format!("grant create, temporary on database {database} to keeper, other")).await;
    place.execute("grant select, insert, update, delete on t to keeper, other").await;
    place.run(&events(json!({}))).await.succeeded();
    let (mut session, store) = (place.session().await, Store::new("archive"));
    session.execute("set role other").await.unwrap();
    let told = store.check_readable(&mut session).await.unwrap_err().to_string();
    let grants = told.split_once("all of the archive: ").unwrap().1.rsplit_once(';').unwrap().0.to_owned();
    place.execute(&grants).await;
    assert!(store.check_readable(&mut session).await.is_ok(), "{grants}");
    assert_eq!(damage(&mut session).await, Vec::<String>::new());
    let place = place.working_as("other");
    for spec in [events(json!({})), events(json!({ "older_than": "250days" })), restore_all()] {
        let told = format!("{:?}", place.run(&spec).await.finish).replace('\\', "");
        assert!(told.contains("is \"keeper\"'s") && told.contains("GRANT \"keeper\" TO \"other\""), "{told}");
        assert_eq!(place.ask("select count(*) from t").await, "200");
    }
    // A schema that somebody else has made is no obstacle, as long as something may be made in it.
    place.execute("alter schema archive owner to postgres; alter schema archive_store owner to postgres").await;
    place.execute("grant usage on schema archive, archive_store to keeper").await;
    place.execute("alter role other noinherit; grant keeper to other").await;
    let told = format!("{:?}", place.run(&restore_all()).await.finish).replace('\\', "");
    assert!(told.contains("is \"keeper\"'s"), "{told}");
    let inherit = "grant keeper to other with inherit true";
    place.execute(if major.number < 16 { "alter role other inherit" } else { inherit }).await;
    place.run(&restore_all()).await.succeeded();
    place.execute("update archive_store.group_state set hold_until = null").await;
    let told = format!("{:?}", place.run(&events(json!({}))).await.finish).replace('\\', "");
    let grant = "GRANT USAGE, CREATE ON SCHEMA \"archive\", \"archive_store\" TO \"other\"";
    assert!(told.contains(grant), "{told}");
    place.execute(&grant.to_lowercase()).await;
    place.run(&events(json!({ "older_than": "250days" }))).await.succeeded();
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select count(*) from t").await, "900");
}

#[tokio::test]
async fn schemas_that_were_made_for_the_archive_are_used_and_are_made_anew_only_where_that_is_allowed() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    cluster.execute("postgres", "create role keeper login; create role guest").await;
    let place = Workplace::new(&cluster, EVENTS).await.working_as("keeper");
    let database = place.database.clone();
    place.execute("create schema archive; create schema archive_store").await;
    place.execute(&format!("grant temporary on database {database} to keeper")).await;
    place.execute("grant select, insert, update, delete on t to keeper").await;
    let told = format!("{:?}", place.run(&events(json!({}))).await.finish).replace('\\', "");
    let grant = "GRANT USAGE, CREATE ON SCHEMA \"archive\", \"archive_store\" TO \"keeper\"";
    assert!(told.contains(&format!("{grant} WITH GRANT OPTION")), "{told}");
    place.execute("grant select on t to guest").await;
    // A little less than that.
    place.execute(&grant.to_lowercase()).await;
    let shut_out = "GRANT USAGE ON SCHEMA \"archive\", \"archive_store\" TO \"guest\"";
    let notes = place.notes(&events(json!({}))).await;
    assert!(notes.iter().any(|note| note.contains(shut_out)), "{notes:?}");
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new());
    assert!(!may_read(&place, "guest", "archive.t").await);
    place.execute(&format!("{} with grant option", grant.to_lowercase())).await;
    place.run(&events(json!({}))).await.succeeded();
    assert!(may_read(&place, "guest", "archive.t").await && may_read(&place, "guest", "archive.all_t").await);
    assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new());
    // What else somebody keeps there is theirs.
    place.execute("create view archive_store.report as select * from archive_store.batch").await;
    place.run(&restore_all()).await.succeeded();
    place.execute("drop schema archive cascade").await;
    let told = format!("{:?}", place.run(&events(json!({}))).await.finish).replace('\\', "");
    assert!(told.contains(&format!("GRANT CREATE ON DATABASE \"{database}\" TO \"keeper\"")), "{told}");
    place.execute(&format!("grant create on database {database} to keeper")).await;
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_column_that_is_called_as_one_of_ours_is_refused_beforehand() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, &format!("{EVENTS}; alter table t add pgupkeep_batch int")).await;
    let told = format!("{:?}", place.run(&events(json!({}))).await.finish);
    assert!(told.contains("public.t has a column pgupkeep_batch"), "{told}");
    assert_eq!(place.ask("select to_regnamespace('archive') is null").await, "true");
}
