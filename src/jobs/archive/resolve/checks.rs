//! What keeps a table from losing rows, and what its owner should know beforehand.

use std::collections::BTreeSet;

use super::super::catalogue::TableFacts;
use super::super::graph::ForeignKey;
use super::super::rule::{Privilege, Use};
use super::refused;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::statement::Ident;

/// How the names of the columns begin that the archive's views for rows have of their own.
const RESERVED: &str = "pgupkeep_";

/// Refuses a table that a DELETE would not treat as it treats an ordinary one.
pub(super) fn check_ordinary(table: &TableFacts) -> Result<(), JobError> {
    let name = table.name.plain();
    let what = match table.kind.as_str() {
        "r" if table.persistence == "t" => "is a temporary table",
        "r" if table.is_partition => "is a partition: detach old partitions instead, which frees their space at once",
        "r" if table.has_children => "has tables that inherit from it, whose rows would be taken for its own",
        "r" if table.is_child => "inherits from another table, which would seem to lose rows",
        "r" => "",
        "p" => "is partitioned: detach old partitions instead, which frees their space at once",
        "v" => "is a view; name the table behind it",
        "m" => "is a materialized view; name the table behind it",
        "f" => "is a foreign table: archive it where it lives",
        _ => "is no table",
    };
    if !what.is_empty() {
        return Err(refused(format!("{name} {what}")));
    }
    if table.name.schema.0 == "pg_catalog" || table.name.schema.0 == "information_schema" {
        return Err(refused(format!("{name} belongs to the server itself")));
    }
    if table.row_security {
        let role = Ident(table.role.clone());
        return Err(refused(format!(
            "row-level security hides rows of {name} from us, so nobody could tell whether everything moved; let its \
             owner or a role with BYPASSRLS do the work (ALTER ROLE {role} BYPASSRLS)"
        )));
    }
    if let Some(column) = table.columns.iter().find(|column| column.name.starts_with(RESERVED)) {
        return Err(refused(format!("{name} has a column {}, which is a name of the archive's own", column.name)));
    }
    if let Some(constraint) = &table.deferrable {
        return Err(refused(format!(
            "the constraint {} of {name} is deferrable, so that rows could not be put back beside others of the same key; \
             make it NOT DEFERRABLE",
            Ident(constraint.clone())
        )));
    }
    if let Some(rule) = table.rules.first() {
        return Err(refused(format!(
            "the rule {} of {name} makes something else of what is sent, when rows leave or come back; drop it, or leave the \
             table out",
            Ident(rule.clone())
        )));
    }
    Ok(())
}

/// Refuses tables that we may not use as we have to, and names every GRANT that is missing.
pub(super) fn check_rights(uses: &[(&TableFacts, Use)]) -> Result<(), JobError> {
    let (mut names, mut grants, mut schemas) = (Vec::new(), Vec::new(), Vec::new());
    let mut locks = false;
    for (nth, (table, _)) in uses.iter().enumerate() {
        if uses[..nth].iter().any(|(before, _)| before.oid == table.oid) {
            continue;
        }
        let rights = table.rights;
        let given = |privilege| match privilege {
            Privilege::Select => rights.select,
            Privilege::Insert => rights.insert,
            Privilege::Update => rights.update,
            Privilege::Delete => rights.delete,
        };
        let of_it = uses.iter().filter(|(other, _)| other.oid == table.oid);
        let needed: BTreeSet<Privilege> = of_it.flat_map(|(_, purpose)| purpose.privileges()).copied().collect();
        let missing: Vec<Privilege> = needed.into_iter().filter(|privilege| !given(*privilege)).collect();
        let role = Ident(table.role.clone());
        if !rights.enter && !schemas.contains(&&table.name.schema) {
            schemas.push(&table.name.schema);
            grants.push(format!("GRANT USAGE ON SCHEMA {} TO {role}", table.name.schema));
        }
        if !missing.is_empty() {
            locks |= missing.contains(&Privilege::Update);
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            grants.push(format!("GRANT {} ON {} TO {role}", missing.join(", "), table.name));
        }
        if !rights.enter || !missing.is_empty() {
            names.push(table.name.plain());
        }
    }
    if grants.is_empty() {
        return Ok(());
    }
    let why = if locks { " (locking a row takes the right to update it)" } else { "" };
    let message =
        format!("rights are missing on {}{why}: {}; nothing was touched", names.join(", "), grants.join("; "));
    Err(JobError::Refused { fault: Fault::Privilege, message })
}

/// What the owner of a moving table should know.
pub(super) fn warn_of(table: &TableFacts) -> Vec<String> {
    let name = table.name.plain();
    let mut warnings = Vec::new();
    if !table.delete_triggers.is_empty() {
        warnings.push(format!(
            "triggers of {name} fire for every row that moves: {}",
            table
                .delete_triggers
                .iter()
                .map(|trigger| Ident(trigger.clone()).to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    if table.persistence == "u" {
        warnings.push(format!("{name} is unlogged: a crash of the server empties it; its archive is not"));
    }
    let publications =
        |names: &[String]| names.iter().map(|name| Ident(name.clone()).to_string()).collect::<Vec<_>>().join(", ");
    if !table.published.is_empty() && !table.has_identity {
        warnings.push(format!(
            "{name} is published ({}) without a replica identity, so that the server refuses to delete from it; give it a \
             primary key or REPLICA IDENTITY FULL",
            publications(&table.published)
        ));
    } else if !table.published.is_empty() {
        warnings.push(format!("subscribers of {} see the rows of {name} go", publications(&table.published)));
    }
    warnings
}

/// What follows from publications of every table.
pub(super) fn warn_of_publications(tables: &[&TableFacts]) -> Option<String> {
    let names = &tables.first()?.published_everything;
    let names: Vec<String> = names.iter().map(|name| Ident(name.clone()).to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} publishes every table, the archive's too: its subscribers stop at the first row for a table that they do \
             not have",
            names.join(", ")
        )
    })
}

/// What follows from references without an index: the server reads the whole referring table for each row that goes.
pub(super) fn warn_of_scan(key: &ForeignKey, child: Option<&TableFacts>) -> Option<String> {
    let columns: Vec<String> = key.child_columns.iter().map(|column| column.0.clone()).collect();
    let indexed = child.is_some_and(|child| child.is_indexed_by(&columns));
    (!indexed).then(|| {
        let columns: Vec<String> = key.child_columns.iter().map(ToString::to_string).collect();
        format!(
            "{} refers to {} without an index on ({}), so that the server reads the whole of it for every row that goes; \
             CREATE INDEX CONCURRENTLY ON {} ({})",
            key.child_table.plain(),
            key.parent_table.plain(),
            columns.join(", "),
            key.child_table,
            columns.join(", ")
        )
    })
}
