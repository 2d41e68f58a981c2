//! Whether there is a good backup that is young enough; archiving deletes rows, and a backup is the net below it.

use super::limit::Limit;
use super::spec::Archive;
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};

/// Refuses where a backup job is there for the target, by the configuration or by what it did, and its newest good backup
/// is too old; warns where none is.
pub(super) async fn require(spec: &Archive, cx: &mut Context) -> Result<(), JobError> {
    let Limit::At(most) = spec.require_backup else { return Ok(()) };
    let target = cx.target.to_string();
    match cx.ledger().backup_age(&target).await? {
        None if !cx.outfit.backed_up.contains(&cx.target) => {
            cx.note(format!("no backup job looks after {target}; the archival goes on without that net"));
            Ok(())
        }
        Some(Some(age)) if age <= most.0 => Ok(()),
        age => {
            let found = match age {
                None => format!("the backup job of {target} has not worked yet"),
                Some(None) => format!("no backup of {target} has succeeded"),
                Some(Some(age)) => format!("the newest good backup of {target} is {} old", crate::lengths::rough(age)),
            };
            let message = format!(
                "{found}, and archiving wants one younger than {most} (require_backup); nothing was moved: run the backup \
                 job, or set `require_backup: off`"
            );
            // Before a run begins there may be one, as where both stand in a sequence.
            if cx.run_id().is_none() {
                cx.note(format!("a run would be refused now: {message}"));
                return Ok(());
            }
            Err(JobError::Refused { fault: Fault::Locked, message })
        }
    }
}
