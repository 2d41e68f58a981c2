//! What fell due since we last looked, and what is to become of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::civil::{earlier, later};
use super::{Cadence, Window};
use crate::run_state::Trigger;

/// A firing noticed within this time was noticed in time.
pub const ON_TIME: SignedDuration = SignedDuration::from_secs(60);

/// How many firings that are not run are listed singly by one call of [`due`].
pub const MOST_LISTED: usize = 1000;

/// The largest `catch_up_limit` that is obeyed; configuration refuses a larger one.
pub const LARGEST_CATCH_UP: u32 = 1000;

/// What becomes of firings that fell due while no daemon was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// None of them is made up for.
    Skip,
    /// One run makes up for all of them.
    Once,
    /// Each gets its run, up to `catch_up_limit` of the newest.
    All,
}

impl CatchUp {
    /// The word as it stands in the file and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// What becomes of a firing while a run of the same entry is not yet finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is not run.
    Skip,
    /// It waits for its turn.
    Queue,
}

impl Overlap {
    /// The word as it stands in the file and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
        }
    }
}

/// Whether a schedule entry is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// Somebody paused it: its firings are recorded as skipped.
    Yes,
    /// It fires.
    No,
}

/// All that decides about the firings of one schedule entry.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// When it falls due.
    pub cadence: &'a Cadence,
    /// The spans in which its runs may start, if not always.
    pub window: Option<&'a Window>,
    /// The longest delay that is added to each firing, so that many entries do not start at once.
    pub jitter: Duration,
    /// What becomes of firings that were not noticed in time.
    pub catch_up: CatchUp,
    /// How many of them are run with [`CatchUp::All`]; at most [`LARGEST_CATCH_UP`].
    pub catch_up_limit: u32,
    /// The entry's name, on which its jitter depends.
    pub entry: &'a str,
    /// Whether it is paused.
    pub paused: Paused,
}

/// What is to become of a firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// A run is put on record.
    Run {
        /// `schedule`, or `catch_up` for one not noticed in time.
        trigger: Trigger,
        /// The first instant at which it may start.
        eligible_at: Timestamp,
        /// The instant from which it may not start any more: its window closes.
        closes_at: Option<Timestamp>,
    },
    /// It is put on record as missed.
    Missed {
        /// Why, in plain English.
        reason: String,
    },
    /// It is put on record as skipped.
    Skipped {
        /// Why, in plain English.
        reason: String,
    },
}

/// One due instant and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// When it fell due.
    pub due_at: Timestamp,
    /// What is to become of it.
    pub disposition: Disposition,
}

/// What [`due`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The firings, the oldest first, no instant twice.
    pub firings: Vec<Firing>,
    /// Up to where everything has been decided: the cursor of the next call.
    pub cursor: Timestamp,
    /// The next instant that falls due.
    pub next_due: Option<Timestamp>,
}

/// Decides about every instant after `cursor`, up to and including `now`.
///
/// - Noticed within [`ON_TIME`]: it runs, with the trigger `schedule`.
/// - Later, `catch_up` decides. `skip`: all are missed. `once`: the newest runs, with the trigger `catch_up`, and the
///   others are missed; if another fell due on time, its run does the work and all late ones are missed. `all`: the
///   newest `catch_up_limit` run, the older ones are missed.
/// - Paused: every one is skipped, late or not.
/// - Of those not run, at most [`MOST_LISTED`] are listed singly. The older ones stand in one row at the oldest
///   instant, whose reason tells how many there are; so a clock that jumps by months fills no table.
/// - A run may start at its due instant (a late one: now) plus jitter, or when its window opens next. A late one
///   whose window has closed waits for the next opening.
/// - A clock that was set back decides nothing: the cursor stays, nothing fires twice.
pub fn due(plan: &Plan<'_>, cursor: Timestamp, now: Timestamp) -> Due {
    // The common case, of which an idle daemon with many entries has thousands.
    let first = plan.cadence.next_after(cursor);
    if first.is_none_or(|first| first > now) {
        return Due { firings: Vec::new(), cursor: cursor.max(now), next_due: first };
    }
    let limit = usize::try_from(plan.catch_up_limit.min(LARGEST_CATCH_UP)).unwrap_or(0);
    let on_time_from = earlier(now, ON_TIME);
    let on_time = plan.cadence.newest(before(on_time_from).max(cursor), now, usize::MAX);
    let late = Instants::newest(plan.cadence, cursor, before(on_time_from), limit + MOST_LISTED);

    let mut firings = Vec::new();
    match plan.paused {
        Paused::Yes => {
            let all = late.and(on_time);
            all.list(&mut firings, |reason| Disposition::Skipped { reason }, "the schedule entry is paused");
        }
        Paused::No => {
            let (missed, caught_up, reason) = divide(plan, late, on_time.last().copied(), limit);
            missed.list(&mut firings, |reason| Disposition::Missed { reason }, &reason);
            firings.extend(caught_up.into_iter().map(|due_at| run(plan, due_at, Trigger::CatchUp, now)));
            firings.extend(on_time.into_iter().map(|due_at| run(plan, due_at, Trigger::Schedule, Timestamp::MIN)));
        }
    }
    Due { firings, cursor: now, next_due: plan.cadence.next_after(now) }
}

/// Late instants: the newest singly, the older ones as a number.
struct Instants {
    older: Option<Older>,
    single: Vec<Timestamp>,
}

/// Instants that are not kept singly.
struct Older {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Instants {
    /// The instants after `after` up to `until`, at most `most` of them singly.
    fn newest(cadence: &Cadence, after: Timestamp, until: Timestamp, most: usize) -> Self {
        let single = cadence.newest(after, until, most);
        let mut older = None;
        if let Some(oldest) = single.first().filter(|_| single.len() == most) {
            let until = before(*oldest);
            if let Some(first) = cadence.next_after(after).filter(|first| *first <= until) {
                let last = cadence.newest(after, until, 1).last().copied().unwrap_or(first);
                older = Some(Older { count: cadence.count(after, until), first, last });
            }
        }
        Self { older, single }
    }

    /// These and `newer` ones.
    fn and(mut self, newer: Vec<Timestamp>) -> Self {
        self.single.extend(newer);
        self
    }

    /// Takes out the newest `count`.
    fn split_newest(&mut self, count: usize) -> Vec<Timestamp> {
        self.single.split_off(self.single.len().saturating_sub(count))
    }

    /// Adds a firing for each instant, and one for all that are too old to be listed.
    fn list(self, firings: &mut Vec<Firing>, disposition: impl Fn(String) -> Disposition, reason: &str) {
        let Self { mut older, single } = self;
        let (unlisted, listed) = single.split_at(single.len().saturating_sub(MOST_LISTED));
        if let (Some(first), Some(last)) = (unlisted.first(), unlisted.last()) {
            let older = older.get_or_insert(Older { count: 0, first: *first, last: *last });
            older.count += unlisted.len() as u64;
            older.last = *last;
        }
        if let Some(Older { count, first, last }) = older {
            let reason = match count {
                1 => reason.to_owned(),
                _ => format!("{reason}; this row stands for {count} firings from {first} to {last}"),
            };
            firings.push(Firing { due_at: first, disposition: disposition(reason) });
        }
        firings.extend(
            listed.iter().map(|due_at| Firing { due_at: *due_at, disposition: disposition(reason.to_owned()) }),
        );
    }
}

/// Divides late instants into those that are missed and those that are caught up, with the reason for the former.
fn divide(
    plan: &Plan<'_>,
    mut late: Instants,
    newest_on_time: Option<Timestamp>,
    limit: usize,
) -> (Instants, Vec<Timestamp>, String) {
    // True of a daemon that did not run, and of one whose clock jumped.
    const FELL_DUE: &str = "fell due and no daemon planned it in time";
    match (plan.catch_up, newest_on_time) {
        (CatchUp::Skip, _) => (late, Vec::new(), format!("{FELL_DUE}; catch_up is skip")),
        (CatchUp::Once, Some(due_at)) => {
            // What becomes of that firing is decided later: its job may still be at work.
            let reason = format!("{FELL_DUE}; catch_up is once and a newer firing, that of {due_at}, was on time");
            (late, Vec::new(), reason)
        }
        (CatchUp::Once, None) => {
            let newest = late.split_newest(1);
            let reason = match newest.first() {
                Some(due_at) => {
                    format!("{FELL_DUE}; catch_up is once and spent on the newest firing, that of {due_at}")
                }
                None => FELL_DUE.to_owned(),
            };
            (late, newest, reason)
        }
        (CatchUp::All, _) => {
            let newest = late.split_newest(limit);
            let reason = format!("{FELL_DUE}; catch_up is all and catch_up_limit is {limit}, spent on newer firings");
            (late, newest, reason)
        }
    }
}

/// The run of the firing at `due_at`, which may not start before `not_before`.
fn run(plan: &Plan<'_>, due_at: Timestamp, trigger: Trigger, not_before: Timestamp) -> Firing {
    let ready = later(due_at, jitter(plan.entry, due_at, longest_jitter(plan, due_at))).max(not_before);
    let disposition = match plan.window.map(|window| window.opening_at_or_after(ready)) {
        None => Disposition::Run { trigger, eligible_at: ready, closes_at: None },
        Some(Some(opening)) => {
            Disposition::Run { trigger, eligible_at: ready.max(opening.opens), closes_at: Some(opening.closes) }
        }
        Some(None) => Disposition::Missed { reason: "its window does not open again before the calendar ends".into() },
    };
    Firing { due_at, disposition }
}

/// For how long a firing may be delayed: not beyond the middle of what is left of its window, which would be lost.
fn longest_jitter(plan: &Plan<'_>, due_at: Timestamp) -> Duration {
    let Some(opening) = plan.window.and_then(|window| window.opening_at_or_after(due_at)) else { return plan.jitter };
    let begin = opening.opens.max(due_at);
    let middle = later(begin, opening.closes.duration_since(begin) / 2);
    Duration::try_from(middle.duration_since(due_at)).unwrap_or(Duration::ZERO).min(plan.jitter)
}

/// The delay of one firing: between nothing and `most`, evenly spread, in microseconds.
///
/// A pure function of the entry and the instant, so that two daemons that see the same firing agree, whatever
/// release they are.
fn jitter(entry: &str, due_at: Timestamp, most: Duration) -> SignedDuration {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
    // FNV-1a over the name and the second, then the finalizer of splitmix64 to spread neighbouring seconds.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in entry.bytes().chain(due_at.as_second().to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    SignedDuration::from_micros(i64::try_from(hash % (most + 1)).unwrap_or(0))
}

/// The last instant before `instant`.
fn before(instant: Timestamp) -> Timestamp {
    earlier(instant, SignedDuration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_the_same_everywhere_and_spread_over_its_whole_range() {
        let most = Duration::from_mins(10);
        let at = |second| Timestamp::from_second(second).expect("an instant");
        // These values are part of what two releases must agree on.
        assert_eq!(jitter("daily/vacuum", at(1_767_225_600), most), SignedDuration::from_micros(483_699_646));
        assert_eq!(jitter("", at(0), most), SignedDuration::from_micros(152_848_651));
        assert_eq!(jitter("daily/vacuum", at(1_767_225_600), Duration::ZERO), SignedDuration::ZERO);
        let mut tenths = [0_u32; 10];
        for day in 0..10_000 {
            let delay = jitter("daily/vacuum", at(1_767_225_600 + day * 86_400), most);
            assert!(!delay.is_negative() && delay <= SignedDuration::from_secs(600));
            tenths[usize::try_from(delay.as_secs() / 60).expect("small").min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
