//! Hostile names of schemas, tables, jobs, targets and databases, all the way through.

use super::*;

/// As odd as PostgreSQL allows: quotes and semicolons, 63 bytes, foreign letters, mixed case.
fn names() -> [String; 4] {
    [r#"we""ird; drop"#.to_owned(), "x".repeat(63), "Größe 日本/été".to_owned(), "MixedCase' -- $1 %s {} \\".to_owned()]
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_of_schemas_tables_jobs_targets_and_databases_work_everywhere() {
    let Some(bench) = Bench::start("names", &["autovacuum = off"]).await else { return };
    for name in names() {
        bench.cluster.execute("postgres", &format!("create database {}", quoted(&name))).await;
        let mut url = url::Url::parse(&bench.cluster.url("x")).unwrap();
        let encoded: String =
            url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
        url.set_path(&format!("/{encoded}"));
        let mut conn = bench.cluster.connect_url(url.as_str()).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "create schema {0}; create table {0}.{0} ({0} int); insert into {0}.{0} select generate_series(1, 1000);
             create materialized view {0}.\"v\" as select * from {0}.{0}; delete from {0}.{0} where {0} % 2 = 0",
            quoted(&name)
        )))
        .execute(&mut conn)
        .await
        .unwrap();
        let yaml = serde_json::json!({
            "version": 1,
            "targets": { &name: { "url": "env:DATABASE_URL" } },
            "windows": { &name: { "from": "00:00", "to": "23:59" } },
            "jobs": {
                &name: { "kind": "vacuum", "with": { "always": true, "include": [name.replace(['*', '?'], "?")] } },
                "sequence": { "kind": "sequence", "with": { "jobs": [&name] } },
            },
            "schedules": {
                "cron": [ { "job": &name, "cron": "* * * * * *", "overlap": "queue" } ],
                "reload": [ { "job": "sequence", "name": &name } ],
            },
        });
        let config = ConfigFile::new(&yaml.to_string());
        let variables = [("DATABASE_URL", url.as_str())];
        let said = pgupkeep(&config.path(), &["check"], &variables).await;
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        let said = pgupkeep(&config.path(), &["run", &name, "--target", &name, "--local"], &variables).await;
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        let said = pgupkeep(&config.path(), &["history", "--json", "--job", &name, "--steps"], &variables).await;
        let run = &said.json()[0];
        assert_eq!((&run["job"], &run["target"]), (&name.as_str().into(), &name.as_str().into()), "{run}");
        let sent = run["steps"].as_array().unwrap();
        let table = format!("{0}.{0}", quoted(&name));
        assert!(sent.iter().any(|step| step["statement"].as_str().is_some_and(|sql| sql.ends_with(&table))), "{run}");
        let mut daemon = Daemon::start(&config.path(), &variables);
        daemon.wait_for_line("ready", START).await;
        daemon.signal(Signal::SIGHUP);
        wait_until("a scheduled run and the reloaded sequence", START, async || {
            let sql = "select count(*) from (select distinct trigger from pgupkeep.run
                        where outcome = 'succeeded' and trigger in ('schedule', 'reload')) as done";
            (column(&mut conn, sql).await == ["2"]).then_some(())
        })
        .await;
        daemon.stop(START).await;
        let vacuumed =
            "select count(*) from pg_stat_user_tables where last_vacuum is not null and schemaname <> 'pgupkeep'";
        assert_ne!(column(&mut conn, vacuumed).await, ["0"], "{name}");
        for command in ["status", "next"] {
            let said = pgupkeep(&config.path(), &[command], &variables).await;
            assert_eq!(said.code, Some(0), "{name}: {said:?}");
        }
        let said = pgupkeep(&config.path(), &["plan", &name], &variables).await;
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        check_invariants(&mut conn).await;
    }
}
