//! The wishes: looks every minute whether somebody asks for archived rows with a tag in the application.
//!
//! A data scientist who tags a run of MLflow with `pgupkeep.restore = true` has it back without a shell: where there is
//! such a tag, a run of kind `archive_restore` is written, and nothing else is done here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::Shared;
use crate::config::Target;
use crate::jobs::archive::selection::{Selection, Which, find};
use crate::jobs::archive::store::Store;
use crate::jobs::context::JobError;
use crate::jobs::{JobSpec, kind};
use crate::ledger::LedgerError;
use crate::names::JobName;
use crate::pg::connect::{Purpose, connect};

const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long a restore that did not succeed is left alone.
const REST: Duration = Duration::from_hours(1);
/// The name of the runs that are written; of their own, so that what people ask for by hand does not put them off.
const NAME: &str = "archive-restore-by-tag";

/// Looks for ever.
pub async fn run(shared: Shared) {
    loop {
        shared.told("wishes", once(&shared).await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks once at the target of every archive job; gives back how many runs were written.
///
/// # Errors
/// When the control database fails.
pub async fn once(shared: &Shared) -> Result<usize, LedgerError> {
    let config = shared.config.borrow().clone();
    let archives = config.jobs.values().filter(|job| job.spec.kind == "archive");
    let places: BTreeSet<_> = archives
        .flat_map(|job| {
            let schema = job.spec.with.get("schema").and_then(|schema| schema.as_str()).unwrap_or("archive").to_owned();
            job.targets.iter().map(move |target| (target.clone(), schema.clone()))
        })
        .collect();
    let mut written = 0;
    for (name, schema) in places {
        let Some(target) = config.targets.get(&name).filter(|_| shared.availability.is_fit(&name)) else { continue };
        match is_asked(target, &schema).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                // The next look is soon; a target that is away is noted by whoever works on it.
                tracing::debug!(target = %name, %error, "whether a restore is asked for cannot be seen");
                continue;
            }
        }
        let Some(spec) = spec(&schema) else { continue };
        if shared.ledger.is_at_rest(spec.name.as_str(), name.as_str(), REST).await? {
            let run = shared.ledger.insert_manual_run(&spec, &name).await?;
            tracing::info!(%run, target = %name, "a restore from the archive is asked for");
            shared.work.ring();
            written += 1;
        }
    }
    Ok(written)
}

async fn is_asked(target: &Target, schema: &str) -> Result<bool, JobError> {
    let store = Store::new(schema);
    let mut conn = connect(&target.connection, "pgupkeep/wishes", Purpose::Short).await?;
    Ok(store.exists(&mut conn).await?
        && !find(&mut conn, &store, None, &Selection::Asked, Which::Archived).await?.is_empty())
}

fn spec(schema: &str) -> Option<JobSpec> {
    let kind = kind("archive_restore")?;
    let with = (kind.read_with)(&json!({ "asked": true, "schema": schema })).ok()?;
    let name = JobName::parse(NAME).ok()?;
    let kind_name = kind.name.to_owned();
    Some(JobSpec { name, kind: kind_name, with, timeout_ms: None, retries: kind.profile.retries, inner: Vec::new() })
}
