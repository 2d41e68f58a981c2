//! Windows: spans of civil time in which work may start.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::civil::{first_instant, last_instant, parse_time, show_time};
use super::days::Weekdays;
use super::zone_name;

/// How many days are looked at for the next opening: a week, and enough for days on which nothing opens.
const SEARCH_DAYS: u32 = 60;

/// The key of `schedules.yaml` that a [`WindowError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowField {
    /// `from:`, when it opens.
    From,
    /// `to:`, when it closes.
    To,
    /// `days:`, the weekdays on which it opens.
    Days,
}

impl WindowField {
    /// The key as it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
            Self::Days => "days",
        }
    }
}

/// Why a window is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WindowError {
    /// The key to point at.
    pub field: WindowField,
    /// What was found and what was expected.
    pub message: String,
}

impl WindowError {
    fn new(field: WindowField, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

/// One span in which a window is open; `closes` itself is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The first instant inside.
    pub opens: Timestamp,
    /// The first instant after it.
    pub closes: Timestamp,
}

/// A span of civil time, of every day or of some weekdays, in one zone.
///
/// - With `to` at or before `from` it closes on the day after; its weekdays are those on which it opens. `to` may be
///   `24:00`, the end of the day.
/// - It opens at the first instant at which the clocks have reached `from`: after a gap, in the first pass of a fold.
/// - It closes at the last instant at which they come to `to`: after a gap, in the second pass of a fold. A fold
///   makes a window longer, never shorter.
/// - A window that lies wholly in a gap does not open on that day. (It opens on the others, so that no window that
///   can be written never opens.)
#[derive(Clone)]
pub struct Window {
    from: Time,
    /// `None` is the end of the day.
    to: Option<Time>,
    days: Weekdays,
    zone: TimeZone,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Window").field(&self.describe()).finish()
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        (self.from, self.to, self.days) == (other.from, other.to, other.days)
            && zone_name(&self.zone) == zone_name(&other.zone)
    }
}

impl Eq for Window {}

impl Window {
    /// Reads a window; no `days` means every day.
    ///
    /// # Errors
    /// Says everything that is wrong with each key, or that the window would be open never or always.
    pub fn new(from: &str, to: &str, days: &[String], zone: &TimeZone) -> Result<Self, Vec<WindowError>> {
        let start = parse_time(from).map_err(|message| vec![WindowError::new(WindowField::From, message)]);
        let end = match to.trim() {
            "24:00" | "24:00:00" => Ok(None),
            to => parse_time(to).map(Some).map_err(|message| vec![WindowError::new(WindowField::To, message)]),
        };
        let weekdays = if days.is_empty() { Ok(Weekdays::ALL) } else { Weekdays::parse(days) };
        let weekdays = weekdays.map_err(|messages| {
            messages.into_iter().map(|message| WindowError::new(WindowField::Days, message)).collect()
        });
        let (start, end, weekdays) = match (start, end, weekdays) {
            (Ok(start), Ok(end), Ok(weekdays)) => (start, end, weekdays),
            (start, end, weekdays) => {
                let refused: [Option<Vec<_>>; 3] = [start.err(), end.err(), weekdays.err()];
                return Err(refused.into_iter().flatten().flatten().collect());
            }
        };
        if end == Some(start) {
            let time = show_time(start);
            let message = format!(
                "from and to are both {time}, so that the window never opens or is always open: give two times, or \
                 leave the window away for always"
            );
            return Err(vec![WindowError::new(WindowField::To, message)]);
        }
        if end.is_none() && start == Time::midnight() && weekdays == Weekdays::ALL {
            let message = "from 00:00 to 24:00 on every day is always open: leave the window away";
            return Err(vec![WindowError::new(WindowField::To, message)]);
        }
        Ok(Self { from: start, to: end, days: weekdays, zone: zone.clone() })
    }

    /// The opening that contains `instant`, else the next one after it.
    pub fn opening_at_or_after(&self, instant: Timestamp) -> Option<Opening> {
        // One that opened the day before may still be open, and a fold over midnight repeats a date.
        let mut date = self.zone.to_datetime(instant).date();
        for _ in 0..2 {
            date = date.yesterday().unwrap_or(date);
        }
        for _ in 0..SEARCH_DAYS {
            if let Some(opening) = self.opening_on(date).filter(|opening| opening.closes > instant) {
                return Some(opening);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn opening_on(&self, date: Date) -> Option<Opening> {
        if !self.days.contains(date.weekday()) {
            return None;
        }
        let end = match self.to {
            Some(to) if to > self.from => date.to_datetime(to),
            Some(to) => date.tomorrow().ok()?.to_datetime(to),
            None => date.tomorrow().ok()?.to_datetime(Time::midnight()),
        };
        let opens = first_instant(&self.zone, date.to_datetime(self.from))?;
        let closes = last_instant(&self.zone, end)?;
        (closes > opens).then_some(Opening { opens, closes })
    }

    /// The window in a few words of English, such as `22:00 to 06:00 on Friday Europe/Berlin`.
    pub fn describe(&self) -> String {
        let to = self.to.map_or_else(|| "24:00".to_owned(), show_time);
        let days =
            if self.days == Weekdays::ALL { String::new() } else { format!(" on {}", self.days.names().join(", ")) };
        format!("{} to {to}{days} {}", show_time(self.from), zone_name(&self.zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::zone;

    fn window(from: &str, to: &str, days: &[&str], zone_name: &str) -> Window {
        let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
        Window::new(from, to, &days, &zone(zone_name).expect(zone_name)).expect("a window")
    }

    #[test]
    fn a_window_is_open_now_or_tells_when_it_opens_next() {
        let check = |window: &Window, at: &str, opens: &str, closes: &str| {
            let opening = window.opening_at_or_after(at.parse().expect(at)).expect("an opening");
            let expected = Opening { opens: opens.parse().expect(opens), closes: closes.parse().expect(closes) };
            assert_eq!(opening, expected, "{window:?} at {at}");
        };
        let night = window("01:00", "05:00", &[], "UTC");
        check(&night, "2026-05-01T00:00:00Z", "2026-05-01T01:00:00Z", "2026-05-01T05:00:00Z");
        check(&night, "2026-05-01T01:00:00Z", "2026-05-01T01:00:00Z", "2026-05-01T05:00:00Z");
        check(&night, "2026-05-01T04:59:59.999Z", "2026-05-01T01:00:00Z", "2026-05-01T05:00:00Z");
        check(&night, "2026-05-01T05:00:00Z", "2026-05-02T01:00:00Z", "2026-05-02T05:00:00Z");

        let over_midnight = window("22:00", "06:00", &[], "Europe/Berlin");
        check(&over_midnight, "2026-05-01T03:00:00Z", "2026-04-30T20:00:00Z", "2026-05-01T04:00:00Z");
        check(&over_midnight, "2026-05-01T04:00:00Z", "2026-05-01T20:00:00Z", "2026-05-02T04:00:00Z");
        // Ten hours are eight and nine around the two changes.
        check(&over_midnight, "2026-03-29T00:00:00Z", "2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z");
        check(&over_midnight, "2026-10-25T00:00:00Z", "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z");

        let friday_night = window("22:00", "06:00", &["fri"], "UTC");
        check(&friday_night, "2026-05-02T05:00:00Z", "2026-05-01T22:00:00Z", "2026-05-02T06:00:00Z");
        check(&friday_night, "2026-05-02T06:00:00Z", "2026-05-08T22:00:00Z", "2026-05-09T06:00:00Z");

        let sunday = window("00:00", "24:00", &["sunday"], "UTC");
        check(&sunday, "2026-05-02T06:00:00Z", "2026-05-03T00:00:00Z", "2026-05-04T00:00:00Z");
    }

    #[test]
    fn a_window_follows_the_clocks_through_gap_and_fold() {
        let check = |window: &Window, at: &str, opens: &str, closes: &str| {
            let opening = window.opening_at_or_after(at.parse().expect(at)).expect("an opening");
            assert_eq!((opening.opens.to_string(), opening.closes.to_string()), (opens.to_owned(), closes.to_owned()));
        };
        // `from` in the gap: opens at its end.
        let from_in_gap = window("02:30", "05:00", &[], "Europe/Berlin");
        check(&from_in_gap, "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z");
        // `to` in the gap: closes at its end.
        let to_in_gap = window("01:00", "02:30", &[], "Europe/Berlin");
        check(&to_in_gap, "2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z");
        // Wholly in the gap: not on that day.
        let in_gap = window("02:10", "02:50", &[], "Europe/Berlin");
        check(&in_gap, "2026-03-29T00:00:00Z", "2026-03-30T00:10:00Z", "2026-03-30T00:50:00Z");
        // In the fold: from the first pass to the second.
        check(&in_gap, "2026-10-25T00:00:00Z", "2026-10-25T00:10:00Z", "2026-10-25T01:50:00Z");
        check(&in_gap, "2026-10-25T01:00:00Z", "2026-10-25T00:10:00Z", "2026-10-25T01:50:00Z");
        // A gap at midnight, where 00:00 does not exist.
        let santiago = window("00:00", "04:00", &[], "America/Santiago");
        check(&santiago, "2026-09-06T03:59:00Z", "2026-09-06T04:00:00Z", "2026-09-06T07:00:00Z");
    }

    #[test]
    fn a_window_is_refused_with_the_key_that_is_wrong() {
        let check = |from: &str, to: &str, days: &[&str], field: WindowField, expected: &str| {
            let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
            let errors = Window::new(from, to, &days, &TimeZone::UTC).expect_err("a wrong window");
            let error = errors.iter().find(|error| error.field == field).unwrap_or_else(|| panic!("{errors:?}"));
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("25:00", "05:00", &[], WindowField::From, "\"25:00\" is not a time of day");
        check("24:00", "05:00", &[], WindowField::From, "the end of the day is 00:00 of the next day");
        check("01:00", "5", &[], WindowField::To, "\"5\" is not a time of day");
        check("01:00", "05:00", &["sonntag"], WindowField::Days, "\"sonntag\" is not a weekday");
        check("01:00", "01:00", &[], WindowField::To, "never opens or is always open");
        check("00:00", "24:00", &[], WindowField::To, "is always open: leave the window away");
        check("25:00", "5", &["sonntag"], WindowField::From, "\"25:00\" is not a time of day");
        check("25:00", "5", &["sonntag"], WindowField::To, "\"5\" is not a time of day");
        check("25:00", "5", &["sunday", "sonntag"], WindowField::Days, "\"sonntag\" is not a weekday");
    }

    #[test]
    fn a_window_is_described_in_words() {
        assert_eq!(window("01:00", "05:00", &[], "UTC").describe(), "01:00 to 05:00 UTC");
        let weekend = window("22:00", "24:00", &["sun", "saturday"], "Europe/Berlin");
        assert_eq!(weekend.describe(), "22:00 to 24:00 on Saturday, Sunday Europe/Berlin");
        assert_eq!(weekend, window("22:00", "24:00", &["sat", "sun"], "Europe/Berlin"));
        assert_ne!(weekend, window("22:00", "24:00", &["sat", "sun"], "UTC"));
    }
}
