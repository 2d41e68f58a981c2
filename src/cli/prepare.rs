//! What commands do before their own work: load the file, learn its secrets, find what was named, reach the ledger.

use std::path::Path;
use std::sync::Arc;

use sqlx::Connection as _;

use super::exit::Exit;
use super::{load, output, refuse_file};
use crate::config::env::process_variable;
use crate::config::problem::{Problems, nearest, one_of, quote};
use crate::config::{Config, Job, Target};
use crate::fault::Fault;
use crate::ledger::{Ledger, LedgerError};
use crate::names::{JobName, TargetName};
use crate::pg::PgError;
use crate::pg::connect::{Purpose, connect};
use crate::secret::Redactor;

/// A good configuration, and what cleans its secrets out of whatever is printed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The configuration.
    pub(super) config: Arc<Config>,
    /// Cleans what is printed and what goes on record.
    pub(super) redactor: Redactor,
}

impl Prepared {
    /// Loads the configuration.
    ///
    /// # Errors
    /// [`Exit::Configuration`], with every problem printed.
    pub(super) fn load(path: &Path) -> Result<Self, Exit> {
        Ok(Self::of(load(path)?))
    }

    /// Loads what is needed to find the ledger; mistakes in the rest of the file are counted, and told by `check`.
    ///
    /// # Errors
    /// [`Exit::Configuration`], with every problem printed.
    pub(super) fn load_for_ledger(path: &Path) -> Result<Self, Exit> {
        let (config, problems) =
            Config::load_for_ledger(path, &process_variable).map_err(|error| refuse_file(&error))?;
        if let Some(Problems(problems)) = problems {
            let count = match problems.len() {
                1 => "a mistake".to_owned(),
                more => format!("{more} mistakes"),
            };
            let file = path.display();
            output::complain(&format!(
                "{file} has {count}, see `pgupkeep check`; this goes by its targets and the ledger"
            ));
        }
        Ok(Self::of(config))
    }

    fn of(config: Config) -> Self {
        let (secrets, redactor) = Redactor::new();
        secrets.learn(config.secrets.iter().cloned());
        Self { config: Arc::new(config), redactor }
    }

    /// The ledger, after the control database has answered.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when it does not, with the reason printed.
    pub(super) async fn ledger(&self, name: &str) -> Result<Ledger, Exit> {
        let control = &self.config.control.connection;
        // Asked directly first: a pool goes on trying for a while, and then cannot say why it failed.
        let reached = match connect(control, name, Purpose::Short).await {
            Ok(asked) => {
                // It answered, which is all that was wanted; how it ends does not matter.
                let _ended = asked.close().await;
                Ledger::new(control, name)
            }
            Err(error) => Err(LedgerError::Pg(error)),
        };
        reached.map_err(|error| self.refuse(&error))
    }

    /// The ledger, for a command that does not change its schema: it must have the version that we know.
    ///
    /// # Errors
    /// The exit code, with the reason printed.
    pub(super) async fn ledger_as_it_is(&self, name: &str) -> Result<Ledger, Exit> {
        let ledger = self.ledger(name).await?;
        match ledger.check_version().await {
            Ok(()) => Ok(ledger),
            // A role that was granted the views alone may not see the version; the views are made for it.
            Err(error) if error.fault() == Fault::Privilege => Ok(ledger),
            Err(error) => Err(self.refuse(&error)),
        }
    }

    /// Complains about the ledger, and says what to exit with.
    pub(super) fn refuse(&self, error: &LedgerError) -> Exit {
        self.complain(&error.to_string());
        if let LedgerError::Pg(error) = error {
            self.complain(&error.hint());
        }
        Exit::of_ledger(error)
    }

    /// Complains about a target, and says what to exit with.
    pub(super) fn refuse_target(&self, target: &TargetName, error: &PgError) -> Exit {
        self.complain(&format!("target {}: {error}", quote(target.as_str())));
        self.complain(&error.hint());
        Exit::of_fault(error.fault())
    }

    /// Prints a complaint without secrets.
    pub(super) fn complain(&self, text: &str) {
        output::complain(&self.redactor.clean(text));
    }

    /// The job of that name.
    ///
    /// # Errors
    /// [`Exit::Usage`], with the name that was probably meant.
    pub(super) fn find_job(&self, name: &str) -> Result<&Job, Exit> {
        let jobs = &self.config.jobs;
        jobs.values()
            .find(|job| job.spec.name.as_str() == name)
            .ok_or_else(|| refuse_name("job", name, jobs.keys().map(JobName::as_str)))
    }

    /// The targets of that names among a job's, without repeats; all of them when none is named.
    ///
    /// # Errors
    /// [`Exit::Usage`], with the name that was probably meant.
    pub(super) fn find_targets(&self, job: &Job, names: &[String]) -> Result<Vec<&Target>, Exit> {
        for name in names {
            if !self.config.targets.keys().any(|target| target.as_str() == name) {
                return Err(refuse_name("target", name, self.config.targets.keys().map(TargetName::as_str)));
            }
            if !job.targets.iter().any(|target| target.as_str() == name) {
                output::complain(&format!(
                    "the job {} is not for the target {}; expected {}",
                    quote(job.spec.name.as_str()),
                    quote(name),
                    one_of(job.targets.iter().map(TargetName::as_str)),
                ));
                return Err(Exit::Usage);
            }
        }
        let is_wanted = |target: &&TargetName| names.is_empty() || names.iter().any(|name| name == target.as_str());
        Ok(job.targets.iter().filter(is_wanted).filter_map(|name| self.config.targets.get(name)).collect())
    }
}

/// Complains about a name that nothing has, and says what to exit with.
pub(super) fn refuse_name<'a>(sort: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Exit {
    let advice = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => format!("expected {}", one_of(known)),
    };
    output::complain(&format!("there is no {sort} {}; {advice}", quote(name)));
    Exit::Usage
}
