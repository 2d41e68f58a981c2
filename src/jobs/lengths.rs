//! Lengths of time in a job's parameters: elapsed time, and spans of the calendar.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sqlx::postgres::types::PgInterval;

/// A stretch of elapsed time, written as `90s` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl TryFrom<String> for Elapsed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| format!("{text:?} is not a length of time such as `60s` or `1h 30m`: {error}"))
    }
}

impl From<Elapsed> for String {
    fn from(elapsed: Elapsed) -> Self {
        elapsed.to_string()
    }
}

impl JsonSchema for Elapsed {
    fn schema_name() -> Cow<'static, str> {
        "Elapsed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of elapsed time.",
            "examples": ["60s", "1h 30m"],
        })
    }
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
    /// The span as SQL takes it.
    pub const fn to_interval(self) -> PgInterval {
        PgInterval { months: self.months, days: self.days, microseconds: 0 }
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
    fn an_elapsed_time_is_read_in_humantime_form() {
        assert_eq!(Elapsed::try_from("1h 30m".to_owned()), Ok(Elapsed(Duration::from_mins(90))));
        assert_eq!(Elapsed(Duration::from_mins(1)).to_string(), "1m");
        let error = Elapsed::try_from("sixty".to_owned()).expect_err("not a length");
        assert!(error.contains("such as `60s`"), "{error}");
    }
}
