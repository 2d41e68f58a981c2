//! No password in the arguments of any process while a dump works, nor in what is left on record.

use std::collections::BTreeSet;
use std::time::Duration;

use super::depot::Depot;
use crate::jobs::workplace::Workplace;
use crate::support::{Cluster, ConfigFile, MOMENT, one_major, pgupkeep, wait_until};

const SUITE: &str = "jobs::backup secrets";
const CANARY: &str = "c4nary-of-a-backup";

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_the_arguments_of_any_process_while_a_dump_works() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await;
    place.execute(&format!("create role keeper superuser login password '{CANARY}'")).await;
    let hba = cluster.data().join("pg_hba.conf");
    std::fs::write(&hba, "host all postgres all trust\nhost all keeper all scram-sha-256\n").unwrap();
    place.execute("select pg_reload_conf()").await;
    let config = ConfigFile::new(&format!(
        "version: 1\ntargets: {{ a: {{ url: \"postgres://keeper:{CANARY}@{}/{}?sslmode=disable\" }} }}\n\
         repositories: {{ local: {{ url: \"file://{}\" }} }}\n\
         jobs: {{ backup: {{ kind: backup, with: {{ tools: \"{}\", lock_wait: 5m }} }} }}\n",
        cluster.address(),
        place.database,
        depot.root().display(),
        depot.tools().display()
    ));
    // Held up, so that the dump can be looked at for certain.
    let mut holder = place.session().await;
    sqlx::raw_sql("begin; lock table t in access exclusive mode").execute(&mut holder).await.unwrap();
    let look = async {
        place.wait_for_statement("LOCK TABLE").await;
        let mut seen = BTreeSet::new();
        wait_until("the tool is seen", MOMENT, async || {
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                seen.insert(String::from_utf8_lossy(&arguments).replace('\0', " "));
            }
            let repository = depot.root().display().to_string();
            seen.iter().any(|line| line.contains("--format=directory") && line.contains(&repository)).then_some(())
        })
        .await;
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
        seen
    };
    let path = config.path();
    let run = pgupkeep(&path, &["run", "backup", "--local"], &[]);
    let (said, seen) = tokio::join!(tokio::time::timeout(Duration::from_mins(5), run), look);
    let said = said.expect("it ends");
    assert_eq!(said.code, Some(0), "{said:?}");
    let told: Vec<&String> = seen.iter().filter(|line| line.contains(CANARY)).collect();
    assert!(told.is_empty(), "{told:?}");
    assert!(!format!("{said:?}").contains(CANARY));
    // The role that was made here works on the target, whose ledger it is as well.
    for table in ["step", "run", "attempt"] {
        let sql = format!("select count(*) from pgupkeep.{table} t where t::text like '%{CANARY}%'");
        assert_eq!(place.ask(&sql).await, "0", "{table}");
    }
    let entry = depot.only().await;
    let manifest = std::fs::read_to_string(depot.folder_of(&entry).join("manifest.json")).unwrap();
    assert!(!manifest.contains(CANARY));
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| entry.path().join("pgpass").is_file())
        .filter(|entry| std::fs::read_to_string(entry.path().join("pgpass")).is_ok_and(|text| text.contains(CANARY)))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
