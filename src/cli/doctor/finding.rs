//! A finding: what was looked at, what was found, why it matters, what to do.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It works, but less well or less safely than it could.
    Warning,
    /// Something that is configured cannot work, or data are in danger.
    Error,
}

impl Level {
    /// The level's word, for people and in `--json`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Can it be reached, and what is it?
    Reach,
    /// Is the server's version one that we know to be good?
    Version,
    /// Is there a pooler in between?
    Pooler,
    /// Do the clocks agree?
    Clock,
    /// Do server and program know the same clock changes?
    TimeZone,
    /// May our role do what the jobs ask for?
    Rights,
    /// Are the server's own tools here?
    Tools,
    /// Are repositories there, and more than one?
    Repository,
    /// Can the disks that jobs look at be seen?
    Disk,
    /// Do settings get in the way?
    Settings,
    /// Does somebody keep dead rows or WAL from being removed?
    Holders,
    /// Are there indexes that nobody can use?
    Indexes,
    /// How old are transaction ids?
    Age,
    /// Is the ledger there?
    Ledger,
    /// Is a daemon up?
    Daemons,
}

impl Check {
    /// The check's word in `--json`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Version => "version",
            Self::Pooler => "pooler",
            Self::Clock => "clock",
            Self::TimeZone => "time_zone",
            Self::Rights => "rights",
            Self::Tools => "tools",
            Self::Repository => "repository",
            Self::Disk => "disk",
            Self::Settings => "settings",
            Self::Holders => "holders",
            Self::Indexes => "indexes",
            Self::Age => "age",
            Self::Ledger => "ledger",
            Self::Daemons => "daemons",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) level: Level,
    /// What was looked at.
    pub(super) check: Check,
    /// The job that it concerns, if one in particular.
    pub(super) job: Option<String>,
    /// What was found.
    pub(super) found: String,
    /// Why it matters; empty where everything is as it should be.
    pub(super) why: String,
    /// What to do; empty where nothing has to be done.
    pub(super) remedy: String,
    /// The very statements of the remedy, one a line; empty where it is not SQL.
    pub(super) sql: String,
}

impl Finding {
    /// A finding that says no more than what was found.
    pub(super) fn new(level: Level, check: Check, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { level, check, job: None, found, why: String::new(), remedy: String::new(), sql: String::new() }
    }

    /// With the reason why it matters.
    #[must_use]
    pub(super) fn because(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// With what to do.
    #[must_use]
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// With the statements to send.
    #[must_use]
    pub(super) fn sql(self, sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..self }
    }

    /// Of one job.
    #[must_use]
    pub(super) fn of_job(self, job: impl std::fmt::Display) -> Self {
        Self { job: Some(job.to_string()), ..self }
    }
}
