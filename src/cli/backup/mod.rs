//! `pgupkeep backup`: what is in the repositories, whether it is still as it was written, and what may go.
//!
//! It needs the configuration for where the repositories are, and no database at all: what is there says itself what
//! it is. So it works when the server is lost.

mod list;
mod prune;
mod verify;

use std::path::Path;

use super::exit::Exit;
use super::json;
use super::prepare::Prepared;
use crate::names::RepositoryName;
use crate::repository::catalogue::{Entry, Standing};
use crate::repository::manifest::Manifest;
use crate::repository::{Repository, RepositoryError};

/// What `backup` is asked.
#[derive(Debug, clap::Args)]
pub struct Backup {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the backups, newest last.
    List(list::List),
    /// Read every file of backups again and compare it with what was written.
    Verify(verify::Verify),
    /// Remove what the jobs' `keep` does not keep, and what was never finished.
    Prune(prune::Prune),
}

/// Which repositories a command is for.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Only this repository; every one if left out.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

/// Performs the command.
pub async fn backup(path: &Path, args: &Backup) -> Exit {
    let prepared = match Prepared::load(path) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let done = match &args.command {
        Command::List(args) => list::list(&prepared, args).await,
        Command::Verify(args) => verify::verify(&prepared, args).await,
        Command::Prune(args) => prune::prune(&prepared, args).await,
    };
    match done {
        Ok(exit) | Err(exit) => exit,
    }
}

impl Chosen {
    /// Opens the repositories that are there already.
    fn open(&self, prepared: &Prepared) -> Result<Vec<Repository>, Exit> {
        let known = &prepared.config.repositories;
        let names = known.0.keys().map(RepositoryName::as_str);
        if let Some(name) = self.repository.as_deref().filter(|name| !names.clone().any(|known| known == *name)) {
            return Err(super::prepare::refuse_name("repository", name, names));
        }
        let mut opened = Vec::new();
        for name in names.filter(|name| self.repository.as_deref().is_none_or(|chosen| chosen == *name)) {
            opened.extend(known.look_at(name).map_err(|error| refuse(prepared, &error))?);
        }
        Ok(opened)
    }
}

/// What is said where there is nothing to show.
fn no_backups(prepared: &Prepared) {
    super::output::say(if prepared.config.repositories.0.is_empty() {
        "there are no backups: the configuration has no `repositories`"
    } else {
        "there are no backups"
    });
}

/// Complains about a repository.
fn refuse(prepared: &Prepared, error: &RepositoryError) -> Exit {
    prepared.complain(&error.to_string());
    Exit::Failed
}

/// Everything that is in a repository, server by server.
async fn entries(prepared: &Prepared, repository: &Repository) -> Result<Vec<Entry>, Exit> {
    let read = async {
        let mut entries = Vec::new();
        for server in repository.servers().await? {
            entries.extend(repository.backups(&server).await?);
        }
        Ok(entries)
    };
    let mut entries = read.await.map_err(|error| refuse(prepared, &error))?;
    // What does not say when it was made stands first, where it is seen.
    entries.sort_by_key(|entry| entry.manifest.as_ref().map(|manifest| manifest.completed_at));
    Ok(entries)
}

/// A backup as `--json` shows it.
fn shown(repository: &Repository, entry: &Entry) -> json::Backup {
    let manifest = entry.manifest.as_ref();
    json::Backup {
        id: entry.spot.id.to_string(),
        repository: repository.name.to_string(),
        server: entry.spot.server.clone(),
        state: entry.standing.as_str().to_owned(),
        reason: match &entry.standing {
            Standing::Damaged(reason) => Some(reason.clone()),
            Standing::Unfinished => Some("there is no manifest".to_owned()),
            Standing::Incomplete => manifest.map(|manifest| {
                let missing = manifest.missing.iter();
                let names = missing.map(|one| one.database.clone().unwrap_or_else(|| "the globals".to_owned()));
                format!("without {}", names.collect::<Vec<_>>().join(", "))
            }),
            Standing::Good | Standing::InTheMaking => None,
        },
        method: manifest.map(|_| "dump".to_owned()),
        job: manifest.map(|manifest| manifest.job.clone()),
        target: manifest.map(|manifest| manifest.target.clone()),
        run_id: manifest.map(|manifest| manifest.run_id.to_string()),
        server_version: manifest.map(|manifest| manifest.server_version.clone()),
        started_at: manifest.map(|manifest| manifest.started_at.into()),
        completed_at: manifest.map(|manifest| manifest.completed_at.into()),
        bytes: manifest.map(Manifest::bytes),
        databases: manifest.map_or_else(Vec::new, |manifest| {
            manifest.databases.iter().map(|database| database.name.clone()).collect()
        }),
        checked_at: entry.verdict.as_ref().map(|verdict| verdict.checked_at.into()),
    }
}
