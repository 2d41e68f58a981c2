//! One attempt at a claimed run, as a row of small steps: reach the target, lock, drive, unlock, end.
//!
//! Beside the work run its guards: the heartbeat that keeps the lease and hears of a cancel, the deadline, and the
//! order to halt. A panic in a job ends the attempt and nothing else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Shared;
use super::availability::{Unfit, unfit_because};
use crate::fault::Fault;
use crate::jobs::context::Context;
use crate::jobs::drive::{End, Finish};
use crate::jobs::journal::Journal;
use crate::jobs::kind;
use crate::ledger::LedgerError;
use crate::ledger::lease::{AttemptEnd, Counts, Lease, Next};
use crate::ledger::run::Claimed;
use crate::lengths::rough;
use crate::pg::progress::Progress;
use crate::pg::session::Session;
use crate::policy::gate::Stop;
use crate::policy::retry::back_off;
use crate::run_state::{AttemptOutcome, Outcome};

/// How often a worker says that it is alive, at the most; a shorter lease makes it more often.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a worker goes on trying to record how an attempt ended, once it was told to halt.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How the work of an attempt ended, before it is on record.
#[derive(Debug, PartialEq)]
enum Worked {
    /// The job was driven.
    Driven(Finish),
    /// Nothing was begun: back to the queue.
    HandedBack { delay: Duration, reason: String },
    /// Nothing was begun, and trying again cannot help.
    Refused { fault: Fault, error: String },
}

/// Performs a claimed run and records how that ended; gives back the outcome when the run ended with it.
pub async fn perform(shared: &Shared, claimed: Claimed) -> Option<Outcome> {
    let span = tracing::info_span!(
        "run",
        run = %claimed.lease.run_id,
        job = %claimed.spec.name,
        target = %claimed.target,
        attempt = claimed.lease.attempt,
    );
    Box::pin(perform_in_span(shared, claimed).instrument(span)).await
}

async fn perform_in_span(shared: &Shared, claimed: Claimed) -> Option<Outcome> {
    let began = Instant::now();
    let _held = shared.in_hand.take(claimed.lease.run_id);
    tracing::debug!(trigger = %claimed.trigger, due_at = %claimed.due_at, kind = claimed.spec.kind, "attempt begins");
    let (order, orders) = watch::channel(None);
    let progress = watch::Sender::new(None);
    let worked = {
        let work = contained(work_on(shared, &claimed, began, orders, progress.clone()));
        tokio::select! {
            worked = work => worked,
            () = guard(shared, &claimed, &order, progress.subscribe()) => return None,
        }
    };
    let (end, next) = conclude(worked, &claimed, began.elapsed());
    let clean = |text: String| shared.redactor.clean(&text);
    let end = AttemptEnd { error: end.error.map(clean), ..end };
    let next = match next {
        Next::Finish(outcome, reason) => Next::Finish(outcome, reason.map(clean)),
        Next::Queue { delay, reason, counts } => Next::Queue { delay, reason: clean(reason), counts },
    };
    let recorded = record(shared, &claimed.lease, &end, &next).await;
    let elapsed = rough(began.elapsed());
    match (recorded, next) {
        (Err(LedgerError::LeaseLost(_)), _) => {
            tracing::warn!(
                outcome = %end.outcome, %elapsed, error = end.error,
                "the run is not ours any more, since the lease ran out; how this attempt ended here is not on record"
            );
            None
        }
        (Err(error), _) => {
            tracing::error!(fault = %error.fault(), %error, "the attempt's end could not be recorded");
            None
        }
        (Ok(()), Next::Finish(outcome, reason)) => {
            let remark = end.error.or(reason);
            if outcome.is_trouble() {
                let hint = end.fault.map(Fault::hint);
                tracing::error!(%outcome, %elapsed, steps = end.steps_done, error = remark, hint, "run ended");
            } else {
                tracing::info!(%outcome, %elapsed, steps = end.steps_done, remark, "run ended");
            }
            Some(outcome)
        }
        (Ok(()), Next::Queue { delay, reason, .. }) => {
            tracing::info!(%elapsed, delay = %rough(delay), reason, "run goes back to the queue");
            None
        }
    }
}

/// Reaches the target, takes the locks, drives the job.
async fn work_on(
    shared: &Shared,
    claimed: &Claimed,
    began: Instant,
    orders: watch::Receiver<Option<Stop>>,
    progress: watch::Sender<Option<Progress>>,
) -> Worked {
    let target = shared.config.borrow().targets.get(&claimed.target).cloned();
    let (Some(target), Some(kind)) = (target, kind(&claimed.spec.kind)) else {
        return hand_back(claimed, "its target or kind is not known to this daemon any more".to_owned());
    };
    let mut session = match Session::open(&target.connection, &claimed.lease.session_name()).await {
        Ok(session) => session,
        Err(error) => {
            return match unfit_because(&error) {
                Some(unfit) => {
                    shared.availability.note(&claimed.target, &unfit);
                    hand_back(claimed, unfit.to_string())
                }
                None => Worked::Refused { fault: error.fault(), error: error.to_string() },
            };
        }
    };
    if session.server.in_recovery {
        session.close().await;
        shared.availability.note(&claimed.target, &Unfit::Standby);
        return hand_back(claimed, Unfit::Standby.to_string());
    }
    match session.try_locks(&claimed.exclusive_keys).await {
        Ok(None) => {}
        Ok(Some(key)) => {
            session.close().await;
            return hand_back(claimed, format!("another session holds the advisory lock of {key:?} on the target"));
        }
        Err(error) => return hand_back(claimed, error.to_string()),
    }
    if let Err(error) = shared.ledger.record_session(&claimed.lease, session.pid, session.backend_start).await {
        session.close().await;
        return hand_back(claimed, error.to_string());
    }
    let journal = Journal {
        ledger: shared.ledger.clone(),
        lease: claimed.lease.clone(),
        redactor: shared.redactor.clone(),
        progress,
    };
    let what = (claimed.target.clone(), claimed.spec.clone());
    let closes = claimed.closes_at.map(|closes| began + until(closes, claimed.claimed_at));
    let outfit = shared.config.borrow().outfit();
    let mut cx = Context::new(what, session, journal, orders, closes).equipped(outfit);
    let finish = (kind.drive)(&claimed.spec.with, &mut cx).await;
    let mut session = cx.session;
    // Unlocked before the run's end is on record, so that who is next does not find the lock still held.
    if session.is_usable()
        && let Err(error) = session.unlock().await
    {
        tracing::debug!(%error, "the locks end with the session");
    }
    session.close().await;
    Worked::Driven(finish)
}

fn until(later: jiff::Timestamp, earlier: jiff::Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// Back to the queue; the more often that happened, the longer it waits.
fn hand_back(claimed: &Claimed, reason: String) -> Worked {
    let delay = Duration::from_secs(u64::from(claimed.lease.attempt.unsigned_abs()).clamp(2, 60));
    Worked::HandedBack { delay, reason }
}

/// A panic in a job is that job's failure; the worker and its daemon go on.
async fn contained(work: impl Future<Output = Worked>) -> Worked {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Worked::Driven(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Finish {
    let words = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let problem = format!("a defect in pgupkeep ended the job: {words}");
    Finish { end: End::Failed, done: 0, planned: 0, problems: vec![problem], fault: Some(Fault::Internal) }
}

/// Keeps the lease, and gives the order to stop; returns only when there is nothing left to guard.
async fn guard(
    shared: &Shared,
    claimed: &Claimed,
    order: &watch::Sender<Option<Stop>>,
    progress: watch::Receiver<Option<Progress>>,
) {
    let stop = |reason: Stop| {
        order.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason);
            }
            first
        });
    };
    let deadline = async {
        match claimed.spec.timeout() {
            Some(timeout) => {
                tokio::time::sleep(timeout).await;
                stop(Stop::TimedOut);
            }
            None => std::future::pending().await,
        }
    };
    let halted = async {
        shared.halt.cancelled().await;
        stop(Stop::Shutdown);
    };
    let heartbeat = keep_lease(shared, &claimed.lease, progress, &stop);
    tokio::join!(deadline, halted, heartbeat);
    // Every order is given; the work itself decides when it ends.
    std::future::pending::<()>().await;
}

/// Extends the lease until the work ends, and gives the order to stop when somebody cancelled or the lease is lost.
async fn keep_lease(shared: &Shared, lease: &Lease, progress: watch::Receiver<Option<Progress>>, stop: &impl Fn(Stop)) {
    let length = shared.config.borrow().lease;
    let mut until = lease.until();
    let mut ear = shared.work.listen();
    loop {
        let seen = progress.borrow().clone();
        match shared.ledger.extend_lease(lease, length, seen.as_ref()).await {
            Ok(beat) => {
                until = beat.until;
                if let Some(by) = beat.cancel_requested_by {
                    // The lease is kept all the same: stopping may take a while.
                    stop(Stop::Cancelled { by });
                }
            }
            Err(LedgerError::LeaseLost(_)) => return stop(Stop::LeaseLost),
            Err(error) => {
                tracing::debug!(%error, "a heartbeat failed");
                if Instant::now() >= until {
                    return stop(Stop::LeaseLost);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(HEARTBEAT.min(length / 3)) => {}
            () = ear.heard() => {}
        }
    }
}

/// Decides where the run goes from here.
fn conclude(worked: Worked, claimed: &Claimed, elapsed: Duration) -> (AttemptEnd, Next) {
    let end = |outcome, error, fault, done, planned| AttemptEnd {
        outcome,
        steps_done: done,
        steps_planned: planned,
        error,
        fault,
    };
    let finish = match worked {
        Worked::HandedBack { delay, reason } => {
            let next = Next::Queue { delay, reason, counts: Counts::Nothing };
            return (end(AttemptOutcome::HandedBack, None, None, 0, 0), next);
        }
        Worked::Refused { fault, error } => {
            Finish { end: End::Failed, done: 0, planned: 0, problems: vec![error], fault: Some(fault) }
        }
        Worked::Driven(finish) => finish,
    };
    let (error, fault) = (finish.error(), finish.fault);
    let (done, planned) = (finish.done, finish.planned);
    let (attempt_outcome, outcome) = match finish.end {
        End::Succeeded => {
            let reason = (planned == 0).then(|| "nothing to do".to_owned());
            let ended = end(AttemptOutcome::Succeeded, None, None, done, planned);
            return (ended, Next::Finish(Outcome::Succeeded, reason));
        }
        End::Stopped(stop) => return stopped(&stop, end(AttemptOutcome::HandedBack, error, fault, done, planned)),
        End::Partial => (AttemptOutcome::Partial, Outcome::Partial),
        End::Failed => (AttemptOutcome::Failed, Outcome::Failed),
    };
    let again = back_off(fault.unwrap_or(Fault::Internal), claimed.failures + 1, claimed.spec.retries)
        .filter(|delay| claimed.closes_at.is_none_or(|closes| elapsed + *delay < until(closes, claimed.claimed_at)));
    let next = match again {
        Some(delay) => {
            let reason = format!("attempt {} {attempt_outcome}; it is tried again", claimed.lease.attempt);
            Next::Queue { delay, reason, counts: Counts::Failure }
        }
        None => Next::Finish(outcome, None),
    };
    (end(attempt_outcome, error, fault, done, planned), next)
}

fn stopped(stop: &Stop, end: AttemptEnd) -> (AttemptEnd, Next) {
    let words = stop.to_string();
    match stop {
        Stop::Cancelled { .. } => {
            let end = AttemptEnd { outcome: AttemptOutcome::Cancelled, error: None, fault: None, ..end };
            (end, Next::Finish(Outcome::Cancelled, Some(words)))
        }
        Stop::TimedOut => {
            let end = AttemptEnd { outcome: AttemptOutcome::TimedOut, fault: Some(Fault::Timeout), ..end };
            (end, Next::Finish(Outcome::TimedOut, None))
        }
        Stop::WindowClosed => {
            let end = AttemptEnd { outcome: AttemptOutcome::Partial, ..end };
            (end, Next::Finish(Outcome::Partial, Some(words)))
        }
        Stop::Shutdown | Stop::LeaseLost => {
            let reason = format!("handed back: {words}");
            let end = AttemptEnd { outcome: AttemptOutcome::HandedBack, error: None, fault: None, ..end };
            (end, Next::Queue { delay: Duration::ZERO, reason, counts: Counts::Nothing })
        }
    }
}

/// Records the end, for as long as it takes while the control database is away: the token guards against writing
/// over somebody else's attempt.
async fn record(shared: &Shared, lease: &Lease, end: &AttemptEnd, next: &Next) -> Result<(), LedgerError> {
    let mut last_word: Option<Instant> = None;
    loop {
        match shared.ledger.end_attempt(lease, end, next).await {
            Err(error) if error.is_passing() => {
                if shared.halt.is_cancelled() {
                    let limit = *last_word.get_or_insert_with(|| Instant::now() + LAST_WORD);
                    if Instant::now() >= limit {
                        return Err(error);
                    }
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::panic, reason = "what is tested")]
    async fn a_panic_in_a_job_becomes_its_failure() {
        let worked = contained(async { panic!("index out of bounds") }).await;
        let Worked::Driven(finish) = worked else { panic!("not driven") };
        assert_eq!(finish.end, End::Failed);
        assert_eq!(finish.fault, Some(Fault::Internal));
        assert_eq!(finish.error().as_deref(), Some("a defect in pgupkeep ended the job: index out of bounds"));
    }
}
