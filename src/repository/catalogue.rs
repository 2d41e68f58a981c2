//! What is in a repository, by its manifests alone.

use jiff::Timestamp;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore as _, ObjectStoreExt as _};

use super::check::Verdict;
use super::layout::{BackupId, Spot, is_server, logical};
use super::manifest::Manifest;
use super::{Repository, RepositoryError};

/// How far one may count on a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Everything is in it and was read back; the latest check, if there was one, found nothing.
    Good,
    /// What is in it was read back, but something is missing that was meant to be in it.
    Incomplete,
    /// A check found damage, or the manifest is not as it was written.
    Damaged(String),
    /// There is no manifest, and nobody makes it.
    Unfinished,
    /// Somebody makes it right now.
    InTheMaking,
}

impl Standing {
    /// The word for it, for people and in `--json`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Incomplete => "incomplete",
            Self::Damaged(_) => "damaged",
            Self::Unfinished => "unfinished",
            Self::InTheMaking => "in_the_making",
        }
    }
}

/// A backup, or what looks like one.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub spot: Spot,
    /// What it says of itself, if that can be read.
    pub manifest: Option<Manifest>,
    /// What the latest check found, if there was one.
    pub verdict: Option<Verdict>,
    /// How far one may count on it.
    pub standing: Standing,
}

/// A backup that one may count on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodBackup {
    /// Its name.
    pub id: BackupId,
    /// When everything in it had been read back and compared, by the server's clock.
    pub completed_at: Timestamp,
    /// The instant up to which it has the data: when its first snapshot was about to be taken.
    pub started_at: Timestamp,
}

impl Repository {
    /// The system identifiers of the servers that have backups here.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn servers(&self) -> Result<Vec<String>, RepositoryError> {
        let names = self.folders(None).await?;
        Ok(names.into_iter().filter(|name| is_server(name)).collect())
    }

    /// Every backup of a server, and what looks like one, by name.
    ///
    /// # Errors
    /// When the repository cannot be read; what is wrong with one backup stands in its entry.
    pub async fn backups(&self, server: &str) -> Result<Vec<Entry>, RepositoryError> {
        let mut entries = Vec::new();
        for name in self.folders(Some(&logical(server))).await? {
            let Some(id) = BackupId::parse(&name) else { continue };
            entries.extend(self.entry(Spot { server: server.to_owned(), id }).await?);
        }
        entries.sort_by(|one, other| one.spot.cmp(&other.spot));
        Ok(entries)
    }

    /// The newest backup of a server that one may count on, by when it was completed.
    ///
    /// With a database's name: the newest that has this one, even if another database is missing from it. It answers
    /// from the manifests, each sealed by its checksum, and from the verdict of the latest check; it does not read
    /// the files again.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn newest_good(
        &self,
        server: &str,
        database: Option<&str>,
    ) -> Result<Option<GoodBackup>, RepositoryError> {
        let entries = self.backups(server).await?;
        let counts_on = |entry: &Entry| match (&entry.standing, database, &entry.manifest) {
            (Standing::Good, None, _) => true,
            (Standing::Good | Standing::Incomplete, Some(database), Some(manifest)) => manifest.holds(database),
            _ => false,
        };
        let good = entries.into_iter().filter(counts_on).filter_map(|entry| entry.manifest);
        Ok(good.max_by_key(|manifest| manifest.completed_at).map(|manifest| GoodBackup {
            id: manifest.id,
            completed_at: manifest.completed_at,
            started_at: manifest.started_at,
        }))
    }

    /// Reads a manifest; `None` if there is none.
    async fn entry(&self, spot: Spot) -> Result<Option<Entry>, RepositoryError> {
        let Some(bytes) = self.read(&spot.manifest()).await? else {
            let standing = if self.is_leased(&spot)? { Standing::InTheMaking } else { Standing::Unfinished };
            // It may have gone as a whole in between, or have been published.
            return match (self.read(&spot.manifest()).await?, self.local(&spot.folder()).exists()) {
                (None, false) => Ok(None),
                (None, true) => Ok(Some(Entry { spot, manifest: None, verdict: None, standing })),
                (Some(bytes), _) => Ok(Some(self.judge(spot, &bytes).await?)),
            };
        };
        Ok(Some(self.judge(spot, &bytes).await?))
    }

    async fn judge(&self, spot: Spot, bytes: &[u8]) -> Result<Entry, RepositoryError> {
        let verdict = self.read(&spot.verdict()).await?;
        // One that cannot be read says nothing, and the next check writes it anew.
        let verdict: Option<Verdict> = verdict.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (manifest, standing) = match Manifest::open(bytes) {
            Err(error) => (None, Standing::Damaged(error.to_string())),
            Ok(manifest) if manifest.id != spot.id || manifest.system_identifier != spot.server => {
                let reason =
                    format!("the manifest is that of {} of server {}", manifest.id, manifest.system_identifier);
                (None, Standing::Damaged(reason))
            }
            Ok(manifest) => {
                let found = verdict.as_ref().and_then(|verdict| verdict.damage.first());
                let standing = match found {
                    Some(damage) => Standing::Damaged(format!("{} {}", damage.path, damage.what)),
                    None if manifest.complete => Standing::Good,
                    None => Standing::Incomplete,
                };
                (Some(manifest), standing)
            }
        };
        Ok(Entry { spot, manifest, verdict, standing })
    }

    /// The bytes of a small object; `None` if there is none.
    pub(super) async fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, RepositoryError> {
        let refuse = |source| RepositoryError::store(format!("read {path}"), source);
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(refuse)?.to_vec())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(refuse(error)),
        }
    }

    /// The names of the folders in one.
    pub(super) async fn folders(&self, folder: Option<&Path>) -> Result<Vec<String>, RepositoryError> {
        let listed = self.store.list_with_delimiter(folder).await;
        let listed = listed.map_err(|source| {
            let place = folder.map_or_else(|| self.root.display().to_string(), ToString::to_string);
            RepositoryError::store(format!("list {place}"), source)
        })?;
        let name = |path: Path| path.parts().next_back().map(|part| part.as_ref().to_owned());
        Ok(listed.common_prefixes.into_iter().filter_map(name).collect())
    }
}
