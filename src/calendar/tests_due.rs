//! What is due: tables of cases, and properties over many schedules and clocks.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Cadence, CatchUp, Disposition, Due, MOST_LISTED, Paused, Plan, Window, due, zone};
use crate::run_state::Trigger;

const ENTRY: &str = "daily/vacuum-analyze";

fn instant(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn cron(text: &str) -> Cadence {
    Cadence::cron(text, &zone("Europe/Berlin").expect("a zone")).expect(text)
}

fn plan(cadence: &Cadence, catch_up: CatchUp) -> Plan<'_> {
    let (window, jitter, catch_up_limit, entry, paused) = (None, Duration::ZERO, 3, ENTRY, Paused::No);
    Plan { cadence, window, jitter, catch_up, catch_up_limit, entry, paused }
}

/// Each firing in a line: when it fell due, what becomes of it, and when or why.
fn lines(due: &Due) -> Vec<String> {
    let line = |firing: &super::Firing| match &firing.disposition {
        Disposition::Run { trigger, eligible_at, closes_at } => match closes_at {
            Some(closes_at) => format!("{} {trigger} {eligible_at} until {closes_at}", firing.due_at),
            None => format!("{} {trigger} {eligible_at}", firing.due_at),
        },
        Disposition::Missed { reason } => format!("{} missed: {reason}", firing.due_at),
        Disposition::Skipped { reason } => format!("{} skipped: {reason}", firing.due_at),
    };
    due.firings.iter().map(line).collect()
}

#[test]
fn what_falls_due_in_time_runs_by_schedule() {
    let cadence = cron("0 2 * * *");
    let check = |cursor: &str, now: &str, expected: &[&str], next: &str| {
        let due = due(&plan(&cadence, CatchUp::Once), instant(cursor), instant(now));
        assert_eq!(lines(&due), expected, "{cursor} to {now}");
        assert_eq!((due.cursor, due.next_due), (instant(now), Some(instant(next))), "{cursor} to {now}");
    };
    let (before, at) = ("2026-05-01T23:59:59Z", "2026-05-02T00:00:00Z");
    let run = "2026-05-02T00:00:00Z schedule 2026-05-02T00:00:00Z";
    check(before, at, &[run], "2026-05-03T00:00:00Z");
    check(before, "2026-05-02T00:01:00Z", &[run], "2026-05-03T00:00:00Z");
    check(at, "2026-05-02T00:00:10Z", &[], "2026-05-03T00:00:00Z");
    check("2026-05-01T10:00:00Z", before, &[], at);
    let late = "2026-05-02T00:00:00Z catch_up 2026-05-02T00:01:00.000000001Z";
    check(before, "2026-05-02T00:01:00.000000001Z", &[late], "2026-05-03T00:00:00Z");
}

#[test]
fn what_fell_due_while_nothing_was_running_follows_catch_up() {
    let cadence = cron("0 2 * * *");
    let (cursor, now) = (instant("2026-05-01T12:00:00Z"), instant("2026-05-06T12:00:00Z"));
    let check = |catch_up: CatchUp, expected: &[&str]| {
        assert_eq!(lines(&due(&plan(&cadence, catch_up), cursor, now)), expected, "{catch_up:?}");
    };
    let once = "fell due and no daemon planned it in time; catch_up is once and spent on the newest firing, that of \
                2026-05-06T00:00:00Z";
    check(
        CatchUp::Once,
        &[
            &format!("2026-05-02T00:00:00Z missed: {once}"),
            &format!("2026-05-03T00:00:00Z missed: {once}"),
            &format!("2026-05-04T00:00:00Z missed: {once}"),
            &format!("2026-05-05T00:00:00Z missed: {once}"),
            "2026-05-06T00:00:00Z catch_up 2026-05-06T12:00:00Z",
        ],
    );
    let skip = "fell due and no daemon planned it in time; catch_up is skip";
    let all =
        "fell due and no daemon planned it in time; catch_up is all and catch_up_limit is 3, spent on newer firings";
    let days = ["02", "03", "04", "05", "06"];
    check(
        CatchUp::Skip,
        &days.map(|day| format!("2026-05-{day}T00:00:00Z missed: {skip}")).each_ref().map(String::as_str),
    );
    check(
        CatchUp::All,
        &[
            &format!("2026-05-02T00:00:00Z missed: {all}"),
            &format!("2026-05-03T00:00:00Z missed: {all}"),
            "2026-05-04T00:00:00Z catch_up 2026-05-06T12:00:00Z",
            "2026-05-05T00:00:00Z catch_up 2026-05-06T12:00:00Z",
            "2026-05-06T00:00:00Z catch_up 2026-05-06T12:00:00Z",
        ],
    );
}

#[test]
fn a_firing_on_time_does_the_work_of_the_late_ones() {
    let cadence = cron("0 2 * * *");
    let (cursor, now) = (instant("2026-05-01T12:00:00Z"), instant("2026-05-03T00:00:05Z"));
    let missed = "2026-05-02T00:00:00Z missed: fell due and no daemon planned it in time; catch_up is once and a \
                  newer firing, that of 2026-05-03T00:00:00Z, was on time";
    let run = "2026-05-03T00:00:00Z schedule 2026-05-03T00:00:00Z";
    assert_eq!(lines(&due(&plan(&cadence, CatchUp::Once), cursor, now)), [missed, run]);
    let caught_up = "2026-05-02T00:00:00Z catch_up 2026-05-03T00:00:05Z";
    assert_eq!(lines(&due(&plan(&cadence, CatchUp::All), cursor, now)), [caught_up, run]);
}

#[test]
fn a_paused_entry_skips_what_is_late_and_what_is_on_time() {
    let cadence = cron("0 2 * * *");
    let plan = Plan { paused: Paused::Yes, ..plan(&cadence, CatchUp::All) };
    let due = due(&plan, instant("2026-05-01T12:00:00Z"), instant("2026-05-03T00:00:05Z"));
    let skipped = |day: &str| format!("2026-05-{day}T00:00:00Z skipped: the schedule entry is paused");
    assert_eq!(lines(&due), [skipped("02"), skipped("03")]);
    assert_eq!(due.next_due, Some(instant("2026-05-04T00:00:00Z")));
}

#[test]
fn a_run_waits_for_its_window_and_knows_when_that_closes() {
    let window = Window::new("01:00", "05:00", &[], &zone("Europe/Berlin").expect("a zone")).expect("a window");
    let check = |text: &str, cursor: &str, now: &str, expected: &str| {
        let cadence = cron(text);
        let plan = Plan { window: Some(&window), ..plan(&cadence, CatchUp::Once) };
        assert_eq!(lines(&due(&plan, instant(cursor), instant(now))), [expected], "{text}");
    };
    // Inside.
    let inside = "2026-05-02T00:00:00Z schedule 2026-05-02T00:00:00Z until 2026-05-02T03:00:00Z";
    check("0 2 * * *", "2026-05-01T12:00:00Z", "2026-05-02T00:00:01Z", inside);
    // Before it opens.
    let waits = "2026-05-01T12:00:00Z schedule 2026-05-01T23:00:00Z until 2026-05-02T03:00:00Z";
    check("0 14 * * *", "2026-05-01T11:00:00Z", "2026-05-01T12:00:01Z", waits);
    // Late, the window is still open.
    let open = "2026-05-02T00:00:00Z catch_up 2026-05-02T02:00:00Z until 2026-05-02T03:00:00Z";
    check("0 2 * * *", "2026-05-01T12:00:00Z", "2026-05-02T02:00:00Z", open);
    // Late, the window has closed: the next one.
    let closed = "2026-05-02T00:00:00Z catch_up 2026-05-02T23:00:00Z until 2026-05-03T03:00:00Z";
    check("0 2 * * *", "2026-05-01T12:00:00Z", "2026-05-02T03:00:00Z", closed);
}

#[test]
fn jitter_delays_the_start_by_at_most_its_length_and_always_alike() {
    let cadence = cron("0 2 * * *");
    let plan = Plan { jitter: Duration::from_mins(10), ..plan(&cadence, CatchUp::Once) };
    let at = instant("2026-05-02T00:00:00Z");
    let start = |plan: &Plan<'_>| match &due(plan, instant("2026-05-01T12:00:00Z"), at).firings[..] {
        [super::Firing { disposition: Disposition::Run { eligible_at, .. }, .. }] => *eligible_at,
        other => panic!("one run, not {other:?}"),
    };
    let delay = start(&plan).duration_since(at);
    assert!(!delay.is_negative() && delay <= SignedDuration::from_secs(600), "{delay:?}");
    assert_eq!(start(&plan), start(&plan));
    assert_ne!(start(&plan), start(&Plan { entry: "daily/backup", ..plan }), "another entry, another delay");
}

#[test]
fn jitter_never_takes_a_start_out_of_its_window() {
    let window = Window::new("01:00", "05:00", &[], &zone("Europe/Berlin").expect("a zone")).expect("a window");
    for (text, most) in [("30 4 * * *", 15), ("0 2 * * *", 90), ("30 0 * * *", 150), ("59 4 * * *", 1)] {
        let cadence = cron(text);
        for day in 1..28 {
            let plan = Plan { window: Some(&window), jitter: Duration::from_hours(6), ..plan(&cadence, CatchUp::All) };
            let from = instant(&format!("2026-05-{day:02}T20:00:00Z"));
            let firing = cadence.next_after(from).expect("a next one");
            let due = due(&plan, from, firing);
            let Disposition::Run { eligible_at, closes_at: Some(closes), .. } = due.firings[0].disposition else {
                panic!("{due:?}")
            };
            let delay = eligible_at.duration_since(firing);
            assert!(eligible_at < closes && delay <= SignedDuration::from_mins(most), "{text}: {delay:?}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_fires_nothing_and_moves_nothing() {
    let cadence = cron("* * * * *");
    let (cursor, now) = (instant("2026-05-02T01:00:00Z"), instant("2026-05-02T00:00:00Z"));
    let due = due(&plan(&cadence, CatchUp::All), cursor, now);
    assert_eq!(due, Due { firings: vec![], cursor, next_due: Some(instant("2026-05-02T01:01:00Z")) });
}

#[test]
fn a_clock_that_jumped_by_forty_days_costs_a_bounded_number_of_rows() {
    let cadence = cron("* * * * * *");
    let (cursor, now) = (instant("2026-10-01T00:00:00Z"), instant("2026-11-10T00:00:00Z"));
    let started = Instant::now();
    let missed = due(&plan(&cadence, CatchUp::Skip), cursor, now);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let on_time = 61;
    assert_eq!(missed.firings.len(), MOST_LISTED + 1 + on_time);
    let rest = 40 * 86_400 - on_time - MOST_LISTED;
    let reason = format!(
        "fell due and no daemon planned it in time; catch_up is skip; this row stands for {rest} firings from \
         2026-10-01T00:00:01Z to 2026-11-09T23:42:19Z"
    );
    assert_eq!(lines(&missed)[0], format!("2026-10-01T00:00:01Z missed: {reason}"));
    assert_eq!(missed.firings[1].due_at, instant("2026-11-09T23:42:20Z"));

    let paused = Plan { paused: Paused::Yes, ..plan(&cadence, CatchUp::Skip) };
    assert_eq!(due(&paused, cursor, now).firings.len(), MOST_LISTED + 1);
}

#[test]
fn a_cadence_at_the_end_of_the_calendar_has_no_next() {
    let cadence = Cadence::cron("0 0 1 1 *", &TimeZone::UTC).expect("a cadence");
    let due = due(&plan(&cadence, CatchUp::Once), instant("9999-06-01T00:00:00Z"), instant("9999-07-01T00:00:00Z"));
    assert_eq!((due.firings.len(), due.next_due), (0, None));
}

const PATTERNS: [&str; 6] =
    ["30 2 * * *", "0 2,3,14 * * *", "*/20 * * * *", "*/15 2 * * *", "0 */6 * * MON", "*/40 * * * * *"];

prop_compose! {
    /// A schedule, and a span that often lies over a change of the clocks.
    fn scene()(
        pattern in prop::sample::select(&PATTERNS[..]),
        catch_up in prop::sample::select(vec![CatchUp::Skip, CatchUp::Once, CatchUp::All]),
        catch_up_limit in 0_u32..20,
        around in prop::sample::select(vec![1_774_746_000_i64, 1_792_890_000, 1_780_000_000]),
        start in -100_000_i64..0,
        length in 1_i64..120_000,
        fraction in 0_i64..1_000_000,
    ) -> (Cadence, CatchUp, u32, Timestamp, Timestamp) {
        let at = |second: i64| Timestamp::from_microsecond((around + second) * 1_000_000 + fraction).expect("an instant");
        (cron(pattern), catch_up, catch_up_limit, at(start), at(start + length))
    }
}

/// Every instant after `after` up to `until`.
fn walk(cadence: &Cadence, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let next = |last: &Timestamp| cadence.next_after(*last).filter(|next| *next <= until);
    std::iter::successors(next(&after), next).collect()
}

/// The instants that the firings account for: those of a row that stands for several are walked again.
fn accounted(cadence: &Cadence, due: &Due) -> Vec<Timestamp> {
    let mut found = Vec::new();
    for firing in &due.firings {
        match &firing.disposition {
            Disposition::Missed { reason } | Disposition::Skipped { reason }
                if reason.contains("this row stands for") =>
            {
                let words: Vec<&str> = reason.split_whitespace().collect();
                let last = instant(words[words.len() - 1]);
                let several = walk(cadence, super::civil::earlier(firing.due_at, SignedDuration::from_secs(1)), last);
                assert!(
                    reason.contains(&format!("stands for {} firings from {}", several.len(), several[0])),
                    "{reason}"
                );
                found.extend(several);
            }
            _ => found.push(firing.due_at),
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instant_is_accounted_for_exactly_once(
        (cadence, catch_up, catch_up_limit, cursor, now) in scene(),
        paused in prop::sample::select(vec![Paused::Yes, Paused::No]),
        jitter in 0_u64..1000,
    ) {
        let jitter = Duration::from_secs(jitter);
        let plan = Plan { jitter, catch_up_limit, paused, ..plan(&cadence, catch_up) };
        let due = due(&plan, cursor, now);
        prop_assert_eq!(accounted(&cadence, &due), walk(&cadence, cursor, now));
        prop_assert_eq!(due.cursor, now);
        prop_assert_eq!(due.next_due, cadence.next_after(now));
        prop_assert!(due.firings.len() <= MOST_LISTED + 1 + 61 + 20);
        for firing in &due.firings {
            if let Disposition::Run { trigger, eligible_at, .. } = &firing.disposition {
                prop_assert_eq!(paused, Paused::No);
                prop_assert!(*eligible_at >= firing.due_at);
                let late = now.duration_since(firing.due_at) > super::ON_TIME;
                prop_assert_eq!(*trigger, if late { Trigger::CatchUp } else { Trigger::Schedule });
                prop_assert!(!late || *eligible_at >= now);
            }
        }
    }

    #[test]
    fn catch_up_decides_how_many_late_ones_run((cadence, catch_up, catch_up_limit, cursor, now) in scene()) {
        let plan = Plan { catch_up_limit, ..plan(&cadence, catch_up) };
        let all = walk(&cadence, cursor, now);
        let (late, on_time): (Vec<Timestamp>, Vec<Timestamp>) = all.iter().copied().partition(|at| now.duration_since(*at) > super::ON_TIME);
        let expected = match catch_up {
            CatchUp::Skip => 0,
            CatchUp::Once => usize::from(on_time.is_empty() && !late.is_empty()),
            CatchUp::All => late.len().min(catch_up_limit as usize),
        };
        let due = due(&plan, cursor, now);
        let runs = |wanted: Trigger| due.firings.iter().filter(|firing| {
            matches!(firing.disposition, Disposition::Run { trigger, .. } if trigger == wanted)
        }).count();
        prop_assert_eq!((runs(Trigger::CatchUp), runs(Trigger::Schedule)), (expected, on_time.len()));
    }

    #[test]
    fn an_interval_looked_at_in_two_parts_holds_the_same_instants(
        (cadence, catch_up, _, cursor, now) in scene(),
        part in 0.0_f64..1.0,
    ) {
        let plan = plan(&cadence, catch_up);
        let length = now.duration_since(cursor);
        let middle = cursor + SignedDuration::from_secs_f64(length.as_secs_f64() * part);
        let whole = due(&plan, cursor, now);
        let first = due(&plan, cursor, middle);
        let second = due(&plan, first.cursor, now);
        let mut parts = accounted(&cadence, &first);
        parts.extend(accounted(&cadence, &second));
        prop_assert_eq!(parts, accounted(&cadence, &whole));
    }
}
