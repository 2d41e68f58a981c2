//! Presets: what the tables of an application mean, as data.
//!
//! A preset is a YAML file. It names the tables that may lose rows with every column that is known of them, the reasons
//! for which something stays, and scopes: a root table whose rows decide, and the parts that move with it. Its SQL is
//! trusted text with `{names}` in braces; what they mean is told in [`Preset::expand`]. What moves in a given database
//! is decided in [`super::resolve`], which looks at the catalogue and refuses what the preset does not know.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rule::Chunks;

/// The presets inside the program, by name.
const EMBEDDED: &[(&str, &str)] = &[("mlflow", include_str!("../../../presets/mlflow.yaml"))];

/// How deep fragments may stand in fragments.
const DEEPEST: usize = 12;

/// A preset that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// The file is not a preset.
    #[error("the preset {place} cannot be read: {reason}")]
    Unreadable {
        /// Its name or path.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no such scope.
    #[error("the preset {preset} has no scope `{scope}`; it has {known}")]
    UnknownScope {
        /// The preset.
        preset: String,
        /// What was asked for.
        scope: String,
        /// What there is.
        known: String,
    },
    /// Something in braces means nothing.
    #[error(
        "the preset {preset} speaks of {{{name}}}, which is neither a table, a fragment, reasons, nor a value of the job"
    )]
    UnknownName {
        /// The preset.
        preset: String,
        /// What stands in the braces.
        name: String,
    },
    /// A fragment contains itself.
    #[error("the preset {preset} expands {{{name}}} without end")]
    Endless {
        /// The preset.
        preset: String,
        /// Where it was given up.
        name: String,
    },
}

/// What the tables of an application mean.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name, the first half of the names of its rules.
    pub name: String,
    /// Where the application keeps the version of its schema.
    #[serde(default)]
    pub schema_version: Option<VersionPlace>,
    /// Tables that stand together in the application's schema; it is found by them.
    pub recognised_by: Vec<String>,
    /// The scope that is meant when none is named.
    pub default_scope: String,
    /// The tables that may lose rows; each with its known columns and their types, alternatives parted by `|`.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// Tables that the preset's SQL reads or marks, and that never lose rows.
    #[serde(default)]
    pub others: Vec<String>,
    /// SQL that occurs more than once.
    #[serde(default)]
    pub fragments: BTreeMap<String, String>,
    /// Why something may have to stay.
    pub reasons: BTreeMap<String, ReasonModel>,
    /// Reasons taken together under one name.
    #[serde(default)]
    pub any_of: BTreeMap<String, Vec<String>>,
    /// What may move.
    pub scopes: BTreeMap<String, Scope>,
}

/// Where an application keeps the version of its schema.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionPlace {
    /// A table of one row.
    pub table: String,
    /// Its column.
    pub column: String,
}

/// A reason to stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonModel {
    /// For people.
    pub because: String,
    /// Condition over the root's row `r`.
    pub when: String,
    /// What is asked again under the locks, in place of `when`; null: nothing.
    #[serde(default = "as_when", deserialize_with = "given")]
    pub locked: Fence,
    /// `table.column`s that have to exist for the condition to make sense.
    #[serde(default)]
    pub only_with: Vec<String>,
    /// The parameter of the job that drops it.
    #[serde(default)]
    pub unless: Option<Unless>,
}

/// What is asked again under the locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// The same condition.
    Same,
    /// A quicker one.
    Quicker(String),
    /// Nothing.
    Nothing,
}

const fn as_when() -> Fence {
    Fence::Same
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fence, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map_or(Fence::Nothing, Fence::Quicker))
}

/// A parameter of the job that drops a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unless {
    /// `registered_models: include`.
    RegisteredModels,
}

/// Something that moves as a whole.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// One line for people.
    pub about: String,
    /// The rows that decide.
    pub root: RootModel,
    /// What stops the whole scope.
    #[serde(default)]
    pub refuses: Vec<RefusalModel>,
    /// Names of reasons, in the order in which the first one counts.
    pub stays: Vec<String>,
    /// Holds on groups of other scopes that keep a root of this one as well.
    #[serde(default)]
    pub held_with: Vec<HeldWithModel>,
    /// `table.column`s outside the scope that refer to moving rows, and that a reason looks after.
    #[serde(default)]
    pub guarded: Vec<String>,
    /// The parts that tell whether a root that stays has anything to move; default: the first.
    #[serde(default)]
    pub filled_by: Vec<String>,
    /// The tables whose rows move, children before what they refer to.
    pub parts: Vec<PartModel>,
    /// Statements that mark the roots that stay.
    #[serde(default)]
    pub marks: Vec<MarkModel>,
    /// Statements that take the marks off at a restore; they read `pg_temp.pgupkeep_restored (group_key text)`.
    #[serde(default)]
    pub unmarks: Vec<String>,
    /// A SELECT of the group keys whose restore somebody asks for in the application.
    #[serde(default)]
    pub wanted: Option<String>,
}

/// The rows that decide.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootModel {
    /// The table.
    pub table: String,
    /// The columns that name a row.
    pub keys: Vec<String>,
    /// Text over `r`: the group.
    pub group: String,
    /// `timestamptz` over `r`: when something last happened.
    pub activity: String,
    /// How the roots are gone through.
    pub chunks: Chunks,
    /// Whether they leave.
    pub leaves: bool,
}

/// A hold on groups of other scopes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldWithModel {
    /// The scopes.
    pub scopes: Vec<String>,
    /// Condition over `r`; `{held}` is a SELECT of the keys of their held groups.
    pub when: String,
}

/// What stops a whole scope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalModel {
    /// For people.
    pub because: String,
    /// A condition over the database.
    pub when: String,
    /// `table.column`s that have to exist for it to make sense.
    #[serde(default)]
    pub only_with: Vec<String>,
}

/// One table whose rows move.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartModel {
    /// The table.
    pub table: String,
    /// Joins between `p` and `t`, where it takes any.
    #[serde(default)]
    pub using: Option<String>,
    /// Condition that joins `t` with what comes before.
    pub on: String,
    /// The columns of `t` that an index should serve; none where rows are found otherwise.
    #[serde(default)]
    pub by: Vec<String>,
    /// Columns by which rows fall into series.
    #[serde(default)]
    pub series: Vec<String>,
    /// Columns that order a series.
    #[serde(default)]
    pub order: Vec<String>,
    /// Columns with one value in a whole group.
    #[serde(default)]
    pub group_columns: Vec<String>,
    /// With `keep_points`: the rows that stay.
    #[serde(default)]
    pub keep: Option<String>,
    /// Whether the table need not exist.
    #[serde(default)]
    pub optional: bool,
}

/// A statement that marks roots that stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkModel {
    /// The statement.
    pub sql: String,
    /// The table that it inserts into or updates.
    pub inserts: String,
}

impl Preset {
    /// The names of the presets inside the program.
    pub fn embedded_names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// The preset of that name inside the program.
    pub fn embedded(name: &str) -> Option<Result<Self, PresetError>> {
        let (name, text) = EMBEDDED.iter().find(|(known, _)| *known == name)?;
        Some(Self::read(name, text))
    }

    /// Reads a preset, and checks that it makes sense in itself.
    ///
    /// # Errors
    /// Says where it does not.
    pub fn read(place: &str, text: &str) -> Result<Self, PresetError> {
        let wrong = |reason: String| PresetError::Unreadable { place: place.to_owned(), reason };
        let value = serde_yaml::Deserializer::from_str(text);
        let preset: Self = serde_path_to_error::deserialize(value)
            .map_err(|error| wrong(format!("{}: {}", error.path(), error.inner())))?;
        preset.check().map_err(wrong)?;
        Ok(preset)
    }

    /// The scope of that name, or the usual one.
    ///
    /// # Errors
    /// Names the scopes that there are.
    pub fn scope(&self, name: Option<&str>) -> Result<(&str, &Scope), PresetError> {
        let name = name.unwrap_or(&self.default_scope);
        let found = self.scopes.get_key_value(name).map(|(name, scope)| (name.as_str(), scope));
        found.ok_or_else(|| PresetError::UnknownScope {
            preset: self.name.clone(),
            scope: name.to_owned(),
            known: self.scopes.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether the preset speaks of a table of that name.
    pub fn knows(&self, table: &str) -> bool {
        self.tables.contains_key(table) || self.others.iter().any(|other| other == table)
    }

    /// Puts SQL in place of the names in braces: fragments of this file, and whatever `value` knows.
    ///
    /// `value` is asked for tables, for reasons taken together, and for what the job says; a name that it does not know
    /// and that is no fragment is an error. A doubled brace is a brace.
    ///
    /// # Errors
    /// [`PresetError::UnknownName`], and [`PresetError::Endless`] for a fragment that contains itself.
    pub fn expand(&self, text: &str, value: &dyn Fn(&str) -> Option<Expansion>) -> Result<String, PresetError> {
        self.expand_to(text, value, 0)
    }

    fn expand_to(
        &self,
        text: &str,
        value: &dyn Fn(&str) -> Option<Expansion>,
        depth: usize,
    ) -> Result<String, PresetError> {
        let mut sql = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            sql.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                sql.push_str(brace);
                rest = after;
                continue;
            }
            let unknown = |name: &str| PresetError::UnknownName { preset: self.name.clone(), name: name.to_owned() };
            let (name, after) = after.split_once('}').ok_or_else(|| unknown(after))?;
            if depth >= DEEPEST {
                return Err(PresetError::Endless { preset: self.name.clone(), name: name.to_owned() });
            }
            let expansion = value(name).or_else(|| self.fragments.get(name).cloned().map(Expansion::Template));
            match expansion.ok_or_else(|| unknown(name))? {
                Expansion::Sql(done) => sql.push_str(&done),
                Expansion::Template(inner) => sql.push_str(&self.expand_to(&inner, value, depth + 1)?),
            }
            rest = after;
        }
        sql.push_str(rest);
        Ok(sql)
    }

    fn check(&self) -> Result<(), String> {
        if !self.scopes.contains_key(&self.default_scope) {
            return Err(format!("default_scope: there is no scope `{}`", self.default_scope));
        }
        if self.recognised_by.is_empty() {
            return Err("recognised_by: name at least one table".to_owned());
        }
        let unknown = |names: &[String]| names.iter().find(|name| !self.reasons.contains_key(*name)).cloned();
        for (name, members) in &self.any_of {
            if let Some(reason) = unknown(members) {
                return Err(format!("any_of.{name}: there is no reason `{reason}`"));
            }
        }
        for (name, scope) in &self.scopes {
            let at = format!("scopes.{name}");
            if let Some(reason) = unknown(&scope.stays) {
                return Err(format!("{at}.stays: there is no reason `{reason}`"));
            }
            if let Some(other) =
                scope.held_with.iter().flat_map(|with| &with.scopes).find(|it| !self.scopes.contains_key(*it))
            {
                return Err(format!("{at}.held_with: there is no scope `{other}`"));
            }
            if !self.knows(&scope.root.table) {
                return Err(format!("{at}.root: the table {} is nowhere described", scope.root.table));
            }
            let mut seen = Vec::new();
            for part in &scope.parts {
                let Some(columns) = self.tables.get(&part.table) else {
                    return Err(format!("{at}.parts: the columns of {} are not described", part.table));
                };
                let named = part.by.iter().chain(&part.series).chain(&part.order).chain(&part.group_columns);
                if let Some(column) = named.into_iter().find(|column| !columns.contains_key(*column)) {
                    return Err(format!("{at}.parts: {} has no column {column}", part.table));
                }
                if seen.contains(&&part.table) {
                    return Err(format!("{at}.parts: {} is there twice", part.table));
                }
                seen.push(&part.table);
            }
            let last = scope.parts.last().map(|part| part.table.as_str());
            if scope.root.leaves != (last == Some(scope.root.table.as_str())) {
                return Err(format!("{at}: a root that leaves is the last of the parts, and one that stays is none"));
            }
            if let Some(part) = scope.filled_by.iter().find(|name| !seen.contains(name)) {
                return Err(format!("{at}.filled_by: {part} is no part"));
            }
        }
        Ok(())
    }
}

/// What a name in braces stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expansion {
    /// SQL that is ready.
    Sql(String),
    /// SQL with names in braces of its own.
    Template(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_inside_is_read_and_its_scopes_are_named() {
        let preset = Preset::embedded("mlflow").expect("there").expect("readable");
        let scopes: Vec<&str> = preset.scopes.keys().map(String::as_str).collect();
        assert_eq!(scopes, ["experiments", "metric_history", "runs", "traces"]);
        assert_eq!(preset.scope(None).map(|(name, _)| name), Ok("metric_history"));
        let error = preset.scope(Some("models")).expect_err("no such scope").to_string();
        assert!(error.contains("has no scope `models`; it has experiments, metric_history, runs, traces"), "{error}");
        assert_eq!(Preset::embedded("other"), None);
    }

    const SMALL: &str = "
name: shop
recognised_by: [orders]
default_scope: orders
tables: { orders: { id: int8 }, lines: { id: int8, order_id: int8 } }
reasons: { open: { because: the order is open, when: r.open } }
scopes:
  orders:
    about: whole orders
    root: { table: orders, keys: [id], group: r.id::text, activity: r.at, chunks: pages, leaves: true }
    stays: [open]
    parts:
      - { table: lines, on: t.order_id = p.k1, by: [order_id] }
      - { table: orders, on: t.ctid = p.tid }
";

    #[test]
    fn a_preset_that_makes_no_sense_is_told_where() {
        assert!(Preset::read("shop.yaml", SMALL).is_ok());
        let check = |from: &str, to: &str, expected: &str| {
            assert!(SMALL.contains(from), "{from}");
            let error = Preset::read("shop.yaml", &SMALL.replacen(from, to, 1)).expect_err(to).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.starts_with("the preset shop.yaml cannot be read: "), "{error}");
        };
        check("about: whole", "abuot: whole", "unknown field `abuot`");
        check("chunks: pages", "chunks: bits", "unknown variant `bits`");
        check("default_scope: orders", "default_scope: carts", "no scope `carts`");
        check("stays: [open]", "stays: [shut]", "no reason `shut`");
        check("by: [order_id]", "by: [orderid]", "lines has no column orderid");
        check("- { table: lines", "- { table: rows", "the columns of rows are not described");
        check("leaves: true", "leaves: false", "a root that leaves is the last of the parts");
        check("recognised_by: [orders]", "recognised_by: []", "name at least one table");
    }

    #[test]
    fn names_in_braces_are_expanded_and_unknown_ones_refused() {
        let mut preset = Preset::read("shop.yaml", SMALL).expect("readable");
        preset.fragments.insert("old".to_owned(), "r.at < {cutoff}".to_owned());
        preset.fragments.insert("self".to_owned(), "{self}".to_owned());
        let value = |name: &str| match name {
            "cutoff" => Some(Expansion::Sql("'{1}'".to_owned())),
            "both" => Some(Expansion::Template("{old} or {old}".to_owned())),
            _ => None,
        };
        let check = |text: &str, expected: Result<&str, &str>| {
            let expanded = preset.expand(text, &value).map_err(|error| error.to_string());
            match expected {
                Ok(sql) => assert_eq!(expanded.as_deref(), Ok(sql)),
                Err(why) => assert!(expanded.clone().is_err_and(|error| error.contains(why)), "{expanded:?}"),
            }
        };
        check("({both})", Ok("(r.at < '{1}' or r.at < '{1}')"));
        check("x ~ '[0-9]{{1,3}}'", Ok("x ~ '[0-9]{1,3}'"));
        check("{new}", Err("speaks of {new}"));
        check("{old", Err("speaks of {old}"));
        check("{self}", Err("without end"));
    }
}
