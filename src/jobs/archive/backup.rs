//! Whether there is a good backup that is young enough; archiving deletes rows, and a backup is the net below it.

use std::time::Duration;

use super::limit::Limit;
use super::spec::Archive;
use crate::fault::Fault;
use crate::jobs::backup::newest_good;
use crate::jobs::context::{Context, JobError};
use crate::lengths::rough;

/// Refuses where a backup job is there for the target, by the configuration or by what it did, and its newest good backup
/// is too old; warns where none is.
pub(super) async fn require(spec: &Archive, cx: &mut Context) -> Result<(), JobError> {
    let Limit::At(most) = spec.require_backup else { return Ok(()) };
    let target = cx.target.to_string();
    let found = match cx.ledger().backup_age(&target).await? {
        None if !cx.outfit.backed_up.contains(&cx.target) => {
            cx.note(format!("no backup job looks after {target}; the archival goes on without that net"));
            return Ok(());
        }
        None => format!("the backup job of {target} has not worked yet"),
        Some(None) => format!("no backup of {target} has succeeded"),
        Some(Some(age)) if age > most.0 => format!("the newest good backup of {target} is {} old", rough(age)),
        Some(Some(age)) => match lacking(cx, most.0).await? {
            None => return Ok(()),
            Some(lacking) => format!("a backup of {target} succeeded {} ago, but {lacking}", rough(age)),
        },
    };
    let message = format!(
        "{found}, and archiving wants one younger than {most} (require_backup); nothing was moved: run the backup job, or set \
         `require_backup: off`"
    );
    // Before a run begins there may be one, as where both stand in a sequence.
    if cx.run_id().is_none() {
        cx.note(format!("a run would be refused now: {message}"));
        return Ok(());
    }
    Err(JobError::Refused { fault: Fault::Statement, message })
}

/// What the repositories lack of what the ledger says: a backup may have been removed since, or found damaged. Where another
/// daemon makes the backups, its word has to do.
async fn lacking(cx: &mut Context, most: Duration) -> Result<Option<String>, JobError> {
    let names: Vec<String> = cx.outfit.repositories.0.keys().map(ToString::to_string).collect();
    if names.is_empty() || !cx.outfit.backed_up.contains(&cx.target) {
        return Ok(None);
    }
    let (mut newest, mut unread) = (None::<Duration>, String::new());
    for name in &names {
        match newest_good(cx, name).await {
            Ok(good) => newest = newest.into_iter().chain(good.map(|(_, age)| age)).min(),
            Err(error @ (JobError::Stopped(_) | JobError::Target(_) | JobError::Ledger(_))) => return Err(error),
            // A good one in another repository is enough.
            Err(error) => unread = format!("; the repository {name} cannot be read: {error}"),
        }
    }
    let names = names.join(", ");
    Ok(match newest {
        Some(age) if age <= most => None,
        Some(age) => Some(format!("the newest good one in the repository ({names}) is {} old{unread}", rough(age))),
        None => Some(format!(
            "there is no good one of this database in the repository ({names}; `pgupkeep backup list` tells){unread}"
        )),
    })
}
