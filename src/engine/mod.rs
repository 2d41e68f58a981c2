//! The engine: alarm, scheduler, workers, rescuer and the rest, started and stopped here.
//!
//! This is the only place that spawns. Every loop has the same shape, `wait; once`, so that tests call `once`. What
//! they share is the ledger, the present configuration, bells, and what is known to be away or in hand.

pub mod alarm;
pub mod attempt;
pub mod availability;
pub mod bell;
pub mod in_hand;
pub mod listener;
pub mod notifier;
pub mod reload;
pub mod rescuer;
pub mod scheduler;
pub mod wishes;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::ledger::daemon::DAEMON_HEARTBEAT;
use crate::ledger::{Ledger, LedgerError};
use crate::secret::{Redactor, SecretSet};
use availability::Availability;
use bell::Bell;
use in_hand::InHand;

/// How long runs may take to be handed back once they were told to stop.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(15);

/// The scheduler comes round at least every 30 s.
const SCHEDULER_STUCK: Duration = Duration::from_secs(90);

/// What every loop is given.
#[derive(Debug, Clone)]
pub struct Shared {
    /// This start of the daemon.
    pub daemon_id: Uuid,
    /// The control database.
    pub ledger: Ledger,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Cleans what goes on record.
    pub redactor: Redactor,
    /// Which targets cannot be worked on just now.
    pub availability: Availability,
    /// Which runs are in hand here.
    pub in_hand: InHand,
    /// Rings when there may be a run to claim.
    pub work: Bell,
    /// Rings when something may have fallen due.
    pub clock: Bell,
    /// Stop taking on work.
    pub drain: CancellationToken,
    /// Stop working.
    pub halt: CancellationToken,
}

impl Shared {
    /// What one attempt needs outside a daemon: the same parts, and no loop behind them.
    ///
    /// For `run --local`, which claims and performs a run in its own process.
    pub fn local(config: Arc<Config>, ledger: Ledger, redactor: Redactor) -> Self {
        // The configuration never changes here, so its sender need not live on.
        let (_, config) = watch::channel(config);
        Self {
            daemon_id: Uuid::new_v4(),
            ledger,
            config,
            redactor,
            availability: Availability::new(),
            in_hand: InHand::default(),
            work: Bell::new(),
            clock: Bell::new(),
            drain: CancellationToken::new(),
            halt: CancellationToken::new(),
        }
    }

    /// The value, or nothing after the loop's failure has been told.
    fn told<T>(&self, who: &str, result: Result<T, LedgerError>) -> Option<T> {
        result.map_err(|error| self.ledger.complain(who, &error)).ok()
    }
}

/// What the scheduler last did, for the watchdog and the status line.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// When the scheduler last came round.
    pub at: Option<tokio::time::Instant>,
    /// The next instant of any entry, as text.
    pub next: Option<String>,
}

impl Pulse {
    /// Whether the scheduler has not come round for so long that it will not by itself.
    pub fn is_stuck(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() >= SCHEDULER_STUCK)
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    /// What the loops share.
    pub shared: Shared,
    /// What the scheduler last did.
    pub pulse: watch::Receiver<Pulse>,
    config: watch::Sender<Arc<Config>>,
    secrets: SecretSet,
    loops: JoinSet<&'static str>,
    workers: JoinSet<()>,
    _alarm: alarm::Alarm,
}

impl Engine {
    /// Starts every loop over a ledger that is up to date and knows the configuration's entries.
    ///
    /// # Errors
    /// When the alarm cannot be set.
    pub async fn start(
        config: Arc<Config>,
        ledger: Ledger,
        daemon_id: Uuid,
        (secrets, redactor): (SecretSet, Redactor),
    ) -> Result<Self, alarm::AlarmError> {
        let workers = config.workers.get();
        let (config, receiver) = watch::channel(config);
        let (pulse, pulse_seen) = watch::channel(Pulse::default());
        let shared = Shared {
            daemon_id,
            ledger,
            config: receiver,
            redactor,
            availability: Availability::new(),
            in_hand: InHand::default(),
            work: Bell::new(),
            clock: Bell::new(),
            drain: CancellationToken::new(),
            halt: CancellationToken::new(),
        };
        let alarm = alarm::set(shared.clock.clone()).await?;
        let mut loops = JoinSet::new();
        spawn(&mut loops, "scheduler", scheduler::run(shared.clone(), pulse));
        spawn(&mut loops, "rescuer", rescuer::run(shared.clone()));
        spawn(&mut loops, "availability", availability::run(shared.clone()));
        spawn(&mut loops, "listener", listener::run(shared.clone()));
        spawn(&mut loops, "notifier", notifier::run(shared.clone()));
        spawn(&mut loops, "wishes", wishes::run(shared.clone()));
        spawn(&mut loops, "heartbeat", beat(shared.clone()));
        let mut pool = JoinSet::new();
        for _ in 0..workers {
            pool.spawn(worker::run(shared.clone()));
        }
        Ok(Self { shared, pulse: pulse_seen, config, secrets, loops, workers: pool, _alarm: alarm })
    }

    /// Waits until a loop ends by itself, which none should; gives back its name.
    pub async fn broken(&mut self) -> String {
        tokio::select! {
            Some(ended) = self.loops.join_next() => match ended {
                Ok(name) => format!("the {name} ended"),
                Err(error) => format!("a loop ended: {error}"),
            },
            Some(ended) = self.workers.join_next() => match ended {
                Ok(()) => "a worker ended".to_owned(),
                Err(error) => format!("a worker ended: {error}"),
            },
            else => std::future::pending().await,
        }
    }

    /// Puts a configuration in force whose entries the ledger knows already.
    pub fn swap_config(&self, config: Arc<Config>) {
        self.secrets.learn(config.secrets.iter().cloned());
        let connection = &config.control.connection;
        if *connection != self.shared.ledger.connection()
            && connection.is_same_database(&self.shared.ledger.connection())
            && let Err(error) = self.shared.ledger.renew_credentials(connection)
        {
            tracing::error!(%error, "the control database's new credentials cannot be used");
        }
        self.config.send_replace(config);
        self.shared.clock.ring();
        self.shared.work.ring();
    }

    /// Stops in good order: no new work, then the grace period, then every run is cancelled and handed back.
    pub async fn drain(mut self, grace: Duration) {
        self.shared.drain.cancel();
        let mut all_idle = tokio::time::timeout(grace, idle(&mut self.workers)).await.is_ok();
        if !all_idle {
            tracing::info!(grace = %humantime::format_duration(grace), "the grace period is over; handing runs back");
            self.shared.halt.cancel();
            all_idle = tokio::time::timeout(HAND_BACK_LIMIT, idle(&mut self.workers)).await.is_ok();
        }
        if !all_idle {
            tracing::warn!("some runs could not be handed back; they are rescued when their leases are over");
        }
        self.loops.shutdown().await;
        if let Err(error) = self.shared.ledger.stop_daemon(self.shared.daemon_id).await {
            tracing::debug!(%error, "the ledger was not told that this daemon ends");
        }
        self.shared.ledger.close().await;
    }
}

async fn idle(workers: &mut JoinSet<()>) {
    while workers.join_next().await.is_some() {}
}

/// Something that goes on beside the engine, from before its start to after its end; dropped, it ends.
#[derive(Debug)]
#[must_use = "dropped, it ends at once"]
pub struct Beside(#[expect(dead_code, reason = "kept for its drop")] JoinSet<()>);

/// Starts work that nothing waits for, such as the pages for monitoring.
pub fn beside(work: impl Future<Output = ()> + Send + 'static) -> Beside {
    let mut set = JoinSet::new();
    set.spawn(work);
    Beside(set)
}

fn spawn(loops: &mut JoinSet<&'static str>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    loops.spawn(async move {
        work.await;
        name
    });
}

/// Says over and over that this daemon is up.
async fn beat(shared: Shared) {
    loop {
        shared.told("heartbeat", shared.ledger.beat_daemon(shared.daemon_id).await);
        tokio::time::sleep(DAEMON_HEARTBEAT).await;
    }
}
