//! The scheduler: turns due instants into rows.
//!
//! It wakes by the alarm, and by its own second arm: the next due instant, or 30 s, whichever comes first. What is due
//! is decided on the control database's clock; between two looks at it our monotonic clock stands in, which no step
//! of a wall clock disturbs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::reload::take_back;
use super::{Pulse, Shared};
use crate::calendar::{self, Disposition, Due, Firing, Overlap, Plan};
use crate::config::{Config, Entry};
use crate::ledger::LedgerError;
use crate::ledger::run::NewRun;
use crate::ledger::schedule::{Cursor, Decision, Move, View};
use crate::names::EntryName;
use crate::policy::overlap::{Active, reason_to_skip};
use crate::run_state::{Outcome, RunState, Trigger};

/// The longest time between two looks at the control database.
const FALLBACK: Duration = Duration::from_secs(30);
/// How soon to look again when another daemon had the turn.
const OTHERS_TURN: Duration = Duration::from_millis(200);
/// How soon to look again while the control database is away.
const AWAY: Duration = Duration::from_secs(1);
/// How soon to look again while entries of ours are not ours.
const FOREIGN: Duration = Duration::from_secs(5);
/// A cursor that is so far ahead of the database's clock is worth a warning.
const AHEAD: Duration = Duration::from_mins(1);

/// How many rows one round of planning writes, roughly: a long downtime is made up for in several short transactions.
const MOST_ROWS: usize = 2_000;

/// After so many looks in a row at which an entry was not ours another configuration has taken it: one alone may be a
/// reload under way.
const DISPLACED: u32 = 2;

/// What the scheduler has said already, so that it says it once.
#[derive(Debug, Default)]
pub struct Said {
    /// Entries whose cursor was not ours, and at how many looks in a row.
    foreign: BTreeMap<EntryName, u32>,
    ahead: BTreeSet<EntryName>,
}

/// Plans until told to take on nothing more.
pub async fn run(shared: Shared, pulse: watch::Sender<Pulse>) {
    let mut alarm = shared.clock.listen();
    let mut config = shared.config.clone();
    let mut said = Said::default();
    while !shared.drain.is_cancelled() {
        let look_at = Instant::now()
            + match shared.told("scheduler", once(&shared, &mut said).await) {
                Some(Some((now, next))) => {
                    let next_text = next.as_ref().map(|(instant, entry)| format!("{entry} at {instant}"));
                    pulse.send_replace(Pulse { at: Some(Instant::now()), next: next_text });
                    let most = if said.foreign.is_empty() { FALLBACK } else { FOREIGN };
                    next.map_or(FALLBACK, |(instant, _)| wait_for(instant, now)).min(most)
                }
                Some(None) => OTHERS_TURN,
                None => AWAY,
            };
        pulse.send_modify(|pulse| pulse.at = Some(Instant::now()));
        let second_arm = tokio::time::sleep_until(look_at);
        tokio::pin!(second_arm);
        loop {
            tokio::select! {
                () = &mut second_arm => break,
                () = alarm.heard() => if Instant::now() >= look_at { break },
                _ = config.changed() => break,
                () = shared.drain.cancelled() => return,
            }
        }
    }
}

fn wait_for(instant: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO).min(FALLBACK)
}

/// Plans once. Gives back the database's clock with the next instant and its entry; `None` when it was another
/// daemon's turn.
///
/// # Errors
/// When the control database fails; nothing is written then.
pub async fn once(
    shared: &Shared,
    said: &mut Said,
) -> Result<Option<(Timestamp, Option<(Timestamp, EntryName)>)>, LedgerError> {
    let config = shared.config.borrow().clone();
    let mut decision = Decision::default();
    let planned = shared
        .ledger
        .plan_firings(|view| {
            decision = decide(&config, view);
            decision.clone()
        })
        .await?;
    let Some((view, written)) = planned else { return Ok(None) };
    tell(&decision.runs, &written);
    said.look(&config, &view);
    if said.is_displaced() && take_back(&shared.ledger, shared.daemon_id, &config).await? {
        return Ok(None);
    }
    if decision.runs.iter().any(|run| run.state == RunState::Queued) {
        shared.work.ring();
    }
    let expired = shared.ledger.expire_runs().await?;
    if expired > 0 {
        tracing::warn!(runs = expired, "windows closed before runs could be started");
    }
    let mut next = next_of(&config, &view, &decision);
    if decision.runs.len() >= MOST_ROWS {
        // There may be more that is due: come round at once.
        next = next.map(|(_, entry)| (view.now, entry));
    }
    Ok(Some((view.now, next)))
}

/// Decides about everything that is due: pure.
pub fn decide(config: &Config, view: &View) -> Decision {
    let mut decision = Decision::default();
    let mut active = view.active.clone();
    for entry in &config.entries {
        // What does not fit keeps its cursor, and its turn comes at once after this one.
        if decision.runs.len() >= MOST_ROWS {
            break;
        }
        let Some(cursor) = own_cursor(entry, &view.cursors) else { continue };
        let due = calendar::due(&plan_of(entry), cursor.at, view.now);
        if due.firings.is_empty() && due.next_due == cursor.next_due_at {
            continue;
        }
        for firing in &due.firings {
            decision.runs.extend(rows_of(config, entry, firing, &mut active));
        }
        let Due { cursor, next_due, .. } = due;
        decision.cursors.push(Move { entry: entry.name.clone(), cursor_at: cursor, next_due_at: next_due });
    }
    decision
}

/// The cursor that belongs to this entry as it is configured here; another daemon may have loaded another one.
/// The cursor of an entry, where it is that of this configuration's definition.
pub fn own_cursor<'a>(entry: &Entry, cursors: &'a [Cursor]) -> Option<&'a Cursor> {
    cursors.iter().find(|cursor| {
        cursor.entry == entry.name && cursor.retired_at.is_none() && cursor.definition == entry.cadence.fingerprint()
    })
}

/// All that decides about an entry's firings.
pub fn plan_of(entry: &Entry) -> Plan<'_> {
    Plan {
        cadence: &entry.cadence,
        window: entry.window.as_ref().map(|(_, window)| window),
        jitter: entry.jitter,
        catch_up: entry.catch_up,
        catch_up_limit: entry.catch_up_limit,
        entry: entry.name.as_str(),
        paused: entry.paused,
    }
}

/// The rows of one firing, one for each target of the job.
fn rows_of(config: &Config, entry: &Entry, firing: &Firing, active: &mut Vec<Active>) -> Vec<NewRun> {
    let Some(job) = config.jobs.get(&entry.job) else { return Vec::new() };
    let row = |target, trigger| NewRun::queued(Some(entry.name.clone()), &job.spec, target, trigger, firing.due_at);
    job.targets
        .iter()
        .map(|target| match &firing.disposition {
            Disposition::Missed { reason } => row(target, Trigger::Schedule).finished(Outcome::Missed, reason.clone()),
            Disposition::Skipped { reason } => {
                row(target, Trigger::Schedule).finished(Outcome::Skipped, reason.clone())
            }
            Disposition::Run { trigger, eligible_at, closes_at } => {
                let run = NewRun { eligible_at: *eligible_at, closes_at: *closes_at, ..row(target, *trigger) };
                match trigger {
                    // A firing that is made up for was asked for by name, so the overlap rule does not drop it.
                    Trigger::CatchUp => queue(run, active),
                    _ => admit(run, entry.overlap, active),
                }
            }
        })
        .collect()
}

/// Puts a run into the queue, or ends it as skipped when its job is still at it on this target.
pub fn admit(run: NewRun, overlap: Overlap, active: &mut Vec<Active>) -> NewRun {
    match reason_to_skip(overlap, &run.job, run.target.as_str(), active) {
        Some(reason) => run.finished(Outcome::Skipped, reason),
        None => queue(run, active),
    }
}

fn queue(run: NewRun, active: &mut Vec<Active>) -> NewRun {
    let (job, target) = (run.job.clone(), run.target.to_string());
    active.push(Active { job, target, run_id: run.run_id, state: RunState::Queued });
    run
}

fn next_of(config: &Config, view: &View, decision: &Decision) -> Option<(Timestamp, EntryName)> {
    config
        .entries
        .iter()
        .filter_map(|entry| {
            let moved = decision.cursors.iter().find(|moved| moved.entry == entry.name);
            let next = match moved {
                Some(moved) => moved.next_due_at,
                None => own_cursor(entry, &view.cursors)?.next_due_at,
            };
            Some((next?, entry.name.clone()))
        })
        .min()
}

/// Logs what was written: each run by itself, what was missed or skipped in one line an entry and target.
fn tell(runs: &[NewRun], written: &[Uuid]) {
    let written: BTreeSet<&Uuid> = written.iter().collect();
    let mut ended = BTreeMap::<_, Vec<&NewRun>>::new();
    for run in runs.iter().filter(|run| written.contains(&run.run_id)) {
        let entry = run.entry.as_ref().map(ToString::to_string).unwrap_or_default();
        match run.outcome {
            Some(outcome) => ended.entry((entry, run.target.clone(), outcome)).or_default().push(run),
            None => tracing::info!(
                run = %run.run_id, entry, job = run.job, target = %run.target, due_at = %run.due_at,
                trigger = %run.trigger, "fired"
            ),
        }
    }
    for ((entry, target, outcome), runs) in ended {
        let [first, .., last] = runs.as_slice() else {
            let Some(run) = runs.first() else { continue };
            tracing::warn!(run = %run.run_id, entry, %target, due_at = %run.due_at, reason = run.reason, "{outcome}");
            continue;
        };
        tracing::warn!(
            entry, %target, firings = runs.len(), from = %first.due_at, to = %last.due_at, reason = last.reason,
            "{outcome}"
        );
    }
}

impl Said {
    /// Whether another configuration has taken entries of ours away.
    fn is_displaced(&self) -> bool {
        self.foreign.values().any(|looks| *looks >= DISPLACED)
    }

    /// Says once what is odd about the cursors.
    fn look(&mut self, config: &Config, view: &View) {
        for entry in &config.entries {
            let cursor = own_cursor(entry, &view.cursors);
            if cursor.is_some() {
                self.foreign.remove(&entry.name);
            } else {
                let looks = self.foreign.entry(entry.name.clone()).or_default();
                *looks = looks.saturating_add(1);
                if *looks == DISPLACED {
                    let retired = view.cursors.iter().any(|c| c.entry == entry.name && c.retired_at.is_some());
                    let what = if retired { "does not have this entry" } else { "defines this entry differently" };
                    tracing::warn!(
                        entry = %entry.name,
                        "a daemon with another configuration, loaded later, {what}; leaving it alone until a reload, or until \
                         that daemon is gone"
                    );
                }
            }
            let Some(cursor) = cursor else { continue };
            let ahead = Duration::try_from(cursor.at.duration_since(view.now)).unwrap_or(Duration::ZERO);
            if ahead <= AHEAD {
                self.ahead.remove(&entry.name);
            } else if self.ahead.insert(entry.name.clone()) {
                let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
                tracing::warn!(
                    entry = %entry.name, %ahead,
                    "the database's clock was set back: the firings until it has caught up have their rows already"
                );
            }
        }
    }
}
