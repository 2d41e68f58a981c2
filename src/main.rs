//! The binary: reads the command line, performs one command, exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use pgupkeep::cli::Cli;
use pgupkeep::cli::exit::Exit;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.perform().into(),
        Err(answer) => {
            let asked_for = !answer.use_stderr();
            // Help and version are answers; anything else is wrong usage.
            let _gone = answer.print();
            if asked_for { Exit::Done } else { Exit::Usage }.into()
        }
    }
}
