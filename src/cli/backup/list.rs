//! `pgupkeep backup list`.

use super::{Chosen, entries, no_backups, shown};
use crate::cli::exit::Exit;
use crate::cli::prepare::Prepared;
use crate::cli::{json, output};

/// What `backup list` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(prepared: &Prepared, args: &List) -> Result<Exit, Exit> {
    let mut backups: Vec<json::Backup> = Vec::new();
    for repository in args.chosen.open(prepared)? {
        let entries = entries(prepared, &repository).await?;
        backups.extend(entries.iter().map(|entry| shown(&repository, entry)));
    }
    if args.json {
        output::say_json(&backups);
        return Ok(Exit::Done);
    }
    if backups.is_empty() {
        no_backups(prepared);
        return Ok(Exit::Done);
    }
    let mut table =
        output::table(&["backup", "repository", "server", "job", "completed", "size", "databases", "state"]);
    for backup in &backups {
        let state = match &backup.reason {
            Some(reason) => format!("{}: {}", backup.state, output::brief(reason)),
            None => backup.state.replace('_', " "),
        };
        table.add_row([
            backup.id.clone(),
            backup.repository.clone(),
            backup.server.clone(),
            output::or_blank(backup.job.as_ref()),
            output::or_blank(backup.completed_at.as_ref().map(json::Instant::for_people)),
            output::or_blank(backup.bytes.and_then(|bytes| i64::try_from(bytes).ok()).map(output::bytes)),
            output::brief(&backup.databases.join(", ")),
            state,
        ]);
    }
    output::say_table(&table);
    Ok(Exit::Done)
}
