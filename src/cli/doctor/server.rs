//! What the facts about a server mean, whatever the jobs are. Pure.

use super::finding::{Check, Finding, Level};
use crate::cli::output;
use crate::lengths::rough;
use crate::pg::inspect::{Facts, Holder, SettingsArrive};
use crate::pg::pooler::{DIRECTLY, Pooler};
use crate::pg::statement::Ident;

/// The majors that every release is tested with.
const KNOWN_MAJORS: std::ops::RangeInclusive<i32> = 14..=18;
/// The first release of 14 that builds indexes concurrently without losing rows.
const FIRST_SOUND_14: i32 = 140_004;
/// Less memory than this makes VACUUM read every index again and again.
const SMALLEST_MEMORY: i64 = 32 * 1024 * 1024;
/// At twice this age the server takes no more writes.
const AGE_IN_DANGER: f64 = 1_000_000_000.0;
/// How many names are told at most.
const MOST_NAMES: usize = 5;

/// Time limits that our sessions set themselves, so that these do not reach them.
const OVERRIDDEN: [&str; 5] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
];

/// A pooler in between: in transaction mode it is no place for working sessions.
pub(super) fn judge_pooler(pooler: &Pooler) -> Finding {
    Finding::new(Level::Error, Check::Pooler, pooler.to_string()).because(pooler.why()).remedy(DIRECTLY)
}

/// What the facts about a server mean for any work on it.
pub(super) fn judge_server(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![reach(facts)];
    findings.extend(version(facts));
    findings.extend(arrive(facts));
    findings.extend(switches(facts));
    findings.extend(time_limits(facts));
    findings.extend(tables_switched_off(facts));
    findings.extend(holders(facts));
    findings.extend(invalid_indexes(facts));
    findings.extend(age(facts));
    findings
}

fn reach(facts: &Facts) -> Finding {
    let server = &facts.server;
    let sort = if server.in_recovery { "standby" } else { "primary" };
    let superuser = if server.is_superuser { ", a superuser" } else { "" };
    let (database, role) = (Ident(server.database.clone()), Ident(server.role.clone()));
    let found = format!("PostgreSQL {}, {sort}, database {database}, as {role}{superuser}", server.version_text);
    if server.in_recovery {
        let why = "no run starts on a standby until it is promoted";
        return Finding::new(Level::Note, Check::Reach, found).because(why);
    }
    Finding::new(Level::Ok, Check::Reach, found)
}

fn version(facts: &Facts) -> Option<Finding> {
    let (server, major) = (&facts.server, facts.server.major());
    let finding = |level, why: &str, remedy: &str| {
        let found = format!("the server is PostgreSQL {}", server.version_text);
        Some(Finding::new(level, Check::Version, found).because(why).remedy(remedy))
    };
    if major < *KNOWN_MAJORS.start() {
        return finding(Level::Error, "pgupkeep works with 14 to 18 only", "upgrade the server");
    }
    if major > *KNOWN_MAJORS.end() {
        return finding(Level::Warning, "this pgupkeep was tested with 14 to 18", "upgrade pgupkeep");
    }
    if major == 14 && server.version < FIRST_SOUND_14 {
        let why = "14.0 to 14.3 lose rows from indexes that are built or rebuilt concurrently";
        let remedy =
            "upgrade to the newest 14, then rebuild what was built concurrently; pg_amcheck --heapallindexed finds it";
        return finding(Level::Warning, why, remedy);
    }
    None
}

fn arrive(facts: &Facts) -> Option<Finding> {
    (facts.settings_arrive == SettingsArrive::No).then(|| {
        Finding::new(
            Level::Warning,
            Check::Pooler,
            "the settings of our sessions do not reach the server: a pooler swallows them",
        )
        .because("the server would not notice that pgupkeep died, and time limits of the role end its statements")
        .remedy(DIRECTLY)
    })
}

fn set(setting: &str, value: &str) -> String {
    format!("ALTER SYSTEM SET {setting} = {value};\nSELECT pg_reload_conf();")
}

/// Settings of the whole server that defeat maintenance, or endanger data.
fn switches(facts: &Facts) -> Vec<Finding> {
    let server = &facts.server;
    let mut findings = Vec::new();
    let mut add = |level, found: &str, why: &str, sql: String| {
        findings
            .push(Finding::new(level, Check::Settings, found).because(why).remedy("set it, as a superuser").sql(sql));
    };
    if !server.autovacuum {
        let why =
            "between the runs nobody looks after the tables; autovacuum and pgupkeep do not get in each other's way";
        add(Level::Warning, "autovacuum is off", why, set("autovacuum", "on"));
    }
    if !server.track_counts {
        let why =
            "without counters neither autovacuum nor a vacuum job can tell which table needs it, or that it was done";
        add(Level::Error, "track_counts is off", why, set("track_counts", "on"));
    }
    for (name, is_on) in [("fsync", server.fsync), ("full_page_writes", server.full_page_writes)] {
        if !is_on {
            let why = "a crash of the machine destroys the database beyond repair";
            add(Level::Error, &format!("{name} is off"), why, set(name, "on"));
        }
    }
    if server.read_only && !server.in_recovery {
        let why = "statements that write are refused in our sessions";
        let sql = format!("ALTER ROLE {} SET default_transaction_read_only = off;", Ident(server.role.clone()));
        add(Level::Error, "default_transaction_read_only is on", why, sql);
    }
    if server.maintenance_work_mem < SMALLEST_MEMORY {
        let found = format!("maintenance_work_mem is {}", output::bytes(server.maintenance_work_mem));
        let why = "VACUUM reads every index again each time this is full, and building an index sorts on disk";
        add(Level::Warning, &found, why, set("maintenance_work_mem", "'256MB'"));
    }
    if server.slots_unlimited && server.slots > 0 {
        let found = format!("max_slot_wal_keep_size is -1, with replication slots: {}", server.slots);
        let why = "a consumer that stops reading fills the server's disk with WAL, and the server then stops";
        add(Level::Warning, &found, why, set("max_slot_wal_keep_size", "'10GB'"));
    }
    findings
}

/// Time limits set for our role or for the database. The most particular place of each comes first and decides.
fn time_limits(facts: &Facts) -> Vec<Finding> {
    let server = &facts.server;
    let mut findings = Vec::new();
    for name in &OVERRIDDEN {
        let Some(setting) = facts.settings.iter().find(|setting| setting.name == *name) else { continue };
        if matches!(setting.value.as_str(), "0" | "0ms" | "0s") {
            continue;
        }
        let (role, database) = (Ident(server.role.clone()), Ident(server.database.clone()));
        let place = match setting.place.as_str() {
            "role_in_database" => format!("the role {role} in the database {database}"),
            "role" => format!("the role {role}"),
            "database" => format!("the database {database}"),
            _ => "all roles".to_owned(),
        };
        let found = format!("{name} is {:?} for {place}", setting.value);
        if facts.settings_arrive == SettingsArrive::Yes {
            let why = "nothing to do: our sessions override it, and a job's `timeout` is the limit";
            findings.push(Finding::new(Level::Note, Check::Settings, found).because(why));
        } else {
            findings.push(
                Finding::new(Level::Warning, Check::Settings, found)
                    .because("it reaches our sessions, and ends long statements or the session in mid-work")
                    .remedy("switch it off for the role in this database")
                    .sql(format!("ALTER ROLE {role} IN DATABASE {database} SET {name} = 0;")),
            );
        }
    }
    findings
}

fn tables_switched_off(facts: &Facts) -> Option<Finding> {
    let off: Vec<_> = facts.tables.iter().filter(|table| table.autovacuum_off).collect();
    if off.is_empty() {
        return None;
    }
    let names = off.iter().map(|table| table.qualified());
    let sql: Vec<String> =
        names.clone().take(MOST_NAMES).map(|name| format!("ALTER TABLE {name} RESET (autovacuum_enabled);")).collect();
    Some(
        Finding::new(Level::Warning, Check::Settings, format!("autovacuum is switched off for {}", list(names)))
            .because("only a vacuum job looks after them, and only when it runs; their age still forces autovacuum")
            .remedy("switch it on again, unless somebody had a reason")
            .sql(sql.join("\n")),
    )
}

/// Names for people: the first few, and how many more there are.
pub(super) fn list(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    let first = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

fn holders(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.holders.iter().map(holder).collect();
    if !facts.server.sees_all {
        let role = Ident(facts.server.role.clone());
        findings.push(
            Finding::new(Level::Note, Check::Rights, format!("the role {role} is not a member of pg_monitor"))
                .because("transactions of other roles that hold something up are not seen, here and by the jobs")
                .remedy("grant it, as a superuser")
                .sql(format!("GRANT pg_monitor TO {role};")),
        );
    }
    findings
}

fn holder(holder: &Holder) -> Finding {
    let length = holder.seconds.map(|seconds| std::time::Duration::from_secs_f64(seconds.max(0.0)));
    let open_for = length.map(|length| format!(" for {}", rough(length))).unwrap_or_default();
    let place = holder.database.as_deref().map(|name| format!(" in {}", Ident(name.to_owned()))).unwrap_or_default();
    let by = |word, name: Option<&str>| {
        name.filter(|name| !name.is_empty()).map(|name| format!(", {word} {name:?}")).unwrap_or_default()
    };
    let by = format!("{}{}", by("role", holder.role.as_deref()), by("application", holder.application.as_deref()));
    let (found, why, remedy, sql) = match holder.sort.as_str() {
        "session" => (
            format!("session {}{place}{by} has had its transaction open{open_for}", holder.name),
            "VACUUM cannot remove rows that died since, in any table",
            "have its owner end it; pgupkeep never does",
            format!("SELECT pg_terminate_backend({});", holder.name),
        ),
        "prepared" => (
            format!("prepared transaction {:?}{place}{by} has waited{open_for}", holder.name),
            "it keeps its locks and all rows that died since, through restarts, until somebody ends it",
            "commit it or roll it back, connected to its database",
            format!("ROLLBACK PREPARED {};", literal(&holder.name)),
        ),
        _ => (
            format!(
                "replication slot {:?}{place} has no consumer and keeps {} of WAL",
                holder.name,
                output::bytes(holder.bytes.unwrap_or(0))
            ),
            "WAL piles up on the server's disk, and rows that died since may have to stay",
            "bring its consumer back, or drop it",
            format!("SELECT pg_drop_replication_slot({});", literal(&holder.name)),
        ),
    };
    Finding::new(Level::Warning, Check::Holders, found).because(why).remedy(remedy).sql(sql)
}

/// A text as a literal of SQL, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn invalid_indexes(facts: &Facts) -> Option<Finding> {
    let found = format!("invalid indexes: {}", list(facts.invalid_indexes.iter()));
    (!facts.invalid_indexes.is_empty()).then(|| {
        Finding::new(Level::Warning, Check::Indexes, found)
            .because("every write maintains them and no query may use them; a concurrent build that failed has left them")
            .remedy(
                "a `reindex` job drops what its own rebuilds have left; of others drop what ends in _ccnew or _ccold, and rebuild \
                 the rest, by hand: DROP INDEX CONCURRENTLY, REINDEX INDEX CONCURRENTLY",
            )
    })
}

fn age(facts: &Facts) -> Vec<Finding> {
    let server = &facts.server;
    let sorts =
        [("transaction", server.xid_age, server.xid_max), ("multixact", server.multixact_age, server.multixact_max)];
    let judged = sorts.iter().filter_map(|(sort, age, most)| {
        let share = age / most.max(1.0);
        let level = match share {
            _ if *age > AGE_IN_DANGER => Level::Error,
            share if share > 1.0 => Level::Warning,
            share if share > 0.5 => Level::Note,
            _ => return None,
        };
        let found = format!(
            "the oldest {sort} id of the database is {age:.0} old: {:.0} % of the age that forces autovacuum",
            share * 100.0
        );
        let finding = Finding::new(level, Check::Age, found).because(
            "at about 2,100,000,000 the server takes no more writes; at 100 % autovacuum begins, whatever its settings",
        );
        Some(match level {
            Level::Note => finding,
            _ => finding
                .remedy(
                    "see that no holder is told of above, then freeze the whole database as its owner or a superuser",
                )
                .sql("VACUUM (FREEZE);"),
        })
    });
    judged.collect()
}
