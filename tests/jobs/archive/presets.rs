//! A preset of one's own, as docs/presets.md describes it.

use std::fs;

use serde_json::json;

use super::super::workplace::{QUIET, Workplace};
use super::{archive, archived_rows, restore};
use crate::support::{Cluster, one_major};

const TABLES: &str = "
    create table tickets (id bigint primary key, state text, closed_at timestamptz);
    create table messages (id bigint primary key, ticket bigint references tickets, sent_at timestamptz, body text);
    create index on messages (ticket);
    insert into tickets select i, case when i % 10 = 0 then 'open' else 'closed' end, now() - make_interval(days => i)
      from generate_series(1, 700) i;
    insert into messages select i, 1 + i % 700, now() - make_interval(days => 1 + i % 700), 'text ' || i
      from generate_series(1, 7000) i;
    insert into messages values (0, 699, now(), 'still here')";

#[tokio::test]
async fn the_example_of_the_documentation_archives_and_restores() {
    let Some(major) = one_major("jobs::archive::presets") else { return };
    let cluster = Cluster::start(&major, QUIET).await;
    let text = include_str!("../../../docs/presets.md");
    let example = text.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("helpdesk.yaml");
    fs::write(&file, example).unwrap();
    let place = Workplace::new(&cluster, TABLES).await;
    let spec = archive(json!({ "preset": file, "scope": "closed", "older_than": "400days" }));
    let old = "state = 'closed' and id >= 400 and id <> 699";
    let before = place.ask(&format!("select count(*) from tickets where {old}")).await;
    place.run(&spec).await.succeeded();
    assert_eq!(place.ask("select count(*) from archive.tickets").await, before);
    assert_eq!(place.ask(&format!("select count(*) from tickets where {old}")).await, "0");
    assert_eq!(place.ask("select count(*) from archive.messages_of(501)").await, "10");
    assert_eq!(place.ask("select count(*) from archive.all_messages").await, "7001");
    assert_eq!(place.plan(&spec).await, Vec::<String>::new());
    place.run(&restore(json!({ "rule": "helpdesk/closed", "where": "true" }))).await.succeeded();
    assert_eq!(archived_rows(&place).await, "0");
    assert_eq!(place.ask("select count(*) from messages").await, "7001");
}
