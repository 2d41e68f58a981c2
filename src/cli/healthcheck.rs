//! `pgupkeep healthcheck`: asks the daemon on this machine whether it is ready, so that a container needs no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::Exit;
use super::output;
use crate::config::resolve::pages_of;

/// How long the daemon may take: longer than its own patience with the control database.
const LIMIT: Duration = Duration::from_secs(10);
/// More than a page holds.
const MOST_BYTES: u64 = 64 << 10;

/// What `healthcheck` is asked.
#[derive(Debug, clap::Args)]
pub struct Healthcheck {
    /// Where the daemon serves its pages; else `http.listen` of the configuration file, else 127.0.0.1:7432.
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// Ask whether it is alive, not whether it is ready.
    #[arg(long)]
    live: bool,
}

/// Prints the page, and exits with 0 if it says that all is well, else with 1; a container knows no other codes.
pub async fn healthcheck(path: &Path, args: &Healthcheck) -> Exit {
    let Some(address) = args.address.or_else(|| pages_of(path).listen) else {
        output::complain("the configuration says `http: { listen: off }`, so there is no page to look at");
        return Exit::Failed;
    };
    let address = reachable(address);
    let page = if args.live { "/livez" } else { "/readyz" };
    let answer = match timeout(LIMIT, ask(address, page)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            output::complain(&format!("http://{address}{page} cannot be read: {error}; is the daemon up?"));
            return Exit::Failed;
        }
        Err(_) => {
            output::complain(&format!("http://{address}{page} has not answered within {} s", LIMIT.as_secs()));
            return Exit::Failed;
        }
    };
    let Some((status, body)) = understood(&answer) else {
        output::complain(&format!("what answers at http://{address}{page} does not speak HTTP"));
        return Exit::Failed;
    };
    for line in body.lines() {
        output::say(line);
    }
    if status == 200 { Exit::Done } else { Exit::Failed }
}

/// A daemon that listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr, page: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the body of an answer that is sent whole, as ours are.
fn understood(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (version, rest) = head.lines().next()?.split_once(' ')?;
    let status = rest.split(' ').next()?.parse().ok()?;
    version.starts_with("HTTP/1.").then_some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let check = |answer: &str, expected| assert_eq!(understood(answer), expected, "{answer:?}");
        check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n", Some((200, "ready\n")));
        check("HTTP/1.1 503 Away\r\n\r\n", Some((503, "")));
        check("SSH-2.0-OpenSSH\r\n\r\n", None);
        check("HTTP/1.1 OK\r\n\r\n", None);
        check("", None);
    }

    #[test]
    fn a_daemon_on_every_address_is_asked_on_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), expected);
        };
        check("0.0.0.0:7432", "127.0.0.1:7432");
        check("[::]:1", "[::1]:1");
        check("192.0.2.1:80", "192.0.2.1:80");
    }
}
