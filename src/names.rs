//! The names that people give to things in `schedules.yaml`.
//!
//! A name exists only if it is right: it can go into a log line, a metric label or an `application_name` as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in characters; PostgreSQL cuts identifiers at 63 bytes, so nothing of ours is longer.
pub const LONGEST_NAME: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a name is empty")]
    Empty,
    /// It has more characters than [`LONGEST_NAME`].
    #[error("a name has {0} characters, at most {LONGEST_NAME} are allowed")]
    TooLong(usize),
    /// It holds a character that names may not hold.
    #[error("a name holds {0:?}; letters, digits, '_', '-' and '.' are allowed, and the first is a letter or a digit")]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Character(first));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')) {
        return Err(NameError::Character(odd));
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
            /// Says which character or length is wrong.
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
    /// Says which character or length is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((cadence, job)) => check_name(cadence).and_then(|()| check_name(job))?,
            None => check_name(text)?,
        }
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
    fn a_name_is_refused_for_the_character_or_the_length_that_is_wrong() {
        let check = |text: &str, expected: Option<NameError>| {
            assert_eq!(JobName::parse(text).err(), expected, "{text:?}");
        };
        check("vacuum-analyze", None);
        check("7.days_ok", None);
        check("", Some(NameError::Empty));
        check("-x", Some(NameError::Character('-')));
        check("a b", Some(NameError::Character(' ')));
        check("a/b", Some(NameError::Character('/')));
        check("größe", Some(NameError::Character('ö')));
        check(&"x".repeat(63), None);
        check(&"x".repeat(64), Some(NameError::TooLong(64)));
    }

    #[test]
    fn an_entry_name_may_hold_one_slash() {
        assert!(EntryName::parse("daily/vacuum").is_ok());
        assert!(EntryName::parse("nightly").is_ok());
        assert!(EntryName::parse("a/b/c").is_err());
        assert!(EntryName::parse("/b").is_err());
    }
}
