//! What a package brings along: the unit, the man page, the completions, each held against the program itself.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::{Command as Clap, CommandFactory as _};
use clap_mangen::Man;
use pgupkeep::cli::Cli;
use tokio::process::Command;

use crate::support::*;

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

/// Runs a program, or records that its suite cannot run here.
async fn run(suite: &str, command: &mut Command) -> Option<Said> {
    match command.stdin(std::process::Stdio::null()).output().await {
        Ok(output) => Some(Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            skip_suite(suite, &format!("{program} is not installed"));
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// The shipped unit with the program under test in it, for `verify` looks whether what it starts exists.
fn unit_to_verify() -> (tempfile::TempDir, PathBuf) {
    let unit = fs::read_to_string(packaging("systemd/pgupkeep.service")).unwrap();
    let shipped = "ExecStart=/usr/local/bin/pgupkeep ";
    assert!(unit.contains(shipped), "{unit}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgupkeep.service");
    let program = env!("CARGO_BIN_EXE_pgupkeep");
    // Its own manual may not be installed here, of which `verify` would complain.
    let unit = unit.replace(shipped, &format!("ExecStart={program} ")).replace("Documentation=man:pgupkeep(1)\n", "");
    fs::write(&file, unit).unwrap();
    (folder, file)
}

/// The files of the program, and what each of them includes at compile time.
fn included(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            included(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // What only tests read comes last in a file, or is a file of its own.
            let text = if path.ends_with("tests.rs") { "" } else { text.split("#[cfg(test)]").next().unwrap() };
            let named = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(named.map(|named| path.parent().unwrap().join(named).canonicalize().unwrap()));
        }
    }
}

#[test]
fn the_image_is_built_with_all_that_the_program_includes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let let_in: Vec<PathBuf> = ignored.lines().filter_map(|line| line.strip_prefix('!')).map(PathBuf::from).collect();
    let mut found = Vec::new();
    included(&root.join("src"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    for path in found {
        let path = path.strip_prefix(root.canonicalize().unwrap()).unwrap().to_path_buf();
        assert!(let_in.iter().any(|let_in| path.starts_with(let_in)), ".dockerignore keeps {} out", path.display());
    }
}

#[tokio::test]
async fn systemd_finds_nothing_to_say_against_the_unit() {
    let suite = "packaging: systemd-analyze verify";
    let (_folder, file) = unit_to_verify();
    let Some(said) = run(suite, Command::new("systemd-analyze").arg("verify").arg(&file)).await else { return };
    assert_eq!((said.code, said.stderr.as_str(), said.stdout.as_str()), (Some(0), "", ""));
    // It exits with 0 whatever it finds; that it does look is seen by a unit that is wrong.
    let wrong = fs::read_to_string(&file).unwrap().replace("WatchdogSec=60", "WatchdogSeconds=60");
    fs::write(&file, wrong).unwrap();
    let said = run(suite, Command::new("systemd-analyze").arg("verify").arg(&file)).await.unwrap();
    assert!(said.stderr.contains("WatchdogSeconds"), "{said:?}");
}

#[tokio::test]
async fn the_unit_is_exposed_less_than_3_0() {
    let suite = "packaging: systemd-analyze security";
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--threshold=30", "--no-pager"]);
    let Some(said) = run(suite, command.arg(packaging("systemd/pgupkeep.service"))).await else { return };
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("Overall exposure level"), "{said:?}");
}

#[tokio::test]
async fn the_watchdog_is_fed_while_the_control_database_is_waited_for() {
    let config = ConfigFile::new("version: 1\ntargets: { main: { url: \"postgres://u@127.0.0.1:9/gone\" } }\n");
    let path = config.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let notify = path.display().to_string();
    let mut daemon = Daemon::start(&config.path(), &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "400000")]);
    let (mut ready, mut fed) = (false, 0);
    let began = Instant::now();
    let mut buffer = [0; 4096];
    while fed < 5 {
        assert!(began.elapsed() < Duration::from_mins(1), "ready: {ready}, fed: {fed}");
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        ready |= text.contains("READY=1");
        fed += i32::from(text.contains("WATCHDOG=1"));
    }
    assert!(ready);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit(MOMENT).await;
}

/// The man page: what the command line says of itself, every command in one page, and what it cannot know.
fn man_page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).title("PGUPKEEP").section("1").manual("pgupkeep").date("");
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend(b".SH COMMANDS\n");
    let shown = |command: &Clap| -> Vec<Clap> {
        command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()).cloned().collect()
    };
    let commands = shown(&command).into_iter().flat_map(|sub| {
        let inner: Vec<_> =
            shown(&sub).into_iter().map(|inner| (format!("{} {}", sub.get_name(), inner.get_name()), inner)).collect();
        if inner.is_empty() { vec![(sub.get_name().to_owned(), sub)] } else { inner }
    });
    for (name, sub) in commands {
        // These two are every command's, and told of above.
        let own = ["config", "help"].iter().fold(sub.clone(), |sub, id| sub.mut_arg(id, |arg| arg.hide(true)));
        let man = Man::new(own);
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part).unwrap();
        man.render_options_section(&mut part).unwrap();
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let part = String::from_utf8(part).unwrap().replace(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n", "");
        let part = part.replace(".SH SYNOPSIS\n", "").replace(".SH OPTIONS\n", ".PP\n");
        page.extend(format!(".SS {name}\n{about}\n.PP\n{part}").bytes());
    }
    page.extend(
        br".SH SIGNALS
SIGHUP loads the configuration anew; a bad file changes nothing. SIGTERM and SIGINT stop: nothing new is begun, steps may
go on for the grace period, what is left is cancelled and handed back. A second one leaves at once.
.SH EXIT STATUS
0 done, 1 failed, 2 partial (\fBdoctor\fR: warnings), 64 wrong usage, 69 a database cannot be reached, 78 wrong configuration.
.SH ENVIRONMENT
\fBPGUPKEEP_CONFIG\fR names the configuration; \fBRUST_LOG\fR what is logged; \fBNO_COLOR\fR switches colours off. Variables that
the configuration refers to as \fBenv:NAME\fR are read as well.
.SH FILES
\fB./schedules.yaml\fR, then \fB/etc/pgupkeep/schedules.yaml\fR: the configuration.
",
    );
    // The empty date is left out, which would move what follows into its place.
    String::from_utf8(page).unwrap().replacen("PGUPKEEP 1  ", "PGUPKEEP 1 \"\" ", 1)
}

#[test]
fn the_man_page_says_what_the_command_line_does() {
    let path = packaging("man/pgupkeep.1");
    let page = man_page();
    if env::var_os("PGUPKEEP_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
        return;
    }
    let is = fs::read_to_string(&path).unwrap();
    assert!(
        is == page,
        "packaging/man/pgupkeep.1 is behind the command line; run this test with PGUPKEEP_UPDATE_DOCS=1"
    );
}

#[tokio::test]
async fn the_man_page_is_read_without_a_warning() {
    let mut command = Command::new("groff");
    command.args(["-man", "-Tascii", "-ww", "-z"]).arg(packaging("man/pgupkeep.1"));
    let Some(said) = run("packaging: groff", &mut command).await else { return };
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn the_completions_are_good_and_know_the_commands() {
    let config = ConfigFile::new("not read");
    let script = async |shell: &str| {
        let said = pgupkeep(&config.path(), &["completions", shell], &[]).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{shell}: {said:?}");
        let file = config.folder().join(shell);
        fs::write(&file, &said.stdout).unwrap();
        file
    };
    for shell in ["bash", "zsh", "fish"] {
        let file = script(shell).await;
        assert!(fs::read_to_string(&file).unwrap().contains("doctor"), "{shell}");
        let suite = format!("packaging: completions of {shell}");
        let option = if shell == "fish" { "--no-execute" } else { "-n" };
        let Some(said) = run(&suite, Command::new(shell).arg(option).arg(&file)).await else { continue };
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{shell}");
    }
    let file = script("bash").await;
    let ask = format!(
        "source {}; COMP_WORDS=(pgupkeep do); COMP_CWORD=1; _pgupkeep pgupkeep do pgupkeep; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let said = run("packaging: completions of bash", Command::new("bash").args(["-c", &ask])).await.unwrap();
    assert_eq!(said.stdout.trim(), "doctor", "{said:?}");
    assert_eq!(pgupkeep(&config.path(), &["completions", "cmd.exe"], &[]).await.code, Some(64));
}
