//! Repositories: where backups are, and which of them a job means.

use std::path::PathBuf;

use serde_json::{Map, Value};
use url::Url;

use super::file;
use super::problem::{Finding, one_of, quote};
use super::read::{At, Reader};
use super::value::{Names, Part};
use crate::names::RepositoryName;
use crate::repository::{Place, Repositories};

/// The key of a job's `with:` that names a repository.
const KEY: &str = "repository";

/// The repositories that are right, and the names of all.
pub(super) struct Known {
    pub(super) good: Repositories,
    names: Vec<String>,
}

pub(super) fn resolve_repositories(
    section: Option<&Part<Names<Part<file::Repository>>>>,
    reader: &mut Reader<'_>,
) -> Known {
    let at = At::top().key("repositories");
    let mut known = Known { good: Repositories::default(), names: Vec::new() };
    let parts = section.and_then(|section| reader.read::<Names<Part<file::Repository>>>(&section.value, &at));
    for (name, part) in parts.map(|parts| parts.0).unwrap_or_default() {
        let at = at.key(&name);
        let parsed = RepositoryName::parse(&name);
        if let Err(error) = &parsed {
            reader.refuse_key(&at, Finding::new(error.to_string()));
        }
        known.names.push(name);
        let Some(typed) = reader.read_map::<file::Repository>(&part.value, &at) else { continue };
        match typed.url.as_deref().map(place_of) {
            Some(Ok(path)) => {
                if let Ok(name) = parsed {
                    known.good.0.insert(name, Place::Folder(path));
                }
            }
            Some(Err(finding)) => reader.refuse(&at.key("url"), finding),
            None => {}
        }
    }
    known
}

/// The folder that a URL means.
fn place_of(text: &str) -> Result<PathBuf, Finding> {
    const FORM: &str = "file:// and an absolute path, such as file:///var/backups/pgupkeep";
    let url = Url::parse(text).map_err(|_| Finding::new("this is not a URL").expected(FORM))?;
    if url.scheme() != "file" {
        let finding = Finding::new(format!("a repository cannot be at {} yet", quote(&format!("{}:", url.scheme()))));
        return Err(finding.expected(FORM));
    }
    if !text.starts_with("file:///") || url.query().is_some() || url.fragment().is_some() {
        return Err(Finding::new("this URL is not that of a folder of this machine").expected(FORM));
    }
    let path = url.to_file_path().map_err(|()| Finding::new("this URL has no path").expected(FORM))?;
    if path.parent().is_none() {
        return Err(Finding::new("the whole file system is no repository").expected(FORM));
    }
    Ok(path)
}

/// Whether a job can do without a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It cannot.
    Always,
    /// It uses one where there is one.
    IfThereIsOne,
}

/// Sees to it that a job's parameters name a repository that there is; the only one need not be named.
pub(super) fn take_repository(
    parameters: &mut Map<String, Value>,
    at: &At,
    known: &Known,
    need: Need,
    reader: &mut Reader<'_>,
) -> Option<()> {
    let names = known.names.iter().map(String::as_str);
    match (parameters.get(KEY), known.names.as_slice()) {
        // What is no text is refused by the kind.
        (Some(Value::String(named)), _) if !known.names.contains(named) => {
            let finding = Finding::new(format!("there is no repository {}", quote(named)));
            let finding = match known.names.len() {
                0 => finding.expected("one under `repositories`"),
                _ => finding.expected(one_of(names.clone())),
            };
            reader.refuse(&at.key(KEY), finding.nearest(named, names));
            None
        }
        (Some(_), _) => Some(()),
        (None, [only]) => {
            parameters.insert(KEY.to_owned(), Value::String(only.clone()));
            Some(())
        }
        (None, []) if need == Need::IfThereIsOne => Some(()),
        (None, []) => {
            let finding = Finding::new("a backup needs a place, and there is none");
            reader.refuse(at, finding.expected("`repositories: { local: { url: \"file:///var/backups/pgupkeep\" } }`"));
            None
        }
        (None, _) => {
            let finding = Finding::new("there are several repositories, and none is named here");
            reader.refuse(at, finding.expected(format!("`repository`: {}", one_of(names))));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_folder_by_its_url() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = place_of(text).map_err(|finding| finding.stand_at("f", (1, 1), "").to_string());
            match expected {
                Ok(path) => assert_eq!(found, Ok(PathBuf::from(path)), "{text}"),
                Err(words) => assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{text}: {found:?}"),
            }
        };
        check("file:///var/backups/pgupkeep", Ok("/var/backups/pgupkeep"));
        check("file:///var/my%20backups", Ok("/var/my backups"));
        check("/var/backups", Err("not a URL"));
        check("file:backups", Err("not that of a folder"));
        check("file://host/backups", Err("not that of a folder"));
        check("file:///var/backups?x=1", Err("not that of a folder"));
        check("file:///", Err("whole file system"));
        check("s3://bucket/prefix", Err("cannot be at `s3:` yet"));
    }
}
