//! A target and a control database on one server, and what a worker does with them.

use std::collections::BTreeMap;
use std::time::Duration;

use pgupkeep::config::Connection;
use pgupkeep::jobs::context::Context;
use pgupkeep::jobs::drive::{End, Finish};
use pgupkeep::jobs::journal::Journal;
use pgupkeep::jobs::outfit::Outfit;
use pgupkeep::jobs::{JobSpec, kind};
use pgupkeep::ledger::Ledger;
use pgupkeep::ledger::lease::{AttemptEnd, Counts, Next};
use pgupkeep::ledger::run::Capacity;
use pgupkeep::names::{JobName, TargetName};
use pgupkeep::pg::session::Session;
use pgupkeep::policy::gate::Stop;
use pgupkeep::run_state::{AttemptOutcome, Outcome};
use pgupkeep::secret::{Redactor, Secret};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{Cluster, MOMENT, wait_until};

/// A job to be driven, with its `with:` as JSON; one that its kind refuses stays as it is, as in a row of old.
pub fn job(name: &str, kind_name: &str, with: &Value) -> JobSpec {
    let with = (kind(kind_name).unwrap().read_with)(with).unwrap_or_else(|_| with.clone());
    let name = JobName::parse(name).unwrap();
    JobSpec { name, kind: kind_name.to_owned(), with, timeout_ms: None, retries: 0, inner: Vec::new() }
}

/// A `vacuum` job.
#[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
pub fn vacuum(with: Value) -> JobSpec {
    job("vacuum", "vacuum", &with)
}

/// A `sequence` of jobs.
pub fn sequence(inner: &[JobSpec], on_failure: &str) -> JobSpec {
    let names: Vec<&str> = inner.iter().map(|job| job.name.as_str()).collect();
    let with = serde_json::json!({ "jobs": names, "on_failure": on_failure });
    JobSpec { inner: inner.to_vec(), ..job("all", "sequence", &with) }
}

/// Orders that nobody gives.
pub fn never() -> watch::Receiver<Option<Stop>> {
    watch::channel(None).1
}

/// A step's row, as the ledger has it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct StepRow {
    pub job: String,
    pub step: String,
    pub statement: Option<String>,
    pub outcome: Option<String>,
    pub rows_affected: Option<i64>,
    pub bytes_before: Option<i64>,
    pub bytes_after: Option<i64>,
    pub error: Option<String>,
    pub detail: Option<Value>,
}

impl StepRow {
    /// What matters most of a row, for comparisons.
    pub fn told(&self) -> (&str, &str, &str) {
        (&self.job, &self.step, self.outcome.as_deref().unwrap_or("open"))
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Went {
    pub finish: Finish,
    pub rows: Vec<StepRow>,
}

impl Went {
    /// Panics unless everything was done.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.finish.end, End::Succeeded, "{self:#?}");
        self
    }

    /// The row of the step that has this text in its name.
    #[track_caller]
    pub fn row(&self, step: &str) -> &StepRow {
        let found = self.rows.iter().rev().find(|row| row.step.contains(step));
        found.unwrap_or_else(|| panic!("no step {step:?} in {:#?}", self.rows))
    }

    /// Each step's outcome by name.
    pub fn outcomes(&self) -> BTreeMap<&str, &str> {
        self.rows.iter().map(|row| (row.step.as_str(), row.outcome.as_deref().unwrap_or("open"))).collect()
    }
}

/// Settings of servers on which nobody else vacuums.
///
/// Commits are flushed at once: VACUUM cannot mark rows visible to all before their commit is.
pub const QUIET: &[&str] = &["autovacuum = off", "synchronous_commit = on"];

/// A target and its control database.
#[derive(Debug)]
pub struct Workplace<'a> {
    pub cluster: &'a Cluster,
    /// The target database.
    pub database: String,
    /// The control database.
    pub control: String,
    /// The ledger in it.
    pub ledger: Ledger,
    target: TargetName,
    connection: Connection,
    outfit: Outfit,
}

impl<'a> Workplace<'a> {
    /// Two databases, the target's filled by `sql`; the jobs work as the superuser.
    pub async fn new(cluster: &'a Cluster, sql: &str) -> Self {
        Self::in_database(cluster, cluster.create_database().await, sql).await
    }

    /// The same with a database that is there already.
    pub async fn in_database(cluster: &'a Cluster, database: String, sql: &str) -> Self {
        let control = cluster.create_database().await;
        cluster.execute(&database, sql).await;
        let ledger = Ledger::new(&connection(&cluster.url(&control)), "pgupkeep/test").unwrap();
        ledger.migrate().await.unwrap();
        let target = TargetName::parse("target").unwrap();
        let connection = connection(&cluster.url(&database));
        Self { cluster, database, control, ledger, target, connection, outfit: Outfit::default() }
    }

    /// The same, but the jobs log in as another role.
    pub fn working_as(mut self, role: &str) -> Self {
        let url = self.cluster.url(&self.database).replacen("postgres@", &format!("{role}@"), 1);
        self.connection = connection(&url);
        self
    }

    /// The same, but the control database is the target, as it is by default.
    pub fn in_control(mut self) -> Self {
        self.database = self.control.clone();
        self.connection = connection(&self.cluster.url(&self.control));
        self
    }

    /// The same with what lies outside the databases.
    pub fn equipped(self, outfit: Outfit) -> Self {
        Self { outfit, ..self }
    }

    /// Runs statements in the target, as the superuser.
    pub async fn execute(&self, sql: &str) {
        self.cluster.execute(&self.database, sql).await;
    }

    /// Sends each statement by itself, since VACUUM cannot be one of several. Before the next one begins the session has
    /// ended, and with it reported to the server's counters: a report that came later would count what ANALYZE has settled.
    pub async fn execute_each(&self, sql: &str) {
        for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
            self.execute(statement).await;
            let text = pgupkeep::pg::statement::literal(statement);
            self.wait_for(&format!(
                "select count(*) = 0 from pg_stat_activity where query = {text} and pid <> pg_backend_pid()"
            ))
            .await;
        }
    }

    /// A session in the target, as the superuser.
    pub async fn session(&self) -> PgConnection {
        self.cluster.connect(&self.database).await
    }

    /// One value from the target, as text.
    pub async fn ask(&self, sql: &str) -> String {
        Self::answer(self.session().await, sql).await
    }

    /// One value from the control database, as text.
    pub async fn ask_control(&self, sql: &str) -> String {
        Self::answer(self.cluster.connect(&self.control).await, sql).await
    }

    async fn answer(mut session: PgConnection, sql: &str) -> String {
        let sql = format!("select ({sql})::text");
        let answer: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut session).await.unwrap();
        answer.unwrap_or_default()
    }

    /// Waits until a session of ours works on a statement that has this text in it.
    pub async fn wait_for_statement(&self, text: &str) {
        let sql = "select exists (select from pg_stat_activity where application_name like 'pgupkeep/%'
                                     and strpos(query, $1) > 0 and pid <> pg_backend_pid())";
        let mut session = self.session().await;
        wait_until(text, MOMENT, async || {
            let seen: bool = sqlx::query_scalar(sql).bind(text).fetch_one(&mut session).await.unwrap();
            seen.then_some(())
        })
        .await;
    }

    /// How many sessions of ours work on a statement that has this text in it.
    pub async fn at_work(&self, text: &str) -> i64 {
        let sql = "select count(*) from pg_stat_activity where application_name like 'pgupkeep/%' and state = 'active'
                      and strpos(query, $1) > 0 and pid <> pg_backend_pid()";
        sqlx::query_scalar(sql).bind(text).fetch_one(&mut self.session().await).await.unwrap()
    }

    /// Waits until a condition holds in the target.
    pub async fn wait_for(&self, condition: &str) {
        wait_until(condition, MOMENT, async || (self.ask(condition).await == "true").then_some(())).await;
    }

    /// The steps that a job would take now.
    pub async fn plan(&self, spec: &JobSpec) -> Vec<String> {
        let mut cx = self.context(spec).await;
        let plan = (kind(&spec.kind).unwrap().plan)(&spec.with, &mut cx).await.unwrap();
        cx.session.close().await;
        plan
    }

    /// What a plan tells besides its steps.
    pub async fn notes(&self, spec: &JobSpec) -> Vec<String> {
        let mut cx = self.context(spec).await;
        (kind(&spec.kind).unwrap().plan)(&spec.with, &mut cx).await.unwrap();
        let notes = cx.notes().to_vec();
        cx.session.close().await;
        notes
    }

    /// A context that can only plan, for what is asked outside a run.
    pub async fn context(&self, spec: &JobSpec) -> Context {
        let session = Session::open(&self.connection, "pgupkeep/plan").await.unwrap();
        Context::for_plan((self.target.clone(), spec.clone()), session, self.ledger.clone())
            .equipped(self.outfit.clone())
    }

    /// Writes a run, claims it, drives it and ends it.
    pub async fn run(&self, spec: &JobSpec) -> Went {
        let run_id = self.insert(spec).await;
        let went = self.attempt(run_id, never()).await;
        let open = went.rows.iter().find(|row| row.outcome.is_none());
        assert_eq!(open, None, "a row was left open");
        if went.finish.end != End::Succeeded {
            // Queued for its next attempt, it would keep its keys from the runs after it.
            self.ledger.cancel_run(run_id).await.unwrap();
        }
        went
    }

    /// Writes a run.
    pub async fn insert(&self, spec: &JobSpec) -> Uuid {
        self.ledger.insert_manual_run(spec, &self.target).await.unwrap()
    }

    /// One attempt at a run, which ends early on an order to stop.
    ///
    /// A run that did not succeed goes back to the queue, so that a test can go on with it.
    pub async fn attempt(&self, run_id: Uuid, orders: watch::Receiver<Option<Stop>>) -> Went {
        self.attempt_for(&self.target, run_id, orders).await
    }

    /// The same for another target on the same server.
    pub async fn attempt_for(&self, target: &TargetName, run_id: Uuid, orders: watch::Receiver<Option<Stop>>) -> Went {
        let drive = async |spec: &JobSpec, cx: &mut Context| (kind(&spec.kind).unwrap().drive)(&spec.with, cx).await;
        self.attempt_on(target, run_id, orders, drive).await
    }

    /// The same, but driven by the test.
    pub async fn attempt_by(
        &self,
        run_id: Uuid,
        orders: watch::Receiver<Option<Stop>>,
        drive: impl AsyncFnOnce(&JobSpec, &mut Context) -> Finish,
    ) -> Went {
        self.attempt_on(&self.target, run_id, orders, drive).await
    }

    async fn attempt_on(
        &self,
        target: &TargetName,
        run_id: Uuid,
        orders: watch::Receiver<Option<Stop>>,
        drive: impl AsyncFnOnce(&JobSpec, &mut Context) -> Finish,
    ) -> Went {
        let capacity = Capacity { targets: vec![(target.clone(), 9)], only: Some(run_id) };
        let length = Duration::from_mins(10);
        let claimed = self.ledger.claim_run(Uuid::new_v4(), &capacity, length).await.unwrap().expect("a run to claim");
        let (lease, spec) = (claimed.lease, claimed.spec);
        let session = Session::open(&self.connection, &lease.session_name()).await.unwrap();
        self.ledger.record_session(&lease, session.pid, session.backend_start).await.unwrap();
        let (_secrets, redactor) = Redactor::new();
        let (ledger, progress) = (self.ledger.clone(), watch::Sender::new(None));
        let journal = Journal { ledger, lease: lease.clone(), redactor, progress };
        let job = (claimed.target, spec.clone());
        let mut cx = Context::new(job, session, journal, orders, None).equipped(self.outfit.clone());
        let finish = drive(&spec, &mut cx).await;
        cx.session.close().await;
        let rows = self.rows(run_id).await;
        let succeeded = finish.end == End::Succeeded;
        let end = AttemptEnd {
            outcome: if succeeded { AttemptOutcome::Succeeded } else { AttemptOutcome::Failed },
            steps_done: finish.done,
            steps_planned: finish.planned,
            error: finish.error(),
            fault: finish.fault,
        };
        let next = if succeeded {
            Next::Finish(Outcome::Succeeded, None)
        } else {
            Next::Queue { delay: Duration::ZERO, reason: "a test goes on".to_owned(), counts: Counts::Failure }
        };
        self.ledger.end_attempt(&lease, &end, &next).await.unwrap();
        Went { finish, rows }
    }

    async fn rows(&self, run_id: Uuid) -> Vec<StepRow> {
        let mut session = self.cluster.connect(&self.control).await;
        let sql = "select * from pgupkeep.step where run_id = $1 order by step_id";
        sqlx::query_as(sql).bind(run_id).fetch_all(&mut session).await.unwrap()
    }
}

fn connection(url: &str) -> Connection {
    Connection { url: Secret::new(url), password: None }
}
