//! Targets, the control database, and how each is reached.

use std::collections::BTreeMap;
use std::path::Path;

use super::env::{Found, Source, UrlPassword, Variables, check_url, look_up};
use super::limits::{self, count, non_zero};
use super::problem::{Finding, one_of, quote};
use super::read::{At, Reader};
use super::value::{Names, Part, Reference};
use super::{Connection, Control, Target, file};
use crate::names::TargetName;
use crate::secret::Secret;

/// How many runs may work on a target at a time, unless it says so.
const MAX_RUNS: u32 = 2;

/// Follows references, and collects every secret that turns up.
pub(super) struct Lookup<'a> {
    pub(super) folder: &'a Path,
    pub(super) variables: Variables<'a>,
    pub(super) secrets: Vec<Secret>,
}

/// The targets that are right, and the names of all.
pub(super) struct Targets {
    pub(super) good: BTreeMap<TargetName, Target>,
    /// Every name, right or wrong, in the order of the file.
    pub(super) names: Vec<String>,
}

pub(super) fn resolve_targets(
    section: Option<&Part<Names<Part<file::Target>>>>,
    lookup: &mut Lookup<'_>,
    reader: &mut Reader<'_>,
) -> Targets {
    let at = At::top().key("targets");
    let mut targets = Targets { good: BTreeMap::new(), names: Vec::new() };
    let Some(section) = section else {
        reader.refuse_key(&At::top(), Finding::new("the key `targets` is missing").expected("at least one target"));
        return targets;
    };
    let Some(parts) = reader.read::<Names<Part<file::Target>>>(&section.value, &at) else { return targets };
    if parts.0.is_empty() {
        reader.refuse(&at, Finding::new("there is no target").expected("at least one"));
    }
    let mut places = BTreeMap::new();
    for (name, part) in parts.0 {
        let at = at.key(&name);
        let parsed = TargetName::parse(&name);
        if let Err(error) = &parsed {
            reader.refuse_key(&at, Finding::new(error.to_string()));
        }
        targets.names.push(name);
        let Some(typed) = reader.read_map::<file::Target>(&part.value, &at) else { continue };
        let connection = resolve_connection(typed.url.as_ref(), typed.password.as_ref(), &at, lookup, reader);
        let max_runs = count(typed.max_runs, &limits::WORKERS, &at.key("max_runs"), reader).unwrap_or(MAX_RUNS);
        if let (Ok(name), Some(connection)) = (parsed, connection) {
            if let Some(place) = connection.place()
                && let Some(other) = places.insert(place, name.clone())
            {
                let other = quote(other.as_str());
                let message = format!(
                    "this is the database of the target {other}, too, and limits such as `max_runs` count for each target alone"
                );
                reader.warn_key(&at, Finding::new(message).expected("one target for each database"));
            }
            let max_runs = non_zero(max_runs);
            targets.good.insert(name.clone(), Target { name, connection, max_runs, preset: typed.preset });
        }
    }
    targets
}

pub(super) fn resolve_control(
    section: Option<&Part<file::Control>>,
    targets: &Targets,
    lookup: &mut Lookup<'_>,
    reader: &mut Reader<'_>,
) -> Option<Control> {
    let at = At::top().key("control");
    let name = match section {
        None => targets.names.first()?.clone(),
        Some(part) => match reader.read::<file::Control>(&part.value, &at)? {
            file::Control::Target(name) => name,
            file::Control::Database(typed) => {
                reader.tell_missing::<file::ControlDatabase>(&part.value, &at);
                let connection = resolve_connection(typed.url.as_ref(), typed.password.as_ref(), &at, lookup, reader)?;
                return Some(Control { target: None, connection });
            }
        },
    };
    if !targets.names.contains(&name) {
        // Someone may have put a URL here, so what was found is not quoted.
        let finding = Finding::new("there is no target of this name");
        let names = targets.names.iter().map(String::as_str);
        let expected = format!("{{ url: \"env:NAME\" }} or {}", one_of(names.clone()));
        reader.refuse(&at, finding.expected(expected).nearest(&name, names));
        return None;
    }
    let target = targets.good.values().find(|target| target.name.as_str() == name)?;
    Some(Control { target: Some(target.name.clone()), connection: target.connection.clone() })
}

fn resolve_connection(
    url: Option<&Reference>,
    password: Option<&Reference>,
    at: &At,
    lookup: &mut Lookup<'_>,
    reader: &mut Reader<'_>,
) -> Option<Connection> {
    let password = match password {
        None => Ok(None),
        Some(password) => resolve_reference(password, &at.key("password"), lookup, reader).map(Some).ok_or(()),
    };
    if let Ok(Some(Found { source: Source::Literal, .. })) = &password {
        let message = "the password stands in this file, where everybody who may read it sees it";
        reader.warn(&at.key("password"), Finding::new(message).expected("`env:NAME` or `file:PATH`"));
    }
    let at = at.key("url");
    let url = resolve_reference(url?, &at, lookup, reader)?;
    match check_url(url.value.expose()) {
        Err(finding) => {
            reader.refuse(&at, finding);
            return None;
        }
        Ok(checked) => {
            lookup.secrets.extend(checked.secrets);
            if (url.source, checked.password) == (Source::Literal, UrlPassword::Present) {
                let message = "the URL's password stands in this file, where everybody who may read it sees it";
                reader.warn(
                    &at,
                    Finding::new(message).expected("`url: env:NAME`, or a URL without it and `password: env:NAME`"),
                );
            }
        }
    }
    let password = password.ok()?.map(|found| found.value);
    lookup.secrets.extend(password.clone());
    Some(Connection { url: url.value, password })
}

fn resolve_reference(reference: &Reference, at: &At, lookup: &Lookup<'_>, reader: &mut Reader<'_>) -> Option<Found> {
    match look_up(reference, lookup.folder, lookup.variables) {
        Ok(found) => {
            if let Some(warning) = &found.warning {
                reader.warn(at, Finding::new(warning));
            }
            Some(found)
        }
        Err(finding) => {
            reader.refuse(at, finding);
            None
        }
    }
}

/// The finding for a target that does not exist.
pub(super) fn no_such_target(name: &str, targets: &Targets) -> Finding {
    let names = targets.names.iter().map(String::as_str);
    let finding = Finding::new(format!("there is no target {}", quote(name)));
    finding.expected(one_of(names.clone())).nearest(name, names)
}
