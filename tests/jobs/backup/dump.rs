//! One server: what is dumped, what is left out, what is removed.

use std::path::PathBuf;
use std::time::Duration;

use pgupkeep::jobs::backup::newest_good;
use pgupkeep::jobs::drive::End;
use pgupkeep::names::TargetName;
use pgupkeep::repository::catalogue::Standing;
use pgupkeep::repository::manifest::{Compression, Passwords};
use serde_json::json;

use super::depot::{Depot, counted, counts, restore};
use crate::jobs::workplace::{Workplace, never};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::backup";

#[tokio::test(flavor = "multi_thread")]
async fn every_database_and_the_globals_are_dumped_read_back_and_published() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int); insert into t select generate_series(1, 4321)")
        .await
        .equipped(depot.outfit());
    let spec = depot.job(json!({ "keep": { "daily": 2 } }));
    let planned = place.plan(&spec).await;
    let names = [place.database.as_str(), place.control.as_str(), "postgres"];
    assert_eq!(planned.len(), 3 + names.len(), "{planned:#?}");
    assert!(!depot.root().exists(), "a plan changes nothing");
    let went = place.run(&spec).await.succeeded();
    let entry = depot.only().await;
    let manifest = entry.manifest.as_ref().unwrap();
    let mut dumped: Vec<&str> = manifest.databases.iter().map(|database| database.name.as_str()).collect();
    dumped.sort_unstable();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(dumped, expected);
    assert_eq!(counted(manifest, &place.database), [("public.t".to_owned(), 4321)].into());
    assert_eq!(manifest.globals.as_ref().unwrap().passwords, Passwords::Included);
    let packed = if major.number >= 16 { Compression::PgDumpZstd } else { Compression::FileZstd };
    assert!(manifest.databases.iter().all(|database| database.compression == packed), "{manifest:#?}");
    assert_eq!(depot.check(&entry).await, []);
    assert_eq!(depot.leftovers(), Vec::<PathBuf>::new());
    let row = went.row(&format!("dump database {}", place.database));
    let statement = row.statement.as_deref().unwrap();
    assert!(statement.starts_with("pg_dump --format=directory"), "{statement}");
    assert_eq!(row.rows_affected, Some(4321));
    assert!(row.bytes_after.unwrap() > 0, "{row:#?}");
    // Only whoever made it may read it.
    let mode = |path: PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(depot.root()), mode(depot.folder_of(&entry))), (0o700, 0o700));
    // Twice: the second is a backup of its own.
    place.run(&spec).await.succeeded();
    assert_eq!(depot.good().await.len(), 1, "of one day the newest is kept");
    assert_ne!(depot.only().await.spot, entry.spot);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_may_be_called_anything() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let longest = "x".repeat(63);
    let names = ["we\"ird; drop", "a='b' host=nowhere", "postgresql://nowhere/x", "../../etc", "Größe\\日本", &longest];
    for (nth, name) in names.iter().enumerate() {
        let quoted = name.replace('"', "\"\"");
        cluster.execute("postgres", &format!("create database \"{quoted}\"")).await;
        let mut session = connect(&cluster, name).await;
        let sql = format!("create table \"t;\"\"x\" as select generate_series(1, {})", nth + 10);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
    }
    let place = Workplace::new(&cluster, "select").await.equipped(depot.outfit());
    place.run(&depot.job(json!({}))).await.succeeded();
    let entry = depot.only().await;
    let manifest = entry.manifest.as_ref().unwrap();
    let empty = Cluster::start(&major, &[]).await;
    restore(&depot.folder_of(&entry), manifest, &empty).await;
    for (nth, name) in names.iter().enumerate() {
        let expected = [("public.t;\"x".to_owned(), i64::try_from(nth).unwrap() + 10)].into();
        assert_eq!(counted(manifest, name), expected, "{name}");
        assert_eq!(counts(&empty, name).await, expected, "{name}");
    }
}

async fn connect(cluster: &Cluster, database: &str) -> sqlx::PgConnection {
    use sqlx::ConnectOptions;
    let options: sqlx::postgres::PgConnectOptions = cluster.url("postgres").parse().unwrap();
    options.database(database).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_database_makes_the_run_partial_and_does_not_stop_the_others() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t as select generate_series(1, 10)").await;
    place.execute("create role keeper login; grant pg_read_all_data to keeper").await;
    let closed = cluster.create_database().await;
    cluster.execute("postgres", &format!("revoke connect on database {closed} from public")).await;
    let place = place.equipped(depot.outfit()).working_as("keeper");
    let spec = depot.job(json!({ "keep": { "daily": 1 } }));
    let went = place.run(&spec).await;
    assert_eq!(went.finish.end, End::Partial, "{went:#?}");
    let row = went.row(&format!("dump database {closed}"));
    assert_eq!(row.outcome.as_deref(), Some("not_done"), "{row:#?}");
    let error = went.finish.error().unwrap();
    assert!(error.contains(&format!("GRANT CONNECT ON DATABASE \"{closed}\" TO \"keeper\"")), "{error}");
    let entries = depot.entries().await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].standing, Standing::Incomplete);
    let manifest = entries[0].manifest.as_ref().unwrap();
    assert_eq!(manifest.missing[0].database.as_deref(), Some(closed.as_str()));
    assert_eq!(counted(manifest, &place.database), [("public.t".to_owned(), 10)].into());
    // pg_read_all_data is enough for password hashes, too.
    assert_eq!(manifest.globals.as_ref().unwrap().passwords, Passwords::Included);
    // Left out by name, it is missed no more; and the incomplete one goes, since a complete one is newer.
    let spec = depot.job(json!({ "keep": { "daily": 1 }, "exclude": [closed] }));
    place.run(&spec).await.succeeded();
    depot.only().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_role_may_not_read_is_reported_with_the_grant_that_helps() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create role plain login; create table secret (id int)").await;
    let place = place.equipped(depot.outfit()).working_as("plain");
    let spec = depot.job(json!({ "exclude": [place.control] }));
    let went = place.run(&spec).await;
    assert_eq!(went.finish.end, End::Partial, "{went:#?}");
    let row = went.row(&format!("dump database {}", place.database));
    assert_eq!(row.outcome.as_deref(), Some("failed"), "{row:#?}");
    let error = row.error.as_deref().unwrap();
    assert!(error.contains("permission denied") && error.contains("GRANT pg_read_all_data TO \"plain\""), "{error}");
    // Password hashes may not be read either; the rest of the globals can be.
    let entry = &depot.entries().await[0];
    assert_eq!(entry.manifest.as_ref().unwrap().globals.as_ref().unwrap().passwords, Passwords::LeftOut);
    let row = went.row("dump globals");
    assert_eq!(row.detail.as_ref().unwrap()["passwords"], "left_out");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_right_to_read_covers_is_reported_with_the_statement_that_helps() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let sql = "create role plain login; grant pg_read_all_data to plain; create table hidden (id int);
               alter table hidden enable row level security";
    let place = Workplace::new(&cluster, sql).await.equipped(depot.outfit()).working_as("plain");
    let spec = depot.job(json!({ "exclude": [place.control] }));
    // One after the other: workers of pg_dump meet them in any order.
    for (sql, statement) in [
        ("select 1", "ALTER ROLE \"plain\" BYPASSRLS"),
        ("select lo_from_bytea(4711, 'x')", "GRANT SELECT ON LARGE OBJECT 4711 TO \"plain\""),
    ] {
        place.execute(sql).await;
        let went = place.run(&spec).await;
        assert_eq!(went.finish.end, End::Partial, "{went:#?}");
        let error = went.finish.error().unwrap();
        assert!(error.contains(statement) && !error.contains("GRANT pg_read_all_data"), "{error}");
        place.execute(statement).await;
    }
    place.run(&spec).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_waited_for_within_bounds_and_then_reported() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let mut holder = place.session().await;
    sqlx::raw_sql("begin; lock table t in access exclusive mode").execute(&mut holder).await.unwrap();
    let went = place.run(&depot.job(json!({ "lock_wait": "300ms" }))).await;
    assert_eq!(went.finish.end, End::Partial, "{went:#?}");
    assert_eq!(went.finish.fault, Some(pgupkeep::fault::Fault::Locked), "{went:#?}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    place.run(&depot.job(json!({ "lock_wait": "300ms" }))).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_counted_in_time_is_estimated_and_marked_so() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t as select generate_series(1, 1000) id").await;
    place.execute("analyze t").await;
    let place = place.equipped(depot.outfit());
    place.run(&depot.job(json!({ "count_within": 0 }))).await.succeeded();
    let manifest = depot.only().await.manifest.unwrap();
    let database = manifest.databases.iter().find(|known| known.name == place.database).unwrap();
    let [table] = database.tables.as_slice() else { panic!("{database:#?}") };
    assert_eq!((table.rows, table.counted), (1000, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_dumped_once_for_a_firing_however_many_targets_it_has() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let spec = depot.job(json!({}));
    // Two targets on one server, and a run for each that fell due at the same time.
    let first = place.insert(&spec).await;
    let other = TargetName::parse("other").unwrap();
    let second = place.ledger.insert_manual_run(&spec, &other).await.unwrap();
    let went = place.attempt(first, never()).await.succeeded();
    assert!(went.finish.done > 2);
    let went = place.attempt_for(&other, second, never()).await.succeeded();
    assert_eq!((went.finish.done, went.finish.planned), (0, 0), "{went:#?}");
    assert_eq!(depot.good().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_may_ask_for_the_newest_good_backup_of_their_target() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let ask = async || {
        let mut cx = place.context(&depot.job(json!({}))).await;
        let newest = newest_good(&mut cx, "local").await.unwrap();
        cx.session.close().await;
        newest
    };
    assert_eq!(ask().await, None);
    place.run(&depot.job(json!({}))).await.succeeded();
    let (good, age) = ask().await.expect("a good backup");
    assert_eq!(good.id, depot.only().await.spot.id);
    assert!(age > Duration::ZERO && age < Duration::from_mins(10), "{age:?}");
    // What a check has found damaged does not count.
    let entry = depot.only().await;
    std::fs::write(depot.folder_of(&entry).join("globals.sql"), "-- nothing\n").unwrap();
    let damage = depot.check(&entry).await;
    assert_eq!(damage.len(), 1);
    let checked_at = entry.manifest.as_ref().unwrap().completed_at;
    let verdict = pgupkeep::repository::check::Verdict { checked_at, damage };
    depot.repository().keep_verdict(&entry.spot, &verdict).await.unwrap();
    assert_eq!(ask().await, None);
}
