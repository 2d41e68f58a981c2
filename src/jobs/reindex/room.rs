//! Whether the disk has room for a second copy of an index, before one is begun.
//!
//! PostgreSQL does not tell over SQL how much of a disk is free. Where this process can see the disk it asks the file
//! system; where it cannot, the operator says how large the disk is, and the server says what its databases take.

use std::path::Path;

use sqlx::postgres::types::Oid;

use super::Reindex;
use super::facts::FACTS_LIMIT;
use super::step::Step;
use crate::amounts::{ByteSize, rough_size};
use crate::fault::Fault;
use crate::jobs::context::{Context, JobError};
use crate::jobs::{Measures, StepReport};
use crate::pg::connect::within;
use crate::pg::statement::Qualified;

/// What the databases of a server take, as far as this role may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
struct Use {
    /// Bytes of all databases that could be sized.
    databases: i64,
    /// How many could not.
    unseen: i64,
    /// What the server may keep of its write-ahead log by its own settings.
    wal: i64,
    /// Whether the index lies on a disk of its own, in a tablespace.
    elsewhere: bool,
}

/// What a plan tells beforehand: that room is not looked at, or that there is too little for the largest index.
pub(super) async fn foretell(spec: &Reindex, steps: &[Step], cx: &mut Context) -> Result<(), JobError> {
    let rebuilds = steps.iter().filter_map(|step| match step {
        Step::Rebuild(rebuild) => Some(rebuild),
        _ => None,
    });
    let Some(largest) = rebuilds.max_by_key(|rebuild| rebuild.bytes) else { return Ok(()) };
    if spec.disk.is_none() && spec.disk_size.is_none() {
        cx.note("room on the disk is not looked at: say where to look by `disk`, or in a job of kind reindex how large it is by `disk_size`");
    } else if let Some((why, _)) = shortage(spec, largest.oid, largest.bytes, cx).await? {
        cx.note(format!("as the disk is now, {} would not be begun: {why}", largest.index.plain()));
    }
    Ok(())
}

/// Reports why an index is not begun; nothing where there is room, or nobody has said where to look.
pub(super) async fn lacking(
    spec: &Reindex,
    index: &Qualified,
    oid: Oid,
    bytes: Option<i64>,
    cx: &mut Context,
) -> Result<Option<StepReport>, JobError> {
    let short = shortage(spec, oid, bytes, cx).await?;
    Ok(short.map(|(why, fault)| {
        let reason = format!("{index} was not begun: {why}; nothing was sent");
        StepReport::NotDone { reason, fault, measures: Measures::default() }
    }))
}

/// Why there is no room for a copy of an index of so many bytes, or why nobody can tell.
async fn shortage(
    spec: &Reindex,
    oid: Oid,
    bytes: Option<i64>,
    cx: &mut Context,
) -> Result<Option<(String, Fault)>, JobError> {
    if spec.disk.is_none() && spec.disk_size.is_none() {
        return Ok(None);
    }
    let Some(bytes) = bytes else {
        return Ok(Some(("its size could not be read".to_owned(), Fault::Locked)));
    };
    let needed = needed(bytes, spec.keep_free);
    if let Some(disk) = &spec.disk {
        match free_on(Path::new(disk)) {
            Ok(free) if free < needed => {
                let why = format!("{} are free at {disk}, and {} are needed", size(free), size(needed));
                return Ok(Some((why, Fault::DiskFull)));
            }
            Ok(_) => {}
            Err(error) => {
                let why = format!("the free space at {disk} could not be read: {error}");
                return Ok(Some((why, Fault::Statement)));
            }
        }
    }
    let Some(disk_size) = spec.disk_size else { return Ok(None) };
    let query = sqlx::query_as(include_str!("../sql/read_disk_use.sql")).bind(oid);
    let used: Use = within(FACTS_LIMIT, query.fetch_one(cx.reader().await?)).await?;
    Ok(over_budget(used, disk_size, needed))
}

/// A copy may be as large as the index and a fifth more, its log as large as the index; and some must stay free.
fn needed(bytes: i64, keep_free: ByteSize) -> u64 {
    let bytes = bytes.unsigned_abs();
    bytes.saturating_mul(2).saturating_add(bytes / 5).saturating_add(keep_free.0)
}

/// Why a rebuild would not fit into a disk of this size; nothing if it does.
fn over_budget(used: Use, disk_size: ByteSize, needed: u64) -> Option<(String, Fault)> {
    if used.unseen > 0 {
        let why = format!(
            "the size of {} databases of the server is not known to this role; GRANT pg_read_all_stats to it, or leave \
             disk_size out",
            used.unseen
        );
        return Some((why, Fault::Privilege));
    }
    if used.elsewhere {
        // It takes nothing from the disk that was described.
        return None;
    }
    let taken = used.databases.unsigned_abs().saturating_add(used.wal.unsigned_abs());
    let free = disk_size.0.saturating_sub(taken);
    (free < needed).then(|| {
        let why = format!(
            "of a disk of {disk_size} the databases take {} and the log up to {}, which leaves {}, and {} are needed",
            rough_size(used.databases),
            rough_size(used.wal),
            size(free),
            size(needed)
        );
        (why, Fault::DiskFull)
    })
}

/// What an ordinary user may still write there.
pub(crate) fn free_on(folder: &Path) -> std::io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(folder)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

fn size(bytes: u64) -> String {
    rough_size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_rebuild_needs_a_copy_its_log_and_what_must_stay_free() {
        assert_eq!(needed(0, ByteSize(GIB)), GIB);
        assert_eq!(needed(10 << 30, ByteSize(GIB)), 23 * GIB);
        assert_eq!(needed(i64::MAX, ByteSize(u64::MAX)), u64::MAX);
    }

    #[test]
    fn a_budget_counts_databases_and_log_and_admits_what_it_does_not_know() {
        let used = Use { databases: 40 << 30, unseen: 0, wal: 2 << 30, elsewhere: false };
        let check = |used: Use, disk: u64, needed: u64, expected: Option<Fault>| {
            let found = over_budget(used, ByteSize(disk * GIB), needed * GIB);
            assert_eq!(found.as_ref().map(|(_, fault)| *fault), expected, "{found:?}");
        };
        check(used, 100, 58, None);
        check(used, 100, 59, Some(Fault::DiskFull));
        check(used, 10, 1, Some(Fault::DiskFull));
        check(Use { unseen: 1, ..used }, 100, 1, Some(Fault::Privilege));
        check(Use { elsewhere: true, ..used }, 10, 1, None);
        let (why, _) = over_budget(used, ByteSize(50 * GIB), 9 * GIB).expect("it does not fit");
        assert_eq!(
            why,
            "of a disk of 50GiB the databases take 40.0 GiB and the log up to 2.0 GiB, which leaves 8.0 GiB, and 9.0 GiB are needed"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_free_space() {
        assert!(free_on(Path::new("/")).is_ok());
        assert!(free_on(Path::new("/no/such/folder")).is_err());
    }
}
