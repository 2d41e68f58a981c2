//! Tools that misbehave, disks that are full, servers that go away: nothing of it is ever listed as good.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgupkeep::fault::Fault;
use pgupkeep::jobs::drive::End;
use pgupkeep::policy::gate::Stop;
use pgupkeep::repository::catalogue::Standing;
use serde_json::json;
use tokio::sync::watch;

use super::depot::Depot;
use crate::jobs::workplace::{Workplace, never};
use crate::support::{Cluster, MOMENT, Major, SmallDisk, StopMode, one_major, wait_until, with_libraries, write_tool};

const SUITE: &str = "jobs::backup faults";

/// A `pg_dump` that tells its version like the real one, and does something else than to dump.
fn fake(depot: &Depot, major: &Major, lines: &str) {
    let real = major.program("pg_dump");
    let version = with_libraries(major, &format!("exec \"{}\" --version", real.display()));
    write_tool(depot.tools(), "pg_dump", &format!("if [ \"$1\" = --version ]; then\n{version}\nfi\n{lines}"));
}

/// The lines that find the folder which `pg_dump` is to write.
const FOLDER: &str = "for word in \"$@\"; do case $word in --file=*) folder=${word#--file=};; esac; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_fails_in_whatever_way_leaves_no_backup() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let place = Workplace::new(&cluster, "create table t as select generate_series(1, 100)").await;
    let depot = Depot::new(&major);
    let place = place.equipped(depot.outfit());
    let spec = depot.job(json!({ "exclude": [place.control, "postgres"] }));
    let real = with_libraries(&major, &format!("\"{}\" \"$@\" || exit", major.program("pg_dump").display()));
    let ways = [
        ("ends well and writes nothing", "exit 0".to_owned(), "its table of contents is empty"),
        ("makes an empty folder", format!("{FOLDER}\nmkdir -p \"$folder\"; : >\"$folder/toc.dat\""), "is empty"),
        (
            "writes something and fails",
            format!("{FOLDER}\nmkdir -p \"$folder\"; echo x >\"$folder/toc.dat\"; echo Oh no >&2; exit 1"),
            "Oh no",
        ),
        (
            "writes nonsense",
            format!("{FOLDER}\nmkdir -p \"$folder\"; echo nonsense >\"$folder/toc.dat\""),
            "cannot be read",
        ),
        (
            "cuts a data file",
            format!("{FOLDER}\n{real}\nfor f in \"$folder\"/[0-9]*; do truncate -s -7 \"$f\"; done"),
            if major.number >= 16 { "cannot be read" } else { "" },
        ),
        (
            "empties a data file",
            format!("{FOLDER}\n{real}\nfor f in \"$folder\"/[0-9]*; do : >\"$f\"; done"),
            "is empty",
        ),
        ("is killed", "kill -KILL $$".to_owned(), "killed by signal 9"),
        (
            "fills the disk",
            "echo 'pg_dump: error: could not write: No space left on device' >&2; exit 1".to_owned(),
            "No space left",
        ),
    ];
    for (way, lines, words) in ways {
        fake(&depot, &major, &lines);
        let went = place.run(&spec).await;
        assert!(matches!(went.finish.end, End::Failed | End::Partial), "{way}: {went:#?}");
        let error = went.finish.problems.join("\n");
        assert!(error.contains(words), "{way}: {error}");
        assert_eq!(depot.good().await, [], "{way}");
        assert_eq!(depot.entries().await, [], "{way}");
        assert_eq!(depot.leftovers(), Vec::<PathBuf>::new(), "{way}");
    }
    write_tool(
        depot.tools(),
        "pg_dump",
        &with_libraries(&major, &format!("exec \"{}\" \"$@\"", major.program("pg_dump").display())),
    );
    place.run(&spec).await.succeeded();
    depot.only().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_hangs_is_ended_by_the_order_to_stop_with_all_that_it_has_started() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let mark = depot.tools().join("hangs");
    // It heeds no SIGTERM, and has a child.
    let lines =
        format!("trap '' TERM\nsleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait; sleep 1000", mark.display());
    fake(&depot, &major, &lines);
    let (order, orders) = watch::channel(None);
    let spec = depot.job(json!({}));
    let run_id = place.insert(&spec).await;
    let stop = async {
        let child = wait_until("it hangs", MOMENT, async || std::fs::read_to_string(&mark).ok()).await;
        order.send_replace(Some(Stop::Cancelled { by: "a test".to_owned() }));
        child.trim().to_owned()
    };
    let (went, child) = tokio::join!(place.attempt(run_id, orders), stop);
    assert!(matches!(went.finish.end, End::Stopped(Stop::Cancelled { .. })), "{went:#?}");
    wait_until("its child is gone", MOMENT, async || is_gone(&child).then_some(())).await;
    assert_eq!(depot.entries().await, []);
    assert_eq!(depot.leftovers(), Vec::<PathBuf>::new());
}

/// Whether a process is gone, or dead and only not yet waited for.
fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_dump_that_is_cancelled_leaves_no_session_on_the_server() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let mut holder = place.session().await;
    sqlx::raw_sql("begin; lock table t in access exclusive mode").execute(&mut holder).await.unwrap();
    let (order, orders) = watch::channel(None);
    let run_id = place.insert(&depot.job(json!({ "lock_wait": "10m" }))).await;
    let stop = async {
        place.wait_for_statement("LOCK TABLE").await;
        order.send_replace(Some(Stop::TimedOut));
    };
    let (went, ()) = tokio::join!(place.attempt(run_id, orders), stop);
    assert_eq!(went.finish.end, End::Stopped(Stop::TimedOut), "{went:#?}");
    let sessions = "select count(*) = 0 from pg_stat_activity where application_name like 'pgupkeep/%-%'";
    place.wait_for(sessions).await;
    assert_eq!(depot.entries().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_in_mid_dump_leaves_no_backup_and_the_next_attempt_makes_one() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &["fsync = on", "synchronous_commit = on"]).await;
    let depot = Depot::new(&major);
    for mode in [StopMode::Immediate, StopMode::Fast] {
        let place = Workplace::new(&cluster, "create table t as select generate_series(1, 1000)").await;
        let place = place.equipped(depot.outfit());
        // Held up by a lock, so that the restart is in the middle for certain.
        let mut holder = place.session().await;
        sqlx::raw_sql("begin; lock table t in access exclusive mode").execute(&mut holder).await.unwrap();
        let before = depot.good().await.len();
        let run_id = place.insert(&depot.job(json!({ "lock_wait": "10m" }))).await;
        let restart = async {
            place.wait_for_statement("LOCK TABLE").await;
            cluster.restart(mode).await;
        };
        let (went, ()) = tokio::join!(place.attempt(run_id, never()), restart);
        assert_eq!(went.finish.end, End::Failed, "{went:#?}");
        assert_eq!(went.finish.fault, Some(Fault::Unreachable), "{went:#?}");
        assert_eq!(depot.entries().await.len(), before);
        assert_eq!(depot.leftovers(), Vec::<PathBuf>::new());
        place.attempt(run_id, never()).await.succeeded();
        assert_eq!(depot.good().await.len(), before + 1);
    }
}

const INCOMPRESSIBLE: &str = "create table t (a bytea); alter table t alter a set storage external;
    insert into t select decode(string_agg(md5(random()::text), ''), 'hex')
      from generate_series(1, 65536) i group by i % 16";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_backup_and_recovers_when_old_ones_may_go() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    // One megabyte that no compression makes smaller.
    let place = Workplace::new(&cluster, INCOMPRESSIBLE).await;
    let depot = match SmallDisk::mount("5m") {
        Some(disk) => {
            let folder = disk.path().to_owned();
            Depot::new(&major).on(&folder, disk)
        }
        None => return a_file_size_limit(place, &major).await,
    };
    let place = place.equipped(depot.outfit());
    let spec = |with| depot.job(with);
    place.run(&spec(json!({}))).await.succeeded();
    // Until the disk is full, backups pile up; then one is refused before it begins, or fails in the middle.
    let mut went = place.run(&spec(json!({}))).await;
    while went.finish.end == End::Succeeded {
        went = place.run(&spec(json!({}))).await;
    }
    assert_eq!(went.finish.fault, Some(Fault::DiskFull), "{went:#?}");
    assert_eq!(depot.leftovers(), Vec::<PathBuf>::new());
    // The last one may hold what was small enough, and says what is missing.
    let left = depot.entries().await;
    assert!(left.iter().all(|it| matches!(it.standing, Standing::Good | Standing::Incomplete)), "{left:#?}");
    for entry in &left {
        assert_eq!(depot.check(entry).await, []);
    }
    // With something to let go, the next one makes room first.
    place.run(&spec(json!({ "keep": { "daily": 1 } }))).await.succeeded();
    assert_eq!(depot.good().await.len(), 1);
    // In the middle: the room is there when it begins, and is gone while the dump works.
    let filler = depot.root().join("filler");
    let eat = format!("head -c 10m /dev/zero >{} 2>/dev/null", filler.display());
    let real = with_libraries(&major, &format!("exec \"{}\" \"$@\"", major.program("pg_dump").display()));
    fake(&depot, &major, &format!("{eat}\n{real}"));
    let before = depot.entries().await.len();
    let went = place.run(&spec(json!({}))).await;
    assert_eq!((&went.finish.end, went.finish.fault), (&End::Failed, Some(Fault::DiskFull)), "{went:#?}");
    std::fs::remove_file(filler).unwrap();
    assert_eq!((depot.good().await.len(), depot.entries().await.len()), (1, before));
}

/// Where no small disk can be had, files of more than half a megabyte cannot be written.
async fn a_file_size_limit(place: Workplace<'_>, major: &Major) {
    let depot = Depot::new(major);
    let place = place.equipped(depot.outfit());
    let real = with_libraries(
        major,
        &format!("trap '' XFSZ; ulimit -f 512; exec \"{}\" \"$@\"", major.program("pg_dump").display()),
    );
    fake(&depot, major, &real);
    let went = place.run(&depot.job(json!({}))).await;
    assert_eq!((&went.finish.end, went.finish.fault), (&End::Partial, Some(Fault::DiskFull)), "{went:#?}");
    // What is smaller was dumped all the same, and what is missing is named.
    let entries = depot.entries().await;
    let [entry] = entries.as_slice() else { panic!("not one backup: {entries:#?}") };
    let manifest = entry.manifest.as_ref().unwrap();
    let missing: Vec<_> = manifest.missing.iter().filter_map(|missing| missing.database.as_deref()).collect();
    assert_eq!((manifest.complete, missing), (false, vec![place.database.as_str()]));
    assert_eq!(depot.leftovers(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_another_version_are_refused_with_the_places_that_were_looked_at() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "select").await.equipped(depot.outfit());
    write_tool(depot.tools(), "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'");
    let went = place.run(&depot.job(json!({}))).await;
    assert_eq!((&went.finish.end, went.finish.fault), (&End::Failed, Some(Fault::Statement)));
    let error = went.finish.error().unwrap();
    let shown = |path: &Path| path.display().to_string();
    assert!(error.contains(&format!("{} has pg_dump (PostgreSQL) 9.6.24", shown(depot.tools()))), "{error}");
    assert!(error.contains(&format!("install postgresql-client-{}", major.number)), "{error}");
    // A tool that cannot be executed is none.
    std::fs::set_permissions(depot.tools().join("pg_dump"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let went = place.run(&depot.job(json!({}))).await;
    assert_eq!(went.finish.end, End::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_whose_disk_is_not_mounted_is_not_made_anew() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let elsewhere = depot.root().join("not/there");
    let name = pgupkeep::names::RepositoryName::parse("local").unwrap();
    let repositories =
        pgupkeep::repository::Repositories([(name, pgupkeep::repository::Place::Folder(elsewhere))].into());
    let outfit = pgupkeep::jobs::outfit::Outfit { repositories, ..depot.outfit() };
    let place = Workplace::new(&cluster, "select").await.equipped(outfit);
    let went = place.run(&depot.job(json!({}))).await;
    assert_eq!(went.finish.end, End::Failed);
    assert!(went.finish.error().unwrap().contains("see that its disk is mounted"), "{went:#?}");
    assert!(!depot.root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_of_one_server_take_turns() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let server = place.ask("(select system_identifier from pg_control_system())").await;
    std::fs::create_dir(depot.root()).unwrap();
    let turn = depot.repository().try_turn(&server).unwrap().expect("nobody else has it");
    assert!(depot.repository().try_turn(&server).unwrap().is_none());
    let run_id = place.insert(&depot.job(json!({}))).await;
    let mut waiting = Box::pin(place.attempt(run_id, never()));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "it did not wait: {early:#?}");
    drop(turn);
    waiting.await.succeeded();
}
