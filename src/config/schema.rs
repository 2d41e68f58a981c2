//! The JSON Schema of `schedules.yaml`, so that editors complete and check the file while it is typed.
//!
//! It is generated from the [`file`](super::file) mirror and the kinds' own specs, committed as
//! `docs/schedules.schema.json`, and kept in step by a test. Draft 7, since the YAML language server reads no newer one well.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::file::{Control, ControlDatabase, File};
use super::value::{Count, Names, Part, Reference};
use crate::jobs::JOB_KINDS;

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let kinds: Vec<(&str, Value)> =
        JOB_KINDS.iter().map(|kind| (kind.name, (kind.schema)(&mut generator).to_value())).collect();
    let mut schema = generator.into_root_schema_for::<File>().to_value();
    schema["title"] = json!("schedules.yaml of pgupkeep");
    for (name, with) in &kinds {
        if *name == "sql" {
            allow_statement_files(&mut schema, with);
        }
    }
    let job = &mut schema["definitions"]["Job"];
    job["properties"]["kind"]["enum"] = kinds.iter().map(|(name, _)| *name).collect();
    job["allOf"] = kinds
        .into_iter()
        .map(|(name, with)| {
            json!({
                "if": { "properties": { "kind": { "const": name } }, "required": ["kind"] },
                "then": { "properties": { "with": with } },
            })
        })
        .collect();
    cut_examples(&mut schema);
    schema
}

/// Leaves the examples out of descriptions: an editor shows them as they are, with what only rustdoc understands.
fn cut_examples(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(description)) = map.get_mut("description")
                && let Some(end) = description.find("\n\n```")
            {
                description.truncate(end);
            }
            map.values_mut().for_each(cut_examples);
        }
        Value::Array(values) => values.iter_mut().for_each(cut_examples),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Allows `file` instead of `statement`: the configuration reads the file before the kind sees its parameters.
fn allow_statement_files(schema: &mut Value, with: &Value) {
    let Some(name) = with["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/definitions/")) else {
        return;
    };
    let sql = &mut schema["definitions"][name];
    if let Some(keys) = sql.get_mut("required").and_then(Value::as_array_mut) {
        keys.retain(|key| key != "statement");
    }
    sql["properties"]["file"] = json!({
        "description": "The path of a file that holds them, relative to the folder of this file.",
        "type": "string",
    });
    sql["oneOf"] = json!([{ "required": ["statement"] }, { "required": ["file"] }]);
}

/// Declares how values look to an editor.
macro_rules! schemas {
    ($($name:ident: $schema:tt;)*) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schemas! {
    Count: { "type": "integer", "minimum": 0 };
    Reference: { "type": "string", "minLength": 1 };
}

impl JsonSchema for Control {
    fn schema_name() -> Cow<'static, str> {
        "Control".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let database = generator.subschema_for::<ControlDatabase>();
        json_schema!({ "anyOf": [{ "type": "string" }, database] })
    }
}

impl<T: JsonSchema> JsonSchema for Part<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Names<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Names_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let named = generator.subschema_for::<T>();
        json_schema!({
            "type": "object",
            "additionalProperties": named,
            "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{
        CronEntry, DailyEntry, DatedEntry, Job, LogFile, ReloadEntry, Repository, Target, WeeklyEntry, Window,
    };
    use super::super::read::Keys as _;
    use super::*;

    #[test]
    fn the_committed_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schedules.schema.json");
        let expected = format!("{}\n", serde_json::to_string_pretty(&schema()).expect("JSON"));
        if super::super::env::process_variable("PGUPKEEP_UPDATE_SCHEMA").is_ok() {
            std::fs::write(path, &expected).expect("the schema is written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == expected, "run PGUPKEEP_UPDATE_SCHEMA=1 cargo test --lib schema, and commit {path}");
    }

    #[test]
    fn the_schema_knows_every_kind_and_refuses_unknown_keys() {
        let schema = schema();
        let kinds = schema["definitions"]["Job"]["properties"]["kind"]["enum"].as_array().expect("a list").clone();
        assert_eq!(kinds, JOB_KINDS.iter().map(|kind| json!(kind.name)).collect::<Vec<_>>());
        for name in ["Job", "Target", "Window", "Defaults", "Schedules", "DailyEntry", "ReloadEntry", "Logging", "Http"]
        {
            assert_eq!(schema["definitions"][name]["additionalProperties"], json!(false), "{name}");
        }
        assert_eq!(schema["required"], json!(["version", "targets"]));
        let needed: &[(&str, &[&str])] = &[
            ("Target", Target::NEEDED),
            ("ControlDatabase", ControlDatabase::NEEDED),
            ("Repository", Repository::NEEDED),
            ("Window", Window::NEEDED),
            ("Job", Job::NEEDED),
            ("DailyEntry", DailyEntry::NEEDED),
            ("WeeklyEntry", WeeklyEntry::NEEDED),
            ("DatedEntry", DatedEntry::NEEDED),
            ("CronEntry", CronEntry::NEEDED),
            ("ReloadEntry", ReloadEntry::NEEDED),
            ("LogFile", LogFile::NEEDED),
        ];
        for (name, keys) in needed {
            assert_eq!(schema["definitions"][name]["required"], json!(keys), "{name}");
        }
        assert!(!schema.to_string().contains("```"));
    }
}
