//! The ledger's schema and the static SQL, on every major.

use std::path::{Path, PathBuf};

use sqlx::Executor as _;

use crate::support::*;

/// A ledger in a database of its own.
async fn migrated(cluster: &Cluster) -> String {
    let database = cluster.create_database().await;
    let config =
        ConfigFile::new("version: 1\ntargets: { app: { url: \"env:DATABASE_URL\" } }\njobs: {}\nschedules: {}\n");
    let said = pgupkeep(&config.path(), &["migrate"], &[("DATABASE_URL", &cluster.url(&database))]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    database
}

fn sql_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sql_files(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "sql") {
            files.push(entry);
        }
    }
}

fn static_statements() -> Vec<(String, String)> {
    let mut files = Vec::new();
    sql_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&file).unwrap()))
        .collect()
}

#[test]
fn every_statement_starts_with_its_own_name() {
    for (name, text) in static_statements() {
        assert!(text.starts_with(&format!("-- {name}: ")), "{name}.sql: its first line is \"-- {name}: what it does\"");
    }
}

#[tokio::test]
async fn every_static_statement_is_understood_by_every_major() {
    for major in majors("ledger") {
        let cluster = Cluster::start(&major, &[]).await;
        let database = migrated(&cluster).await;
        let mut conn = cluster.connect(&database).await;
        // What one statement reads is MLflow's.
        conn.execute("create table alembic_version (version_num varchar(32) primary key)").await.unwrap();
        let statements = static_statements();
        assert!(statements.len() > 20);
        for (name, text) in statements {
            // What cannot be prepared is a list of commands, and is simply performed.
            let text = if name == "reset_session" { text } else { format!("prepare this as\n{text}") };
            let understood = conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(text))).await;
            assert!(understood.is_ok(), "{}: {name}.sql: {}", major.number, understood.unwrap_err());
            conn.execute("deallocate all").await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_table_view_and_column_has_a_comment() {
    let Some(major) = one_major("ledger-comments") else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let mut conn = cluster.connect(&migrated(&cluster).await).await;
    let bare: Vec<String> = sqlx::query_scalar(
        "select c.relname || coalesce('.' || a.attname, '')
           from pg_class c
           left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          where c.relnamespace = 'pgupkeep'::regnamespace and c.relkind in ('r', 'v')
            and (obj_description(c.oid, 'pg_class') is null
                 or (a.attnum is not null and col_description(c.oid, a.attnum) is null))",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(bare.is_empty(), "without a comment: {bare:?}");
}

#[tokio::test]
async fn a_read_only_role_can_be_granted_the_views_and_nothing_else() {
    let Some(major) = one_major("ledger-views") else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let database = migrated(&cluster).await;
    cluster
        .execute(
            &database,
            "create role reader; grant usage on schema pgupkeep to reader;
             grant select on pgupkeep.overview, pgupkeep.history to reader",
        )
        .await;
    let mut conn = cluster.connect(&database).await;
    conn.execute("set role reader").await.unwrap();
    conn.execute("select * from pgupkeep.overview").await.unwrap();
    conn.execute("select * from pgupkeep.history order by due_at desc").await.unwrap();
    let refused = conn.execute("select * from pgupkeep.run").await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}
