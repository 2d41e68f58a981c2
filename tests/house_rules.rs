//! Rules of the house that a compiler does not check.

use std::path::{Path, PathBuf};

fn source_files() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files
        .into_iter()
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The part of a file before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn each_floor_uses_only_floors_below_its_own() {
    let floors: &[&[&str]] = &[
        &["amounts", "clock", "lengths", "names", "run_state", "fault", "secret"],
        &["calendar", "policy"],
        &["pg", "ledger", "repository", "child"],
        &["jobs"],
        &["config"],
        &["engine"],
        &["cli", "http", "signals", "telemetry"],
    ];
    // What a lower floor may know of a higher one: plain descriptions of things, and the registry of kinds.
    let known = [
        ("pg", "config::Connection"),
        ("ledger", "config::Connection"),
        ("ledger", "jobs::JobSpec"),
        ("ledger", "jobs::Measures"),
        ("ledger", "jobs::JOB_KINDS"),
        ("jobs", "config::Connection"),
    ];
    let floor_of = |module: &str| floors.iter().position(|floor| floor.contains(&module));
    for (path, text) in source_files() {
        let module = path.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let Some(own) = floor_of(&module) else { continue };
        for line in product(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.match_indices("crate::").map(|(at, _)| &line[at + "crate::".len()..]) {
                let name: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let Some(floor) = floor_of(&name) else { continue };
                let excused = known.iter().any(|(who, what)| *who == module && used.starts_with(what));
                assert!(floor <= own || excused, "{}: floor {own} uses floor {floor}: {line}", path.display());
            }
        }
    }
}

#[test]
fn words_that_mean_nothing_are_not_used_as_names() {
    let banned =
        ["task", "manager", "handler", "service", "helper", "utils", "common", "misc", "misfire", "reaper", "ttl"];
    for (path, text) in source_files() {
        for line in text.lines() {
            let code = line.split("//").next().unwrap();
            for word in code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let is_banned = word.to_lowercase().split('_').any(|part| banned.contains(&part));
                // What tokio, hyper and object_store have named has to be called by its name where it is used.
                let foreign = word == "common_prefixes"
                    || ["tokio::task", "hyper::service", "SERVICE_UNAVAILABLE"].iter().any(|name| line.contains(name));
                assert!(!is_banned || foreign, "{}: {word} in: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_kind_of_job_is_registered_once_and_documented() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/jobs.md")).unwrap();
    let mut names: Vec<&str> = pgupkeep::jobs::JOB_KINDS.iter().map(|kind| kind.name).collect();
    for name in &names {
        assert!(docs.contains(&format!("\n## {name}\n")), "docs/jobs.md has a chapter for {name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
