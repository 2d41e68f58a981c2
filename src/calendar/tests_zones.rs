//! Gaps and folds: a table of known cases, lists of the next firings, and properties over every zone.
//!
//! The properties compare with an oracle that knows nothing of jiff's ambiguity rules: a zone is a row of segments
//! with one offset each, and a time of day fires at the first instant at which any segment's clocks have reached it.
//! By default they look at the days around every fifth change of the clocks; with `PGUPKEEP_TEST_ROUNDS=full` at every day.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{Cadence, zone, zone_names};

const FIRST_YEAR: i16 = 2016;
const LAST_YEAR: i16 = 2035;
/// One change in so many is looked at by default: an odd number, so that gaps and folds take turns.
const CHANGES_APART: usize = 5;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn instant(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// The firings after `after` up to `until`.
fn firings(cadence: &Cadence, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut last = after;
    while let Some(next) = cadence.next_after(last).filter(|next| *next <= until) {
        assert!(next > last, "{cadence:?}: {next} is not after {last}");
        found.push(next);
        last = next;
    }
    found
}

/// The firings on one local date, as local times with their offsets.
fn local_firings(cadence: &Cadence, zone: &TimeZone, day: Date) -> String {
    let start = instant(&format!("{}T00:00:00Z", day.yesterday().expect("a date")));
    let mut words = Vec::new();
    for at in firings(cadence, start, start + SignedDuration::from_hours(72)) {
        let local = at.to_zoned(zone.clone());
        if local.date() == day {
            words.push(local.strftime("%H:%M%:z").to_string());
        }
    }
    words.join(" ")
}

#[test]
fn gaps_and_folds_of_2026_follow_the_table() {
    let check = |zone_name: &str, day: Date, text: &str, expected: &str| {
        let zone = zone(zone_name).expect(zone_name);
        let cadence = Cadence::cron(text, &zone).expect(text);
        assert_eq!(local_firings(&cadence, &zone, day), expected, "{text} in {zone_name} on {day}");
    };
    let (gap, fold) = (date(2026, 3, 29), date(2026, 10, 25));
    check("Europe/Berlin", gap, "30 2 * * *", "03:00+02:00");
    check("Europe/Berlin", gap, "30 1 * * *", "01:30+01:00");
    check("Europe/Berlin", gap, "0 3 * * *", "03:00+02:00");
    check("Europe/Berlin", gap, "0 2,14 * * *", "03:00+02:00 14:00+02:00");
    check("Europe/Berlin", gap, "0,30 2 * * *", "03:00+02:00");
    check("Europe/Berlin", gap, "0 2,3 * * *", "03:00+02:00");
    check("Europe/Berlin", gap, "0 1-4 * * *", "01:00+01:00 03:00+02:00 04:00+02:00");
    check("Europe/Berlin", gap, "*/30 2 * * *", "");
    check("Europe/Berlin", gap, "*/30 1-3/1 * * *", "01:00+01:00 01:30+01:00 03:00+02:00 03:30+02:00");
    check("Europe/Berlin", fold, "30 2 * * *", "02:30+02:00");
    check("Europe/Berlin", fold, "0 2,14 * * *", "02:00+02:00 14:00+01:00");
    check("Europe/Berlin", fold, "0,30 2 * * *", "02:00+02:00 02:30+02:00");
    check("Europe/Berlin", fold, "15,45 2 * * *", "02:15+02:00 02:45+02:00");
    check("Europe/Berlin", fold, "*/30 2 * * *", "02:00+02:00 02:30+02:00 02:00+01:00 02:30+01:00");
    check("Europe/Berlin", fold, "0 3 * * *", "03:00+01:00");
    let (gap, fold) = (date(2026, 3, 8), date(2026, 11, 1));
    check("America/New_York", gap, "30 2 * * *", "03:00-04:00");
    check("America/New_York", gap, "0 2,14 * * *", "03:00-04:00 14:00-04:00");
    check("America/New_York", fold, "30 1 * * *", "01:30-04:00");
    check("America/New_York", fold, "0 1,13 * * *", "01:00-04:00 13:00-05:00");
    check("America/New_York", fold, "*/30 1 * * *", "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00");
    // Half an hour only.
    let (gap, fold) = (date(2026, 10, 4), date(2026, 4, 5));
    check("Australia/Lord_Howe", gap, "15 2 * * *", "02:30+11:00");
    check("Australia/Lord_Howe", gap, "15,45 2 * * *", "02:30+11:00 02:45+11:00");
    check("Australia/Lord_Howe", gap, "0,30 2 * * *", "02:30+11:00");
    check("Australia/Lord_Howe", fold, "45 1 * * *", "01:45+11:00");
    check("Australia/Lord_Howe", fold, "15,45 1 * * *", "01:15+11:00 01:45+11:00");
    check(
        "Australia/Lord_Howe",
        fold,
        "*/15 1 * * *",
        "01:00+11:00 01:15+11:00 01:30+11:00 01:45+11:00 01:30+10:30 01:45+10:30",
    );
    // At a quarter to three.
    let (gap, fold) = (date(2026, 9, 27), date(2026, 4, 5));
    check("Pacific/Chatham", gap, "45 2 * * *", "03:45+13:45");
    check("Pacific/Chatham", gap, "0,45 2,3 * * *", "02:00+12:45 03:45+13:45");
    check("Pacific/Chatham", fold, "0 3 * * *", "03:00+13:45");
    check("Pacific/Chatham", fold, "0 3,4 * * *", "03:00+13:45 04:00+12:45");
    // At midnight, so that the fold repeats the end of the day before.
    let (gap, before_fold) = (date(2026, 9, 6), date(2026, 4, 4));
    check("America/Santiago", gap, "0 0 * * *", "01:00-03:00");
    check("America/Santiago", gap, "0 0,12 * * *", "01:00-03:00 12:00-03:00");
    check("America/Santiago", gap, "0,30 0,1 * * *", "01:00-03:00 01:30-03:00");
    check("America/Santiago", before_fold, "30 23 * * *", "23:30-03:00");
    check("America/Santiago", before_fold, "0 11,23 * * *", "11:00-03:00 23:00-03:00");
    check("America/Santiago", before_fold, "*/30 23 * * *", "23:00-03:00 23:30-03:00 23:00-04:00 23:30-04:00");
    let (gap, before_fold) = (date(2026, 4, 24), date(2026, 10, 29));
    check("Africa/Cairo", gap, "0 0 * * *", "01:00+03:00");
    check("Africa/Cairo", gap, "0,30 0 * * *", "01:00+03:00");
    check("Africa/Cairo", before_fold, "0 23 * * *", "23:00+03:00");
    check("Africa/Cairo", before_fold, "0,30 23 * * *", "23:00+03:00 23:30+03:00");
    check("Africa/Cairo", before_fold.tomorrow().expect("a date"), "0 0 * * *", "00:00+02:00");
}

#[test]
fn the_forms_of_the_file_follow_the_same_rule_as_cron() {
    let berlin = zone("Europe/Berlin").expect("a zone");
    let at = texts(&["02:00", "02:30", "03:00", "14:00"]);
    let daily = Cadence::daily(&at, &berlin).expect("a cadence");
    assert_eq!(local_firings(&daily, &berlin, date(2026, 3, 29)), "03:00+02:00 14:00+02:00");
    let fold = "02:00+02:00 02:30+02:00 03:00+01:00 14:00+01:00";
    assert_eq!(local_firings(&daily, &berlin, date(2026, 10, 25)), fold);
    let weekly = Cadence::weekly(&texts(&["sunday"]), &texts(&["02:30"]), &berlin).expect("a cadence");
    assert_eq!(local_firings(&weekly, &berlin, date(2026, 3, 29)), "03:00+02:00");
    let monthly = Cadence::monthly(&texts(&["last"]), &texts(&["02:30"]), &berlin).expect("a cadence");
    assert_eq!(local_firings(&monthly, &berlin, date(2026, 3, 31)), "02:30+02:00");
}

#[test]
fn a_day_that_a_zone_left_out_fires_at_the_first_instant_after_it() {
    let apia = zone("Pacific/Apia").expect("a zone");
    let cadence = Cadence::monthly(&texts(&["30"]), &texts(&["02:00", "14:00"]), &apia).expect("a cadence");
    let found = firings(&cadence, instant("2011-12-01T20:00:00Z"), instant("2012-01-29T00:00:00Z"));
    assert_eq!(found, [instant("2011-12-30T10:00:00Z")], "31 December, 00:00, once for both times");
}

#[test]
fn the_next_twenty_firings_are_these() {
    let list = |cadence: Result<Cadence, Vec<super::CadenceError>>, zone_name: &str, after: &str| {
        let (cadence, zone) = (cadence.expect("a cadence"), zone(zone_name).expect(zone_name));
        let mut text = format!("{}\n", cadence.describe());
        let mut last = instant(after);
        for _ in 0..20 {
            last = cadence.next_after(last).expect("a firing");
            writeln!(text, "{last} {}", last.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M%:z"))
                .expect("a string");
        }
        text
    };
    let with = |name: &str| zone(name).expect(name);
    let berlin = "Europe/Berlin";
    let mut text = String::new();
    text += &list(Cadence::daily(&texts(&["02:30"]), &with(berlin)), berlin, "2026-03-20T12:00:00Z");
    text += &list(
        Cadence::weekly(&texts(&["sun", "wed"]), &texts(&["02:30", "14:00"]), &with(berlin)),
        berlin,
        "2026-10-10T12:00:00Z",
    );
    text += &list(Cadence::monthly(&texts(&["31"]), &texts(&["02:00"]), &with(berlin)), berlin, "2027-01-01T12:00:00Z");
    text += &list(
        Cadence::quarterly(&texts(&["first saturday"]), &texts(&["01:00"]), &with(berlin)),
        berlin,
        "2026-01-01T12:00:00Z",
    );
    let new_york = "America/New_York";
    text += &list(Cadence::cron("0 2,14 * * *", &with(new_york)), new_york, "2026-03-05T12:00:00Z");
    text += &list(Cadence::cron("*/20 1 * * *", &with(new_york)), new_york, "2026-10-30T12:00:00Z");
    text += &list(Cadence::cron("0 3 LW * *", &with(new_york)), new_york, "2026-01-01T00:00:00Z");
    text += &list(Cadence::cron("30 4 * * FRI#2", &with(new_york)), new_york, "2026-01-01T00:00:00Z");
    let lord_howe = "Australia/Lord_Howe";
    text += &list(Cadence::cron("15,45 1,2 * * *", &with(lord_howe)), lord_howe, "2026-04-02T12:00:00Z");
    let chatham = "Pacific/Chatham";
    text += &list(Cadence::daily(&texts(&["02:45", "03:15"]), &with(chatham)), chatham, "2026-09-20T12:00:00Z");
    let santiago = "America/Santiago";
    text += &list(Cadence::cron("@midnight", &with(santiago)), santiago, "2026-08-28T12:00:00Z");
    let cairo = "Africa/Cairo";
    text += &list(Cadence::cron("0,30 0,23 * * *", &with(cairo)), cairo, "2026-10-27T12:00:00Z");
    insta::assert_snapshot!(text);
}

/// A span of a zone's time with one offset: `[start, end)` in seconds.
struct Segment {
    start: i64,
    end: i64,
    offset: i64,
}

/// The segments of `zone` over the years of the tests, and the local dates of the changes between them.
fn segments(zone: &TimeZone) -> (Vec<Segment>, Vec<Date>) {
    let end = instant(&format!("{}-01-03T00:00:00Z", LAST_YEAR + 1));
    let mut start = instant(&format!("{}-12-30T00:00:00Z", FIRST_YEAR - 1));
    let (mut found, mut changes) = (Vec::new(), Vec::new());
    loop {
        let offset = i64::from(zone.to_offset(start).seconds());
        let next = zone.following(start).next().map(|change| change.timestamp()).filter(|next| *next < end);
        found.push(Segment { start: start.as_second(), end: next.unwrap_or(end).as_second(), offset });
        let Some(next) = next else { return (found, changes) };
        changes.push(zone.to_datetime(next).date());
        start = next;
    }
}

/// The first instant at which the clocks of any segment have reached `civil`.
fn reached(segments: &[Segment], civil: DateTime) -> i64 {
    let local = jiff::tz::Offset::UTC.to_timestamp(civil).expect("a date of our years").as_second();
    let first = |segment: &Segment| Some((local - segment.offset).max(segment.start)).filter(|at| *at < segment.end);
    segments.iter().filter_map(first).min().expect("the years are covered")
}

#[expect(clippy::disallowed_methods, reason = "only these tests can be made longer, and only from outside")]
fn every_day_is_wanted() -> bool {
    std::env::var("PGUPKEEP_TEST_ROUNDS").is_ok_and(|rounds| rounds == "full")
}

/// The days on which the properties are checked: around changes and at new years, or all.
fn days_to_check(changes: &[Date]) -> BTreeSet<Date> {
    let (first, last) = (date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31));
    if every_day_is_wanted() {
        return first.series(1.day()).take_while(|day| *day <= last).collect();
    }
    let around = |day: &Date| {
        let start = day.checked_sub(2.days()).expect("a date");
        start.series(1.day()).take(5)
    };
    let new_years = (FIRST_YEAR..=LAST_YEAR).step_by(5).map(|year| date(year, 1, 1));
    changes
        .iter()
        .step_by(CHANGES_APART)
        .flat_map(around)
        .chain(new_years)
        .filter(|day| (first..=last).contains(day))
        .collect()
}

#[test]
fn in_every_zone_each_fixed_time_fires_once_on_each_day() {
    let at = ["00:00", "01:59:59", "02:30", "03:15"];
    let times: Vec<Time> = at.iter().map(|text| text.parse().expect(text)).collect();
    for name in zone_names() {
        let zone = zone(&name).expect(&name);
        let cadence = Cadence::daily(&texts(&at), &zone).expect("a cadence");
        let (segments, changes) = segments(&zone);
        let mut civil_times = BTreeSet::new();
        for day in days_to_check(&changes) {
            let expected: BTreeSet<i64> = times.iter().map(|time| reached(&segments, day.to_datetime(*time))).collect();
            // From just before the day's first firing to just before what the next day's midnight comes to.
            let mut last = Timestamp::from_second(expected.first().expect("four times") - 1).expect("an instant");
            let midnight = reached(&segments, day.tomorrow().expect("a date").to_datetime(Time::midnight()));
            let mut found = Vec::new();
            loop {
                let next = cadence.next_after(last).expect("daily has no end");
                assert!(next > last, "{name}: {next} after {last}");
                if next.as_second() >= midnight {
                    assert_eq!(next.as_second(), midnight, "{name}: the day after {day} starts");
                    break;
                }
                assert!(civil_times.insert(zone.to_datetime(next)), "{name}: {next} repeats a local time");
                found.push(next.as_second());
                last = next;
            }
            let expected: Vec<i64> = expected.into_iter().filter(|at| *at < midnight).collect();
            assert_eq!(found, expected, "{name} on {day}");
        }
    }
}

#[test]
fn in_every_zone_a_running_pattern_fires_at_every_instant_that_matches() {
    let step = if every_day_is_wanted() { 1 } else { 2 * CHANGES_APART + 1 };
    for name in zone_names() {
        let zone = zone(&name).expect(&name);
        let cadence = Cadence::cron("*/20 0-23/1 * * *", &zone).expect("a cadence");
        let (segments, _) = segments(&zone);
        for segment in segments.iter().skip(1).step_by(step) {
            let around = |seconds: i64| Timestamp::from_second(segment.start + seconds).expect("an instant");
            let (start, end) = (around(-2 * 3600), around(2 * 3600));
            let expected: Vec<Timestamp> = (-7199..=7200)
                .map(around)
                .filter(|at| at.as_second() % 60 == 0)
                .filter(|at| {
                    let local = zone.to_datetime(*at);
                    local.minute() % 20 == 0 && local.second() == 0
                })
                .collect();
            assert_eq!(firings(&cadence, start, end), expected, "{name} around {}", around(0));
            assert_eq!(cadence.count(start, end), expected.len() as u64, "{name} around {}", around(0));
        }
    }
}

#[test]
fn a_pattern_of_one_time_or_of_steps_agrees_with_croner() {
    let patterns = [
        "30 2 * * *",
        "0 0 * * *",
        "*/20 * * * *",
        "*/15 1,2 * * *",
        "15 3 L * *",
        "0 */3 15W * *",
        "0 12 * * 5#5",
        "5 4 1 * MON",
    ];
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "America/Santiago"] {
        let zone = zone(name).expect(name);
        for text in patterns {
            let cadence = Cadence::cron(text, &zone).expect(text);
            let croner: croner::Cron = text.parse().expect(text);
            for start in
                ["2026-03-07T00:00:00Z", "2026-03-28T00:00:00Z", "2026-04-04T06:00:00Z", "2026-10-24T20:00:00Z"]
            {
                let mut last = instant(start);
                for _ in 0..80 {
                    let expected = croner.find_next_occurrence(&last.to_zoned(zone.clone()), false).expect("an end");
                    let next = cadence.next_after(last).expect("no end");
                    assert_eq!(next, expected.timestamp(), "{text} in {name} after {last}");
                    last = next;
                }
            }
        }
    }
}

#[test]
fn counting_and_looking_back_agree_with_walking_forward() {
    let check = |text: &str, zone_name: &str, after: &str, until: &str| {
        let cadence = Cadence::cron(text, &zone(zone_name).expect(zone_name)).expect(text);
        let (after, until) = (instant(after), instant(until));
        let all = firings(&cadence, after, until);
        assert_eq!(cadence.count(after, until), all.len() as u64, "{text}");
        for most in [1, 7, 100, 100_000] {
            let newest = &all[all.len().saturating_sub(most)..];
            assert_eq!(cadence.newest(after, until, most), newest, "{text}, {most}");
        }
    };
    check("* * * * * *", "Europe/Berlin", "2026-10-25T00:10:00.5Z", "2026-10-25T01:50:00.5Z");
    check("*/7 * * * *", "Europe/Berlin", "2026-03-20T00:00:00Z", "2026-04-20T00:00:01Z");
    check("*/7 3-9/2 * * MON", "Australia/Lord_Howe", "2026-03-20T00:00:00Z", "2026-11-20T00:00:01Z");
    check("0,30 2,14 * * *", "America/Santiago", "2026-03-20T00:00:00Z", "2026-11-20T00:00:01Z");
    check("0 0 29 2 *", "UTC", "1999-01-01T00:00:00Z", "2050-01-01T00:00:00Z");
    check("0 0 1 1 *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
}

#[test]
fn a_cadence_ends_where_the_calendar_ends() {
    for text in ["30 2 * * *", "*/30 * * * *"] {
        let cadence = Cadence::cron(text, &TimeZone::UTC).expect(text);
        assert_eq!(cadence.next_after(Timestamp::MAX), None, "{text}");
        assert!(cadence.next_after(Timestamp::MIN).is_some(), "{text}");
    }
}

#[test]
fn a_cadence_is_refused_with_the_key_that_is_wrong() {
    use super::Field;
    let utc = TimeZone::UTC;
    let check = |result: Result<Cadence, Vec<super::CadenceError>>, field: Field, expected: &str| {
        let errors = result.expect_err("a wrong cadence");
        let error = errors.iter().find(|error| error.field == field).unwrap_or_else(|| panic!("{errors:?}"));
        assert!(error.to_string().contains(expected), "{error}");
    };
    let at = texts(&["02:00"]);
    check(Cadence::daily(&[], &utc), Field::At, "expected at least one, such as \"02:00\"");
    check(Cadence::daily(&texts(&["02:00", "24:00"]), &utc), Field::At, "\"24:00\" is not a time of day");
    check(Cadence::weekly(&[], &at, &utc), Field::On, "no weekday is given");
    check(Cadence::weekly(&texts(&["sonday"]), &at, &utc), Field::On, "did you mean \"monday\"?");
    check(Cadence::weekly(&texts(&["1"]), &at, &utc), Field::On, "\"1\" is not a weekday");
    check(Cadence::monthly(&[], &at, &utc), Field::On, "no day is given");
    check(Cadence::monthly(&texts(&["32"]), &at, &utc), Field::On, "no month has that day");
    check(Cadence::quarterly(&texts(&["fifth monday"]), &at, &utc), Field::On, "most months have no fifth monday");
    check(Cadence::cron("0 0 30 2 *", &utc), Field::Cron, "never fires");
    // What is wrong with the days hides nothing of the times, and the other way round.
    let wrong_at = texts(&["25:00"]);
    for field in [Field::On, Field::At] {
        check(Cadence::weekly(&texts(&["1"]), &wrong_at, &utc), field, "\" is not a ");
        check(Cadence::monthly(&texts(&["32"]), &wrong_at, &utc), field, "\" is not a ");
    }
}

#[test]
fn a_cadence_is_described_and_compared_by_what_it_means() {
    let berlin = zone("Europe/Berlin").expect("a zone");
    let at = texts(&["14:00", "02:00", "02:00:30"]);
    let check = |result: Result<Cadence, Vec<super::CadenceError>>, words: &str, fingerprint: &str| {
        let cadence = result.expect(words);
        assert_eq!((cadence.describe().as_str(), cadence.fingerprint().as_str()), (words, fingerprint));
    };
    check(
        Cadence::daily(&at, &berlin),
        "daily at 02:00, 02:00:30 and 14:00 Europe/Berlin",
        "daily||02:00,02:00:30,14:00|Europe/Berlin",
    );
    check(
        Cadence::weekly(&texts(&["sun", "monday", "Sunday"]), &texts(&["02:00"]), &berlin),
        "weekly on Monday and Sunday at 02:00 Europe/Berlin",
        "weekly|Monday,Sunday|02:00|Europe/Berlin",
    );
    check(
        Cadence::monthly(&texts(&["last", "1"]), &texts(&["02:00"]), &TimeZone::UTC),
        "monthly on day 1 and the last day at 02:00 UTC",
        "monthly|day 1,the last day|02:00|UTC",
    );
    check(
        Cadence::quarterly(&texts(&["first saturday"]), &texts(&["01:00"]), &berlin),
        "quarterly on the first Saturday at 01:00 Europe/Berlin",
        "quarterly|the first Saturday|01:00|Europe/Berlin",
    );
}
