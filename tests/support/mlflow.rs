//! Databases in MLflow's shape: made by the demo's SQL, or by MLflow itself.

use std::env;
use std::path::{Path, PathBuf};

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
    let found = env::var_os("PGUPKEEP_MLFLOW_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    if found.is_none() {
        skip_suite(suite, "MLflow's client is not installed; script/test fetches it");
    }
    found
}
