//! Schedule entries: which job they fire, when, and under which name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::file::{self, Shared};
use super::jobs::Jobs;
use super::limits::{self, count, elapsed};
use super::problem::{Finding, one_of, quote};
use super::read::{At, Keys, Reader};
use super::value::{Names, Part, Times};
use super::{Entry, ReloadEntry};
use crate::calendar::{Cadence, CadenceError, CatchUp, Overlap, Paused, Window, WindowField};
use crate::names::{EntryName, JobName, WindowName};

/// What holds where an entry does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryDefaults {
    pub(super) jitter: Duration,
    pub(super) catch_up: CatchUp,
    pub(super) catch_up_limit: u32,
    pub(super) overlap: Overlap,
}

/// The windows by name; nothing where one is wrong in a way that was told already.
pub(super) type Windows = BTreeMap<String, Option<(WindowName, Window)>>;

pub(super) fn resolve_windows(
    section: Option<&Part<Names<Part<file::Window>>>>,
    zone: &TimeZone,
    reader: &mut Reader<'_>,
) -> Windows {
    let at = At::top().key("windows");
    let parts = section.and_then(|section| reader.read::<Names<Part<file::Window>>>(&section.value, &at));
    let mut windows = Windows::new();
    for (name, part) in parts.map(|parts| parts.0).unwrap_or_default() {
        let at = at.key(&name);
        let parsed = WindowName::parse(&name);
        if let Err(error) = &parsed {
            reader.refuse_key(&at, Finding::new(error.to_string()));
        }
        let window = reader.read_map::<file::Window>(&part.value, &at).and_then(|typed| {
            let zone = resolve_zone(typed.timezone.as_deref(), zone, &at, reader);
            let days = typed.days.map(|days| days.0).unwrap_or_default();
            let (from, to) = (typed.from.as_deref(), typed.to.as_deref());
            let is_there = |field| match field {
                WindowField::From => from.is_some(),
                WindowField::To => to.is_some(),
                WindowField::Days => true,
            };
            Window::new(from.unwrap_or_default(), to.unwrap_or_default(), &days, &zone)
                .map_err(|errors| {
                    for error in errors.into_iter().filter(|error| is_there(error.field)) {
                        reader.refuse(&at.key(error.field.as_str()), Finding::new(&error.message));
                    }
                })
                .ok()
        });
        windows.insert(name, parsed.ok().zip(window));
    }
    windows
}

/// Finds a time zone; the given one where there is none, or an unknown one, which is refused.
pub(super) fn resolve_zone(name: Option<&str>, otherwise: &TimeZone, at: &At, reader: &mut Reader<'_>) -> TimeZone {
    let Some(name) = name else { return otherwise.clone() };
    crate::calendar::zone(name).unwrap_or_else(|error| {
        reader.refuse(&at.key("timezone"), Finding::new(error.to_string()));
        otherwise.clone()
    })
}

/// Both sorts of entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) calendar: Vec<Entry>,
    pub(super) reload: Vec<ReloadEntry>,
}

pub(super) fn resolve_entries(
    section: Option<&Part<file::Schedules>>,
    zone: &TimeZone,
    defaults: EntryDefaults,
    windows: &Windows,
    jobs: &Jobs,
    reader: &mut Reader<'_>,
) -> Entries {
    let at = At::top().key("schedules");
    let mut entries = Entries::default();
    let schedules = section.and_then(|section| reader.read_map::<file::Schedules>(&section.value, &at));
    if let Some(schedules) = schedules {
        let mut all = All { zone, defaults, windows, jobs, reader, names: BTreeMap::new(), fired: BTreeSet::new() };
        for (at, typed) in all.parts(schedules.daily, &at.key("daily")) {
            let cadence = |zone: &_| Cadence::daily(times(typed.at.as_ref()), zone);
            entries.calendar.extend(all.entry("daily", &at, &typed.shared(), cadence));
        }
        for (at, typed) in all.parts(schedules.weekly, &at.key("weekly")) {
            let cadence = |zone: &_| {
                let on = typed.on.as_ref().map_or(&[][..], |on| &on.0);
                Cadence::weekly(on, times(typed.at.as_ref()), zone)
            };
            entries.calendar.extend(all.entry("weekly", &at, &typed.shared(), cadence));
        }
        for (at, typed) in all.parts(schedules.monthly, &at.key("monthly")) {
            let cadence = |zone: &_| Cadence::monthly(&dates(&typed), times(typed.at.as_ref()), zone);
            entries.calendar.extend(all.entry("monthly", &at, &typed.shared(), cadence));
        }
        for (at, typed) in all.parts(schedules.quarterly, &at.key("quarterly")) {
            let cadence = |zone: &_| Cadence::quarterly(&dates(&typed), times(typed.at.as_ref()), zone);
            entries.calendar.extend(all.entry("quarterly", &at, &typed.shared(), cadence));
        }
        for (at, typed) in all.parts(schedules.cron, &at.key("cron")) {
            let cadence = |zone: &_| Cadence::cron(typed.cron.as_deref().unwrap_or_default(), zone);
            entries.calendar.extend(all.entry("cron", &at, &typed.shared(), cadence));
        }
        for (at, typed) in all.parts(schedules.reload, &at.key("reload")) {
            entries.reload.extend(all.reload_entry(&at, &typed));
        }
        let fired = all.fired;
        warn_of_idle_jobs(&fired, jobs, reader);
    } else if section.is_none() {
        warn_of_idle_jobs(&BTreeSet::new(), jobs, reader);
    }
    entries
}

fn times(typed: Option<&Times>) -> &[String] {
    typed.map_or(&[], |times| &times.0)
}

fn dates(typed: &file::DatedEntry) -> Vec<String> {
    typed.on.as_ref().map_or_else(|| vec!["1".to_owned()], |on| on.0.clone())
}

fn warn_of_idle_jobs(fired: &BTreeSet<String>, jobs: &Jobs, reader: &mut Reader<'_>) {
    for name in jobs.good.keys().map(JobName::as_str) {
        if !fired.contains(name) && !jobs.inner.contains(name) {
            let message = "no schedule entry fires this job; it works only by `pgupkeep run`";
            reader.warn_key(&At::top().key("jobs").key(name), Finding::new(message));
        }
    }
}

fn paused(typed: Option<bool>) -> Paused {
    if typed == Some(true) { Paused::Yes } else { Paused::No }
}

/// What is needed for, and known of, all entries.
struct All<'a, 'r> {
    zone: &'a TimeZone,
    defaults: EntryDefaults,
    windows: &'a Windows,
    jobs: &'a Jobs,
    reader: &'a mut Reader<'r>,
    /// Where each name was first used.
    names: BTreeMap<EntryName, At>,
    /// The jobs that some entry fires.
    fired: BTreeSet<String>,
}

impl All<'_, '_> {
    fn parts<T: Keys>(&mut self, section: Option<Part<Vec<Part<T>>>>, at: &At) -> Vec<(At, T)> {
        let parts = section.and_then(|section| self.reader.read::<Vec<Part<T>>>(&section.value, at));
        let mut read = Vec::new();
        for (nth, part) in parts.unwrap_or_default().into_iter().enumerate() {
            let at = at.nth(nth);
            if let Some(typed) = self.reader.read_map(&part.value, &at) {
                read.push((at, typed));
            }
        }
        read
    }

    fn entry(
        &mut self,
        form: &str,
        at: &At,
        typed: &Shared<'_>,
        cadence: impl FnOnce(&TimeZone) -> Result<Cadence, Vec<CadenceError>>,
    ) -> Option<Entry> {
        let job = typed.job.and_then(|job| self.job(job, at));
        let name = self.name(form, typed.name, typed.job, at);
        let zone = resolve_zone(typed.timezone, self.zone, at, self.reader);
        let cadence = cadence(&zone)
            .map_err(|errors| {
                // What is absent was told already.
                for error in errors.iter().filter(|error| !typed.absent.contains(&error.field.as_str())) {
                    self.reader.refuse(&at.key(error.field.as_str()), Finding::new(&error.message));
                }
            })
            .ok();
        for warning in cadence.iter().flat_map(Cadence::warnings) {
            self.reader.warn(&at.key("cron"), Finding::new(warning));
        }
        let window = typed.window.and_then(|window| self.window(window, at));
        let jitter = elapsed(typed.jitter, &limits::JITTER, &at.key("jitter"), self.reader);
        let catch_up_limit = count(typed.catch_up_limit, &limits::CATCH_UP, &at.key("catch_up_limit"), self.reader);
        Some(Entry {
            name: name?,
            job: job?,
            cadence: cadence?,
            window,
            jitter: jitter.unwrap_or(self.defaults.jitter),
            catch_up: typed.catch_up.unwrap_or(self.defaults.catch_up),
            catch_up_limit: catch_up_limit.unwrap_or(self.defaults.catch_up_limit),
            overlap: typed.overlap.unwrap_or(self.defaults.overlap),
            paused: paused(typed.paused),
        })
    }

    fn reload_entry(&mut self, at: &At, typed: &file::ReloadEntry) -> Option<ReloadEntry> {
        let job = typed.job.as_deref().and_then(|job| self.job(job, at));
        let name = self.name("reload", typed.name.as_deref(), typed.job.as_deref(), at);
        let overlap = typed.overlap.unwrap_or(self.defaults.overlap);
        Some(ReloadEntry { name: name?, job: job?, overlap, paused: paused(typed.paused) })
    }

    fn job(&mut self, name: &str, at: &At) -> Option<JobName> {
        self.fired.insert(name.to_owned());
        if let Err(finding) = self.jobs.find(name) {
            self.reader.refuse(&at.key("job"), finding);
        }
        JobName::parse(name).ok()
    }

    /// The entry's own name, or `<cadence>/<job>`; refused if another entry has it.
    fn name(&mut self, form: &str, name: Option<&str>, job: Option<&str>, at: &At) -> Option<EntryName> {
        let name = match name {
            Some(name) => EntryName::parse(name)
                .map_err(|error| self.reader.refuse(&at.key("name"), Finding::new(error.to_string())))
                .ok()?,
            None => EntryName::of_job(form, &JobName::parse(job?).ok()?),
        };
        if let Some(other) = self.names.get(&name) {
            let message =
                format!("two entries are called `{name}`: this one and that at {}", self.reader.place_of(other));
            self.reader.refuse(at, Finding::new(message).expected("a `name:` of its own for each of them"));
            return None;
        }
        self.names.insert(name.clone(), at.clone());
        Some(name)
    }

    fn window(&mut self, name: &str, at: &At) -> Option<(WindowName, Window)> {
        let Some(window) = self.windows.get(name) else {
            let names = self.windows.keys().map(String::as_str);
            let finding = Finding::new(format!("there is no window {}", quote(name)));
            let finding = match self.windows.len() {
                0 => finding.expected("a window under `windows`"),
                _ => finding.expected(one_of(names.clone())),
            };
            self.reader.refuse(&at.key("window"), finding.nearest(name, names));
            return None;
        };
        window.clone()
    }
}
