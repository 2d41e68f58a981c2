//! `pgupkeep backup verify`.

use super::{Chosen, entries, refuse, shown};
use crate::cli::exit::Exit;
use crate::cli::prepare::Prepared;
use crate::cli::{json, output};
use crate::clock::{Clock as _, SystemClock};
use crate::repository::Repository;
use crate::repository::catalogue::{Entry, Standing};
use crate::repository::check::{Damage, Verdict};
use crate::repository::layout::MANIFEST;

/// What `backup verify` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The backups, as `backup list` names them; the beginning of a name is enough. Every one if left out.
    ids: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

pub(super) async fn verify(prepared: &Prepared, args: &Verify) -> Result<Exit, Exit> {
    let mut found: Vec<(Repository, Entry)> = Vec::new();
    for repository in args.chosen.open(prepared)? {
        found.extend(entries(prepared, &repository).await?.into_iter().map(|entry| (repository.clone(), entry)));
    }
    for id in &args.ids {
        if !found.iter().any(|(_, entry)| entry.spot.id.as_str().starts_with(id.as_str())) {
            prepared.complain(&format!("there is no backup {id:?}; `pgupkeep backup list` shows what there is"));
            return Err(Exit::Usage);
        }
    }
    let is_wanted = |entry: &Entry| {
        args.ids.is_empty() || args.ids.iter().any(|id| entry.spot.id.as_str().starts_with(id.as_str()))
    };
    let mut checks = Vec::new();
    for (repository, entry) in found.iter().filter(|(_, entry)| is_wanted(entry)) {
        // One in the making is not what it will be.
        if entry.standing == Standing::InTheMaking {
            continue;
        }
        let check = check(prepared, repository, entry).await?;
        if !args.json {
            tell(&check);
        }
        checks.push(check);
    }
    if args.json {
        output::say_json(&checks);
    } else if checks.is_empty() {
        super::no_backups(prepared);
    }
    let is_damaged = checks.iter().any(|check| !check.damage.is_empty());
    Ok(if is_damaged { Exit::Failed } else { Exit::Done })
}

async fn check(prepared: &Prepared, repository: &Repository, entry: &Entry) -> Result<json::BackupCheck, Exit> {
    let lone = |what: &str| vec![Damage { path: MANIFEST.to_owned(), what: what.to_owned() }];
    let damage = match (&entry.manifest, &entry.standing) {
        (Some(manifest), _) => {
            let damage = repository.check(&entry.spot, manifest).await.map_err(|error| refuse(prepared, &error))?;
            let verdict = Verdict { checked_at: SystemClock.now(), damage };
            if let Err(error) = repository.keep_verdict(&entry.spot, &verdict).await {
                prepared.complain(&format!("what was found could not be kept beside {}: {error}", entry.spot.id));
            }
            verdict.damage
        }
        (None, Standing::Damaged(reason)) => lone(reason),
        (None, _) => lone("is missing, so nothing is known of what it should hold"),
    };
    let backup = shown(repository, entry);
    Ok(json::BackupCheck {
        id: backup.id,
        repository: backup.repository,
        server: backup.server,
        files: entry.manifest.as_ref().map(|manifest| manifest.files.len()),
        bytes: backup.bytes,
        damage: damage.into_iter().map(|one| json::Damage { path: one.path, what: one.what }).collect(),
    })
}

fn tell(check: &json::BackupCheck) {
    let name = format!("{} in {}", check.id, check.repository);
    if check.damage.is_empty() {
        let bytes = check.bytes.and_then(|bytes| i64::try_from(bytes).ok()).map(output::bytes);
        let files = check.files.unwrap_or_default();
        output::say(&format!("{name}: {files} files, {}, all as they were written", output::or_blank(bytes)));
    } else {
        output::say(&format!("{name}: DAMAGED"));
        for damage in &check.damage {
            output::say(&format!("  {}: {}", damage.path, damage.what));
        }
    }
}
