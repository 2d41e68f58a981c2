//! A backup in the making, and how it becomes one.
//!
//! It is made under another name inside the repository. When it is whole, every file is flushed and hashed, the folder
//! gets its own name, every file is read back from there and compared, and only then the manifest is written. A spool
//! that is dropped before that leaves nothing behind; one whose process was killed is swept by whoever comes next.

use std::fs::File as OpenFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore as _, PutMode, PutOptions, PutPayload};

use super::layout::Spot;
use super::lease::Lease;
use super::manifest::{File, Manifest};
use super::{Repository, RepositoryError, make_private};

/// A backup in the making.
#[derive(Debug)]
pub struct Spool {
    repository: Repository,
    /// Where it will be.
    pub spot: Spot,
    peak: AtomicU64,
    moved: OnceLock<()>,
    published: OnceLock<()>,
    /// The last field, so that it is given back after everything else is gone.
    _lease: Lease,
}

impl Spool {
    /// Begins a backup: its lease, then its folder.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn begin(repository: &Repository, spot: &Spot, whose: &str) -> Result<Self, RepositoryError> {
        let lease = repository.take_lease(spot, whose)?;
        let spool = Self {
            repository: repository.clone(),
            spot: spot.clone(),
            peak: AtomicU64::new(0),
            moved: OnceLock::new(),
            published: OnceLock::new(),
            _lease: lease,
        };
        let folder = spool.folder();
        let make = || {
            std::fs::create_dir_all(&folder)?;
            make_private(&folder)
        };
        make().map_err(|source| RepositoryError::file(format!("make the folder {}", folder.display()), source))?;
        Ok(spool)
    }

    /// The folder that it is made in.
    pub fn folder(&self) -> PathBuf {
        self.repository.local(&self.spot.spool())
    }

    /// Notes how much room it takes just now.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn measure(&self) -> Result<u64, RepositoryError> {
        let folder = self.folder();
        let bytes = bytes_below(&folder)
            .map_err(|source| RepositoryError::file(format!("measure {}", folder.display()), source))?;
        self.peak.fetch_max(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The bytes of one folder in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn measure_below(&self, path: &str) -> Result<u64, RepositoryError> {
        let folder = self.folder().join(path);
        bytes_below(&folder).map_err(|source| RepositoryError::file(format!("measure {}", folder.display()), source))
    }

    /// The most room that it took.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Flushes and hashes every file, moves all of them to their place, reads each back from there and compares.
    ///
    /// # Errors
    /// When a file cannot be read or written, or reads differently.
    pub async fn store(&self) -> Result<Vec<File>, RepositoryError> {
        let folder = self.spot.spool();
        flush_below(&self.folder()).map_err(|source| RepositoryError::file(format!("flush {folder}"), source))?;
        let mut files = Vec::new();
        for path in self.repository.paths_below(&folder).await? {
            let object = path.split('/').fold(folder.clone(), object_store::path::Path::join);
            let digest = self.repository.digest(&object).await;
            let digest = digest.map_err(|source| RepositoryError::store(format!("read {object}"), source))?;
            files.push(File { path, ..digest });
        }
        self.take_in()?;
        for file in &files {
            let object = self.spot.file(&file.path);
            let read = self.repository.digest(&object).await;
            let read = read.map_err(|source| RepositoryError::store(format!("read {object} back"), source))?;
            if (read.bytes, &read.sha256) != (file.bytes, &file.sha256) {
                return Err(RepositoryError::ReadsDifferently(object.to_string()));
            }
        }
        Ok(files)
    }

    /// Moves the folder to its place, for good.
    fn take_in(&self) -> Result<(), RepositoryError> {
        let (from, to) = (self.folder(), self.repository.local(&self.spot.folder()));
        let move_folder = || -> io::Result<()> {
            std::fs::rename(&from, &to)?;
            let _first = self.moved.set(());
            // Each folder holds the name of the next one.
            let root = self.repository.root.as_path();
            for folder in to.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
                OpenFile::open(folder)?.sync_all()?;
            }
            OpenFile::open(from.parent().unwrap_or(root))?.sync_all()
        };
        move_folder()
            .map_err(|source| RepositoryError::file(format!("move {} to {}", from.display(), to.display()), source))
    }

    /// Writes the manifest and reads it back; from then on it is a backup.
    ///
    /// # Errors
    /// When it cannot be written, or reads differently.
    pub async fn publish(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let bytes = manifest.seal().map_err(|error| RepositoryError::file("write the manifest", error.into()))?;
        self.repository.publish(&self.spot.manifest(), bytes).await?;
        let _first = self.published.set(());
        Ok(())
    }
}

impl Repository {
    /// Writes a manifest where there is none, and reads it back.
    pub(super) async fn publish(&self, path: &ObjectPath, bytes: Vec<u8>) -> Result<(), RepositoryError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(path, PutPayload::from(bytes.clone()), options).await;
        put.map_err(|source| RepositoryError::store(format!("write {path}"), source))?;
        match self.read(path).await? {
            Some(read) if read == bytes => Ok(()),
            _ => Err(RepositoryError::ReadsDifferently(path.to_string())),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.published.get().is_some() {
            return;
        }
        let mut folders = vec![self.folder()];
        if self.moved.get().is_some() {
            folders.push(self.repository.local(&self.spot.folder()));
        }
        for folder in folders {
            if let Err(error) = std::fs::remove_dir_all(&folder)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(folder = %folder.display(), %error, "an unfinished backup could not be cleared away; \
                     the next backup sweeps it");
            }
        }
    }
}

/// The bytes of all files below a folder.
fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Flushes all files and folders below a folder, and itself, to the disk.
fn flush_below(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            flush_below(&entry.path())?;
        } else {
            OpenFile::open(entry.path())?.sync_all()?;
        }
    }
    OpenFile::open(folder)?.sync_all()
}
