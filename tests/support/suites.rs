//! Suites that cannot run here say so by name: a test that silently passes is worse than none.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// Records that a suite did not run, and why.
///
/// The line goes to the file named by `PGUPKEEP_SKIPPED`, which `script/test` prints at the end, and to stderr for
/// whoever runs a test by hand.
pub fn skip_suite(name: &str, reason: &str) {
    let line = format!("SKIPPED SUITE {name}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = env::var_os("PGUPKEEP_SKIPPED") {
        // One small append is atomic, so that tests running side by side do not mix their lines.
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// How often an endurance suite repeats: the second number under `script/test full`, the first otherwise.
pub fn rounds(usual: u32, full: u32) -> u32 {
    if env::var_os("PGUPKEEP_TEST_ROUNDS").is_some_and(|rounds| rounds == "full") { full } else { usual }
}

/// The library that gives a process another clock, from `PGUPKEEP_FAKETIME_LIB` or where Debian puts it.
///
/// `None` is recorded as a skipped suite under the given name.
pub fn faketime_library(suite: &str) -> Option<PathBuf> {
    let named = env::var_os("PGUPKEEP_FAKETIME_LIB").map(PathBuf::from);
    let found = named.into_iter().chain(installed_faketime()).find(|path| path.is_file());
    if found.is_none() {
        skip_suite(suite, "libfaketime is not installed (package libfaketime)");
    }
    found
}

/// Debian keeps libraries in one folder per architecture.
fn installed_faketime() -> impl Iterator<Item = PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"))
}
