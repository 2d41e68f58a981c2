//! Whatever happens to a good backup later is found, and named.

use std::fs;
use std::path::{Path, PathBuf};

use pgupkeep::repository::catalogue::Standing;
use serde_json::json;

use super::depot::Depot;
use crate::cli::documents::assert_documented;
use crate::jobs::workplace::Workplace;
use crate::support::{Cluster, ConfigFile, Said, one_major, pgupkeep};

const SUITE: &str = "jobs::backup damage";

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_a_cut_or_a_missing_file_is_found_by_verify_and_named() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let sql = "create table t as select i, md5(i::text) from generate_series(1, 3000) i; select lo_from_bytea(0, 'x')";
    let place = Workplace::new(&cluster, sql).await.equipped(depot.outfit());
    let spec = depot.job(json!({ "keep": { "daily": 1 } }));
    place.run(&spec).await.succeeded();
    let entry = depot.only().await;
    let folder = depot.folder_of(&entry);
    // The server is not needed for any of this.
    let config = ConfigFile::new(&format!(
        "version: 1\ntargets: {{ a: {{ url: \"postgres://nowhere.invalid/x\" }} }}\n\
         repositories: {{ local: {{ url: \"file://{}\" }} }}\n\
         jobs: {{ backup: {{ kind: backup, with: {{ keep: {{ daily: 1 }} }} }} }}\n",
        depot.root().display()
    ));
    let verify = async |ids: &[&str]| {
        let arguments = [&["backup", "verify"], ids].concat();
        let said: Said = pgupkeep(&config.path(), &arguments, &[]).await;
        said
    };
    let said = verify(&[]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let files = files_below(&folder).into_iter().filter(|path| !path.ends_with("verdict.json")).collect::<Vec<_>>();
    assert!(files.len() > 8, "{files:?}");
    for path in files {
        let (whole, name) = (fs::read(&path).unwrap(), path.strip_prefix(&folder).unwrap().to_str().unwrap());
        let middle = whole.len() / 2;
        let mut flipped = whole.clone();
        if let Some(byte) = flipped.get_mut(middle) {
            *byte ^= 0x10;
        }
        let damages: [(&str, Option<&[u8]>); 3] =
            [("flipped", Some(&flipped)), ("cut", Some(&whole[..middle])), ("missing", None)];
        for (what, bytes) in damages {
            match bytes {
                // Some files of a dump are empty.
                Some(bytes) if bytes == whole => continue,
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let said = verify(&[&entry.spot.id.as_str()[..16]]).await;
            assert_eq!(said.code, Some(1), "{name} {what}: {said:?}");
            assert!(
                said.stdout.contains(entry.spot.id.as_str()) && said.stdout.contains(&format!("  {name}: ")),
                "{said:?}"
            );
            assert_eq!(depot.good().await, [], "{name} {what}");
            fs::write(&path, &whole).unwrap();
            let said = verify(&[]).await;
            assert_eq!(said.code, Some(0), "{name} is as it was: {said:?}");
        }
    }
    assert_eq!(depot.good().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_neither_counted_on_nor_removed_and_the_last_good_one_stays() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, "create table t (id int)").await.equipped(depot.outfit());
    let keep = depot.job(json!({ "keep": { "daily": 1 } }));
    place.run(&depot.job(json!({}))).await.succeeded();
    let first = depot.only().await;
    place.run(&depot.job(json!({}))).await.succeeded();
    let second = depot.entries().await.into_iter().find(|entry| entry.spot != first.spot).unwrap();
    let config = ConfigFile::new(&format!(
        "version: 1\ntargets: {{ a: {{ url: \"postgres://nowhere.invalid/x\" }} }}\n\
         repositories: {{ local: {{ url: \"file://{}\" }} }}\n\
         jobs: {{ backup: {{ kind: backup, with: {{ keep: {{ daily: 1 }} }} }} }}\n",
        depot.root().display()
    ));
    let ask = async |arguments: &[&str]| pgupkeep(&config.path(), arguments, &[]).await;
    fs::remove_file(depot.folder_of(&second).join("globals.sql")).unwrap();
    let said = ask(&["backup", "verify", "--json"]).await;
    assert_eq!(said.code, Some(1));
    for check in said.json().as_array().unwrap() {
        assert_documented("BackupCheck", check);
        let damage = check["damage"].as_array().unwrap();
        assert_eq!(damage.len(), usize::from(check["id"] == second.spot.id.as_str()), "{check}");
        for one in damage {
            assert_documented("Damage", one);
        }
    }
    let said = ask(&["backup", "list", "--json"]).await;
    let list = said.json();
    let states: Vec<(&str, &str)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| {
            assert_documented("Backup", backup);
            (backup["id"].as_str().unwrap(), backup["state"].as_str().unwrap())
        })
        .collect();
    assert_eq!(states, [(first.spot.id.as_str(), "good"), (second.spot.id.as_str(), "damaged")]);
    assert!(ask(&["backup", "list"]).await.stdout.contains("damaged: globals.sql is missing"));
    // The newest good one is the older one now, so pruning leaves it.
    let said = ask(&["backup", "prune", "--json"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_documented("PrunedRepository", &said.json()[0]);
    assert_eq!(said.json()[0]["removed"], json!([]));
    // A newer good one takes its place; the damaged one is for people to decide about.
    place.run(&keep).await.succeeded();
    let mut left: Vec<_> = depot.entries().await.into_iter().map(|entry| (entry.spot.id, entry.standing)).collect();
    left.retain(|(id, _)| *id != second.spot.id);
    let [(newest, Standing::Good)] = left.as_slice() else { panic!("{left:?}") };
    assert!(*newest != first.spot.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_about_backups_say_what_they_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let config = ConfigFile::new(&format!(
        "version: 1\ntargets: {{ a: {{ url: \"postgres://nowhere.invalid/x\" }} }}\n\
         repositories: {{ local: {{ url: \"file://{0}/there\" }}, gone: {{ url: \"file://{0}/not/there\" }} }}\n",
        folder.path().display()
    ));
    let ask = async |arguments: &[&str]| pgupkeep(&config.path(), arguments, &[]).await;
    let said = ask(&["backup", "list", "--repository", "local"]).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "there are no backups\n"));
    let said = ask(&["backup", "verify", "20261126", "--repository", "local"]).await;
    assert_eq!(said.code, Some(64), "{said:?}");
    let said = ask(&["backup", "list", "--repository", "locla"]).await;
    assert_eq!(said.code, Some(64));
    assert!(said.stderr.contains("did you mean `local`?"), "{said:?}");
    let said = ask(&["backup", "list"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("see that its disk is mounted"), "{said:?}");
}
