//! What of the jobs' rights only the databases themselves can tell; looked up here, judged in [`super::rights`].

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::grant_script::ROLE;
use super::rights::dumped;
use crate::config::Connection;
use crate::fault::Fault;
use crate::jobs::JobSpec;
use crate::jobs::archive::resolve::{outlived, resolve};
use crate::jobs::archive::rule::Use;
use crate::jobs::archive::spec::Archive;
use crate::jobs::archive::store::Store;
use crate::jobs::context::JobError;
use crate::names::JobName;
use crate::pg::connect::{Purpose, connect};
use crate::pg::inspect::{Closed, Facts, Whose, closed_to_dumps, hand_over};
use crate::pg::statement::{Ident, Qualified};

/// What was found; an error is told in words.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// What is known of each archival.
    pub(super) archives: BTreeMap<JobName, Archival>,
    /// What a dump would fail at, by the name of the database.
    pub(super) closed: BTreeMap<String, Result<Vec<Closed>, String>>,
}

/// What is known of an archival.
#[derive(Debug)]
pub(super) struct Archival {
    /// What it would use, or why it would refuse.
    pub(super) moves: Result<Moves, Refusal>,
    /// The statements that hand an archive over to us that others have made.
    pub(super) foreign: Vec<String>,
    /// The same to the role of the script.
    pub(super) handover: Vec<String>,
}

/// Why an archival would refuse.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was found, and what to do.
    pub(super) message: String,
    /// Whether a right is missing; what else is missing may come, such as the tables of an application.
    pub(super) is_of_rights: bool,
}

impl Refusal {
    fn of(error: &JobError) -> Self {
        Self { message: error.to_string(), is_of_rights: error.fault() == Fault::Privilege }
    }
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

/// Looks at what these jobs would touch in one place; only reads.
pub(super) async fn probe(jobs: &[&JobSpec], connection: &Connection, facts: &Facts) -> Probed {
    let mut probed = Probed::default();
    for job in jobs.iter().flat_map(|job| job.with_inner()) {
        if job.kind == "archive" && !probed.archives.contains_key(&job.name) {
            probed.archives.insert(job.name.clone(), archival_of(job, connection, &facts.server.role).await);
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

async fn archival_of(job: &JobSpec, connection: &Connection, role: &str) -> Archival {
    let look = async {
        let spec: Archive = serde_json::from_value(job.with.clone()).map_err(|error| error.to_string())?;
        let conn = connect(connection, "pgupkeep/doctor", Purpose::Short).await;
        let mut conn = conn.map_err(|error| error.to_string())?;
        let store = Store::new(&spec.schema);
        let schemas = (store.schema.0.as_str(), store.store.0.as_str());
        // Whether it could be worked on is the job's own to say.
        let foreign = match store.check_usable(&mut conn).await {
            Ok(()) => Vec::new(),
            Err(error) if error.fault() == Fault::Privilege => {
                hand_over(&mut conn, schemas, role, Whose::Others).await.map_err(|error| error.to_string())?
            }
            Err(error) => return Err(error.to_string()),
        };
        let handover =
            hand_over(&mut conn, schemas, ROLE, Whose::NotTheRoles).await.map_err(|error| error.to_string())?;
        let moves = moves_of(&spec, &store, &mut conn).await.map_err(|error| Refusal::of(&error));
        Ok::<_, String>(Archival { moves, foreign, handover })
    };
    look.await.unwrap_or_else(|message| {
        let moves = Err(Refusal { message, is_of_rights: true });
        Archival { moves, foreign: Vec::new(), handover: Vec::new() }
    })
}

async fn moves_of(spec: &Archive, store: &Store, conn: &mut PgConnection) -> Result<Moves, JobError> {
    if outlived(spec, conn).await?.is_some() {
        return Ok(Moves { uses: Vec::new(), application: None, is_made: true });
    }
    let rule = resolve(spec, conn).await?;
    let is_made = store.exists(conn).await?;
    let application = spec.preset.is_some().then(|| rule.root.table.schema.clone());
    Ok(Moves { uses: rule.uses, application, is_made })
}
