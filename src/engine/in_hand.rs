//! Which runs this daemon has in hand, until their end is on record.
//!
//! A lease also runs out while the control database is away. The worker knows better than any rescuer how its attempt
//! ended, and records it as soon as it can; so its own rescuer leaves those runs alone. Another daemon's does not.

use std::collections::BTreeSet;

use tokio::sync::watch;
use uuid::Uuid;

/// The runs in hand.
#[derive(Debug, Clone, Default)]
pub struct InHand(watch::Sender<BTreeSet<Uuid>>);

/// A run in hand, until this is dropped.
#[derive(Debug)]
pub struct Held<'a>(&'a InHand, Uuid);

impl InHand {
    /// Takes a run in hand.
    pub fn take(&self, run_id: Uuid) -> Held<'_> {
        self.0.send_modify(|runs| {
            runs.insert(run_id);
        });
        Held(self, run_id)
    }

    /// Whether a run is in hand.
    pub fn has(&self, run_id: Uuid) -> bool {
        self.0.borrow().contains(&run_id)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|runs| {
            runs.remove(&self.1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_in_hand_for_as_long_as_it_is_held() {
        let (in_hand, run_id) = (InHand::default(), Uuid::new_v4());
        let held = in_hand.clone();
        let held = held.take(run_id);
        assert!(in_hand.has(run_id));
        drop(held);
        assert!(!in_hand.has(run_id));
    }
}
