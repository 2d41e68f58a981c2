//! Every file of a backup read again, and compared with what its manifest says.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore as _, ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::layout::{MANIFEST, Spot, VERDICT};
use super::manifest::{File, Manifest, hex};
use super::{Repository, RepositoryError, innermost};

/// How much is read at a time.
const CHUNK: u64 = 4 << 20;

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Its path inside the backup.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// What the latest check of a backup found; kept beside its manifest, so that nobody counts on a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// When it was checked.
    pub checked_at: Timestamp,
    /// What was found; nothing is as it should be.
    pub damage: Vec<Damage>,
}

impl Repository {
    /// Reads every file of a backup and compares it with the manifest.
    ///
    /// # Errors
    /// Never for what is wrong with the backup, which is the answer; only when the repository itself is away.
    pub async fn check(&self, spot: &Spot, manifest: &Manifest) -> Result<Vec<Damage>, RepositoryError> {
        // Asked first, lest a disk that is not mounted makes every file look lost.
        self.store
            .head(&spot.manifest())
            .await
            .map_err(|source| RepositoryError::store(format!("find {}", spot.manifest()), source))?;
        let mut damage = Vec::new();
        for file in &manifest.files {
            let what = match self.digest(&spot.file(&file.path)).await {
                Ok(read) if read.bytes != file.bytes => {
                    Some(format!("has {} bytes instead of {}", read.bytes, file.bytes))
                }
                Ok(read) if read.sha256 != file.sha256 => Some("does not match its checksum".to_owned()),
                Ok(_) => None,
                Err(StoreError::NotFound { .. }) => Some("is missing".to_owned()),
                Err(error) => Some(format!("cannot be read: {}", innermost(&error))),
            };
            damage.extend(what.map(|what| Damage { path: file.path.clone(), what }));
        }
        Ok(damage)
    }

    /// Keeps what a check found beside the manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keep_verdict(&self, spot: &Spot, verdict: &Verdict) -> Result<(), RepositoryError> {
        let text = serde_json::to_string_pretty(verdict).unwrap_or_default() + "\n";
        let path = spot.verdict();
        let put = self.store.put(&path, PutPayload::from(text.into_bytes())).await;
        put.map(drop).map_err(|source| RepositoryError::store(format!("write {path}"), source))
    }

    /// The size and checksum of an object, read from the repository; its path is left to the caller.
    pub(super) async fn digest(&self, path: &Path) -> Result<File, StoreError> {
        let bytes = self.store.head(path).await?.size;
        let (mut at, mut hasher) = (0, Sha256::new());
        while at < bytes {
            let end = bytes.min(at + CHUNK);
            let chunk = self.store.get_range(path, at..end).await?;
            hasher.update(&chunk);
            at = end;
            // Hashing takes this thread a while; whoever else waits for it has a turn.
            tokio::task::yield_now().await;
        }
        Ok(File { path: String::new(), bytes, sha256: hex(&hasher.finalize()) })
    }

    /// The paths of all objects of a backup but the manifest and the verdict, in order.
    pub(super) async fn paths_below(&self, folder: &Path) -> Result<Vec<String>, RepositoryError> {
        let objects: Vec<_> = self
            .store
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|source| RepositoryError::store(format!("list {folder}"), source))?;
        let below = |path: &Path| {
            let parts = path.prefix_match(folder)?;
            Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
        };
        let mut paths: Vec<String> = objects.iter().filter_map(|object| below(&object.location)).collect();
        paths.retain(|path| path != MANIFEST && path != VERDICT);
        paths.sort_unstable();
        Ok(paths)
    }
}
