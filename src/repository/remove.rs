//! What leaves a repository: backups that are not kept, and what was never finished.
//!
//! A backup that is removed stops being one first, in a single move, and is cleared away afterwards; so no crash
//! leaves half of one that is still listed.

use std::io;
use std::path::Path as FilePath;
use std::time::Duration;

use super::layout::{BackupId, SPOOL, Spot, logical};
use super::lease::{Held, Lease};
use super::{Repository, RepositoryError};
use object_store::path::Path;

/// How long a folder without a lease must have lain still before it is taken for a leftover.
const STILL_FOR: Duration = Duration::from_hours(24);

/// Something that was never finished, whose maker is dead.
#[derive(Debug)]
pub struct Leftover {
    /// What it was to become.
    pub spot: Spot,
    folders: Vec<Path>,
    /// Held until it is cleared away, so that nobody else does the same.
    lease: Option<Lease>,
}

impl Leftover {
    /// Leaves it where it is: it was only looked at.
    pub fn leave(self) {
        if let Some(lease) = self.lease {
            lease.leave();
        }
    }
}

impl Repository {
    /// What was never finished for a server: its makers are dead, as their leases prove.
    ///
    /// While the answer is held, nobody else sweeps the same.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn leftovers(&self, server: &str) -> Result<Vec<Leftover>, RepositoryError> {
        let spools = self.folders(Some(&Path::from(SPOOL))).await?;
        let spools = spools.iter().filter_map(|name| Spot::of_spool(name)).filter(|spot| spot.server == server);
        let of_lease = |id: BackupId| Spot { server: server.to_owned(), id };
        let mut spots: Vec<Spot> = spools.chain(self.lease_names(server)?.into_iter().map(of_lease)).collect();
        spots.sort_unstable();
        spots.dedup();
        let mut leftovers = Vec::new();
        for spot in spots {
            let spool = spot.spool();
            match self.look_at_lease(&spot)? {
                Held::Taken(lease) => {
                    let mut folders = vec![spool];
                    // One whose manifest is there was published; only its lease is left over.
                    if self.read(&spot.manifest()).await?.is_none() {
                        folders.push(spot.folder());
                    }
                    leftovers.push(Leftover { spot, folders, lease: Some(lease) });
                }
                Held::Absent if lies_still(&self.local(&spool)) => {
                    leftovers.push(Leftover { spot, folders: vec![spool], lease: None });
                }
                Held::Alive | Held::Absent => {}
            }
        }
        Ok(leftovers)
    }

    /// How many leftovers there are; takes none of them.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn count_leftovers(&self, server: &str) -> Result<usize, RepositoryError> {
        let leftovers = self.leftovers(server).await?;
        let count = leftovers.len();
        leftovers.into_iter().for_each(Leftover::leave);
        Ok(count)
    }

    /// Clears a leftover away.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    #[expect(clippy::needless_pass_by_value, reason = "its lease is given back when it is gone")]
    pub fn sweep(&self, leftover: Leftover) -> Result<(), RepositoryError> {
        for folder in &leftover.folders {
            self.remove_folder(&self.local(folder))?;
        }
        Ok(())
    }

    /// Removes a backup.
    ///
    /// # Errors
    /// When it cannot be moved out of the way, then it is still a backup; or not be cleared away, then it is none any
    /// more, and the next sweep goes on.
    pub fn remove(&self, spot: &Spot) -> Result<(), RepositoryError> {
        let (from, to) = (self.local(&spot.folder()), self.local(&spot.spool()));
        let move_away = || {
            std::fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
            std::fs::rename(&from, &to)
        };
        match move_away() {
            // Somebody else removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved.map_err(|source| RepositoryError::file(format!("move {}", from.display()), source))?,
        }
        self.remove_folder(&to)
    }

    pub(super) fn remove_folder(&self, folder: &FilePath) -> Result<(), RepositoryError> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = format!("remove {} of {}", folder.display(), self.name);
                Err(RepositoryError::file(what, error))
            }
            _ => Ok(()),
        }
    }

    fn lease_names(&self, server: &str) -> Result<Vec<BackupId>, RepositoryError> {
        let folder = self.local(&super::layout::leases(server));
        let list = || -> io::Result<Vec<BackupId>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&folder)? {
                names.extend(entry?.file_name().to_str().and_then(BackupId::parse));
            }
            Ok(names)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed
                .map_err(|source| RepositoryError::file(format!("list the leases of {}", logical(server)), source)),
        }
    }

    /// How many bytes are free where the repository is; `None` where nobody can tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let disk = nix::sys::statvfs::statvfs(&self.root).ok()?;
        Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }
}

/// Whether nothing has changed directly in a folder for long.
fn lies_still(folder: &FilePath) -> bool {
    let changed = std::fs::metadata(folder).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > STILL_FOR))
}
