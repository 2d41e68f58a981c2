//! Databases in MLflow's shape: made by the demo's SQL, or by MLflow itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::template::succeed;
use super::{Cluster, skip_suite};

/// How much data [`mlflow_database`] makes; the meaning is that of the variables of `script/demo-data.sql`.
#[derive(Debug, Clone, Copy)]
pub struct DemoSize {
    /// Rows of `runs`.
    pub runs: u32,
    /// Rows of `metrics`, at least about this many.
    pub points: u32,
}

impl DemoSize {
    /// Enough that every shape of row occurs, in about a second.
    pub const SMALL: Self = Self { runs: 60, points: 12_000 };
}

/// Makes a database with MLflow's tables, the demo's data and some churn, and returns its name.
pub async fn mlflow_database(cluster: &Cluster, size: DemoSize) -> String {
    let name = cluster.create_database().await;
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/demo-data.sql");
    let (runs, points) = (format!("runs={}", size.runs), format!("points={}", size.points));
    let arguments = ["-qX", "-v", "ON_ERROR_STOP=1", "-v", &runs, "-v", &points, "-d", &name, "-f"];
    cluster.run_client("psql", &[&arguments[..], &[sql.to_str().unwrap()]].concat()).await;
    name
}

/// The Python that has MLflow's client, from `PGUPKEEP_MLFLOW_PYTHON`; `None` is recorded as a skipped suite.
pub fn mlflow_python(suite: &str) -> Option<PathBuf> {
    client("PGUPKEEP_MLFLOW_PYTHON", suite)
}

fn client(variable: &str, suite: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    if found.is_none() {
        skip_suite(suite, "MLflow's client is not installed; script/test fetches it");
    }
    found
}

/// An MLflow whose migrations make the schema of a database.
#[derive(Debug, Clone)]
pub struct Mlflow {
    /// Its version, as its tables have it.
    pub version: &'static str,
    /// The Python that has its client.
    pub python: PathBuf,
}

/// The oldest and the newest MLflow that are known; each that is not installed is recorded as skipped.
pub fn mlflows(suite: &str) -> Vec<Mlflow> {
    let known = [("2.22.4", "PGUPKEEP_MLFLOW2_PYTHON"), ("3.17.2", "PGUPKEEP_MLFLOW_PYTHON")];
    let find = |(version, variable): (&'static str, &str)| {
        let python = client(variable, &format!("{suite} with MLflow {version}"))?;
        Some(Mlflow { version, python })
    };
    known.into_iter().filter_map(find).collect()
}

/// What makes MLflow 2.22 create its tables: its own `db upgrade` expects them to be there.
const INITIALISE: &str = "
import sys, sqlalchemy
import mlflow.store.tracking.dbmodels.models, mlflow.store.model_registry.dbmodels.models
from mlflow.store.db.utils import _initialize_tables
_initialize_tables(sqlalchemy.create_engine(sys.argv[1]))
";

/// A Python that tells nobody that it ran, has traces written before it ends, and keeps files out of the sources.
pub fn mlflow_program(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.env("MLFLOW_DISABLE_TELEMETRY", "true").env("DO_NOT_TRACK", "1");
    command.env("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false").current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Mlflow {
    /// A Python program of this environment.
    pub fn program(&self) -> Command {
        mlflow_program(&self.python)
    }

    /// Makes an empty database with this MLflow's schema, by its own migrations, and returns its name.
    pub async fn database(&self, cluster: &Cluster) -> String {
        let name = cluster.create_database().await;
        let url = cluster.url(&name).replace("postgres://", "postgresql+psycopg2://");
        let mut program = self.program();
        if self.version.starts_with('2') {
            program.args(["-c", INITIALISE, &url]);
        } else {
            program.args(["-m", "mlflow", "db", "upgrade", &url]);
        }
        succeed(&mut program).await;
        name
    }
}
