//! `history` and `status`, and what reading commands do when the ledger is absent, too new, away or not ours to see.

use super::documents::assert_documented;
use super::{Bench, JOBS, assert_said};
use crate::support::*;

const READING: &[&[&str]] =
    &[&["history"], &["history", "--json"], &["status"], &["status", "--json"], &["cancel", "abc"]];

#[tokio::test]
async fn without_a_ledger_reading_says_so_and_makes_none() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    for arguments in READING {
        let said = bench.expect(1, arguments).await;
        assert_eq!(said.stdout, "", "{arguments:?}");
        assert!(said.stderr.contains("the control database holds no ledger yet; run `pgupkeep migrate`"), "{said:?}");
    }
    let schemas = bench.column("select count(*)::text from pg_namespace where nspname = 'pgupkeep'").await;
    assert_eq!(schemas, ["0"]);
}

#[tokio::test]
async fn a_ledger_newer_than_the_program_is_left_alone() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["migrate"]).await;
    bench
        .execute(
            "insert into pgupkeep.migration (version, description, success, checksum, execution_time)
             values (9999, 'from the future', true, '', 0)",
        )
        .await;
    for arguments in READING.iter().chain(&[&["run", "tidy"][..], &["run", "tidy", "--local"], &["migrate"]]) {
        let said = bench.expect(1, arguments).await;
        assert!(said.stderr.contains("the ledger has version 9999, newer than the"), "{arguments:?}: {said:?}");
    }
    let said = bench.expect(1, &["daemon"]).await;
    assert!(said.stderr.contains("update pgupkeep to the release that made this ledger"), "{said:?}");
    assert_eq!(bench.column("select count(*)::text from pgupkeep.run").await, ["0"]);
}

#[tokio::test]
async fn a_control_database_that_is_away_is_told_at_once_and_exits_with_69() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.cluster.stop(StopMode::Fast).await;
    let started = std::time::Instant::now();
    for arguments in READING.iter().chain(&[&["run", "tidy"][..], &["migrate"]]) {
        let said = bench.expect(69, arguments).await;
        assert_eq!(said.stdout, "", "{arguments:?}");
        assert!(said.stderr.contains("the control database: "), "{arguments:?}: {said:?}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(40), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_login_that_is_refused_exits_with_69() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    let url = bench.url.replace(&bench.database, "no_such_database");
    let said = pgupkeep(&bench.config.path(), &["history"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(said.code, Some(69));
    assert_said!(said.stderr, @r#"
    pgupkeep: the control database: cannot connect to 127.0.0.1:[port] as postgres: database "no_such_database" does not exist (SQLSTATE 3D000)
    pgupkeep: check user, password, database and pg_hba.conf for this url
    "#);
    // A daemon does not wait for it either, and does not say that it does.
    let said = pgupkeep(&bench.config.path(), &["daemon"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(said.code, Some(69), "{said:?}");
    assert!(said.stderr.contains("the control database refuses us"), "{said:?}");
    assert!(said.stderr.contains("pgupkeep cannot start") && !said.stderr.contains("waiting for it"), "{said:?}");
}

#[tokio::test]
async fn looking_and_cancelling_go_on_while_the_file_is_being_edited() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["run", "tidy"]).await;
    bench.config.rewrite(&JOBS.replace("kind: vacuum", "kind: vacum").replace("daily:", "dayly:"));
    for arguments in [&["status"][..], &["history"], &["cancel", "0"]] {
        let said = bench.expect(0, arguments).await;
        assert!(said.stdout.contains("tidy"), "{arguments:?}: {said:?}");
        assert!(
            said.stderr.contains("schedules.yaml has 2 mistakes, see `pgupkeep check`; "),
            "{arguments:?}: {said:?}"
        );
    }
    assert_eq!(bench.expect(0, &["status", "--json"]).await.json()["entries"], serde_json::json!([]));
    bench.expect(78, &["check"]).await;
    // Mistakes that leave open where the ledger is are refused: it could be another one.
    for (good, bad) in
        [("\njobs:", "\nkontrol: main\njobs:"), ("{ url:", "{ max_run: 1, url:"), ("version: 1", "version: 2")]
    {
        bench.config.rewrite(&JOBS.replace(good, bad));
        assert_eq!(bench.expect(78, &["history"]).await.stdout, "", "{bad}");
    }
}

#[tokio::test]
async fn an_empty_history_says_so() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["migrate"]).await;
    assert_eq!(bench.expect(0, &["history"]).await.stdout, "no run is on record yet\n");
    assert_eq!(bench.expect(0, &["history", "--job", "x"]).await.stdout, "no run matches\n");
    assert_eq!(bench.expect(0, &["history", "--json"]).await.json(), serde_json::json!([]));
    let said = bench.expect(0, &["status"]).await;
    assert_said!(said.stdout, @r"
    no daemon is up: nothing is planned or started until `pgupkeep daemon` runs

    TARGET  STATE  SERVER  DATABASE  SIZE  MLFLOW SCHEMA
    main  primary  [version]  [database]  [size]

    ENTRY  JOB  WHEN  NEXT DUE  REMARK
    daily/tidy  tidy  daily at 02:00 Europe/Berlin  [instant]  no daemon has taken it up yet

    no run is on record yet
    ");
}

#[tokio::test]
async fn history_shows_runs_newest_first_and_filters_them() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["run", "tidy", "--local"]).await;
    bench.expect(2, &["run", "half", "--local"]).await;
    bench.expect(0, &["run", "tidy"]).await;
    assert_said!(bench.expect(0, &["history"]).await.stdout, @r"
    DUE  JOB  TARGET  TRIGGER  OUTCOME  TOOK  ATTEMPTS  BYTES  RUN  REMARK
    [instant]  tidy  main  manual  queued  0  [id]
    [instant]  half  main  manual  partial  [took]  1  [id]  broken (2 of 2): select 1/0: division by zero (SQLSTATE 22012)
    [instant]  tidy  main  manual  succeeded  [took]  1  [id]
    ");
    assert_said!(bench.expect(0, &["history", "--job", "half", "--steps"]).await.stdout, @r"
    [id] half on main, manual, due [instant], took [took]: partial: broken (2 of 2): select 1/0: division by zero (SQLSTATE 22012)
      attempt 1 at [instant]: partial, 1 of 2 steps: broken (2 of 2): select 1/0: division by zero (SQLSTATE 22012)
      done: delete from junk, 0 rows
      begin;set local pgupkeep.ended = off; delete from junk ;select where coalesce(nullif(pg_catalog.curr...
      done: tidy (1 of 2)
      failed: select 1/0: division by zero (SQLSTATE 22012)
      begin;set local pgupkeep.ended = off; select 1/0 ;select where coalesce(nullif(pg_catalog.current_se...
    ");

    let jobs = async |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["history", "--json"], arguments].concat();
        let runs = bench.expect(0, &arguments).await.json();
        runs.as_array().unwrap().iter().map(|run| run["job"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(jobs(&[]).await, ["tidy", "half", "tidy"]);
    assert_eq!(jobs(&["--job", "half"]).await, ["half"]);
    assert_eq!(jobs(&["--target", "other"]).await, [] as [&str; 0]);
    assert_eq!(jobs(&["--outcome", "succeeded"]).await, ["tidy"]);
    assert_eq!(jobs(&["--limit", "1"]).await, ["tidy"]);
    assert_eq!(jobs(&["--job", "'; drop table pgupkeep.run; --"]).await, [] as [&str; 0]);

    let runs = bench.expect(0, &["history", "--json"]).await.json();
    let run = &runs[1];
    for field in [
        "run_id",
        "job",
        "kind",
        "target",
        "trigger",
        "outcome",
        "due_at",
        "started_at",
        "finished_at",
        "attempts",
        "error",
    ] {
        assert!(run.get(field).is_some(), "{field} is promised: {run}");
    }
    assert!(run.get("steps").is_none());
    let id = run["run_id"].as_str().unwrap();
    let one = bench.expect(0, &["history", "--json", "--run", id]).await.json();
    assert_documented("Run", &one[0]);
    assert_documented("Attempt", &one[0]["attempts_detail"][0]);
    assert_documented("Step", &one[0]["steps"][0]);
    assert_eq!(bench.expect(0, &["history", "--json", "--steps", "--job", "half"]).await.json(), one);
    for instant in ["due_at", "started_at", "finished_at"] {
        let text = run[instant].as_str().unwrap();
        assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    }
}

#[tokio::test]
async fn status_shows_daemons_targets_entries_and_what_is_active() {
    let yaml = JOBS.replace(
        "main: { url: \"env:DATABASE_URL\" }",
        "main: { url: \"env:DATABASE_URL\", preset: mlflow }\n  gone: { url: \"postgres://u@127.0.0.1:9/gone\" }",
    );
    let Some(bench) = Bench::start(&yaml).await else { return };
    bench
        .execute("create table alembic_version (version_num varchar(32)); insert into alembic_version values ('2a1d')")
        .await;
    let mut daemon = bench.daemon().await;
    bench.expect(0, &["run", "slow", "--target", "main"]).await;
    bench.wait_for_work("pg_sleep(60)").await;
    bench.expect(0, &["run", "slow", "--target", "main"]).await;

    let status = bench.expect(0, &["status", "--json"]).await.json();
    assert_documented("Status", &status);
    assert_documented("Daemon", &status["daemons"][0]);
    assert_documented("Entry", &status["entries"][0]);
    assert_documented("JobState", &status["jobs"][0]);
    let target =
        |name: &str| status["targets"].as_array().unwrap().iter().find(|target| target["target"] == name).unwrap();
    assert_documented("TargetState", target("main"));
    assert_eq!((&target("main")["role"], &target("main")["mlflow_revision"]), (&"primary".into(), &"2a1d".into()));
    assert_documented("TargetState", target("gone"));
    assert_eq!((&target("gone")["reachable"], &target("gone")["role"]), (&false.into(), &serde_json::Value::Null));
    assert!(target("gone")["error"].as_str().unwrap().contains("cannot connect to 127.0.0.1:"));
    let (working, waiting) = (&status["active"][0], &status["active"][1]);
    assert_documented("ActiveRun", working);
    assert_documented("ActiveRun", waiting);
    assert_eq!((&working["state"], &waiting["state"]), (&"running".into(), &"queued".into()));
    assert_eq!(waiting["blocked_by"], working["run_id"]);
    assert!(status["entries"][0]["cursor_at"].is_string(), "{status}");

    assert_said!(bench.expect(0, &["status"]).await.stdout, @r"
    DAEMON  VERSION  PID  UP SINCE
    [id]  0.1.0  [pid]  [instant]

    TARGET  STATE  SERVER  DATABASE  SIZE  MLFLOW SCHEMA
    gone  cannot connect to 127.0.0.1:[port] as u: Connection refused (os error 111)
    main  primary  [version]  [database]  [size]  2a1d

    ENTRY  JOB  WHEN  NEXT DUE  REMARK
    daily/tidy  tidy  daily at 02:00 Europe/Berlin  [instant]

    JOB  TARGET  LAST  DUE  LAST SUCCESS  QUEUED  RUNNING  REMARK
    slow  main  queued  [instant]  1  1

    RUN  JOB  TARGET  STATE  SINCE  REMARK
    [id]  slow  main  running  [instant]
    [id]  slow  main  queued  [instant]  waits for run [id]
    ");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit(std::time::Duration::from_secs(40)).await;
}

#[tokio::test]
async fn a_run_that_waits_for_its_window_says_until_when() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["run", "tidy"]).await;
    bench.expect(0, &["run", "broken"]).await;
    bench
        .execute(
            "update pgupkeep.run set eligible_at = '2999-01-01 01:00:00Z',
                    closes_at = case job when 'tidy' then timestamptz '2999-01-01 05:00:00Z' end",
        )
        .await;
    let status = bench.expect(0, &["status", "--json"]).await.json();
    let reasons = ["tidy", "broken"].map(|job| {
        let active = status["active"].as_array().unwrap();
        active.iter().find(|run| run["job"] == job).unwrap()["reason"].as_str().unwrap().to_owned()
    });
    let windowed = "waits until 2999-01-01 01:00:00Z; its window closes at 2999-01-01 05:00:00Z";
    assert_eq!(reasons, [windowed, "waits until 2999-01-01 01:00:00Z"]);
    let said = bench.expect(0, &["status"]).await;
    assert!(said.stdout.contains(windowed), "{said:?}");
}

#[tokio::test]
async fn a_reader_that_was_granted_the_views_reads_the_history() {
    let Some(bench) = Bench::start(JOBS).await else { return };
    bench.expect(0, &["run", "tidy", "--local"]).await;
    bench
        .execute(
            "create role reader login; grant usage on schema pgupkeep to reader;
             grant select on pgupkeep.history, pgupkeep.overview to reader",
        )
        .await;
    let url = bench.url.replace("postgres@", "reader@");
    let say = async |arguments: &[&str]| pgupkeep(&bench.config.path(), arguments, &[("DATABASE_URL", &url)]).await;
    let said = say(&["history", "--json"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(said.json()[0]["outcome"], "succeeded");
    // What the views do not show is refused with the reason.
    let said = say(&["history", "--steps"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_said!(said.stderr, @r"
    pgupkeep: the control database: permission denied for table attempt (SQLSTATE 42501)
    pgupkeep: grant the role what the message names; `pgupkeep doctor` shows what else is missing
    ");
    let said = say(&["run", "tidy"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("permission denied"), "{said:?}");

    bench.execute("grant select on all tables in schema pgupkeep to reader").await;
    for arguments in [&["history", "--steps"][..], &["status"]] {
        let said = say(arguments).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    }
    let said = say(&["cancel", "0"]).await;
    assert_ne!(said.code, Some(0), "{said:?}");
}
