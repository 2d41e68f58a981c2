//! Programs of others that work for us: they die with us, and end when they are told to.
//!
//! A program is started through this very binary: `pgupkeep exec` asks the kernel for a SIGTERM at the death of its
//! parent, and then becomes the program. Doing that between fork and exec would need `unsafe` code; this needs none.
//! It leads a process group of its own, so that a signal reaches whatever it has started. Nothing secret stands in its
//! arguments: whoever starts it puts secrets into files or variables.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// How long a program may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of its complaints is kept, of their beginning and of their end each.
const KEPT: usize = 4096;

/// This binary, found by the kernel even after its file was replaced by an upgrade.
pub const THIS_BINARY: &str = "/proc/self/exe";

/// A program to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary of pgupkeep that starts it.
    pub starter: PathBuf,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, which every user of the machine may see.
    pub arguments: Vec<OsString>,
    /// Its variables besides our own.
    pub variables: Vec<(&'static str, OsString)>,
    /// Those of our variables that it must not have.
    pub without: &'static [&'static str],
    /// The file that its output goes to; nowhere if there is none.
    pub output: Option<PathBuf>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether it ended by itself, and how.
    pub status: ExitStatus,
    /// Whether it was told to end before that.
    pub stopped: bool,
    /// What it complained about, shortened in the middle.
    pub complaints: String,
}

impl Program {
    /// What is started, for people: the program's name and its arguments.
    pub fn describe(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let words = std::iter::once(name).chain(self.arguments.iter().map(OsString::as_os_str));
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Starts it and waits for its end; the order to stop, and being dropped, end it.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> io::Result<Ended> {
        let output = match &self.output {
            Some(path) => Stdio::from(std::fs::File::create(path)?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.starter);
        command.args(["exec", "--parent", &std::process::id().to_string(), "--"]).arg(&self.path);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
        for name in self.without {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.process_group(0).spawn()?;
        let group = Group(child.id());
        let complaints = child.stderr.take();
        let (wait, listen) = (child.wait(), listen(complaints));
        let mut work = std::pin::pin!(async { tokio::join!(wait, listen) });
        let mut stopped = false;
        let (status, complaints) = tokio::select! {
            ended = &mut work => ended,
            () = stop => {
                stopped = true;
                group.signal(Signal::SIGTERM);
                match tokio::time::timeout(GRACE, &mut work).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        group.signal(Signal::SIGKILL);
                        work.await
                    }
                }
            }
        };
        // Whatever it has started and left behind goes as well.
        drop(group);
        Ok(Ended { status: status?, stopped, complaints })
    }
}

/// A process group that does not outlive this value.
struct Group(Option<u32>);

impl Group {
    fn signal(&self, signal: Signal) {
        let group = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group {
            // A group that is gone already needs no signal.
            let _gone = killpg(Pid::from_raw(group), signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Reads complaints to their end, and keeps the first and the last of them.
async fn listen(source: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut source) = source else { return String::new() };
    let (mut first, mut last, mut left_out) = (Vec::new(), Vec::new(), false);
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        let mut read = &buffer[..count];
        let room = KEPT - first.len();
        if room > 0 {
            let (fits, rest) = read.split_at(room.min(read.len()));
            first.extend_from_slice(fits);
            read = rest;
        }
        last.extend_from_slice(read);
        if last.len() > KEPT {
            left_out = true;
            last.drain(..last.len() - KEPT);
        }
    }
    let between: &[u8] = if left_out { b"\n[...]\n" } else { b"" };
    String::from_utf8_lossy(&[&first, between, &last].concat()).trim().to_owned()
}

/// Asks to die with the parent, and becomes the program; comes back only if that fails.
pub fn become_program(parent: i32, program: &Path, arguments: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM) {
        return error.into();
    }
    // It may have died before we asked; nobody would tell us any more.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return io::Error::other("the process that wanted this program is gone");
    }
    std::process::Command::new(program).args(arguments).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_complaints_the_first_and_the_last_are_kept() {
        let text = format!("first\n{}\nlast", "x".repeat(100_000));
        let kept = listen(Some(text.as_bytes())).await;
        assert!(kept.starts_with("first\n") && kept.ends_with("\nlast"), "{kept}");
        assert!(kept.len() < 3 * KEPT && kept.contains("[...]"));
        assert_eq!(listen(Some("a few words\n".as_bytes())).await, "a few words");
        assert_eq!(listen(None::<&[u8]>).await, "");
    }

    #[test]
    fn a_program_is_described_by_its_name_and_arguments() {
        let program = Program {
            starter: THIS_BINARY.into(),
            path: "/usr/lib/postgresql/16/bin/pg_dump".into(),
            arguments: vec!["--jobs=2".into(), "--dbname=dbname='mlflow'".into()],
            variables: vec![("PGPASSFILE", "/nowhere".into())],
            without: &[],
            output: None,
        };
        assert_eq!(program.describe(), "pg_dump --jobs=2 --dbname=dbname='mlflow'");
    }
}
