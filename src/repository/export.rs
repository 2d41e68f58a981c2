//! Rows that leave a database for good, kept in a repository: a compressed CSV file a table, and a manifest, written last.
//!
//! What has no manifest was never relied on: nobody deletes a row before its export was read back and published.

use std::io::{self, Write};

use jiff::Timestamp;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::layout::{BackupId, MANIFEST, exported, table_file};
use super::manifest::{File, hex, seal};
use super::{Repository, RepositoryError};
use crate::pg::statement::Qualified;

/// The level that dumps have, too.
const LEVEL: i32 = 3;
/// How much is handed to the repository at a time.
const PART: usize = 8 << 20;

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// The version of this form: 1.
    pub version: u32,
    /// The export.
    pub id: BackupId,
    /// The target that the rows were archived in.
    pub target: String,
    /// Its database.
    pub database: String,
    /// What they were archived by.
    pub rule: String,
    /// The run that exports and deletes them.
    pub run_id: Option<Uuid>,
    /// The program, such as `pgupkeep 0.1.0`.
    pub program: String,
    /// What the server says of itself.
    pub system_identifier: String,
    /// When it was begun, by the server's clock.
    pub exported_at: Timestamp,
    /// The tables, one file each.
    pub tables: Vec<ExportedTable>,
}

/// One table's rows in an export.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportedTable {
    /// The schema of the table that they were archived from.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns and their types, in the order of the file.
    pub columns: Vec<(String, String)>,
    /// How many rows there are.
    pub rows: u64,
    /// The file: CSV with a header line, compressed with Zstandard.
    pub file: File,
    /// The SHA-256 of the CSV itself.
    pub csv_sha256: String,
}

/// An export in the making.
#[derive(Debug)]
pub struct Export {
    repository: Repository,
    folder: Path,
    /// Its name.
    pub id: BackupId,
}

/// A file of an export in the making.
#[expect(missing_debug_implementations, reason = "an encoder has none")]
pub struct ExportFile {
    repository: Repository,
    path: Path,
    upload: Box<dyn MultipartUpload>,
    encoder: zstd::Encoder<'static, Vec<u8>>,
    csv: Sha256,
    stored: Sha256,
    bytes: u64,
}

impl Repository {
    /// Begins an export of rows of a server.
    pub fn begin_export(&self, server: &str, began: Timestamp) -> Export {
        let id = BackupId::new(began);
        Export { repository: self.clone(), folder: exported(server).join(id.as_str()), id }
    }
}

impl Export {
    /// Where it is, as a path in the repository.
    pub const fn folder(&self) -> &Path {
        &self.folder
    }

    /// Clears away what was not published. What cannot be is harmless: it has no manifest.
    pub fn discard(&self) {
        let folder = self.repository.local(&self.folder);
        if let Err(error) = self.repository.remove_folder(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "an unfinished export could not be cleared away");
        }
    }

    /// Begins the file of a table, by the number that tells its shapes apart.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn begin_file(&self, table: &Qualified, number: i64) -> Result<ExportFile, RepositoryError> {
        let path = self.folder.clone().join(table_file(&table.plain(), number));
        let refuse = |source| RepositoryError::store(format!("write {path}"), source);
        let upload = self.repository.store.put_multipart(&path).await.map_err(refuse)?;
        let encoder = encoder(&path)?;
        let (csv, stored) = (Sha256::new(), Sha256::new());
        Ok(ExportFile { repository: self.repository.clone(), path, upload, encoder, csv, stored, bytes: 0 })
    }

    /// Writes the manifest and reads it back; from then on the rows may be deleted.
    ///
    /// # Errors
    /// When it cannot be written, or reads differently.
    pub async fn publish(&self, manifest: &Exported) -> Result<(), RepositoryError> {
        let bytes = seal(manifest).map_err(|error| RepositoryError::file("write the manifest", error.into()))?;
        self.repository.publish(&self.folder.clone().join(MANIFEST), bytes).await
    }
}

impl ExportFile {
    /// Takes a piece of the CSV.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), RepositoryError> {
        self.csv.update(piece);
        let written = self.encoder.write_all(piece);
        written.map_err(|source| RepositoryError::file(format!("compress {}", self.path), source))?;
        if self.encoder.get_ref().len() < PART {
            return Ok(());
        }
        let part = std::mem::take(self.encoder.get_mut());
        self.put(part).await
    }

    async fn put(&mut self, part: Vec<u8>) -> Result<(), RepositoryError> {
        self.stored.update(&part);
        self.bytes += part.len() as u64;
        let put = self.upload.put_part(PutPayload::from(part)).await;
        put.map_err(|source| RepositoryError::store(format!("write {}", self.path), source))
    }

    /// Closes the file, reads it back, and compares what comes out of it with what went in; tells the file, its name
    /// without the folder, and the checksum of the CSV.
    ///
    /// # Errors
    /// When it cannot be written or read, or reads differently.
    pub async fn finish(mut self) -> Result<(File, String), RepositoryError> {
        let encoder = std::mem::replace(&mut self.encoder, encoder(&self.path)?);
        let last =
            encoder.finish().map_err(|source| RepositoryError::file(format!("compress {}", self.path), source))?;
        self.put(last).await?;
        let refuse = |source| RepositoryError::store(format!("write {}", self.path), source);
        self.upload.complete().await.map_err(refuse)?;
        let (csv, stored) = (hex(&self.csv.finalize()), hex(&self.stored.finalize()));
        let differs = || RepositoryError::ReadsDifferently(self.path.to_string());
        let mut check = Check { stored: Sha256::new(), csv: zstd::stream::write::Decoder::new(Sink(Sha256::new())) };
        let mut at = 0;
        while at < self.bytes {
            let end = self.bytes.min(at + PART as u64);
            let chunk = self.repository.store.get_range(&self.path, at..end).await;
            let chunk = chunk.map_err(|source| RepositoryError::store(format!("read {} back", self.path), source))?;
            check.push(&chunk).map_err(|_| differs())?;
            at = end;
        }
        let head = self.repository.store.head(&self.path).await;
        let bytes = head.map_err(|source| RepositoryError::store(format!("read {} back", self.path), source))?.size;
        if (bytes, check.digests().map_err(|_| differs())?) != (self.bytes, (stored.clone(), csv.clone())) {
            return Err(differs());
        }
        let name = self.path.filename().unwrap_or_default().to_owned();
        Ok((File { path: name, bytes, sha256: stored }, csv))
    }
}

fn encoder(path: &Path) -> Result<zstd::Encoder<'static, Vec<u8>>, RepositoryError> {
    let begin = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(encoder)
    };
    begin().map_err(|source| RepositoryError::file(format!("compress {path}"), source))
}

/// What is read back, as stored and as CSV.
struct Check {
    stored: Sha256,
    csv: io::Result<zstd::stream::write::Decoder<'static, Sink>>,
}

impl Check {
    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.stored.update(chunk);
        match &mut self.csv {
            Ok(decoder) => decoder.write_all(chunk),
            Err(error) => Err(io::Error::from(error.kind())),
        }
    }

    fn digests(self) -> io::Result<(String, String)> {
        let mut decoder = self.csv?;
        decoder.flush()?;
        Ok((hex(&self.stored.finalize()), hex(&decoder.into_inner().0.finalize())))
    }
}

/// Hashes what is written to it.
struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
