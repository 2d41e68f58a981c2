//! The code a failure is handled by.
//!
//! People read the chain of an error; the program looks only at its [`Fault`]. SQLSTATEs become faults here and
//! nowhere else. Source of the codes: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".

use crate::run_state::UnknownWord;

/// What sort of failure this is, as far as the program must care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The server is away, starting, stopping, or the connection broke or stalled.
    Unreachable,
    /// The target is a standby, or set to read only.
    ReadOnly,
    /// A lock could not be had: lock timeout, deadlock, serialization.
    Locked,
    /// The role may not do this.
    Privilege,
    /// The server refused the login or the database does not exist.
    Login,
    /// Too many connections, out of memory, limits.
    Exhausted,
    /// The server's disk is full.
    DiskFull,
    /// A statement ended by `statement_timeout`, `pg_cancel_backend` or an administrator's hand.
    Interrupted,
    /// The job's own `timeout` was reached.
    Timeout,
    /// The statement is wrong: syntax, an unknown object, a constraint, a value.
    Statement,
    /// The server found damaged data.
    Corrupt,
    /// A defect of ours, or a state of the server that we do not know.
    Internal,
}

impl Fault {
    /// Every fault.
    pub const ALL: &'static [Self] = &[
        Self::Unreachable,
        Self::ReadOnly,
        Self::Locked,
        Self::Privilege,
        Self::Login,
        Self::Exhausted,
        Self::DiskFull,
        Self::Interrupted,
        Self::Timeout,
        Self::Statement,
        Self::Corrupt,
        Self::Internal,
    ];

    /// The fault's word in the ledger, in logs and in `--json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ReadOnly => "read_only",
            Self::Locked => "locked",
            Self::Privilege => "privilege",
            Self::Login => "login",
            Self::Exhausted => "exhausted",
            Self::DiskFull => "disk_full",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
            Self::Statement => "statement",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }

    /// Sorts a SQLSTATE: single codes first, then classes.
    pub fn from_sqlstate(code: &str) -> Self {
        match code {
            "57014" => Self::Interrupted,
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Self::Unreachable,
            "57P04" | "3D000" => Self::Login,
            "25006" => Self::ReadOnly,
            "55P03" | "55006" => Self::Locked,
            "42501" => Self::Privilege,
            "53100" => Self::DiskFull,
            "58030" => Self::Corrupt,
            _ => match code.get(..2).unwrap_or_default() {
                "08" => Self::Unreachable,
                "28" => Self::Login,
                "40" => Self::Locked,
                "53" | "54" => Self::Exhausted,
                "XX" if code != "XX000" => Self::Corrupt,
                "0A" | "20" | "21" | "22" | "23" | "25" | "26" | "2B" | "2F" | "34" | "38" | "39" | "3B" | "3F"
                | "42" | "44" | "55" | "P0" => Self::Statement,
                _ => Self::Internal,
            },
        }
    }

    /// One sentence that tells an operator what to do next.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Unreachable => "check that the server is up and reachable; a daemon goes on by itself when it is",
            Self::ReadOnly => {
                "nothing was written: this is a standby, or default_transaction_read_only is on for the server, the \
                 database or the role; the work is taken up when it accepts writes"
            }
            Self::Locked => "see which session holds the lock in pg_locks; pgupkeep tries again later",
            Self::Privilege => "grant the role what the message names; `pgupkeep doctor` shows what else is missing",
            Self::Login => "check user, password, database and pg_hba.conf for this url",
            Self::Exhausted => "raise the limit that the message names, or run fewer jobs at a time",
            Self::DiskFull => "free space on the server's disk before the next run",
            Self::Interrupted => "somebody or a timeout setting on the server ended the statement; run the job again",
            Self::Timeout => "raise the job's timeout, or give it less to do",
            Self::Statement => "correct what the message names; it fails in the same way until then",
            Self::Corrupt => "stop writing to this database, and check its disks and backups before anything else",
            Self::Internal => "please report this with the run's history",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Fault {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.as_str() == word)
            .ok_or_else(|| UnknownWord::new("fault", Self::ALL.iter().map(|fault| fault.as_str()), word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_becomes_the_fault_it_is_handled_by() {
        let check = |code: &str, expected: Fault| assert_eq!(Fault::from_sqlstate(code), expected, "{code}");
        check("57014", Fault::Interrupted); // query_canceled
        check("57P01", Fault::Unreachable); // admin_shutdown
        check("57P03", Fault::Unreachable); // cannot_connect_now
        check("08006", Fault::Unreachable); // connection_failure
        check("25006", Fault::ReadOnly); // read_only_sql_transaction
        check("55P03", Fault::Locked); // lock_not_available
        check("40P01", Fault::Locked); // deadlock_detected
        check("42501", Fault::Privilege); // insufficient_privilege
        check("28P01", Fault::Login); // invalid_password
        check("3D000", Fault::Login); // invalid_catalog_name
        check("53100", Fault::DiskFull); // disk_full
        check("53300", Fault::Exhausted); // too_many_connections
        check("42601", Fault::Statement); // syntax_error
        check("23505", Fault::Statement); // unique_violation
        check("XX001", Fault::Corrupt); // data_corrupted
        check("XX000", Fault::Internal); // internal_error
        check("", Fault::Internal);
    }
}
