//! `pgupkeep next`: the calendar of what falls due, worked out by the rules that the daemon goes by.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::check::targets_of;
use super::exit::Exit;
use super::prepare::Prepared;
use super::{json, output};
use crate::calendar::{Disposition, due};
use crate::clock::{Clock, SystemClock, to_sql};
use crate::config::{Config, Entry, Paused};
use crate::engine::scheduler::plan_of;
use crate::names::JobName;

/// What `next` is asked.
#[derive(Debug, clap::Args)]
pub struct Next {
    /// How many days to look ahead.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=3660))]
    days: u16,
    /// Only firings of this job.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// At most so many firings.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Look ahead from this instant instead of now, such as 2026-03-28T00:00:00Z.
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Prints the firings to come; asks no database.
pub fn next(path: &Path, args: &Next) -> Exit {
    match list(path, args, &SystemClock) {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

fn list(path: &Path, args: &Next, clock: &dyn Clock) -> Result<(), Exit> {
    let prepared = Prepared::load(path)?;
    let config = &prepared.config;
    let job = match &args.job {
        Some(name) => Some(&prepared.find_job(name)?.spec.name),
        None => None,
    };
    let from = args.from.unwrap_or_else(|| clock.now());
    let until = from.saturating_add(SignedDuration::from_hours(24 * i64::from(args.days))).unwrap_or(Timestamp::MAX);
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (firings, cut) = firings(config, job, (from, until), limit);
    if args.json {
        let firings: Vec<json::Firing> = firings.iter().map(|(at, entry)| firing(config, entry, *at)).collect();
        output::say_json(&firings);
    } else if firings.is_empty() {
        output::say(&format!("nothing falls due by the calendar before {}", output::local(until, &config.timezone)));
    } else {
        tell(config, &firings);
    }
    if cut == Cut::Short {
        output::complain(&format!("only the first {limit} firings are shown; raise --limit to see more"));
    }
    Ok(())
}

/// Whether the limit left firings out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Short,
    Whole,
}

/// The firings after `from`, up to and including `until`, in order of time.
fn firings<'a>(
    config: &'a Config,
    job: Option<&JobName>,
    (from, until): (Timestamp, Timestamp),
    limit: usize,
) -> (Vec<(Timestamp, &'a Entry)>, Cut) {
    let entries: Vec<&Entry> = config.entries.iter().filter(|entry| job.is_none_or(|job| entry.job == *job)).collect();
    // Each entry's next instant waits here, so that no more is worked out than is shown.
    let mut ahead: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
    let after = |at: Timestamp, nth: usize| entries[nth].cadence.next_after(at).filter(|next| *next <= until);
    ahead.extend((0..entries.len()).filter_map(|nth| Some(Reverse((after(from, nth)?, nth)))));
    let mut firings = Vec::new();
    while let Some(Reverse((at, nth))) = ahead.pop() {
        if firings.len() == limit {
            return (firings, Cut::Short);
        }
        firings.push((at, entries[nth]));
        ahead.extend(after(at, nth).map(|next| Reverse((next, nth))));
    }
    (firings, Cut::Whole)
}

/// When the runs of a firing may start, and when not any more; `None` for a paused entry.
fn span(entry: &Entry, at: Timestamp) -> Option<(Timestamp, Option<Timestamp>)> {
    let before = at.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN);
    let decided = due(&plan_of(entry), before, at);
    decided.firings.into_iter().find_map(|firing| match firing.disposition {
        Disposition::Run { eligible_at, closes_at, .. } => Some((eligible_at, closes_at)),
        Disposition::Missed { .. } | Disposition::Skipped { .. } => None,
    })
}

fn firing(config: &Config, entry: &Entry, at: Timestamp) -> json::Firing {
    let span = span(entry, at);
    json::Firing {
        due_at: at.into(),
        due_local: output::local_rfc3339(at, &config.timezone),
        entry: entry.name.to_string(),
        job: entry.job.to_string(),
        targets: targets_of(config, entry),
        window: entry.window.as_ref().map(|(name, _)| name.to_string()),
        starts_at: span.map(|(starts, _)| starts.into()),
        closes_at: span.and_then(|(_, closes)| closes).map(Into::into),
        paused: entry.paused == Paused::Yes,
    }
}

fn tell(config: &Config, firings: &[(Timestamp, &Entry)]) {
    let mut table = output::table(&["DUE", "UTC", "ENTRY", "JOB", "TARGETS", "REMARK"]);
    for (at, entry) in firings {
        table.add_row([
            &output::local(*at, &config.timezone),
            &output::instant(to_sql(*at)),
            entry.name.as_str(),
            entry.job.as_str(),
            &targets_of(config, entry).join(", "),
            &remark(config, entry, *at),
        ]);
    }
    output::say_table(&table);
}

fn remark(config: &Config, entry: &Entry, at: Timestamp) -> String {
    let Some((starts, closes)) = span(entry, at) else {
        return "paused: it is recorded as skipped".to_owned();
    };
    let mut remarks = Vec::new();
    if let Some((name, _)) = &entry.window {
        let closes = output::or_blank(closes.map(|closes| output::local(closes, &config.timezone)));
        remarks.push(format!("window {name} until {closes}"));
    }
    if starts > at {
        remarks.push(format!("waits until {}", output::local(starts, &config.timezone)));
    }
    remarks.join("; ")
}
