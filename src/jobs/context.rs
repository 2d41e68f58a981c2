//! What a job is given: a session to work in, a journal to write in, and the order to stop.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::journal::Journal;
use super::outfit::Outfit;
use super::until::{Until, Waiting, ordered};
use super::{JobSpec, Measures, StepReport, WithError};
use crate::fault::Fault;
use crate::ledger::step::StepId;
use crate::ledger::{Ledger, LedgerError};
use crate::names::TargetName;
use crate::pg::PgError;
use crate::pg::progress::Seen;
use crate::pg::session::{Returned, Server, Session, SessionError};
use crate::pg::statement::Statement;
use crate::policy::gate::{Stop, gate};
use crate::repository::RepositoryError;
use crate::run_state::StepOutcome;

/// How a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The target failed.
    #[error(transparent)]
    Target(#[from] PgError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run's own copy of `with:` is not understood by this binary.
    #[error("the job's parameters are not understood: {0}")]
    With(#[from] WithError),
    /// We were told to stop.
    #[error("{0}")]
    Stopped(Stop),
    /// The job found that it cannot be done.
    #[error("{message}")]
    Refused {
        /// How this is handled.
        fault: Fault,
        /// What was found, and what to do.
        message: String,
    },
}

impl JobError {
    /// The code that the program handles this by.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Target(error) => error.fault(),
            Self::Ledger(error) => error.fault(),
            Self::With(_) => Fault::Internal,
            Self::Stopped(Stop::TimedOut) => Fault::Timeout,
            Self::Stopped(_) => Fault::Interrupted,
            Self::Refused { fault, .. } => *fault,
        }
    }
}

impl From<SessionError> for JobError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Pg(error) => Self::Target(error),
            SessionError::Stopped => Self::Stopped(Stop::TimedOut),
        }
    }
}

impl From<RepositoryError> for JobError {
    fn from(error: RepositoryError) -> Self {
        Self::Refused { fault: error.fault(), message: error.to_string() }
    }
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        Self::Target(error.into())
    }
}

/// A row that a step has open.
#[derive(Debug)]
struct OpenRow {
    id: StepId,
    /// The rows that its statement has changed or returned; `None` for a command, which is not done yet.
    rows: Option<i64>,
}

/// Everything that a job may use.
#[derive(Debug)]
pub struct Context {
    /// The target it is for.
    pub target: TargetName,
    /// The job; inside a sequence, the inner one.
    pub spec: JobSpec,
    /// The session to work in.
    pub session: Session,
    /// What lies outside the databases.
    pub outfit: Outfit,
    journal: Option<Journal>,
    orders: watch::Receiver<Option<Stop>>,
    closes: Option<Instant>,
    open: Option<OpenRow>,
    ledger: Ledger,
    inside: Option<Inside>,
    /// In a part of a job: how long ago it began. The bytes of its steps are left out, since the job measures all of them itself.
    part_began_ago: Option<Duration>,
    notes: Vec<String>,
}

/// What a sequence's context holds while one of its jobs works.
#[derive(Debug)]
struct Inside {
    outer: JobSpec,
    deadline: Option<Instant>,
}

impl Context {
    /// A context that can plan and perform.
    pub fn new(
        (target, spec): (TargetName, JobSpec),
        session: Session,
        journal: Journal,
        orders: watch::Receiver<Option<Stop>>,
        closes: Option<Instant>,
    ) -> Self {
        let (ledger, journal) = (journal.ledger.clone(), Some(journal));
        let outfit = Outfit::default();
        Self {
            target,
            spec,
            session,
            outfit,
            journal,
            orders,
            closes,
            open: None,
            ledger,
            inside: None,
            part_began_ago: None,
            notes: Vec::new(),
        }
    }

    /// A context that can only plan: it has no journal, so it sends nothing.
    pub fn for_plan((target, spec): (TargetName, JobSpec), session: Session, ledger: Ledger) -> Self {
        let (_, orders) = watch::channel(None);
        let (journal, closes, open, inside) = (None, None, None, None);
        let outfit = Outfit::default();
        let (notes, part_began_ago) = (Vec::new(), None);
        Self { target, spec, session, outfit, journal, orders, closes, open, ledger, inside, part_began_ago, notes }
    }

    /// The same with what lies outside the databases.
    #[must_use]
    pub fn equipped(self, outfit: Outfit) -> Self {
        Self { outfit, ..self }
    }

    /// What the target is.
    pub const fn server(&self) -> Server {
        self.session.server
    }

    /// The connection for reading facts: 15 s for a statement, 3 s for a lock, never inside a transaction.
    ///
    /// # Errors
    /// When it has to be opened anew and cannot.
    pub async fn reader(&mut self) -> Result<&mut sqlx::PgConnection, JobError> {
        Ok(self.session.reader().await?)
    }

    /// Takes the session's connection back that was lent for a conversation, and hands on how that ended.
    ///
    /// # Errors
    /// The conversation's own failure; else that the session could not go on.
    pub async fn take_back<T>(&mut self, conn: sqlx::PgConnection, ended: Result<T, JobError>) -> Result<T, JobError> {
        let returned = match self.session.take_back(conn, ended.is_ok()).await {
            Ok(Returned::Same) => Ok(()),
            Ok(Returned::Anew) => match &self.journal {
                Some(Journal { ledger, lease, .. }) => ledger
                    .record_session(lease, self.session.pid, self.session.backend_start)
                    .await
                    .map_err(JobError::from),
                None => Ok(()),
            },
            Err(error) => Err(error.into()),
        };
        let value = ended?;
        returned?;
        Ok(value)
    }

    /// Whether the next step may begin.
    ///
    /// # Errors
    /// [`JobError::Stopped`] with the reason.
    pub fn gate(&self) -> Result<(), JobError> {
        let now = Instant::now();
        gate(self.orders.borrow().as_ref(), self.closes, now).map_err(JobError::Stopped)?;
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(JobError::Stopped(Stop::TimedOut)),
            _ => Ok(()),
        }
    }

    /// Waits between two looks at the world, or until the order to stop.
    ///
    /// # Errors
    /// [`JobError::Stopped`] with the reason.
    pub async fn pause(&mut self, length: Duration) -> Result<(), JobError> {
        let mut orders = self.orders.clone();
        tokio::select! {
            () = tokio::time::sleep(length) => self.gate(),
            stop = ordered(&mut orders, self.deadline()) => Err(JobError::Stopped(stop)),
        }
    }

    /// Puts a statement on record and sends it; its row stays open until [`Context::settle`].
    ///
    /// # Errors
    /// When it could not be put on record, then it was not sent; when it failed or was stopped, then its row says so.
    pub async fn send(&mut self, step: &str, statement: &Statement) -> Result<u64, JobError> {
        self.send_until(step, statement, Until::Ordered).await
    }

    /// The same, with something else that may end the statement early.
    ///
    /// # Errors
    /// As [`Context::send`]; a limit that was reached is [`JobError::Refused`] with [`Fault::Locked`].
    pub async fn send_until(&mut self, step: &str, statement: &Statement, until: Until) -> Result<u64, JobError> {
        if until.heeds_orders() {
            self.gate()?;
        }
        let journal = self.journal()?.clone();
        let id = journal.begin(&self.spec, step, Some(statement.as_str())).await?;
        let (mut orders, deadline) = (self.orders.clone(), self.deadline());
        let waiting = watch::Sender::new(None::<Waiting>);
        let (wait, progress, why) = (waiting.subscribe(), journal.progress.clone(), watch::Sender::new(None));
        let stop = async {
            let ended = tokio::select! {
                biased;
                stop = ordered(&mut orders, deadline), if until.heeds_orders() => JobError::Stopped(stop),
                refused = until.reached(wait) => refused,
            };
            why.send_replace(Some(ended));
        };
        let on_look = |seen: Seen| {
            Waiting::note(&waiting, seen.waits_for);
            if let Some(seen) = seen.progress {
                progress.send_replace(Some(seen));
            }
        };
        let sent = self.session.send(statement, stop, on_look).await;
        progress.send_replace(None);
        match sent {
            Ok(rows) => {
                self.open = Some(OpenRow { id, rows: Some(i64::try_from(rows).unwrap_or(i64::MAX)) });
                Ok(rows)
            }
            Err(SessionError::Stopped) => {
                let stopped = why.send_replace(None).unwrap_or(JobError::Stopped(Stop::TimedOut));
                close_failed(&journal, id, stopped).await
            }
            Err(SessionError::Pg(error)) => close_failed(&journal, id, JobError::Target(error)).await,
        }
    }

    /// Puts a conversation of several statements on record and holds it; its row stays open until [`Context::settle`].
    ///
    /// The conversation is on a connection that [`Session::lend`] gave, and has the form of a transaction: when it is
    /// not `Ok`, it has changed nothing once the connection is given back.
    ///
    /// # Errors
    /// As [`Context::send`].
    pub async fn oversee<T>(
        &mut self,
        step: &str,
        script: &Statement,
        conversation: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        self.gate()?;
        let journal = self.journal()?.clone();
        let id = journal.begin(&self.spec, step, Some(script.as_str())).await?;
        let (mut orders, deadline) = (self.orders.clone(), self.deadline());
        let (progress, why) = (journal.progress.clone(), watch::Sender::new(None));
        let stop = async {
            why.send_replace(Some(ordered(&mut orders, deadline).await));
        };
        let on_look = |seen: Seen| {
            if let Some(seen) = seen.progress {
                progress.send_replace(Some(seen));
            }
        };
        let ended = self.session.oversee(conversation, stop, on_look).await;
        progress.send_replace(None);
        match ended {
            Ok(result) => {
                self.open = Some(OpenRow { id, rows: None });
                Ok(result)
            }
            Err(error) => {
                let stopped = why.send_replace(None);
                close_failed(&journal, id, stopped.map_or(error, JobError::Stopped)).await
            }
        }
    }

    /// Puts a command on record that is no statement, such as a program that is about to be started; its row stays
    /// open until [`Context::settle`], or until the step fails.
    ///
    /// # Errors
    /// When it could not be put on record, then it must not be started; [`JobError::Stopped`] when we are to stop.
    pub async fn begin(&mut self, step: &str, command: &str) -> Result<(), JobError> {
        self.gate()?;
        let journal = self.journal()?.clone();
        let id = journal.begin(&self.spec, step, Some(command)).await?;
        self.open = Some(OpenRow { id, rows: None });
        Ok(())
    }

    /// Whether the present step has a row already.
    pub const fn has_begun(&self) -> bool {
        self.open.is_some()
    }

    /// Waits for the order to stop, for work that is no statement; for ever when nobody gives one.
    pub fn stop(&self) -> impl Future<Output = Stop> + Send + 'static {
        let (mut orders, deadline) = (self.orders.clone(), self.deadline());
        async move { ordered(&mut orders, deadline).await }
    }

    /// Closes the step's row with what became of it; writes a row for a step that sent nothing.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn settle(&mut self, step: &str, report: &StepReport) -> Result<(), JobError> {
        let (outcome, measures, reason) = match report {
            StepReport::Done(measures) => (StepOutcome::Done, measures, None),
            StepReport::NotDone { reason, measures, .. } => (StepOutcome::NotDone, measures, Some(reason.as_str())),
        };
        let mut measures = measures.clone();
        if self.part_began_ago.is_some() {
            (measures.bytes_before, measures.bytes_after) = (None, None);
        }
        let journal = self.journal()?.clone();
        let id = match self.open.take() {
            Some(OpenRow { id, rows }) => {
                measures.rows = measures.rows.or(rows);
                id
            }
            None => journal.begin(&self.spec, step, None).await?,
        };
        journal.end(id, outcome, &measures, reason).await
    }

    /// Closes the row that a step left open because it failed after its statement had ended well.
    ///
    /// Without this the row would be closed by whatever step comes next, with that one's report.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn abandon(&mut self, error: &JobError) -> Result<(), JobError> {
        let Some(OpenRow { id, rows }) = self.open.take() else { return Ok(()) };
        let outcome = match error {
            JobError::Stopped(_) => StepOutcome::Cancelled,
            _ if rows.is_none() => StepOutcome::Failed,
            _ => StepOutcome::NotDone,
        };
        let measures = Measures { rows, ..Measures::default() };
        let error = match rows {
            Some(_) => format!("the statement ended, but what it did could not be checked: {error}"),
            None => error.to_string(),
        };
        let journal = self.journal()?.clone();
        journal.end(id, outcome, &measures, Some(&error)).await
    }

    /// Turns to a job of a sequence, until [`Context::leave`]: rows carry its name, its own `timeout` limits it.
    pub fn enter(&mut self, inner: &JobSpec) {
        let deadline = inner.timeout().and_then(|timeout| Instant::now().checked_add(timeout));
        let outer = std::mem::replace(&mut self.spec, inner.clone());
        self.inside = Some(Inside { outer, deadline });
    }

    /// Has another job's work done as a part of the present one's, which measures the bytes of all of it itself: they would
    /// count twice. What was done before `began_ago` does not count as done.
    pub async fn as_a_part<T>(&mut self, began_ago: Duration, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        self.part_began_ago = Some(began_ago);
        let done = work(self).await;
        self.part_began_ago = None;
        done
    }

    /// Turns back to the sequence.
    pub fn leave(&mut self) {
        if let Some(Inside { outer, .. }) = self.inside.take() {
            self.spec = outer;
        }
    }

    /// How long ago the present job's work began, its run's earlier attempts included; `None` for a mere plan.
    ///
    /// Inside a sequence that is when the job before it was done, and in a part of a job when that began. By the control
    /// database's clock.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn job_age(&self) -> Result<Option<Duration>, JobError> {
        if self.part_began_ago.is_some() {
            return Ok(self.part_began_ago);
        }
        let Some(journal) = &self.journal else { return Ok(None) };
        let sequence = self.inside.as_ref().map(|inside| inside.outer.name.as_str());
        Ok(Some(journal.ledger.job_age(&journal.lease, sequence).await?))
    }

    /// The steps of the present job that earlier attempts at this run have settled as done without a statement of
    /// their own; a sequence asks for its inner jobs.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn steps_done(&self) -> Result<Vec<String>, JobError> {
        match &self.journal {
            Some(journal) => Ok(journal.ledger.steps_done(&journal.lease, self.spec.name.as_str()).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The run that works; nothing for a mere plan.
    pub fn run_id(&self) -> Option<Uuid> {
        self.journal.as_ref().map(|journal| journal.lease.run_id)
    }

    /// Tells people something about a plan that is no step of it: what is left out and why, what is expected.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            tracing::info!("{note}");
            self.notes.push(note);
        }
    }

    /// What was told about the plan.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The run, and when it fell due; `None` for a mere plan.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn run_due(&self) -> Result<Option<(Uuid, Timestamp)>, JobError> {
        let Some(journal) = &self.journal else { return Ok(None) };
        Ok(Some((journal.lease.run_id, journal.ledger.run_due(&journal.lease).await?)))
    }

    /// The name that our sessions on the target have, for those of our programs.
    pub fn session_name(&self) -> String {
        self.journal.as_ref().map_or_else(|| "pgupkeep/plan".to_owned(), |journal| journal.lease.session_name())
    }

    /// The ledger, for the jobs that look after it.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn deadline(&self) -> Option<Instant> {
        self.inside.as_ref().and_then(|inside| inside.deadline)
    }

    fn journal(&self) -> Result<&Journal, JobError> {
        self.journal.as_ref().ok_or_else(|| JobError::Refused {
            fault: Fault::Internal,
            message: "a plan must not send statements; nothing was sent".to_owned(),
        })
    }
}

/// Closes the row of what did not end well.
async fn close_failed<T>(journal: &Journal, id: StepId, error: JobError) -> Result<T, JobError> {
    let outcome = match &error {
        JobError::Stopped(_) | JobError::Refused { fault: Fault::Locked, .. } => StepOutcome::Cancelled,
        error if error.fault() == Fault::Unreachable => StepOutcome::Lost,
        _ => StepOutcome::Failed,
    };
    journal.end(id, outcome, &Measures::default(), Some(&error.to_string())).await?;
    Err(error)
}
