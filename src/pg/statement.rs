//! SQL that is built at run time, and the only place that builds it.
//!
//! Everything else is static text in `sql/`. A [`Statement`] is made of fixed words and of identifiers quoted here,
//! so that a table called `"we""ird; drop"` is a name and never a command. The one exception is the statement of a
//! `sql` job, which an operator wrote for just that purpose.

#![expect(clippy::disallowed_types, reason = "the one place that vouches for SQL built at run time")]

use std::fmt;

use serde::{Deserialize, Serialize};

/// One SQL statement, ready to be sent and put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement(String);

impl Statement {
    /// A statement of fixed words and of [`Ident`]s, [`Qualified`] names and [`Literal`]s only.
    pub fn built(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A statement exactly as an operator wrote it in the configuration.
    pub fn verbatim(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The statement that takes a snapshot which another session has exported; its name is a literal there.
    pub fn set_snapshot(snapshot: &str) -> Self {
        Self(format!("set transaction snapshot '{}'", snapshot.replace('\'', "''")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, vouched for.
    pub fn to_sql(&self) -> sqlx::AssertSqlSafe<String> {
        sqlx::AssertSqlSafe(self.0.clone())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An identifier as the catalogue holds it; printed quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ident(pub String);

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A name with its schema; printed quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Qualified {
    /// The schema.
    pub schema: Ident,
    /// The table, index or other relation in it.
    pub name: Ident,
}

impl Qualified {
    /// A name from the catalogue's two columns.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: Ident(schema.into()), name: Ident(name.into()) }
    }

    /// The name as patterns and people write it: `schema.name` without quotes.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.schema.0, self.name.0)
    }
}

impl fmt::Display for Qualified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A text as a constant in SQL; printed quoted.
///
/// With a backslash in it, it is printed so that the setting `standard_conforming_strings` does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a>(pub &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doubled = self.0.replace('\'', "''");
        if doubled.contains('\\') {
            // The blank keeps the E apart from a word before it.
            write!(f, " E'{}'", doubled.replace('\\', r"\\"))
        } else {
            write!(f, "'{doubled}'")
        }
    }
}

/// A text as a constant, for SQL in the making.
pub fn literal(text: impl AsRef<str>) -> String {
    Literal(text.as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_stays_one_constant() {
        let check = |text: &str, expected: &str| assert_eq!(Literal(text).to_string(), expected);
        check("a", "'a'");
        check("'; drop table x; --", "'''; drop table x; --'");
        check(r"\' or 1=1", r" E'\\'' or 1=1'");
    }

    #[test]
    fn a_hostile_identifier_stays_one_identifier() {
        let check = |schema: &str, name: &str, expected: &str| {
            assert_eq!(Qualified::new(schema, name).to_string(), expected);
        };
        check("public", "metrics", r#""public"."metrics""#);
        check("public", r#"we"ird; drop table x; --"#, r#""public"."we""ird; drop table x; --""#);
        check("Größe", "a.b", r#""Größe"."a.b""#);
    }
}
