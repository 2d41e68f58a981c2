//! `check` and `next`: what a file means, without any database.

use super::assert_said;
use super::documents::assert_documented;
use crate::support::*;

const YAML: &str = r#"
version: 1
timezone: Europe/Berlin
targets:
  one: { url: "postgres://u@localhost:1/one", preset: mlflow }
  two: { url: "postgres://u:hunter2@localhost:1/two" }
windows:
  night: { from: "03:00", to: "05:00" }
jobs:
  vacuum: { kind: vacuum }
  tidy: { kind: sql, targets: [two], with: { statement: "select 1" } }
schedules:
  daily: [{ job: vacuum, at: "02:30", window: night }]
  cron: [{ job: tidy, cron: "0 12 * * *", paused: true, timezone: UTC }]
  reload: [{ job: tidy }]
"#;

async fn say(yaml: &str, arguments: &[&str]) -> Said {
    pgupkeep(&ConfigFile::new(yaml).path(), arguments, &[]).await
}

#[tokio::test]
async fn check_sums_a_good_file_up() {
    let said = say(YAML, &["check"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said!(said.stdout, @r"
    schedules.yaml is good; times are Europe/Berlin unless an entry names another zone

    TARGET  PRESET  RUNS AT A TIME  LEDGER
    one  mlflow  2  here
    two  2

    JOB  KIND  TARGETS
    tidy  sql  two
    vacuum  vacuum  one, two

    ENTRY  JOB  WHEN  NEXT  UTC
    daily/vacuum  vacuum  daily at 02:30 Europe/Berlin  [local]  [instant]
    cron/tidy  tidy  cron 0 12 * * * UTC (paused)  [local]  [instant]
    reload/tidy  tidy  at every good reload
    ");
    assert_said!(said.stderr, @r"
    pgupkeep: warning: schedules.yaml:6:15: targets.two.url: the URL's password stands in this file, where everybody who may read it sees it; expected `url: env:NAME`, or a URL without it and `password: env:NAME`
    ");
    assert!(!said.stderr.contains("hunter2"));
}

#[tokio::test]
async fn check_tells_programs_the_same() {
    let said = say(YAML, &["check", "--json"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let answer = said.json();
    assert_documented("Checked", &answer);
    assert_documented("Job", &answer["jobs"][0]);
    assert_documented("Entry", &answer["entries"][0]);
    assert_documented("Problem", &answer["warnings"][0]);
    assert_eq!((&answer["ok"], &answer["timezone"]), (&true.into(), &"Europe/Berlin".into()));
    assert_eq!(answer["jobs"][1], serde_json::json!({ "job": "vacuum", "kind": "vacuum", "targets": ["one", "two"] }));
}

#[tokio::test]
async fn check_tells_every_problem_and_exits_with_78() {
    let bad = YAML.replace("kind: vacuum", "kind: vacum").replace("\"02:30\"", "\"25:00\"");
    let said = say(&bad, &["check"]).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""));
    assert_said!(said.stderr, @r#"
    pgupkeep: schedules.yaml:10:19: jobs.vacuum.kind: unknown kind `vacum`; expected one of `vacuum`, `reindex`, `archive`, `archive_restore`, `backup`, `sql`, `sequence`, `prune_history`; did you mean `vacuum`?
    pgupkeep: schedules.yaml:13:30: schedules.daily[0].at: "25:00" is not a time of day: expected "HH:MM" or "HH:MM:SS", 00:00 to 23:59:59
    "#);

    let said = say(&bad, &["check", "--json"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(78), ""));
    let answer = said.json();
    assert_documented("Checked", &answer);
    assert_eq!(answer["ok"], false);
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{answer}");
    for problem in problems {
        assert_documented("Problem", problem);
        assert!(problem["line"].as_u64().is_some() && problem["column"].as_u64().is_some(), "{problem}");
    }
    let kind = problems.iter().find(|problem| problem["path"] == "jobs.vacuum.kind").unwrap();
    assert_eq!(kind["suggestion"], "`vacuum`");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_a_problem_too() {
    let said = pgupkeep("/nowhere/schedules.yaml".as_ref(), &["check", "--json"], &[]).await;
    assert_eq!(said.code, Some(78));
    let answer = said.json();
    assert_documented("Checked", &answer);
    assert_eq!(answer["problems"][0]["line"], serde_json::Value::Null);
    for command in ["next", "history", "status", "migrate"] {
        let said = pgupkeep("/nowhere/schedules.yaml".as_ref(), &[command], &[]).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""), "{said:?}");
    }
}

#[tokio::test]
async fn next_prints_the_calendar_through_the_gap_of_spring() {
    let said = say(YAML, &["next", "--from", "2026-03-28T00:00:00Z", "--days", "2"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    // Not through the usual filters: the instants are the point.
    insta::assert_snapshot!(said.stdout, @r"
    DUE                            UTC                   ENTRY         JOB     TARGETS   REMARK
    Sat 2026-03-28 02:30:00+01:00  2026-03-28 01:30:00Z  daily/vacuum  vacuum  one, two  window night until Sat 2026-03-28 05:00:00+01:00; waits until Sat 2026-03-28 03:00:00+01:00
    Sat 2026-03-28 13:00:00+01:00  2026-03-28 12:00:00Z  cron/tidy     tidy    two       paused: it is recorded as skipped
    Sun 2026-03-29 03:00:00+02:00  2026-03-29 01:00:00Z  daily/vacuum  vacuum  one, two  window night until Sun 2026-03-29 05:00:00+02:00
    Sun 2026-03-29 14:00:00+02:00  2026-03-29 12:00:00Z  cron/tidy     tidy    two       paused: it is recorded as skipped
    ");
}

#[tokio::test]
async fn next_tells_programs_the_same() {
    let said = say(YAML, &["next", "--from", "2026-03-28T00:00:00Z", "--days", "1", "--job", "vacuum", "--json"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let answer = said.json();
    assert_documented("Firing", &answer[0]);
    assert_eq!(
        answer,
        serde_json::json!([{
            "due_at": "2026-03-28T01:30:00.000000Z",
            "due_local": "2026-03-28T02:30:00+01:00",
            "entry": "daily/vacuum",
            "job": "vacuum",
            "targets": ["one", "two"],
            "window": "night",
            "starts_at": "2026-03-28T02:00:00.000000Z",
            "closes_at": "2026-03-28T04:00:00.000000Z",
            "paused": false,
        }])
    );
}

#[tokio::test]
async fn next_stops_at_its_limit_and_says_so() {
    let said = say(YAML, &["next", "--limit", "2", "--json"]).await;
    assert_eq!(said.code, Some(0));
    assert_eq!(said.json().as_array().unwrap().len(), 2);
    assert_eq!(said.stderr, "pgupkeep: only the first 2 firings are shown; raise --limit to see more\n");
    let due: Vec<String> = say(YAML, &["next", "--json"])
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|firing| firing["due_at"].as_str().unwrap().to_owned())
        .collect();
    assert!(due.is_sorted() && due.len() == 14, "{due:?}");
}

#[tokio::test]
async fn an_every_second_entry_does_not_make_next_slow() {
    let yaml = YAML.replace("0 12 * * *", "* * * * * *");
    let started = std::time::Instant::now();
    let said = say(&yaml, &["next", "--days", "3660", "--json"]).await;
    assert_eq!(said.json().as_array().unwrap().len(), 1000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn wrong_usage_exits_with_64_and_says_what_was_meant() {
    let check = async |arguments: &[&str], expected: &str| {
        let said = say(YAML, arguments).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(64), ""), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(expected), "{arguments:?}: {said:?}");
    };
    check(&[], "Usage").await;
    check(&["nxt"], "'next'").await;
    check(&["next", "--days", "0"], "1..=3660").await;
    check(&["next", "--from", "yesterday"], "--from").await;
    check(&["next", "--job", "vacum"], "there is no job `vacum`; did you mean `vacuum`?").await;
    check(&["next", "--job", "\u{1b}[31m\n"], "expected one of `tidy`, `vacuum`").await;
    check(&["plan"], "<JOB>").await;
    check(&["plan", "vacum"], "did you mean `vacuum`?").await;
    check(&["plan", "tidy", "--target", "three"], "there is no target `three`").await;
    check(&["plan", "tidy", "--target", "one"], "the job `tidy` is not for the target `one`; expected `two`").await;
    check(&["run", "'; drop table x; --"], "there is no job").await;
    check(&["run", "tidy", "--watch", "--local"], "cannot be used with").await;
    check(&["history", "--outcome", "suceeded"], "'succeeded'").await;
    check(&["history", "--outcome", "x"], "possible values: succeeded, partial, failed").await;
    check(&["history", "--limit", "0"], "--limit").await;
    check(&["history", "--run", "xyz"], "a run's id").await;
    check(&["cancel"], "<RUN>").await;
    check(&["cancel", "$(reboot)"], "a run's id").await;
}

#[tokio::test]
async fn help_and_version_are_answers() {
    for arguments in [&["--help"][..], &["--version"], &["help", "run"], &["next", "--help"]] {
        let said = say(YAML, arguments).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!said.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let config = ConfigFile::new(YAML);
    let command = format!(
        "'{}' --config '{}' next --days 3000 | head -1",
        env!("CARGO_BIN_EXE_pgupkeep"),
        config.path().display()
    );
    let output = tokio::process::Command::new("bash").args(["-o", "pipefail", "-c", &command]).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked") && !stderr.contains("roken pipe"), "{stderr}");
}
