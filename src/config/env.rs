//! What the configuration takes from outside its own text: environment variables and secret files.
//!
//! This is the only place that reads the process environment. Nothing of what it finds is ever quoted.

use std::env::VarError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::problem::{Finding, quote};
use super::value::Reference;
use crate::secret::Secret;

/// Looks up an environment variable; [`process_variable`], or a closure in tests.
pub type Variables<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// The largest secret file; a key with its chain of certificates fits.
const LARGEST_SECRET: u64 = 64 << 10;

/// The largest file of SQL.
const LARGEST_TEXT: u64 = 1 << 20;

/// What the driver knows after the `?` of a URL; it would ignore anything else, and log it with its value.
const URL_OPTIONS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Reads a variable of this process.
///
/// # Errors
/// Says that it is not set, or not Unicode.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_variable(name: &str) -> Result<String, VarError> {
    std::env::var(name)
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It stands in the file itself.
    Literal,
    /// A variable or a file holds it.
    Outside,
}

/// A value that a reference led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Secret,
    /// Where it was found.
    pub source: Source,
    /// What is unwise about the place.
    pub warning: Option<String>,
}

/// Follows `env:NAME` and `file:PATH`; anything else is the value itself.
///
/// # Errors
/// Says why there is no value: the variable is not set, the file cannot be read, either is empty.
pub fn look_up(reference: &Reference, folder: &Path, variables: Variables<'_>) -> Result<Found, Finding> {
    let text = reference.0.as_str();
    if let Some(name) = text.strip_prefix("env:") {
        let name = name.trim();
        let fault = match variables(name) {
            Ok(value) if !value.is_empty() => {
                return Ok(Found { value: Secret::new(value), source: Source::Outside, warning: None });
            }
            Ok(_) => "is empty",
            Err(VarError::NotPresent) if name.is_empty() => "has no name",
            Err(VarError::NotPresent) => "is not set",
            Err(VarError::NotUnicode(_)) => "is not text",
        };
        return Err(Finding::new(format!("the environment variable {} {fault}", quote(name))));
    }
    if let Some(path) = text.strip_prefix("file:") {
        let path = folder.join(path.trim());
        let value = read_small(&path, LARGEST_SECRET)?;
        let value = value.strip_suffix('\n').unwrap_or(&value);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() {
            return Err(Finding::new(format!("the file {} is empty", path.display())));
        }
        return Ok(Found { value: Secret::new(value), source: Source::Outside, warning: exposure(&path) });
    }
    if text.is_empty() {
        return Err(Finding::new("found an empty text").expected("`env:NAME`, `file:PATH` or the value itself"));
    }
    Ok(Found { value: Secret::new(text), source: Source::Literal, warning: None })
}

/// Reads a file of SQL or a preset, relative to the configuration file's folder; a byte order mark is no part of it.
///
/// # Errors
/// Says why it cannot be read.
pub fn read_text(path: &str, folder: &Path) -> Result<String, Finding> {
    let text = read_small(&folder.join(path), LARGEST_TEXT)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read_small(path: &Path, largest: u64) -> Result<String, Finding> {
    let refuse = |reason: String| Finding::new(format!("cannot read the file {}: {reason}", path.display()));
    let read = || -> io::Result<Option<Vec<u8>>> {
        // A pipe or a device would keep us waiting, or never end.
        if !path.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(largest + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes =
        read().map_err(|error| refuse(error.to_string()))?.ok_or_else(|| refuse("it is no regular file".into()))?;
    if bytes.len() as u64 > largest {
        return Err(refuse(format!("it is larger than {largest} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| refuse("it is not text in UTF-8".into()))
}

/// What is unwise about a secret file's permissions.
fn exposure(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    // Container runtimes mount secrets there, readable by all in a file system that only the container sees.
    if path.starts_with("/run/secrets") {
        return None;
    }
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o004 != 0)
        .then(|| format!("every user of this machine may read the file {}; `chmod o-r` it", path.display()))
}

/// A connection URL that the driver accepts, taken apart as far as secrets go.
#[derive(Debug)]
pub struct CheckedUrl {
    /// The URL itself and every form of its password.
    pub secrets: Vec<Secret>,
    /// Whether it holds a password.
    pub password: UrlPassword,
}

/// Whether a URL holds a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPassword {
    /// It does.
    Present,
    /// It does not.
    Absent,
}

/// Checks a connection URL.
///
/// # Errors
/// Says what is wrong with it, and quotes nothing of it but the names of options.
pub fn check_url(text: &str) -> Result<CheckedUrl, Finding> {
    const FORM: &str = "`env:NAME`, `file:PATH`, or a URL such as postgres://user@host:5432/database";
    let url = crate::pg::connect::parse_url(text).map_err(|error| {
        let message = match error {
            url::ParseError::RelativeUrlWithoutBase => "this is not a URL".to_owned(),
            error => {
                format!("this is not a URL: {error} (in a password, write `/`, `?`, `#`, `@` as %2F, %3F, %23, %40)")
            }
        };
        Finding::new(message).expected(FORM)
    })?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(Finding::new("this URL is not one of PostgreSQL").expected(FORM));
    }
    if url.fragment().is_some() {
        return Err(Finding::new("this URL has a `#`").expected("%23 where a password holds one"));
    }
    let mut passwords: Vec<String> = url.password().map(str::to_owned).into_iter().collect();
    for (key, value) in url.query_pairs() {
        if key == "password" {
            passwords.push(value.into_owned());
        } else if !is_url_option(&key) {
            let finding = Finding::new(format!("this URL has an unknown option {}", quote(&key)));
            return Err(finding.nearest(&key, URL_OPTIONS.iter().copied()));
        }
    }
    passwords.extend(
        url.query()
            .into_iter()
            .flat_map(|query| query.split('&').filter_map(|pair| pair.strip_prefix("password=")).map(str::to_owned)),
    );
    if PgConnectOptions::from_url(&url).is_err() {
        let finding = Finding::new("the driver does not understand an option of this URL");
        return Err(finding.expected(
            "sslmode to be disable, allow, prefer, require, verify-ca or verify-full, port a number, names to be UTF-8",
        ));
    }
    let is_absent = passwords.iter().all(String::is_empty);
    let password = if is_absent { UrlPassword::Absent } else { UrlPassword::Present };
    let decoded: Vec<String> = passwords.iter().map(|password| percent_decode(password)).collect();
    let secrets = [text.to_owned()].into_iter().chain(passwords).chain(decoded).filter(|secret| !secret.is_empty());
    Ok(CheckedUrl { secrets: secrets.map(Secret::new).collect(), password })
}

fn is_url_option(key: &str) -> bool {
    let is_setting = || key.starts_with("options[") && key.ends_with(']');
    URL_OPTIONS.contains(&key) || is_setting()
}

fn percent_decode(text: &str) -> String {
    // A form's value is decoded the same way, but for its plus signs.
    let pair = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// The folder that relative paths of a configuration file start from.
pub fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(finding: Finding) -> String {
        finding.stand_at("f", (1, 1), "").to_string().trim_start_matches("f:1:1: ").to_owned()
    }

    #[test]
    fn a_reference_leads_to_a_variable_a_file_or_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("written");
        write("secret", b"from a file\n");
        write("windows", b"two lines\r\nhere\r\n");
        write("empty", b"\n");
        write("binary", b"\xff\xfe");
        write("huge", &vec![b'x'; 70_000]);
        let variables = |name: &str| match name {
            "SET" => Ok("from the environment".to_owned()),
            "EMPTY" => Ok(String::new()),
            "ODD" => Err(VarError::NotUnicode("x".into())),
            _ => Err(VarError::NotPresent),
        };
        let shown = folder.path().display().to_string();
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = look_up(&Reference(text.to_owned()), folder.path(), &variables);
            let found =
                found.map(|found| found.value.expose().to_owned()).map_err(|f| message(f).replace(&shown, "DIR"));
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("env:SET", Ok("from the environment"));
        check("file:secret", Ok("from a file"));
        check("file:windows", Ok("two lines\r\nhere"));
        check("hunter2", Ok("hunter2"));
        check("env:EMPTY", Err("the environment variable `EMPTY` is empty"));
        check("env:ODD", Err("the environment variable `ODD` is not text"));
        check("env:NOWHERE", Err("the environment variable `NOWHERE` is not set"));
        check("file:nowhere", Err("cannot read the file DIR/nowhere: No such file or directory (os error 2)"));
        check("file:.", Err("cannot read the file DIR/.: it is no regular file"));
        check("file:empty", Err("the file DIR/empty is empty"));
        check("file:binary", Err("cannot read the file DIR/binary: it is not text in UTF-8"));
        check("file:huge", Err("cannot read the file DIR/huge: it is larger than 65536 bytes"));
        check("", Err("found an empty text; expected `env:NAME`, `file:PATH` or the value itself"));
    }

    #[test]
    fn a_secret_file_that_everybody_may_read_is_warned_about() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "hunter2").expect("written");
        let check = |mode: u32, is_warned: bool| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            let found = look_up(&Reference("file:secret".into()), folder.path(), &|_| Err(VarError::NotPresent));
            assert_eq!(found.expect("readable").warning.is_some(), is_warned, "{mode:o}");
        };
        check(0o600, false);
        check(0o640, false);
        check(0o644, true);
    }

    #[test]
    fn a_url_is_refused_without_a_word_of_its_password() {
        let check = |text: &str, expected: &str| {
            let message = message(check_url(text).expect_err(text));
            assert!(message.starts_with(expected), "{text}: {message}");
            assert!(!message.contains("hunter"), "{message}");
        };
        check("hunter2", "this is not a URL; expected `env:NAME`, `file:PATH`, or a URL such as");
        check("host=h password=hunter2", "this is not a URL; expected");
        check("postgres://u:hunter/2@h/db", "this is not a URL: invalid port number (in a password, write");
        check("postgres://u:12#hunter@h/db", "this URL has a `#`; expected %23");
        check("mysql://u:hunter2@h/db", "this URL is not one of PostgreSQL; expected");
        check(
            "postgres://u:hunter2@h/db?sslmod=require",
            "this URL has an unknown option `sslmod`; did you mean `sslmode`?",
        );
        check("postgres://u@h/db?sslmode=hunter2", "the driver does not understand an option of this URL");
    }

    #[test]
    fn a_url_of_a_socket_needs_no_host() {
        for text in ["postgres://u@/db?host=/run/postgresql", "postgres://u@/db?host=/run/postgresql&port=5433"] {
            assert_eq!(check_url(text).expect(text).password, UrlPassword::Absent);
        }
    }

    #[test]
    fn every_form_of_a_password_in_a_url_is_a_secret() {
        let check = |text: &str, expected: &[&str]| {
            let checked = check_url(text).expect(text);
            let secrets: Vec<_> = checked.secrets.iter().map(Secret::expose).collect();
            for secret in expected {
                assert!(secrets.contains(secret), "{text}: {secret}");
            }
            assert_eq!(checked.password == UrlPassword::Present, !expected.is_empty());
        };
        check("postgres://u@h/db", &[]);
        check("postgresql:///db?host=/run/postgresql", &[]);
        check("postgres://u:a%20b+c@h/db", &["a%20b+c", "a b+c", "postgres://u:a%20b+c@h/db"]);
        check("postgres://u@h/db?password=x%40y%2Bz", &["x%40y%2Bz", "x@y+z"]);
    }
}
