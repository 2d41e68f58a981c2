//! What a backup says of itself: a JSON file for people and programs, sealed by a checksum of its own.
//!
//! The last line but one holds the SHA-256 of all the bytes before it, so that `head -n -2 manifest.json | sha256sum`
//! shows the same digits. Whatever byte of the file changes, it is not a manifest any more.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::layout::BackupId;

/// The version of the form of a manifest that this program writes.
pub const VERSION: u32 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form: 1.
    pub version: u32,
    /// The backup.
    pub id: BackupId,
    /// How it was made.
    pub method: Method,
    /// Whether it holds everything that it was meant to hold.
    pub complete: bool,
    /// The job that made it.
    pub job: String,
    /// The target through which the server was reached.
    pub target: String,
    /// The run that made it.
    pub run_id: Uuid,
    /// The program that made it, such as `pgupkeep 0.1.0`.
    pub program: String,
    /// What the server says of itself: a number that its data directory was made with.
    pub system_identifier: String,
    /// The server's version, such as `16.4`.
    pub server_version: String,
    /// The tools that were used, such as `pg_dump (PostgreSQL) 16.4`.
    pub tools: String,
    /// When it was begun, by the server's clock.
    pub started_at: Timestamp,
    /// When everything had been read back and compared, by the server's clock.
    pub completed_at: Timestamp,
    /// The most bytes that it needed while it was made.
    pub spool_bytes: u64,
    /// Roles and tablespaces; none if they could not be had.
    pub globals: Option<Globals>,
    /// The databases in it.
    pub databases: Vec<Database>,
    /// What was meant to be in it, but could not be had.
    pub missing: Vec<Missing>,
    /// Every other file of the backup.
    pub files: Vec<File>,
}

/// How a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By `pg_dump`, a folder for each database.
    Dump,
}

/// Roles and tablespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// The file.
    pub path: String,
    /// Whether the roles' password hashes are in it.
    pub passwords: Passwords,
}

/// Whether password hashes are among the globals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passwords {
    /// They are.
    Included,
    /// The role may not read them, so every password has to be set anew after restoring.
    LeftOut,
}

/// One database in a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its number in the catalogue.
    pub oid: u32,
    /// Its folder in the backup.
    pub folder: String,
    /// How its data files are compressed.
    pub compression: Compression,
    /// Its encoding.
    pub encoding: String,
    /// Its collation.
    pub collate: String,
    /// Its character classes.
    pub ctype: String,
    /// Its size on the server.
    pub bytes_live: i64,
    /// The size of its dump as stored.
    pub bytes: u64,
    /// The snapshot that it was dumped under.
    pub snapshot: String,
    /// Where the server's WAL stood when the snapshot was taken.
    pub lsn: String,
    /// How long the dump took.
    pub dump_seconds: f64,
    /// How long it took `pg_restore` to read all of it.
    pub read_seconds: f64,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Its tables with their rows under that snapshot.
    pub tables: Vec<Table>,
}

/// How a database's data files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// By `pg_dump`, as Zstandard; `pg_restore` reads them as they are.
    PgDumpZstd,
    /// File by file after `pg_dump`, as Zstandard: `unzstd` them before a `pg_restore` older than 16 reads them.
    FileZstd,
    /// By `pg_dump`, as gzip, where its build lacks Zstandard; `pg_restore` reads them as they are.
    PgDumpGzip,
}

/// An extension of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A table with its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its rows under the snapshot.
    pub rows: i64,
    /// Whether they were counted, or taken from the planner's estimate.
    pub counted: bool,
}

/// A database, or the globals, that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The database; none for the globals.
    pub database: Option<String>,
    /// Why.
    pub error: String,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path inside the backup.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The checksum is not that of the bytes.
    #[error("the manifest does not match its own checksum")]
    Damaged,
    /// There is no checksum in its place.
    #[error("the manifest has no checksum in its last line but one: it is cut short, or no manifest")]
    Unsealed,
    /// The checksum is right, but this program does not understand the rest.
    #[error("the manifest is of version {0}, which this pgupkeep does not know; upgrade it")]
    Newer(u64),
    /// The checksum is right, but the rest makes no sense.
    #[error("the manifest is not understood: {0}")]
    Unreadable(String),
}

const SEAL: &str = "  \"manifest_sha256\": \"";
const END: &str = "\"\n}\n";

impl Manifest {
    /// The bytes of the file.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no manifest of ours does.
    pub fn seal(&self) -> Result<Vec<u8>, serde_json::Error> {
        seal(self)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When a single one of them is not as it was written.
    pub fn open(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Damaged)?;
        let at = text.rfind(SEAL).ok_or(ManifestError::Unsealed)?;
        let (body, seal) = text.split_at(at);
        if seal != format!("{SEAL}{}{END}", hex(&Sha256::digest(body.as_bytes()))) {
            return Err(ManifestError::Damaged);
        }
        let unreadable = |error: serde_json::Error| ManifestError::Unreadable(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(unreadable)?;
        match value["version"].as_u64() {
            Some(version) if version > u64::from(VERSION) => Err(ManifestError::Newer(version)),
            _ => serde_json::from_value(value).map_err(unreadable),
        }
    }

    /// Whether it holds a database of that name.
    pub fn holds(&self, database: &str) -> bool {
        self.databases.iter().any(|held| held.name == database)
    }

    /// The bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A map as JSON, with its own checksum in the last line but one.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn seal<T: Serialize>(map: &T) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string_pretty(map)?;
    let body = text.strip_suffix("\n}").unwrap_or(&text);
    let body = format!("{body},\n");
    let seal = hex(&Sha256::digest(body.as_bytes()));
    Ok(format!("{body}{SEAL}{seal}{END}").into_bytes())
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest as a test needs one.
    pub(crate) fn manifest(id: &str) -> Manifest {
        Manifest {
            version: VERSION,
            id: BackupId::parse(id).expect("a name"),
            method: Method::Dump,
            complete: true,
            job: "backup".to_owned(),
            target: "mlflow".to_owned(),
            run_id: Uuid::nil(),
            program: "pgupkeep 0.1.0".to_owned(),
            system_identifier: "7412345678901234567".to_owned(),
            server_version: "16.4".to_owned(),
            tools: "pg_dump (PostgreSQL) 16.4".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            completed_at: Timestamp::UNIX_EPOCH,
            spool_bytes: 5,
            globals: None,
            databases: Vec::new(),
            missing: Vec::new(),
            files: vec![File { path: "globals.sql".to_owned(), bytes: 5, sha256: hex(&Sha256::digest(b"hello")) }],
        }
    }

    #[test]
    fn a_manifest_survives_the_way_to_bytes_and_back() {
        let written = manifest("20261126T030000Z-0a1b2c3d");
        let bytes = written.seal().expect("sealed");
        assert_eq!(Manifest::open(&bytes), Ok(written));
    }

    #[test]
    fn its_checksum_is_that_of_all_lines_but_the_last_two() {
        let bytes = manifest("20261126T030000Z-0a1b2c3d").seal().expect("sealed");
        let text = String::from_utf8(bytes).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let body = lines[..lines.len() - 2].join("\n") + "\n";
        assert!(lines[lines.len() - 2].contains(&hex(&Sha256::digest(body.as_bytes()))));
    }

    #[test]
    fn a_single_flipped_bit_anywhere_is_found() {
        let bytes = manifest("20261126T030000Z-0a1b2c3d").seal().expect("sealed");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Manifest::open(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_manifest_that_is_cut_short_or_goes_on_is_none() {
        let bytes = manifest("20261126T030000Z-0a1b2c3d").seal().expect("sealed");
        for length in 0..bytes.len() {
            assert!(Manifest::open(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(Manifest::open(&[bytes.as_slice(), b"\n"].concat()), Err(ManifestError::Damaged));
    }

    #[test]
    fn a_manifest_of_a_later_form_is_told_apart_from_a_damaged_one() {
        let later = Manifest { version: 2, ..manifest("20261126T030000Z-0a1b2c3d") };
        assert_eq!(Manifest::open(&later.seal().expect("sealed")), Err(ManifestError::Newer(2)));
    }
}
