//! From civil time to instants and back: the one place that knows about gaps and folds.

use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::spelling;

/// The first instant at which the clocks of `zone` have reached `civil`.
///
/// In a gap that is the end of the gap, in a fold the first pass. The answer never falls as `civil` rises, which
/// is what lets [`super::Cadence`] search by days. `None` only beyond the years that jiff knows.
pub(super) fn first_instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => end_of_gap(zone, civil, after),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

/// The last instant at which the clocks of `zone` come to `civil`: the second pass of a fold, the end of a gap.
pub(super) fn last_instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => end_of_gap(zone, civil, after),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.later().ok(),
    }
}

/// The instant at which the gap around `civil` ends and the offset becomes `after`.
fn end_of_gap(zone: &TimeZone, civil: DateTime, after: Offset) -> Option<Timestamp> {
    // Read with the larger offset, a time in the gap lies before the change.
    let before_change = after.to_timestamp(civil).ok()?;
    zone.following(before_change).find(|change| change.offset() == after).map(|change| change.timestamp())
}

/// The first whole second after `instant`; firings fall on whole seconds.
pub(super) fn whole_second_after(instant: Timestamp) -> Option<Timestamp> {
    let floor = instant.as_nanosecond().div_euclid(1_000_000_000);
    Timestamp::from_second(i64::try_from(floor).ok()?.checked_add(1)?).ok()
}

/// `instant` later by `duration`, or the end of time.
pub(super) fn later(instant: Timestamp, duration: SignedDuration) -> Timestamp {
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// `instant` earlier by `duration`, or the beginning of time.
pub(super) fn earlier(instant: Timestamp, duration: SignedDuration) -> Timestamp {
    instant.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Reads `HH:MM` or `HH:MM:SS`.
///
/// # Errors
/// Says what was expected.
pub(super) fn parse_time(text: &str) -> Result<Time, String> {
    let refused = |hint: &str| {
        let quoted = spelling::cut(text);
        format!("{quoted:?} is not a time of day: expected \"HH:MM\" or \"HH:MM:SS\", 00:00 to 23:59:59{hint}")
    };
    let parts: Vec<&str> = text.trim().split(':').collect();
    let digits = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(digits) {
        return Err(refused(""));
    }
    let numbers: Vec<i8> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let (hour, minute, second) = match numbers[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(refused("")),
    };
    if (hour, minute, second) == (24, 0, 0) {
        return Err(refused("; the end of the day is 00:00 of the next day"));
    }
    let time = Time::new(hour, minute, second, 0).map_err(|_| refused(""))?;
    if parts.iter().any(|part| part.len() != 2) {
        return Err(refused(&format!("; write \"{}\"", show_time(time))));
    }
    Ok(time)
}

/// The time as people write it: `02:00`, with seconds only if there are any.
pub(super) fn show_time(time: Time) -> String {
    match time.second() {
        0 => format!("{:02}:{:02}", time.hour(), time.minute()),
        second => format!("{:02}:{:02}:{second:02}", time.hour(), time.minute()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::zone;

    #[test]
    fn a_time_of_day_is_read_or_refused_with_what_was_expected() {
        let accepted =
            |text: &str, expected: &str| assert_eq!(parse_time(text).map(show_time), Ok(expected.to_owned()));
        accepted("02:00", "02:00");
        accepted(" 23:59:59 ", "23:59:59");
        accepted("00:00:00", "00:00");
        let refused = |text: &str, hint: &str| {
            let expected =
                format!("{text:?} is not a time of day: expected \"HH:MM\" or \"HH:MM:SS\", 00:00 to 23:59:59{hint}");
            assert_eq!(parse_time(text), Err(expected));
        };
        refused("24:00", "; the end of the day is 00:00 of the next day");
        refused("2:00", "; write \"02:00\"");
        for text in ["25:00", "12:60", "12:00:60", "12", "", ":", "12:00:00:00", "-1:00", "noon", "+2:00", "٠٢:٠٠"]
        {
            refused(text, "");
        }
    }

    #[test]
    fn a_gap_has_one_end_and_a_fold_two_passes() {
        let check = |name: &str, civil: &str, first: &str, last: &str| {
            let zone = zone(name).expect(name);
            let civil: DateTime = civil.parse().expect(civil);
            assert_eq!(first_instant(&zone, civil).map(|i| i.to_string()).as_deref(), Some(first), "{name} {civil}");
            assert_eq!(last_instant(&zone, civil).map(|i| i.to_string()).as_deref(), Some(last), "{name} {civil}");
        };
        check("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        check("Europe/Berlin", "2026-06-01T02:30", "2026-06-01T00:30:00Z", "2026-06-01T00:30:00Z");
        // Samoa left out the whole of 30 December 2011.
        check("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z");
    }

    #[test]
    fn the_whole_second_after_is_later_even_on_a_whole_second_or_before_1970() {
        let check = |text: &str, expected: &str| {
            let instant: Timestamp = text.parse().expect(text);
            assert_eq!(whole_second_after(instant).map(|i| i.to_string()).as_deref(), Some(expected));
        };
        check("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        check("2026-01-01T00:00:00.999999999Z", "2026-01-01T00:00:01Z");
        check("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:59Z");
        assert_eq!(whole_second_after(Timestamp::MAX), None);
    }
}
