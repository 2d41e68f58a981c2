//! `pgupkeep completions`: what a shell needs to complete our command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::exit::Exit;
use super::{Cli, output};

/// What `completions` is asked.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell that is to read them.
    shell: Shell,
}

/// Prints the shell's own script; needs no configuration.
pub fn completions(args: &Completions) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pgupkeep", &mut script);
    output::say_verbatim(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}
