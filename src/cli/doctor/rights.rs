//! What each kind of job needs to be allowed, and what of that is missing, with the very GRANT. Pure.
//!
//! A new kind gets its line in [`needs`]; a test says so.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::{Check, Finding, Level};
use super::probe::{Archival, Moves, Probed, Refusal};
use super::server::{list, literal};
use crate::jobs::JobSpec;
use crate::jobs::archive::rule::Use;
use crate::jobs::backup::is_of_the_provider;
use crate::jobs::pattern::{TablePattern, glob};
use crate::pg::inspect::{Closed, Database, Facts, Table};
use crate::pg::statement::{Ident, Qualified};

impl Table {
    /// Its name with its schema.
    pub(super) fn qualified(&self) -> Qualified {
        Qualified::new(self.schema.clone(), self.name.clone())
    }

    const fn allows(&self, work: Work) -> bool {
        match work {
            Work::Vacuum => self.permitted,
            Work::Rebuild => self.owned,
        }
    }
}

/// What a job needs to be allowed on its target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Need {
    /// To do this work on the tables that are chosen.
    Maintain(Work, Choice),
    /// To write the ledger's tables, which every daemon may.
    Ledger,
    /// To read everything in the databases that it dumps.
    ReadAll,
    /// What only the tables tell that rows are moved out of.
    Move,
    /// What only those tell who ask for a restore.
    PutBack,
    /// Whatever an operator's own statement needs, which nobody can tell beforehand.
    Unknowable,
}

/// A work on tables, by the right that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// VACUUM and ANALYZE: from 17 on `MAINTAIN` will do.
    Vacuum,
    /// REINDEX CONCURRENTLY: it takes the owner, who alone may drop what an interrupted one leaves.
    Rebuild,
}

/// Which tables a job is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    include: Vec<TablePattern>,
    exclude: Vec<TablePattern>,
}

impl Choice {
    /// What `include` and `exclude` of a `with:` say.
    fn of(with: &Value) -> Self {
        let read = |key: &str| serde_json::from_value(with[key].clone()).unwrap_or_default();
        Self { include: read("include"), exclude: read("exclude") }
    }

    /// Whether a table or an index is meant by the names that it goes by.
    fn means(&self, names: &[&Qualified]) -> bool {
        let any =
            |patterns: &[TablePattern]| patterns.iter().any(|pattern| names.iter().any(|name| pattern.matches(name)));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// Whether tables that do not exist yet are chosen as well, wherever they will be.
    pub(super) const fn is_open(&self) -> bool {
        self.include.is_empty()
    }

    /// The tables chosen; for a rebuild those with an index that is.
    pub(super) fn tables<'a>(&self, work: Work, facts: &'a Facts) -> Vec<&'a Table> {
        let is_chosen = |table: &&Table| {
            let name = table.qualified();
            match work {
                Work::Vacuum => self.means(&[&name]),
                Work::Rebuild => table
                    .indexes
                    .iter()
                    .any(|index| self.means(&[&name, &Qualified::new(table.schema.clone(), index.clone())])),
            }
        };
        facts.tables.iter().filter(is_chosen).collect()
    }
}

/// What a job needs; `None` for a kind that nothing is known of here.
pub(super) fn needs(spec: &JobSpec) -> Option<Vec<Need>> {
    match spec.kind.as_str() {
        "vacuum" => Some(vec![Need::Maintain(Work::Vacuum, Choice::of(&spec.with))]),
        "reindex" => Some(vec![Need::Maintain(Work::Rebuild, Choice::of(&spec.with))]),
        "backup" => Some(vec![Need::ReadAll]),
        "archive" => Some(vec![Need::Move]),
        "archive_restore" => Some(vec![Need::PutBack]),
        "sql" => Some(vec![Need::Unknowable]),
        "prune_history" => Some(vec![Need::Ledger]),
        // Each of its jobs is judged by its own kind.
        "sequence" => Some(Vec::new()),
        _ => None,
    }
}

/// What a job lacks on one of its targets, the jobs of a sequence included.
pub(super) fn judge_job(spec: &JobSpec, facts: &Facts, probed: &Probed) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match needs(spec) {
        None => vec![unknown("its kind, of which nothing is known here", spec)],
        Some(needs) => needs.iter().flat_map(|need| judge_need(need, spec, facts, probed)).collect(),
    };
    findings.extend(spec.inner.iter().flat_map(|inner| judge_job(inner, facts, probed)));
    findings
}

fn judge_need(need: &Need, spec: &JobSpec, facts: &Facts, probed: &Probed) -> Vec<Finding> {
    match need {
        Need::Maintain(work, choice) => {
            vec![judge_maintain(*work, &choice.tables(*work, facts), choice.is_open(), spec, facts)]
        }
        // The ledger's rights are judged where the ledger is, for every job at once.
        Need::Ledger => Vec::new(),
        Need::ReadAll => judge_reading(spec, facts, probed),
        Need::Move => judge_move(spec, facts, probed),
        Need::PutBack => vec![unknown("the tables that rows are put back into: SELECT and INSERT on them", spec)],
        Need::Unknowable => vec![unknown("its statement", spec)],
    }
}

fn unknown(what: &str, spec: &JobSpec) -> Finding {
    let found = format!("what the job {} needs to be allowed depends on {what}", spec.name);
    Finding::new(Level::Note, Check::Rights, found)
        .because("it is not known before it runs")
        .remedy("run it once by hand")
        .of_job(&spec.name)
}

/// The databases of the server that a dump is meant to hold.
pub(super) fn dumped<'a>(spec: &JobSpec, facts: &'a Facts) -> impl Iterator<Item = &'a Database> {
    let exclude: Vec<String> = serde_json::from_value(spec.with["exclude"].clone()).unwrap_or_default();
    facts.databases.iter().filter(move |database| !exclude.iter().any(|pattern| glob(pattern, &database.name)))
}

fn judge_reading(spec: &JobSpec, facts: &Facts, probed: &Probed) -> Vec<Finding> {
    let (name, server) = (&spec.name, &facts.server);
    let role = Ident(server.role.clone());
    let databases: Vec<&Database> = dumped(spec, facts).collect();
    let mut findings: Vec<Finding> = databases
        .iter()
        .filter_map(|database| match probed.closed.get(&database.name)? {
            Err(error) => Some(
                Finding::new(Level::Error, Check::Rights, format!("the database {}: {error}", database.name))
                    .because("a database that cannot be looked at cannot be dumped")
                    .of_job(name),
            ),
            Ok(closed) => judge_closed(spec, &database.name, closed, &role),
        })
        .collect();
    findings.extend(judge_connect(&databases, spec, &role));
    if findings.is_empty() {
        let found = if server.reads_all || server.is_superuser {
            format!("{name} may read every table of the server")
        } else {
            format!("{name} may read every table that is there; GRANT pg_read_all_data lets it read those of tomorrow")
        };
        findings.push(Finding::new(Level::Ok, Check::Rights, found).of_job(name));
    }
    if !server.reads_hashes {
        let found = format!("the role {role} may not read the hashes of passwords");
        findings.push(
            Finding::new(Level::Note, Check::Rights, found)
                .because(format!(
                    "the backups of {name} hold the roles without them: set passwords anew after a restore"
                ))
                .remedy("grant it, as a superuser, if they shall be in the backups")
                .sql(format!("GRANT pg_read_all_data TO {role};"))
                .of_job(name),
        );
    }
    findings
}

fn judge_closed(spec: &JobSpec, database: &str, closed: &[Closed], role: &Ident) -> Option<Finding> {
    let closed: Vec<&Closed> = closed.iter().filter(|closed| closed.to_us).collect();
    if closed.is_empty() {
        return None;
    }
    let of = |by: &str| closed.iter().filter(|closed| closed.by == by).count();
    let mut grants = Vec::new();
    if of("right") > 0 {
        grants.push(format!("GRANT pg_read_all_data TO {role};"));
    }
    if of("row_security") > 0 {
        grants.push(format!("ALTER ROLE {role} BYPASSRLS;"));
    }
    let names = list(closed.iter().map(|closed| &closed.name));
    let found = format!(
        "the role {role} may not read all of {}, which {} dumps: {names}",
        Ident(database.to_owned()),
        spec.name
    );
    let remedy = if of("large_objects") > 0 {
        grants.push(large_objects(role));
        "grant it in that database by psql, as a superuser, and again what is new of large objects, or back up as a superuser"
    } else {
        "grant it, as a superuser, or leave the database out by `exclude:`"
    };
    let finding = Finding::new(Level::Error, Check::Rights, found)
        .because("its dump would fail, and every run be `partial`")
        .remedy(remedy)
        .sql(grants.join("\n"));
    Some(finding.of_job(&spec.name))
}

/// What lets a role read the large objects that there are now, for psql: no role reads all of them but a superuser.
pub(super) fn large_objects(role: &Ident) -> String {
    format!(
        "SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, {}) FROM pg_catalog.pg_largeobject_metadata \\gexec",
        literal(&role.0)
    )
}

fn judge_connect(databases: &[&Database], spec: &JobSpec, role: &Ident) -> Option<Finding> {
    let name = &spec.name;
    let closed: Vec<Ident> = databases
        .iter()
        .filter(|database| !database.permitted && !is_of_the_provider(&database.name))
        .map(|database| Ident(database.name.clone()))
        .collect();
    if closed.is_empty() {
        return None;
    }
    let found = format!("the role {role} may not connect to {}, which the job {name} dumps", list(closed.iter()));
    let grants: Vec<String> =
        closed.iter().map(|database| format!("GRANT CONNECT ON DATABASE {database} TO {role};")).collect();
    let finding = Finding::new(Level::Error, Check::Rights, found)
        .because("a database that cannot be dumped makes every run `partial`")
        .remedy("grant it, as the database's owner or a superuser, or leave the database out by `exclude:`")
        .sql(grants.join("\n"));
    Some(finding.of_job(name))
}

fn judge_move(spec: &JobSpec, facts: &Facts, probed: &Probed) -> Vec<Finding> {
    let (name, server) = (&spec.name, &facts.server);
    let mut findings = Vec::new();
    let known = probed.archives.get(name);
    if let Some(Archival { foreign, .. }) = known.filter(|known| !known.foreign.is_empty()) {
        let role = Ident(server.role.clone());
        let found = format!("the archive that the job {name} would go on with is not the role {role}'s own");
        return vec![
            Finding::new(Level::Error, Check::Rights, found)
                .because("it could write no row to it, and give none back")
                .remedy("hand it over, as its owner or a superuser, or let its owner do the work")
                .sql(foreign.join("\n"))
                .of_job(name),
        ];
    }
    let moves = known.map(|known| &known.moves);
    match moves {
        None => findings.push(unknown("the tables that it moves rows out of", spec)),
        Some(Err(Refusal { message, is_of_rights })) => {
            let level = if *is_of_rights { Level::Error } else { Level::Warning };
            let found = format!("the job {name} would refuse: {message}");
            findings.push(Finding::new(level, Check::Rights, found).because("no row would be moved"));
        }
        Some(Ok(moves)) => {
            let count = moves.uses.iter().filter(|(_, purpose)| *purpose == Use::Moves).count();
            let found = format!("{name} may do its work on all {count} tables that it moves rows out of");
            findings.push(Finding::new(Level::Ok, Check::Rights, found));
            let after = aftercare(spec, moves, facts);
            let judged = after.iter().map(|(work, tables)| judge_maintain(*work, tables, false, spec, facts));
            findings.extend(judged.filter(|finding| finding.level != Level::Ok));
        }
    }
    let (role, database) = (Ident(server.role.clone()), Ident(server.database.clone()));
    let is_made = matches!(moves, Some(Ok(moves)) if moves.is_made);
    let needed = [(server.may_create || is_made, "CREATE"), (server.may_use_temporary, "TEMPORARY")];
    let missing: Vec<&str> = needed.iter().filter(|(given, _)| !given).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.push(
            Finding::new(
                Level::Error,
                Check::Rights,
                format!("the role {role} has no {missing} on the database {database}"),
            )
            .because("the archive is a schema that it makes, and a move lists its rows in a temporary table")
            .remedy("grant it, as the database's owner or a superuser")
            .sql(format!("GRANT {missing} ON DATABASE {database} TO {role};")),
        );
    }
    findings.into_iter().map(|finding| finding.of_job(name)).collect()
}

/// The tables that an archival moves rows out of, and what it does to them afterwards.
pub(super) fn aftercare<'a>(spec: &JobSpec, moves: &Moves, facts: &'a Facts) -> Vec<(Work, Vec<&'a Table>)> {
    let left = |table: &&Table| {
        let name = table.qualified();
        moves.uses.iter().any(|(used, purpose)| *purpose == Use::Moves && *used == name)
    };
    let tables: Vec<&Table> = facts.tables.iter().filter(left).collect();
    let works = [("vacuum", Work::Vacuum), ("reindex", Work::Rebuild)];
    let wanted = works.into_iter().filter(|(key, _)| spec.with[*key].as_bool().unwrap_or(true));
    wanted.map(|(_, work)| (work, tables.clone())).collect()
}

/// `is_open`: tables that do not exist yet are chosen as well.
fn judge_maintain(work: Work, chosen: &[&Table], is_open: bool, spec: &JobSpec, facts: &Facts) -> Finding {
    let lacking: Vec<&Table> =
        chosen.iter().copied().filter(|table| !table.allows(work) || !table.schema_open).collect();
    let role = Ident(facts.server.role.clone());
    if lacking.is_empty() {
        let found = format!("{} may do its work on all {} tables that it is for", spec.name, chosen.len());
        return Finding::new(Level::Ok, Check::Rights, found).of_job(&spec.name);
    }
    let names = list(lacking.iter().map(|table| table.qualified()));
    let (count, all) = (lacking.len(), chosen.len());
    let what = match work {
        Work::Vacuum => "maintain",
        Work::Rebuild => "rebuild indexes of",
    };
    let found = format!("the role {role} may not {what} {count} of {all} tables of the job {}: {names}", spec.name);
    let why = match work {
        Work::Vacuum => {
            "the server skips a table that the role may not maintain: its run would be `partial` every time"
        }
        Work::Rebuild => {
            "only an owner may drop what an interrupted rebuild leaves, so that none is begun: its run would be `partial` every time"
        }
    };
    let finding = Finding::new(Level::Error, Check::Rights, found).because(why).of_job(&spec.name);
    let Grants { grants, unowned } = grants(work, &lacking, is_open, facts.server.major(), &role);
    let remedy = if unowned.is_empty() {
        "grant what is missing, as a superuser, or exclude the tables".to_owned()
    } else {
        format!(
            "grant what is missing, as a superuser; {} belong to a superuser, of whom no safe role is a member: \
             give them to another owner, or exclude them",
            list(unowned.iter())
        )
    };
    finding.remedy(remedy).sql(grants.join("\n"))
}

/// The statements that let a role maintain tables, and the tables that no statement would do it for.
pub(super) struct Grants {
    pub(super) grants: Vec<String>,
    /// Tables of superusers for which there is no narrower right than membership.
    pub(super) unowned: Vec<Qualified>,
}

/// What lets a role do a work on these tables: the narrowest that also holds for what the choice will mean tomorrow.
pub(super) fn grants(work: Work, tables: &[&Table], is_open: bool, major: i32, role: &Ident) -> Grants {
    let schemas: BTreeSet<&str> =
        tables.iter().filter(|table| !table.schema_open).map(|table| table.schema.as_str()).collect();
    let usage =
        schemas.iter().map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {role};", Ident((*schema).to_owned())));
    let mut grants: Vec<String> = usage.collect();
    let closed: Vec<&&Table> = tables.iter().filter(|table| !table.allows(work)).collect();
    let mut unowned = Vec::new();
    if major < 17 || work == Work::Rebuild {
        unowned.extend(closed.iter().filter(|table| table.owner_is_superuser).map(|table| table.qualified()));
        let owners: BTreeSet<&str> = closed
            .iter()
            .filter(|table| !table.owner_is_superuser && table.owner != role.0)
            .map(|table| table.owner.as_str())
            .collect();
        grants.extend(owners.iter().map(|owner| format!("GRANT {} TO {role};", Ident((*owner).to_owned()))));
    } else if is_open && !closed.is_empty() {
        grants.push(format!("GRANT pg_maintain TO {role};"));
    } else {
        grants.extend(closed.iter().map(|table| format!("GRANT MAINTAIN ON TABLE {} TO {role};", table.qualified())));
    }
    Grants { grants, unowned }
}

/// What is missing for the ledger in the control database.
pub(super) fn judge_ledger_rights(facts: &Facts) -> Option<Finding> {
    let (server, ledger) = (&facts.server, &facts.ledger);
    let (role, database) = (Ident(server.role.clone()), Ident(server.database.clone()));
    let finding = |found: String, sql: String| {
        Finding::new(Level::Error, Check::Rights, found)
            .because("no run can be written down, so none is begun")
            .remedy("grant it, as the database's owner or a superuser")
            .sql(sql)
    };
    if !ledger.present {
        return (!server.may_create).then(|| {
            let found = format!("the role {role} may not create the ledger's schema in the control database");
            finding(found, format!("GRANT CREATE ON DATABASE {database} TO {role};"))
        });
    }
    if ledger.usable && ledger.closed.is_empty() {
        return None;
    }
    let found = format!("the role {role} may not write the ledger: {}", list(ledger.closed.iter()));
    let sql = format!(
        "GRANT USAGE ON SCHEMA pgupkeep TO {role};\n\
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgupkeep TO {role};"
    );
    Some(finding(found, sql))
}
