//! What of the jobs' rights only the databases themselves can tell; looked up here, judged in [`super::rights`].

use std::collections::BTreeMap;

use super::rights::dumped;
use crate::config::Connection;
use crate::jobs::JobSpec;
use crate::jobs::archive::resolve::resolve;
use crate::jobs::archive::rule::Use;
use crate::jobs::archive::spec::Archive;
use crate::jobs::archive::store::Store;
use crate::jobs::context::JobError;
use crate::names::JobName;
use crate::pg::connect::{Purpose, connect};
use crate::pg::inspect::{Closed, Facts, closed_to_dumps};
use crate::pg::statement::{Ident, Qualified};

/// What was found; an error is told in words.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// What each archival would use, or why it would refuse.
    pub(super) archives: BTreeMap<JobName, Result<Moves, String>>,
    /// What a dump would fail at, by the name of the database.
    pub(super) closed: BTreeMap<String, Result<Vec<Closed>, String>>,
}

/// What an archival uses.
#[derive(Debug)]
pub(super) struct Moves {
    /// What is done to each table.
    pub(super) uses: Vec<(Qualified, Use)>,
    /// The application's schema, where a preset says which tables are used: a later version may bring more of them.
    pub(super) application: Option<Ident>,
    /// Whether the archive's own schema is there already.
    pub(super) is_made: bool,
}

/// A job, and those inside it.
pub(super) fn with_inner(job: &JobSpec) -> impl Iterator<Item = &JobSpec> {
    std::iter::once(job).chain(&job.inner)
}

/// Looks at what these jobs would touch in one place; only reads.
pub(super) async fn probe(jobs: &[&JobSpec], connection: &Connection, facts: &Facts) -> Probed {
    let mut probed = Probed::default();
    for job in jobs.iter().flat_map(|job| with_inner(job)) {
        if job.kind == "archive" && !probed.archives.contains_key(&job.name) {
            probed.archives.insert(job.name.clone(), moves_of(job, connection).await);
        }
        if job.kind == "backup" {
            for database in dumped(job, facts).filter(|database| database.permitted) {
                if !probed.closed.contains_key(&database.name) {
                    let closed = closed_to_dumps(connection, &database.name).await;
                    probed.closed.insert(database.name.clone(), closed.map_err(|error| error.to_string()));
                }
            }
        }
    }
    probed
}

async fn moves_of(job: &JobSpec, connection: &Connection) -> Result<Moves, String> {
    let spec: Archive = serde_json::from_value(job.with.clone()).map_err(|error| error.to_string())?;
    let conn = connect(connection, "pgupkeep/doctor", Purpose::Short).await;
    let mut conn = conn.map_err(|error| error.to_string())?;
    let look = async {
        let rule = resolve(&spec, &mut conn).await?;
        let is_made = Store::new(&spec.schema).exists(&mut conn).await?;
        let application = spec.preset.is_some().then(|| rule.root.table.schema.clone());
        Ok::<_, JobError>(Moves { uses: rule.uses, application, is_made })
    };
    look.await.map_err(|error| error.to_string())
}
