//! Whether clocks agree: the servers' with ours and with one another, and the zone's changes on both sides. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::finding::{Check, Finding, Level};
use crate::cli::output;
use crate::pg::inspect::Facts;

/// How far clocks may be apart, in seconds.
const CLOCKS_APART: f64 = 5.0;

/// How far a server's clock is from this machine's.
pub(super) fn judge_clock(facts: &Facts) -> Option<Finding> {
    let (ahead, unsure) = facts.clock_ahead;
    apart(ahead, unsure, "this machine's").map(|found| {
        Finding::new(Level::Warning, Check::Clock, found)
            .because("log lines of the daemon and the ledger's instants do not fit together; schedules go by the control database's clock")
            .remedy("let both machines take their time from NTP")
    })
}

/// How far a target's clock is from the control database's.
pub(super) fn judge_clocks(target: &Facts, control: &Facts) -> Option<Finding> {
    let (ahead, unsure) = (target.clock_ahead.0 - control.clock_ahead.0, target.clock_ahead.1 + control.clock_ahead.1);
    apart(ahead, unsure, "the control database's").map(|found| {
        Finding::new(Level::Warning, Check::Clock, found)
            .because("schedules and windows go by the control database's clock, not by the target's")
            .remedy("let both machines take their time from NTP")
    })
}

fn apart(ahead: f64, unsure: f64, other: &str) -> Option<String> {
    (ahead.abs() - unsure > CLOCKS_APART).then(|| {
        let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
        format!("its clock is {:.1} s {direction} {other}", ahead.abs())
    })
}

/// The instants at which the zone's clocks are compared: around its next change, or now where there is none.
pub(super) fn moments(zone: &TimeZone, now: Timestamp) -> Vec<Timestamp> {
    let hour = jiff::SignedDuration::from_hours(1);
    match zone.following(now).next() {
        Some(change) => {
            let at = change.timestamp();
            [at.checked_sub(hour), at.checked_add(hour)].into_iter().flatten().collect()
        }
        None => vec![now],
    }
}

/// Whether the server's clocks of the configured zone change when ours do.
pub(super) fn judge_zone(facts: &Facts, zone: &TimeZone, name: &str, moments: &[Timestamp]) -> Option<Finding> {
    let finding = |found: String| {
        Finding::new(Level::Warning, Check::TimeZone, found)
            .because("schedules go by the data inside pgupkeep; reports made on the server show other times of day")
            .remedy("upgrade whichever is older: pgupkeep, or the server's time zone data (package tzdata)")
    };
    let Some(theirs) = &facts.offsets else {
        return Some(finding(format!("the server does not know the zone {name:?}")));
    };
    moments.iter().zip(theirs).find_map(|(moment, theirs)| {
        let ours = zone.to_offset(*moment).seconds();
        (ours != *theirs).then(|| {
            let at = output::instant(crate::clock::to_sql(*moment));
            finding(format!(
                "at {at} the clocks of {name} are {theirs} s ahead of UTC by the server's data, {ours} s by ours"
            ))
        })
    })
}
