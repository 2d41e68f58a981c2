//! Which targets cannot be worked on just now: away, or a standby.
//!
//! A worker that finds a target so hands the run back and notes it here; nothing is claimed for that target until
//! this loop finds it fit again. So an outage costs one handed-back attempt, not all of a job's retries.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use crate::config::Target;
use crate::names::TargetName;
use crate::pg::PgError;
use crate::pg::session::Session;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a target cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It does not answer.
    Away(String),
    /// It is a standby: it is left alone until it is promoted.
    Standby,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(error) => write!(f, "the target is away: {error}"),
            Self::Standby => f.write_str("the target is a standby; its runs wait until it is promoted"),
        }
    }
}

/// The targets that are unfit, by name.
#[derive(Debug, Clone)]
pub struct Availability(watch::Sender<BTreeMap<TargetName, Unfit>>);

impl Availability {
    /// All targets are taken to be fit until one is found not to be.
    pub fn new() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }

    /// Whether work may be claimed for a target.
    pub fn is_fit(&self, target: &TargetName) -> bool {
        !self.0.borrow().contains_key(target)
    }

    /// Notes why a target is unfit; says so once.
    pub fn note(&self, target: &TargetName, unfit: &Unfit) {
        self.0.send_if_modified(|unfits| {
            let news =
                unfits.get(target).is_none_or(|known| std::mem::discriminant(known) != std::mem::discriminant(unfit));
            if news {
                tracing::warn!(%target, "{unfit}");
                unfits.insert(target.clone(), unfit.clone());
            }
            news
        });
    }

    fn lift(&self, target: &TargetName) {
        self.0.send_modify(|unfits| drop(unfits.remove(target)));
    }
}

impl Default for Availability {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks for ever at the targets that are unfit.
pub async fn run(shared: Shared) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        once(&shared).await;
    }
}

/// Looks at each unfit target once, and rings for work when one is fit again.
pub async fn once(shared: &Shared) {
    let names: Vec<TargetName> = shared.availability.0.borrow().keys().cloned().collect();
    for name in names {
        let target = shared.config.borrow().targets.get(&name).cloned();
        let found = match &target {
            Some(target) => look(target).await,
            None => Look::Fit("the target is no longer configured"),
        };
        match found {
            Look::Unfit(unfit) => shared.availability.note(&name, &unfit),
            Look::Fit(words) => {
                shared.availability.lift(&name);
                tracing::info!(target = %name, "{words}");
                shared.work.ring();
            }
        }
    }
}

/// What a look at an unfit target found.
enum Look {
    /// It is still unfit.
    Unfit(Unfit),
    /// Work may be claimed for it again, and this is said.
    Fit(&'static str),
}

async fn look(target: &Target) -> Look {
    match Session::open(&target.connection, "pgupkeep/look").await {
        Ok(session) => {
            let standby = session.server.in_recovery;
            session.close().await;
            if standby { Look::Unfit(Unfit::Standby) } else { Look::Fit("the target takes writes; taking it up") }
        }
        Err(error) => match unfit_because(&error) {
            Some(unfit) => Look::Unfit(unfit),
            None => Look::Fit("the target answers, but refuses us; its next run will say why"),
        },
    }
}

/// Whether a failure to connect means that the target is away; anything else is for the run itself to report.
pub fn unfit_because(error: &PgError) -> Option<Unfit> {
    use crate::fault::Fault;
    matches!(error.fault(), Fault::Unreachable | Fault::Exhausted).then(|| Unfit::Away(error.to_string()))
}
