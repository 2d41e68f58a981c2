//! Cron patterns: croner reads them and knows their days; times of day follow our own rule across gaps and folds.
//!
//! To croner a list of hours is an interval, so that `0 2,14 * * *` would lose its 02:00 in spring and fire it twice
//! in autumn. Here such a list is expanded into fixed times.

use croner::CronPattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::cadence::{Matching, Times};
use super::days::Days;
use super::spelling;

/// How many times a day a list may have and still be expanded into fixed times.
const MOST_FIXED: usize = 64;

/// A longer text is not a pattern that anybody wrote.
const LONGEST_PATTERN: usize = 500;

/// The first year from which [`refuse_silence`] looks; which one does not matter, patterns have no year.
const FIRST_YEAR: i16 = 2024;

const FIELDS: [&str; 6] = ["second", "minute", "hour", "day-of-month", "month", "weekday"];

const NICKNAMES: [(&str, &str); 8] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 1,4,7,10 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// What a pattern means.
pub(super) struct Pattern {
    /// The fields in capitals with single spaces, a nickname written out.
    pub(super) text: String,
    pub(super) days: Days,
    pub(super) times: Times,
    pub(super) warnings: Vec<String>,
}

/// Reads a pattern of five or six fields, or a nickname.
pub(super) fn read(text: &str, zone: &TimeZone) -> Result<Pattern, String> {
    let text = text.trim();
    if text.len() > LONGEST_PATTERN {
        let length = text.len();
        return Err(format!("a cron pattern of {length} bytes is refused: at most {LONGEST_PATTERN} are allowed"));
    }
    let written_out = if text.starts_with('@') { nickname(text)? } else { text };
    let upper = written_out.to_uppercase();
    let given: Vec<&str> = upper.split_whitespace().collect();
    let fields: [&str; 6] = match given[..] {
        [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday],
        [second, minute, hour, day, month, weekday] => [second, minute, hour, day, month, weekday],
        _ => {
            return Err(format!(
                "{:?} has {} fields: expected five (minute, hour, day of month, month, weekday), six with the seconds \
                 first, or a name such as @daily",
                spelling::cut(text),
                given.len()
            ));
        }
    };
    for (place, field) in fields.iter().enumerate() {
        check_field(place, field)?;
    }
    let pattern =
        parse(&fields).map_err(|reason| format!("{:?} is not a cron pattern: {reason}", spelling::cut(text)))?;
    let times = times(&pattern, &fields);
    let warnings = warnings(&pattern, &fields, &times, zone);
    let days = Days::Cron(Box::new(pattern));
    refuse_silence(text, &days)?;
    Ok(Pattern { text: given.join(" "), days, times, warnings })
}

fn nickname(text: &str) -> Result<&'static str, String> {
    let lower = text.to_lowercase();
    if let Some((_, pattern)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(pattern);
    }
    let quoted = spelling::cut(text);
    if lower == "@reboot" {
        return Err(format!(
            "{quoted:?} is refused, since a start of the daemon is no date: an entry under `reload:` fires when the \
             configuration is reloaded"
        ));
    }
    if lower.starts_with("@every") {
        return Err(format!(
            "{quoted:?} is refused, since an interval has no place in the day: write a step, such as \"*/15 * * * *\" \
             for every 15 minutes"
        ));
    }
    let hint = match spelling::nearest(&lower, NICKNAMES.iter().map(|row| row.0)) {
        Some(near) => format!(", did you mean {near}?"),
        None => String::new(),
    };
    let known: Vec<&str> = NICKNAMES.iter().map(|row| row.0).collect();
    Err(format!("{quoted:?} is not a known name: expected one of {}{hint}", known.join(", ")))
}

/// Parses one field alone, since croner does not say which one is wrong.
fn check_field(place: usize, field: &str) -> Result<(), String> {
    let name = FIELDS[place];
    let quoted = spelling::cut(field);
    if field.split(',').any(str::is_empty) {
        return Err(format!("the {name} field {quoted:?} has an empty place in its list"));
    }
    let mut alone = ["*"; 6];
    alone[place] = field;
    match parse(&alone) {
        Ok(_) => Ok(()),
        Err(reason) => Err(format!("the {name} field {quoted:?} is wrong ({reason}): expected {}", expected(place))),
    }
}

fn expected(place: usize) -> &'static str {
    match place {
        0 | 1 => "0 to 59, lists as 0,30, ranges as 10-20, steps as */15 or 10-50/20, or *",
        2 => "0 to 23, lists as 2,14, ranges as 9-17, steps as */2 or 8-18/2, or *",
        3 => "1 to 31, lists, ranges, steps, L (last day), 15W (nearest working day), LW, or *",
        4 => "1 to 12 or JAN to DEC, lists, ranges, steps, or *",
        _ => {
            "0 to 7 (0 and 7 are Sunday) or SUN to SAT, lists, ranges from the lower to the higher, MON#1, FRI#L, or *"
        }
    }
}

fn parse(fields: &[&str; 6]) -> Result<CronPattern, String> {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    match parser.parse(&fields.join(" ")) {
        Ok(cron) => Ok(cron.pattern),
        Err(error) => {
            let text = error.to_string();
            let reason = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason);
            Err(reason.trim_end_matches('.').replace("CronPattern contains ", "").to_lowercase())
        }
    }
}

/// The numbers of `values`, which croner keeps below 60 in these fields.
fn numbers(values: &[u16]) -> Vec<i8> {
    values.iter().filter_map(|value| i8::try_from(*value).ok()).collect()
}

fn times(pattern: &CronPattern, fields: &[&str; 6]) -> Times {
    let matching = Matching {
        hours: numbers(&pattern.hours.values()),
        minutes: numbers(&pattern.minutes.values()),
        seconds: numbers(&pattern.seconds.values()),
    };
    let many = matching.hours.len() * matching.minutes.len() * matching.seconds.len();
    if many > MOST_FIXED || !fields[..3].iter().all(|field| is_plain(field)) {
        return Times::Running(matching);
    }
    let mut fixed = Vec::with_capacity(many);
    for hour in &matching.hours {
        for minute in &matching.minutes {
            fixed.extend(matching.seconds.iter().filter_map(|second| Time::new(*hour, *minute, *second, 0).ok()));
        }
    }
    Times::Fixed(fixed)
}

/// Whether the field is a list of values and ranges, without steps and `*`.
fn is_plain(field: &str) -> bool {
    field.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-')
}

/// Refuses a pattern that can stay silent for five years.
fn refuse_silence(text: &str, days: &Days) -> Result<(), String> {
    // The calendar of dates and weekdays repeats after 28 years.
    for year in FIRST_YEAR..FIRST_YEAR + 28 {
        let (Ok(from), Ok(limit)) = (Date::new(year, 1, 1), Date::new(year + 5, 1, 1)) else { continue };
        match days.next(from) {
            None => return Err(format!("{text:?} never fires: no year has such a day")),
            Some(next) if next >= limit => {
                return Err(format!(
                    "{text:?} never fires for more than five years at a time: no such day before {next}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn warnings(pattern: &CronPattern, fields: &[&str; 6], times: &Times, zone: &TimeZone) -> Vec<String> {
    let mut warnings: Vec<String> = fields
        .iter()
        .enumerate()
        .flat_map(|(place, field)| field.split(',').filter_map(move |part| idle_step(place, part)))
        .collect();
    if !pattern.is_dom_wildcard() && !pattern.is_dow_wildcard() && !pattern.matches_dom_and_dow() {
        warnings.push(format!(
            "fires on every day that matches {:?} or {:?}, not only on those that match both: write the weekday as {:?} \
             for both",
            fields[3],
            fields[5],
            format!("+{}", fields[5])
        ));
    }
    if let Times::Running(matching) = times
        && !fields[2].starts_with('*')
        && matching.hours.iter().any(|hour| *hour < 4)
        && clocks_change(zone)
    {
        warnings.push(format!(
            "has times between 00:00 and 04:00 that are not a plain list of at most {MOST_FIXED}: when the clocks go \
             forward those in the hour left out do not fire, and when they go back those in the hour repeated fire twice"
        ));
    }
    warnings
}

/// Tells of a step so long that it is never taken.
fn idle_step(place: usize, part: &str) -> Option<String> {
    let (range, step) = part.split_once('/')?;
    let step: u32 = step.parse().ok()?;
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => match place {
            0 | 1 => (0_u32, 59_u32),
            2 => (0, 23),
            3 => (1, 31),
            4 => (1, 12),
            _ => (0, 6),
        },
    };
    (first + step > last).then(|| {
        let name = FIELDS[place];
        format!("the step in the {name} field {part:?} is longer than its range: it matches {first} only")
    })
}

/// Whether the zone's clocks are known to change at all from 2026 on.
fn clocks_change(zone: &TimeZone) -> bool {
    const NEW_YEAR_2026: i64 = 1_767_225_600;
    Timestamp::from_second(NEW_YEAR_2026).is_ok_and(|from| zone.following(from).next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Cadence, zone};

    fn cadence(text: &str) -> Result<Cadence, String> {
        Cadence::cron(text, &zone("Europe/Berlin").expect("a zone"))
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pattern_is_refused_with_the_field_that_is_wrong() {
        let check = |text: &str, expected: &str| {
            let message = cadence(text).expect_err(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        };
        check("61 * * * *", "the minute field \"61\" is wrong (number out of bounds): expected 0 to 59");
        check("0 24 * * *", "the hour field \"24\" is wrong");
        check("0 22-2 * * *", "the hour field \"22-2\" is wrong (range out of bounds)");
        check("0 0 32 * *", "the day-of-month field \"32\" is wrong");
        check("0 0 0 * *", "the day-of-month field \"0\" is wrong");
        check("0 0 * 13 *", "the month field \"13\" is wrong");
        check("0 0 * * 8", "the weekday field \"8\" is wrong");
        check("0 0 * * MONDAY", "the weekday field \"MONDAY\" is wrong (illegal character 'd' in part '1day')");
        check("0 0 * * FRI-MON", "the weekday field \"FRI-MON\" is wrong");
        check("60 0 0 * * *", "the second field \"60\" is wrong");
        check("0/15 * * * *", "the minute field \"0/15\" is wrong");
        check("1,,2 * * * *", "the minute field \"1,,2\" has an empty place in its list");
        check("*/0 * * * *", "the minute field \"*/0\" is wrong (step cannot be zero)");
        check("H * * * *", "the minute field \"H\" is wrong");
        check("", "\"\" has 0 fields: expected five");
        check("* * * *", "has 4 fields");
        check("0 0 0 1 1 * 2027", "has 7 fields");
        check("TZ=UTC 0 0 * * *", "the second field \"TZ=UTC\" is wrong");
        check("@reboot", "an entry under `reload:`");
        check("@every 5m", "write a step, such as \"*/15 * * * *\"");
        check("@dayly", "did you mean @daily?");
        check(&"1,".repeat(100_000), "a cron pattern of 200000 bytes is refused: at most 500 are allowed");
    }

    #[test]
    fn a_pattern_that_stays_silent_for_five_years_is_refused() {
        let check = |text: &str, expected: &str| {
            let message = cadence(text).expect_err(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        };
        check("0 0 30 2 *", "\"0 0 30 2 *\" never fires: no year has such a day");
        check("0 0 31 4,6,9,11 *", "never fires: no year has such a day");
        check("0 0 29 2 +SUN", "never fires for more than five years at a time: no such day before 2032-02-29");
        assert!(cadence("0 0 29 2 *").is_ok());
        assert!(cadence("0 0 30 2 MON").is_ok(), "either field is enough");
    }

    #[test]
    fn lists_and_ranges_become_fixed_times_and_steps_do_not() {
        let check = |text: &str, expected: Option<usize>| {
            let pattern = read(text, &TimeZone::UTC).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let fixed = match pattern.times {
                Times::Fixed(times) => Some(times.len()),
                Times::Running(_) => None,
            };
            assert_eq!(fixed, expected, "{text:?}");
        };
        check("30 2 * * *", Some(1));
        check("0 2,14 * * *", Some(2));
        check("0,30 2,2,14 * * *", Some(4));
        check("0 9-17 * * *", Some(9));
        check("0,30 0,30 2 * * *", Some(4));
        check("0-59 2 * * *", Some(60));
        check("0-59 2,3 * * *", None);
        check("*/30 2 * * *", None);
        check("0 * * * *", None);
        check("* * * * * *", None);
        check("0 0-12/6 * * *", None);
        check("@hourly", None);
        check("@quarterly", Some(1));
    }

    #[test]
    fn what_is_probably_not_meant_is_warned_about() {
        let check = |text: &str, zone_name: &str, expected: &[&str]| {
            let zone = zone(zone_name).expect(zone_name);
            let warnings = Cadence::cron(text, &zone).expect(text).warnings();
            assert_eq!(warnings.len(), expected.len(), "{text:?}: {warnings:?}");
            for (warning, expected) in warnings.iter().zip(expected) {
                assert!(warning.contains(expected), "{text:?}: {warning}");
            }
        };
        check("30 2 * * *", "Europe/Berlin", &[]);
        check("0 2,14 * * *", "Europe/Berlin", &[]);
        check("*/15 * * * *", "Europe/Berlin", &[]);
        check("*/10 2 * * *", "Europe/Berlin", &["between 00:00 and 04:00"]);
        check("*/10 2 * * *", "UTC", &[]);
        check("*/10 2 * * *", "Asia/Tokyo", &[]);
        check("*/10 12 * * *", "Europe/Berlin", &[]);
        check(
            "*/90 * * * *",
            "Europe/Berlin",
            &["the minute field \"*/90\" is longer than its range: it matches 0 only"],
        );
        check("10-20/15 12 * * *", "UTC", &["it matches 10 only"]);
        check(
            "0 3 1-7 * SAT",
            "UTC",
            &["\"1-7\" or \"SAT\", not only on those that match both: write the weekday as \"+SAT\""],
        );
        check("0 3 1-7 * +SAT", "UTC", &[]);
    }

    #[test]
    fn a_pattern_is_shown_and_compared_without_its_spacing_case_and_nickname() {
        let utc = zone("UTC").expect("a zone");
        let daily = Cadence::cron("@daily", &utc).expect("a nickname");
        assert_eq!(daily.describe(), "cron 0 0 * * * UTC");
        assert_eq!(daily, Cadence::cron("  0  0 * * *", &utc).expect("a pattern"));
        assert_eq!(cadence("0 0 * * mon").map(|c| c.fingerprint()), Ok("cron|0 0 * * MON|Europe/Berlin".to_owned()));
        assert_ne!(cadence("0 0 * * *").expect("a pattern"), daily, "another zone");
    }
}
