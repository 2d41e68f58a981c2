//! `pgupkeep exec`, for ourselves only: becomes a tool that dies with the pgupkeep that wanted it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit::Exit;
use super::output;
use crate::child::become_program;

/// What to become.
#[derive(Debug, clap::Args)]
pub(super) struct Exec {
    /// The process that wants it.
    #[arg(long)]
    parent: i32,
    /// The program.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn exec(args: &Exec) -> Exit {
    let error = become_program(args.parent, &args.program, &args.arguments);
    output::complain(&format!("{} could not be started: {error}", args.program.display()));
    Exit::Failed
}
