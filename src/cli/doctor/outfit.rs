//! What the jobs use outside the databases: the server's own tools, repositories, disks that they look at.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::finding::{Check, Finding, Level};
use crate::jobs::JobSpec;
use crate::jobs::backup::{Tools, find_tools};
use crate::jobs::outfit::Outfit;
use crate::jobs::reindex::room::free_on;
use crate::repository::{Place, Repositories};

/// A repository has a folder for each server, and in it one for each backup.
const FOLDERS_DEEP: usize = 2;

/// What the jobs of a target whose server has this major version find of it, those of sequences included.
pub(super) async fn judge_outfit(jobs: &[&JobSpec], major: i32, outfit: &Outfit) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut places = BTreeSet::new();
    for job in jobs.iter().flat_map(|job| job.with_inner()) {
        if job.kind == "backup" {
            let named = job.with["tools"].as_str().map(Path::new);
            findings.push(judge_tools(job, find_tools(major, named, &outfit.search_path).await));
            let repository = job.with["repository"].as_str().unwrap_or_default();
            findings.push(judge_repository(repository, &outfit.repositories));
            places.insert(repository);
        }
        if let Some(disk) = job.with["disk"].as_str() {
            findings.extend(judge_disk(job, disk));
        }
    }
    findings.extend(judge_places(&places, &outfit.repositories));
    findings
}

fn judge_tools(job: &JobSpec, found: Result<Tools, String>) -> Finding {
    let finding = match found {
        Ok(tools) => {
            let found = format!("{} uses {} in {}", job.name, tools.version, tools.folder().display());
            Finding::new(Level::Ok, Check::Tools, found)
        }
        Err(message) => Finding::new(Level::Error, Check::Tools, format!("the job {}: {message}", job.name))
            .because("older tools refuse the server, and what newer ones write its own cannot read; no backup is made")
            .remedy("install them here, where the daemon runs"),
    };
    finding.of_job(&job.name)
}

fn judge_repository(name: &str, repositories: &Repositories) -> Finding {
    let refuse = |found: String| {
        Finding::new(Level::Error, Check::Repository, found)
            .because("no backup can be written there, and none that is there be seen")
            .remedy(
                "see that its disk is mounted, and that the user of the daemon, as whom to run this, may write there",
            )
    };
    let seen = match repositories.look_at(name) {
        Ok(seen) => seen,
        Err(error) => return refuse(error.to_string()),
    };
    let folder = repositories.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, Place::Folder(path))| path);
    // Where it is yet to be made, that is done in the folder above it.
    let written = folder.and_then(|path| if seen.is_some() { Some(path.as_path()) } else { path.parent() });
    match written.and_then(|path| closed_folder(path, if seen.is_some() { FOLDERS_DEEP } else { 0 })) {
        Some((path, error)) => {
            refuse(format!("this user may not write to {}, where the repository {name} is: {error}", path.display()))
        }
        _ if seen.is_none() => Finding::new(
            Level::Note,
            Check::Repository,
            format!("the repository {name} is empty and its folder missing"),
        )
        .because("the first backup makes it"),
        _ => Finding::new(Level::Ok, Check::Repository, format!("the repository {name} is there and can be written")),
    }
}

/// The first folder that this user may not write to, of this one and those below it. Somebody else may have made them:
/// root, in a run by hand.
fn closed_folder(path: &Path, deep: usize) -> Option<(PathBuf, String)> {
    if let Err(error) = access(path, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK) {
        return Some((path.to_owned(), error.to_string()));
    }
    let entries = if deep == 0 { None } else { std::fs::read_dir(path).ok() };
    let below = entries?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.into_iter().find_map(|entry| closed_folder(&entry.path(), deep - 1))
}

/// Whether the backups of a server would all be lost at once.
fn judge_places(places: &BTreeSet<&str>, repositories: &Repositories) -> Option<Finding> {
    let device = |name: &&str| {
        let (_, Place::Folder(path)) = repositories.0.iter().find(|(known, _)| known.as_str() == *name)?;
        let there = path.ancestors().find_map(|folder| std::fs::metadata(folder).ok())?;
        Some(there.dev())
    };
    let devices: BTreeSet<u64> = places.iter().filter_map(device).collect();
    let found = match places.iter().collect::<Vec<_>>()[..] {
        [] => return None,
        [only] => format!("all backups of this server go to one place, the repository {only}"),
        _ if devices.len() == 1 => {
            let names = places.iter().copied().collect::<Vec<_>>().join(", ");
            format!("all backups of this server go to one disk, with the repositories {names}")
        }
        _ => return None,
    };
    Some(
        Finding::new(Level::Warning, Check::Repository, found)
            .because("whatever destroys that place destroys them all")
            .remedy("add a repository on another disk or machine, and a backup job for it"),
    )
}

fn judge_disk(job: &JobSpec, disk: &str) -> Option<Finding> {
    let error = free_on(Path::new(disk)).err()?;
    let found = format!("the job {} cannot see how much is free at {disk}: {error}", job.name);
    Some(
        Finding::new(Level::Error, Check::Disk, found)
            .because("it begins nothing while that is unknown")
            .remedy("mount the server's volume there, or name another folder by `disk:`")
            .of_job(&job.name),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::{JobName, RepositoryName};

    fn job(kind: &str, with: serde_json::Value) -> JobSpec {
        let name = JobName::parse(kind).expect("a name");
        JobSpec { name, kind: kind.to_owned(), with, timeout_ms: None, retries: 0, inner: Vec::new() }
    }

    #[tokio::test]
    async fn tools_repositories_and_disks_that_cannot_be_used_are_told_and_a_single_place_warned_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let place =
            |name: &str| (RepositoryName::parse(name).expect("a name"), Place::Folder(folder.path().join(name)));
        let missing = Place::Folder(folder.path().join("not/mounted"));
        let mut repositories = Repositories([place("here"), place("there")].into());
        repositories.0.insert(RepositoryName::parse("away").expect("a name"), missing);
        let outfit = Outfit { repositories, ..Outfit::default() };
        let backup = |repository: &str| job("backup", json!({ "repository": repository, "tools": folder.path() }));
        let check = async |jobs: &[&JobSpec], expected: &[(Level, Check, &str)]| {
            let findings = judge_outfit(jobs, 16, &outfit).await;
            let found: Vec<_> = findings.iter().map(|finding| (finding.level, finding.check)).collect();
            assert_eq!(found, expected.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(), "{findings:#?}");
            for (finding, (.., words)) in findings.iter().zip(expected) {
                assert!(finding.found.contains(words), "{words}: {finding:#?}");
                assert!(!finding.why.is_empty(), "{finding:#?}");
            }
        };
        let tools = (Level::Error, Check::Tools, "there are no client tools of PostgreSQL 16");
        check(
            &[&backup("here")],
            &[
                tools,
                (Level::Note, Check::Repository, "is empty and its folder missing"),
                (Level::Warning, Check::Repository, "go to one place, the repository here"),
            ],
        )
        .await;
        check(
            &[&backup("away"), &backup("there")],
            &[
                tools,
                (Level::Error, Check::Repository, "cannot be used"),
                tools,
                (Level::Note, Check::Repository, "there is empty"),
                (Level::Warning, Check::Repository, "go to one disk, with the repositories away, there"),
            ],
        )
        .await;
        let disk = (Level::Error, Check::Disk, "cannot see how much is free at /nonexistent");
        check(&[&job("reindex", json!({ "disk": "/nonexistent" }))], &[disk]).await;
        check(&[&job("reindex", json!({ "disk": folder.path() })), &job("vacuum", json!({}))], &[]).await;
    }
}
