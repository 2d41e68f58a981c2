//! `doctor --grant-script`: the SQL of a role that may do what the jobs need and little else. Pure.
//!
//! Up to 16 the right to maintain a table cannot be had without membership in its owner, who may do more.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::probe::{Moves, Probed};
use super::rights::{Grants, Need, Work, aftercare, dumped, grants, large_objects, needs};
use super::server::literal;
use crate::jobs::JobSpec;
use crate::jobs::archive::rule::Use;
use crate::pg::inspect::{Facts, Table};
use crate::pg::statement::{Ident, Qualified};

/// The role that the script makes.
pub(super) const ROLE: &str = "pgupkeep";

/// A database that the role shall work in.
pub(super) struct Place<'a> {
    /// Its name in the configuration.
    pub(super) name: String,
    /// What was found there.
    pub(super) facts: &'a Facts,
    /// What was looked up for its jobs.
    pub(super) probed: &'a Probed,
    /// The jobs for it.
    pub(super) jobs: Vec<&'a JobSpec>,
    /// Whether the ledger is, or will be, there.
    pub(super) ledger: Ledger,
}

/// Whether the ledger is, or will be, in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ledger {
    Here,
    Elsewhere,
}

/// The script, for psql.
pub(super) fn script(places: &[Place<'_>]) -> String {
    let role = Ident(ROLE.to_owned());
    let mut script = format!(
        "-- A role for pgupkeep that may do what its jobs need, and as little else as the server's version allows.\n\
         -- Run this as a superuser: psql -f FILE. Then give the role a password: \\password {ROLE}\n\
         \\set ON_ERROR_STOP on\n\
         DO $$ BEGIN\n  \
           IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) THEN\n    \
             CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;\n  \
           END IF;\n\
         END $$;\n\
         GRANT pg_monitor TO {role};\n",
        literal(ROLE)
    );
    for place in places {
        let server = &place.facts.server;
        let database = Ident(server.database.clone());
        comment(&mut script, &format!("\n{}: {database} on PostgreSQL {}", place.name, server.version_text));
        let _infallible = writeln!(
            script,
            "\\connect -reuse-previous=on {}\nGRANT CONNECT ON DATABASE {database} TO {role};",
            connection(&server.database)
        );
        let mut sent = BTreeSet::new();
        for job in place.jobs.iter().flat_map(|job| job.with_inner()) {
            for line in of_job(job, place, &role) {
                if sent.insert(line.clone()) {
                    script.push_str(&line);
                    script.push('\n');
                }
            }
        }
        if place.ledger == Ledger::Here {
            of_ledger(&mut script, place.facts, &role);
        }
    }
    script
}

/// One line, however many the text has: a name with a line break must not become a statement.
fn comment(script: &mut String, text: &str) {
    let lead = if text.starts_with('\n') { "\n-- " } else { "-- " };
    let line: String = text.trim_start().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _infallible = writeln!(script, "{lead}{line}");
}

/// A database's name for psql's `\connect`: as a connection string, lest a name that looks like one is taken for one.
fn connection(database: &str) -> String {
    let value = database.replace('\\', "\\\\").replace('\'', "\\'");
    Ident(format!("dbname='{value}'")).to_string()
}

fn of_job(job: &JobSpec, place: &Place<'_>, role: &Ident) -> Vec<String> {
    let mut lines = Vec::new();
    for need in needs(job).unwrap_or_default() {
        match need {
            Need::Maintain(work, choice) => {
                lines.extend(of_work(work, &choice.tables(work, place.facts), choice.is_open(), place, role));
            }
            Need::ReadAll => {
                lines.push(format!("GRANT pg_read_all_data TO {role};"));
                let closed = dumped(job, place.facts).filter(|database| !database.open_to_all);
                lines.extend(
                    closed.map(|database| {
                        format!("GRANT CONNECT ON DATABASE {} TO {role};", Ident(database.name.clone()))
                    }),
                );
                lines.extend(of_dumps(job, place, role));
            }
            Need::Move => lines.extend(of_archive(job, place, role)),
            Need::Unknowable => {
                lines.push(format!("-- The job {} sends a statement of yours: grant what it needs.", job.name));
            }
            // What it puts back it, or another job, has moved.
            Need::PutBack | Need::Ledger => {}
        }
    }
    lines
}

/// What no right to read lets one dump: rows behind policies, and large objects.
fn of_dumps(job: &JobSpec, place: &Place<'_>, role: &Ident) -> Vec<String> {
    let mut lines = Vec::new();
    for database in dumped(job, place.facts) {
        let Some(Ok(closed)) = place.probed.closed.get(&database.name) else { continue };
        let has = |by: &str| closed.iter().any(|closed| closed.by == by);
        if has("row_security") {
            lines.push(format!("ALTER ROLE {role} BYPASSRLS;"));
        }
        if has("large_objects") {
            lines.push(remark(&format!(
                "{} holds large objects, which are read by their owners only: for those that there are now send in that \
                 database what follows, or back up as a superuser.",
                Ident(database.name.clone())
            )));
            lines.push(remark(&large_objects(role)));
        }
    }
    lines
}

/// What moving rows out of tables, and putting them back, takes: a schema of its own, temporary tables, and the rows.
fn of_archive(job: &JobSpec, place: &Place<'_>, role: &Ident) -> Vec<String> {
    let database = Ident(place.facts.server.database.clone());
    let mut lines = vec![format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO {role};")];
    let Some(known) = place.probed.archives.get(&job.name) else { return lines };
    match &known.moves {
        Ok(moves) => {
            match &moves.application {
                Some(schema) => lines.extend([
                    format!("GRANT USAGE ON SCHEMA {schema} TO {role};"),
                    format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};"),
                ]),
                None => lines.extend(of_tables(moves, role)),
            }
            let after = aftercare(job, moves, place.facts);
            lines.extend(after.iter().flat_map(|(work, tables)| of_work(*work, tables, false, place, role)));
        }
        Err(refusal) => {
            let message = &refusal.message;
            lines.push(remark(&format!("What else the job {} needs could not be found out: {message}", job.name)));
        }
    }
    if !known.handover.is_empty() {
        lines
            .push("-- The archive is there already, and is handed over, so that rows can move and go back.".to_owned());
        lines.extend(known.handover.iter().cloned());
    }
    lines
}

/// What a work on tables takes.
fn of_work(work: Work, tables: &[&Table], is_open: bool, place: &Place<'_>, role: &Ident) -> Vec<String> {
    let theirs: Vec<Table> = tables
        .iter()
        .filter(|table| table.schema != "pgupkeep")
        // What holds for whoever asks now says nothing of the role to be made.
        .map(|table| Table { permitted: false, owned: false, schema_open: false, ..(*table).clone() })
        .collect();
    let theirs: Vec<&Table> = theirs.iter().collect();
    let Grants { grants, unowned } = grants(work, &theirs, is_open, place.facts.server.major(), role);
    grants.into_iter().chain(unowned.iter().map(left_out)).collect()
}

fn of_tables(moves: &Moves, role: &Ident) -> Vec<String> {
    let schemas: BTreeSet<&Ident> = moves.uses.iter().map(|(table, _)| &table.schema).collect();
    let usage = schemas.into_iter().map(|schema| format!("GRANT USAGE ON SCHEMA {schema} TO {role};"));
    let tables = moves.uses.iter().map(|(table, purpose)| {
        let rights: Vec<String> = purpose.privileges().iter().map(ToString::to_string).collect();
        let rights =
            if *purpose == Use::Moves { "SELECT, INSERT, UPDATE, DELETE".to_owned() } else { rights.join(", ") };
        format!("GRANT {rights} ON {table} TO {role};")
    });
    usage.chain(tables).collect()
}

fn remark(text: &str) -> String {
    let mut line = String::new();
    comment(&mut line, text);
    line.trim_end().to_owned()
}

fn left_out(table: &Qualified) -> String {
    remark(&format!("{table} belongs to a superuser: give it to another owner, or exclude it."))
}

fn of_ledger(script: &mut String, facts: &Facts, role: &Ident) {
    let database = Ident(facts.server.database.clone());
    script.push_str("-- For the ledger: its schema, made by the first run.\n");
    let _infallible = writeln!(script, "GRANT CREATE ON DATABASE {database} TO {role};");
    if facts.ledger.present {
        script.push_str("-- It is there already, and is handed over, so that later versions can change it.\n");
        let _infallible = writeln!(script, "ALTER SCHEMA pgupkeep OWNER TO {role};");
        for relation in &facts.ledger.relations {
            let relation = Qualified::new("pgupkeep", relation.clone());
            let _infallible = writeln!(script, "ALTER TABLE {relation} OWNER TO {role};");
        }
    }
}
