//! From a table of the configuration to a rule: the table, and every table that refers to it.

use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::super::catalogue::{TableFacts, find_tables, read_foreign_keys, read_tables};
use super::super::condition::{self, ConditionError};
use super::super::graph::{ForeignKey, Member, Outside, equal, refers_from_outside, tree};
use super::super::rule::{Chunks, PICKED, Part, Reason, Root, Rule, Use, name_of};
use super::super::spec::Archive;
use super::checks::{check_ordinary, check_rights, warn_of, warn_of_publications, warn_of_scan};
use super::{Moment, instant, lock, refused, using};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::statement::{Ident, Qualified};

pub(super) async fn resolve(
    spec: &Archive,
    root: &Qualified,
    moment: &Moment,
    conn: &mut PgConnection,
) -> Result<Rule, JobError> {
    let Some(oid) = &find_root(root, conn).await? else {
        return Err(refused(format!("there is no table {root}, or the role may not see it")));
    };
    let keys = read_foreign_keys(conn).await?;
    let stays = |table: &Qualified| spec.stay.iter().any(|pattern| pattern.matches(table));
    let tree = tree((*oid, root), &keys, &stays).map_err(|circle| refused(circle.to_string()))?;
    let oids: Vec<Oid> = tree.members.iter().map(|member| member.oid).collect();
    let facts = read_tables(conn, &oids).await?;
    let oids: Vec<Oid> = tree.outside.iter().map(|outside| outside.key.child).collect();
    let outside = read_tables(conn, &oids).await?;
    let of = |oid: Oid| {
        let found = facts.iter().find(|facts| facts.oid == oid);
        found.ok_or_else(|| refused(format!("a table that moves with {} is gone", root.plain())))
    };
    for member in &tree.members {
        check_ordinary(of(member.oid)?)?;
    }
    let moving = facts.iter().map(|facts| (facts, Use::Moves));
    let uses: Vec<(&TableFacts, Use)> = moving.chain(outside.iter().map(|facts| (facts, Use::Reads))).collect();
    check_rights(&uses)?;
    if let Some(condition) = &spec.condition {
        check_condition(condition, root, conn).await?;
    }
    let keys_of_root = keys_of_root(of(*oid)?, &tree.members, &tree.outside)?;
    let parts = tree.members.iter().map(|member| part(member, of(member.oid)?, &keys_of_root));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let referred_to = |oid: Oid| keys.iter().any(|key| key.parent == oid && key.child != oid);
    let locks = parts.iter().rev().filter(|part| part.oid != *oid && referred_to(part.oid)).map(lock).collect();
    let warnings = warnings(&parts, &tree.members, &keys, &facts, conn).await?;
    Ok(Rule {
        name: name_of(root),
        condition: spec.condition(),
        cutoff: moment.cutoff.clone(),
        root: root_of(spec, of(*oid)?, keys_of_root, &tree.outside, moment)?,
        locks,
        parts,
        marks: Vec::new(),
        inner: Vec::new(),
        unmarks: Vec::new(),
        wanted: None,
        schema_version: None,
        warnings,
        uses: uses.iter().map(|(facts, purpose)| (facts.name.clone(), *purpose)).collect(),
    })
}

/// The number of a table, where there is one of that name that the role may see.
pub(super) async fn find_root(root: &Qualified, conn: &mut PgConnection) -> Result<Option<Oid>, JobError> {
    let found = find_tables(conn, &root.schema.0, std::slice::from_ref(&root.name.0)).await?;
    Ok(found.first().map(|(oid, _)| *oid))
}

/// The root's columns that anything joins on, its primary key first.
fn keys_of_root(facts: &TableFacts, members: &[Member], outside: &[Outside]) -> Result<Vec<(Ident, String)>, JobError> {
    let mut names: Vec<Ident> = facts.primary_key.iter().cloned().map(Ident).collect();
    let first = |path: &[ForeignKey]| path.first().map(|key| key.parent_columns.clone()).unwrap_or_default();
    let joined = members
        .iter()
        .flat_map(|member| first(&member.path))
        .chain(outside.iter().flat_map(|outside| first(&outside.path)));
    for name in joined {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let typed = names.into_iter().map(|name| match facts.column(&name.0) {
        Some(column) => Ok((name, column.sql_type.clone())),
        None => Err(refused(format!("{} has no column {name}", facts.name.plain()))),
    });
    typed.collect()
}

/// A table's rows, found by the way of foreign keys that leads to it from the picked roots.
fn part(member: &Member, facts: &TableFacts, keys: &[(Ident, String)]) -> Result<Part, JobError> {
    let Some((last, before)) = member.path.split_last() else {
        return Ok(Part {
            table: facts.name.clone(),
            oid: facts.oid,
            using: PICKED.to_owned(),
            on: "t.ctid = p.tid".to_owned(),
            indexed: true,
            kept: None,
            series: Vec::new(),
            order: Vec::new(),
            group_columns: Vec::new(),
        });
    };
    // The roots' columns are k1, k2, .. in the list of those that are picked.
    let of_root = |columns: &[Ident]| {
        let place = |column: &Ident| keys.iter().position(|(key, _)| key == column);
        let places = columns.iter().map(|column| place(column).map(|place| Ident(format!("k{}", place + 1))));
        places.collect::<Option<Vec<_>>>().ok_or_else(|| refused(format!("{} has lost a key", facts.name.plain())))
    };
    let mut joins = Vec::new();
    let mut above = "p".to_owned();
    for (depth, key) in before.iter().enumerate() {
        let alias = format!("a{}", depth + 1);
        let parents = if depth == 0 { of_root(&key.parent_columns)? } else { key.parent_columns.clone() };
        let condition = equal((&alias, &key.child_columns), (&above, &parents));
        joins.push(format!("JOIN {} {alias} ON {condition}", key.child_table));
        above = alias;
    }
    let parents = if before.is_empty() { of_root(&last.parent_columns)? } else { last.parent_columns.clone() };
    let names: Vec<String> = last.child_columns.iter().map(|column| column.0.clone()).collect();
    let joins = (!joins.is_empty()).then(|| joins.join(" "));
    Ok(Part {
        table: facts.name.clone(),
        oid: facts.oid,
        using: using(joins.as_deref()),
        on: equal(("t", &last.child_columns), (&above, &parents)),
        indexed: facts.is_indexed_by(&names),
        kept: None,
        series: Vec::new(),
        order: Vec::new(),
        group_columns: Vec::new(),
    })
}

/// Refuses a condition that is none by itself: with a bracket too many it would switch off what it is joined to.
pub(super) async fn check_condition(
    condition: &str,
    root: &Qualified,
    conn: &mut PgConnection,
) -> Result<(), JobError> {
    condition::check(condition, root, conn).await.map_err(|error| match error {
        ConditionError::Pg(error) if error.fault() != Fault::Statement => error.into(),
        error => refused(format!("`where` is no condition over {}: {error}", root.plain())),
    })
}

fn root_of(
    spec: &Archive,
    facts: &TableFacts,
    keys: Vec<(Ident, String)>,
    outside: &[Outside],
    moment: &Moment,
) -> Result<Root, JobError> {
    let age = spec.age.as_deref().map(|name| Age::find(spec, facts, name)).transpose()?;
    let reasons: Vec<Reason> = outside
        .iter()
        .map(|outside| Reason {
            because: format!(
                "rows of {} that do not move{} refer to them",
                outside.key.child_table.plain(),
                if outside.key.on_delete.outlives() { ", since their key lets them live on alone," } else { "" }
            ),
            when: refers_from_outside(outside),
        })
        .collect();
    let old = age.as_ref().map(|age| age.is_old(moment));
    // On lines of its own, so that a comment in it ends before what follows.
    let wanted = spec.condition.as_ref().map(|condition| format!("(\n{condition}\n)"));
    let conditions: Vec<String> =
        old.into_iter().chain(wanted).chain(reasons.iter().map(|reason| format!("NOT ({})", reason.when))).collect();
    let eligible = conditions.join("\n AND ");
    // Of rows without an age nothing is known but when they were moved.
    let activity = age.as_ref().map_or_else(|| "now()".to_owned(), Age::instant);
    let group = match &age {
        Some(age) => format!("coalesce(to_char({} AT TIME ZONE 'UTC', 'YYYY-MM'), 'never')", age.instant()),
        None => "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')".to_owned(),
    };
    let old_or_wanted = conditions.len() - reasons.len();
    Ok(Root {
        table: facts.name.clone(),
        oid: facts.oid,
        keys,
        group,
        by_archival: age.is_none(),
        // What is told of rows that stay is told of those that are old.
        filled: Some(conditions[..old_or_wanted].join("\n AND ")),
        fenced: eligible.clone(),
        eligible,
        reasons,
        held_with: Vec::new(),
        activity,
        chunks: Chunks::Pages,
        leaves: true,
    })
}

/// The column that tells a row's age.
enum Age {
    TimestampTz(Ident),
    Timestamp(Ident),
    Date(Ident),
    Number(Ident, i64),
}

impl Age {
    fn find(spec: &Archive, facts: &TableFacts, name: &str) -> Result<Self, JobError> {
        let column = facts.column(name);
        let column = column.ok_or_else(|| refused(format!("{} has no column {name} (age)", facts.name.plain())))?;
        let ident = Ident(name.to_owned());
        match (column.type_name.as_str(), spec.age_unit) {
            ("timestamptz", None) => Ok(Self::TimestampTz(ident)),
            ("timestamp", None) => Ok(Self::Timestamp(ident)),
            ("date", None) => Ok(Self::Date(ident)),
            ("int4" | "int8", Some(unit)) => Ok(Self::Number(ident, unit.per_second())),
            ("int4" | "int8", None) => Err(refused(format!(
                "{}.{name} is a number; say what it counts with `age_unit: seconds`, milliseconds, microseconds or \
                 nanoseconds",
                facts.name.plain()
            ))),
            (_, Some(_)) => Err(refused(format!(
                "{}.{name} is of type {}; `age_unit` goes with integers",
                facts.name.plain(),
                column.sql_type
            ))),
            (_, None) => Err(refused(format!(
                "{}.{name} is of type {}, which tells no age; expected timestamptz, timestamp, date or an integer",
                facts.name.plain(),
                column.sql_type
            ))),
        }
    }

    /// `timestamptz` over `r`; times without a zone are taken for UTC.
    fn instant(&self) -> String {
        match self {
            Self::TimestampTz(name) => format!("r.{name}"),
            Self::Timestamp(name) => format!("(r.{name} AT TIME ZONE 'UTC')"),
            Self::Date(name) => format!("(r.{name}::timestamp AT TIME ZONE 'UTC')"),
            // Whatever stands in it shall be told: a number beyond the calendar counts as its end.
            Self::Number(name, per_second) => {
                let seconds = format!("r.{name}::double precision / {per_second}");
                format!("to_timestamp(least(greatest({seconds}, -210866803200), 9224318015999))")
            }
        }
    }

    /// The condition that a row is old, in the column's own type, so that an index on it helps.
    fn is_old(&self, moment: &Moment) -> String {
        let cutoff = instant(&moment.cutoff);
        match self {
            Self::TimestampTz(name) => format!("r.{name} < {cutoff}"),
            Self::Timestamp(name) => format!("r.{name} < ({cutoff} AT TIME ZONE 'UTC')"),
            Self::Date(name) => format!("r.{name} < ({cutoff} AT TIME ZONE 'UTC')::date"),
            Self::Number(name, per_second) => {
                let cutoff = i128::from(moment.cutoff_us) * i128::from(*per_second) / 1_000_000;
                format!("r.{name} < {cutoff}")
            }
        }
    }
}

async fn warnings(
    parts: &[Part],
    members: &[Member],
    keys: &[ForeignKey],
    facts: &[TableFacts],
    conn: &mut PgConnection,
) -> Result<Vec<String>, JobError> {
    let mut warnings: Vec<String> = facts.iter().flat_map(warn_of).collect();
    for (part, member) in parts.iter().zip(members) {
        if let (false, Some(key)) = (part.indexed, member.path.last()) {
            let columns = key.child_columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "{} has no index on ({columns}), so that each batch reads the whole of it; CREATE INDEX CONCURRENTLY ON {} \
                 ({columns})",
                part.table.plain(),
                part.table
            ));
        }
    }
    warnings.extend(warn_of_publications(&facts.iter().collect::<Vec<_>>()));
    let among = |oid: Oid| members.iter().any(|member| member.oid == oid);
    let outside: Vec<&ForeignKey> = keys.iter().filter(|key| among(key.parent) && !among(key.child)).collect();
    let children: Vec<Oid> = outside.iter().map(|key| key.child).collect();
    let children = read_tables(conn, &children).await?;
    for key in outside {
        warnings.extend(warn_of_scan(key, children.iter().find(|child| child.oid == key.child)));
    }
    warnings.dedup();
    Ok(warnings)
}
