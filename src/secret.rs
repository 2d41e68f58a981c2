//! Texts that must not be seen: they are printed as `***`, and cleaned out of whatever else is printed.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::watch;

/// What stands where a secret was.
pub const REDACTED: &str = "***";

/// A password, or a text that holds one, such as a connection URL.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one place that hands it to a driver or a child process.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

/// Replaces every secret that the configuration has brought in so far, wherever it turns up in a text.
///
/// It is the second fence: nothing of ours prints a secret, but a server or a library might quote one.
#[derive(Debug, Clone)]
pub struct Redactor {
    secrets: watch::Receiver<Vec<Secret>>,
}

/// The end that tells a [`Redactor`] what is secret.
#[derive(Debug)]
pub struct SecretSet(watch::Sender<Vec<Secret>>);

/// Shorter secrets are not searched for: replacing every `a` would only destroy the text.
const SHORTEST_SEARCHED: usize = 4;

impl Redactor {
    /// A redactor and the set behind it, empty so far.
    pub fn new() -> (SecretSet, Self) {
        let (sender, secrets) = watch::channel(Vec::new());
        (SecretSet(sender), Self { secrets })
    }

    /// The text with every known secret replaced by `***`.
    pub fn clean(&self, text: &str) -> String {
        let secrets = self.secrets.borrow();
        secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), REDACTED) } else { text }
        })
    }

    /// The value with every known secret in its texts replaced by `***`.
    pub fn clean_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.clean(text)),
            Value::Array(values) => values.iter().map(|value| self.clean_json(value)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), self.clean_json(value))).collect())
            }
            other => other.clone(),
        }
    }
}

impl SecretSet {
    /// Adds secrets, also as URLs and JSON write them; old ones stay, since old texts may still be printed.
    pub fn learn(&self, secrets: impl IntoIterator<Item = Secret>) {
        self.0.send_modify(|known| {
            for secret in secrets {
                let encoded: String = url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect();
                let quoted = Value::from(secret.expose()).to_string();
                for form in [Secret::new(quoted.trim_matches('"')), Secret::new(encoded), secret] {
                    if form.expose().len() >= SHORTEST_SEARCHED && !known.contains(&form) {
                        known.push(form);
                    }
                }
            }
            known.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_its_own_debug_text() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }

    #[test]
    fn a_redactor_replaces_what_it_has_learnt_and_nothing_else() {
        let (set, redactor) = Redactor::new();
        assert_eq!(redactor.clean("password hunter2"), "password hunter2");
        set.learn([Secret::new("hunter2"), Secret::new("p@ss word"), Secret::new("abc")]);
        assert_eq!(redactor.clean("password hunter2, abc"), "password ***, abc");
        assert_eq!(redactor.clean("postgres://u:p%40ss+word@h"), "postgres://u:***@h");
    }
}
