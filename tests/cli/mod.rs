//! The command line: every command against a real server, its exit codes, its words, its JSON.

mod config;
mod doctor;
pub mod documents;
mod following;
mod packaging;
mod reading;
mod runs;

use crate::support::*;

/// A cluster with one database that is target and control database, and a configuration for it.
pub struct Bench {
    pub cluster: Cluster,
    pub database: String,
    pub url: String,
    pub config: ConfigFile,
}

/// Jobs that end in every way that matters to a command.
pub const JOBS: &str = r#"
version: 1
timezone: Europe/Berlin
targets:
  main: { url: "env:DATABASE_URL" }
jobs:
  tidy: { kind: sql, with: { statement: "delete from junk" } }
  nothing: { kind: vacuum, with: { include: [nowhere.*] } }
  slow: { kind: sql, with: { statement: "select pg_sleep(60)" } }
  broken: { kind: sql, with: { statement: "select 1/0" } }
  half: { kind: sequence, with: { jobs: [tidy, broken], on_failure: continue } }
schedules:
  daily: [{ job: tidy, at: "02:00" }]
"#;

impl Bench {
    /// Starts a cluster whose database has a table `junk` of three rows; `None` is a skipped suite.
    pub async fn start(yaml: &str) -> Option<Self> {
        let major = one_major("cli")?;
        let cluster = Cluster::start(&major, &["autovacuum = off"]).await;
        let database = cluster.create_database().await;
        let url = cluster.url(&database);
        let bench = Self { cluster, database, url, config: ConfigFile::new(yaml) };
        bench.execute("create table junk as select n from generate_series(1, 3) n").await;
        Some(bench)
    }

    pub async fn execute(&self, sql: &str) {
        self.cluster.execute(&self.database, sql).await;
    }

    /// Runs a command to its end.
    pub async fn say(&self, arguments: &[&str]) -> Said {
        pgupkeep(&self.config.path(), arguments, &[("DATABASE_URL", &self.url)]).await
    }

    /// The same, and panics unless it exits so.
    pub async fn expect(&self, code: i32, arguments: &[&str]) -> Said {
        let said = self.say(arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        said
    }

    /// The first column of a query, one text a row.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        let mut session = self.cluster.connect(&self.database).await;
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut session).await.unwrap()
    }

    /// Starts a daemon and waits until it works.
    pub async fn daemon(&self) -> Daemon {
        let daemon = Daemon::start(&self.config.path(), &[("DATABASE_URL", &self.url)]);
        daemon.wait_for_line("ready", std::time::Duration::from_mins(1)).await;
        daemon
    }

    /// Waits until a run is at work on the server.
    pub async fn wait_for_work(&self, what: &str) {
        let mut session = self.cluster.connect(&self.database).await;
        wait_until("the statement to be at work", MOMENT, async || {
            let sql = "select count(*) from pg_stat_activity where state = 'active' and application_name ~ '^pgupkeep/'
                       and query like '%' || $1 || '%'";
            let at_work: i64 = sqlx::query_scalar(sql).bind(what).fetch_one(&mut session).await.unwrap();
            (at_work > 0).then_some(())
        })
        .await;
    }
}

/// What differs from run to run.
pub const FILTERS: &[(&str, &str)] = &[
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "[instant]"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \[instant\]", "[local]"),
    (r"\b(\d+s )?\d+(ms|us|ns|s)\b", "[took]"),
    (r"\d+(\.\d+)? (B|KiB|MiB)\b", "[size]"),
    (r"/[^\s:]*/schedules\.yaml", "schedules.yaml"),
    (r"db_\d+", "[database]"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
    (r"\b1[4-8]\.\d+\b", "[version]"),
    (r"  +", "  "),
    (r"  \d{2,7}  \[instant\]", "  [pid]  [instant]"),
    // Whether these are seen depends on how fast the work is.
    (r"\w+ on \w+: (at work|waits for a worker)\n", ""),
];

/// Compares what was said with a snapshot, without what differs from run to run.
macro_rules! assert_said {
    ($text:expr, @$expected:literal) => {{
        let text: &str = &$text;
        let mut settings = insta::Settings::clone_current();
        for (pattern, replacement) in crate::cli::FILTERS {
            settings.add_filter(pattern, *replacement);
        }
        settings.bind(|| insta::assert_snapshot!(text, @$expected));
    }};
}
pub(crate) use assert_said;
