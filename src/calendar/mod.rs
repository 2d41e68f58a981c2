//! When things are due, in civil time.
//!
//! Everything here is pure: no clock is read, no SQL is sent, nothing waits. An instant is a [`jiff::Timestamp`],
//! a zone comes from the time zone data inside the program, never from the machine it runs on.
//!
//! # Fixed times
//!
//! `daily`, `weekly`, `monthly` and `quarterly` name days (`on:`) and times of day (`at:`). A time of day fires at
//! **the first instant at which the clocks of the zone have reached it**. That one sentence is the whole rule:
//!
//! - in the gap of spring, 02:30 fires at the first instant after the gap;
//! - in the fold of autumn, 02:30 fires once, in the first pass;
//! - times that come to the same instant (02:00, 02:30 and 03:00 in a gap) fire once.
//!
//! `on: 29`, `30` and `31` mean that day, or the last day of a shorter month: someone who writes 31 wants every
//! month. `last` is the last day; `first saturday` to `fourth friday` and `last friday` are weekdays of the month.
//! `fifth monday` is refused, since most months have none. `quarterly` means the first month of each calendar
//! quarter: January, April, July, October.
//!
//! # Cron
//!
//! Five fields, or six with the seconds first; `L`, `#`, `W`, names of months and weekdays, and `@hourly`, `@daily`,
//! `@midnight`, `@weekly`, `@monthly`, `@quarterly`, `@yearly`, `@annually`. If both the day of month and the weekday
//! are given, either is enough, as in Vixie cron; `+MON` asks for both.
//!
//! - A pattern whose hours, minutes and seconds are plain values, lists or ranges of them (`0 2,14 * * *`), at most
//!   64 times a day, is a list of fixed times and follows the rule above.
//! - Any other pattern (a step, a `*`) fires at every instant whose local time matches: times in a gap do not exist,
//!   those in a fold come twice, in the order of real time.
//! - A pattern that stays silent for five years (30 February) is refused.
//!
//! # Windows
//!
//! A [`Window`] is a span of civil time in which work may start.
//!
//! # What is due
//!
//! [`due`] turns the time that passed into firings: what runs, and what is on record as missed or skipped.

mod cadence;
mod civil;
mod cron;
mod days;
mod due;
mod spelling;
mod window;

#[cfg(test)]
mod tests_due;
#[cfg(test)]
mod tests_zones;

use jiff::tz::{TimeZone, TimeZoneDatabase};

pub use cadence::{Cadence, CadenceError, Field};
pub use due::{CatchUp, Disposition, Due, Firing, LARGEST_CATCH_UP, MOST_LISTED, ON_TIME, Overlap, Paused, Plan, due};
pub use window::{Opening, Window, WindowError, WindowField};

/// A text that names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a time zone: expected an IANA name such as \"Europe/Berlin\" or \"UTC\"{hint}")]
pub struct UnknownZone {
    name: String,
    hint: String,
}

/// Finds the time zone called `name` in the data inside the program.
///
/// The machine's own data is not asked: two daemons of one release then agree on every instant, whatever their
/// machines have installed.
///
/// # Errors
/// Says that there is no such zone, and which one may have been meant.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    let data = TimeZoneDatabase::bundled();
    match data.get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => Err(UnknownZone { name: spelling::cut(name), hint: zone_hint(&data, name) }),
    }
}

/// Every zone name that [`zone`] knows, for help texts and completions.
pub fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

/// Suggests the zone of a city given alone, else the name nearest in spelling.
fn zone_hint(data: &TimeZoneDatabase, name: &str) -> String {
    let city = name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
    let names: Vec<String> = data.available().map(|known| known.to_string()).collect();
    let same_city = names.iter().find(|known| known.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(&city)));
    match same_city.map(String::as_str).or_else(|| spelling::nearest(name, names.iter().map(String::as_str))) {
        Some(near) => format!(", did you mean {near:?}?"),
        None => String::new(),
    }
}

/// The name under which `zone` is shown and compared.
fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => format!("{zone:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_by_its_iana_name_only() {
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            assert_eq!(zone(name).expect(name).iana_name(), Some(name));
        }
        let check = |name: &str, expected: &str| {
            let message = zone(name).expect_err(name).to_string();
            let known = "expected an IANA name such as \"Europe/Berlin\" or \"UTC\"";
            assert_eq!(message, format!("{name:?} is not a time zone: {known}{expected}"));
        };
        check("Europe/Berln", ", did you mean \"Europe/Berlin\"?");
        check("new york", ", did you mean \"America/New_York\"?");
        check("+02:00", "");
        check("Etc/Unknown", "");
        check("", "");
    }
}
