//! Whole files: what the good ones mean, and what the bad ones are told.

use std::env::VarError;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::problem::Problems;
use super::*;
use crate::calendar::CatchUp;

/// The canary: a password that must not turn up in any message.
const CANARY: &str = "hunter2-canary";

const HEAD: &str = "version: 1\ntargets: { db: { url: \"postgres://u@localhost/db\" } }\n";

fn variables(name: &str) -> Result<String, VarError> {
    match name {
        "DATABASE_URL" | "PGUPKEEP_CONTROL_URL" => Ok(format!("postgres://u:{CANARY}@localhost/mlflow")),
        "SHOP_PASSWORD" | "PGUPKEEP_CONTROL_PASSWORD" => Ok(format!("{CANARY}-2")),
        "NOT_A_URL" => Ok(format!("host=localhost password={CANARY}")),
        _ => Err(VarError::NotPresent),
    }
}

fn parse(text: impl AsRef<[u8]>) -> Result<Config, Problems> {
    Config::parse(text.as_ref(), Path::new("schedules.yaml"), &variables)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn problems(text: impl AsRef<[u8]>) -> Vec<String> {
    parse(text).expect_err("the file is refused").0.iter().map(ToString::to_string).collect()
}

/// The YAML examples of a text: Markdown, or Rust whose doc comments hold some.
fn examples(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        line.strip_prefix("/// ").or_else(|| line.strip_prefix("///")).unwrap_or(line)
    });
    let is_rust = text.contains("/// ```yaml");
    let lines: Vec<&str> = if is_rust { lines.collect() } else { text.lines().collect() };
    let mut examples = Vec::new();
    let mut open: Option<String> = None;
    for line in lines {
        match &mut open {
            None if line == "```yaml" => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => examples.extend(open.take()),
            Some(example) => {
                example.push_str(line);
                example.push('\n');
            }
        }
    }
    examples
}

/// Makes a whole file of an example: adds the sections that it does not have.
fn complete(example: &str) -> String {
    const REST: &[(&str, &str)] = &[
        ("version", "version: 1"),
        ("targets", "targets: { mlflow: { url: \"env:DATABASE_URL\" } }"),
        ("windows", "windows: { night: { from: \"01:00\", to: \"05:00\" } }"),
        (
            "jobs",
            "jobs: { vacuum-analyze: { kind: vacuum }, full: { kind: sequence, with: { jobs: [vacuum-analyze] } } }",
        ),
    ];
    let is_missing = |key: &str| !example.lines().any(|line| line.starts_with(&format!("{key}:")));
    REST.iter().filter(|(key, _)| is_missing(key)).fold(example.to_owned(), |text, (_, rest)| format!("{text}{rest}\n"))
}

#[test]
fn every_example_in_the_file_mirror_is_a_good_one() {
    let examples = examples(include_str!("file.rs"));
    assert!(examples.len() >= 13, "only {} examples were found", examples.len());
    for example in examples {
        good(&complete(&example));
    }
}

#[test]
fn every_example_in_the_documentation_is_a_good_one() {
    let examples = examples(include_str!("../../docs/configuration.md"));
    assert!(examples.len() >= 10, "only {} examples were found", examples.len());
    for example in examples {
        good(&complete(&example));
    }
}

#[test]
fn the_shipped_file_is_good_and_without_warnings() {
    let text = include_str!("../../schedules.yaml");
    assert!(text.starts_with("# yaml-language-server: $schema=docs/schedules.schema.json\n"));
    let config = good(text);
    assert_eq!(config.warnings, []);
    let names: Vec<_> = config.entries.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "daily/vacuum-analyze",
            "daily/backup",
            "weekly/vacuum-everything",
            "weekly/reindex",
            "monthly/archive",
            "monthly/prune-history",
            "quarterly/full",
            "cron/vacuum-analyze",
        ]
    );
    let full = config.jobs.values().find(|job| job.spec.name.as_str() == "full").expect("the sequence");
    assert_eq!(full.spec.inner.len(), 5);
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = good(&format!(
        "{HEAD}jobs: {{ v: {{ kind: vacuum }} }}\nschedules: {{ monthly: [{{ job: v, at: \"02:00\" }}] }}\n"
    ));
    assert_eq!(config.timezone.iana_name(), Some("UTC"));
    assert_eq!(config.control.target.as_ref().map(TargetName::as_str), Some("db"));
    assert_eq!((config.workers.get(), config.lease), (4, Duration::from_secs(30)));
    assert_eq!(config.shutdown_grace, Duration::from_secs(8));
    let target = config.targets.values().next().expect("a target");
    assert_eq!((target.max_runs.get(), target.preset), (2, None));
    let entry = &config.entries[0];
    assert_eq!((entry.jitter, entry.catch_up, entry.catch_up_limit), (Duration::ZERO, CatchUp::Once, 24));
    assert_eq!((entry.overlap, entry.paused, &entry.window), (Overlap::Skip, Paused::No, &None));
    let job = config.jobs.values().next().expect("a job");
    assert_eq!((job.spec.timeout_ms, job.targets.len()), (None, 1));
    assert_eq!(
        config.logging,
        Logging { level: "info".to_owned(), format: LogFormat::Text, stderr: Stderr::On, file: None }
    );
    assert_eq!(config.http.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:7432"));
}

#[test]
fn the_first_target_of_the_file_is_the_control_database() {
    let config = good("version: 1\ntargets: { z: { url: \"postgres://h/z\" }, a: { url: \"postgres://h/a\" } }\n");
    assert_eq!(config.control.target.as_ref().map(TargetName::as_str), Some("z"));
}

#[test]
fn windows_line_ends_a_byte_order_mark_unquoted_times_and_keys_without_a_value_are_fine() {
    good(&format!("\u{feff}{}", HEAD.replace('\n', "\r\n")));
    good(&format!("{HEAD}jobs: {{ v: {{ kind: vacuum }} }}\nschedules: {{ daily: [{{ job: v, at: 12:30 }}] }}\n"));
    good(&format!("{HEAD}jobs:\nschedules:\n  daily:\nwindows:\ndefaults:\nlogging:\ncontrol:\n"));
}

#[test]
fn a_statement_from_a_file_is_copied_into_the_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{HEAD}jobs: {{ clean: {{ kind: sql, with: {{ file: clean.sql }} }} }}\n");
    for written in ["delete from x\n", "\u{feff}delete from x\n"] {
        std::fs::write(folder.path().join("clean.sql"), written).expect("written");
        let config = Config::parse(text.as_bytes(), &folder.path().join("schedules.yaml"), &variables).expect("good");
        let job = config.jobs.values().next().expect("a job");
        assert_eq!(job.spec.with["statement"], "delete from x\n");
    }
}

#[test]
fn four_problems_are_told_in_one_pass_each_at_its_place() {
    let text = "\
version: 1
targets: { db: { url: \"postgres://u@localhost/db\" } }
jobs:
  clean: { kind: vacum }
  full:
    with:
      alwayz: true
    kind: vacuum
schedules:
  daily:
    - { job: ful, at: \"02:00\" }
  weekly:
    - job: full
      on: sunday
      at: \"25:00\"
";
    let problems = problems(text);
    let starts: Vec<_> =
        problems.iter().map(|problem| problem.splitn(5, ':').take(4).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(
        starts,
        [
            "schedules.yaml:4:18: jobs.clean.kind",
            "schedules.yaml:7:7: jobs.full.with.alwayz",
            "schedules.yaml:11:14: schedules.daily[0].job",
            "schedules.yaml:15:11: schedules.weekly[0].at",
        ]
    );
}

/// Bad files by title; what each is told stands in the snapshot.
const BAD_FILES: &[(&str, &str)] = &[
    ("an empty file", ""),
    ("only a comment", "# nothing\n"),
    ("a list at top level", "- version: 1\n"),
    ("a word at top level", "hello\n"),
    ("another version", "version: 2\ntargets: { db: { url: \"postgres://h/db\" } }\n"),
    ("a version in quotes", "version: \"1\"\ntargets: { db: { url: \"postgres://h/db\" } }\n"),
    ("nothing but an unknown key", "verzion: 1\n"),
    ("no target", "version: 1\ntargets: {}\n"),
    ("targets as a list", "version: 1\ntargets: [db]\n"),
    ("a target without url", "version: 1\ntargets: { db: { max_runs: 0, preset: mlfow } }\n"),
    (
        "targets without url beside other mistakes",
        "version: 1\ncontrol: { password: \"env:NOPE_X\" }\ntargets: { db: { password: \"env:NOPE_X\" }, e: { url: null, max_runs: 99 } }\n",
    ),
    ("a target that is a URL", "version: 1\ntargets: { db: \"postgres://u:hunter2-canary@h/db\" }\n"),
    ("a target that is nothing", "version: 1\ntargets:\n  db:\n"),
    ("a target's odd name", "version: 1\ntargets: { \" my db\": { url: \"postgres://h/db\" } }\n"),
    ("a variable that is not set", "version: 1\ntargets: { db: { url: \"env:DATABASE_URI\" } }\n"),
    ("a variable without a URL", "version: 1\ntargets: { db: { url: \"env:NOT_A_URL\" } }\n"),
    (
        "an unreadable secret file",
        "version: 1\ntargets: { db: { url: \"postgres://h/db\", password: \"file:/nowhere/x\" } }\n",
    ),
    ("a password that is a number", "version: 1\ntargets: { db: { url: \"postgres://h/db\", password: 12345678 } }\n"),
    (
        "a password without a colon",
        "version: 1\ntargets: { db: { url: \"postgres://h/db\", password hunter2-canary } }\n",
    ),
    (
        "a misspelt key of a target",
        "version: 1\ntargets: { db: { url: \"postgres://h/db\", pasword: hunter2-canary } }\n",
    ),
    ("a misspelt reference", "version: 1\ntargets: { db: { url: \"evn:DATABASE_URL\" } }\n"),
    ("a URL of another kind", "version: 1\ntargets: { db: { url: \"mysql://u:hunter2-canary@h/db\" } }\n"),
    (
        "a URL with an unknown option",
        "version: 1\ntargets: { db: { url: \"postgres://h/db?pasword=hunter2-canary\" } }\n",
    ),
    (
        "a control database that is no target",
        "version: 1\ncontrol: dv\ntargets: { db: { url: \"postgres://h/db\" } }\n",
    ),
    (
        "a control database without url",
        "version: 1\ncontrol: { password: x }\ntargets: { db: { url: \"postgres://h/db\" } }\n",
    ),
    ("tabs", "version: 1\ntargets:\n\tdb: { url: x }\n"),
    ("an open bracket", "version: 1\ntargets: { db: [ }\n"),
    ("an unquoted cron expression", "schedules:\n  cron:\n    - { job: x, cron: */5 * * * * }\n"),
    ("cron unquoted otherwise", "cron: * * * * *\n"),
    ("a name of a cron expression, unquoted", "cron: @daily\n"),
    (
        "lists for maps",
        "version: 1\ntargets: { db: [\"postgres://h/db\"] }\nlogging: { file: [a, daily, 1] }\ndefaults: [1s]\n",
    ),
    (
        "archives that are kept differently",
        "version: 1\ntargets: { dbs: { url: \"postgres://u@h/d\" }, db2: { url: \"postgres://u@h/e\" } }\njobs:\n  a: { kind: archive, with: { preset: mlflow, archive_keep: 1 year } }\n  b: { kind: archive, with: { preset: mlflow, scope: metric_history } }\n  c: { kind: archive, with: { preset: mlflow, scope: runs } }\n  d: { kind: archive, with: { table: public.t, where: x, age: at, archive_keep: 1 year } }\n  e: { kind: archive, with: { table: public.t, where: \" x\", archive_keep: 2 years } }\n  f: { kind: archive, with: { table: public.t, where: y } }\n  g: { kind: archive, with: { table: public.t, where: x, schema: other } }\n  h: { kind: archive, targets: db2, with: { preset: mlflow, scope: runs, archive_keep: 3 years } }\n  i: { kind: archive, targets: dbs, with: { preset: mlflow, scope: traces, archive_keep: 3 years } }\n  j: { kind: archive, targets: db2, with: { preset: mlflow, scope: traces, archive_keep: 4 years } }\n  k: { kind: archive, with: { preset: presets/mlflow.yaml, archive_keep: 2 years } }\n  l: { kind: archive, targets: db2, with: { preset: presets/mlflow.yaml, scope: experiments, schema: other } }\n",
    ),
    (
        "an archive that is kept for no calendar span, beside one that is kept",
        "version: 1\ntargets: { dbs: { url: \"postgres://u@h/d\" } }\njobs:\n  a: { kind: archive, with: { preset: mlflow, archive_keep: 1 year } }\n  b: { kind: archive, with: { preset: mlflow, archive_keep: 1440h } }\n",
    ),
    ("duplicate keys", "version: 1\njobs:\n  a: { kind: vacuum }\n  a: { kind: sql }\nversion: 1\n"),
    ("a merge key", "version: 1\njobs:\n  a: { <<: x, kind: vacuum }\n"),
    ("an anchor and its alias", "version: 1\njobs:\n  a: &a { kind: vacuum }\n  b: *a\n"),
    ("two documents", "version: 1\n---\nversion: 1\n"),
];

/// Bad rests of files whose head is good.
const BAD_RESTS: &[(&str, &str)] = &[
    ("an unknown zone", "timezone: Europe/Berln\n"),
    ("numbers out of bounds", "workers: 65\ndefaults: { retries: 101, catch_up_limit: 0 }\n"),
    ("numbers that are none", "workers: 017\ndefaults: { retries: -1, catch_up_limit: 1.5 }\n"),
    ("times out of bounds", "defaults: { jitter: 13h, timeout: 0s, shutdown_grace: 2h, lease: 500ms }\n"),
    ("times that are none", "defaults: { jitter: 5, timeout: 1M, shutdown_grace: soon, lease: [1s] }\n"),
    ("words that are none", "defaults: { catch_up: onze, overlap: true }\n"),
    ("a window that never opens", "windows: { w: { from: \"02:00\", to: \"02:00\" } }\n"),
    (
        "odd windows",
        "windows: { v: { from: 2, to: \"25:00\" }, w: { from: \"1:00\", to: \"02:00\", days: [sunnday] } }\n",
    ),
    ("an unknown kind", "jobs: { v: { kind: vaccum } }\n"),
    ("a kind not built yet", "jobs: { v: { kind: teleport } }\n"),
    ("a job without kind", "jobs: { v: { with: {}, tragets: db } }\n"),
    ("a job that is a word", "jobs: { v: vacuum }\n"),
    ("unknown parameters", "jobs: { v: { kind: vacuum, with: { allways: true, inclde: [x] } } }\n"),
    ("parameters that are a list", "jobs: { v: { kind: vacuum, with: [always] } }\n"),
    ("yes where true is meant", "jobs: { v: { kind: vacuum, with: { always: yes } } }\n"),
    ("unknown targets", "jobs: { v: { kind: vacuum, targets: [db, bd, db] }, w: { kind: vacuum, targets: dbb } }\n"),
    ("an unreadable statement file", "jobs: { s: { kind: sql, with: { file: /nowhere/x.sql } } }\n"),
    (
        "neither statement nor file",
        "jobs: { s: { kind: sql, with: { transaction: maybe } }, t: { kind: sql }, u: { kind: sql, with: { statement: 5 } } }\n",
    ),
    ("odd retention", "jobs: { p: { kind: prune_history, with: { older_than: 5m, keep_last: 0 } } }\n"),
    ("a backup without a place", "jobs: { b: { kind: backup } }\n"),
    ("a preset that is not there", "jobs: { a: { kind: archive, with: { preset: ./no.yaml, batch_rows: 0 } } }\n"),
    ("a preset that is none", "jobs: { a: { kind: archive, with: { preset: ./Cargo.toml } } }\n"),
    (
        "a scope that a preset has not",
        "jobs: { a: { kind: archive, with: { preset: presets/mlflow.yaml, scope: run } } }\n",
    ),
    (
        "several mistakes in one job",
        "jobs: { b: { kind: backup, with: { repository: x, jobs: 0, tols: 1, keep: { dayly: 1 } } }, q: { kind: sql, with: { file: nope.sql, transaction: insde, foo: 1 } } }\n",
    ),
    (
        "amounts without units",
        "jobs: { r: { kind: reindex, with: { bloat_over: 30, min_size: 10, evidence: [] } }, v: { kind: vacuum, with: { visibility: 2 } } }\n",
    ),
    (
        "odd repositories",
        "repositories: { a: { url: \"s3://bucket\" }, b: { url: backups }, c: { path: /x } }\njobs: { b: { kind: backup, with: { repository: d } } }\n",
    ),
    (
        "one of several repositories",
        "repositories: { a: { url: \"file:///a\" }, b: { url: \"file:///b\" } }\njobs: { b: { kind: backup, with: { keep: { daily: 0 } } } }\n",
    ),
    (
        "odd backups",
        "repositories: { a: { url: \"file:///a\" } }\njobs: { b: { kind: backup, with: { method: copy, jobs: 99, keep: { daily: 0, hourly: 1 } } } }\n",
    ),
    ("a statement twice", "jobs: { s: { kind: sql, with: { statement: select 1, file: x.sql } } }\n"),
    (
        "odd sequences",
        "jobs:\n  v: { kind: vacuum }\n  a: { kind: sequence, with: { jobs: [v, b, v, a, w] } }\n  b: { kind: sequence, with: { jobs: [] } }\n",
    ),
    ("an entry without job", "schedules: { daily: [{ at: \"02:00\" }] }\n"),
    (
        "an entry for an unknown job",
        "jobs: { vacuum-analyze: { kind: vacuum } }\nschedules: { reload: [{ job: vacuum-analyse }] }\n",
    ),
    ("a schedule that is no list", "schedules: { daily: { job: v } }\n"),
    ("an unknown cadence", "schedules: { yearly: [{ job: v }] }\n"),
    (
        "times of day that are none",
        "jobs: { v: { kind: vacuum } }\nschedules: { daily: [{ job: v, at: 2 }, { job: v, name: b, at: [\"02:00\", true] }, { job: v, name: c, at: [] }] }\n",
    ),
    (
        "days that are none",
        "jobs: { v: { kind: vacuum } }\nschedules:\n  weekly: [{ job: v, on: sontag, at: \"02:00\" }, { job: v, at: \"02:00\" }]\n  monthly: [{ job: v, on: 32, at: \"02:00\" }]\n  quarterly: [{ job: v, on: fifth monday, at: \"02:00\" }]\n",
    ),
    (
        "cron that is none, and cron that never fires",
        "jobs: { v: { kind: vacuum } }\nschedules: { cron: [{ name: a, job: v, cron: \"61 * * * *\" }, { name: b, job: v, cron: \"0 0 30 2 *\" }] }\n",
    ),
    (
        "ambiguous names",
        "jobs: { v: { kind: vacuum } }\nschedules:\n  daily:\n    - { job: v, at: \"02:00\" }\n    - { job: v, at: \"14:00\" }\n    - { job: v, at: \"15:00\", name: x }\n  reload:\n    - { job: v, name: x }\n",
    ),
    ("an odd name", "jobs: { v: { kind: vacuum } }\nschedules: { reload: [{ job: v, name: \" a b\" }] }\n"),
    (
        "an unknown window",
        "windows: { night: { from: \"01:00\", to: \"02:00\" } }\njobs: { v: { kind: vacuum } }\nschedules: { daily: [{ job: v, at: \"02:00\", window: nite, paused: no }] }\n",
    ),
    (
        "missing keys beside other mistakes",
        "windows: { w: { to: \"25:00\", days: [sunnday, sontag], timezone: X/Y }, x: { from: 5, to: \"5\" } }\njobs: { v: { targets: nope, timeout: 0s } }\nrepositories: { r: { path: /x } }\nschedules:\n  daily: [{ at: [\"25:00\", \"2\"], name: \" a\", window: nope }, { job: null, at: 2 }]\n  weekly: [{ job: qq, on: sontag, at: \"25:00\" }, { job: v, on: sontag }]\n  monthly: [{ job: qq, on: fri, window: nope, jitter: 5, catch_up: foo }]\n  cron: [{ job: qq, window: nope }, { cron: \"61 * * * *\" }]\n  reload: [{ name: \" b\", overlap: maybe }]\nlogging: { file: { keep: 0 } }\n",
    ),
    ("pages at no address", "http: { listen: localhost }\n"),
    ("log lines that go nowhere", "logging: { stderr: false }\n"),
    ("odd logging", "logging: { level: inof, format: yaml, file: { directory: \"\", rotation: weekly, keep: 0 } }\n"),
];

#[test]
fn every_bad_file_is_told_what_is_wrong_with_it() {
    let rests = BAD_RESTS.iter().map(|(title, rest)| (*title, format!("{HEAD}{rest}")));
    let files = BAD_FILES.iter().map(|(title, text)| (*title, (*text).to_owned()));
    let told: Vec<_> =
        files.chain(rests).map(|(title, text)| format!("{title}:\n  {}\n", problems(text).join("\n  "))).collect();
    let told = told.join("\n");
    assert!(!told.contains("hunter"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn a_password_in_the_file_is_warned_about_and_kept_secret() {
    let text = format!(
        "version: 1\ntargets:\n  a: {{ url: \"postgres://u:{CANARY}@h/a\" }}\n  b: {{ url: \"postgres://u@h/b\", password: {CANARY}-3 }}\n  c: {{ url: \"env:DATABASE_URL\" }}\njobs: {{ v: {{ kind: vacuum }} }}\n"
    );
    let config = good(&text);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
    let secrets: Vec<_> = config.secrets.iter().map(Secret::expose).collect();
    assert!(secrets.contains(&CANARY) && secrets.contains(&format!("{CANARY}-3").as_str()));
    assert!(!format!("{config:?}").contains("hunter"));
    assert!(!warnings.join("\n").contains("hunter"));
}

#[test]
fn two_targets_that_are_one_database_are_warned_about() {
    let config = good(
        "version: 1\ntargets:\n  a: { url: \"postgres://u@h/x\" }\n  b: { url: \"postgres://h/y\" }\n  c: { url: \"postgres://v:w@h/x\", password: \"env:SHOP_PASSWORD\" }\n",
    );
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    let warning = "schedules.yaml:5:3: targets.c: this is the database of the target `a`, too, and limits such as `max_runs` \
                   count for each target alone; expected one target for each database";
    assert!(warnings.contains(&warning.to_owned()), "{warnings:#?}");
    assert_eq!(warnings.iter().filter(|warning| warning.contains("the database of")).count(), 1, "{warnings:#?}");
}

#[test]
fn one_place_is_the_same_however_it_is_spelled() {
    let check = |one: &str, other: &str, expected: bool| {
        let at = |url: &str| Connection { url: Secret::new(url), password: None };
        assert_eq!(at(one).is_same_database(&at(other)), expected, "{one} {other}");
    };
    check("postgres://u@localhost/x", "postgresql://127.0.0.1:5432/x", true);
    check("postgres://u:p@[::1]/x", "postgres://localhost:5432/x", true);
    check("postgres://h/x", "postgres://h:5432/x", true);
    check("postgres://u@/x", "postgres://localhost/x", true);
    check("postgres://h/x", "postgres://h:5433/x", false);
    check("postgres://localhost/x", "postgres://h/x", false);
    check("postgres:///x?host=/run/a", "postgres:///x?host=/run/b", false);
}

#[test]
fn nonsense_of_any_size_is_refused_at_once() {
    let started = Instant::now();
    for text in
        ["x".repeat(5_000_000), "[".repeat(100_000), "a: {".repeat(100_000), "- ".repeat(400_000), "? ".repeat(400_000)]
    {
        assert!(!problems(&text).is_empty());
    }
    let many_keys = (0..60_000).map(|nth| format!("key{nth}: 1")).collect::<Vec<_>>().join("\n");
    assert!(!problems(&many_keys).is_empty());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn ten_thousand_jobs_and_entries_are_read_in_seconds() {
    let jobs = (0..10_000).map(|nth| format!("  j{nth}: {{kind: vacuum}}\n")).collect::<Vec<_>>().concat();
    let entries = (0..10_000).map(|nth| format!("  - {{job: j{nth}, at: 02:00}}\n")).collect::<Vec<_>>().concat();
    let started = Instant::now();
    let config = good(&format!("{HEAD}jobs:\n{jobs}schedules:\n daily:\n{entries}"));
    assert_eq!((config.jobs.len(), config.entries.len()), (10_000, 10_000));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let error = Config::load(Path::new("/nowhere/schedules.yaml"), &variables).expect_err("there is no such file");
    assert_eq!(
        error.to_string(),
        "cannot read the configuration file /nowhere/schedules.yaml: No such file or directory (os error 2); put schedules.yaml into this folder, or name it with --config"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_end_in_a_configuration_or_in_problems(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(Problems(problems)) = parse(&bytes) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn any_text_of_yaml_signs_ends_in_a_configuration_or_in_problems(text in "[ \\na-c:{}\\[\\]\"'&*!|>?,%@#~<\\-0-9\t]{0,200}") {
        if let Err(Problems(problems)) = parse(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn a_mutated_shipped_file_ends_in_a_configuration_or_in_problems(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[ \\n:{}\\[\\]\",a-z0-9\\-]{0,3}", 0usize..6), 1..8),
    ) {
        let mut text: Vec<char> = include_str!("../../schedules.yaml").chars().collect();
        for (at, insert, delete) in edits {
            let start = at.index(text.len());
            let end = (start + delete).min(text.len());
            text.splice(start..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(config) => prop_assert!(!config.targets.is_empty()),
            Err(Problems(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(!problem.to_string().contains(CANARY));
                    prop_assert!(!problem.message.contains("defect"), "{text}\n{problem}");
                }
            }
        }
    }
}
