//! The daemon as a process: what it promises when daemons, servers, files and clocks misbehave.

mod archive;
mod clock;
mod crash;
mod engine;
mod logging;
mod names;
mod outage;
mod pair;
mod reindex;
mod reload;
mod secrets;
mod signals;
mod standby;

use std::time::Duration;

use sqlx::postgres::PgConnection;

use crate::support::*;

/// Long enough for a daemon to start, migrate and say so on a busy machine.
pub const START: Duration = Duration::from_mins(1);

/// A cluster with one database, for a daemon that keeps its ledger there and works on it.
pub struct Bench {
    pub cluster: Cluster,
    pub database: String,
    pub url: String,
}

impl Bench {
    /// Starts a cluster of the test's major; `None` is a skipped suite.
    pub async fn start(suite: &str, settings: &[&str]) -> Option<Self> {
        let major = one_major(suite)?;
        Some(Self::of(Cluster::start(&major, settings).await).await)
    }

    /// The same on a cluster of the test's own making.
    pub async fn of(cluster: Cluster) -> Self {
        let database = cluster.create_database().await;
        let url = cluster.url(&database);
        Self { cluster, database, url }
    }

    pub async fn connect(&self) -> PgConnection {
        self.cluster.connect(&self.database).await
    }

    pub async fn execute(&self, sql: &str) {
        self.cluster.execute(&self.database, sql).await;
    }

    /// Starts a daemon and waits until it works.
    pub async fn daemon(&self, config: &ConfigFile) -> Daemon {
        let daemon = Daemon::start(&config.path(), &[("DATABASE_URL", &self.url)]);
        daemon.wait_for_line("ready", START).await;
        daemon
    }

    /// The first column of a query, one text a row.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        let mut conn = self.connect().await;
        column(&mut conn, sql).await
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        self.column(sql).await[0].parse().unwrap()
    }

    /// Waits until a query that counts gives at least this number.
    pub async fn wait_for_count(&self, what: &str, sql: &str, least: i64, limit: Duration) {
        let mut conn = self.connect().await;
        let mut seen = 0;
        wait_until(&format!("{what} (at least {least})"), limit, async || {
            seen = column(&mut conn, sql).await[0].parse::<i64>().unwrap();
            (seen >= least).then_some(())
        })
        .await;
    }
}

/// The first column of a query, one text a row.
pub async fn column(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    let sql = format!("select (q.*)::text from ({sql}) as q (value)");
    let sql = sql.replace("(q.*)::text", "q.value::text");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap()
}

/// Whether two intervals of work on one exclusive key ever overlapped: each piece of work writes its begin and end.
pub const WORK_TABLE: &str = "create table work (
    id bigint generated always as identity, tag text not null, pid int not null default pg_backend_pid(),
    began timestamptz not null default clock_timestamp(), ended timestamptz);
    create unlogged table busy (tag text primary key)";

/// A statement that works for so many seconds, and fails at once when somebody else works under the same tag.
///
/// The insert into `busy` conflicts with that of any other transaction that is still open, so that two at a time
/// cannot both go through; with `lock_timeout` the second does not wait but fails.
pub fn work(tag: &str, seconds: f64) -> String {
    format!(
        "set local lock_timeout = 1; insert into public.busy values ('{tag}'); \
         insert into public.work (tag) values ('{tag}'); select pg_sleep({seconds}); \
         update public.work set ended = clock_timestamp() where tag = '{tag}' and pid = pg_backend_pid() and ended is null; \
         delete from public.busy where tag = '{tag}'"
    )
}

/// Everything that must hold in any ledger at rest.
pub async fn check_invariants(conn: &mut PgConnection) {
    let check = async |conn: &mut PgConnection, what: &str, sql: &str| {
        let odd = column(conn, sql).await;
        assert!(odd.is_empty(), "{what}: {odd:?}");
    };
    check(conn, "a run is left running", "select run_id from pgupkeep.run where state = 'running'").await;
    check(
        conn,
        "an attempt is not explained",
        "select run_id || ' ' || attempt from pgupkeep.attempt where outcome is null",
    )
    .await;
    check(
        conn,
        "an attempt that was lost or failed says why",
        "select run_id || ' ' || attempt || ' ' || outcome from pgupkeep.attempt
          where outcome in ('lost', 'failed', 'handed_back') and error is null",
    )
    .await;
    check(conn, "a step is left open", "select step_id from pgupkeep.step where outcome is null").await;
    check(
        conn,
        "a firing has two rows",
        "select entry || ' ' || due_at from pgupkeep.run where entry is not null
          group by entry, job, target, due_at having count(*) > 1",
    )
    .await;
    check(
        conn,
        "a run ended more than once",
        "select run_id from pgupkeep.attempt where outcome in ('succeeded', 'partial')
          group by run_id having count(*) filter (where outcome = 'succeeded') > 1",
    )
    .await;
}
