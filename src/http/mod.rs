//! The pages for monitoring: `/livez`, `/readyz` and `/metrics`, in plain text.
//!
//! They are read only, take no parameters and show no secret; loopback is the default. Whoever connects can neither
//! keep a connection for long nor take more than a few. The daemon works on whether or not the address can be had.

mod fresh;
mod pages;
mod samples;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::engine::{Pulse, Shared};
use crate::ledger::Ledger;
use crate::secret::Redactor;
use fresh::Fresh;
use jiff::Timestamp;

/// How many may be connected at a time; who comes later waits.
const MOST_CONNECTIONS: usize = 32;
/// How long the head of a request may take to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may last: one request, and its answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(20);
/// The room for a request's head.
const HEAD_ROOM: usize = 16 << 10;
/// How soon an address is tried again that could not be had.
const RETRY: Duration = Duration::from_secs(5);

/// What the pages are made from; the daemon keeps it up to date.
#[derive(Debug, Clone)]
pub struct Source {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The control database.
    pub ledger: Ledger,
    /// Cleans what the control database said.
    pub redactor: Redactor,
    /// The engine, from when it was started.
    pub engine: Option<(Shared, watch::Receiver<Pulse>)>,
    /// What became of reloads.
    pub reloads: Reloads,
    /// Whether the daemon was told to stop.
    pub phase: Phase,
}

/// What the daemon is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for the control database.
    Starting,
    /// It works.
    Working,
    /// It was told to stop.
    Stopping,
}

/// What became of reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloads {
    /// Files that were taken up after the one at the start.
    pub taken: u64,
    /// Files that were refused.
    pub kept: u64,
    /// When the configuration in force was read.
    pub taken_at: Timestamp,
    /// Whether the file, as last read, is the one in force.
    pub last: LastReload,
}

/// What became of the last reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastReload {
    /// Its file is in force.
    Taken,
    /// It was refused.
    Kept,
}

/// Serves the pages for as long as the daemon keeps their source; another address takes effect at once.
pub async fn serve(source: watch::Receiver<Source>) {
    let mut news = source.clone();
    let fresh = Fresh::new();
    let mut door = Door::default();
    let mut connections = FuturesUnordered::new();
    loop {
        let wanted = news.borrow_and_update().config.http.listen;
        let is_open = door.move_to(wanted).await;
        tokio::select! {
            stream = door.accept(), if connections.len() < MOST_CONNECTIONS => {
                connections.push(converse(stream, &source, &fresh));
            }
            Some(()) = connections.next() => {}
            changed = news.changed() => if changed.is_err() { return },
            () = sleep(RETRY), if !is_open => {}
        }
    }
}

/// One request and its answer; a connection is not kept for a second one, and nothing about it can fail us.
async fn converse(stream: TcpStream, source: &watch::Receiver<Source>, fresh: &Fresh) {
    let answer = hyper::service::service_fn(|request: Request<Incoming>| async move {
        let page = pages::answer(request.method(), request.uri().path(), source, fresh).await;
        Ok::<Response<String>, Infallible>(page)
    });
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_ROOM).keep_alive(false);
    match timeout(CONNECTION_LIMIT, protocol.serve_connection(TokioIo::new(stream), answer)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the pages failed"),
        Err(_) => tracing::debug!("a connection to the pages was ended: it took too long"),
    }
}

/// Where the pages are served, and what was said about it.
#[derive(Debug, Default)]
struct Door {
    open: Option<(SocketAddr, TcpListener)>,
    complained_of: Option<SocketAddr>,
}

impl Door {
    /// Moves to the wanted address and tells whether it is served; an address that cannot be had is told once, and the
    /// old one is kept meanwhile.
    async fn move_to(&mut self, wanted: Option<SocketAddr>) -> bool {
        let Some(address) = wanted else {
            if self.open.take().is_some() {
                tracing::info!("the pages for monitoring are off");
            }
            self.complained_of = None;
            return true;
        };
        if self.open.as_ref().is_some_and(|(open, _)| *open == address) {
            return true;
        }
        // One port cannot be had on all addresses while we have it on one of them.
        if self.open.as_ref().is_some_and(|(open, _)| open.port() == address.port()) {
            self.open = None;
        }
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let served = listener.local_addr().unwrap_or(address);
                tracing::info!(address = %served, "the pages for monitoring are up");
                self.open = Some((address, listener));
                self.complained_of = None;
                true
            }
            Err(error) => {
                if self.complained_of.replace(address) != Some(address) {
                    tracing::warn!(
                        %address, error = %error.kind(),
                        "the pages for monitoring cannot be served there; everything else goes on, and the address is \
                         tried again every 5 s; set `http: {{ listen: .. }}` to another address, or to off"
                    );
                }
                false
            }
        }
    }

    /// The next connection; for ever while there is no address.
    async fn accept(&self) -> TcpStream {
        let Some((_, listener)) = &self.open else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // Too many open files, or a client that is gone already: neither is helped by hurry.
                Err(error) => {
                    tracing::debug!(%error, "a connection to the pages could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}
