//! The built binary: as a daemon whose log lines can be waited for, and as a command that ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// A `schedules.yaml` in a folder of its own, removed when dropped.
#[derive(Debug)]
pub struct ConfigFile {
    folder: TempDir,
}

impl ConfigFile {
    /// Writes a configuration.
    pub fn new(yaml: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.rewrite(yaml);
        file
    }

    /// Replaces the configuration in one go, as an editor does: no reader sees half a file.
    pub fn rewrite(&self, yaml: &str) {
        let fresh = self.folder.path().join(".schedules.yaml.new");
        fs::write(&fresh, yaml).unwrap();
        fs::rename(fresh, self.path()).unwrap();
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("schedules.yaml")
    }

    /// The folder around it, for files that a configuration refers to.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// Runs `pgupkeep --config CONFIG ARGUMENTS` to its end, with nothing but the given variables in its environment.
pub async fn pgupkeep(config: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = binary(variables);
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary under test, in a clean environment: a developer's own `DATABASE_URL` must never reach a test.
pub fn binary(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgupkeep"));
    let usual = ["PATH", "HOME", "TMPDIR"].map(|name| (name, env::var_os(name)));
    command.env_clear();
    command.envs(usual.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
    command.env("RUST_BACKTRACE", "1").envs(variables.iter().copied());
    command
}

/// A running `pgupkeep daemon`; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pid: Pid,
    lines: watch::Receiver<Vec<String>>,
}

impl Daemon {
    /// Starts `pgupkeep --config CONFIG daemon` with the given variables, such as `DATABASE_URL` or `LD_PRELOAD`.
    pub fn start(config: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_with(config, &[] as &[&str], variables)
    }

    /// The same with more arguments after `daemon`.
    pub fn start_with<A: AsRef<OsStr>>(config: &Path, arguments: &[A], variables: &[(&str, &str)]) -> Self {
        let mut command = binary(variables);
        command.arg("--config").arg(config).arg("daemon").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        let (said, lines) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().unwrap(), said.clone()));
        tokio::spawn(collect(child.stderr.take().unwrap(), said));
        Self { child, pid, lines }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal, such as `Signal::SIGHUP`.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Every line it wrote so far, to standard error or output.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// How many lines it wrote so far, to wait for a later one with [`Daemon::wait_for_line_after`].
    pub fn mark(&self) -> usize {
        self.lines.borrow().len()
    }

    /// Waits for a line that contains the text, from the very first line on, and returns it.
    pub async fn wait_for_line(&self, text: &str, limit: Duration) -> String {
        self.wait_for_line_after(0, text, limit).await
    }

    /// Waits for a line that contains the text and was written after the mark, and returns it.
    ///
    /// Panics with everything the daemon said when the limit passes or the daemon closes its output.
    pub async fn wait_for_line_after(&self, mark: usize, text: &str, limit: Duration) -> String {
        let find = |lines: &Vec<String>| lines.iter().skip(mark).find(|line| line.contains(text)).cloned();
        let mut lines = self.lines.clone();
        let seen = timeout(limit, lines.wait_for(|lines| find(lines).is_some())).await;
        let why = match seen {
            Ok(Ok(lines)) => return find(&lines).unwrap(),
            Ok(Err(_)) => "it ended".to_owned(),
            Err(_) => format!("{limit:?} passed"),
        };
        panic!("no line from the daemon has {text:?} before {why}. It said:\n{}", self.lines().join("\n"));
    }

    /// Waits for the daemon to end by itself, and returns how.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let Ok(status) = timeout(limit, self.child.wait()).await else {
            panic!("the daemon still runs after {limit:?}. It said:\n{}", self.lines().join("\n"));
        };
        status.unwrap()
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub async fn crash(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop with SIGTERM and waits; panics unless it exits with 0.
    pub async fn stop(&mut self, limit: Duration) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit(limit).await;
        assert!(status.success(), "the daemon ended with {status}. It said:\n{}", self.lines().join("\n"));
    }
}

impl Drop for Daemon {
    /// What the daemon said is most of what there is to know about a test that failed.
    fn drop(&mut self) {
        if thread::panicking() {
            let lines = self.lines();
            let end = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- end of what the daemon (pid {}) said ---\n{}", self.pid, end.join("\n"));
        }
        // The child is killed by `kill_on_drop`, and a stopped process dies of SIGKILL as well.
    }
}

/// Gathers lines until the stream ends; what is not UTF-8 is kept as well as it can be.
async fn collect(stream: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
        lines.send_modify(|lines| lines.push(text));
        line.clear();
    }
}
