//! One server: what is dumped, what is left out, what is removed.

use pgupkeep::jobs::drive::End;
use pgupkeep::repository::catalogue::Standing;
use serde_json::json;

use super::depot::{Depot, counted};
use crate::jobs::workplace::Workplace;
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
    assert_eq!(depot.check(&entry).await, []);
    assert_eq!(depot.leftovers(), Vec::<std::path::PathBuf>::new());
    let row = went.row(&format!("dump database {}", place.database));
    let statement = row.statement.as_deref().unwrap();
    assert!(statement.starts_with("pg_dump --format=directory"), "{statement}");
    assert_eq!(row.rows_affected, Some(4321));
    assert!(row.bytes_after.unwrap() > 0, "{row:#?}");
    assert_eq!(went.finish.end, End::Succeeded);
    assert_eq!(entry.standing, Standing::Good);
}
