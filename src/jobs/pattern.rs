//! Patterns that choose tables by name.
//!
//! They are globs over the plain names, as the catalogue spells them: `*` is any run of characters, `?` is any one. A
//! pattern with a dot is held against `schema.table`, one without against the table's name in any schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::pg::statement::Qualified;

/// A pattern for tables, such as `public.metrics`, `audit.*` or `tmp_?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablePattern(String);

impl TablePattern {
    /// A pattern that means this table, and where its name has `*` or `?` in it, any that the name fits.
    pub fn of(table: &Qualified) -> Self {
        Self(table.plain())
    }

    /// Whether it is a plain name: nothing in it is wild.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether a table is meant.
    pub fn matches(&self, table: &Qualified) -> bool {
        if self.0.contains('.') { glob(&self.0, &table.plain()) } else { glob(&self.0, &table.name.0) }
    }
}

impl std::fmt::Display for TablePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for TablePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a pattern is empty; write `schema.table`, `schema.*` or `table`".to_owned());
        }
        Ok(Self(text))
    }
}

impl From<TablePattern> for String {
    fn from(pattern: TablePattern) -> Self {
        pattern.0
    }
}

impl JsonSchema for TablePattern {
    fn schema_name() -> Cow<'static, str> {
        "TablePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "Tables by name: `schema.table`, or `table` in any schema; `*` and `?` are wild.",
            "examples": ["public.metrics", "audit.*"],
        })
    }
}

/// Whether the whole text fits the pattern.
///
/// Only the last `*` is ever tried again, so the work is bounded by the product of both lengths.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                (p, t) = (after, taken + 1);
                star = Some((after, taken + 1));
            }
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_tables_that_it_looks_like() {
        let check = |pattern: &str, table: (&str, &str), expected: bool| {
            let pattern = TablePattern::try_from(pattern.to_owned()).expect("a pattern");
            assert_eq!(pattern.matches(&Qualified::new(table.0, table.1)), expected, "{pattern} {table:?}");
        };
        check("metrics", ("public", "metrics"), true);
        check("metrics", ("other", "metrics"), true);
        check("metrics", ("public", "latest_metrics"), false);
        check("*metrics", ("public", "latest_metrics"), true);
        check("public.metrics", ("public", "metrics"), true);
        check("public.metrics", ("other", "metrics"), false);
        check("public.*", ("public", "a.b"), true);
        check("*.metrics", ("audit", "metrics"), true);
        check("tmp_?", ("public", "tmp_ß"), true);
        check("tmp_?", ("public", "tmp_10"), false);
        check("Metrics", ("public", "metrics"), false);
        check("a*b*c", ("public", "a--b--b-c"), true);
        check("a*b*c", ("public", "a--c--b"), false);
        check(r#"we"ird; drop"#, ("public", r#"we"ird; drop"#), true);
        let exact = |text: &str| TablePattern::try_from(text.to_owned()).is_ok_and(|pattern| pattern.is_exact());
        assert_eq!(["public.metrics", "metrics*", "tmp_?"].map(exact), [true, false, false]);
    }

    /// The definition, as short as it can be said.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
            Some((wanted, rest)) => {
                text.split_first().is_some_and(|(c, more)| (*wanted == '?' || wanted == c) && plainly(rest, more))
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_glob_agrees_with_its_definition(pattern in "[ab*?.]{0,8}", text in "[ab.é]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            proptest::prop_assert_eq!(glob(&pattern, &text), plainly(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn a_name_without_wild_characters_means_itself(schema in "[^*?.]{1,20}", name in "[^*?]{1,20}") {
            let table = Qualified::new(schema, name);
            proptest::prop_assert!(TablePattern(table.plain()).matches(&table));
        }
    }
}
