//! A repository of a test's own, the tools to fill it, and a look at what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pgupkeep::jobs::JobSpec;
use pgupkeep::jobs::outfit::Outfit;
use pgupkeep::names::RepositoryName;
use pgupkeep::repository::catalogue::{Entry, Standing};
use pgupkeep::repository::check::Damage;
use pgupkeep::repository::manifest::{Compression, Manifest};
use pgupkeep::repository::{Place, Repositories, Repository};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::jobs::workplace::job;
use crate::support::{Cluster, Major, client_tools};

/// A repository, and the tools of one major.
#[derive(Debug)]
pub struct Depot {
    _folder: TempDir,
    tools: TempDir,
    root: PathBuf,
    /// What has to live as long as the folder does, such as the disk that it is on.
    _kept: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Depot {
    pub fn new(major: &Major) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("backups");
        Self { _folder: folder, tools: client_tools(major), root, _kept: None }
    }

    /// The same on a disk of the test's own.
    pub fn on(self, disk: &Path, kept: impl Send + Sync + 'static) -> Self {
        Self { root: disk.join("backups"), _kept: Some(Box::new(kept)), ..self }
    }

    /// Where the tools are.
    pub fn tools(&self) -> &Path {
        self.tools.path()
    }

    /// Where the repository is; made by the first backup.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub fn repositories(&self) -> Repositories {
        let name = RepositoryName::parse("local").unwrap();
        Repositories([(name, Place::Folder(self.root()))].into())
    }

    pub fn repository(&self) -> Repository {
        self.repositories().open("local").unwrap()
    }

    /// What a job needs to work here.
    pub fn outfit(&self) -> Outfit {
        let starter = env!("CARGO_BIN_EXE_pgupkeep").into();
        Outfit { repositories: self.repositories(), starter, ..Outfit::default() }
    }

    /// A `backup` job that uses this repository and these tools.
    #[expect(clippy::needless_pass_by_value, reason = "json! at the call reads better without a &")]
    pub fn job(&self, with: Value) -> JobSpec {
        let mut all = json!({ "repository": "local", "tools": self.tools() });
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        job("backup", "backup", &all)
    }

    /// Everything that looks like a backup.
    pub async fn entries(&self) -> Vec<Entry> {
        if !self.root().is_dir() {
            return Vec::new();
        }
        let repository = self.repository();
        let mut entries = Vec::new();
        for server in repository.servers().await.unwrap() {
            entries.extend(repository.backups(&server).await.unwrap());
        }
        entries
    }

    /// The backups that are listed as good.
    pub async fn good(&self) -> Vec<Manifest> {
        let entries = self.entries().await.into_iter().filter(|entry| entry.standing == Standing::Good);
        entries.filter_map(|entry| entry.manifest).collect()
    }

    /// The only backup, which must be good.
    pub async fn only(&self) -> Entry {
        let entries = self.entries().await;
        let [entry] = entries.as_slice() else { panic!("not one backup: {entries:#?}") };
        assert_eq!(entry.standing, Standing::Good, "{entry:#?}");
        entry.clone()
    }

    /// What a check finds.
    pub async fn check(&self, entry: &Entry) -> Vec<Damage> {
        self.repository().check(&entry.spot, entry.manifest.as_ref().unwrap()).await.unwrap()
    }

    /// The folder of a backup.
    pub fn folder_of(&self, entry: &Entry) -> PathBuf {
        self.root().join(&entry.spot.server).join("logical").join(entry.spot.id.as_str())
    }

    /// What is left of backups in the making.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let Ok(folder) = fs::read_dir(self.root().join(".spool")) else { return Vec::new() };
        folder.map(|entry| entry.unwrap().path()).collect()
    }
}

/// Restores a whole backup into an empty server, by the commands of docs/backup.md.
pub async fn restore(folder: &Path, manifest: &Manifest, cluster: &Cluster) {
    let globals = folder.join("globals.sql");
    // The role that the server was made with is there already, so its line fails, and nothing else does.
    cluster.run_client("psql", &["-qX", "-d", "postgres", "-f", globals.to_str().unwrap()]).await;
    let copy = tempfile::tempdir().unwrap();
    for database in &manifest.databases {
        let dump = copy.path().join(database.oid.to_string());
        let status = Command::new("cp").arg("-r").arg(folder.join(&database.folder)).arg(&dump).status().await.unwrap();
        assert!(status.success());
        if database.compression == Compression::FileZstd {
            for file in fs::read_dir(&dump).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "zst") {
                    fs::write(file.with_extension(""), zstd::decode_all(fs::File::open(&file).unwrap()).unwrap())
                        .unwrap();
                    fs::remove_file(&file).unwrap();
                }
            }
        }
        let dump = dump.to_str().unwrap();
        let arguments = ["--create", "--dbname=postgres", "--jobs=2", dump];
        if database.name == "postgres" {
            // It is there already, and that is the only thing that fails.
            let ended = cluster.client("pg_restore").args(arguments).output().await.unwrap();
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            let expected = ["database \"postgres\" already exists", "errors ignored on restore: 1"];
            assert!(expected.iter().all(|words| said.contains(words)), "{said}");
        } else {
            cluster.run_client("pg_restore", &[&["--exit-on-error"][..], &arguments].concat()).await;
        }
    }
}

/// The rows of every table of a database, as the manifest counts them.
pub async fn counts(cluster: &Cluster, database: &str) -> BTreeMap<String, i64> {
    use sqlx::ConnectOptions;
    let options: sqlx::postgres::PgConnectOptions = cluster.url("postgres").parse().unwrap();
    let mut session = options.database(database).connect().await.unwrap();
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'",
    )
    .fetch_all(&mut session)
    .await
    .unwrap();
    let mut counts = BTreeMap::new();
    for (schema, name) in tables {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!("select count(*) from only {}.{}", quote(&schema), quote(&name));
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut session).await.unwrap();
        counts.insert(format!("{schema}.{name}"), rows);
    }
    counts
}

/// What the manifest says of a database's tables.
pub fn counted(manifest: &Manifest, database: &str) -> BTreeMap<String, i64> {
    let found = manifest.databases.iter().find(|known| known.name == database);
    let found = found.unwrap_or_else(|| panic!("no {database:?} in {manifest:#?}"));
    assert!(found.tables.iter().all(|table| table.counted), "{found:#?}");
    found.tables.iter().map(|table| (format!("{}.{}", table.schema, table.name), table.rows)).collect()
}
