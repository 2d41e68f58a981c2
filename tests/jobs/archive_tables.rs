//! What moves by `table:`: trees of foreign keys, what stays because of them, and tables that are refused.

use pgupkeep::jobs::archive::candidates::Candidates;
use pgupkeep::jobs::archive::resolve::resolve;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::archive_rules::{check_statements, found, reader, reasons, run, spec};
use super::workplace::QUIET;
use crate::support::{Cluster, majors, one_major};

const SUITE: &str = "jobs::archive_tables";

/// Three levels, keys of two columns, and names that would be commands if anybody let them.
const HOSTILE: &str = r#"
    create schema "s"".; drop";
    create table "s"".; drop"."ro""ot '1'; --" ("k one" int, "k""2" text, "at'" timestamptz, primary key ("k one", "k""2"));
    create table "s"".; drop"."child." (id int primary key, "to 1" int, "to""2" text, note text,
        constraint "fk;'""" foreign key ("to 1", "to""2") references "s"".; drop"."ro""ot '1'; --" on delete cascade);
    create index on "s"".; drop"."child." ("to 1", "to""2");
    create table "s"".; drop"."r" ("c" int references "s"".; drop"."child.", "select" text);
    create table "s"".; drop"."looks on" ("c" int references "s"".; drop"."child." on delete set null);
    insert into "s"".; drop"."ro""ot '1'; --"
      select i, 'x''' || i, now() - make_interval(days => i * 10) from generate_series(1, 20) i;
    insert into "s"".; drop"."child." select i, 1 + i % 20, 'x''' || 1 + i % 20 from generate_series(1, 60) i;
    insert into "s"".; drop"."r" select 1 + i % 60 from generate_series(1, 120) i;
    insert into "s"".; drop"."looks on" values (14), (null)"#;

fn total(found: &Candidates) -> i64 {
    found.pages.iter().map(|pages| pages.rows).sum()
}

#[tokio::test]
async fn a_tree_of_three_levels_with_hostile_names_is_found_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let database = cluster.create_database().await;
        let mut conn = reader(&cluster, &database).await;
        run(&mut conn, HOSTILE).await;
        let table = r#""s"".; drop"."ro""ot '1'; --""#;
        let spec = spec(json!({ "table": table, "age": "at'", "older_than": "95days" }));
        let (rule, found) = found(&spec, &mut conn).await;
        let names: Vec<&str> = rule.parts.iter().map(|part| part.table.name.0.as_str()).collect();
        assert_eq!(names, ["r", "child.", r#"ro"ot '1'; --"#]);
        check_statements(&rule, &mut conn).await;
        // Roots 10 to 20 are old; what looks on at a child of the root 15 keeps it.
        let because =
            "rows of s\".; drop.looks on that do not move, since their key lets them live on alone, refer to them";
        assert_eq!(reasons(&found).get(because), Some(&1), "{found:?}");
        assert!(!found.pages.is_empty());
        let count = format!("select count(*) from {} r where {}", rule.root.table, rule.root.eligible);
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut conn).await.unwrap();
        assert_eq!(count, 10);
        let warned = rule.warnings.join("\n");
        assert!(warned.contains(r#"s".; drop.r has no index on ("c")"#), "{warned}");
        assert!(warned.contains(r#"s".; drop.looks on refers to s".; drop.child. without an index"#), "{warned}");
        assert!(!warned.contains("child. has no index"), "{warned}");
        // A child that must not move keeps its roots.
        let mut with = serde_json::to_value(&spec).unwrap();
        with["stay"] = json!(["*.child."]);
        let (rule, found) = super::archive_rules::found(&super::archive_rules::spec(with), &mut conn).await;
        assert_eq!(rule.parts.len(), 1);
        assert_eq!((total(&found), found.excluded.iter().map(|excluded| excluded.count).sum::<i64>()), (0, 11));
    }
}

#[tokio::test]
async fn rows_that_others_refer_to_stay_until_those_have_gone() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let database = cluster.create_database().await;
    let mut conn = reader(&cluster, &database).await;
    let spec = spec(json!({ "table": "public.a", "where": "old" }));
    let a = "create table public.a (id int primary key, old boolean, up int references public.a);";
    // What there is, and the ids of a that move.
    let cases = [
        (format!("{a} insert into public.a values (1, true), (2, false), (3, null)"), vec![1]),
        // A row that refers to itself, one that a young row refers to, and a chain whose end goes first.
        (format!("{a} insert into public.a values (1, true, 1), (2, true, null), (3, false, 2), (4, true, null), (5, true, 4)"), vec![
            1, 5,
        ]),
        // A child of an old root that is answered by a child of a young one; within one root they go together.
        (
            format!(
                "{a} create table public.b (id int primary key, a int references public.a, up int references public.b);
                 insert into public.a values (1, true, null), (2, false, null), (3, true, null);
                 insert into public.b values (10, 1, null), (20, 2, 10), (30, 3, null), (31, 3, 30)"
            ),
            vec![3],
        ),
        // Two ways to the same table: rows that go by both go together, one that belongs elsewhere keeps its root.
        (
            format!(
                "{a} create table public.b (id int primary key, a int references public.a);
                 create table public.c (a int references public.a, b int references public.b);
                 insert into public.a values (1, true), (2, true), (3, true);
                 insert into public.b values (10, 1), (20, 2), (30, 3);
                 insert into public.c values (1, 10), (3, 20), (null, 30)"
            ),
            vec![1],
        ),
        (
            format!(
                "{a} create table public.b (a int references public.a on delete set null);
                 insert into public.a values (1, true), (2, true); insert into public.b values (1), (null)"
            ),
            vec![2],
        ),
        (
            format!(
                "{a} create table public.b (a int references public.a) partition by range (a);
                 create table public.b1 partition of public.b for values from (0) to (9); insert into public.a values (1, true)"
            ),
            vec![],
        ),
    ];
    for (sql, expected) in cases {
        run(&mut conn, format!("begin; {sql}")).await;
        match resolve(&spec, &mut conn).await {
            Ok(rule) => {
                let sql = format!("select r.id from {} r where {} order by 1", rule.root.table, rule.root.eligible);
                let moves: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                assert_eq!(moves, expected, "{:#?}", rule.root.reasons);
            }
            Err(error) => {
                assert!(expected.is_empty() && error.to_string().contains("public.b is partitioned"), "{error}");
            }
        }
        run(&mut conn, "rollback").await;
    }
}

#[tokio::test]
async fn an_age_is_told_by_every_type_and_nothing_in_it_stops_the_job() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let database = cluster.create_database().await;
    let mut conn = reader(&cluster, &database).await;
    let ago = "extract(epoch from now() - make_interval(days => d))";
    let days = "unnest(array[89, 91, 400]) d";
    let cases = [
        ("timestamptz", None, "now() - make_interval(days => d)", "('infinity'), ('-infinity'), (null)", 3),
        (
            "timestamp",
            None,
            "now() at time zone 'UTC' - make_interval(days => d)",
            "('infinity'), ('-infinity'), (null)",
            3,
        ),
        ("date", None, "current_date - d", "('infinity'), ('-infinity'), (null), ('4000-01-01 BC')", 4),
        ("int4", Some("seconds"), "{ago}", "(2147483647), (-2147483648), (null)", 3),
        ("int8", Some("seconds"), "{ago}", "(9223372036854775807), (-9223372036854775808), (null)", 3),
        ("int8", Some("milliseconds"), "{ago} * 1000", "(9223372036854775807), (-9223372036854775808), (null)", 3),
        ("int8", Some("microseconds"), "{ago} * 1000000", "(9223372036854775807), (-9223372036854775808), (null)", 3),
        ("int8", Some("nanoseconds"), "{ago} * 1000000000", "(9223372036854775807), (-9223372036854775808), (null)", 3),
    ];
    for (kind, unit, value, extremes, expected) in cases {
        let value = value.replace("{ago}", ago);
        run(
            &mut conn,
            format!(
                "begin; create table public.t (at {kind}); insert into public.t select {value} from {days};
                 insert into public.t values {extremes}"
            ),
        )
        .await;
        let mut with = json!({ "table": "public.t", "age": "at" });
        if let Some(unit) = unit {
            with["age_unit"] = json!(unit);
        }
        let (rule, _) = found(&spec(with), &mut conn).await;
        let root = &rule.root;
        // The group and the activity of each row that moves can be told, whatever stands in it.
        let sql = format!(
            "select count(*), count({}), count({}) from {} r where {}",
            root.group, root.activity, root.table, root.eligible
        );
        let counts: (i64, i64, i64) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut conn).await.unwrap();
        assert_eq!(counts, (expected, expected, expected), "{kind} {unit:?}");
        run(&mut conn, "rollback").await;
    }
}

#[tokio::test]
async fn tables_whose_rows_could_not_safely_go_are_refused_with_words() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let database = cluster.create_database().await;
    run(&mut cluster.connect(&database).await, "create role upkeep login; create role \"ro\"\"le\" login").await;
    let mut conn = reader(&cluster, &database).await;
    let t = "create table public.t (id int primary key, at timestamptz, n numeric, i int8);";
    let cases = [
        (String::new(), json!({}), "there is no table"),
        (
            "create table public.t (at timestamptz) partition by range (at)".to_owned(),
            json!({}),
            "public.t is partitioned",
        ),
        (
            "create table public.p (at timestamptz) partition by range (at);
             create table public.t partition of public.p default"
                .to_owned(),
            json!({}),
            "public.t is a partition: detach old partitions instead",
        ),
        (format!("{t} create table public.u () inherits (public.t)"), json!({}), "tables that inherit from it"),
        (
            format!(
                "{t} create table public.u () inherits (public.t); alter table public.t rename to v;
                  alter table public.u rename to t"
            ),
            json!({}),
            "inherits from another table",
        ),
        ("create view public.t as select now() as at".to_owned(), json!({}), "public.t is a view"),
        ("create materialized view public.t as select now() as at".to_owned(), json!({}), "is a materialized view"),
        (
            format!("{t} create rule r as on delete to public.t do instead nothing"),
            json!({}),
            "the rule \"r\" of public.t",
        ),
        (
            format!(
                "{t} alter table public.t enable row level security; grant all on public.t to upkeep; set role upkeep"
            ),
            json!({}),
            "(ALTER ROLE \"upkeep\" BYPASSRLS)",
        ),
        (
            format!("{t} grant select on public.t to \"ro\"\"le\"; set role \"ro\"\"le\""),
            json!({}),
            "(locking a row takes the right to update it): GRANT UPDATE, DELETE ON \"public\".\"t\" TO \"ro\"\"le\"",
        ),
        (t.to_owned(), json!({ "age": "nothing" }), "public.t has no column nothing (age)"),
        (t.to_owned(), json!({ "age": "n" }), "public.t.n is of type numeric, which tells no age"),
        (t.to_owned(), json!({ "age": "i" }), "public.t.i is a number; say what it counts"),
        (t.to_owned(), json!({ "age": "n", "age_unit": "seconds" }), "`age_unit` goes with integers"),
        (
            format!(
                "{t} create table public.u (id int primary key, t int references public.t);
                     alter table public.t add u int references public.u"
            ),
            json!({}),
            "public.t, public.u refer to each other in a circle",
        ),
        (
            format!(
                "{t} create table public.u (t int references public.t);
                     create rule r as on delete to public.u do also select 1"
            ),
            json!({}),
            "the rule \"r\" of public.u",
        ),
    ];
    for (sql, with, expected) in cases {
        run(&mut conn, format!("begin; {sql}")).await;
        let mut whole = json!({ "table": "public.t", "age": "at" });
        whole.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        let error = resolve(&spec(whole), &mut conn).await.expect_err(&sql).to_string();
        assert!(error.contains(expected), "{sql}: {error}");
        assert!(error.contains("nothing was touched"), "{error}");
        run(&mut conn, "rollback; reset role").await;
    }
}

#[tokio::test]
async fn what_the_owner_should_know_is_said() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[QUIET, &["wal_level = logical"]].concat()).await;
    let database = cluster.create_database().await;
    let mut conn = reader(&cluster, &database).await;
    let t = "create table public.t (id int primary key, at timestamptz);";
    let function = "create function public.f() returns trigger language plpgsql as 'begin return old; end';";
    let cases = [
        (t.to_owned(), ""),
        (
            format!(
                "{t} {function} create trigger \"on go\" after delete on public.t for each row execute function public.f()"
            ),
            "triggers of public.t fire for every row that moves: \"on go\"",
        ),
        (
            format!(
                "{t} {function} create trigger i after insert on public.t for each row execute function public.f()"
            ),
            "",
        ),
        (format!("{t} create publication p for table public.t"), "subscribers of \"p\" see the rows of public.t go"),
        (
            "create table public.t (at timestamptz); create publication p for table public.t".to_owned(),
            "public.t is published (\"p\") without a replica identity, so that the server refuses to delete from it",
        ),
        (
            "create table public.t (at timestamptz); create publication p for table public.t with (publish = 'insert')"
                .to_owned(),
            "",
        ),
        (format!("{t} create publication p for all tables"), "\"p\" publishes every table, the archive's too"),
        ("create unlogged table public.t (at timestamptz)".to_owned(), "public.t is unlogged"),
    ];
    for (sql, expected) in cases {
        run(&mut conn, format!("begin; {sql}")).await;
        let rule = resolve(&spec(json!({ "table": "public.t", "age": "at" })), &mut conn).await.unwrap();
        let warned = rule.warnings.join("\n");
        assert_eq!(warned.is_empty(), expected.is_empty(), "{sql}: {warned}");
        assert!(warned.contains(expected), "{sql}: {warned}");
        run(&mut conn, "rollback").await;
    }
}
