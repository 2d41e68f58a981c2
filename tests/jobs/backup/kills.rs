//! A pgupkeep that is killed at any moment leaves nothing that is listed as good and is not, and no process behind.

use std::process::Stdio;
use std::time::Duration;

use pgupkeep::repository::catalogue::Standing;
use uuid::Uuid;

use super::depot::Depot;
use crate::jobs::workplace::Workplace;
use crate::support::{Cluster, ConfigFile, binary, one_major, rounds, wait_until};

const SUITE: &str = "jobs::backup kills";

/// What the operating system knows of processes that have this text in their arguments.
fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(text) {
            found.push(format!("{}: {arguments}", entry.file_name().display()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_nothing_bad_is_listed_as_good_and_nothing_runs_on() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let sql = "create table t as select i, md5(i::text) from generate_series(1, 200000) i";
    let place = Workplace::new(&cluster, sql).await.equipped(depot.outfit());
    let url = cluster.url(&place.database);
    let config = ConfigFile::new(&format!(
        "version: 1\ntargets: {{ a: {{ url: \"{url}\" }} }}\ndefaults: {{ lease: 1s }}\n\
         repositories: {{ local: {{ url: \"file://{}\" }} }}\n\
         jobs: {{ backup: {{ kind: backup, with: {{ keep: {{ daily: 1 }}, tools: \"{}\" }} }} }}\n",
        depot.root().display(),
        depot.tools().display()
    ));
    let begin = || {
        let mut command = binary(&[]);
        command.arg("--config").arg(config.path()).args(["run", "backup", "--local"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().unwrap()
    };
    // A whole one first: how long it takes, and something to be kept.
    let began = std::time::Instant::now();
    assert!(begin().wait().await.unwrap().success());
    let whole = began.elapsed();
    let first = depot.only().await;
    for round in 0..rounds(3, 30) {
        let mut child = begin();
        let share = f64::from(u32::try_from(Uuid::new_v4().as_u128() % 1000).unwrap()) / 1000.0;
        let moment = whole.mul_f64(share);
        // The moment is what is random here, and nothing is waited for.
        let ended = tokio::time::timeout(moment, child.wait()).await;
        child.kill().await.unwrap();
        let told = format!("round {round}, killed after {moment:?} of {whole:?}, {ended:?}");
        let repository = depot.root().display().to_string();
        wait_until(&format!("no tool runs on: {told}"), Duration::from_secs(10), async || {
            processes(&repository).is_empty().then_some(())
        })
        .await;
        place.wait_for("select count(*) = 0 from pg_stat_activity where application_name like 'pgupkeep/%-%-%'").await;
        for entry in depot.entries().await {
            match entry.standing {
                Standing::Good => assert_eq!(depot.check(&entry).await, [], "{told}"),
                Standing::Unfinished => {}
                ref other => panic!("{told}: {other:?}"),
            }
        }
        assert!(!depot.good().await.is_empty(), "{told}");
    }
    // A folder without a lease, of one killed just before it took it or just after it gave it back, has to lie still first.
    for folder in depot.leftovers() {
        let long_ago = std::time::SystemTime::now() - Duration::from_hours(48);
        std::fs::File::open(&folder).unwrap().set_modified(long_ago).unwrap();
    }
    // Whoever comes next sweeps what is left, and makes a whole one.
    wait_until("a whole one", Duration::from_mins(3), async || begin().wait().await.unwrap().success().then_some(()))
        .await;
    let entry = depot.only().await;
    assert_ne!(entry.spot, first.spot);
    assert_eq!(depot.check(&entry).await, []);
    assert!(depot.leftovers().is_empty(), "{:?}", depot.leftovers());
    let row = place.ask("select count(*) from pgupkeep.step where outcome is null").await;
    assert_eq!(row, "0");
}
