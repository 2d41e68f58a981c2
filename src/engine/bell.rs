//! A bell: it carries no data, and a ring that nobody waits for yet is not lost.

use tokio::sync::watch;

/// Something to ring, and to wait for.
#[derive(Debug, Clone)]
pub struct Bell(watch::Sender<u64>);

impl Bell {
    /// A bell that has not rung.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Rings: everyone who waits, or comes to wait, wakes once.
    pub fn ring(&self) {
        self.0.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    /// An ear that hears every ring from now on.
    pub fn listen(&self) -> Ear {
        Ear(self.0.subscribe())
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for a bell.
#[derive(Debug)]
pub struct Ear(watch::Receiver<u64>);

impl Ear {
    /// Returns at once when it rang since the last time, else at the next ring.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
