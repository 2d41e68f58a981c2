//! Tables of facts and what is found in them.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::clocks::{judge_clock, judge_clocks, judge_zone, moments};
use super::finding::Level::{Error, Note, Ok, Warning};
use super::finding::{Check, Finding, Level};
use super::grant_script::{Ledger, Place, script};
use super::probe::{Archival, Moves, Probed, Refusal};
use super::rights::{judge_job, judge_ledger_rights, needs};
use super::server::{judge_pooler, judge_server, literal};
use super::{exit_of, judge_daemons};
use crate::cli::exit::Exit;
use crate::jobs::archive::rule::Use;
use crate::jobs::{JOB_KINDS, JobSpec};
use crate::names::JobName;
use crate::pg::inspect::{Closed, Database, Facts, Holder, LedgerFacts, ServerFacts, Setting, SettingsArrive, Table};
use crate::pg::pooler::Pooler;
use crate::pg::statement::Qualified;

/// A server on which nothing is wrong.
fn healthy() -> Facts {
    let server = ServerFacts {
        version: 160_004,
        version_text: "16.4".to_owned(),
        in_recovery: false,
        database: "app".to_owned(),
        role: "upkeep".to_owned(),
        is_superuser: false,
        sees_all: true,
        reads_all: false,
        reads_hashes: false,
        may_create: true,
        may_use_temporary: true,
        autovacuum: true,
        track_counts: true,
        fsync: true,
        full_page_writes: true,
        read_only: false,
        maintenance_work_mem: 64 * 1024 * 1024,
        slots_unlimited: true,
        slots: 0,
        xid_age: 1000.0,
        xid_max: 200_000_000.0,
        multixact_age: 0.0,
        multixact_max: 400_000_000.0,
    };
    Facts {
        server,
        settings_arrive: SettingsArrive::Yes,
        clock_ahead: (0.1, 0.1),
        settings: Vec::new(),
        tables: Vec::new(),
        invalid_indexes: Vec::new(),
        databases: Vec::new(),
        holders: Vec::new(),
        ledger: LedgerFacts { present: false, owner: None, usable: true, closed: Vec::new(), relations: Vec::new() },
        offsets: Some(Vec::new()),
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = healthy();
    change(&mut facts);
    facts
}

fn table(name: &str, owner: &str) -> Table {
    Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        owner_is_superuser: owner == "postgres",
        permitted: false,
        owned: false,
        schema_open: true,
        indexes: vec![format!("{name}_pkey")],
        autovacuum_off: false,
    }
}

fn holder(sort: &str, name: &str) -> Holder {
    Holder {
        sort: sort.to_owned(),
        name: name.to_owned(),
        database: Some("app".to_owned()),
        role: Some("reader".to_owned()),
        application: None,
        seconds: Some(7200.0),
        bytes: Some(1024 * 1024),
    }
}

fn job(kind: &str, with: Value, inner: Vec<JobSpec>) -> JobSpec {
    let name = JobName::parse(&format!("a-{}", kind.replace('_', "-"))).expect("a name");
    JobSpec { name, kind: kind.to_owned(), with, timeout_ms: None, retries: 0, inner }
}

/// Everything that a server with this change has, beyond what a healthy one has.
fn beyond_healthy(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let usual = judge_server(&healthy());
    judge_server(&with(change)).into_iter().filter(|finding| !usual.contains(finding)).collect()
}

#[test]
fn a_dump_needs_every_database_and_all_that_is_in_them() {
    let database = |name: &str, permitted| Database { name: name.to_owned(), permitted, open_to_all: permitted };
    let names = [("app", true), ("we\"ird", false), ("scratch_1", false), ("rdsadmin", false)];
    let facts = with(|facts| facts.databases = names.map(|(name, permitted)| database(name, permitted)).to_vec());
    let backup = job("backup", json!({ "exclude": ["scratch_*"] }), Vec::new());
    let closed = |name: &str, by: &str| Closed { name: name.to_owned(), by: by.to_owned(), to_us: true };
    let check = |found: Result<Vec<Closed>, String>, facts: &Facts, expected: &[(Level, &str)]| {
        let probed = Probed { closed: [("app".to_owned(), found)].into(), ..Probed::default() };
        let findings = judge_job(&backup, facts, &probed);
        let told: Vec<(Level, &str)> = findings.iter().map(|finding| (finding.level, finding.sql.as_str())).collect();
        assert_eq!(told, expected, "{findings:#?}");
    };
    let connect = (Error, "GRANT CONNECT ON DATABASE \"we\"\"ird\" TO \"upkeep\";");
    let hashes = (Note, "GRANT pg_read_all_data TO \"upkeep\";");
    let read = "GRANT pg_read_all_data TO \"upkeep\";\nALTER ROLE \"upkeep\" BYPASSRLS;";
    let both = vec![closed("\"public\".\"t\"", "right"), closed("\"public\".\"u\"", "row_security")];
    check(Result::Ok(both), &facts, &[(Error, read), connect, hashes]);
    let objects = "SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, 'upkeep') FROM pg_catalog.pg_largeobject_metadata \\gexec";
    check(Result::Ok(vec![closed("3 large objects", "large_objects")]), &facts, &[(Error, objects), connect, hashes]);
    let to_others = |name: &str, by: &str| Closed { to_us: false, ..closed(name, by) };
    let others = || vec![to_others("\"public\".\"u\"", "row_security"), to_others("1 large object", "large_objects")];
    check(Result::Ok(others()), &facts, &[connect, hashes]);
    check(Err("gone".to_owned()), &facts, &[(Error, ""), connect, hashes]);
    check(Result::Ok(Vec::new()), &facts, &[connect, hashes]);
    let open = Facts { databases: vec![database("app", true)], ..facts.clone() };
    check(Result::Ok(Vec::new()), &open, &[(Ok, ""), hashes]);
    let superuser =
        Facts { server: ServerFacts { is_superuser: true, reads_hashes: true, ..facts.server.clone() }, ..open };
    check(Result::Ok(Vec::new()), &superuser, &[(Ok, "")]);

    let probed = Probed { closed: [("app".to_owned(), Result::Ok(others()))].into(), ..Probed::default() };
    let jobs = vec![&backup];
    let place = Place { name: "app".to_owned(), facts: &facts, probed: &probed, jobs, ledger: Ledger::Elsewhere };
    let script = script(&[place]);
    assert!(script.contains("GRANT CONNECT ON DATABASE \"we\"\"ird\" TO \"pgupkeep\";"), "{script}");
    assert!(!script.contains("scratch_1"), "{script}");
    assert!(script.contains("\nALTER ROLE \"pgupkeep\" BYPASSRLS;\n-- \"app\" holds large objects"), "{script}");
    assert!(script.contains(r"-- SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, 'pgupkeep')"), "{script}");
}

#[test]
fn an_archival_of_one_table_is_granted_what_it_uses() {
    let archive = job("archive", json!({ "table": "\"s.x\".\"t\"\"1\"", "age": "at", "reindex": false }), Vec::new());
    let facts = with(|facts| {
        facts.server.version = 170_000;
        facts.tables = vec![Table { schema: "s.x".to_owned(), ..table("t\"1", "app") }];
    });
    let uses = vec![(Qualified::new("s.x", "t\"1"), Use::Moves), (Qualified::new("other", "refers"), Use::Reads)];
    let moves = Moves { uses, application: None, is_made: false };
    let handover = vec!["ALTER SCHEMA archive OWNER TO pgupkeep;".to_owned()];
    let known = Archival { moves: Result::Ok(moves), foreign: Vec::new(), handover };
    let probed = Probed { archives: [(archive.name.clone(), known)].into(), ..Probed::default() };
    let findings = judge_job(&archive, &facts, &probed);
    let told: Vec<(Level, &str)> = findings.iter().map(|finding| (finding.level, finding.sql.as_str())).collect();
    assert_eq!(told, [(Ok, ""), (Error, "GRANT MAINTAIN ON TABLE \"s.x\".\"t\"\"1\" TO \"upkeep\";")]);

    let jobs = vec![&archive];
    let place = Place { name: "app".to_owned(), facts: &facts, probed: &probed, jobs, ledger: Ledger::Elsewhere };
    let script = script(&[place]);
    let lines: Vec<&str> = script.lines().filter(|line| line.contains("s.x") || line.contains("refers")).collect();
    assert_eq!(
        lines,
        [
            "GRANT USAGE ON SCHEMA \"s.x\" TO \"pgupkeep\";",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON \"s.x\".\"t\"\"1\" TO \"pgupkeep\";",
            "GRANT SELECT ON \"other\".\"refers\" TO \"pgupkeep\";",
            "GRANT MAINTAIN ON TABLE \"s.x\".\"t\"\"1\" TO \"pgupkeep\";",
        ]
    );
    assert!(script.contains("ALTER SCHEMA archive OWNER TO pgupkeep;"), "{script}");
}

#[test]
fn an_archival_that_would_refuse_is_an_error_with_its_words() {
    let archive = job("archive", json!({ "table": "t", "age": "at" }), Vec::new());
    let refused = |is_of_rights| {
        Err(Refusal { message: "rights are missing on public.t: GRANT SELECT ON ..".to_owned(), is_of_rights })
    };
    let known = Archival { moves: refused(true), foreign: Vec::new(), handover: Vec::new() };
    let mut probed = Probed { archives: [(archive.name.clone(), known)].into(), ..Probed::default() };
    let facts = with(|facts| (facts.server.may_create, facts.server.may_use_temporary) = (false, false));
    let findings = judge_job(&archive, &facts, &probed);
    assert!(findings.iter().all(|finding| finding.level == Error), "{findings:#?}");
    assert!(findings[0].found.ends_with("rights are missing on public.t: GRANT SELECT ON .."), "{findings:#?}");
    assert_eq!(findings[1].sql, "GRANT CREATE, TEMPORARY ON DATABASE \"app\" TO \"upkeep\";");

    // What else is missing may come.
    probed.archives.values_mut().for_each(|known| known.moves = refused(false));
    assert_eq!(judge_job(&archive, &facts, &probed)[0].level, Warning);

    let others = "ALTER SCHEMA archive OWNER TO upkeep;";
    probed.archives.values_mut().for_each(|known| known.foreign = vec![others.to_owned()]);
    let findings = judge_job(&archive, &facts, &probed);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.level, finding.sql.as_str()), (Error, others));
}

#[test]
fn a_rebuild_takes_the_owner_of_the_table_whose_index_is_meant() {
    let check = |with_: Value, level: Level, sql: &str| {
        let facts = with(|facts| {
            facts.server.version = 180_000;
            facts.tables =
                vec![Table { permitted: true, ..table("t", "app") }, Table { owned: true, ..table("u", "me") }];
        });
        let findings = judge_job(&job("reindex", with_, Vec::new()), &facts, &Probed::default());
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!((finding.level, finding.sql.as_str()), (level, sql), "{finding:#?}");
    };
    check(json!({}), Error, "GRANT \"app\" TO \"upkeep\";");
    check(json!({ "include": ["public.t_pk*"] }), Error, "GRANT \"app\" TO \"upkeep\";");
    check(json!({ "include": ["u_pkey"] }), Ok, "");
    check(json!({ "exclude": ["t_pkey"] }), Ok, "");
}

#[test]
fn a_healthy_server_is_ok_and_nothing_else() {
    let findings = judge_server(&healthy());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].level, Ok);
    assert_eq!(findings[0].found, r#"PostgreSQL 16.4, primary, database "app", as "upkeep""#);
}

#[test]
fn each_thing_that_is_wrong_with_a_server_is_told_at_its_level_with_what_helps() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), expected: (Level, Check, &str), sql: &str) {
        let findings = beyond_healthy(change);
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert!(finding.found.contains(expected.2), "{finding:#?}");
        assert_eq!((finding.level, finding.check), (expected.0, expected.1), "{finding:#?}");
        assert!(finding.sql.contains(sql) && finding.sql.is_empty() == sql.is_empty(), "{finding:#?}");
        assert!(!finding.why.is_empty());
    }
    let setting = |place: &str, name: &str, value: &str| {
        let setting = Setting { place: place.to_owned(), name: name.to_owned(), value: value.to_owned() };
        move |facts: &mut Facts| facts.settings = vec![setting]
    };
    let version = |version: i32| move |facts: &mut Facts| facts.server.version = version;
    check(version(130_011), (Error, Check::Version, "the server is"), "");
    check(version(140_003), (Warning, Check::Version, "the server is"), "");
    check(version(190_000), (Warning, Check::Version, "the server is"), "");
    check(|f| f.server.in_recovery = true, (Note, Check::Reach, "standby"), "");
    check(|f| f.settings_arrive = SettingsArrive::No, (Warning, Check::Pooler, "do not reach the server"), "");
    check(|f| f.server.autovacuum = false, (Warning, Check::Settings, "autovacuum is off"), "SET autovacuum = on;");
    check(|f| f.server.track_counts = false, (Error, Check::Settings, "track_counts"), "SET track_counts = on;");
    check(|f| f.server.fsync = false, (Error, Check::Settings, "fsync is off"), "SET fsync = on;");
    check(|f| f.server.full_page_writes = false, (Error, Check::Settings, "full_page_writes"), "SET full_page");
    check(|f| f.server.read_only = true, (Error, Check::Settings, "read_only is on"), r#"ALTER ROLE "upkeep" SET"#);
    check(
        |f| f.server.maintenance_work_mem = 1 << 20,
        (Warning, Check::Settings, "maintenance_work_mem is 1.0 MiB"),
        "SET maintenance_work_mem = '256MB';",
    );
    check(|f| f.server.slots = 2, (Warning, Check::Settings, "replication slots: 2"), "max_slot_wal_keep_size");
    check(
        setting("database", "statement_timeout", "30s"),
        (Note, Check::Settings, r#"statement_timeout is "30s" for the database "app""#),
        "",
    );
    check(setting("role", "transaction_timeout", "1min"), (Note, Check::Settings, r#"for the role "upkeep""#), "");
    check(
        |f| f.tables = vec![Table { autovacuum_off: true, ..table(r#"we"ird"#, "app") }],
        (Warning, Check::Settings, r#""public"."we""ird""#),
        r#"ALTER TABLE "public"."we""ird" RESET (autovacuum_enabled);"#,
    );
    check(
        |f| f.holders = vec![holder("session", "42")],
        (Warning, Check::Holders, r#"session 42 in "app", role "reader" has had its transaction open for 2h"#),
        "SELECT pg_terminate_backend(42);",
    );
    check(
        |f| f.holders = vec![holder("prepared", "it's")],
        (Warning, Check::Holders, "has waited for 2h"),
        "ROLLBACK PREPARED 'it''s';",
    );
    check(
        |f| f.holders = vec![holder("slot", "old")],
        (Warning, Check::Holders, "has no consumer and keeps 1.0 MiB of WAL"),
        "SELECT pg_drop_replication_slot('old');",
    );
    check(|f| f.server.sees_all = false, (Note, Check::Rights, "pg_monitor"), r#"GRANT pg_monitor TO "upkeep";"#);
    let invalid = |f: &mut Facts| f.invalid_indexes = vec!["public.i_ccnew".to_owned()];
    check(invalid, (Warning, Check::Indexes, "public.i_ccnew"), "");
    check(|f| f.server.xid_age = 120_000_000.0, (Note, Check::Age, "60 %"), "");
    check(|f| f.server.multixact_age = 500_000_000.0, (Warning, Check::Age, "multixact"), "VACUUM (FREEZE);");
    check(|f| f.server.xid_age = 1_200_000_000.0, (Error, Check::Age, "600 %"), "VACUUM (FREEZE);");
}

#[test]
fn what_is_as_it_should_be_is_not_told() {
    assert_eq!(beyond_healthy(|f| f.server.version = 140_004), []);
    assert_eq!(beyond_healthy(|f| f.server.version = 180_001), []);
    let off = Setting { place: "role".to_owned(), name: "idle_session_timeout".to_owned(), value: "0".to_owned() };
    assert_eq!(beyond_healthy(|f| f.settings = vec![off]), []);
    assert_eq!(beyond_healthy(|f| f.server.xid_age = 99_000_000.0), []);
}

#[test]
fn time_limits_that_a_pooler_lets_through_to_us_are_told_as_warnings() {
    let findings = beyond_healthy(|f| {
        f.settings_arrive = SettingsArrive::No;
        f.settings =
            vec![Setting { place: "role".to_owned(), name: "statement_timeout".to_owned(), value: "1s".to_owned() }];
    });
    let levels: Vec<_> = findings.iter().map(|finding| (finding.check, finding.level)).collect();
    assert_eq!(levels, [(Check::Pooler, Warning), (Check::Settings, Warning)]);
}

#[test]
fn every_sort_of_pooler_is_refused_with_words() {
    for pooler in [Pooler::Lends, Pooler::Refuses("no".to_owned()), Pooler::Console("PgBouncer".to_owned())] {
        let finding = judge_pooler(&pooler);
        assert_eq!((finding.level, finding.check), (Error, Check::Pooler));
        assert!(finding.remedy.contains("the server's own host and port"), "{finding:?}");
    }
}

#[test]
fn clocks_are_told_of_when_they_are_surely_more_than_five_seconds_apart() {
    let at = |ahead: (f64, f64)| with(|facts| facts.clock_ahead = ahead);
    let check = |ahead, expected: Option<&str>| {
        assert_eq!(judge_clock(&at(ahead)).map(|finding| finding.found).as_deref(), expected);
    };
    check((4.9, 0.0), None);
    check((-5.1, 0.0), Some("its clock is 5.1 s behind this machine's"));
    check((8.0, 4.0), None);
    check((60.0, 0.5), Some("its clock is 60.0 s ahead of this machine's"));
    let together = judge_clocks(&at((60.0, 0.0)), &at((61.0, 0.0)));
    assert_eq!(together, None);
    let apart = judge_clocks(&at((-3.0, 0.0)), &at((3.0, 0.0))).expect("a finding");
    assert_eq!(apart.found, "its clock is 6.0 s behind the control database's");
}

#[test]
fn zones_are_compared_on_both_sides_of_the_next_change() {
    let berlin = crate::calendar::zone("Europe/Berlin").expect("a zone");
    let now = "2026-01-15T12:00:00Z".parse().expect("an instant");
    let around = moments(&berlin, now);
    let texts: Vec<String> = around.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"]);
    assert_eq!(moments(&TimeZone::UTC, now), [now]);

    let check = |offsets: Option<Vec<i32>>, expected: Option<&str>| {
        let facts = with(|facts| facts.offsets = offsets);
        let found = judge_zone(&facts, &berlin, "Europe/Berlin", &around).map(|finding| finding.found);
        assert_eq!(found.as_deref(), expected);
    };
    check(Some(vec![3600, 7200]), None);
    check(
        Some(vec![3600, 3600]),
        Some(
            "at 2026-03-29 02:00:00Z the clocks of Europe/Berlin are 3600 s ahead of UTC by the server's data, 7200 s by ours",
        ),
    );
    check(None, Some(r#"the server does not know the zone "Europe/Berlin""#));
}

#[test]
fn every_kind_of_job_is_known_to_the_doctor() {
    for kind in JOB_KINDS {
        assert!(
            needs(&job(kind.name, json!({}), Vec::new())).is_some(),
            "rights::needs knows nothing of {}",
            kind.name
        );
    }
    assert_eq!(needs(&job("dancing", json!({}), Vec::new())), None);
}

#[test]
fn a_missing_right_is_an_error_with_the_grant_that_helps_on_that_version() {
    let check = |version: i32, with_: Value, tables: Vec<Table>, sql: &str, remedy: &str| {
        let facts = with(|facts| {
            facts.server.version = version;
            facts.tables = tables;
        });
        let findings = judge_job(&job("vacuum", with_, Vec::new()), &facts, &Probed::default());
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!((finding.level, finding.check, finding.sql.as_str()), (Error, Check::Rights, sql), "{finding:#?}");
        assert_eq!(finding.job.as_deref(), Some("a-vacuum"));
        assert!(finding.remedy.contains(remedy), "{finding:#?}");
    };
    let both = || vec![table("a", "app owner"), table("b", "app owner"), table("c", "other")];
    check(
        160_000,
        json!({}),
        both(),
        "GRANT \"app owner\" TO \"upkeep\";\nGRANT \"other\" TO \"upkeep\";",
        "as a superuser",
    );
    check(170_000, json!({}), both(), "GRANT pg_maintain TO \"upkeep\";", "as a superuser");
    check(
        170_000,
        json!({ "include": ["*.a", "b"], "exclude": ["b"] }),
        both(),
        "GRANT MAINTAIN ON TABLE \"public\".\"a\" TO \"upkeep\";",
        "as a superuser",
    );
    check(150_000, json!({}), vec![table("s", "postgres")], "", "\"public\".\"s\" belong to a superuser");
    let hidden = Table { permitted: true, schema_open: false, ..table("h", "app") };
    check(180_000, json!({}), vec![hidden], "GRANT USAGE ON SCHEMA \"public\" TO \"upkeep\";", "as a superuser");
}

#[test]
fn a_job_that_may_do_its_work_is_ok_and_a_sequence_is_judged_by_its_jobs() {
    let facts = with(|facts| facts.tables = vec![Table { permitted: true, ..table("a", "app") }, table("b", "app")]);
    let vacuum = job("vacuum", json!({ "exclude": ["b"] }), Vec::new());
    let statement = job("sql", json!({ "statement": "select 1" }), Vec::new());
    let whole = job("sequence", json!({}), vec![vacuum, statement, job("prune_history", json!({}), Vec::new())]);
    let findings = judge_job(&whole, &facts, &Probed::default());
    let told: Vec<_> = findings.iter().map(|finding| (finding.level, finding.job.as_deref())).collect();
    assert_eq!(told, [(Ok, Some("a-vacuum")), (Note, Some("a-sql"))]);
    assert_eq!(findings[0].found, "a-vacuum may do its work on all 1 tables that it is for");
}

#[test]
fn the_ledger_needs_a_schema_of_ours_or_the_right_to_make_one() {
    let check = |change: fn(&mut Facts), expected: Option<&str>| {
        let finding = judge_ledger_rights(&with(change));
        assert_eq!(finding.as_ref().map(|finding| finding.sql.lines().last().unwrap_or_default()), expected);
    };
    check(|_| (), None);
    check(|f| f.server.may_create = false, Some(r#"GRANT CREATE ON DATABASE "app" TO "upkeep";"#));
    check(
        |f| {
            f.server.may_create = false;
            f.ledger.present = true;
        },
        None,
    );
    check(
        |f| {
            f.ledger.present = true;
            f.ledger.closed = vec!["run".to_owned()];
        },
        Some(r#"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgupkeep TO "upkeep";"#),
    );
}

#[test]
fn a_missing_daemon_matters_only_where_something_is_scheduled() {
    let check = |up, entries, expected| assert_eq!(judge_daemons(up, entries).level, expected);
    check(0, 0, Note);
    check(0, 1, Warning);
    check(1, 1, Ok);
    check(2, 0, Ok);
}

#[test]
fn the_worst_finding_decides_the_exit_code() {
    let check = |level, expected| assert_eq!(exit_of(level).code(), expected);
    check(Ok, 0);
    check(Note, 0);
    check(Warning, 2);
    check(Error, 1);
    assert_eq!(exit_of(Error).worse(Exit::Unreachable).code(), 69);
}

#[test]
fn the_script_quotes_whatever_it_names_and_breaks_no_comment() {
    let facts = with(|facts| {
        facts.server.database = "we\"ird'; \\ drop".to_owned();
        facts.tables = vec![table("t\nselect 1;", "postgres"), table("u", "own\"er"), table("run", "own\"er")];
        facts.tables[2].schema = "pgupkeep".to_owned();
        facts.ledger.present = true;
        facts.ledger.relations = vec!["run".to_owned()];
    });
    let vacuum = job("vacuum", json!({}), Vec::new());
    let whole = job("sequence", json!({}), vec![vacuum.clone()]);
    let probed = Probed::default();
    let jobs = vec![&vacuum, &whole];
    let place = Place { name: "main".to_owned(), facts: &facts, probed: &probed, jobs, ledger: Ledger::Here };
    insta::assert_snapshot!(script(&[place]), @r#"
    -- A role for pgupkeep that may do what its jobs need, and as little else as the server's version allows.
    -- Run this as a superuser: psql -f FILE. Then give the role a password: \password pgupkeep
    \set ON_ERROR_STOP on
    DO $$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgupkeep') THEN
        CREATE ROLE "pgupkeep" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
      END IF;
    END $$;
    GRANT pg_monitor TO "pgupkeep";

    -- main: "we""ird'; \ drop" on PostgreSQL 16.4
    \connect -reuse-previous=on "dbname='we""ird\'; \\ drop'"
    GRANT CONNECT ON DATABASE "we""ird'; \ drop" TO "pgupkeep";
    GRANT USAGE ON SCHEMA "public" TO "pgupkeep";
    GRANT "own""er" TO "pgupkeep";
    -- "public"."t select 1;" belongs to a superuser: give it to another owner, or exclude it.
    -- For the ledger: its schema, made by the first run.
    GRANT CREATE ON DATABASE "we""ird'; \ drop" TO "pgupkeep";
    -- It is there already, and is handed over, so that later versions can change it.
    ALTER SCHEMA pgupkeep OWNER TO "pgupkeep";
    ALTER TABLE "pgupkeep"."run" OWNER TO "pgupkeep";
    "#);
}

#[test]
fn a_literal_stays_one_whatever_is_in_it() {
    assert_eq!(literal("it's"), "'it''s'");
    assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
}

#[test]
fn every_check_is_documented() {
    let source = include_str!("finding.rs").split_once("impl Check {").expect("the words of checks").1;
    let words: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split('"').nth(1)).collect();
    let schema = schemars::schema_for!(crate::cli::json::Finding);
    let told = schema.as_value()["properties"]["check"]["description"].as_str().expect("a description");
    let told: Vec<&str> = told.split('`').skip(1).step_by(2).collect();
    assert_eq!(told, words);
}
