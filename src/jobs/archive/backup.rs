//! Whether there is a good backup that is young enough; archiving deletes rows, and a backup is the net below it.

use super::limit::Limit;
use super::spec::Archive;
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};

/// Refuses where a backup job looks after the target and its newest good backup is too old; warns where none does.
pub(super) async fn require(spec: &Archive, cx: &mut Context) -> Result<(), JobError> {
    let Limit::At(most) = spec.require_backup else { return Ok(()) };
    let target = cx.target.to_string();
    match cx.ledger().backup_age(&target).await? {
        None => {
            cx.note(format!("no backup job has ever worked for {target}; the archival goes on without that net"));
            Ok(())
        }
        Some(Some(age)) if age <= most.0 => Ok(()),
        Some(age) => {
            let found = age.map_or_else(
                || "none of its backups has succeeded".to_owned(),
                |age| format!("its newest good backup is {} old", crate::lengths::rough(age)),
            );
            let message = format!(
                "{found}, and archiving {target} wants one younger than {most} (require_backup); nothing was moved: run \
                 the backup job, or set `require_backup: off`"
            );
            Err(JobError::Refused { fault: Fault::Locked, message })
        }
    }
}
