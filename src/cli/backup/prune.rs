//! `pgupkeep backup prune`.

use super::{Chosen, refuse};
use crate::cli::exit::Exit;
use crate::cli::prepare::Prepared;
use crate::cli::{json, output};
use crate::jobs::backup::{Backup, not_kept};
use crate::jobs::{Job as _, JobSpec, backup, parse_with};
use crate::policy::retention::Keep;
use crate::repository::{Repository, RepositoryError};

/// What `backup prune` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Prune {
    #[command(flatten)]
    chosen: Chosen,
    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

pub(super) async fn prune(prepared: &Prepared, args: &Prune) -> Result<Exit, Exit> {
    let mut answers = Vec::new();
    for repository in args.chosen.open(prepared)? {
        let keeps = keeps(prepared, &repository);
        let answer = prune_one(&repository, &keeps, args.dry_run).await.map_err(|error| refuse(prepared, &error))?;
        if !args.json {
            tell(&answer);
        }
        answers.push(answer);
    }
    if args.json {
        output::say_json(&answers);
    }
    Ok(Exit::Done)
}

/// What the jobs that use a repository keep there, the jobs of sequences included.
fn keeps(prepared: &Prepared, repository: &Repository) -> Vec<(String, Keep)> {
    let all = prepared.config.jobs.values().map(|job| &job.spec);
    let mut keeps = Vec::new();
    for spec in all.flat_map(JobSpec::with_inner) {
        if spec.kind != Backup::KIND {
            continue;
        }
        if let Ok(backup) = parse_with::<Backup>(&spec.with)
            && let Some(keep) = backup.keep
            && backup.repository == repository.name.as_str()
            && !keeps.iter().any(|(job, _)| job == spec.name.as_str())
        {
            keeps.push((spec.name.to_string(), keep));
        }
    }
    keeps
}

async fn prune_one(
    repository: &Repository,
    keeps: &[(String, Keep)],
    dry_run: bool,
) -> Result<json::PrunedRepository, RepositoryError> {
    let mut answer = json::PrunedRepository {
        repository: repository.name.to_string(),
        removed: Vec::new(),
        leftovers: Vec::new(),
        dry_run,
    };
    for server in repository.servers().await? {
        if dry_run {
            let entries = repository.backups(&server).await?;
            let goes = keeps.iter().flat_map(|(job, keep)| not_kept(&entries, job, *keep));
            answer.removed.extend(goes.map(|spot| spot.id.to_string()));
            for leftover in repository.leftovers(&server).await? {
                answer.leftovers.push(leftover.spot.id.to_string());
                leftover.leave();
            }
        } else {
            for leftover in repository.leftovers(&server).await? {
                answer.leftovers.push(leftover.spot.id.to_string());
                repository.sweep(leftover)?;
            }
            for (job, keep) in keeps {
                answer.removed.extend(backup::prune(repository, &server, job, *keep).await?.removed);
            }
        }
    }
    Ok(answer)
}

fn tell(answer: &json::PrunedRepository) {
    let verb = if answer.dry_run { "would remove" } else { "removed" };
    let (backups, leftovers) = (answer.removed.len(), answer.leftovers.len());
    output::say(&format!("{}: {verb} {backups} backups and {leftovers} leftovers", answer.repository));
    for id in answer.removed.iter().chain(&answer.leftovers) {
        output::say(&format!("  {id}"));
    }
}
