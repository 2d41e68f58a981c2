//! Archivals when something is in the way: each ends with words, and with every row where it was or proven in the archive.

use pgupkeep::fault::Fault;
use pgupkeep::jobs::archive::store::Store;
use pgupkeep::jobs::archive::verify::{Groups, verify};
use pgupkeep::jobs::drive::End;
use pgupkeep::jobs::outfit::Outfit;
use pgupkeep::names::{RepositoryName, TargetName};
use pgupkeep::repository::Place;
use pgupkeep::repository::check::{Damage, Verdict};
use serde_json::json;

use super::super::archive_rules::TIMES;
use super::super::backup::depot::Depot;
use super::super::workplace::{QUIET, Went, Workplace, never};
use super::rows::{assert_same, binary_rows};
use super::{archive, archived_rows, damage, restore, restore_all};
use crate::support::{Cluster, SmallDisk, mlflows, one_major, skip_suite};

const SUITE: &str = "jobs::archive::bad_days";

pub const EVENTS: &str = "
    create table t (id int primary key, at timestamptz not null, v double precision);
    insert into t select i, now() - make_interval(days => 1000 - i), i / 7.0 from generate_series(1, 900) i;
    analyze t";

#[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
pub fn events(more: serde_json::Value) -> pgupkeep::jobs::JobSpec {
    let mut with = json!({ "table": "public.t", "age": "at", "older_than": "300days", "lock_wait": "300ms" });
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    archive(with)
}

pub const LIVE: &str = "select count(*) from t";

/// Nothing is missing and nothing is there twice, whatever has happened.
pub async fn assert_whole(place: &Workplace<'_>) {
    let missing =
        "select count(*) from generate_series(1, 900) i where not exists (select from everything e where e.id = i)";
    let everything = if place.ask("select to_regclass('archive.t') is not null").await == "true" {
        "with everything as (select id from t union all select id from archive.t)"
    } else {
        "with everything as (select id from t)"
    };
    assert_eq!(place.ask(&format!("{everything} {missing}")).await, "0");
    assert_eq!(place.ask(&format!("{everything} select count(*) from everything")).await, "900");
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_left_for_the_next_time() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let mut holder = place.session().await;
    sqlx::raw_sql("begin; select * from t where id in (5, 6) for key share").execute(&mut holder).await.unwrap();
    let went = place.run(&events(json!({}))).await;
    let told = went.finish.problems.join("; ");
    assert!(
        told.contains("2 of 700 rows of public.t were not free to move") && told.contains("holds RowShareLock"),
        "{told}"
    );
    assert_eq!(place.ask("select string_agg(id::text, ',' order by id) from t where id < 100").await, "5,6");
    assert_whole(&place).await;
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(place.ask("select count(*) from t where id < 100").await, "0");
    assert_eq!(place.plan(&events(json!({}))).await, Vec::<String>::new());
    assert_whole(&place).await;
}

#[tokio::test]
async fn a_table_that_somebody_has_locked_is_told_and_nothing_waits_behind_us() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let mut holder = place.session().await;
    sqlx::raw_sql("begin; lock table t in share mode").execute(&mut holder).await.unwrap();
    let went = place.run(&events(json!({}))).await;
    // It is not done, and somebody is named.
    assert!(matches!(went.finish.end, End::Partial), "{went:#?}");
    let told = format!("{:?}", went.finish.problems);
    assert!(told.contains("locked for longer than lock_wait (300ms)") && told.contains("holds ShareLock"), "{told}");
    assert_eq!(place.ask(LIVE).await, "900");
    assert_whole(&place).await;
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    place.run(&events(json!({}))).await.succeeded();
    assert_whole(&place).await;
}

#[tokio::test]
async fn a_foreign_key_made_between_plan_and_move_changes_nothing_elsewhere() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for action in ["cascade", "set null", "set default"] {
        let place = Workplace::new(&cluster, EVENTS).await;
        place
            .execute(
                "create table looks (t int); insert into looks select i from generate_series(1, 900) i; analyze looks",
            )
            .await;
        let spec = events(json!({ "batch_rows": 100, "pause_between": "200ms" }));
        let at_work = async {
            place.wait_for("to_regclass('archive.t') is not null").await;
            // Not before the rows that have gone already have lost who refers to them.
            place
                .execute(&format!(
                "begin; lock table t in share row exclusive mode; delete from looks where t not in (select id from t);
                 create temporary table remembered as select * from looks;
                 alter table looks add foreign key (t) references t on delete {action}; commit;
                 create table kept as select count(*) as n from looks where t is not null"
            ))
                .await;
        };
        let (went, ()) = tokio::join!(place.run(&spec), at_work);
        assert_eq!(
            place.ask("select count(*) from looks where t is not null").await,
            place.ask("select n from kept").await,
            "on delete {action}: {went:#?}"
        );
        assert_whole(&place).await;
    }
}

#[tokio::test]
async fn a_table_altered_while_it_is_archived_loses_no_row() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    for change in [
        "alter table t add extra text",
        "alter table t alter v type numeric",
        "alter table t rename v to w",
        "alter table t drop v",
    ] {
        let place = Workplace::new(&cluster, EVENTS).await;
        let spec = events(json!({ "batch_rows": 100, "pause_between": "200ms" }));
        let at_work = async {
            place.wait_for("to_regclass('archive.t') is not null").await;
            place.execute(change).await;
        };
        let (_went, ()) = tokio::join!(place.run(&spec), at_work);
        assert_whole(&place).await;
        // The next attempt plans anew, in the new shape, and both shapes are read.
        place.run(&spec).await.succeeded();
        assert_eq!(place.plan(&spec).await, Vec::<String>::new(), "{change}");
        assert_eq!(place.ask("select count(*) > 0 from archive.t").await, "true");
        assert_whole(&place).await;
    }
}

#[tokio::test]
async fn settings_that_would_hide_or_stop_the_work_do_neither() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // A statement_timeout of the role is for its application, not for us.
    let place = Workplace::new(&cluster, EVENTS).await;
    place.execute("create role hasty superuser login; alter role hasty set statement_timeout = '1ms'").await;
    let place = place.working_as("hasty");
    place.run(&events(json!({}))).await.succeeded();
    assert_whole(&place).await;
    // Without counters nobody could prove that nothing else was changed.
    let place = Workplace::new(&cluster, EVENTS).await;
    place.execute("create role blind superuser login; alter role blind set track_counts = off").await;
    let place = place.working_as("blind");
    let went = place.run(&events(json!({}))).await;
    let proven = matches!(went.finish.end, End::Succeeded);
    assert!(proven || format!("{went:?}").contains("track_counts"), "{went:#?}");
    assert_whole(&place).await;
    // What reads in ways of its own.
    let place = Workplace::new(&cluster, EVENTS).await;
    place
        .execute(
            "create role odd superuser login; alter role odd set DateStyle = 'SQL, DMY'; alter role odd set TimeZone = 'Asia/Kathmandu';
             alter role odd set extra_float_digits = -5; alter role odd set bytea_output = escape;
             alter role odd set IntervalStyle = iso_8601; alter role odd set search_path = nowhere",
        )
        .await;
    let place = place.working_as("odd");
    let mut session = place.session().await;
    let all = binary_rows(&mut session, "select * from t").await;
    place.run(&events(json!({}))).await.succeeded();
    assert_same("both", &binary_rows(&mut session, "select * from archive.all_t").await, &all);
    place.run(&restore_all()).await.succeeded();
    assert_same("restored", &binary_rows(&mut session, "select * from t").await, &all);
}

#[tokio::test]
async fn damage_is_found_named_and_never_restored() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    let mut session = place.session().await;
    assert_eq!(damage(&mut session).await, Vec::<String>::new());
    let live = place.ask(LIVE).await;
    let damages = [
        // A value, a row that is missing, a segment that is missing, a digest.
        "update archive_store.segments_1 set c1_b = (select array_agg(b + 1) from unnest(c1_b) b) where no = 1",
        "delete from archive_store.segments_1 where (batch, no) in (select batch, no from archive_store.segments_1 limit 1)",
        "update archive_store.segments_1 set digest = decode(repeat('00', 16), 'hex') where no = 1",
    ];
    for done in damages {
        sqlx::raw_sql("drop table if exists spare; create table spare as select * from archive_store.segments_1")
            .execute(&mut session)
            .await
            .unwrap();
        sqlx::raw_sql(done).execute(&mut session).await.unwrap();
        let found = damage(&mut session).await;
        assert!(!found.is_empty(), "{done}");
        let groups =
            place.ask("select string_agg(group_key, ',') from archive_store.group_state where row_count > 0").await;
        let went = place.run(&restore(json!({ "groups": groups.split(',').collect::<Vec<_>>() }))).await;
        assert!(!matches!(went.finish.end, End::Succeeded), "{done}: {found:?} {went:#?}");
        // What is not damaged may have gone back; what is damaged has not.
        sqlx::raw_sql(
            "delete from archive_store.segments_1;
             insert into archive_store.segments_1 select * from spare s
              where exists (select from archive_store.group_state g where g.group_id = s.group_id and g.row_count > 0)",
        )
        .execute(&mut session)
        .await
        .unwrap();
        assert_whole(&place).await;
        place.execute("update archive_store.group_state set hold_until = null").await;
        place.run(&events(json!({}))).await.succeeded();
        assert_eq!(place.ask(LIVE).await, live);
    }
}

#[tokio::test]
async fn what_the_catalogue_has_lost_or_says_wrongly_is_found() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    let mut session = place.session().await;
    for (done, words) in [
        (
            "delete from archive_store.group_state where group_id = 2",
            "the catalogue knows no group 2, of which segments hold",
        ),
        ("delete from archive_store.rule", "the catalogue knows no rule of the group 20"),
        ("delete from archive_store.batch", "the catalogue knows no batch 1, of which there are"),
        ("delete from archive_store.batch_source", "the catalogue knows no batch 1, of which there are"),
        ("update archive_store.batch_source set row_count = row_count + 1", "is not what the catalogue says of it"),
        ("update archive_store.batch_source set segments = segments - 1", "is not what the catalogue says of it"),
        ("update archive_store.batch_source set digest = sha224(digest)", "is not what the catalogue says of it"),
        ("update archive_store.segments_1 set batch = 7", "the catalogue knows no batch 7, of which there are"),
        ("update archive_store.rule set definition = '{}'", "does not say what a restore has to know"),
        (
            "update archive_store.rule set definition = jsonb_set(definition, '{tables}', '[]')",
            "does not know of public.t, of which its groups have rows",
        ),
        ("update archive_store.batch set rule_id = 55", "batch 1 and its groups in public.t are not of one rule"),
        ("update archive_store.group_state set rule_id = 55 where group_id = 2", "are not of one rule"),
        (
            "update archive_store.batch_source set batch_id = 99",
            "speaks of rows of batch 99 in segments_1, and knows no such",
        ),
        ("update archive_store.source set current = false", "has 0 present shapes of public.t in place of one"),
        ("drop view archive.all_t", "all_t\" is gone; the next archival makes it anew"),
        ("drop function archive_store.all_rows_1() cascade", "all_rows_1\"() is gone; the next archival makes it anew"),
        (
            "create or replace view archive.t as select id, at, v from archive_store.rows_1 limit 1",
            "archive.t shows 1 rows, and there are 700",
        ),
        ("drop table archive_store.segments_1 cascade", "archive_store.segments_1 is gone, and the rows in it"),
        ("drop view archive_store.rows_1 cascade", "archive_store.rows_1 is gone, so that its segments were not read"),
    ] {
        sqlx::raw_sql("begin").execute(&mut session).await.unwrap();
        sqlx::raw_sql(done).execute(&mut session).await.unwrap();
        let found = damage(&mut session).await;
        assert!(found.join("; ").contains(words), "{done}: {found:?}");
        let is_about_groups = |found: &String| found.starts_with("the group ");
        assert!(!done.contains("view") || !found.iter().any(is_about_groups), "{done}: {found:?}");
        sqlx::raw_sql("rollback").execute(&mut session).await.unwrap();
    }
    // A group that has left a batch is none of it.
    let some = place.ask("select group_key from archive_store.group_state limit 1").await;
    place.run(&restore(json!({ "groups": [some] }))).await.succeeded();
    assert_eq!(damage(&mut session).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_catalogue_that_is_damaged_is_told_by_whoever_reads_it() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    place.execute("update archive_store.rule set definition = definition - 'root'").await;
    for spec in [restore_all(), events(json!({ "older_than": "250days" }))] {
        let told = format!("{:?}", place.run(&spec).await.finish);
        assert!(told.contains("the catalogue of the archive is damaged: the rule public.t"), "{told}");
        assert_eq!(place.ask(LIVE).await, "200");
    }
}

#[tokio::test]
async fn bounds_that_would_hide_rows_from_readers_are_found() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let Some(mlflow) = mlflows(SUITE).pop() else { return };
    let place = Workplace::in_database(&cluster, mlflow.database(&cluster).await, TIMES).await;
    place.execute("select s.run('x', 'FINISHED', 200)").await;
    place.run(&archive(json!({ "preset": "mlflow" }))).await.succeeded();
    let mut session = place.session().await;
    let source = Store::new("archive").sources(&mut session, None).await.unwrap().remove(0);
    assert_eq!(verify(&mut session, None, &source, Groups::All).await.unwrap().damaged, Vec::<String>::new());
    place.execute("update archive_store.segments_1 set c1_lo = 'b', c1_hi = 'b'").await;
    let damaged = verify(&mut session, None, &source, Groups::All).await.unwrap().damaged;
    assert_eq!(damaged, ["segment 0 of batch 1 hides 5 rows from readers of a series"]);
}

#[tokio::test]
async fn batches_rest_in_between() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({ "batch_rows": 100, "pause_between": "200ms" }))).await.succeeded();
    let rest = "select bool_and(rest > '150 ms') from
        (select archived_at - lag(archived_at) over (order by batch_id) as rest from archive_store.batch) b where rest is not null";
    assert_eq!(place.ask(rest).await, "true");
    assert!(place.ask("select count(*) > 3 from archive_store.batch").await == "true");
}

#[tokio::test]
async fn a_dump_of_the_database_carries_the_archive_and_psql_alone_reads_it() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    place.run(&events(json!({}))).await.succeeded();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let file = file.to_str().unwrap();
    cluster.run_client("pg_dump", &["-Fc", "-f", file, &place.database]).await;
    let copy = cluster.create_database().await;
    cluster.run_client("pg_restore", &["--exit-on-error", "-d", &copy, file]).await;
    let mut there = cluster.connect(&copy).await;
    let mut here = place.session().await;
    for query in ["select * from archive.t", "select * from archive.all_t", "select * from archive_store.batch_source"]
    {
        assert_same(query, &binary_rows(&mut there, query).await, &binary_rows(&mut here, query).await);
    }
    // Nothing of the archive holds the table.
    let moved = archived_rows(&place).await;
    sqlx::raw_sql("drop table t").execute(&mut there).await.unwrap();
    assert_eq!(binary_rows(&mut there, "select * from archive.t").await.len().to_string(), moved);
}

#[tokio::test]
async fn a_series_with_more_rows_than_a_batch_moves_in_several() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    // All of it in one month, so in one group.
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null, v double precision);
         insert into t select i, timestamptz '2020-05-05 00:00+00' + make_interval(secs => i), random() from generate_series(1, 20000) i;
         analyze t",
    )
    .await;
    let mut session = place.session().await;
    let all = binary_rows(&mut session, "select * from t").await;
    let spec = events(json!({ "batch_rows": 1500 }));
    place.run(&spec).await.succeeded();
    assert_eq!(place.ask("select count(*) >= 13 from archive_store.batch").await, "true");
    assert_same("archived", &binary_rows(&mut session, "select * from archive.t").await, &all);
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
    place.run(&restore_all()).await.succeeded();
    assert_same("restored", &binary_rows(&mut session, "select * from t").await, &all);
}

#[tokio::test]
async fn a_full_disk_stops_the_archival_and_loses_nothing() {
    let Some(major) = one_major(SUITE) else { return };
    let Some(disk) = SmallDisk::mount("6m") else {
        return skip_suite(SUITE, "only root can mount a small disk");
    };
    let cluster = Cluster::start(&major, QUIET).await;
    // What no compression makes smaller, more of it than the archive's disk has room for.
    let place = Workplace::new(
        &cluster,
        "create table t (id int primary key, at timestamptz not null, v text);
         insert into t select i, now() - make_interval(days => 1000 - i), string_agg(md5(i || ' ' || j), '')
           from generate_series(1, 900) i, generate_series(1, 400) j group by i;
         analyze t",
    )
    .await;
    let folder = disk.path().join("space");
    std::fs::create_dir(&folder).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(cluster.folder()).unwrap());
    for path in [disk.path(), &folder] {
        std::os::unix::fs::chown(path, Some(owner), None).unwrap();
    }
    place.execute(&format!("create tablespace small location '{}'", folder.display())).await;
    place.execute("create role cramped superuser login; alter role cramped set default_tablespace = small").await;
    let mut session = place.session().await;
    let all = binary_rows(&mut session, "select * from t").await;
    let place = place.working_as("cramped");
    let spec = events(json!({ "batch_rows": 100 }));
    let went = place.run(&spec).await;
    assert_eq!(went.finish.fault, Some(Fault::DiskFull), "{went:#?}");
    let moved = archived_rows(&place).await.parse::<i64>().unwrap();
    assert!((1..700).contains(&moved), "{moved} rows had moved");
    assert_same("live and archived", &binary_rows(&mut session, "select * from archive.all_t").await, &all);
    // What is there is sound, and goes on where there is room.
    place.execute("alter role cramped reset default_tablespace").await;
    place.execute("alter table archive_store.segments_1 set tablespace pg_default").await;
    place.run(&spec).await.succeeded();
    assert_same("live and archived", &binary_rows(&mut session, "select * from archive.all_t").await, &all);
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_gone_is_none_to_archive_by() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let depot = Depot::new(&major);
    let target = TargetName::parse("target").unwrap();
    let mut outfit = Outfit { backed_up: [target].into(), ..depot.outfit() };
    // One that is no folder, which is told, and does no harm where another one has a good backup.
    let broken = RepositoryName::parse("broken").unwrap();
    outfit.repositories.0.insert(broken, Place::Folder("/dev/null".into()));
    let place = Workplace::new(&cluster, EVENTS).await.equipped(outfit);
    let refused = async |words: &str| {
        let went = place.run(&events(json!({}))).await.finish;
        assert!(format!("{went:?}").contains(words) && went.fault == Some(Fault::Statement), "{went:?}");
        assert_eq!(place.ask(LIVE).await, "900");
    };
    place.run(&depot.job(json!({}))).await.succeeded();
    let backup = depot.only().await;
    let damage = vec![Damage { path: "toc.dat".to_owned(), what: "is missing".to_owned() }];
    let verdict = Verdict { checked_at: jiff::Timestamp::now(), damage };
    depot.repository().keep_verdict(&backup.spot, &verdict).await.unwrap();
    let words = "but there is no good one of this database in the repository (broken, local; `pgupkeep backup list` tells); \
                 the repository broken cannot be read";
    refused(words).await;
    std::fs::remove_dir_all(depot.folder_of(&backup)).unwrap();
    refused("but there is no good one of this database").await;
    place.run(&depot.job(json!({}))).await.succeeded();
    place.run(&events(json!({}))).await.succeeded();
    assert_eq!(place.ask(LIVE).await, "200");
}

#[tokio::test]
async fn what_long_values_will_take_in_the_archive_is_foretold() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let wide = "create table t (id int primary key, at timestamptz not null, v text);
        insert into t select i, '2001-01-01', string_agg(md5(i || ' ' || j), '')
          from generate_series(1, 40) i, generate_series(1, 3200) j group by i";
    for analyze in ["", "; analyze t"] {
        let place = Workplace::new(&cluster, &format!("{wide}{analyze}")).await;
        let plan = place.plan(&events(json!({}))).await.join("; ");
        let (_, foretold) = plan.split_once("rows, ").unwrap();
        let (foretold, _) = foretold.split_once(']').unwrap();
        assert_eq!(foretold.matches(" MiB").count(), 2, "{plan}");
    }
}

#[tokio::test]
async fn bytes_before_and_after_are_counted_once() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let mut other = place.session().await;
    sqlx::raw_sql("begin; select from t where id = 1 for update").execute(&mut other).await.unwrap();
    let run_id = place.insert(&events(json!({}))).await;
    let measured = |went: &Went| {
        let measured = went.rows.iter().filter(|row| row.bytes_before.is_some());
        measured.map(|row| row.step.clone()).collect::<Vec<_>>()
    };
    // Neither VACUUM and REINDEX within it, nor the next attempt.
    let went = place.attempt(run_id, never()).await;
    assert_eq!(measured(&went), ["measure public.t and the archive"]);
    assert_eq!(went.finish.end, End::Partial);
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    let went = place.attempt(run_id, never()).await.succeeded();
    assert_eq!(went.rows.iter().filter(|row| row.step.starts_with("measure")).count(), 2);
    assert_eq!(measured(&went).len(), 1);
}

#[tokio::test]
async fn a_lock_on_the_whole_table_is_told_with_its_holder_by_the_plan_already() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let mut other = place.session().await;
    sqlx::raw_sql("begin; lock table t in access exclusive mode").execute(&mut other).await.unwrap();
    for with in [json!({}), json!({ "where": "id < 10" })] {
        let went = place.run(&events(with)).await.finish;
        let told = format!("{went:?}");
        assert!(told.contains("since a table is locked") && told.contains("AccessExclusiveLock"), "{told}");
        assert_eq!(went.fault, Some(Fault::Locked));
    }
}

#[tokio::test]
async fn where_a_backup_job_is_configured_nothing_moves_without_a_young_backup() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let target = TargetName::parse("target").unwrap();
    let outfit = Outfit { backed_up: [target].into(), ..Outfit::default() };
    let place = Workplace::new(&cluster, EVENTS).await.equipped(outfit);
    let refused = async |words: &str| {
        // A plan shows what would move all the same: in a sequence the backup comes first.
        assert_ne!(place.plan(&events(json!({}))).await, Vec::<String>::new());
        let told = format!("{:?}", place.run(&events(json!({}))).await.finish);
        assert!(told.contains(words) && told.contains("require_backup"), "{told}");
        assert_eq!(place.ask(LIVE).await, "900");
    };
    refused("the backup job of target has not worked yet").await;
    let backed_up = |outcome: &str, ago: &str| {
        format!(
            "insert into pgupkeep.run (run_id, job, kind, target, trigger, due_at, eligible_at, spec, exclusive_keys, state,
               outcome, attempts, started_at, finished_at)
             select gen_random_uuid(), 'b', 'backup', 'target', 'manual', t, t, '{{}}', '{{}}', 'finished', '{outcome}', 1, t, t
               from (select now() - interval '{ago}' as t) s"
        )
    };
    cluster.execute(&place.control, &backed_up("failed", "1 hour")).await;
    refused("no backup of target has succeeded").await;
    cluster.execute(&place.control, &backed_up("succeeded", "2 days")).await;
    refused("the newest good backup of target is 2days").await;
    // One inside a sequence counts once its turn is done, whatever became of the sequence.
    let in_sequence = |outcome: &str| {
        format!(
            "with r as (
               insert into pgupkeep.run (run_id, job, kind, target, trigger, due_at, eligible_at, spec, exclusive_keys, state,
                 outcome, attempts, started_at, finished_at)
               select gen_random_uuid(), 'full', 'sequence', 'target', 'manual', now(), now(),
                      '{{\"inner\": [{{\"name\": \"it''s (b)\", \"kind\": \"backup\"}}]}}', '{{}}', 'finished', 'failed', 1, now(), now()
               returning run_id),
             a as (insert into pgupkeep.attempt (run_id, attempt, daemon_id, lease_token)
               select run_id, 1, gen_random_uuid(), gen_random_uuid() from r returning run_id)
             insert into pgupkeep.step (run_id, attempt, job, step, sent_at, finished_at, outcome)
             select run_id, 1, 'full', 'it''s (b) (1 of 2)', now(), now(), '{outcome}' from a"
        )
    };
    cluster.execute(&place.control, &in_sequence("not_done")).await;
    refused("the newest good backup of target is 2days").await;
    cluster.execute(&place.control, &in_sequence("done")).await;
    place.run(&events(json!({}))).await.succeeded();
    assert_whole(&place).await;
}
