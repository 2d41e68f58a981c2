//! The names that people give to things in `schedules.yaml`.
//!
//! A name exists only if it is right. It may be as odd as a database's name may be, quotes, semicolons and foreign
//! letters included; it never goes into SQL as text, and it cannot break a log line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes; PostgreSQL cuts identifiers there, so whatever a database can be called, a target can be.
pub const LONGEST_NAME: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a name is empty")]
    Empty,
    /// It has more bytes than [`LONGEST_NAME`].
    #[error("a name has {0} bytes, at most {LONGEST_NAME} are allowed")]
    TooLong(usize),
    /// It holds a character that would break a log line or hide in it.
    #[error("a name holds the control character {0:?}")]
    Control(char),
    /// It begins or ends with a blank, which nobody can see.
    #[error("a name begins or ends with a blank")]
    Blank,
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(control) = text.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(NameError::Control(control));
    }
    if text.trim() != text {
        return Err(NameError::Blank);
    }
    match text.len() {
        0..=LONGEST_NAME => Ok(()),
        length => Err(NameError::TooLong(length)),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads a name.
            ///
            /// # Errors
            /// Says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_name(text).map(|()| Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check_name(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )*};
}

names! {
    /// The name of a job: configured maintenance, a `kind` with its `with`.
    JobName;
    /// The name of a target: one database that we care for.
    TargetName;
    /// The name of a repository: a place where backups are.
    RepositoryName;
    /// The name of a window: a span of civil time in which work may start.
    WindowName;
}

/// The name of a schedule entry: its `name:`, else `<cadence>/<job>` such as `daily/vacuum-analyze`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryName(String);

impl EntryName {
    /// Reads an entry's own name, or `<cadence>/<job>`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // An entry without a name of its own puts its cadence before the job's name, which may have full length.
        check_name(text.split_once('/').map_or(text, |(_, job)| job))?;
        check_name(text.split_once('/').map_or(text, |(cadence, _)| cadence))?;
        Ok(Self(text.to_owned()))
    }

    /// The name that an entry without one gets.
    pub fn of_job(cadence: &str, job: &JobName) -> Self {
        Self(format!("{cadence}/{job}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for EntryName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<EntryName> for String {
    fn from(name: EntryName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_as_odd_as_a_database_may_be_called() {
        let check = |text: &str, expected: Option<NameError>| {
            assert_eq!(JobName::parse(text).err(), expected, "{text:?}");
        };
        check("vacuum-analyze", None);
        check("we\"\"ird; drop", None);
        check("Größe/日本", None);
        check("7.days ok", None);
        check(&"x".repeat(63), None);
        check("", Some(NameError::Empty));
        check(" x", Some(NameError::Blank));
        check("a\nb", Some(NameError::Control('\n')));
        check("a\u{2028}b", Some(NameError::Control('\u{2028}')));
        check(&"x".repeat(64), Some(NameError::TooLong(64)));
        check(&"ö".repeat(32), Some(NameError::TooLong(64)));
    }

    #[test]
    fn an_entry_is_named_by_its_cadence_and_a_job_of_any_name() {
        let longest = JobName::parse(&"x".repeat(63)).expect("a name");
        let entry = EntryName::of_job("quarterly", &longest);
        assert_eq!(EntryName::parse(entry.as_str()), Ok(entry));
        assert!(EntryName::parse("nightly").is_ok());
        assert!(EntryName::parse("daily/a/b").is_ok());
        assert!(EntryName::parse("/b").is_err());
        assert!(EntryName::parse("daily/").is_err());
    }
}
