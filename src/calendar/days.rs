//! Which days a cadence fires on.

use std::collections::BTreeSet;

use croner::CronPattern;
use jiff::civil::{Date, Weekday};

use super::spelling;

/// How many days a search looks at before it gives up: longer than the 40 years that can pass between two Sundays
/// on 29 February.
const SEARCH_DAYS: u32 = 15_000;

/// The weekdays in the order of their names' usual list, with the forms that are read.
const WEEKDAYS: [(Weekday, &str, &str, &[&str]); 7] = [
    (Weekday::Monday, "monday", "Monday", &["mon"]),
    (Weekday::Tuesday, "tuesday", "Tuesday", &["tue", "tues"]),
    (Weekday::Wednesday, "wednesday", "Wednesday", &["wed"]),
    (Weekday::Thursday, "thursday", "Thursday", &["thu", "thur", "thurs"]),
    (Weekday::Friday, "friday", "Friday", &["fri"]),
    (Weekday::Saturday, "saturday", "Saturday", &["sat"]),
    (Weekday::Sunday, "sunday", "Sunday", &["sun"]),
];

const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];

/// A set of weekdays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weekdays([bool; 7]);

impl Weekdays {
    /// All seven.
    pub(super) const ALL: Self = Self([true; 7]);

    /// Reads the names in `texts`, which are several or one.
    pub(super) fn parse(texts: &[String]) -> Result<Self, Vec<String>> {
        let mut days = [false; 7];
        for day in read_each(texts, parse_weekday)? {
            days[index(day)] = true;
        }
        Ok(Self(days))
    }

    pub(super) fn contains(self, day: Weekday) -> bool {
        self.0[index(day)]
    }

    /// The names as people write them, Monday first.
    pub(super) fn names(self) -> Vec<String> {
        WEEKDAYS.iter().filter(|row| self.contains(row.0)).map(|row| row.2.to_owned()).collect()
    }
}

/// Reads every text of a list, or says of each that is wrong why.
pub(super) fn read_each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Vec<String>> {
    let (mut values, mut refusals) = (Vec::new(), Vec::new());
    for text in texts {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(message) => refusals.push(message),
        }
    }
    if refusals.is_empty() { Ok(values) } else { Err(refusals) }
}

fn index(day: Weekday) -> usize {
    match day {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    }
}

/// Reads the name of a weekday, in full or short, in any case.
fn parse_weekday(text: &str) -> Result<Weekday, String> {
    let word = text.trim().to_lowercase();
    let found = WEEKDAYS.iter().find(|(_, long, _, short)| word == *long || short.contains(&word.as_str()));
    found.map(|row| row.0).ok_or_else(|| {
        let hint = match spelling::nearest(&word, WEEKDAYS.iter().map(|row| row.1)) {
            Some(near) => format!(", did you mean {near:?}?"),
            None => String::new(),
        };
        let quoted = spelling::cut(text);
        format!("{quoted:?} is not a weekday: expected monday to sunday, or mon to sun{hint}")
    })
}

/// One day of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MonthDay {
    /// The day with this number, or the last one of a shorter month.
    Day(i8),
    /// The weekday with this place in [`WEEKDAYS`], counted from the first of the month: 1 to 4.
    Nth(i8, usize),
    /// The last weekday of this name.
    LastWeekday(usize),
    /// The last day.
    Last,
}

impl MonthDay {
    /// Reads `1` to `31`, `last`, `first saturday` to `fourth friday`, `last friday`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| {
            let quoted = spelling::cut(text);
            format!(
                "{quoted:?} is not a day of a month: expected 1 to 31, \"last\", \"first saturday\" to \
                 \"fourth friday\", or \"last friday\"{reason}"
            )
        };
        let lower = text.trim().to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        match words[..] {
            ["last"] => Ok(Self::Last),
            [number] if number.bytes().all(|b| b.is_ascii_digit()) => match number.parse() {
                Ok(day @ 1..=31) => Ok(Self::Day(day)),
                _ => Err(refused("; no month has that day")),
            },
            ["last", day] => parse_weekday(day).map(|day| Self::LastWeekday(index(day))),
            ["fifth" | "5th", day] => {
                let instead = parse_weekday(day).map(|day| WEEKDAYS[index(day)].1)?;
                Err(refused(&format!("; most months have no fifth {instead}, write \"last {instead}\"")))
            }
            [ordinal, day] => match (1_i8..).zip(ORDINALS).find(|(_, word)| *word == ordinal) {
                Some((nth, _)) => parse_weekday(day).map(|day| Self::Nth(nth, index(day))),
                None => match spelling::nearest(ordinal, ORDINALS.into_iter().chain(["last"])) {
                    Some(near) => Err(refused(&format!(", did you mean \"{near} {day}\"?"))),
                    None => Err(refused("")),
                },
            },
            [word] if parse_weekday(word).is_ok() => Err(refused(&format!("; write \"first {word}\""))),
            _ => Err(refused("")),
        }
    }

    /// The day as people write it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Day(day) => format!("day {day}"),
            Self::Nth(nth, day) => {
                let ordinal = usize::try_from(nth - 1).ok().and_then(|i| ORDINALS.get(i)).unwrap_or(&"");
                format!("the {ordinal} {}", WEEKDAYS[day].2)
            }
            Self::LastWeekday(day) => format!("the last {}", WEEKDAYS[day].2),
            Self::Last => "the last day".to_owned(),
        }
    }

    fn matches(self, date: Date) -> bool {
        match self {
            Self::Day(day) => date.day() == day.min(date.days_in_month()),
            Self::Nth(nth, day) => index(date.weekday()) == day && (date.day() - 1) / 7 + 1 == nth,
            Self::LastWeekday(day) => index(date.weekday()) == day && date.day() + 7 > date.days_in_month(),
            Self::Last => date.day() == date.days_in_month(),
        }
    }
}

/// The months that a cadence by month fires in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Months {
    Every,
    FirstOfQuarter,
}

/// The days that a cadence fires on.
#[derive(Debug, Clone)]
pub(super) enum Days {
    Every,
    Weekly(Weekdays),
    OfMonth(Months, BTreeSet<MonthDay>),
    Cron(Box<CronPattern>),
}

impl Days {
    /// The first matching day from `from` on, or `None` if there is none in 40 years.
    pub(super) fn next(&self, from: Date) -> Option<Date> {
        let mut date = from;
        for _ in 0..SEARCH_DAYS {
            if !self.month_matches(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.matches(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn month_matches(&self, month: i8) -> bool {
        match self {
            Self::Every | Self::Weekly(_) | Self::OfMonth(Months::Every, _) => true,
            Self::OfMonth(Months::FirstOfQuarter, _) => month % 3 == 1,
            Self::Cron(pattern) => pattern.month_match(u32::from(month.unsigned_abs())).unwrap_or(false),
        }
    }

    /// Whether the cadence fires on `date`.
    pub(super) fn matches(&self, date: Date) -> bool {
        self.month_matches(date.month())
            && match self {
                Self::Every => true,
                Self::Weekly(days) => days.contains(date.weekday()),
                Self::OfMonth(_, on) => on.iter().any(|day| day.matches(date)),
                Self::Cron(pattern) => {
                    let (month, day) = (u32::from(date.month().unsigned_abs()), u32::from(date.day().unsigned_abs()));
                    pattern.day_match(date.year().into(), month, day, cron_weekday(date.weekday())).unwrap_or(false)
                }
            }
    }
}

fn cron_weekday(day: Weekday) -> croner::Weekday {
    match day {
        Weekday::Monday => croner::Weekday::Monday,
        Weekday::Tuesday => croner::Weekday::Tuesday,
        Weekday::Wednesday => croner::Weekday::Wednesday,
        Weekday::Thursday => croner::Weekday::Thursday,
        Weekday::Friday => croner::Weekday::Friday,
        Weekday::Saturday => croner::Weekday::Saturday,
        Weekday::Sunday => croner::Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_of_the_month_is_read_or_refused_with_the_reason() {
        let accepted = |text: &str, expected: &str| {
            assert_eq!(MonthDay::parse(text).map(MonthDay::name), Ok(expected.to_owned()), "{text:?}");
        };
        accepted("1", "day 1");
        accepted("31", "day 31");
        accepted("Last", "the last day");
        accepted(" first  Saturday ", "the first Saturday");
        accepted("fourth fri", "the fourth Friday");
        accepted("last friday", "the last Friday");
        let refused = |text: &str, reason: &str| {
            let message = MonthDay::parse(text).expect_err(text);
            assert!(message.ends_with(reason), "{text:?}: {message}");
        };
        refused("0", "\"last friday\"; no month has that day");
        refused("32", "; no month has that day");
        refused("99999999999", "; no month has that day");
        refused("fifth monday", "; most months have no fifth monday, write \"last monday\"");
        refused("frist saturday", ", did you mean \"first saturday\"?");
        refused("first saturdya", "or mon to sun, did you mean \"saturday\"?");
        refused("sunday", "; write \"first sunday\"");
        refused("", "or \"last friday\"");
        refused("-1", "or \"last friday\"");
    }

    #[test]
    fn a_day_that_a_month_lacks_means_its_last_day() {
        let days = |text: &str| Days::OfMonth(Months::Every, BTreeSet::from([MonthDay::parse(text).expect(text)]));
        let check =
            |text: &str, from: Date, expected: Date| assert_eq!(days(text).next(from), Some(expected), "{text}");
        check("31", date(2026, 2, 1), date(2026, 2, 28));
        check("30", date(2028, 2, 1), date(2028, 2, 29));
        check("29", date(2026, 2, 1), date(2026, 2, 28));
        check("30", date(2026, 4, 1), date(2026, 4, 30));
        check("last", date(2026, 4, 1), date(2026, 4, 30));
        check("first saturday", date(2026, 8, 2), date(2026, 9, 5));
        check("fourth friday", date(2026, 5, 1), date(2026, 5, 22));
        check("last friday", date(2026, 5, 1), date(2026, 5, 29));
    }
}
