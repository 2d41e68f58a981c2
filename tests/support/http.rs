//! A client that shows exactly what a page answered.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Daemon;

/// What a page answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The head as it came, in lower case.
    pub head: String,
    pub body: String,
}

/// The address that a daemon serves its pages at, once it says so.
pub async fn pages_of(daemon: &Daemon, mark: usize) -> SocketAddr {
    let line = daemon.wait_for_line_after(mark, "the pages for monitoring are up", Duration::from_mins(1)).await;
    let address = line.split("address=").nth(1).unwrap_or_else(|| panic!("no address in {line}"));
    address.split_whitespace().next().unwrap().parse().unwrap()
}

/// Gets a page.
pub async fn get(address: SocketAddr, page: &str) -> Answer {
    request(address, &format!("GET {page} HTTP/1.1\r\nhost: test\r\n\r\n")).await
}

/// Sends a request as it stands, and reads until the other side closes.
pub async fn request(address: SocketAddr, text: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let text = timeout(Duration::from_mins(1), exchange).await.expect("the page answers");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// The value of a sample, written as it stands on the page, such as `pgupkeep_runs_queued{job_name="j",target="t"}`.
pub fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}
