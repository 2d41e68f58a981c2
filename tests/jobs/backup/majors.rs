//! Every major with its own tools: what was dumped while MLflow wrote is restored into an empty server, and counted.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::depot::{Depot, counted, counts, restore};
use crate::jobs::workplace::Workplace;
use crate::support::{Cluster, majors, mlflow_program, mlflow_python, wait_until};

const SUITE: &str = "jobs::backup while MLflow writes";

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_made_while_mlflow_writes_restores_into_an_empty_server_with_equal_counts_on_every_major() {
    let Some(python) = mlflow_python(SUITE) else { return };
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow/client.py");
    let mlflow = |arguments: &[&str]| {
        let mut command = mlflow_program(&python);
        command.args(arguments).stdout(Stdio::null());
        command
    };
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, &[]).await;
        let depot = Depot::new(&major);
        // Something of what dumps forget easily: a role with a setting, another database, a large object.
        cluster
            .execute(
                "postgres",
                "create role analyst login; alter role analyst set work_mem = '8MB';
                 alter database postgres set work_mem = '7MB'; grant create on database postgres to analyst;
                 alter role analyst in database postgres set statement_timeout = '3s'",
            )
            .await;
        let place =
            Workplace::new(&cluster, "select lo_from_bytea(0, 'a large object')").await.equipped(depot.outfit());
        let url = cluster.url(&place.database).replace("postgres://", "postgresql+psycopg2://");
        let made = mlflow(&["-m", "mlflow", "db", "upgrade", &url]).status().await.unwrap();
        assert!(made.success(), "{}", major.number);
        let mut writing = mlflow(&[client.to_str().unwrap(), &url, "1000000"]).spawn().unwrap();
        wait_until("MLflow writes", Duration::from_mins(3), async || {
            (place.ask("select count(*) > 1000 from metrics").await == "true").then_some(())
        })
        .await;
        place.run(&depot.job(json!({}))).await.succeeded();
        let entry = depot.only().await;
        let manifest = entry.manifest.as_ref().unwrap();
        let dumped = counted(manifest, &place.database);
        let metrics = dumped["public.metrics"];
        wait_until("MLflow goes on writing", Duration::from_mins(3), async || {
            let now: i64 = place.ask("select count(*) from metrics").await.parse().unwrap();
            (now > metrics).then_some(())
        })
        .await;
        assert!(writing.try_wait().unwrap().is_none(), "the client has failed");
        writing.kill().await.unwrap();
        assert!(metrics > 1000 && dumped.len() > 60, "{dumped:?}");
        assert_eq!(depot.check(&entry).await, []);

        let empty = Cluster::start(&major, &[]).await;
        restore(&depot.folder_of(&entry), manifest, &empty).await;
        for database in &manifest.databases {
            let found = counts(&empty, &database.name).await;
            assert_eq!(found, counted(manifest, &database.name), "{} on {}", database.name, major.number);
        }
        let restored = |sql: &'static str| {
            let (empty, database) = (&empty, &place.database);
            async move {
                let answer: String =
                    sqlx::query_scalar(sql).fetch_one(&mut empty.connect(database).await).await.unwrap();
                answer
            }
        };
        assert_eq!(
            restored("select convert_from(lo_get(oid), 'utf8') from pg_largeobject_metadata").await,
            "a large object"
        );
        assert_eq!(restored("select rolconfig::text from pg_roles where rolname = 'analyst'").await, "{work_mem=8MB}");
        for (sql, expected) in [
            ("select setconfig::text from pg_db_role_setting where setrole = 0", "{work_mem=7MB}"),
            (
                "select setconfig::text from pg_db_role_setting where setrole <> 0 and setdatabase <> 0",
                "{statement_timeout=3s}",
            ),
            ("select has_database_privilege('analyst', 'postgres', 'create')::text", "true"),
        ] {
            assert_eq!(restored(sql).await, expected, "{}", major.number);
        }
        // MLflow itself is content with what was restored.
        let url = empty.url(&place.database).replace("postgres://", "postgresql+psycopg2://");
        let works = mlflow(&[client.to_str().unwrap(), &url, "2"]).status().await.unwrap();
        assert!(works.success(), "{}", major.number);
    }
}
