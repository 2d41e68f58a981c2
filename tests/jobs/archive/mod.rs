//! The `archive` and `archive_restore` jobs on real servers: what moves comes back bit for bit, and nothing else moves.

mod aftercare;
mod bad_days;
mod changed;
mod fidelity;
mod generated;
mod hidden;
mod keep;
mod lasting;
mod presets;
mod readers;
mod rows;
mod scopes;
mod split;

use pgupkeep::jobs::JobSpec;
use pgupkeep::jobs::archive::consistency::{find_gone, verify_catalogue, verify_groups};
use pgupkeep::jobs::archive::store::Store;
use pgupkeep::jobs::archive::verify::{Groups, verify};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::workplace::{Workplace, job};

/// An `archive` job, which leaves the vacuuming to other tests unless it is told otherwise.
#[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
pub fn archive(with: Value) -> JobSpec {
    let mut all = json!({ "vacuum": false, "reindex": false });
    all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    job("archive", "archive", &all)
}

/// An `archive_restore` job.
#[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
pub fn restore(with: Value) -> JobSpec {
    job("archive-restore", "archive_restore", &with)
}

/// Restores everything that the archive holds.
pub fn restore_all() -> JobSpec {
    restore(json!({ "where": "true" }))
}

/// How many rows the catalogue says that the archive holds.
pub async fn archived_rows(place: &Workplace<'_>) -> String {
    place.ask("select coalesce(sum(row_count), 0) from archive_store.group_state").await
}

/// Segments, in all segments tables.
pub async fn segments(place: &Workplace<'_>) -> i64 {
    let tables = "select coalesce(string_agg('select * from (select count(*) as n from archive_store.'
                     || quote_ident(relname) || ') s', ' union all '), 'select 0 as n') from pg_class
                   where relnamespace = 'archive_store'::regnamespace and relname like 'segments%' and relkind = 'r'";
    let all = place.ask(tables).await;
    place.ask(&format!("select sum(n) from ({all}) s")).await.parse().unwrap()
}

/// What `archive verify` would find, in every table and the catalogue.
pub async fn damage(session: &mut PgConnection) -> Vec<String> {
    let store = Store::new("archive");
    let sources = store.sources(session, None).await.unwrap();
    let (gone, sources) = find_gone(session, sources).await.unwrap();
    let mut damaged: Vec<String> = gone.into_iter().flat_map(|gone| gone.damaged).collect();
    damaged.extend(verify_groups(session, &store, &sources, Groups::All).await.unwrap().damaged);
    damaged.extend(verify_catalogue(session, &store, &sources).await.unwrap().damaged);
    for source in &sources {
        damaged.extend(verify(session, None, source, Groups::All).await.unwrap().damaged);
    }
    damaged
}
