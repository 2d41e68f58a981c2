//! The PostgreSQL builds that tests run on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::skip_suite;

/// The majors the product promises to work with.
const PROMISED: std::ops::RangeInclusive<u32> = 14..=18;

/// The major that tests use when one server is enough: the one in the middle of what is promised.
const USUAL: u32 = 16;

/// One installed PostgreSQL major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Major {
    /// The number before the dot: 14 to 18.
    pub number: u32,
    root: PathBuf,
}

impl Major {
    /// The path of a server or client program, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    /// What `LD_LIBRARY_PATH` must be for these programs.
    ///
    /// Builds that were unpacked somewhere else than they were built for would otherwise load the machine's own libpq,
    /// with which standbys never connect.
    pub fn library_path(&self) -> PathBuf {
        self.root.join("lib")
    }
}

/// Every major present, oldest first, for suites that must hold on each of them.
///
/// A promised major that is missing is recorded as skipped under the suite's name.
pub fn majors(suite: &str) -> Vec<Major> {
    let found = installed();
    for number in PROMISED.filter(|number| found.iter().all(|major| major.number != *number)) {
        skip_suite(&format!("{suite} on PostgreSQL {number}"), "this server is not installed; script/test fetches it");
    }
    found
}

/// The one major for suites that need a single server: `PGUPKEEP_TEST_MAJOR`, else 16, else the newest present.
///
/// `None` is recorded as a skipped suite. `script/test --pg all` repeats the suites with every major.
pub fn one_major(suite: &str) -> Option<Major> {
    let found = installed();
    let asked: Option<u32> = env::var("PGUPKEEP_TEST_MAJOR").ok().map(|text| text.parse().unwrap());
    let chosen = match asked {
        Some(number) => found.into_iter().find(|major| major.number == number),
        None => found.iter().find(|major| major.number == USUAL).or(found.last()).cloned(),
    };
    if chosen.is_none() {
        let wanted = asked.map_or_else(String::new, |number| format!(" {number}"));
        skip_suite(suite, &format!("PostgreSQL{wanted} is not installed; script/test fetches it"));
    }
    chosen
}

fn installed() -> Vec<Major> {
    let root = env::var_os("PGUPKEEP_PG_ROOT").unwrap_or_else(|| OsString::from("/usr/lib/postgresql"));
    let folders = fs::read_dir(Path::new(&root)).into_iter().flatten().flatten();
    let mut found: Vec<Major> = folders
        .filter_map(|folder| Some((folder.file_name().to_str()?.parse().ok()?, folder.path())))
        .filter(|(number, root)| PROMISED.contains(number) && root.join("bin/postgres").is_file())
        .map(|(number, root)| Major { number, root })
        .collect();
    found.sort_by_key(|major| major.number);
    found
}
