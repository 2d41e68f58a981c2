//! How long the archive itself is kept, and what becomes of what it keeps no longer.

use std::fs;
use std::path::PathBuf;

use pgupkeep::jobs::drive::End;
use pgupkeep::repository::manifest::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::backup::depot::Depot;
use super::super::workplace::{QUIET, Workplace};
use super::{archive, archived_rows, restore, segments};
use crate::support::{Cluster, one_major};

const SUITE: &str = "jobs::archive::keep";

/// Forty months, a row for each day; the text holds what a CSV has to quote.
const EVENTS: &str = r#"
    create table "e v,""e" (id int primary key, at timestamptz not null, "a,""b" text);
    insert into "e v,""e" select i, now() - make_interval(days => i), case when i % 3 = 0 then null when i % 3 = 1 then ''
      else E'x,"\n' || i end from generate_series(1, 1200) i"#;

#[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
fn job(keep: &str, more: Value) -> pgupkeep::jobs::JobSpec {
    let mut with = json!({ "table": r#"public.e v,"e"#, "age": "at", "older_than": "90days", "archive_keep": keep });
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    archive(with)
}

/// The folders of exports that have a manifest.
fn exports(depot: &Depot) -> Vec<PathBuf> {
    let servers = fs::read_dir(depot.root()).into_iter().flatten().map(|entry| entry.unwrap().path().join("archived"));
    let exports = servers.flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    exports.map(|entry| entry.unwrap().path()).filter(|folder| folder.join("manifest.json").exists()).collect()
}

#[tokio::test]
async fn what_the_archive_keeps_no_longer_is_exported_and_read_back_before_it_is_deleted() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, EVENTS).await.equipped(depot.outfit());
    place.run(&job("off", json!({}))).await.succeeded();
    let held = place.ask("select group_key from archive_store.group_state order by last_activity limit 1").await;
    place.run(&restore(json!({ "groups": [held], "hold": "90days" }))).await.succeeded();
    let before = archived_rows(&place).await;

    let spec = job("2 years", json!({ "repository": "local" }));
    // Groups are months, and go as a whole once their last row is old enough; the one that was held is live again.
    let kept = "at >= date_trunc('month', now() - interval '2 years')";
    let shown = r#"archive."e v,""e""#;
    let staying = place.ask(&format!("select count(*) from {shown} where {kept}")).await;
    let plan = place.plan(&spec).await;
    assert!(plan.iter().any(|step| step.starts_with("delete ")), "{plan:?}");
    assert_eq!(archived_rows(&place).await, before, "a plan changes nothing");
    let went = place.run(&spec).await.succeeded();
    let detail = went.row("from the archive").detail.clone().unwrap();
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
    assert!(place.ask(&format!("select count(*) from {shown} where {kept}")).await == staying);
    let gone = before.parse::<u64>().unwrap() - archived_rows(&place).await.parse::<u64>().unwrap();
    assert!(gone > 300, "{gone}");

    let [folder] = &exports(&depot)[..] else { panic!("{:?}", exports(&depot)) };
    assert_eq!(folder.file_name().unwrap().to_str(), detail["export"].as_str());
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let table = &manifest["tables"][0];
    assert_eq!((table["name"].as_str(), table["rows"].as_u64()), (Some(r#"e v,"e"#), Some(gone)));
    let stored = fs::read(folder.join(table["file"]["path"].as_str().unwrap())).unwrap();
    let csv = zstd::decode_all(&stored[..]).unwrap();
    let digits = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    assert_eq!(table["file"]["sha256"], digits(&stored));
    assert_eq!(table["csv_sha256"], digits(&csv));

    // The server itself reads it, and finds the very rows that are gone.
    let file = depot.root().join("rows.csv");
    fs::write(&file, &csv).unwrap();
    place.execute(r#"create table back (like "e v,""e")"#).await;
    let copy = format!(r"\copy back from '{}' csv header", file.display());
    cluster.run_client("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &place.database, "-c", &copy]).await;
    let made = r#"select i, case when i % 3 = 0 then null when i % 3 = 1 then '' else E'x,"\n' || i end as t from generate_series(1, 1200) i"#;
    let same =
        format!(r#"select count(*) from back b join ({made}) m on m.i = b.id and b."a,""b" is not distinct from m.t"#);
    assert_eq!(place.ask(&same).await, gone.to_string());
    let overlap =
        format!(r#"select count(*) from back where id in (select id from {shown} union all select id from "e v,""e")"#);
    assert_eq!(place.ask(&overlap).await, "0");
}

#[tokio::test]
async fn what_one_job_keeps_no_longer_is_only_what_it_has_archived() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, EVENTS).await;
    let job = |condition: Option<&str>, more: Value| {
        let mut with = json!({ "table": r#"public.e v,"e"#, "older_than": "30days" });
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if let Some(condition) = condition {
            with["where"] = condition.into();
        }
        archive(with)
    };
    let kept = [
        job(Some("id % 4 = 1"), json!({ "age": "at" })),
        job(Some("id % 4 = 2"), json!({})),
        job(Some("id % 4 = 3 and id > 1000"), json!({ "age": "at" })),
    ];
    for spec in &kept {
        place.run(spec).await.succeeded();
    }
    place.execute("update archive_store.group_state set last_activity = now() - interval '1000 days'").await;
    let before = archived_rows(&place).await;
    let strict = job(Some("id % 4 = 3"), json!({ "age": "at", "archive_keep": "60days" }));
    for _ in 0..2 {
        place.run(&strict).await.succeeded();
    }
    let mine = place.ask(r#"select count(*) from archive."e v,""e" where id % 4 = 3 and id <= 1000"#).await;
    assert_eq!(
        archived_rows(&place).await,
        (before.parse::<u64>().unwrap() + mine.parse::<u64>().unwrap()).to_string()
    );
    assert!(mine.parse::<u64>().unwrap() < 20, "{mine}: all but two months have gone");
    let notes = place.notes(&strict).await.join("; ");
    assert!(notes.contains(&format!("{before} archived rows")) && notes.contains("under another `where`"), "{notes}");
    // Without a condition, as well.
    let others = r#"select count(*) from archive."e v,""e" where id % 4 in (1, 2)"#;
    let before = place.ask(others).await;
    place.run(&job(None, json!({ "age": "at", "archive_keep": "60days" }))).await.succeeded();
    assert_eq!(place.ask(others).await, before);
}

#[tokio::test]
async fn what_has_no_age_goes_by_the_month_in_which_it_was_archived() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place =
        Workplace::new(&cluster, "create table t (id int primary key, done bool); insert into t values (0, false)")
            .await;
    let job = |keep: &str| archive(json!({ "table": "public.t", "where": "done", "archive_keep": keep }));
    // A row is archived each month, and nothing that is three months old is left.
    for month in 1..=6 {
        place.execute(&format!("insert into t values ({month}, true)")).await;
        place.run(&job("3 months")).await.succeeded();
        place
            .execute(
                "update archive_store.group_state set last_activity = last_activity - interval '1 month', \
                 group_key = to_char(to_date(group_key, 'YYYY-MM') - interval '1 month', 'YYYY-MM')",
            )
            .await;
    }
    assert_eq!(place.ask("select string_agg(id::text, ',' order by id) from archive.t").await, "4,5,6");
    // A month comes back, and is held, and nobody else's rows are.
    place.run(&restore(json!({ "where": "r.id = 5" }))).await.succeeded();
    place.execute("insert into t values (7, true)").await;
    assert_eq!(place.plan(&job("off")).await, Vec::<String>::new());
    place.run(&archive(json!({ "table": "public.t", "where": "id in (0, 5)" }))).await.succeeded();
    assert_eq!(place.ask("select string_agg(id::text, ',' order by id) from archive.t").await, "0,4,6");
    // A condition that can no longer be asked holds all.
    place.execute("alter table t drop done").await;
    assert_eq!(place.plan(&archive(json!({ "table": "public.t", "where": "id < 9" }))).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_archive_of_a_table_that_was_dropped_is_kept_no_longer_than_it_was_to_be() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, EVENTS).await.equipped(depot.outfit());
    place.run(&job("off", json!({}))).await.succeeded();
    place.execute(r#"drop table "e v,""e""#).await;
    let rows = archived_rows(&place).await;
    let went = place.run(&job("off", json!({}))).await;
    assert!(format!("{went:?}").contains("there is no table"), "{went:#?}");
    let spec = job("2 years", json!({ "repository": "local" }));
    let notes = place.notes(&spec).await.join("; ");
    assert!(notes.contains("any more; only what `archive_keep` says"), "{notes}");
    place.run(&spec).await.succeeded();
    assert_ne!(archived_rows(&place).await, rows);
    assert_eq!(exports(&depot).len(), 1);
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_exported_is_not_deleted() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, EVENTS).await.equipped(depot.outfit());
    place.run(&job("off", json!({}))).await.succeeded();
    let (rows, in_segments) = (archived_rows(&place).await, segments(&place).await);
    // A folder that is not mounted, say.
    let folder = depot.root().parent().unwrap().to_path_buf();
    fs::rename(&folder, folder.with_extension("away")).unwrap();
    let went = place.run(&job("1 year", json!({ "repository": "local" }))).await;
    assert!(matches!(went.finish.end, End::Failed | End::Partial), "{went:#?}");
    let error = format!("{went:?}");
    assert!(error.contains("the repository local cannot be used"), "{error}");
    assert_eq!((archived_rows(&place).await, segments(&place).await), (rows.clone(), in_segments));
    // Without a repository it goes without an export, as the documentation says.
    fs::rename(folder.with_extension("away"), &folder).unwrap();
    place.run(&job("1 year", json!({}))).await.succeeded();
    assert_ne!(archived_rows(&place).await, rows);
    assert_eq!(exports(&depot), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_damaged_is_neither_exported_nor_deleted() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let depot = Depot::new(&major);
    let place = Workplace::new(&cluster, EVENTS).await.equipped(depot.outfit());
    place.run(&job("off", json!({}))).await.succeeded();
    let table = place
        .ask("select 'archive_store.' || quote_ident(relname) from pg_class where relname like 'segments%' and relkind = 'r'")
        .await;
    let oldest = "group_id = (select group_id from archive_store.group_state order by last_activity limit 1)";
    let flip = format!("update {table} set digest = set_byte(digest, 0, get_byte(digest, 0) # 1) where {oldest}");
    let hide =
        format!("create table hidden as select * from {table} where {oldest}; delete from {table} where {oldest}");
    let show = format!("insert into {table} select * from hidden; drop table hidden");
    for (damage, repair, found) in
        [(flip.as_str(), flip.as_str(), "not the same"), (hide.as_str(), show.as_str(), "its segments have 0")]
    {
        place.execute(damage).await;
        let before = (archived_rows(&place).await, segments(&place).await);
        let went = place.run(&job("2 years", json!({ "repository": "local" }))).await;
        assert!(matches!(went.finish.end, End::Failed | End::Partial), "{went:#?}");
        let error = format!("{went:?}");
        assert!(error.contains(found) && error.contains("neither exported nor deleted"), "{error}");
        assert_eq!((archived_rows(&place).await, segments(&place).await), before);
        assert_eq!(exports(&depot), Vec::<PathBuf>::new());
        place.execute(repair).await;
    }
    place.run(&job("2 years", json!({ "repository": "local" }))).await.succeeded();
    assert_eq!(exports(&depot).len(), 1);
}
