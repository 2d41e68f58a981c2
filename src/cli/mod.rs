//! The command line: one file for each command, and the exit codes they share.

pub mod archive;
pub mod backup;
pub mod cancel;
pub mod check;
pub mod completions;
pub mod daemon;
pub mod doctor;
mod exec;
pub mod exit;
mod follow;
pub mod healthcheck;
pub mod history;
pub mod json;
mod local;
pub mod migrate;
pub mod next;
pub mod output;
pub mod plan;
mod prefix;
mod prepare;
pub mod run;
pub mod status;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::config::env::process_variable;
use crate::config::resolve::LoadError;
use exit::Exit;

/// Looks after PostgreSQL so that nobody has to remember to.
#[derive(Debug, Parser)]
#[command(name = "pgupkeep", version, about, max_term_width = 110)]
pub struct Cli {
    /// The configuration; else ./schedules.yaml, then /etc/pgupkeep/schedules.yaml.
    #[arg(long, short, global = true, env = "PGUPKEEP_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the schedules until told to stop.
    Daemon,
    /// Check the configuration and show every problem with its place.
    Check(check::Check),
    /// Print the calendar: what falls due when.
    Next(next::Next),
    /// Show what a job would do now; changes nothing.
    Plan(plan::Plan),
    /// Run a job now.
    Run(run::Run),
    /// Show where each job stands.
    Status(status::Status),
    /// Show what ran, newest first.
    History(history::History),
    /// Ask a run to stop.
    Cancel(cancel::Cancel),
    /// Look into the archive, verify it, and restore from it.
    Archive(archive::Archive),
    /// Look for what stands in the way of the jobs, on every target; changes nothing.
    Doctor(doctor::Doctor),
    /// Ask the daemon beside us whether it is ready; for a container's health check.
    Healthcheck(healthcheck::Healthcheck),
    /// Look after the backups in the repositories.
    Backup(backup::Backup),
    /// Bring the ledger's tables up to date.
    Migrate,
    /// Print the completions of a shell.
    Completions(completions::Completions),
    /// Become a program that dies with its parent; pgupkeep starts its tools by it.
    #[command(hide = true)]
    Exec(exec::Exec),
}

impl Cli {
    /// Performs the command.
    pub fn perform(self) -> Exit {
        let path = match self.config {
            Some(path) => path,
            None => default_path(),
        };
        match self.command {
            Command::Daemon => daemon::daemon(&path),
            Command::Check(check) => check::check(&path, &check),
            Command::Next(next) => next::next(&path, &next),
            Command::Plan(plan) => wait_for(plan::plan(&path, &plan)),
            Command::Run(run) => wait_for(run::run(&path, &run)),
            Command::Status(status) => wait_for(status::status(&path, &status)),
            Command::History(history) => wait_for(history::history(&path, &history)),
            Command::Cancel(cancel) => wait_for(cancel::cancel(&path, &cancel)),
            Command::Archive(archive) => wait_for(archive::archive(&path, &archive)),
            Command::Doctor(doctor) => wait_for(doctor::doctor(&path, &doctor)),
            Command::Healthcheck(check) => wait_for(healthcheck::healthcheck(&path, &check)),
            Command::Backup(backup) => wait_for(backup::backup(&path, &backup)),
            Command::Migrate => wait_for(migrate::migrate(&path)),
            Command::Completions(completions) => completions::completions(&completions),
            Command::Exec(exec) => exec::exec(&exec),
        }
    }
}

fn default_path() -> PathBuf {
    let here = Path::new("schedules.yaml");
    if here.exists() { here.to_owned() } else { PathBuf::from("/etc/pgupkeep/schedules.yaml") }
}

/// Loads the configuration, or prints what is wrong with it.
///
/// # Errors
/// [`Exit::Configuration`], with everything printed already.
fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path, &process_variable).map_err(|error| refuse_file(&error))
}

/// Prints what is wrong with the configuration, and says what to exit with.
fn refuse_file(error: &LoadError) -> Exit {
    output::complain(&error.to_string());
    Exit::Configuration
}

/// Waits for a command that talks to a database.
fn wait_for(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(command);
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            output::complain(&format!("the runtime could not be started: {error}"));
            Exit::Failed
        }
    }
}
