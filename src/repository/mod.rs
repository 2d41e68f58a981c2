//! Repositories: where backups are, and how one becomes good there.
//!
//! A backup exists, for restoring and for retention, only if its manifest does. The manifest is written last, after
//! every other file was read back from the repository and compared; so whatever happens before leaves no backup at
//! all. The catalogue is those manifests and nothing else: no table of ours is needed to find, check or restore one.
//!
//! - [`layout`]: what is where.
//! - [`manifest`]: what a backup says of itself, sealed by its own checksum.
//! - [`catalogue`]: what is there, and which is the newest good one.
//! - [`spool`]: a backup in the making, and its publication.
//! - [`lease`]: who makes one, so that nobody clears it away under them.
//! - [`check`]: every file read again and compared.
//! - [`export`]: rows that leave an archive for good.
//! - [`remove`]: what is old, and what was never finished.

pub mod catalogue;
pub mod check;
pub mod export;
pub mod layout;
pub mod lease;
pub mod manifest;
pub mod remove;
pub mod spool;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use crate::fault::Fault;
use crate::names::RepositoryName;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine, or one that is mounted on it.
    Folder(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The repositories of a configuration, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories(pub BTreeMap<RepositoryName, Place>);

impl Repositories {
    /// Opens the repository of that name; a folder that is missing is made, unless its own parent is missing too.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be used.
    pub fn open(&self, name: &str) -> Result<Repository, RepositoryError> {
        let (name, place) = self.find(name)?;
        let Place::Folder(path) = place;
        match std::fs::create_dir(path) {
            Ok(()) => make_private(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Not with the folders above it: what is missing may be a disk that is not mounted.
            Err(error) => Err(error),
        }
        .map_err(|source| closed(name, place, source))?;
        Repository::open(name, place)
    }

    /// Opens the repository of that name to look at it; `None` if its folder is yet to be made.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be used.
    pub fn look_at(&self, name: &str) -> Result<Option<Repository>, RepositoryError> {
        let (name, place) = self.find(name)?;
        let Place::Folder(path) = place;
        let is_yet_to_be_made = !path.exists() && path.parent().is_some_and(Path::is_dir);
        if is_yet_to_be_made { Ok(None) } else { Repository::open(name, place).map(Some) }
    }

    fn find(&self, name: &str) -> Result<(&RepositoryName, &Place), RepositoryError> {
        let found = self.0.iter().find(|(known, _)| known.as_str() == name);
        found.ok_or_else(|| RepositoryError::Unknown(name.to_owned()))
    }
}

fn closed(name: &RepositoryName, place: &Place, source: io::Error) -> RepositoryError {
    RepositoryError::Closed { name: name.clone(), place: place.to_string(), source }
}

/// A place where backups are.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its name in the configuration.
    pub name: RepositoryName,
    store: Arc<dyn ObjectStore>,
    root: PathBuf,
}

impl Repository {
    fn open(name: &RepositoryName, place: &Place) -> Result<Self, RepositoryError> {
        let Place::Folder(path) = place;
        // Without links and dots, so that what is found below it begins with the very same path.
        let root = path.canonicalize().map_err(|source| closed(name, place, source))?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| RepositoryError::store("open the repository", source))?;
        Ok(Self { name: name.clone(), store: Arc::new(store.with_fsync(true)), root })
    }

    /// The folder of this machine that an object's path means.
    fn local(&self, path: &object_store::path::Path) -> PathBuf {
        path.parts().fold(self.root.clone(), |folder, part| folder.join(part.as_ref()))
    }
}

/// Dumps hold everything, so nobody else may read them.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Why a repository could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none of that name.
    #[error("the configuration has no repository {0:?}; add it under `repositories`, or name another one")]
    Unknown(String),
    /// It cannot be used at all.
    #[error(
        "the repository {name} cannot be used: {place}: {source}; nothing was written; \
         see that its disk is mounted and that this user may write there"
    )]
    Closed {
        /// Its name.
        name: RepositoryName,
        /// Its folder.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An object could not be read or written.
    #[error("could not {what}: {}", innermost(source))]
    Store {
        /// What was tried.
        what: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A file could not be read or written.
    #[error("could not {what}: {source}")]
    File {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// What was written reads differently.
    #[error(
        "{0} reads differently from what was written; it was not published, and nothing was deleted; check the disk"
    )]
    ReadsDifferently(String),
}

impl RepositoryError {
    fn store(what: impl Into<String>, source: object_store::Error) -> Self {
        Self::Store { what: what.into(), source }
    }

    fn file(what: impl Into<String>, source: io::Error) -> Self {
        Self::File { what: what.into(), source }
    }

    /// The code that the program handles this by.
    pub fn fault(&self) -> Fault {
        let io = match self {
            Self::Unknown(_) => return Fault::Statement,
            Self::ReadsDifferently(_) => return Fault::Corrupt,
            Self::Closed { source, .. } | Self::File { source, .. } => Some(source),
            Self::Store { source, .. } => io_error(source),
        };
        io.map_or(Fault::Unreachable, |error| fault_of_io(error.kind()))
    }
}

/// The code that a failure of a disk is handled by.
pub fn fault_of_io(kind: io::ErrorKind) -> Fault {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Fault::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Privilege,
        // Whatever else a disk says may pass, such as a network file system that is away.
        _ => Fault::Unreachable,
    }
}

/// The operating system's error inside the store's, if there is one.
fn io_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The words of the innermost cause: the store's own repeat it several times over.
fn innermost(error: &object_store::Error) -> String {
    match (error, io_error(error)) {
        (object_store::Error::NotFound { path, .. }, _) => format!("{path} is not there"),
        (_, Some(io)) => io.to_string(),
        _ => error.to_string(),
    }
}
