//! `doctor`: findings and exit codes on real servers, its script run for real, and poolers in between.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use nix::unistd::{User, getuid};
use pgupkeep::clock::SystemClock;
use pgupkeep::config::Connection;
use pgupkeep::pg::inspect::{Question, Seen, inspect};
use pgupkeep::secret::Secret;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::Bench;
use super::documents::assert_documented;
use crate::support::*;

/// Settings under which nothing is wrong with a server.
const SOUND: &[&str] = &["fsync = on", "full_page_writes = on", "max_prepared_transactions = 5", "wal_level = logical"];

const YAML: &str = r#"
version: 1
timezone: Europe/Berlin
targets:
  main: { url: "env:DATABASE_URL" }
jobs:
  everything: { kind: vacuum, with: { always: true } }
  some: { kind: vacuum, with: { include: ["closed.*"] } }
  history: { kind: prune_history }
  both: { kind: sequence, with: { jobs: [some, everything] } }
"#;

/// The findings above the level `ok`, as `level check: found`.
fn told(answer: &Value) -> Vec<String> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = answer["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok");
    findings.map(|one| format!("{} {}: {}", text(one, "level"), text(one, "check"), text(one, "found"))).collect()
}

async fn sound(suite: &str, yaml: &str) -> Option<Bench> {
    let cluster = Cluster::start(&one_major(suite)?, SOUND).await;
    let database = cluster.create_database().await;
    let url = cluster.url(&database);
    Some(Bench { cluster, database, url, config: ConfigFile::new(yaml) })
}

#[tokio::test]
async fn a_sound_server_exits_with_0_before_and_after_the_ledger_is_made() {
    let Some(bench) = sound("doctor", YAML).await else { return };
    let answer = bench.expect(0, &["doctor", "--json"]).await.json();
    assert_documented("Diagnosis", &answer);
    assert_documented("Finding", &answer["findings"][0]);
    assert_eq!(told(&answer), ["note ledger: there is no ledger yet"]);
    assert!(answer["time_zone_data"].as_str().unwrap().starts_with("20"), "{answer}");
    let schemas = bench.column("select count(*)::text from pg_namespace where nspname = 'pgupkeep'").await;
    assert_eq!(schemas, ["0"]);

    bench.expect(0, &["migrate"]).await;
    let answer = bench.expect(0, &["doctor", "--json"]).await.json();
    assert_eq!(told(&answer), ["note daemons: no daemon is up, and nothing is scheduled"]);
    let said = bench.expect(0, &["doctor"]).await;
    assert!(said.stdout.contains("\nmain\n  ok       PostgreSQL "), "{said:?}");
    assert_eq!(said.stderr, "");
}

#[tokio::test]
async fn warnings_exit_with_2_errors_with_1_and_each_names_what_helps() {
    let Some(bench) = sound("doctor", YAML).await else { return };
    bench.execute("alter system set autovacuum = off").await;
    bench.execute("select pg_reload_conf()").await;
    bench.execute(&format!("alter database {} set statement_timeout = '30s'", bench.database)).await;
    bench.execute(r#"create table "un""vacuumed" (n int) with (autovacuum_enabled = 0)"#).await;
    bench.execute("select pg_create_physical_replication_slot('forgotten', true)").await;
    wait_until("the setting to be in force", MOMENT, async || {
        bench.say(&["doctor"]).await.stdout.contains("autovacuum is off").then_some(())
    })
    .await;
    let said = bench.expect(2, &["doctor"]).await;
    for expected in [
        "warning  autovacuum is off\n",
        "ALTER SYSTEM SET autovacuum = on;\n",
        "note     statement_timeout is \"30s\" for the database",
        "ALTER TABLE \"public\".\"un\"\"vacuumed\" RESET (autovacuum_enabled);\n",
        "warning  max_slot_wal_keep_size is -1, with replication slots: 1\n",
        "SELECT pg_drop_replication_slot('forgotten');\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}: {}", said.stdout);
    }
    // What is told to be done helps.
    let answer = bench.expect(2, &["doctor", "--json"]).await.json();
    for finding in answer["findings"].as_array().unwrap() {
        for line in finding["sql"].as_str().into_iter().flat_map(str::lines) {
            bench.execute(line).await;
        }
    }
    let now = async || bench.say(&["doctor", "--json"]).await.code;
    wait_until("the settings to be in force", MOMENT, async || (now().await == Some(0)).then_some(())).await;
    bench.execute("alter system set track_counts = off").await;
    bench.execute("select pg_reload_conf()").await;
    wait_until("the setting to be in force", MOMENT, async || (now().await == Some(1)).then_some(())).await;
}

#[tokio::test]
async fn a_target_that_is_away_exits_with_69_and_the_others_are_told_of_all_the_same() {
    let gone = "targets:\n  gone: { url: \"postgres://u:hidden-word@127.0.0.1:9/gone\" }\n";
    let yaml = YAML.replace("targets:\n", gone) + "control: main\n";
    let Some(bench) = sound("doctor", &yaml).await else { return };
    let said = bench.expect(69, &["doctor", "--json"]).await;
    let answer = said.json();
    assert!(told(&answer)[0].starts_with("error reach: cannot connect to 127.0.0.1:9"), "{answer}");
    assert!(answer["findings"].as_array().unwrap().iter().any(|one| one["target"] == "main"), "{answer}");
    assert!(!said.stdout.contains("hidden-word") && !said.stderr.contains("hidden-word"), "{said:?}");
    bench.cluster.stop(StopMode::Fast).await;
    bench.expect(69, &["doctor"]).await;
}

#[tokio::test]
async fn a_scheduled_job_without_a_daemon_and_a_ledger_from_the_future_are_told() {
    let yaml = format!("{YAML}schedules:\n  daily: [{{ job: everything, at: \"02:00\" }}]\n");
    let Some(bench) = sound("doctor", &yaml).await else { return };
    bench.expect(0, &["migrate"]).await;
    let answer = bench.expect(2, &["doctor", "--json"]).await.json();
    assert_eq!(told(&answer), ["warning daemons: no daemon is up"]);
    bench
        .execute(
            "insert into pgupkeep.migration (version, description, success, checksum, execution_time)
             values (9999, 'from the future', true, '', 0)",
        )
        .await;
    let answer = bench.expect(1, &["doctor", "--json"]).await.json();
    assert!(told(&answer)[0].contains("the ledger has version 9999, newer than"), "{answer}");
}

#[tokio::test]
async fn whoever_holds_rows_or_wal_is_found_on_every_major() {
    for major in majors("doctor") {
        let cluster = Cluster::start(&major, SOUND).await;
        let database = cluster.create_database().await;
        let mut reader = cluster.connect(&database).await;
        reader.execute("set application_name = 'old reader'").await.unwrap();
        reader.execute("begin isolation level repeatable read; select 1").await.unwrap();
        let mut writer = cluster.connect(&database).await;
        writer.execute("create table held (n int)").await.unwrap();
        writer.execute("begin; insert into held values (1); prepare transaction 'it''s'").await.unwrap();
        writer.execute("select pg_create_physical_replication_slot('idle_one', true)").await.unwrap();

        let connection = Connection { url: Secret::new(cluster.url(&database)), password: None };
        let look = async |open_for| {
            let moments = ["2026-03-29T00:00:00Z".parse().unwrap(), "2026-03-29T02:00:00Z".parse().unwrap()];
            let question = Question { open_for, zone: "Europe/Berlin", moments: &moments };
            match inspect(&connection, question, &SystemClock).await.unwrap() {
                Seen::Server(facts) => facts,
                Seen::Pooler(pooler) => panic!("{pooler:?}"),
            }
        };
        let facts = look(Duration::ZERO).await;
        let found: Vec<_> = facts.holders.iter().map(|one| (one.sort.as_str(), one.name.as_str())).collect();
        assert_eq!(found.len(), 3, "{facts:#?}");
        assert_eq!(found[0], ("prepared", "it's"));
        assert_eq!(found[1].0, "session");
        assert_eq!(facts.holders[1].application.as_deref(), Some("old reader"));
        assert_eq!(found[2], ("slot", "idle_one"));
        assert!(facts.holders[2].bytes.is_some());
        assert_eq!(facts.offsets, Some(vec![3600, 7200]));
        assert_eq!(facts.server.major(), i32::try_from(major.number).unwrap());
        assert!(facts.clock_ahead.0.abs() < 5.0, "{facts:?}");
        let facts = look(Duration::from_hours(1)).await;
        assert_eq!(facts.holders.len(), 1, "{facts:#?}");
        reader.close().await.unwrap();
    }
}

/// Tables of owners with hostile names, in a schema that is closed to everybody else.
const OWNED: &str = r#"
create role "app ""owner"; create role other;
create schema closed authorization "app ""owner";
create table closed."we""ird; drop" (n int);
insert into closed."we""ird; drop" select generate_series(1, 500);
alter table closed."we""ird; drop" owner to "app ""owner";
create table plain (n int);
insert into plain select generate_series(1, 500);
alter table plain owner to other;
"#;

#[tokio::test]
async fn the_script_makes_a_role_that_may_do_the_jobs_and_no_more_on_every_major() {
    for major in majors("doctor") {
        let cluster = Cluster::start(&major, SOUND).await;
        let database = "up'keep \"data\"".to_owned();
        cluster.execute("postgres", r#"create database "up'keep ""data""""#).await;
        let url = cluster.url("up%27keep%20%22data%22");
        let config = ConfigFile::new(YAML);
        let say =
            async |url: &str, arguments: &[&str]| pgupkeep(&config.path(), arguments, &[("DATABASE_URL", url)]).await;
        let mut session = sqlx::PgConnection::connect(&url).await.unwrap();
        session.execute(OWNED).await.unwrap();
        if major.number % 2 == 1 {
            // The ledger of another role, which is handed over.
            assert_eq!(say(&url, &["migrate"]).await.code, Some(0));
        }

        let script = say(&url, &["doctor", "--grant-script"]).await;
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{script:?}");
        let file = config.folder().join("role.sql");
        fs::write(&file, &script.stdout).unwrap();
        // Twice: it may be run again after the configuration has changed.
        for _ in 0..2 {
            let file = file.to_str().unwrap();
            cluster.run_client("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", file]).await;
        }
        let ours = url.replace("postgres@", "pgupkeep@");
        for job in ["everything", "some", "both", "history"] {
            let said = say(&ours, &["run", job, "--local"]).await;
            assert_eq!(said.code, Some(0), "{major:?} {job}: {said:?}\n{}", script.stdout);
        }
        let vacuumed: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_stat_user_tables where last_vacuum is not null and schemaname <> 'pgupkeep' order by 1",
        )
        .fetch_all(&mut session)
        .await
        .unwrap();
        assert_eq!(vacuumed, ["plain", "we\"ird; drop"], "{major:?}");
        let answer = say(&ours, &["doctor", "--json"]).await;
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert_eq!(told(&answer.json()), ["note daemons: no daemon is up, and nothing is scheduled"]);

        let rights: (bool, bool, bool) =
            sqlx::query_as("select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = 'pgupkeep'")
                .fetch_one(&mut session)
                .await
                .unwrap();
        assert_eq!(rights, (false, false, false), "{database}");
    }
}

#[tokio::test]
async fn the_script_hands_over_the_archive_that_another_role_has_made_on_every_major() {
    for major in majors("doctor") {
        let cluster = Cluster::start(&major, SOUND).await;
        let database = cluster.create_database().await;
        let tables = "create role app login; create table t (id int primary key, at timestamptz);
            create table c (id int primary key, t int references t); create index c_t on c (t);
            insert into t select i, '2001-01-01' from generate_series(1, 50) i; insert into c select i, i from generate_series(1, 50) i;
            alter table t owner to app; alter table c owner to app";
        cluster.execute(&database, tables).await;
        let config = ConfigFile::new(
            r#"
version: 1
targets: { main: { url: "env:DATABASE_URL" } }
jobs:
  arc: { kind: archive, with: { table: public.t, age: at, older_than: 90days } }
  rei: { kind: reindex, with: { include: [c_t], always: true } }
"#,
        );
        let url = cluster.url(&database);
        let say =
            async |url: &str, arguments: &[&str]| pgupkeep(&config.path(), arguments, &[("DATABASE_URL", url)]).await;
        assert_eq!(say(&url, &["run", "arc", "--local"]).await.code, Some(0), "{major:?}");
        cluster.execute(&database, "insert into t values (51, '2001-01-01')").await;
        cluster.execute(&database, "create role pgupkeep login").await;
        let ours = url.replace("postgres@", "pgupkeep@");
        let said = say(&ours, &["doctor", "--json"]).await;
        let told = said.json()["findings"].to_string();
        assert!(told.contains("is not the role \\\"pgupkeep\\\"'s own"), "{told}");
        let script = say(&url, &["doctor", "--grant-script"]).await;
        let file = config.folder().join("role.sql");
        fs::write(&file, &script.stdout).unwrap();
        let file = file.to_str().unwrap();
        cluster.run_client("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", file]).await;
        for arguments in [["run", "arc", "--local"].as_slice(), &["run", "rei", "--local"], &["archive", "verify"]] {
            let said = say(&ours, arguments).await;
            assert_eq!(said.code, Some(0), "{major:?} {arguments:?}: {said:?}\n{}", script.stdout);
        }
        let said = say(&ours, &["archive", "restore", "--where", "true"]).await;
        assert_eq!(said.code, Some(0), "{major:?}: {said:?}\n{}", script.stdout);
        let said = say(&ours, &["doctor", "--json"]).await;
        assert_eq!(said.code, Some(0), "{major:?}: {said:?}");
        // A table that is gone is no obstacle to what is left to do for its archive.
        cluster.execute(&database, "drop table c, t").await;
        let kept = ConfigFile::new(
            r#"
version: 1
targets: { main: { url: "env:DATABASE_URL" } }
jobs: { arc: { kind: archive, with: { table: public.t, age: at, archive_keep: 1 year } } }
"#,
        );
        for arguments in [["doctor", "--json"].as_slice(), &["run", "arc", "--local"]] {
            let said = pgupkeep(&kept.path(), arguments, &[("DATABASE_URL", &ours)]).await;
            assert_eq!(said.code, Some(0), "{major:?} {arguments:?}: {said:?}");
            assert!(!said.stdout.contains("would refuse"), "{major:?} {arguments:?}: {said:?}");
        }
    }
}

#[tokio::test]
async fn what_a_role_lacks_is_told_with_the_grant_that_helps_on_every_major() {
    for major in majors("doctor") {
        let cluster = Cluster::start(&major, SOUND).await;
        let database = cluster.create_database().await;
        cluster.execute(&database, OWNED).await;
        cluster.execute(&database, "create role poor login").await;
        let url = cluster.url(&database).replace("postgres@", "poor@");
        let config = ConfigFile::new(YAML);
        let say = async || pgupkeep(&config.path(), &["doctor", "--json"], &[("DATABASE_URL", &url)]).await;
        let said = say().await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let answer = said.json();
        let lacking: Vec<&Value> =
            answer["findings"].as_array().unwrap().iter().filter(|one| one["check"] == "rights").collect();
        let jobs: Vec<&str> = lacking.iter().filter_map(|one| one["job"].as_str()).collect();
        assert_eq!(jobs, ["some", "everything"], "{answer:#}");
        for statement in lacking.iter().filter_map(|one| one["sql"].as_str()) {
            cluster.execute(&database, statement).await;
        }
        let said = say().await;
        assert_eq!(said.code, Some(0), "{major:?}: {said:?}");
        assert_eq!(told(&said.json()), ["note ledger: there is no ledger yet"]);
    }
}

#[tokio::test]
async fn a_role_that_shall_dump_gets_what_no_right_to_read_covers_on_every_major() {
    for major in majors("doctor") {
        let cluster = Cluster::start(&major, SOUND).await;
        let database = cluster.create_database().await;
        let sql = "create table hidden (n int); alter table hidden enable row level security; select lo_from_bytea(4711, 'x')";
        cluster.execute(&database, sql).await;
        cluster.execute(&database, "create role pgupkeep login").await;
        let url = cluster.url(&database);
        let depot = tempfile::tempdir().unwrap();
        let config = ConfigFile::new(&format!(
            "version: 1\ntimezone: UTC\ntargets:\n  main: {{ url: \"env:DATABASE_URL\" }}\nrepositories:\n  here: {{ url: \"file://{}\" }}\n\
             jobs:\n  dump: {{ kind: backup, with: {{ keep: {{ daily: 1 }} }} }}\n",
            depot.path().display()
        ));
        let say =
            async |url: &str, arguments: &[&str]| pgupkeep(&config.path(), arguments, &[("DATABASE_URL", url)]).await;
        let script = say(&url, &["doctor", "--grant-script"]).await.stdout;
        assert!(script.contains("\nALTER ROLE \"pgupkeep\" BYPASSRLS;\n"), "{script}");
        assert!(script.contains("holds large objects"), "{script}");
        let file = config.folder().join("role.sql");
        fs::write(&file, &script).unwrap();
        let run = async |file: &Path| {
            let file = file.to_str().unwrap();
            cluster.run_client("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-d", &database, "-f", file]).await;
        };
        run(&file).await;

        // What the role lacks still is what nobody but the owners of large objects can give.
        let ours = url.replace("postgres@", "pgupkeep@");
        let lacking = async || -> Vec<Value> {
            let answer = say(&ours, &["doctor", "--json"]).await.json();
            let findings = answer["findings"].as_array().unwrap().iter();
            findings.filter(|one| one["check"] == "rights" && one["level"] != "ok").cloned().collect()
        };
        let found = lacking().await;
        let [finding] = found.as_slice() else { panic!("{major:?}: {found:#?}") };
        assert!(finding["found"].as_str().unwrap().ends_with(": 1 large object"), "{finding:#}");
        fs::write(&file, finding["sql"].as_str().unwrap()).unwrap();
        run(&file).await;
        assert_eq!(lacking().await, [] as [Value; 0], "{major:?}");
    }
}

#[tokio::test]
async fn the_script_is_for_the_databases_of_one_server() {
    let yaml = YAML.replace("jobs:\n", "  away: { url: \"postgres://u@127.0.0.1:9/gone\" }\njobs:\n");
    let Some(bench) = sound("doctor", &yaml).await else { return };
    let said = bench.expect(64, &["doctor", "--grant-script"]).await;
    assert!(
        said.stderr.contains("the databases are on 2 servers; name one of them by --target: away, main"),
        "{said:?}"
    );
    bench.expect(0, &["doctor", "--grant-script", "--target", "main"]).await;
    let said = bench.expect(69, &["doctor", "--grant-script", "--target", "away"]).await;
    assert!(said.stdout.is_empty() && said.stderr.contains("no script was made: away: "), "{said:?}");
    bench.expect(64, &["doctor", "--grant-script", "--target", "nowhere"]).await;
}

/// A PgBouncer in front of a cluster; killed when dropped.
struct Bouncer {
    _child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

fn installed_bouncer(suite: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    if found.is_none() {
        skip_suite(suite, "pgbouncer is not installed (package pgbouncer)");
    }
    found
}

impl Bouncer {
    async fn start(program: &Path, cluster: &Cluster, settings: &str) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let server = cluster.address().port();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\ndefault_pool_size = 2\n{settings}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg(&file).kill_on_drop(true).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        if getuid().is_root() {
            let name = env::var("PGUPKEEP_PG_USER").unwrap_or_else(|_| "postgres".to_owned());
            let user = User::from_name(&name).unwrap().unwrap();
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let bouncer = Self {
            _child: command.spawn().unwrap(),
            _folder: folder,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        wait_until("the pooler to listen", MOMENT, async || TcpStream::connect(bouncer.address).await.ok()).await;
        bouncer
    }
}

#[tokio::test]
async fn a_pooler_in_between_is_found_in_every_mode() {
    let Some(program) = installed_bouncer("doctor behind a pooler") else { return };
    let Some(bench) = sound("doctor behind a pooler", YAML).await else { return };
    let check = async |settings: &str, database: &str, code: i32, expected: &str| {
        let bouncer = Bouncer::start(&program, &bench.cluster, settings).await;
        let url = bench.cluster.url_through(bouncer.address, database);
        for _ in 0..3 {
            let said = pgupkeep(&bench.config.path(), &["doctor", "--json"], &[("DATABASE_URL", &url)]).await;
            assert_eq!(said.code, Some(code), "{settings}: {said:?}");
            let told = told(&said.json());
            assert!(told[0].contains(expected), "{settings}: {told:#?}");
        }
    };
    let through = "ignore_startup_parameters = extra_float_digits, options\n";
    let lends = "error pooler: a pooler in transaction or statement mode is in between";
    check(&format!("{through}pool_mode = transaction"), &bench.database, 1, lends).await;
    check(&format!("{through}pool_mode = transaction\nserver_round_robin = 1"), &bench.database, 1, lends).await;
    check(&format!("{through}pool_mode = statement"), &bench.database, 1, lends).await;
    check(
        &format!("{through}pool_mode = session"),
        &bench.database,
        2,
        "warning pooler: the settings of our sessions do not reach the server",
    )
    .await;
    let refuses = "error pooler: a pooler is in between, which refuses the session's settings: unsupported startup";
    check("pool_mode = transaction", &bench.database, 69, refuses).await;
    let console = "error pooler: this is a pooler's own console, which says \"PgBouncer ";
    check(&format!("{through}pool_mode = session"), "pgbouncer", 1, console).await;
}

#[tokio::test]
async fn nothing_is_done_through_a_pooler_that_lends_server_processes_and_the_words_say_why() {
    let suite = "work behind a pooler";
    let Some(program) = installed_bouncer(suite) else { return };
    let Some(bench) = sound(suite, YAML).await else { return };
    let cases = [
        (
            "ignore_startup_parameters = extra_float_digits, options",
            "a pooler in transaction or statement mode is in between",
        ),
        ("ignore_startup_parameters = extra_float_digits", "a pooler is in between, through which nothing can be done"),
    ];
    for (settings, expected) in cases {
        let bouncer = Bouncer::start(&program, &bench.cluster, &format!("{settings}\npool_mode = transaction")).await;
        let url = bench.cluster.url_through(bouncer.address, &bench.database);
        for arguments in
            [&["plan", "everything"][..], &["run", "everything", "--local"], &["run", "everything"], &["daemon"]]
        {
            let said = pgupkeep(&bench.config.path(), arguments, &[("DATABASE_URL", &url)]).await;
            assert_eq!(said.code, Some(69), "{arguments:?}: {said:?}");
            for words in [expected, "give the server's own host and port in the url"] {
                assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
            }
        }
    }
    let mut conn = bench.cluster.connect(&bench.database).await;
    let ledger: bool =
        sqlx::query_scalar("select to_regclass('pgupkeep.run') is not null").fetch_one(&mut conn).await.unwrap();
    assert!(!ledger, "nothing was made");
}
