//! Which backups are kept: the newest of each of the last days, weeks and months that have one. Pure.
//!
//! Backups that lack something are kept by the same rule for as long as they are newer than the last complete one.
//! Days without a backup do not count, so an outage, or a clock that was set, never makes old backups go: only newer
//! good ones do. The last good one is always kept, and so is the last one of each database that the newest backup
//! was meant to hold. What is damaged is never counted on, and never removed either: people must decide about it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many days, weeks and months are kept.
///
/// Days and weeks (from Monday) are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Of so many days the newest complete backup is kept; at least 1, and 1 if left out.
    #[serde(default = "one")]
    pub daily: NonZeroU32,
    /// Of so many weeks.
    #[serde(default)]
    pub weekly: u32,
    /// Of so many months.
    #[serde(default)]
    pub monthly: u32,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} daily, {} weekly, {} monthly", self.daily, self.weekly, self.monthly)
    }
}

/// What the decision needs to know of a backup that can be counted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<I> {
    /// Its name.
    pub id: I,
    /// When it was completed.
    pub completed_at: Timestamp,
    /// Whether everything is in it.
    pub complete: bool,
    /// The databases in it.
    pub databases: BTreeSet<String>,
    /// The databases that were meant to be in it.
    pub meant: BTreeSet<String>,
}

/// Decides which backups go; the others are kept.
///
/// # Examples
/// Of no backups none goes, and of one none goes either.
pub fn expendable<I: Clone + Ord>(keep: Keep, backups: &[Held<I>]) -> Vec<I> {
    let mut newest_first: Vec<&Held<I>> = backups.iter().collect();
    newest_first.sort_by(|one, other| (other.completed_at, &other.id).cmp(&(one.completed_at, &one.id)));
    let complete: Vec<&Held<I>> = newest_first.iter().copied().filter(|backup| backup.complete).collect();
    // What was made after the last complete one is all that there is of these days.
    let since: Vec<&Held<I>> = newest_first.iter().copied().take_while(|backup| !backup.complete).collect();
    let mut kept: BTreeSet<&I> = BTreeSet::new();
    let counts = [(keep.daily.get(), Period::Day), (keep.weekly, Period::Week), (keep.monthly, Period::Month)];
    for backups in [&complete, &since] {
        for (count, period) in counts {
            let mut newest: BTreeMap<Date, &I> = BTreeMap::new();
            for backup in backups {
                newest.entry(period.begin(backup.completed_at)).or_insert(&backup.id);
            }
            kept.extend(newest.values().rev().take(usize::try_from(count).unwrap_or(usize::MAX)));
        }
    }
    kept.extend(complete.first().map(|backup| &backup.id));
    for database in newest_first.first().into_iter().flat_map(|newest| &newest.meant) {
        kept.extend(newest_first.iter().find(|backup| backup.databases.contains(database)).map(|backup| &backup.id));
    }
    let goes = newest_first.iter().rev().filter(|backup| !kept.contains(&backup.id));
    goes.map(|backup| backup.id.clone()).collect()
}

/// What one backup is kept of.
#[derive(Debug, Clone, Copy)]
enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    /// The first day of the period that an instant is in.
    fn begin(self, at: Timestamp) -> Date {
        let day = at.to_zoned(TimeZone::UTC).date();
        match self {
            Self::Day => day,
            Self::Week => day.saturating_sub(jiff::Span::new().days(day.weekday().to_monday_zero_offset())),
            Self::Month => day.first_of_month(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keep(daily: u32, weekly: u32, monthly: u32) -> Keep {
        Keep { daily: NonZeroU32::new(daily).expect("at least one"), weekly, monthly }
    }

    /// A backup named by its day, complete unless the day is marked with an exclamation mark.
    fn held(day: &str) -> Held<String> {
        let complete = !day.ends_with('!');
        let date = day.trim_end_matches('!');
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        Held {
            id: day.to_owned(),
            completed_at: format!("{date}T03:00:00Z").parse().expect("an instant"),
            complete,
            databases: if complete { names(&["a", "b"]) } else { names(&["a"]) },
            meant: names(&["a", "b"]),
        }
    }

    #[test]
    fn the_newest_of_each_day_week_and_month_is_kept() {
        let check = |keep: Keep, days: &[&str], expected: &[&str]| {
            let backups: Vec<_> = days.iter().map(|day| held(day)).collect();
            assert_eq!(expendable(keep, &backups), expected, "{keep} of {days:?}");
        };
        check(keep(1, 0, 0), &[], &[]);
        check(keep(1, 0, 0), &["2026-11-01"], &[]);
        check(keep(2, 0, 0), &["2026-11-01", "2026-11-02", "2026-11-03"], &["2026-11-01"]);
        // Days without a backup do not count.
        check(keep(2, 0, 0), &["2026-01-01", "2026-11-02", "2026-11-03"], &["2026-01-01"]);
        // The 1st was a Sunday: its week is another one than that of the 2nd.
        check(keep(1, 2, 0), &["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03"], &["2026-10-31", "2026-11-02"]);
        check(keep(1, 0, 2), &["2026-09-30", "2026-10-01", "2026-10-31", "2026-11-01"], &["2026-09-30", "2026-10-01"]);
        // Incomplete ones are kept only as long as nothing complete is newer.
        check(keep(2, 0, 0), &["2026-11-01", "2026-11-02!", "2026-11-03!"], &[]);
        check(keep(2, 0, 0), &["2026-11-01!", "2026-11-02", "2026-11-03!"], &["2026-11-01!"]);
        // And then as many as of the complete ones.
        check(keep(2, 0, 0), &["2026-11-01", "2026-11-02!", "2026-11-03!", "2026-11-04!"], &["2026-11-02!"]);
    }

    #[test]
    fn the_last_copy_of_a_database_stays_while_it_is_still_meant_to_be_there() {
        let only = |database: &str, day: &str| Held {
            databases: std::iter::once(database.to_owned()).collect(),
            ..held(&format!("{day}!"))
        };
        let backups = [only("b", "2026-11-01"), only("a", "2026-11-02"), only("a", "2026-11-03")];
        assert_eq!(expendable(keep(1, 0, 0), &backups), ["2026-11-02!"]);
        let complete = Held { meant: BTreeSet::from(["a".to_owned()]), ..held("2026-11-04") };
        let backups = [backups[0].clone(), backups[1].clone(), complete];
        assert_eq!(expendable(keep(1, 0, 0), &backups), ["2026-11-01!", "2026-11-02!"]);
    }

    fn any_history() -> impl Strategy<Value = Vec<Held<u32>>> {
        let backup = (0_i64..86_400 * 900, any::<bool>(), 0_u8..8);
        prop::collection::vec(backup, 0..60).prop_map(|backups| {
            let names = |bits: u8| {
                let databases = ["a", "b", "c"].iter().enumerate().filter(|(nth, _)| bits & (1 << nth) != 0);
                databases.map(|(_, name)| (*name).to_owned()).collect::<BTreeSet<_>>()
            };
            (0_u32..)
                .zip(backups)
                .map(|(id, (second, complete, bits))| Held {
                    id,
                    completed_at: Timestamp::from_second(1_700_000_000 + second).expect("an instant"),
                    complete,
                    databases: if complete { names(7) } else { names(bits) },
                    meant: names(7),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_last_good_backup_is_never_among_those_that_go(
            backups in any_history(), daily in 1_u32..5, weekly in 0_u32..4, monthly in 0_u32..4,
        ) {
            let keep = keep(daily, weekly, monthly);
            let gone = expendable(keep, &backups);
            let newest = |backups: &[Held<u32>], wanted: &dyn Fn(&Held<u32>) -> bool| {
                let wanted = backups.iter().filter(|backup| wanted(backup));
                wanted.max_by_key(|backup| (backup.completed_at, backup.id)).map(|backup| backup.id)
            };
            let left: Vec<Held<u32>> = backups.iter().filter(|backup| !gone.contains(&backup.id)).cloned().collect();
            prop_assert_eq!(newest(&left, &|backup| backup.complete), newest(&backups, &|backup| backup.complete));
            prop_assert_eq!(newest(&left, &|_| true), newest(&backups, &|_| true));
            for database in ["a", "b", "c"] {
                let holds = |backup: &Held<u32>| backup.databases.contains(database);
                prop_assert_eq!(newest(&left, &holds), newest(&backups, &holds));
            }
            // What was decided once stands: nothing more goes the second time.
            prop_assert_eq!(expendable(keep, &left), Vec::<u32>::new());
            // And not everything stays for ever.
            let complete = left.iter().filter(|backup| backup.complete).count();
            prop_assert!(complete <= (daily + weekly + monthly) as usize + 4);
            prop_assert!(left.len() <= 2 * (daily + weekly + monthly) as usize + 8);
        }
    }
}
