//! What the archive keeps outlives the user's own types, the database that it was made in, and the names that a rule gives its
//! groups.

use pgupkeep::jobs::drive::End;
use serde_json::json;

use super::super::workplace::{QUIET, Workplace};
use super::bad_days::{EVENTS, assert_whole, events};
use super::{archive, archived_rows, damage, restore, restore_all};
use crate::support::{Cluster, majors, one_major};

const SUITE: &str = "jobs::archive::lasting";

/// Types whose binary form holds numbers of the database's own, and integers that vary by more than 127.
const OWN_TYPES: &str = "
    create type mood as enum ('sad', 'ok', 'happy'); create domain mood_d as mood; create domain double_d as double precision;
    create type pair as (m mood, at timestamptz, x double precision); create table kin (n int);
    create table t (id int primary key, at timestamptz not null, m mood, ms mood[], md mood_d[], ds double_d[], p pair, ps pair[],
                    k regclass, ks regclass[], r numrange[], tz timestamptz[], spread int, f double precision, d date, c \"char\");
    insert into t select i, now() - make_interval(days => 1000 - i), 'ok', '{sad,happy}', '{ok}', array[i / 7.0, null],
        row('happy'::mood, timestamptz '2020-01-01 12:00+03', i / 3.0::float8)::pair, array[row('sad'::mood, now(), 1e-7::float8)::pair], 'kin', '{kin,pg_class}',
        array[numrange(1, i + 1.50)], array[now() + make_interval(secs => i)], (random() * 250)::int - 120,
        (random() * 250)::int / 10.0, date '2020-01-01' + (random() * 250)::int, 'x'
      from generate_series(1, 900) i;
    create table copy as table t; analyze t";

/// Another database with what a dump of this one carries.
async fn elsewhere<'c>(place: &Workplace<'c>) -> Workplace<'c> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let file = file.to_str().unwrap();
    place.cluster.run_client("pg_dump", &["-Fc", "-f", file, &place.database]).await;
    let other = place.cluster.create_database().await;
    // The numbers of what is made anew must be others.
    place.cluster.execute(&other, "create type in_between as enum ('x'); create table there (n int)").await;
    place.cluster.run_client("pg_restore", &["--exit-on-error", "-d", &other, file]).await;
    Workplace::in_database(place.cluster, other, "select").await
}

#[tokio::test]
async fn a_restored_dump_is_sound_and_gives_its_rows_back_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(&cluster, OWN_TYPES).await;
        place.execute(&format!("alter database {} set timezone = 'Asia/Kathmandu'", place.database)).await;
        place.run(&events(json!({}))).await.succeeded();
        let place = elsewhere(&place).await;
        assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new(), "{major:?}");
        assert_eq!(place.ask("select count(*) from archive.t").await, "700");
        place.run(&restore_all()).await.succeeded();
        let differing = "select count(*) from (table t except table copy) d";
        assert_eq!(place.ask(differing).await, "0", "{major:?}");
        assert_eq!(place.ask("select count(*) from t").await, "900");
    }
}

/// A dump is text, in which a NaN has neither sign nor payload; what is not a number is the same to a check and a restore.
#[tokio::test]
async fn numbers_that_are_none_come_back_from_a_dump() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let nans = "create table t (id int primary key, at timestamptz not null, f double precision, r real, p point, w path);
        insert into t select i, now() - interval '900 days', x, x, point(x, i), case when i > 9 then path(polygon(box(point(x, 1), point(i, x)))) end
          from generate_series(1, 900) i, lateral (select case when i % 100 = 0 then 'inf'::float8 - 'inf'::float8 else i / 7.0 end as x) x;
        create table copy as table t; analyze t";
    let place = Workplace::new(&cluster, nans).await;
    let odd = "select count(*) from t where f = 'NaN' and float8send(f) <> float8send('NaN')";
    let has_odd = place.ask(odd).await;
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new());
    let there = elsewhere(&place).await;
    place.run(&restore_all()).await.succeeded();
    // Without a dump in between not even those bits change.
    assert_eq!(place.ask(odd).await, has_odd);
    let differing = "select count(*) from t join copy c using (id) where record_send(t) <> record_send(c)";
    assert_eq!(place.ask(differing).await, "0");
    assert_eq!(damage(&mut there.session().await).await, Vec::<String>::new());
    there.run(&restore_all()).await.succeeded();
    assert_eq!(there.ask(differing).await, "0");
    assert_eq!(there.ask("select count(*) from t").await, "900");
}

#[tokio::test]
async fn values_that_are_others_than_their_text_are_named_with_a_way_out() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // Names of which one could be mistaken for something in a statement of ours.
    for name in ["\"h\"\"s\"", "a", "t", "\"values\""] {
        for odd in ["id = 77", "true"] {
            let place =
                Workplace::new(&cluster, &format!("{EVENTS}; alter table t add {name} double precision[]")).await;
            place.execute(&format!("update t set {name} = array[1, 'inf'::float8 - 'inf'::float8] where {odd}")).await;
            let differs = format!("select bool_or(array_send({name}) <> array_send({name}::text::float8[])) from t");
            assert_eq!(place.ask(&differs).await, "true");
            let went = place.run(&events(json!({}))).await;
            let told = went.finish.problems.join("; ");
            assert!(told.contains(&format!("values in the column \"{}\" that", name.trim_matches('"'))), "{told}");
            assert_whole(&place).await;
            let (_, way_out) = told.split_once("by UPDATE ").unwrap();
            let way_out = way_out.split([';', '\n']).next().unwrap();
            place.execute(&format!("update {way_out}")).await;
            place.run(&events(json!({}))).await.succeeded();
            assert_eq!(archived_rows(&place).await, "700");
        }
    }
}

#[tokio::test]
async fn types_that_are_changed_or_dropped_harm_neither_the_check_nor_what_can_go_back() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let first = format!(
        "{EVENTS}; create type mood as enum ('sad', 'ok'); create type pair as (m text, n int);
         alter table t add m mood default 'ok', add p pair default row('x', 1);
         create table other (id int primary key, at timestamptz, v int); insert into other values (1, '2001-01-01', 1)"
    );
    let cases = [
        ("alter type mood rename to feeling", true),
        ("alter type mood add value 'happy' before 'ok'", true),
        ("alter table t alter m drop default, alter m type text; drop type mood", true),
        ("alter type mood rename value 'ok' to 'fine'", false),
        ("alter table t alter p drop default; alter type pair add attribute z int cascade", false),
        ("alter table t drop column m; drop type mood", false),
    ];
    for (change, comes_back) in cases {
        let place = Workplace::new(&cluster, &first).await;
        place.run(&events(json!({}))).await.succeeded();
        place.run(&archive(json!({ "table": "public.other", "age": "at" }))).await.succeeded();
        place.execute(change).await;
        place.execute("insert into t (id, at) values (901, now() - interval '900 days')").await;
        place.run(&events(json!({}))).await.succeeded();
        assert_eq!(damage(&mut place.session().await).await, Vec::<String>::new(), "{change}");
        assert_eq!(place.ask("select count(*) from archive.t where m = 'ok' and id <= 900").await, "700", "{change}");
        let went = place.run(&restore(json!({ "where": "true", "rule": "public.t" }))).await;
        assert_eq!(matches!(went.finish.end, End::Succeeded), comes_back, "{change}: {went:#?}");
        place.execute("delete from t where id = 901").await;
        if comes_back {
            assert_eq!(place.ask("select count(*) from t").await, "900", "{change}");
        } else {
            let told = format!("{:?}", went.finish.problems);
            assert!(told.contains("its archived rows stay readable"), "{change}: {told}");
        }
        // What was archived in the present shape, and other tables, are not kept from going back.
        place.run(&restore(json!({ "where": "true", "rule": "public.other" }))).await.succeeded();
    }
}

#[tokio::test]
async fn a_condition_finds_its_rows_whatever_groups_were_called_when_they_left() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, &format!("{EVENTS}; alter table t add seen timestamptz default now()")).await;
    // Two rules about one table with one name, then one whose age is another column.
    place.run(&archive(json!({ "table": "public.t", "where": "id % 2 = 0 and id <= 100" }))).await.succeeded();
    place.run(&events(json!({}))).await.succeeded();
    place.execute("update t set seen = '2001-01-01' where id = 900").await;
    place.run(&events(json!({ "age": "seen" }))).await.succeeded();
    for (condition, brings) in [("r.id = 4", 4), ("r.id = 5", 5), ("r.id = 900", 900)] {
        place.run(&restore(json!({ "where": condition }))).await.succeeded();
        assert_eq!(place.ask(&format!("select count(*) from t where id = {brings}")).await, "1", "{condition}");
    }
    assert_eq!(place.ask("select count(*) from t where id % 2 = 0 and id <= 100").await, "50");
    assert_whole(&place).await;
    // Each rule leaves its held groups alone.
    let odd = json!({ "table": "public.t", "where": "id % 2 = 0 and id <= 100" });
    assert_eq!(place.plan(&archive(odd)).await, Vec::<String>::new());
}

#[tokio::test]
async fn rows_that_are_too_large_together_move_in_smaller_batches() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // They compress well, so that their table tells nothing of it.
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null, v text);
         insert into t select i, '2001-01-01', repeat(i::text, 1000000) from generate_series(100, 199) i;
         create table copy as table t; analyze t",
    )
    .await;
    place.run(&events(json!({}))).await.succeeded();
    let batches: i64 = place.ask("select count(*) from archive_store.batch").await.parse().unwrap();
    assert!(batches > 4, "{batches}");
    assert_eq!(place.ask("select count(*) from (table archive.t except table copy) d").await, "0");
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask("select count(*) from (table t except table copy) d").await, "0");
    assert_eq!((place.ask("select count(*) from t").await, archived_rows(&place).await), ("100".into(), "0".into()));
}

#[tokio::test]
async fn columns_that_are_gone_are_still_shown_with_what_they_held() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    let before = place.ask("select sum(v) from archive.t").await;
    place.execute("alter table t rename v to amount").await;
    place.execute("update t set at = now() - interval '900 days' where id between 701 and 800").await;
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(place.ask("select sum(v) from archive.t").await, before);
    assert_eq!(place.ask("select count(amount) || ' ' || count(v) from archive.t").await, "100 700");
    assert_eq!(place.ask("select count(amount) || ' ' || count(v) from archive.all_t").await, "200 700");
    assert_whole(&place).await;
}

#[tokio::test]
async fn what_is_referred_to_comes_back_first_whatever_the_rules_are_called() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        "create table z_parent (id int primary key, at timestamptz);
         create table m (id int primary key, parent int references z_parent, at timestamptz);
         create table a_child (id int primary key, m int references m, at timestamptz);
         insert into z_parent select i, '2001-01-01' from generate_series(1, 20) i;
         insert into m select i, i, '2001-01-01' from generate_series(1, 20) i;
         insert into a_child select i, i, '2001-01-01' from generate_series(1, 20) i",
    )
    .await;
    let rule =
        |table: &str, stay: &[&str]| archive(json!({ "table": format!("public.{table}"), "age": "at", "stay": stay }));
    for table in ["a_child", "m", "z_parent"] {
        place.run(&rule(table, &[])).await.succeeded();
    }
    let counts = "select (select count(*) from a_child) || ' ' || (select count(*) from m) || ' ' || (select count(*) from z_parent)";
    assert_eq!(place.ask(counts).await, "0 0 0");
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask(counts).await, "20 20 20");
    // All three by one rule, whose list of tables was put together in two runs.
    place.execute("update archive_store.group_state set hold_until = null").await;
    place.run(&rule("z_parent", &[])).await.succeeded();
    place.execute("insert into z_parent values (21, '2001-01-01')").await;
    place.run(&rule("z_parent", &["public.m"])).await.succeeded();
    place.run(&restore_all()).await.succeeded();
    assert_eq!(place.ask(counts).await, "20 20 21");
}

#[tokio::test]
async fn a_trigger_that_keeps_rows_and_a_rule_that_makes_something_else_of_them_are_told() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let keeps = "create function keep() returns trigger language plpgsql as 'begin if old.id % 2 = 0 then return null; end if; return old; end';
                 create trigger keeps before delete on t for each row execute function keep()";
    let makes = "create rule makes as on insert to t do also select 1";
    for (sql, words) in [
        (keeps, "a trigger of \"public\".\"t\" keeps rows that were to be deleted"),
        (makes, "the rule \"makes\" of public.t makes something else of what is sent"),
    ] {
        let place = Workplace::new(&cluster, &format!("{EVENTS}; {sql}")).await;
        let went = place.run(&events(json!({}))).await;
        let told = went.finish.problems.join("; ");
        assert!(told.contains(words), "{told}");
        assert_eq!(place.ask("select count(*) from t").await, "900");
    }
}

#[tokio::test]
async fn arrays_keep_their_nulls_where_sessions_do_not_read_them() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null, a text[]);
         insert into t select i, '2001-01-01', array[null, 'NULL', i::text] from generate_series(1, 900) i",
    )
    .await;
    for (spec, table) in [(events(json!({})), "archive.t"), (restore_all(), "t")] {
        place.execute(&format!("alter database {} set array_nulls = off", place.database)).await;
        place.run(&spec).await.succeeded();
        place.execute(&format!("alter database {} reset array_nulls", place.database)).await;
        let same = format!("select count(*) from {table} where a[1] is null and a[2] = 'NULL'");
        assert_eq!(place.ask(&same).await, "900", "{table}");
    }
}
