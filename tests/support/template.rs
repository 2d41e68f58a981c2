//! Data directories: where they are, who owns them, and the template each is copied from.
//!
//! `initdb` takes most of a second, a copy a fraction of it, so each major is initialised once for all tests.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use nix::unistd::{Uid, User, chown, getuid};
use tokio::process::Command;
use uuid::Uuid;

use super::Major;

/// The unprivileged user that servers run as, if the tests themselves run as root.
///
/// PostgreSQL refuses root. `PGUPKEEP_PG_USER` names the user, else it is `postgres`.
pub(super) fn server_user() -> Option<User> {
    if !getuid().is_root() {
        return None;
    }
    let name = env::var("PGUPKEEP_PG_USER").unwrap_or_else(|_| "postgres".to_owned());
    let user = User::from_name(&name).unwrap();
    Some(user.unwrap_or_else(|| panic!("tests as root need a user `{name}` to run servers as; script/setup makes it")))
}

/// A program of this major, to be run as the user that servers run as.
pub(super) fn server_program(major: &Major, name: &str) -> Command {
    let mut command = Command::new(major.program(name));
    // A clean environment: variables such as PGHOST or LC_ALL would otherwise change what a test measures.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC");
    command.env("LD_LIBRARY_PATH", major.library_path()).env("PGUSER", "postgres").current_dir("/");
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// Runs a program to its end and panics with everything it said if it fails.
pub(super) async fn succeed(command: &mut Command) -> String {
    let output = command.stdin(std::process::Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// The folder of all test servers: `PGUPKEEP_TEST_DIR`, else one in /tmp for each user.
///
/// Its path is short, because a Unix socket's path must stay under 107 bytes, and everyone may enter it.
pub(super) fn base() -> PathBuf {
    let usual = || PathBuf::from(format!("/tmp/pgupkeep-test-{}", Uid::current()));
    let base = env::var_os("PGUPKEEP_TEST_DIR").map_or_else(usual, PathBuf::from);
    if !base.is_dir() {
        fs::create_dir_all(&base).unwrap();
        // Whatever the umask: the servers' user must come through.
        fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
    }
    fs::canonicalize(base).unwrap()
}

/// Makes a folder that only the servers' user may enter.
pub(super) fn private_folder(path: &Path) {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some(user) = server_user() {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// The template of a major, initialised now if this is the first test to need it.
///
/// Tests are processes of their own. Two that start together both initialise, and the one that renames first wins:
/// that costs a second once, and needs no lock that a killed test could leave behind.
pub(super) async fn template(major: &Major) -> PathBuf {
    let ready = base().join(format!("template-{}", major.number));
    if ready.is_dir() {
        return ready;
    }
    let partial = base().join(format!("initdb-{}-{}", major.number, Uuid::new_v4().simple()));
    private_folder(&partial);
    let mut initdb = server_program(major, "initdb");
    initdb.arg("-D").arg(&partial);
    initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]);
    succeed(&mut initdb).await;
    match fs::rename(&partial, &ready) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            fs::remove_dir_all(&partial).unwrap();
        }
        Err(error) => panic!("{}: {error}", ready.display()),
    }
    ready
}
