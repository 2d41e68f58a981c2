//! How much is too much: the bounds of numbers and elapsed times.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Finding;
use super::read::{At, Reader};
use super::value::Count;
use crate::lengths::Elapsed;

/// How long an attempt may be allowed to take.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(30 * 24);

/// How long a start may be delayed at random.
pub(super) const JITTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(12);

/// How long running steps may go on after SIGTERM.
pub(super) const SHUTDOWN_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

/// How long a claim may be good for without a heartbeat.
pub(super) const LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// How many attempts may follow one that failed.
pub(super) const RETRIES: RangeInclusive<u32> = 0..=100;

/// How many workers a daemon may have, and how many runs a target.
pub(super) const WORKERS: RangeInclusive<u32> = 1..=64;

/// How many firings may be made up for.
pub(super) const CATCH_UP: RangeInclusive<u32> = 1..=crate::calendar::LARGEST_CATCH_UP;

/// How many log files may be kept.
pub(super) const LOG_FILES: RangeInclusive<u32> = 1..=1000;

/// Reads an elapsed time within bounds; nothing if there is none, or it was refused.
pub(super) fn elapsed(
    typed: Option<Elapsed>,
    bounds: &RangeInclusive<Duration>,
    at: &At,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let Elapsed(time) = typed?;
    if bounds.contains(&time) {
        return Some(time);
    }
    let [found, least, most] = [time, *bounds.start(), *bounds.end()].map(humantime::format_duration);
    reader.refuse(at, Finding::new(format!("found {found}")).expected(format!("{least} to {most}")));
    None
}

/// Reads a number within bounds; nothing if there is none, or it was refused.
pub(super) fn count(
    typed: Option<Count>,
    bounds: &RangeInclusive<u32>,
    at: &At,
    reader: &mut Reader<'_>,
) -> Option<u32> {
    let Count(number) = typed?;
    if bounds.contains(&number) {
        return Some(number);
    }
    let (least, most) = (bounds.start(), bounds.end());
    reader.refuse(at, Finding::new(format!("found {number}")).expected(format!("{least} to {most}")));
    None
}

/// A number that its bounds have kept from being zero or large.
pub(super) fn non_zero(number: u32) -> NonZeroU16 {
    u16::try_from(number).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
}
