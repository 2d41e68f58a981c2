//! PostgreSQL's own tools, of the server's own major version.
//!
//! An older `pg_dump` refuses a newer server; a newer one writes what the server's own `pg_restore` cannot read. So
//! neither is used.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The tools that a dump needs.
const NEEDED: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];
/// How long a tool may take to say its version.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The tools of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    folder: PathBuf,
    /// What `pg_dump` says of itself, such as `pg_dump (PostgreSQL) 16.4`.
    pub version: String,
}

impl Tools {
    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Finds the tools of a major version: in the folder that the job names, or else where PostgreSQL's packages put them,
/// or else on the `PATH`.
///
/// # Errors
/// Says where they were looked for, and what is there instead.
pub async fn find(major: i32, named: Option<&Path>, search_path: &[PathBuf]) -> Result<Tools, String> {
    let folders: Vec<PathBuf> = match named {
        // The folder itself, or one that holds a folder for each version.
        Some(folder) => vec![folder.to_owned(), folder.join("bin"), folder.join(major.to_string()).join("bin")],
        // The folders of one version come first: what is on the path may be a wrapper that chooses by itself.
        None => [format!("/usr/lib/postgresql/{major}/bin"), format!("/usr/pgsql-{major}/bin")]
            .into_iter()
            .map(PathBuf::from)
            .chain(search_path.iter().filter(|folder| folder.is_absolute()).cloned())
            .collect(),
    };
    let mut seen = String::new();
    for folder in &folders {
        let Some(version) = version_of(folder).await else { continue };
        match major_of(&version) {
            Some(found) if found == major => {
                let lacking: Vec<&str> = NEEDED.iter().copied().filter(|name| !folder.join(name).is_file()).collect();
                if lacking.is_empty() {
                    return Ok(Tools { folder: folder.clone(), version });
                }
                let _infallible = write!(seen, "; {} lacks {}", folder.display(), lacking.join(" and "));
            }
            _ => {
                let _infallible = write!(seen, "; {} has {version}", folder.display());
            }
        }
    }
    let places = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    Err(format!(
        "there are no client tools of PostgreSQL {major}, the server's version: looked for {} in {places}{seen}; \
         install postgresql-client-{major}, or name their folder by `tools:` in the job's `with:`",
        NEEDED.join(", ")
    ))
}

/// What the `pg_dump` in a folder says of itself; `None` if there is none, or it says nothing.
async fn version_of(folder: &Path) -> Option<String> {
    let program = folder.join("pg_dump");
    if !program.is_file() {
        return None;
    }
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(ANSWER_LIMIT, command.output()).await.ok()?.ok()?;
    let line = String::from_utf8_lossy(&answer.stdout).lines().next().unwrap_or_default().trim().to_owned();
    (answer.status.success() && !line.is_empty()).then_some(line)
}

/// The major version in such a line.
fn major_of(version: &str) -> Option<i32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_is_read_from_what_a_tool_says_of_itself() {
        let check = |line: &str, expected: Option<i32>| assert_eq!(major_of(line), expected, "{line}");
        check("pg_dump (PostgreSQL) 16.4", Some(16));
        check("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15));
        check("pg_dump (PostgreSQL) 19devel", Some(19));
        check("something else", None);
        check("", None);
    }

    #[tokio::test]
    async fn where_tools_were_looked_for_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(16, Some(folder.path()), &[]).await.expect_err("there are none");
        let shown = folder.path().display();
        assert!(error.contains(&format!("in {shown}, {shown}/bin, {shown}/16/bin; install")), "{error}");
        assert!(error.contains("postgresql-client-16"), "{error}");
    }
}
