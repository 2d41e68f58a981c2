//! Who makes a backup: a file that the operating system keeps locked for exactly as long as its maker lives.
//!
//! So a leftover is known to be dead at once, however its maker ended, and one in the making is never cleared away,
//! however long it takes. The lock works between processes and containers that share the folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::layout::{Spot, leases};
use super::{Repository, RepositoryError};

/// The file of the turn at a server; too short to be a backup's name.
const TURN: &str = "turn";

/// The right to make a backup; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    file: File,
    path: PathBuf,
}

/// How it stands with a lease.
#[derive(Debug)]
pub(super) enum Held {
    /// Somebody lives who has it.
    Alive,
    /// Whoever had it is dead; now we have it.
    Taken(Lease),
    /// There is none.
    Absent,
}

/// The turn at one server: whoever has it is the only one who makes a backup of it in this repository.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, and given back when it is closed")] File);

impl Repository {
    /// Tries to take the turn at a server; `None` while somebody else has it.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub fn try_turn(&self, server: &str) -> Result<Option<Turn>, RepositoryError> {
        let folder = self.local(&leases(server));
        let path = folder.join(TURN);
        let take = || -> io::Result<Option<Turn>> {
            std::fs::create_dir_all(&folder)?;
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(Turn(file))),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        take().map_err(|source| RepositoryError::file(format!("take the turn {}", path.display()), source))
    }

    /// Takes the lease of a backup that is to be made.
    pub(super) fn take_lease(&self, spot: &Spot, whose: &str) -> Result<Lease, RepositoryError> {
        let path = self.local(&spot.lease());
        let take = || -> io::Result<Lease> {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            loop {
                let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
                file.lock()?;
                // Whoever clears up may have taken it for a dead one's in between, and removed it.
                if is_still(&file, &path) {
                    writeln!(file, "{whose}")?;
                    return Ok(Lease { file, path: path.clone() });
                }
            }
        };
        take().map_err(|source| RepositoryError::file(format!("take the lease {}", path.display()), source))
    }

    /// Looks who has the lease of a backup, and takes it from the dead.
    pub(super) fn look_at_lease(&self, spot: &Spot) -> Result<Held, RepositoryError> {
        let path = self.local(&spot.lease());
        let look = || -> io::Result<Held> {
            let file = match OpenOptions::new().write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Absent),
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) if is_still(&file, &path) => Ok(Held::Taken(Lease { file, path: path.clone() })),
                Ok(()) => Ok(Held::Absent),
                Err(TryLockError::WouldBlock) => Ok(Held::Alive),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        look().map_err(|source| RepositoryError::file(format!("look at the lease {}", path.display()), source))
    }

    /// Whether somebody makes this backup right now.
    pub(super) fn is_leased(&self, spot: &Spot) -> Result<bool, RepositoryError> {
        match self.look_at_lease(spot)? {
            Held::Alive => Ok(true),
            Held::Taken(lease) => {
                lease.leave();
                Ok(false)
            }
            Held::Absent => Ok(false),
        }
    }
}

impl Lease {
    /// Unlocks it, but leaves it where it is: a mere look changes nothing.
    pub(super) fn leave(mut self) {
        self.path.clear();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // Removed while it is locked, so that nobody takes it for a dead one's.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the lease could not be removed");
        }
        let _closing_unlocks_as_well = self.file.unlock();
    }
}

/// Whether the open file is the one that has the name now.
fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
