//! What the process is told from outside.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// An order from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end in good order.
    Stop,
}

/// The signals that we listen to; as PID 1, too, where none of them has a default.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next order to stop; an order to reload is left for [`Signals::next`].
    pub async fn stop(&mut self) {
        tokio::select! {
            Some(()) = self.terminate.recv() => {}
            Some(()) = self.interrupt.recv() => {}
            else => std::future::pending().await,
        }
    }

    /// The next order.
    pub async fn next(&mut self) -> Order {
        tokio::select! {
            Some(()) = self.terminate.recv() => Order::Stop,
            Some(()) = self.interrupt.recv() => Order::Stop,
            Some(()) = self.hangup.recv() => Order::Reload,
            else => std::future::pending().await,
        }
    }
}
