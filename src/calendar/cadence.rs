//! A cadence: an endless row of instants, told by days and times of day in one zone.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::civil::{earlier, first_instant, parse_time, show_time, whole_second_after};
use super::days::{Days, MonthDay, Months, Weekdays, read_each};
use super::{cron, zone_name};

/// The key of `schedules.yaml` that a [`CadenceError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `on:`, the days.
    On,
    /// `at:`, the times of day.
    At,
    /// `cron:`, the pattern.
    Cron,
}

impl Field {
    /// The key as it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::At => "at",
            Self::Cron => "cron",
        }
    }
}

/// Why a cadence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CadenceError {
    /// The key to point at.
    pub field: Field,
    /// What was found and what was expected.
    pub message: String,
}

impl CadenceError {
    pub(super) fn new(field: Field, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }

    fn each(field: Field, messages: Vec<String>) -> Vec<Self> {
        messages.into_iter().map(|message| Self::new(field, message)).collect()
    }
}

/// The times of day at which a cadence fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Times {
    /// These, each at the first instant at which the clocks have reached it; in rising order, without repeats.
    Fixed(Vec<Time>),
    /// Every instant whose local time matches.
    Running(Matching),
}

/// The hours, minutes and seconds that match, each in rising order, none empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matching {
    pub(super) hours: Vec<i8>,
    pub(super) minutes: Vec<i8>,
    pub(super) seconds: Vec<i8>,
}

/// When a schedule entry falls due: an endless row of instants on whole seconds.
///
/// Two cadences are equal if they were written to mean the same: same form, same days and times, same zone name.
#[derive(Clone)]
pub struct Cadence {
    words: String,
    fingerprint: String,
    zone: TimeZone,
    days: Days,
    times: Times,
    warnings: Vec<String>,
}

impl fmt::Debug for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cadence").field(&self.words).finish()
    }
}

impl PartialEq for Cadence {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Cadence {}

impl Cadence {
    /// Every day, at these times.
    ///
    /// # Errors
    /// Says which times of day are wrong.
    pub fn daily(at: &[String], zone: &TimeZone) -> Result<Self, Vec<CadenceError>> {
        Ok(Self::civil("daily", &[], Days::Every, times_of(at)?, zone))
    }

    /// Every week on these weekdays, at these times.
    ///
    /// # Errors
    /// Says which weekdays and times of day are wrong.
    pub fn weekly(on: &[String], at: &[String], zone: &TimeZone) -> Result<Self, Vec<CadenceError>> {
        let days = if on.is_empty() {
            Err(vec!["no weekday is given: expected at least one, such as \"sunday\"".to_owned()])
        } else {
            Weekdays::parse(on)
        };
        let (days, times) = both(days, times_of(at))?;
        Ok(Self::civil("weekly", &days.names(), Days::Weekly(days), times, zone))
    }

    /// Every month on these days, at these times.
    ///
    /// # Errors
    /// Says which days and times of day are wrong.
    pub fn monthly(on: &[String], at: &[String], zone: &TimeZone) -> Result<Self, Vec<CadenceError>> {
        Self::by_month("monthly", Months::Every, on, at, zone)
    }

    /// On these days of January, April, July and October, at these times.
    ///
    /// # Errors
    /// Says which days and times of day are wrong.
    pub fn quarterly(on: &[String], at: &[String], zone: &TimeZone) -> Result<Self, Vec<CadenceError>> {
        Self::by_month("quarterly", Months::FirstOfQuarter, on, at, zone)
    }

    /// By a cron pattern; see [the module](super) for what it may hold.
    ///
    /// # Errors
    /// Says which field of the pattern is wrong, or that it never fires.
    pub fn cron(text: &str, zone: &TimeZone) -> Result<Self, Vec<CadenceError>> {
        let pattern = cron::read(text, zone).map_err(|message| vec![CadenceError::new(Field::Cron, message)])?;
        let name = zone_name(zone);
        Ok(Self {
            words: format!("cron {} {name}", pattern.text),
            fingerprint: format!("cron|{}|{name}", pattern.text),
            zone: zone.clone(),
            days: pattern.days,
            times: pattern.times,
            warnings: pattern.warnings,
        })
    }

    fn by_month(
        form: &str,
        months: Months,
        on: &[String],
        at: &[String],
        zone: &TimeZone,
    ) -> Result<Self, Vec<CadenceError>> {
        let days = if on.is_empty() {
            let message = "no day is given: expected at least one, such as 1, \"last\" or \"first saturday\"";
            Err(vec![message.to_owned()])
        } else {
            read_each(on, MonthDay::parse)
        };
        let (days, times) = both(days, times_of(at))?;
        let days: BTreeSet<MonthDay> = days.into_iter().collect();
        let names: Vec<String> = days.iter().map(|day| day.name()).collect();
        Ok(Self::civil(form, &names, Days::OfMonth(months, days), times, zone))
    }

    fn civil(form: &str, on: &[String], days: Days, times: Vec<Time>, zone: &TimeZone) -> Self {
        let at: Vec<String> = times.iter().map(|time| show_time(*time)).collect();
        let name = zone_name(zone);
        let on_words = if on.is_empty() { String::new() } else { format!(" on {}", and(on)) };
        Self {
            words: format!("{form}{on_words} at {} {name}", and(&at)),
            fingerprint: format!("{form}|{}|{}|{name}", on.join(","), at.join(",")),
            zone: zone.clone(),
            days,
            times: Times::Fixed(times),
            warnings: Vec::new(),
        }
    }

    /// The first firing strictly after `after`, or `None` if there is none before time ends for jiff (year 9999).
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = match &self.times {
            Times::Fixed(times) => self.next_fixed(times, after),
            Times::Running(matching) => self.next_running(matching, after),
        };
        // A search that stood still would make its caller spin for ever.
        next.filter(|next| *next > after)
    }

    /// How many firings lie after `after`, up to and including `until`.
    ///
    /// Whole days are counted at once, so that a firing every second and a clock that jumped by months cost little.
    pub fn count(&self, after: Timestamp, until: Timestamp) -> u64 {
        match &self.times {
            Times::Fixed(_) => {
                let mut count = 0;
                let mut last = after;
                while let Some(next) = self.next_after(last).filter(|next| *next <= until) {
                    count += 1;
                    last = next;
                }
                count
            }
            Times::Running(matching) => self.count_running(matching, after, until),
        }
    }

    /// The newest firings after `after`, up to and including `until`, at most `most`, in rising order.
    ///
    /// Looks back from `until` in spans that grow, so that the cost depends on `most`, not on the time that passed.
    pub fn newest(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut span = SignedDuration::from_hours(1);
        loop {
            let start = earlier(until, span).max(after);
            let mut newest = VecDeque::new();
            let mut last = start;
            while let Some(next) = self.next_after(last).filter(|next| *next <= until) {
                newest.push_back(next);
                if newest.len() > most {
                    newest.pop_front();
                }
                last = next;
            }
            if newest.len() == most || start <= after {
                return newest.into();
            }
            span = span.saturating_mul(4);
        }
    }

    /// The cadence as one canonical text with its zone; equal only if nothing about the cadence was changed.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// The cadence in a few words of English, such as `daily at 02:00 Europe/Berlin`.
    pub fn describe(&self) -> String {
        self.words.clone()
    }

    /// What is allowed here, but probably not what was meant; each a sentence for `check`.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn next_fixed(&self, times: &[Time], after: Timestamp) -> Option<Timestamp> {
        // What lies on an earlier date than the clocks show has been reached already.
        let mut from = self.zone.to_datetime(after).date();
        loop {
            let date = self.days.next(from)?;
            let passed = |time: &Time| first_instant(&self.zone, date.to_datetime(*time)).is_some_and(|i| i <= after);
            if let Some(time) = times.get(times.partition_point(passed)) {
                return first_instant(&self.zone, date.to_datetime(*time));
            }
            from = date.tomorrow().ok()?;
        }
    }

    fn next_running(&self, matching: &Matching, after: Timestamp) -> Option<Timestamp> {
        let mut start = whole_second_after(after)?;
        loop {
            let offset = self.zone.to_offset(start);
            let change = self.zone.following(start).next().map(|change| change.timestamp());
            let civil = self.next_civil(matching, offset.to_datetime(start))?;
            let next = offset.to_timestamp(civil).ok()?;
            match change {
                // The clocks change before they get there: look again from the change on.
                Some(change) if change <= next => start = change,
                _ => return Some(next),
            }
        }
    }

    /// The first civil time at or after `from` that matches, gaps and folds left aside.
    fn next_civil(&self, matching: &Matching, from: DateTime) -> Option<DateTime> {
        let date = self.days.next(from.date())?;
        if date == from.date() {
            if let Some(time) = matching.at_or_after(from.time()) {
                return Some(date.to_datetime(time));
            }
            let date = self.days.next(date.tomorrow().ok()?)?;
            return Some(date.to_datetime(matching.at_or_after(Time::midnight())?));
        }
        Some(date.to_datetime(matching.at_or_after(Time::midnight())?))
    }

    fn count_running(&self, matching: &Matching, after: Timestamp, until: Timestamp) -> u64 {
        let mut count = 0;
        let mut start = whole_second_after(after);
        while let Some(from) = start.filter(|from| *from <= until) {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let end = change.map_or(until, |change| until.min(earlier(change, SignedDuration::from_secs(1))));
            count += self.count_civil(matching, offset, from, end);
            start = change;
        }
        count
    }

    /// How many instants from `from` to `end`, both included, match while the offset stays the same.
    fn count_civil(&self, matching: &Matching, offset: Offset, from: Timestamp, end: Timestamp) -> u64 {
        let (from, end) = (offset.to_datetime(from), offset.to_datetime(end));
        let mut count = 0;
        let mut date: Option<Date> = self.days.next(from.date());
        while let Some(day) = date.filter(|day| *day <= end.date()) {
            let up_to =
                if day == end.date() { matching.count_before(end.time(), Including::Yes) } else { matching.daily() };
            let before = if day == from.date() { matching.count_before(from.time(), Including::No) } else { 0 };
            count += up_to.saturating_sub(before);
            date = day.tomorrow().ok().and_then(|next| self.days.next(next));
        }
        count
    }
}

/// Whether a bound belongs to what it bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Including {
    Yes,
    No,
}

impl Matching {
    /// How many times a day has.
    fn daily(&self) -> u64 {
        [&self.hours, &self.minutes, &self.seconds].iter().map(|set| set.len() as u64).product()
    }

    /// The first matching time at or after `time`.
    fn at_or_after(&self, time: Time) -> Option<Time> {
        let (first_minute, first_second) = (*self.minutes.first()?, *self.seconds.first()?);
        let hour = *self.hours.iter().find(|hour| **hour >= time.hour())?;
        if hour > time.hour() {
            return Time::new(hour, first_minute, first_second, 0).ok();
        }
        if let Some(minute) = self.minutes.iter().find(|minute| **minute >= time.minute()) {
            if *minute > time.minute() {
                return Time::new(hour, *minute, first_second, 0).ok();
            }
            if let Some(second) = self.seconds.iter().find(|second| **second >= time.second()) {
                return Time::new(hour, *minute, *second, 0).ok();
            }
            if let Some(minute) = self.minutes.iter().find(|later| **later > *minute) {
                return Time::new(hour, *minute, first_second, 0).ok();
            }
        }
        let hour = *self.hours.iter().find(|later| **later > hour)?;
        Time::new(hour, first_minute, first_second, 0).ok()
    }

    /// How many matching times of a day lie before `time`, or up to it.
    fn count_before(&self, time: Time, bound: Including) -> u64 {
        let below = |set: &[i8], value: i8| set.partition_point(|x| *x < value) as u64;
        let (minutes, seconds) = (self.minutes.len() as u64, self.seconds.len() as u64);
        let mut count = below(&self.hours, time.hour()) * minutes * seconds;
        if self.hours.contains(&time.hour()) {
            count += below(&self.minutes, time.minute()) * seconds;
            if self.minutes.contains(&time.minute()) {
                count += below(&self.seconds, time.second());
                count += u64::from(bound == Including::Yes && self.seconds.contains(&time.second()));
            }
        }
        count
    }
}

/// Reads `at:`.
fn times_of(at: &[String]) -> Result<Vec<Time>, Vec<CadenceError>> {
    if at.is_empty() {
        let message = "no time of day is given: expected at least one, such as \"02:00\"";
        return Err(vec![CadenceError::new(Field::At, message)]);
    }
    let times = read_each(at, parse_time).map_err(|messages| CadenceError::each(Field::At, messages))?;
    let times: BTreeSet<Time> = times.into_iter().collect();
    Ok(times.into_iter().collect())
}

/// What `on:` and `at:` mean, or all that is wrong with either.
fn both<D>(
    days: Result<D, Vec<String>>,
    times: Result<Vec<Time>, Vec<CadenceError>>,
) -> Result<(D, Vec<Time>), Vec<CadenceError>> {
    match (days, times) {
        (Ok(days), Ok(times)) => Ok((days, times)),
        (days, times) => {
            let mut refused = CadenceError::each(Field::On, days.err().unwrap_or_default());
            refused.extend(times.err().unwrap_or_default());
            Err(refused)
        }
    }
}

/// Joins words as in `a, b and c`.
fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
