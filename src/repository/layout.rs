//! What is where in a repository.
//!
//! ```text
//! <system identifier>/logical/<backup>/manifest.json      written last; without it there is no backup
//!                                      verdict.json       what the latest `backup verify` found
//!                                      globals.sql        roles and tablespaces
//!                                      databases/<name>-<oid>/...   one folder of pg_dump each
//! <system identifier>/logical/.leases/<backup>            held while it is made
//! <system identifier>/archived/<export>/manifest.json     written last; then the rows were deleted from their archive
//!                                       <table>-<n>.csv.zst
//! .spool/<system identifier>-<backup>/...                 a backup in the making, or on its way out
//! ```
//!
//! Servers are told apart by what they say of themselves, never by their address: a restored copy behind the same
//! name, or two servers in one repository, do not mix. `base` and `wal` have their places beside `logical`.

use std::fmt;

use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of a backup: when it began, and eight digits that make it the only one.
///
/// Nothing is ever concluded from the instant in it; the manifest says when it was completed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

impl BackupId {
    /// A new name.
    pub fn new(began: Timestamp) -> Self {
        let digits = Uuid::new_v4().simple().to_string();
        Self(format!("{}-{}", began.strftime("%Y%m%dT%H%M%SZ"), &digits[..8]))
    }

    /// Reads a name; nothing that could lead out of its folder, or be hidden in it, is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (is_plain && (8..=64).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for BackupId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no name of a backup"))
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

/// A backup's place: its server, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The server's system identifier.
    pub server: String,
    /// The backup.
    pub id: BackupId,
}

impl Spot {
    /// Its folder.
    pub(super) fn folder(&self) -> Path {
        logical(&self.server).join(self.id.as_str())
    }

    /// One of its files, by the path that the manifest gives it.
    pub(super) fn file(&self, path: &str) -> Path {
        path.split('/').fold(self.folder(), Path::join)
    }

    pub(super) fn manifest(&self) -> Path {
        self.folder().join(MANIFEST)
    }

    pub(super) fn verdict(&self) -> Path {
        self.folder().join(VERDICT)
    }

    pub(super) fn lease(&self) -> Path {
        leases(&self.server).join(self.id.as_str())
    }

    pub(super) fn spool(&self) -> Path {
        Path::from(SPOOL).join(format!("{}-{}", self.server, self.id))
    }

    /// What a folder among those in the making is for.
    pub(super) fn of_spool(name: &str) -> Option<Self> {
        let (server, id) = name.split_once('-')?;
        Some(Self { server: is_server(server).then(|| server.to_owned())?, id: BackupId::parse(id)? })
    }
}

/// What a backup says of itself.
pub const MANIFEST: &str = "manifest.json";
/// What the latest check of it found.
pub const VERDICT: &str = "verdict.json";
/// The file of roles and tablespaces.
pub const GLOBALS: &str = "globals.sql";
/// Where backups are made.
pub(super) const SPOOL: &str = ".spool";

/// Where a server's dumps are.
pub(super) fn logical(server: &str) -> Path {
    Path::from(server).join("logical")
}

/// Where rows of a server are that were exported before they left their archive.
pub(super) fn exported(server: &str) -> Path {
    Path::from(server).join("archived")
}

pub(super) fn leases(server: &str) -> Path {
    logical(server).join(".leases")
}

/// Whether a folder at the top may be a server's: its name is a system identifier, a number of 64 bits.
pub(super) fn is_server(name: &str) -> bool {
    name.parse::<u64>().is_ok()
}

/// The folder of a database's dump: what of its name any file system takes, and its number in the catalogue.
pub fn database_folder(name: &str, oid: u32) -> String {
    format!("databases/{}-{oid}", harmless(name))
}

/// The file of a table's exported rows: what of its name any file system takes, and the number of its shape.
pub(super) fn table_file(name: &str, number: i64) -> String {
    format!("{}-{number}.csv.zst", harmless(name))
}

/// What any file system takes of a name.
fn harmless(name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    name.chars().map(harmless).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_named_by_its_beginning_and_by_chance() {
        let began: Timestamp = "2026-11-26T03:00:01.5Z".parse().expect("an instant");
        let (one, other) = (BackupId::new(began), BackupId::new(began));
        assert!(one.as_str().starts_with("20261126T030001Z-"), "{one}");
        assert_ne!(one, other);
        assert_eq!(BackupId::parse(one.as_str()), Some(one));
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_a_backup() {
        for text in ["", "..", ".leases", "../../etc", "a/b-c-d-e-f", "x", "manifest.json", &"x".repeat(65)] {
            assert_eq!(BackupId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_folder_stays_a_folder_whatever_a_database_is_called() {
        let check = |name: &str, expected: &str| assert_eq!(database_folder(name, 7), expected);
        check("mlflow", "databases/mlflow-7");
        check("../../etc", "databases/______etc-7");
        check("we\"ird; drop\n", "databases/we_ird__drop_-7");
        check("Größe/日本", "databases/Gr__e___-7");
        assert_eq!(database_folder(&"x".repeat(63), 7).len(), "databases/".len() + 40 + 2);
    }

    #[test]
    fn what_is_in_the_making_is_known_by_its_folder() {
        let spot = Spot { server: "7412345678901234567".to_owned(), id: BackupId::new(Timestamp::UNIX_EPOCH) };
        assert_eq!(spot.spool().parts().next_back().and_then(|name| Spot::of_spool(name.as_ref())), Some(spot));
        assert_eq!(Spot::of_spool("lost+found"), None);
        assert_eq!(Spot::of_spool("77-.."), None);
    }

    #[test]
    fn only_a_number_is_a_server() {
        assert!(is_server("7412345678901234567"));
        assert!(!is_server(".spool"));
        assert!(!is_server("lost+found"));
    }
}
