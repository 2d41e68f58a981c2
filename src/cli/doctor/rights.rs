//! What each kind of job needs to be allowed, and what of that is missing, with the very GRANT. Pure.
//!
//! A new kind gets its line in [`needs`]; a test says so.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::{Check, Finding, Level};
use super::server::list;
use crate::jobs::JobSpec;
use crate::jobs::backup::is_of_the_provider;
use crate::jobs::pattern::{TablePattern, glob};
use crate::pg::inspect::{Database, Facts, Table};
use crate::pg::statement::{Ident, Qualified};

impl Table {
    /// Its name with its schema.
    pub(super) fn qualified(&self) -> Qualified {
        Qualified::new(self.schema.clone(), self.name.clone())
    }
}

/// What a job needs to be allowed on its target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Need {
    /// To maintain (VACUUM, ANALYZE, REINDEX) the tables that are chosen.
    Maintain(Choice),
    /// To write the ledger's tables, which every daemon may.
    Ledger,
    /// To read every table of the server, except of the databases that these patterns mean.
    ReadAll(Vec<String>),
    /// What only a plan can tell, since it depends on what there is to move.
    Planned,
    /// Whatever an operator's own statement needs, which nobody can tell beforehand.
    Unknowable,
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

    fn means(&self, table: &Qualified) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(table)))
            && !self.exclude.iter().any(|pattern| pattern.matches(table))
    }

    /// Whether tables that do not exist yet are chosen as well, wherever they will be.
    pub(super) const fn is_open(&self) -> bool {
        self.include.is_empty()
    }

    /// The tables chosen.
    pub(super) fn tables<'a>(&self, facts: &'a Facts) -> Vec<&'a Table> {
        facts.tables.iter().filter(|table| self.means(&table.qualified())).collect()
    }
}

/// What a job needs; `None` for a kind that nothing is known of here.
pub(super) fn needs(spec: &JobSpec) -> Option<Vec<Need>> {
    match spec.kind.as_str() {
        "vacuum" | "reindex" => Some(vec![Need::Maintain(Choice::of(&spec.with))]),
        "backup" => {
            let exclude = serde_json::from_value(spec.with["exclude"].clone());
            Some(vec![Need::ReadAll(exclude.unwrap_or_default())])
        }
        "archive" | "archive_restore" => Some(vec![Need::Planned]),
        "sql" => Some(vec![Need::Unknowable]),
        "prune_history" => Some(vec![Need::Ledger]),
        // Each of its jobs is judged by its own kind.
        "sequence" => Some(Vec::new()),
        _ => None,
    }
}

/// What a job lacks on one of its targets, the jobs of a sequence included.
pub(super) fn judge_job(spec: &JobSpec, facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match needs(spec) {
        None => vec![unknown("its kind, of which nothing is known here", spec)],
        Some(needs) => needs.iter().flat_map(|need| judge_need(need, spec, facts)).collect(),
    };
    findings.extend(spec.inner.iter().flat_map(|inner| judge_job(inner, facts)));
    findings
}

fn unknown(what: &str, spec: &JobSpec) -> Finding {
    let found = format!("what the job {} needs to be allowed depends on {what}", spec.name);
    Finding::new(Level::Note, Check::Rights, found)
        .because("it is not known before it runs")
        .remedy("run it once by hand")
        .of_job(&spec.name)
}

fn judge_read_all(spec: &JobSpec, facts: &Facts) -> Finding {
    let (name, role) = (&spec.name, Ident(facts.server.role.clone()));
    if facts.server.is_superuser || facts.server.reads_all {
        return Finding::new(Level::Ok, Check::Rights, format!("{name} may read every table of the server"))
            .of_job(name);
    }
    Finding::new(Level::Note, Check::Rights, format!("the job {name} reads every table of every database as {role}"))
        .because("a database that the role may not read makes the backup incomplete, and its step names the table")
        .remedy("grant it where it is missing, as a superuser")
        .sql(format!("GRANT pg_read_all_data TO {role};"))
        .of_job(name)
}

/// The databases of the server that a dump is meant to hold.
pub(super) fn dumped<'a>(exclude: &'a [String], facts: &'a Facts) -> impl Iterator<Item = &'a Database> {
    facts.databases.iter().filter(|database| !exclude.iter().any(|pattern| glob(pattern, &database.name)))
}

fn judge_connect(exclude: &[String], spec: &JobSpec, facts: &Facts) -> Option<Finding> {
    let (name, role) = (&spec.name, Ident(facts.server.role.clone()));
    let closed: Vec<Ident> = dumped(exclude, facts)
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

fn planned(spec: &JobSpec) -> Finding {
    let name = &spec.name;
    let found = format!("what the job {name} needs to be allowed depends on the tables that it moves rows out of");
    Finding::new(Level::Note, Check::Rights, found)
        .because("a plan looks at them, and names each right that is missing with its GRANT")
        .remedy(format!("run `pgupkeep plan {name}`"))
        .of_job(name)
}

fn judge_need(need: &Need, spec: &JobSpec, facts: &Facts) -> Vec<Finding> {
    match need {
        Need::Maintain(choice) => vec![judge_maintain(choice, spec, facts)],
        // The ledger's rights are judged where the ledger is, for every job at once.
        Need::Ledger => Vec::new(),
        Need::ReadAll(exclude) => {
            let reading = judge_read_all(spec, facts);
            std::iter::once(reading).chain(judge_connect(exclude, spec, facts)).collect()
        }
        Need::Planned => vec![planned(spec)],
        Need::Unknowable => vec![unknown("its statement", spec)],
    }
}

fn judge_maintain(choice: &Choice, spec: &JobSpec, facts: &Facts) -> Finding {
    let chosen = choice.tables(facts);
    let lacking: Vec<&Table> = chosen.iter().copied().filter(|table| !table.permitted || !table.schema_open).collect();
    let role = Ident(facts.server.role.clone());
    if lacking.is_empty() {
        let found = format!("{} may do its work on all {} tables that it is for", spec.name, chosen.len());
        return Finding::new(Level::Ok, Check::Rights, found).of_job(&spec.name);
    }
    let names = list(lacking.iter().map(|table| table.qualified()));
    let (count, all) = (lacking.len(), chosen.len());
    let found = format!("the role {role} may not maintain {count} of {all} tables of the job {}: {names}", spec.name);
    let finding = Finding::new(Level::Error, Check::Rights, found)
        .because("the server skips a table that the role may not maintain: its run would be `partial` every time")
        .of_job(&spec.name);
    let Grants { grants, unowned } = grants(&lacking, choice, facts.server.major(), &role);
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
    /// Tables of superusers on a server that has no narrower right than membership.
    pub(super) unowned: Vec<Qualified>,
}

/// What lets a role maintain these tables: the narrowest that also holds for what the choice will mean tomorrow.
pub(super) fn grants(tables: &[&Table], choice: &Choice, major: i32, role: &Ident) -> Grants {
    let schemas: BTreeSet<&str> =
        tables.iter().filter(|table| !table.schema_open).map(|table| table.schema.as_str()).collect();
    let usage =
        schemas.iter().map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {role};", Ident((*schema).to_owned())));
    let mut grants: Vec<String> = usage.collect();
    let closed: Vec<&&Table> = tables.iter().filter(|table| !table.permitted).collect();
    let mut unowned = Vec::new();
    if major < 17 {
        unowned.extend(closed.iter().filter(|table| table.owner_is_superuser).map(|table| table.qualified()));
        let owners: BTreeSet<&str> = closed
            .iter()
            .filter(|table| !table.owner_is_superuser && table.owner != role.0)
            .map(|table| table.owner.as_str())
            .collect();
        grants.extend(owners.iter().map(|owner| format!("GRANT {} TO {role};", Ident((*owner).to_owned()))));
    } else if choice.is_open() && !closed.is_empty() {
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
