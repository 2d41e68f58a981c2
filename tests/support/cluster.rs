//! A PostgreSQL server of one's own for each test, and its end whatever happens to the test.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;
use uuid::Uuid;

use super::Major;
use super::template::{base, private_folder, server_program, succeed, template};

/// Settings that every test server has; what a test adds comes after them and wins.
///
/// Nothing here survives a power cut, and nothing here needs to: a test that crashes servers asks for `fsync=on`.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
ssl = off
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 100
wal_level = replica
max_wal_senders = 5
max_replication_slots = 5
timezone = 'UTC'
log_line_prefix = '%m [%p] %a %d '
";

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended and everything is written: a planned restart.
    Fast,
    /// Everything is dropped at once and recovered at the next start: a crash.
    Immediate,
}

/// A running server with its own data directory, port and socket; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    major: Major,
    folder: PathBuf,
    port: u16,
    /// Variables of the server process besides the usual ones.
    variables: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts a fresh server whose clock can be moved with [`Cluster::step_clock`].
    pub async fn start_with_clock(major: &Major, faketime: &Path) -> Self {
        let mut cluster = Self::claim(major);
        cluster.variables = vec![
            ("LD_PRELOAD", faketime.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", cluster.folder.join("clock").display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        cluster.step_clock("+0");
        let template = template(major).await;
        succeed(Command::new("cp").arg("-a").arg(&template).arg(cluster.data())).await;
        cluster.configure(&[]);
        cluster.launch().await;
        cluster
    }

    /// Moves the server's clock away from the true one, as in `+40d`, `-3600` or `+0`.
    pub fn step_clock(&self, offset: &str) {
        let (fresh, file) = (self.folder.join("clock.new"), self.folder.join("clock"));
        fs::write(&fresh, format!("{offset}\n")).unwrap();
        fs::rename(fresh, file).unwrap();
    }

    /// Starts a fresh server, with settings such as `"autovacuum = off"` on top of the usual ones.
    pub async fn start(major: &Major, settings: &[&str]) -> Self {
        let cluster = Self::claim(major);
        let template = template(major).await;
        // As root, so that the copy keeps its owner; otherwise owner and copier are the same anyway.
        succeed(Command::new("cp").arg("-a").arg(&template).arg(cluster.data())).await;
        cluster.configure(settings);
        cluster.launch().await;
        cluster
    }

    /// A folder and a port, before there is any data.
    pub(super) fn claim(major: &Major) -> Self {
        let folder = base().join(folder_name());
        private_folder(&folder);
        Self { major: major.clone(), folder, port: free_port(), variables: Vec::new() }
    }

    /// Appends the usual settings and the given ones, which win.
    pub(super) fn configure(&self, settings: &[&str]) {
        let path = self.data().join("postgresql.conf");
        let place = format!("port = {}\nunix_socket_directories = '{}'\n", self.port, self.folder.display());
        let theirs = settings.join("\n");
        // Appended, so that the file keeps the owner that the server expects.
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(format!("{SETTINGS}{place}{theirs}\n").as_bytes()).unwrap();
    }

    /// Starts the server and waits until it takes connections.
    pub(super) async fn launch(&self) {
        succeed(self.control().args(["-w", "-t", "60", "-l"]).arg(self.log_path()).arg("start")).await;
    }

    /// The server's major version.
    pub fn major(&self) -> &Major {
        &self.major
    }

    /// Where the server listens, for a proxy in front of it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its folder, which belongs to the user that it runs as.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_through(self.address(), database)
    }

    /// The URL of a database by way of a proxy.
    #[expect(clippy::unused_self, reason = "reads as `url`, and belongs to a server")]
    pub fn url_through(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://postgres@{address}/{database}?sslmode=disable")
    }

    /// Opens a session on a database, as the superuser.
    pub async fn connect(&self, database: &str) -> PgConnection {
        self.connect_url(&self.url(database)).await
    }

    /// Opens a session by a URL of the test's own making.
    pub async fn connect_url(&self, url: &str) -> PgConnection {
        PgConnection::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Runs one or more statements on a database, in a session of their own.
    pub async fn execute(&self, database: &str, sql: &str) {
        let mut session = self.connect(database).await;
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await {
            panic!("{sql}: {error}");
        }
        session.close().await.unwrap();
    }

    /// Makes an empty database with a name of its own and returns the name; [`Cluster::url`] leads to it.
    pub async fn create_database(&self) -> String {
        let name = format!("db_{}", next_number());
        self.execute("postgres", &format!("create database {name}")).await;
        name
    }

    /// A client program of the same version (`psql`, `pgbench`, `vacuumdb`), pointed at this server.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.major.program(name));
        command.env("LD_LIBRARY_PATH", self.major.library_path()).env("PGUSER", "postgres");
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGSSLMODE", "disable");
        command.kill_on_drop(true);
        command
    }

    /// Runs a client program to its end, panics if it fails, and returns what it printed.
    pub async fn run_client(&self, name: &str, arguments: &[&str]) -> String {
        succeed(self.client(name).args(arguments)).await
    }

    /// Stops the server and starts it again on the same port.
    pub async fn restart(&self, mode: StopMode) {
        self.stop(mode).await;
        self.start_again().await;
    }

    /// Stops the server; [`Cluster::start_again`] brings it back.
    pub async fn stop(&self, mode: StopMode) {
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        succeed(self.control().args(["-w", "-t", "60", "-m", mode, "stop"])).await;
    }

    /// Starts a stopped server with the data and the port that it had.
    pub async fn start_again(&self) {
        self.launch().await;
    }

    /// Makes a standby take writes, and waits until it does.
    pub async fn promote(&self) {
        succeed(self.control().args(["-w", "-t", "60", "promote"])).await;
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(super) fn control(&self) -> Command {
        let mut control = server_program(&self.major, "pg_ctl");
        control.arg("-D").arg(self.data()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        control
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- end of the log of {} ---\n{}", self.folder.display(), tail(&self.log(), 30));
        }
        if let Some(pid) = self.pid() {
            end_process(pid, &self.data());
        }
        // A file that a dying server still writes is not worth a second panic.
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} could not be removed: {error}", self.folder.display());
        }
    }
}

/// Ends a postmaster at once: asks it first, so that it takes its children along, and insists after five seconds.
///
/// The pid is trusted only while the process really is the server of this data directory.
fn end_process(pid: Pid, data: &Path) {
    let is_ours = || {
        let working_folder = fs::read_link(format!("/proc/{pid}/cwd"));
        working_folder.is_ok_and(|folder| folder == data)
    };
    let started = Instant::now();
    if is_ours() {
        // A test may have left the postmaster stopped.
        _ = kill(pid, Signal::SIGCONT);
        _ = kill(pid, Signal::SIGQUIT);
    }
    while is_ours() {
        if started.elapsed() > Duration::from_secs(5) {
            _ = kill(pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn next_number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The test's name, shortened, and the process: what a leftover folder belongs to can be read off it.
fn folder_name() -> String {
    let thread = thread::current();
    let test = env::var("NEXTEST_TEST_NAME").ok().or(thread.name().map(str::to_owned)).unwrap_or_default();
    let test: String = test.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let end = &test[test.len().saturating_sub(30)..];
    format!("{end}-{}-{}", process::id(), next_number())
}

/// A port that nobody listens on.
///
/// Not one from the kernel's own range for outgoing connections (32768 and above): while a server is down, a client that
/// tries again and again could be given that very port as its own and end up talking to itself.
pub(super) fn free_port() -> u16 {
    loop {
        let random = u16::try_from(Uuid::new_v4().as_u128() % 20_000).unwrap();
        let port = 12_000 + random;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
