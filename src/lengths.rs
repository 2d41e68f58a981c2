//! Lengths of time as people write them: elapsed time, and spans of the calendar.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// An elapsed time for people: to the millisecond when it is short, to the second otherwise.
pub fn rough(elapsed: Duration) -> humantime::FormattedDuration {
    let whole = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let shown = if elapsed < Duration::from_secs(10) {
        Duration::from_millis(whole)
    } else {
        Duration::from_secs(elapsed.as_secs())
    };
    humantime::format_duration(shown)
}

/// An elapsed time such as `30s`, `5m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Elapsed(pub Duration);

impl<'de> Deserialize<'de> for Elapsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElapsedVisitor;

        impl Visitor<'_> for ElapsedVisitor {
            type Value = Elapsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an elapsed time such as 30s, 5m or 2h")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Elapsed, E> {
                match number {
                    0 => Ok(Elapsed(Duration::ZERO)),
                    _ => Err(E::custom(format!("{number} has no unit; write {number}s, {number}m or {number}h"))),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Elapsed, E> {
                parse_elapsed(text).map(Elapsed).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(ElapsedVisitor)
    }
}

/// Reads an elapsed time in humantime's form, without the units whose length is anybody's guess.
fn parse_elapsed(text: &str) -> Result<Duration, String> {
    const CALENDAR: &[&str] = &["M", "month", "months", "y", "yr", "yrs", "year", "years"];
    let mut units = text.split(|c: char| c.is_ascii_digit() || c.is_whitespace()).filter(|unit| !unit.is_empty());
    if let Some(unit) = units.find(|unit| CALENDAR.contains(unit)) {
        let hint = if unit == "M" { " (a minute is `m`)" } else { "" };
        let found = quote(unit);
        return Err(format!("{found} has no fixed length, so it is no elapsed time; write days, hours, minutes{hint}"));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{} is not an elapsed time such as 30s, 5m or 2h: {error}", quote(text)))
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl From<Elapsed> for String {
    fn from(elapsed: Elapsed) -> Self {
        elapsed.to_string()
    }
}

impl JsonSchema for Elapsed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Elapsed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string", "pattern": "^[0-9 a-z]+$" }, { "const": 0 }],
            "description": "A length of elapsed time.",
            "examples": ["30s", "5m", "1h 30m"],
        })
    }
}

/// A text in backquotes, cut if it is long.
fn quote(text: &str) -> String {
    format!("`{text:.60}`")
}

/// A span of the calendar, written as `90days` or `1 year 6 months`.
///
/// Its units are whole days and longer: what it is for, retention, has no use for hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalendarSpan {
    /// Whole months; a year is twelve.
    pub months: i32,
    /// Whole days; a week is seven.
    pub days: i32,
}

impl CalendarSpan {
    /// The same as an expression in SQL, of the type `interval`.
    pub fn to_interval(self) -> String {
        format!("make_interval(months => {}, days => {})", self.months, self.days)
    }

    /// About how many days these are, by the mean month of the Gregorian calendar.
    pub fn about_days(self) -> f64 {
        f64::from(self.months).mul_add(365.2425 / 12.0, f64::from(self.days))
    }
}

/// The longest span that makes sense, in years; PostgreSQL's calendar is wider still.
const LONGEST_YEARS: i16 = 1000;

impl FromStr for CalendarSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not a calendar span such as `90days` or `3 months`: {why}");
        let span: jiff::Span = text.parse().map_err(|error: jiff::Error| wrong(&error.to_string()))?;
        let beyond_days = [i64::from(span.get_hours()), span.get_minutes(), span.get_seconds()].into_iter().chain([
            span.get_milliseconds(),
            span.get_microseconds(),
            span.get_nanoseconds(),
        ]);
        if beyond_days.into_iter().any(|part| part != 0) {
            return Err(wrong("days, weeks, months and years are allowed, nothing shorter"));
        }
        if span.is_zero() || span.is_negative() {
            return Err(wrong("it has to be longer than nothing"));
        }
        let months = i64::from(span.get_years()) * 12 + i64::from(span.get_months());
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let longest = i64::from(LONGEST_YEARS);
        match (i32::try_from(months), i32::try_from(days)) {
            (Ok(months), Ok(days)) if i64::from(months) <= longest * 12 && i64::from(days) <= longest * 366 => {
                Ok(Self { months, days })
            }
            _ => Err(wrong(&format!("at most {LONGEST_YEARS} years are allowed"))),
        }
    }
}

impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.months / 12, "year"), (self.months % 12, "month"), (self.days, "day")];
        let words: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count != 0)
            .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
            .collect();
        f.pad(&words.join(" "))
    }
}

impl TryFrom<String> for CalendarSpan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CalendarSpan> for String {
    fn from(span: CalendarSpan) -> Self {
        span.to_string()
    }
}

impl JsonSchema for CalendarSpan {
    fn schema_name() -> Cow<'static, str> {
        "CalendarSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of the calendar in days, weeks, months and years.",
            "examples": ["90days", "3 months", "1 year"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_span_is_read_and_printed_in_whole_days_and_months() {
        let check = |text: &str, expected: &str| {
            let span: CalendarSpan = text.parse().expect(text);
            assert_eq!(span.to_string(), expected, "{text:?}");
            assert_eq!(span.to_string().parse(), Ok(span), "{text:?}");
        };
        check("90days", "90 days");
        check("90 d", "90 days");
        check("2 weeks", "14 days");
        check("3 months", "3 months");
        check("1 year 6 months 1 day", "1 year 6 months 1 day");
        check("18mo", "1 year 6 months");
    }

    #[test]
    fn a_span_that_cannot_be_retention_is_refused_with_the_reason() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<CalendarSpan>().expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(error.contains("such as `90days`"), "{text:?}: {error}");
        };
        check("", "");
        check("soon", "");
        check("12 hours", "nothing shorter");
        check("1 day 1 second", "nothing shorter");
        check("0 days", "longer than nothing");
        check("90 days ago", "longer than nothing");
        check("-1 month", "longer than nothing");
        check("5000 years", "at most 1000 years");
    }

    #[test]
    fn an_elapsed_time_has_a_unit_of_fixed_length() {
        let check = |value: serde_json::Value, expected: Result<u64, &str>| {
            let read = serde_json::from_value::<Elapsed>(value.clone()).map(|elapsed| elapsed.0.as_secs());
            assert_eq!(read.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{value}");
        };
        check("30s".into(), Ok(30));
        check("1h 30m".into(), Ok(5400));
        check("2days".into(), Ok(172_800));
        check(0.into(), Ok(0));
        check(30.into(), Err("30 has no unit; write 30s, 30m or 30h"));
        let no_length = "has no fixed length, so it is no elapsed time; write days, hours, minutes";
        check("1M".into(), Err(&format!("`M` {no_length} (a minute is `m`)")));
        check("1 year".into(), Err(&format!("`year` {no_length}")));
        check("3months".into(), Err(&format!("`months` {no_length}")));
        check("soon".into(), Err("`soon` is not an elapsed time such as 30s, 5m or 2h: expected number at 0"));
        check(true.into(), Err("invalid type: boolean `true`, expected an elapsed time such as 30s, 5m or 2h"));
    }
}
