//! The `reindex` job looks for room on the disk first, and what TOAST tables are owed.

use pgupkeep::fault::Fault;
use pgupkeep::jobs::drive::End;
use serde_json::json;

use super::reindex::{invalid, reindex};
use super::workplace::{QUIET, Went, Workplace, job};
use crate::support::{Cluster, majors, one_major};

const SUITE: &str = "jobs::reindex_room";

const TABLE: &str = "create table t (n int); insert into t select generate_series(1, 20000); create index t_n on t (n);
    create table small (n int); create index small_n on small (n)";

#[track_caller]
fn check_not_begun(went: &Went, fault: Fault, expected: &str) {
    assert_eq!((went.finish.end.clone(), went.finish.fault), (End::Partial, Some(fault)), "{went:#?}");
    let row = went.row("t_n");
    assert_eq!((row.outcome.as_deref(), row.statement.as_deref()), (Some("not_done"), None), "{row:?}");
    let error = row.error.as_deref().unwrap();
    assert!(error.contains(expected) && error.contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn an_index_without_room_for_its_copy_is_not_begun_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(&cluster, TABLE).await;
        let data = cluster.data().display().to_string();
        let with = |more: serde_json::Value| {
            let mut with = json!({ "always": true, "include": ["t", "small"] });
            with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            reindex(with)
        };
        let full = with(json!({ "disk": data, "keep_free": "4096TiB" }));
        let told = place.notes(&full).await.join("; ");
        assert!(
            told.contains("as the disk is now, public.t_n would not be begun: ") && told.contains("4096.0 TiB"),
            "{told}"
        );
        let told = place.notes(&with(json!({}))).await.join("; ");
        assert!(told.contains("room on the disk is not looked at"), "{told}");
        let went = place.run(&full).await;
        check_not_begun(&went, Fault::DiskFull, &format!("are free at {data}, and 4096.0 TiB are needed"));
        let went = place.run(&with(json!({ "disk": format!("{data}/nowhere") }))).await;
        check_not_begun(&went, Fault::Statement, "the free space at");

        // What the databases take is known exactly, so that the small index fits and the large one does not.
        let taken: u64 = place
            .ask("select sum(pg_database_size(oid)) + pg_size_bytes(current_setting('max_wal_size')) from pg_database")
            .await
            .parse()
            .unwrap();
        let room = format!("{}B", taken + (300 << 10));
        let went = place.run(&with(json!({ "disk_size": room, "keep_free": "64KiB" }))).await;
        check_not_begun(&went, Fault::DiskFull, "of a disk of ");
        assert_eq!(went.row("small_n").outcome.as_deref(), Some("done"), "{went:#?}");

        place.run(&with(json!({ "disk": data, "keep_free": "0B", "disk_size": "100TiB" }))).await.succeeded();
        assert_eq!(invalid(&place).await, "");
    }
}

#[tokio::test]
async fn a_role_that_cannot_size_every_database_is_told_the_grant_that_helps() {
    let Some(major) = one_major(SUITE) else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let place = Workplace::new(&cluster, TABLE).await.working_as("upkeep");
    place
        .execute(&format!(
            "create role upkeep login; alter table t owner to upkeep; grant create on schema public to upkeep;
             revoke connect on database \"{}\" from public",
            place.control
        ))
        .await;
    let spec = reindex(json!({ "always": true, "include": ["t"], "disk_size": "100TiB" }));
    check_not_begun(&place.run(&spec).await, Fault::Privilege, "GRANT pg_read_all_stats");
    place.execute("grant pg_read_all_stats to upkeep").await;
    place.run(&spec).await.succeeded();
}

/// A TOAST index by its table, as the catalogue has it.
const TOAST: &str =
    "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.reltoastrelid = i.indrelid
                      where c.relname = 'doc'";

#[tokio::test]
async fn a_toast_index_is_left_out_for_an_owner_until_the_schema_is_opened_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(
            &cluster,
            "create role upkeep login; grant create on schema public to upkeep;
             create table doc (id int primary key, d text); alter table doc owner to upkeep",
        )
        .await
        .working_as("upkeep");
        let toast = place.ask(TOAST).await;
        let spec = reindex(json!({ "always": true, "include": ["doc"] }));
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.rows.len(), 1, "only the primary key: {went:#?}");
        for spec in [&spec, &reindex(json!({ "always": true }))] {
            let notes = place.notes(spec).await.join("; ");
            assert!(notes.contains("1 index of a TOAST table is left out, because this role may not"), "{notes}");
        }
        let named = reindex(json!({ "always": true, "include": [toast] }));
        let went = place.run(&named).await;
        assert_eq!(went.finish.fault, Some(Fault::Privilege), "{went:#?}");
        let grant = "GRANT USAGE ON SCHEMA \"pg_toast\" TO \"upkeep\"";
        assert!(went.rows[0].error.as_ref().unwrap().contains(grant), "{went:#?}");
        place.execute(grant).await;
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.row(&toast).outcome.as_deref(), Some("done"));
        assert_eq!(place.plan(&job("reindex", "reindex", &json!({}))).await, Vec::<String>::new());
    }
}
