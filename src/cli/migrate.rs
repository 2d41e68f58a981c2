//! `pgupkeep migrate`: brings the ledger's tables up to date.

use std::path::Path;

use super::exit::Exit;
use super::{load, output};
use crate::ledger::Ledger;

/// Applies what is missing and says what that was.
pub async fn migrate(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let migrated = match Ledger::new(&config.control.connection, "pgupkeep/migrate") {
        Ok(ledger) => ledger.migrate().await,
        Err(error) => Err(error),
    };
    match migrated {
        Ok(applied) if applied.is_empty() => {
            output::say("the ledger is up to date");
            Exit::Done
        }
        Ok(applied) => {
            let versions: Vec<String> = applied.iter().map(ToString::to_string).collect();
            output::say(&format!("applied migrations {}", versions.join(", ")));
            Exit::Done
        }
        Err(error) => output::complain_of_ledger(&error),
    }
}
