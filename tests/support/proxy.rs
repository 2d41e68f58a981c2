//! A TCP proxy between pgupkeep and a server, to be broken at will.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::free_port;

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Bytes flow both ways.
    Pass,
    /// Connections stay open and new ones are accepted, but no byte moves: a dead link, or a firewall that drops.
    Stall,
    /// New connections are refused; existing ones go on. Together with [`Proxy::cut`]: the server is gone.
    Refuse,
}

/// A listener that forwards to a server; connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    /// Counts the cuts; a connection that sees the number change ends.
    cuts: watch::Sender<u64>,
    open: Arc<AtomicUsize>,
    listening: watch::Receiver<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts to forward to a server, such as [`Cluster::address`](super::Cluster::address).
    pub async fn start(server: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = TcpListener::bind(address).await.unwrap();
        let (traffic, _) = watch::channel(Traffic::Pass);
        let (cuts, _) = watch::channel(0);
        let open = Arc::new(AtomicUsize::new(0));
        let link = Link { server, traffic: traffic.subscribe(), cuts: cuts.subscribe(), open: Arc::clone(&open) };
        let (listens, listening) = watch::channel(true);
        let accepting = tokio::spawn(accept(listener, link, listens));
        Self { address, traffic, cuts, open, listening, accepting }
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to connections, and returns when it has taken effect.
    pub async fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
        let accepts = traffic != Traffic::Refuse;
        self.listening.clone().wait_for(|listening| *listening == accepts).await.unwrap();
    }

    /// Ends every connection with a reset, as a crashed machine or an impatient firewall does.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// How many connections to the server are open now.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection shares.
#[derive(Debug, Clone)]
struct Link {
    server: SocketAddr,
    traffic: watch::Receiver<Traffic>,
    cuts: watch::Receiver<u64>,
    open: Arc<AtomicUsize>,
}

/// Accepts connections; while new ones are refused there is no listener, so that the kernel says no.
async fn accept(first: TcpListener, link: Link, listens: watch::Sender<bool>) {
    let address = first.local_addr().unwrap();
    let mut traffic = link.traffic.clone();
    let mut listener = first;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(forward(client, link.clone()));
                }
            }
            refusing = until(&mut traffic, |traffic| traffic == Traffic::Refuse) => {
                if refusing.is_err() {
                    return;
                }
                drop(listener);
                listens.send_replace(false);
                if until(&mut traffic, |traffic| traffic != Traffic::Refuse).await.is_err() {
                    return;
                }
                listener = TcpListener::bind(address).await.unwrap();
                listens.send_replace(true);
            }
        }
    }
}

/// Joins a client to the server until either side ends, the connection is cut, or the proxy is dropped.
async fn forward(mut client: TcpStream, mut link: Link) {
    link.cuts.mark_unchanged();
    let mut server = tokio::select! {
        _ = link.cuts.changed() => return reset(&client),
        connected = reach(link.server, &mut link.traffic) => match connected {
            Ok(server) => server,
            Err(_) => return reset(&client),
        },
    };
    link.open.fetch_add(1, Ordering::SeqCst);
    let orderly = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, link.traffic.clone());
        let down = pump(from_server, to_client, link.traffic);
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.is_ok(),
            _ = link.cuts.changed() => false,
        }
    };
    if !orderly {
        reset(&client);
        reset(&server);
    }
    link.open.fetch_sub(1, Ordering::SeqCst);
}

/// Connects to the server; while the link is stalled the client's connection is open, but nothing behind it answers.
async fn reach(server: SocketAddr, traffic: &mut watch::Receiver<Traffic>) -> io::Result<TcpStream> {
    flowing(traffic).await?;
    TcpStream::connect(server).await
}

/// Makes the coming close a reset: a connection that lingers for no time throws away what it holds.
fn reset(stream: &TcpStream) {
    _ = stream.set_zero_linger();
}

/// Waits while the link is stalled; fails when the proxy is gone.
async fn flowing(traffic: &mut watch::Receiver<Traffic>) -> io::Result<()> {
    until(traffic, |traffic| traffic != Traffic::Stall).await
}

async fn until(traffic: &mut watch::Receiver<Traffic>, wanted: impl Fn(Traffic) -> bool) -> io::Result<()> {
    let reached = traffic.wait_for(|traffic| wanted(*traffic)).await;
    reached.map(|_| ()).map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

/// Moves bytes one way while the link flows; what was read before a stall waits with it.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut traffic: watch::Receiver<Traffic>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        flowing(&mut traffic).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
