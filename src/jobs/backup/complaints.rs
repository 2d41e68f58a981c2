//! What the server's tools complain of, how that is handled, and what helps.

use super::facts::DatabaseFacts;
use crate::child::Ended;
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::statement::Ident;

/// Whether a tool did what it was told.
pub(super) fn judge(tool: &str, ended: &Ended) -> Result<(), JobError> {
    use std::os::unix::process::ExitStatusExt as _;
    if ended.status.success() {
        return Ok(());
    }
    let how = match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let fault = match ended.status.code() {
        None => Fault::Interrupted,
        Some(_) => fault_of(&ended.complaints),
    };
    // On one line, since log lines are.
    let said = ended.complaints.lines().collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() { "without a word" } else { &said };
    let why = if fault == Fault::Locked { "a table stayed locked for longer than `lock_wait`: " } else { "" };
    let message = format!("{why}{tool} {how}: {said}; what it had written was thrown away");
    Err(JobError::Refused { fault, message })
}

/// What the server says where a policy would hide rows from `pg_dump`.
const ROW_SECURITY: &str = "affected by row-level security policy";

/// What sort of failure a tool complains of. Its words are those of the C locale.
fn fault_of(complaints: &str) -> Fault {
    const WORDS: &[(&str, Fault)] = &[
        ("No space left on device", Fault::DiskFull),
        ("Disk quota exceeded", Fault::DiskFull),
        ("File too large", Fault::DiskFull),
        ("lock timeout", Fault::Locked),
        // How --lock-wait-timeout is kept; no other statement of pg_dump has a limit.
        ("due to statement timeout", Fault::Locked),
        ("permission denied", Fault::Privilege),
        (ROW_SECURITY, Fault::Privilege),
        ("password authentication failed", Fault::Login),
        ("no password supplied", Fault::Login),
        ("no pg_hba.conf entry", Fault::Login),
        ("too many clients", Fault::Exhausted),
        ("remaining connection slots", Fault::Exhausted),
        ("out of shared memory", Fault::Exhausted),
        ("server closed the connection", Fault::Unreachable),
        ("connection to server", Fault::Unreachable),
        ("terminating connection", Fault::Unreachable),
        ("the database system is", Fault::Unreachable),
        ("no connection to the server", Fault::Unreachable),
        ("canceling statement", Fault::Interrupted),
        ("invalid page", Fault::Corrupt),
        ("could not read block", Fault::Corrupt),
    ];
    WORDS.iter().find(|(words, _)| complaints.contains(words)).map_or(Fault::Statement, |(_, fault)| *fault)
}

/// What helps where a right is missing.
pub(super) fn explain(error: JobError, facts: &DatabaseFacts) -> JobError {
    match error {
        JobError::Refused { fault: Fault::Privilege, message } => {
            let hint = hint(&message, &Ident(facts.role.clone()));
            JobError::Refused { fault: Fault::Privilege, message: format!("{message}; {hint}") }
        }
        other => other,
    }
}

/// The statement that lets a role read what `pg_dump` complains of.
fn hint(complaint: &str, role: &Ident) -> String {
    if let Some((_, rest)) = complaint.split_once("permission denied for large object ") {
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return format!(
            "GRANT SELECT ON LARGE OBJECT {number} TO {role} lets it read this one, and each needs its own; or back up as a superuser"
        );
    }
    if complaint.contains(ROW_SECURITY) {
        return format!("ALTER ROLE {role} BYPASSRLS lets it read every row");
    }
    format!("GRANT pg_read_all_data TO {role} lets it read every table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_complaint_becomes_the_fault_it_is_handled_by() {
        let check = |words: &str, expected: Fault| assert_eq!(fault_of(words), expected, "{words}");
        check("pg_dump: error: could not write to file \"x\": No space left on device", Fault::DiskFull);
        check("pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout", Fault::Locked);
        check("pg_dump: error: query failed: ERROR:  permission denied for table t", Fault::Privilege);
        check("ERROR:  query would be affected by row-level security policy for table \"t\"", Fault::Privilege);
        check("pg_dump: error: query failed: server closed the connection unexpectedly", Fault::Unreachable);
        check(
            "pg_dump: error: connection to server at \"h\" failed: FATAL:  password authentication failed",
            Fault::Login,
        );
        check("pg_dump: error: connection to server at \"h\" failed: Connection refused", Fault::Unreachable);
        check("something that nobody has seen", Fault::Statement);
    }

    #[test]
    fn what_is_closed_to_a_dump_is_told_with_what_opens_it() {
        let check = |complaint: &str, expected: &str| {
            let hint = hint(complaint, &Ident("up".to_owned()));
            assert!(hint.starts_with(expected), "{hint}");
        };
        check("permission denied for table t", "GRANT pg_read_all_data TO \"up\"");
        check(
            "permission denied for large object 16402; pg_dump: detail",
            "GRANT SELECT ON LARGE OBJECT 16402 TO \"up\"",
        );
        check("query would be affected by row-level security policy for table \"t\"", "ALTER ROLE \"up\" BYPASSRLS");
    }
}
