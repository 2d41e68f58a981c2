//! What a reload changes, in plain English, for the log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::{Config, Entry, Job, ReloadEntry, Target};
use crate::calendar::{Paused, Window};
use crate::names::WindowName;

/// What differs between two configurations and takes effect at once, a line each; never a secret.
pub fn difference(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if zone_name(old) != zone_name(new) {
        lines.push(format!("timezone: {} became {}", zone_name(old), zone_name(new)));
    }
    let listen = |config: &Config| config.http.listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
    lines.extend(change("http: listen", listen(old), listen(new)));
    let length = |time: Duration| humantime::format_duration(time).to_string();
    lines.extend(change("defaults: lease", length(old.lease), length(new.lease)));
    lines.extend(change("defaults: shutdown_grace", length(old.shutdown_grace), length(new.shutdown_grace)));
    changes("repository", &old.repositories.0, &new.repositories.0, |old, new| change("", old, new), &mut lines);
    changes("target", &old.targets, &new.targets, target_changes, &mut lines);
    changes("window", &windows(old), &windows(new), |old, new| change("", old.describe(), new.describe()), &mut lines);
    changes("job", &old.jobs, &new.jobs, job_changes, &mut lines);
    changes("entry", &entries(old), &entries(new), entry_changes, &mut lines);
    changes("reload entry", &reload(old), &reload(new), reload_changes, &mut lines);
    lines
}

/// What differs between two configurations but takes effect only at the next start, a line each; never a secret.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |what: &str, is_changed: bool| {
        if is_changed {
            lines.push(format!("{what} changed; takes effect at the next start"));
        }
    };
    tell("control database", !old.control.connection.is_same_database(&new.control.connection));
    tell("workers", old.workers != new.workers);
    tell("logging", old.logging != new.logging);
    lines
}

fn zone_name(config: &Config) -> String {
    config.timezone.iana_name().map_or_else(|| format!("{:?}", config.timezone), str::to_owned)
}

/// Says of all things of one sort which were added, removed, or changed, and in what.
fn changes<N: Ord + Display, T: PartialEq>(
    sort: &str,
    old: &BTreeMap<N, T>,
    new: &BTreeMap<N, T>,
    details: impl Fn(&T, &T) -> Vec<String>,
    lines: &mut Vec<String>,
) {
    lines.extend(old.keys().filter(|name| !new.contains_key(name)).map(|name| format!("{sort} {name}: removed")));
    for (name, new) in new {
        match old.get(name) {
            None => lines.push(format!("{sort} {name}: added")),
            Some(old) if old == new => {}
            Some(old) => {
                let details = details(old, new);
                // What is told elsewhere, such as the window of an entry, leaves nothing to tell here.
                if !details.is_empty() {
                    lines.push(format!("{sort} {name}: {}", details.join(", ")));
                }
            }
        }
    }
}

/// `<key> <old> became <new>`, if it did.
fn change(key: &str, old: impl Display, new: impl Display) -> Vec<String> {
    let (old, new) = (old.to_string(), new.to_string());
    if old == new { Vec::new() } else { vec![format!("{key} {old} became {new}").trim_start().to_owned()] }
}

fn target_changes(old: &Target, new: &Target) -> Vec<String> {
    let mut details = Vec::new();
    if old.connection != new.connection {
        details.push("connection changed".to_owned());
    }
    details.extend(change("max_runs", old.max_runs, new.max_runs));
    if old.preset != new.preset {
        details.push("preset changed".to_owned());
    }
    details
}

fn job_changes(old: &Job, new: &Job) -> Vec<String> {
    let mut details = change("kind", &old.spec.kind, &new.spec.kind);
    if old.spec.with != new.spec.with {
        // Parameters may be long, and a statement may hold anything: their names are enough.
        details.push(format!("with {} changed", changed_keys(&old.spec.with, &new.spec.with)));
    }
    details.extend(change("timeout", shown(old.spec.timeout()), shown(new.spec.timeout())));
    details.extend(change("retries", old.spec.retries, new.spec.retries));
    details.extend(change("targets", list(&old.targets), list(&new.targets)));
    if details.is_empty() && old.spec.inner != new.spec.inner {
        details.push("a job inside it changed".to_owned());
    }
    details
}

fn changed_keys(old: &serde_json::Value, new: &serde_json::Value) -> String {
    let keys = |value: &serde_json::Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let mut names = [keys(old), keys(new)].into_iter().flatten().flatten().collect::<Vec<_>>();
    names.sort();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names.join(", ")
}

fn entry_changes(old: &Entry, new: &Entry) -> Vec<String> {
    let window = |entry: &Entry| entry.window.as_ref().map_or("none".to_owned(), |(name, _)| name.to_string());
    let mut details = change("job", &old.job, &new.job);
    if old.cadence != new.cadence {
        details.push(format!("{} became {}", old.cadence.describe(), new.cadence.describe()));
    }
    details.extend(change("window", window(old), window(new)));
    details.extend(change("jitter", shown(Some(old.jitter)), shown(Some(new.jitter))));
    details.extend(change("catch_up", old.catch_up.as_str(), new.catch_up.as_str()));
    details.extend(change("catch_up_limit", old.catch_up_limit, new.catch_up_limit));
    details.extend(change("overlap", old.overlap.as_str(), new.overlap.as_str()));
    details.extend(pause(old.paused, new.paused));
    details
}

fn reload_changes(old: &ReloadEntry, new: &ReloadEntry) -> Vec<String> {
    let mut details = change("job", &old.job, &new.job);
    details.extend(change("overlap", old.overlap.as_str(), new.overlap.as_str()));
    details.extend(pause(old.paused, new.paused));
    details
}

fn pause(old: Paused, new: Paused) -> Option<String> {
    match (old, new) {
        (Paused::No, Paused::Yes) => Some("paused".to_owned()),
        (Paused::Yes, Paused::No) => Some("no longer paused".to_owned()),
        (Paused::No, Paused::No) | (Paused::Yes, Paused::Yes) => None,
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or("none".to_owned(), |time| humantime::format_duration(time).to_string())
}

fn list<T: Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn entries(config: &Config) -> BTreeMap<String, Entry> {
    config.entries.iter().map(|entry| (entry.name.to_string(), entry.clone())).collect()
}

fn reload(config: &Config) -> BTreeMap<String, ReloadEntry> {
    config.reload.iter().map(|entry| (entry.name.to_string(), entry.clone())).collect()
}

/// The windows that some entry uses.
fn windows(config: &Config) -> BTreeMap<WindowName, Window> {
    config.entries.iter().filter_map(|entry| entry.window.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const OLD: &str = r#"
version: 1
targets:
  a: { url: "postgres://u:hunter2@h/a" }
  b: { url: "postgres://h/b" }
windows:
  night: { from: "01:00", to: "05:00" }
jobs:
  v: { kind: vacuum }
  w: { kind: vacuum, timeout: 1h, retries: 1 }
  s: { kind: sql, with: { statement: select 1 } }
schedules:
  daily:
    - { job: v, at: "02:00", window: night }
    - { job: w, at: "03:00" }
  reload:
    - { job: v }
"#;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes(), Path::new("f"), &|_| Err(std::env::VarError::NotPresent)).expect("good")
    }

    fn check(edits: &[(&str, &str)], changed: &[&str], restart: &[&str]) {
        let new = edits.iter().fold(OLD.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let (old, new) = (config(OLD), config(&new));
        assert_eq!(difference(&old, &new), changed);
        assert_eq!(needs_restart(&old, &new), restart);
    }

    #[test]
    fn nothing_is_told_where_nothing_changed() {
        check(&[], &[], &[]);
        check(&[("v: { kind: vacuum }", "v: {kind: vacuum, with: {}}")], &[], &[]);
    }

    #[test]
    fn every_change_is_one_line_without_secrets() {
        check(
            &[("hunter2", "hunter3")],
            &["target a: connection changed"],
            // New credentials for the same database are taken up at once.
            &[],
        );
        check(
            &[(
                "windows:",
                "defaults: { lease: 20s, shutdown_grace: 1m }\nrepositories: { r: { url: file:///srv/b } }\nwindows:",
            )],
            &["defaults: lease 30s became 20s", "defaults: shutdown_grace 8s became 1m", "repository r: added"],
            &[],
        );
        check(&[("h/b\"", "h/b\", max_runs: 5")], &["target b: max_runs 2 became 5"], &[]);
        check(
            &[("timeout: 1h, retries: 1", "timeout: 2h, retries: 9, targets: a")],
            &["job w: timeout 1h became 2h, retries 1 became 9, targets a b became a"],
            &[],
        );
        check(&[("select 1", "select 2")], &["job s: with statement changed"], &[]);
        check(&[("  s: {", "  t: {")], &["job s: removed", "job t: added"], &[]);
        check(
            &[("window: night", "jitter: 5m, catch_up: all, paused: true")],
            &[
                "window night: removed",
                "entry daily/v: window night became none, jitter 0s became 5m, catch_up once became all, paused",
            ],
            &[],
        );
        check(
            &[("    - { job: v }", "    - { job: v, overlap: queue }")],
            &["reload entry reload/v: overlap skip became queue"],
            &[],
        );
    }

    #[test]
    fn another_address_of_the_pages_is_told() {
        let change = ("version: 1", "version: 1\nhttp: { listen: off }");
        check(&[change], &["http: listen 127.0.0.1:7432 became off"], &[]);
    }

    #[test]
    fn a_changed_window_is_told_once_and_not_for_each_of_its_entries() {
        let (old, new) = (config(OLD), config(&OLD.replace("05:00", "06:00")));
        let lines = difference(&old, &new);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("window night: ") && lines[0].contains("06:00"), "{lines:?}");
    }

    #[test]
    fn what_cannot_change_while_running_waits_for_the_next_start() {
        check(
            &[("version: 1", "version: 1\nworkers: 5\ncontrol: b\nlogging: { level: debug }")],
            &[],
            &[
                "control database changed; takes effect at the next start",
                "workers changed; takes effect at the next start",
                "logging changed; takes effect at the next start",
            ],
        );
    }
}
