//! The rescuer: gives a dead worker's run back to the queue.
//!
//! Never on age alone: the lease must be over, *and* the worker's server process gone, *and* its advisory locks free.
//! A worker that only stalled keeps its run.

use std::collections::BTreeSet;
use std::time::Duration;

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
/// # Errors
/// When the control database fails.
pub async fn once(shared: &Shared, kept: &mut BTreeSet<Uuid>) -> Result<u32, LedgerError> {
    let mut rescued = 0;
    for lapsed in shared.ledger.lapsed_runs().await? {
        let Some(connection) =
            shared.config.borrow().targets.get(&lapsed.target).map(|target| target.connection.clone())
        else {
            continue;
        };
        match evidence(&connection, &lapsed).await {
            Ok(Ok(evidence)) => {
                let rescue = back_off_after_loss(lapsed.losses + 1).map_or(Rescue::GiveUp, Rescue::Queue);
                if shared.ledger.rescue_run(&lapsed, &evidence, &rescue).await? {
                    tracing::warn!(run = %lapsed.run_id, job = lapsed.job, target = %lapsed.target, evidence, "rescued a run");
                    rescued += 1;
                    kept.remove(&lapsed.run_id);
                    shared.work.ring();
                }
            }
            Ok(Err(alive)) => {
                if kept.insert(lapsed.run_id) {
                    tracing::warn!(run = %lapsed.run_id, job = lapsed.job, target = %lapsed.target, alive, "a run's lease is over, but it is not rescued");
                }
            }
            Err(error) => {
                if kept.insert(lapsed.run_id) {
                    tracing::warn!(run = %lapsed.run_id, target = %lapsed.target, %error, "a run's lease is over, but its target cannot be asked; waiting for it");
                }
            }
        }
    }
    Ok(rescued)
}

/// Asks the target whether anything of the worker is left: `Ok` says why it is dead, `Err` what is still alive.
async fn evidence(connection: &Connection, lapsed: &Lapsed) -> Result<Result<String, &'static str>, PgError> {
    let mut conn = connect(connection, "pgupkeep/rescue", Purpose::Short).await?;
    let (pid, start) = lapsed.backend.unzip();
    let query = sqlx::query_as::<_, (bool, bool)>(include_str!("../pg/sql/see_session.sql"))
        .bind(pid)
        .bind(start)
        .bind(&lapsed.exclusive_keys);
    let (backend_alive, lock_held) = within(ANSWER_LIMIT, query.fetch_one(&mut conn)).await?;
    Ok(match (pid, backend_alive, lock_held) {
        (_, true, _) => Err("its server process is still there"),
        (_, false, true) => Err("its advisory lock is still held"),
        (Some(pid), false, false) => {
            Ok(format!("its worker died: the lease is over, server process {pid} is gone and its locks are free"))
        }
        (None, false, false) => {
            Ok("its worker died before it reached the target: the lease is over and its locks are free".to_owned())
        }
    })
}
