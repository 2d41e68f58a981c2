//! `docs/json.md` and what the commands print are kept in step.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs, path::Path};

use pgupkeep::cli::json;
use schemars::{Schema, schema_for};
use serde_json::Value;

/// Every type that `docs/json.md` tells the fields of.
fn documented() -> Vec<(&'static str, Schema)> {
    macro_rules! of { ($($name:ident)*) => { vec![$((stringify!($name), schema_for!(json::$name))),*] } }
    of!(Run Attempt Step Asked Plan Cancelled Checked Problem Job Entry Firing Status Daemon TargetState JobState
        ActiveRun Progress Diagnosis Finding Backup BackupCheck Damage PrunedRepository ArchiveList ArchiveRule
        ArchiveTable ArchiveGroup ArchiveGroupTable ArchiveDamage)
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")
}

fn table(schema: &Schema) -> String {
    let mut table = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    for (name, field) in schema.as_value()["properties"].as_object().unwrap() {
        let meaning = field["description"].as_str().unwrap_or_else(|| panic!("{name} says nothing of itself"));
        writeln!(table, "| `{name}` | {} | {} |", type_of(field), meaning.replace('\n', " ")).unwrap();
    }
    table
}

/// A field's type in the words of the document.
fn type_of(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        return match reference.rsplit('/').next().unwrap() {
            "Instant" => "instant".to_owned(),
            _ => "object".to_owned(),
        };
    }
    if let Some(choices) = field["anyOf"].as_array() {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let word = |word: &str| match word {
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!(
            "array of {}",
            match type_of(&field["items"]).as_str() {
                "text" => "texts",
                "number" => "numbers",
                "object" => "objects",
                other => panic!("an array of {other}"),
            }
        ),
        other => other.to_owned(),
    };
    match &field["type"] {
        Value::String(one) => word(one),
        Value::Array(several) => several.iter().map(|one| word(one.as_str().unwrap())).collect::<Vec<_>>().join(" or "),
        // Whatever a kind of job wants to say.
        _ => "anything".to_owned(),
    }
}

#[test]
fn the_document_tells_every_field_as_the_types_do() {
    let is = fs::read_to_string(path()).unwrap();
    let mut should_be = is.clone();
    for (name, schema) in documented() {
        let begin = format!("<!-- fields of {name} -->\n");
        let start =
            should_be.find(&begin).unwrap_or_else(|| panic!("docs/json.md says nothing of {name}")) + begin.len();
        let end = start + should_be[start..].find("<!-- end -->").unwrap();
        should_be.replace_range(start..end, &table(&schema));
    }
    if env::var_os("PGUPKEEP_UPDATE_DOCS").is_some() {
        fs::write(path(), &should_be).unwrap();
        return;
    }
    assert!(is == should_be, "docs/json.md is behind the types; run this test with PGUPKEEP_UPDATE_DOCS=1");
}

/// The fields that `docs/json.md` names for a type.
fn documented_fields(name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(path()).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- fields of {name} -->\n")).unwrap();
    let (table, _) = rest.split_once("<!-- end -->").unwrap();
    table.lines().skip(2).map(|line| line.split('`').nth(1).unwrap().to_owned()).collect()
}

/// Checks that an object which a command printed has the fields of the document, neither more nor fewer.
#[track_caller]
pub fn assert_documented(name: &str, printed: &Value) {
    let printed: BTreeSet<String> =
        printed.as_object().unwrap_or_else(|| panic!("{name}: {printed}")).keys().cloned().collect();
    assert_eq!(printed, documented_fields(name), "the fields of {name}");
}
