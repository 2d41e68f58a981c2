//! The rescuer: gives a dead worker's run back to the queue.
//!
//! Never on age alone: the lease must be over, *and* the worker's server process gone, *and* its advisory locks free.
//! A worker that only stalled keeps its run, and so does one of this very daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use super::Shared;
use crate::config::Connection;
use crate::ledger::LedgerError;
use crate::ledger::rescue::{Lapsed, Rescue};
use crate::pg::PgError;
use crate::pg::connect::{Purpose, connect, within};
use crate::pg::session::ANSWER_LIMIT;
use crate::policy::retry::back_off_after_loss;

/// How often lapsed leases are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Rescues for ever.
pub async fn run(shared: Shared) {
    let mut kept = BTreeSet::new();
    loop {
        shared.told("rescuer", once(&shared, &mut kept).await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks at every lapsed run once; gives back how many were rescued. `kept` remembers what was said already.
///
/// Targets are asked side by side, so that one that does not answer delays no other's rescue.
///
/// # Errors
/// When the control database fails.
pub async fn once(shared: &Shared, kept: &mut BTreeSet<Uuid>) -> Result<u32, LedgerError> {
    let mut lapsed = shared.ledger.lapsed_runs().await?;
    lapsed.retain(|run| !shared.in_hand.has(run.run_id));
    kept.retain(|run_id| lapsed.iter().any(|run| run.run_id == *run_id));
    let mut by_target = BTreeMap::<_, Vec<&Lapsed>>::new();
    for run in &lapsed {
        by_target.entry(&run.target).or_default().push(run);
    }
    let mut rescued = 0;
    for (run, verdict) in join_all(by_target.into_values().map(|runs| judge(shared, runs))).await.concat() {
        match verdict {
            Verdict::Dead(evidence) => {
                let rescue = back_off_after_loss(run.losses + 1).map_or(Rescue::GiveUp, Rescue::Queue);
                if shared.ledger.rescue_run(run, &evidence, &rescue).await? {
                    tracing::warn!(run = %run.run_id, job = run.job, target = %run.target, evidence, "rescued a run");
                    rescued += 1;
                    shared.work.ring();
                }
            }
            Verdict::Kept(why) => {
                if kept.insert(run.run_id) {
                    tracing::warn!(
                        run = %run.run_id, job = run.job, target = %run.target, why,
                        "a run's lease is over, but it is not rescued"
                    );
                }
            }
        }
    }
    Ok(rescued)
}

/// What was found about a lapsed run.
#[derive(Debug, Clone)]
enum Verdict {
    /// Its worker is dead, and this is how we know.
    Dead(String),
    /// It stays as it is, for this reason.
    Kept(String),
}

/// Judges the lapsed runs of one target, and asks it no more once it does not answer.
async fn judge<'a>(shared: &Shared, runs: Vec<&'a Lapsed>) -> Vec<(&'a Lapsed, Verdict)> {
    let target = runs.first().and_then(|run| shared.config.borrow().targets.get(&run.target).cloned());
    let mut silent = match target {
        Some(_) => None,
        None => Some("its target is not configured here".to_owned()),
    };
    let mut verdicts = Vec::new();
    for run in runs {
        let verdict = match (&silent, &target) {
            (None, Some(target)) => match evidence(&target.connection, run).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    let why = format!("its target cannot be asked: {error}");
                    silent = Some(why.clone());
                    Verdict::Kept(why)
                }
            },
            (why, _) => Verdict::Kept(why.clone().unwrap_or_default()),
        };
        verdicts.push((run, verdict));
    }
    verdicts
}

/// Asks the target whether anything of the worker is left.
async fn evidence(connection: &Connection, lapsed: &Lapsed) -> Result<Verdict, PgError> {
    let mut conn = connect(connection, "pgupkeep/rescue", Purpose::Short).await?;
    let (pid, start) = lapsed.backend.unzip();
    let query = sqlx::query_as::<_, (bool, bool)>(include_str!("../pg/sql/see_session.sql"))
        .bind(pid)
        .bind(start)
        .bind(&lapsed.exclusive_keys);
    let (backend_alive, lock_held) = within(ANSWER_LIMIT, query.fetch_one(&mut conn)).await?;
    Ok(match (pid, backend_alive, lock_held) {
        (_, true, _) => Verdict::Kept("its server process is still there".to_owned()),
        (_, false, true) => Verdict::Kept("its advisory lock is still held".to_owned()),
        (Some(pid), false, false) => Verdict::Dead(format!(
            "its worker died, or lost the control database: the lease is over, server process {pid} is gone and its locks \
             are free"
        )),
        (None, false, false) => Verdict::Dead(
            "its worker died, or lost the control database, before it reached the target: the lease is over and its locks \
             are free"
                .to_owned(),
        ),
    })
}
