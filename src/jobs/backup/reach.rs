//! How PostgreSQL's own tools reach the server that our sessions reach: by variables, and a password file.
//!
//! Nothing of it stands in arguments, which every user of the machine may read.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use sqlx::postgres::PgSslMode;
use tempfile::TempDir;
use url::Url;

use crate::config::Connection;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::{Purpose, options};

/// Variables of ours that would lead a tool elsewhere, or that are not meant for it.
pub(super) const WITHOUT: &[&str] = &[
    "PGDATABASE",
    "PGSERVICE",
    "PGHOSTADDR",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "LANGUAGE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];

/// Where most systems keep the certificates that our own driver trusts as well.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a tool needs to reach a server; its password file is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) variables: Vec<(&'static str, OsString)>,
    _password: Option<TempDir>,
}

impl Reach {
    /// What leads to the server of a connection, under a session name of ours.
    pub(super) fn new(connection: &Connection, session_name: &str) -> Result<Self, JobError> {
        let chosen = options(connection, session_name, Purpose::Work)?;
        let url = Url::parse(connection.url.expose()).ok();
        let of_url = |names: &[&str]| {
            let pairs = url.iter().flat_map(Url::query_pairs);
            pairs.filter(|(key, _)| names.contains(&key.as_ref())).last().map(|(_, value)| value.into_owned())
        };
        let host = chosen.get_socket().map_or_else(|| chosen.get_host().into(), |socket| socket.clone().into());
        let mut variables: Vec<(&str, OsString)> = vec![
            ("PGHOST", host),
            ("PGPORT", chosen.get_port().to_string().into()),
            ("PGUSER", chosen.get_username().into()),
            ("PGAPPNAME", session_name.into()),
            ("PGOPTIONS", chosen.get_options().unwrap_or_default().into()),
            ("PGSSLMODE", ssl_mode(chosen.get_ssl_mode()).into()),
            ("PGCONNECT_TIMEOUT", "10".into()),
            // Complaints are read by us, so they must be in a language that we know.
            ("LC_ALL", "C".into()),
        ];
        let certificates = [
            ("PGSSLROOTCERT", of_url(&["sslrootcert", "ssl-root-cert", "ssl-ca"]).or_else(|| trusted(&chosen))),
            ("PGSSLCERT", of_url(&["sslcert", "ssl-cert"])),
            ("PGSSLKEY", of_url(&["sslkey", "ssl-key"])),
        ];
        variables.extend(certificates.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
        let in_url = || {
            let password = url.as_ref()?.password().map(decode);
            of_url(&["password"]).or(password)
        };
        let password = connection.password.as_ref().map(|secret| secret.expose().to_owned()).or_else(in_url);
        let kept = match password.filter(|password| !password.is_empty()) {
            // As with our driver: then the variable PGPASSWORD or the user's own password file decides.
            None => None,
            Some(password) => {
                let folder = keep(&password).map_err(|error| JobError::Refused {
                    fault: Fault::DiskFull,
                    message: format!(
                        "the password could not be put into a file for pg_dump: {error}; nothing was dumped"
                    ),
                })?;
                variables.push(("PGPASSFILE", folder.path().join(PASSWORDS).into()));
                // It would win over the file.
                variables.push(("PGPASSWORD", OsString::new()));
                Some(folder)
            }
        };
        Ok(Self { variables, _password: kept })
    }
}

const PASSWORDS: &str = "pgpass";

/// Writes a password file that nobody else may read, in a folder that nobody else may enter.
fn keep(password: &str) -> io::Result<TempDir> {
    if password.contains(['\n', '\r', '\0']) {
        return Err(io::Error::other("it holds a line break, which no password file can hold"));
    }
    let private = std::fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("pgupkeep-").permissions(private).tempdir()?;
    let path = folder.path().join(PASSWORDS);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "*:*:*:*:{}", password.replace('\\', "\\\\").replace(':', "\\:"))?;
    Ok(folder)
}

/// The certificates that a verified connection trusts when the URL names none: the system's, as our driver does.
fn trusted(chosen: &sqlx::postgres::PgConnectOptions) -> Option<String> {
    let verifies = matches!(chosen.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let found = SYSTEM_CERTIFICATES.iter().find(|path| Path::new(path).is_file());
    verifies.then(|| found.map(ToString::to_string)).flatten()
}

const fn ssl_mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// A database's name for a tool's `--dbname`: as a connection string, lest a name that looks like one is taken for one.
pub(super) fn named(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn decode(text: &str) -> String {
    let pair = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn reach(url: &str, password: Option<&str>) -> Reach {
        let connection = Connection { url: Secret::new(url), password: password.map(Secret::new) };
        Reach::new(&connection, "pgupkeep/x").expect("a way to the server")
    }

    fn variable<'a>(reach: &'a Reach, name: &str) -> Option<&'a str> {
        reach.variables.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn a_tool_reaches_the_server_that_our_sessions_reach() {
        let reach = reach("postgres://u%40x@db.internal:5433/mlflow?sslmode=require&options=-c%20work_mem%3D1MB", None);
        assert_eq!(variable(&reach, "PGHOST"), Some("db.internal"));
        assert_eq!(variable(&reach, "PGPORT"), Some("5433"));
        assert_eq!(variable(&reach, "PGUSER"), Some("u@x"));
        assert_eq!(variable(&reach, "PGSSLMODE"), Some("require"));
        assert_eq!(variable(&reach, "PGAPPNAME"), Some("pgupkeep/x"));
        let settings = variable(&reach, "PGOPTIONS").expect("settings");
        assert!(settings.contains("work_mem=1MB") && settings.contains("client_connection_check_interval=1s"));
        assert_eq!(variable(&reach, "PGPASSFILE"), None);
    }

    #[test]
    fn a_password_is_in_a_file_that_nobody_else_may_read_and_in_no_variable() {
        let check = |url: &str, password: Option<&str>, expected: &str| {
            let reach = reach(url, password);
            let path = variable(&reach, "PGPASSFILE").expect("a password file").to_owned();
            assert_eq!(std::fs::read_to_string(&path).expect("readable"), format!("*:*:*:*:{expected}\n"), "{url}");
            assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            let folder = Path::new(&path).parent().expect("a folder").to_owned();
            assert_eq!(std::fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700);
            let told = reach.variables.iter().any(|(_, value)| value.to_string_lossy().contains("hunter2"));
            assert!(!told, "{:?}", reach.variables);
            drop(reach);
            assert!(!folder.exists());
        };
        check("postgres://u:hunter2%3A%5C+@h/db", None, "hunter2\\:\\\\+");
        check("postgres://u@h/db?password=hunter2%40", None, "hunter2@");
        check("postgres://u:other@h/db", Some("hunter2"), "hunter2");
    }

    #[test]
    fn a_database_may_be_called_anything() {
        assert_eq!(named("mlflow"), "dbname='mlflow'");
        assert_eq!(named("a='b\\"), "dbname='a=\\'b\\\\'");
    }
}
