//! The last steps: what was dumped becomes a backup, and what is not kept goes.

use serde_json::json;

use super::step::{Site, plain};
use super::{Backup, facts};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::policy::retention::{Held, Keep, expendable};
use crate::repository::catalogue::{Entry, Standing};
use crate::repository::layout::Spot;
use crate::repository::manifest::{Manifest, Method, Missing, VERSION};
use crate::repository::{Repository, RepositoryError};

const UNTRIED: &str = "it was not tried";

/// Reads everything back from the repository, and writes the manifest.
pub(super) async fn publish(site: &Site, cx: &mut Context) -> Result<StepReport, JobError> {
    let mut missing = Vec::new();
    let mut miss = |database: Option<&str>, error: &str| {
        missing.push(Missing { database: database.map(str::to_owned), error: error.to_owned() });
    };
    let globals = match site.globals.get() {
        Some(Ok(globals)) => Some(globals.clone()),
        Some(Err(error)) => {
            miss(None, error);
            None
        }
        None => {
            miss(None, UNTRIED);
            None
        }
    };
    let mut databases = Vec::new();
    for (facts, slot) in site.databases.iter().zip(&site.dumped) {
        match slot.get() {
            Some(Ok(database)) => databases.push(database.clone()),
            Some(Err(error)) => miss(Some(&facts.name), error),
            None => miss(Some(&facts.name), UNTRIED),
        }
    }
    let Some(spool) = site.spool.get().filter(|_| !databases.is_empty()) else {
        let message = "no database could be dumped, so nothing was published; the other steps say why".to_owned();
        return Err(JobError::Refused { fault: Fault::Statement, message });
    };
    let files = tokio::select! {
        files = spool.store() => files?,
        stop = cx.stop() => return Err(JobError::Stopped(stop)),
    };
    let manifest = Manifest {
        version: VERSION,
        id: site.spot.id.clone(),
        method: Method::Dump,
        complete: missing.is_empty(),
        job: cx.spec.name.to_string(),
        target: cx.target.to_string(),
        run_id: site.run_id,
        program: concat!("pgupkeep ", env!("CARGO_PKG_VERSION")).to_owned(),
        system_identifier: site.server.system_identifier.clone(),
        server_version: site.server.version.clone(),
        tools: site.tools.version.clone(),
        started_at: site.server.now,
        completed_at: facts::read_server(cx).await?.now,
        spool_bytes: spool.peak(),
        globals,
        databases,
        missing,
        files,
    };
    spool.publish(&manifest).await?;
    let without: Vec<String> =
        manifest.missing.iter().map(|one| one.database.as_deref().map_or("globals".to_owned(), plain)).collect();
    let detail = json!({
        "id": manifest.id,
        "complete": manifest.complete,
        "databases": manifest.databases.len(),
        "files": manifest.files.len(),
        "bytes": manifest.bytes(),
        "missing": without,
    });
    Ok(StepReport::Done(Measures { detail: Some(detail), ..Measures::default() }))
}

/// Sweeps leftovers, and removes what is not kept.
pub(super) async fn make_room(spec: &Backup, site: &Site, cx: &Context) -> Result<StepReport, JobError> {
    let repository = site.repository()?;
    let mut swept = 0;
    for leftover in repository.leftovers(&site.spot.server).await? {
        cx.gate()?;
        repository.sweep(leftover)?;
        swept += 1;
    }
    let pruned = match spec.keep {
        Some(keep) => prune(repository, &site.spot.server, cx.spec.name.as_str(), keep).await?,
        None => Pruned::default(),
    };
    Ok(report(&pruned, swept))
}

/// Removes what is not kept.
pub(super) async fn prune_step(site: &Site, keep: Keep, cx: &Context) -> Result<StepReport, JobError> {
    let pruned = prune(site.repository()?, &site.spot.server, cx.spec.name.as_str(), keep).await?;
    Ok(report(&pruned, 0))
}

fn report(pruned: &Pruned, swept: usize) -> StepReport {
    let detail = json!({ "removed": pruned.removed, "bytes": pruned.bytes, "leftovers": swept });
    StepReport::Done(Measures { detail: Some(detail), ..Measures::default() })
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The names of the backups.
    pub removed: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes what a job's `keep` does not keep of its backups of a server.
///
/// # Errors
/// When the repository cannot be read or written.
pub async fn prune(repository: &Repository, server: &str, job: &str, keep: Keep) -> Result<Pruned, RepositoryError> {
    let entries = repository.backups(server).await?;
    let mut pruned = Pruned::default();
    for spot in not_kept(&entries, job, keep) {
        let bytes = entries.iter().find(|entry| entry.spot == spot).and_then(|entry| entry.manifest.as_ref());
        repository.remove(&spot)?;
        tracing::info!(repository = %repository.name, backup = %spot.id, "removed a backup that is not kept any more");
        pruned.bytes += bytes.map_or(0, Manifest::bytes);
        pruned.removed.push(spot.id.to_string());
    }
    Ok(pruned)
}

/// The backups of a job that its `keep` does not keep. What is damaged or unfinished is none of them.
pub fn not_kept(entries: &[Entry], job: &str, keep: Keep) -> Vec<Spot> {
    let held: Vec<Held<Spot>> = entries
        .iter()
        .filter(|entry| matches!(entry.standing, Standing::Good | Standing::Incomplete))
        .filter_map(|entry| Some((entry, entry.manifest.as_ref().filter(|manifest| manifest.job == job)?)))
        .map(|(entry, manifest)| {
            let databases = manifest.databases.iter().map(|database| database.name.clone());
            let missing = manifest.missing.iter().filter_map(|missing| missing.database.clone());
            Held {
                id: entry.spot.clone(),
                completed_at: manifest.completed_at,
                complete: manifest.complete,
                databases: databases.clone().collect(),
                meant: databases.chain(missing).collect(),
            }
        })
        .collect();
    expendable(keep, &held)
}
