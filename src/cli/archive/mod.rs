//! `pgupkeep archive`: what the archive holds, whether it is sound, and the way back out of it.

mod answers;
mod restore;

use std::path::Path;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::exit::Exit;
use super::output;
use super::prepare::Prepared;
use crate::config::{Connection, Target};
use crate::jobs::archive::consistency;
use crate::jobs::archive::holdings;
use crate::jobs::archive::selection::{self, Selection, Which};
use crate::jobs::archive::store::Store;
use crate::jobs::archive::verify::{self, Groups};
use crate::jobs::context::JobError;

pub use crate::jobs::archive::holdings::{ArchiveGroupTable, ArchiveRule, ArchiveTable};
pub use answers::{ArchiveDamage, ArchiveGroup, ArchiveList};

/// What `archive` is asked.
#[derive(Debug, clap::Args)]
pub struct Archive {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the archive holds, by rule and by table.
    List(Place),
    /// Show what the archive holds of some groups, such as the runs of MLflow by their ids.
    Show(Show),
    /// Read every archived row again and compare it with its digest; exit 1 names what is damaged.
    Verify(Place),
    /// Put archived rows back where they were, proven, and hold them there.
    Restore(restore::Restore),
}

/// Which archive.
#[derive(Debug, clap::Args)]
struct Place {
    /// The target; needed where there are several.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// The schema that the archive is in.
    #[arg(long, value_name = "SCHEMA", default_value = "archive")]
    schema: String,
    /// Print JSON; see docs/json.md.
    #[arg(long)]
    json: bool,
}

/// Which groups.
#[derive(Debug, clap::Args)]
struct Show {
    /// The groups.
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Does what is asked.
pub async fn archive(path: &Path, args: &Archive) -> Exit {
    let answer = match &args.command {
        Command::List(place) => list(path, place).await,
        Command::Show(args) => show(path, args).await,
        Command::Verify(place) => verify_all(path, place).await,
        Command::Restore(args) => restore::restore(path, args).await,
    };
    match answer {
        Ok(exit) | Err(exit) => exit,
    }
}

/// The archive of a target, reached.
struct Reached {
    prepared: Prepared,
    store: Store,
    connection: Connection,
    conn: PgConnection,
}

impl Place {
    async fn reach(&self, path: &Path) -> Result<Reached, Exit> {
        let prepared = Prepared::load_for_ledger(path)?;
        let target = find_target(&prepared, self.target.as_deref())?;
        let store = Store::new(&self.schema);
        let connection = target.connection.clone();
        let conn = verify::connect_to_read(&connection).await;
        let mut conn = conn.map_err(|error| prepared.refuse_target(&target.name, &error))?;
        match store.exists(&mut conn).await {
            Ok(true) => match store.check_readable(&mut conn).await {
                Ok(()) => Ok(Reached { prepared, store, connection, conn }),
                Err(error) => Err(refuse(&prepared, &error)),
            },
            Ok(false) => {
                prepared.complain(&format!(
                    "there is no archive in the schema {} of {}; a job of `kind: archive` makes it",
                    self.schema, target.name
                ));
                Err(Exit::Failed)
            }
            Err(error) => Err(refuse(&prepared, &error)),
        }
    }
}

fn find_target<'a>(prepared: &'a Prepared, name: Option<&str>) -> Result<&'a Target, Exit> {
    let targets = &prepared.config.targets;
    match name {
        Some(name) => targets.values().find(|target| target.name.as_str() == name).ok_or_else(|| {
            prepared.complain(&format!("there is no target `{name}`"));
            Exit::Usage
        }),
        None if targets.len() == 1 => targets.values().next().ok_or(Exit::Configuration),
        None => {
            let names = targets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prepared.complain(&format!("there are several targets; say which one with --target: {names}"));
            Err(Exit::Usage)
        }
    }
}

fn refuse(prepared: &Prepared, error: &JobError) -> Exit {
    prepared.complain(&error.to_string());
    if !matches!(error, JobError::Refused { .. }) {
        prepared.complain(error.fault().hint());
    }
    Exit::of_fault(error.fault())
}

async fn list(path: &Path, place: &Place) -> Result<Exit, Exit> {
    let Reached { prepared, store, mut conn, .. } = place.reach(path).await?;
    let answer = async {
        let rules = holdings::held(&mut conn, &store).await?;
        let sources = store.sources(&mut conn, None).await?;
        let tables = holdings::stored(&mut conn, &sources).await?;
        Ok::<_, JobError>(ArchiveList { rules, tables })
    };
    let answer = answer.await.map_err(|error| refuse(&prepared, &error))?;
    leave(conn).await;
    if place.json {
        output::say_json(&answer);
    } else {
        answer.tell();
    }
    Ok(Exit::Done)
}

async fn show(path: &Path, args: &Show) -> Result<Exit, Exit> {
    let Reached { prepared, store, mut conn, .. } = args.place.reach(path).await?;
    let answer = async {
        let (mut groups, named) = (Vec::new(), Selection::Named(args.groups.clone()));
        for wanted in selection::find(&mut conn, &store, None, &named, Which::Archived).await? {
            let sources = selection::sources_of(&mut conn, &store, &wanted.rule).await?;
            let tables = holdings::group_rows(&mut conn, &sources, wanted.group_id).await?;
            let (group, rule, inner, rows) = (wanted.group_key, wanted.rule.name, wanted.inner, wanted.rows);
            groups.push(ArchiveGroup { group, rule, inner, rows, tables });
        }
        Ok::<_, JobError>(groups)
    };
    let groups = answer.await.map_err(|error| refuse(&prepared, &error))?;
    leave(conn).await;
    let holds = |group: &ArchiveGroup, name: &String| group.group == *name || group.inner.contains(name);
    let missing: Vec<&String> =
        args.groups.iter().filter(|name| !groups.iter().any(|group| holds(group, name))).collect();
    for name in &missing {
        prepared.complain(&format!("the archive holds no rows of `{name}`"));
    }
    if args.place.json {
        output::say_json(&groups);
    } else {
        answers::tell_groups(&groups);
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn verify_all(path: &Path, place: &Place) -> Result<Exit, Exit> {
    let Reached { prepared, store, connection, mut conn } = place.reach(path).await?;
    let answer = async {
        let mut all = Vec::new();
        let sources = store.sources(&mut conn, None).await?;
        let (gone, sources) = consistency::find_gone(&mut conn, sources).await?;
        all.extend(gone.into_iter().map(ArchiveDamage::from));
        for source in &sources {
            let verified = verify::verify(&mut conn, Some(&connection), source, Groups::All).await?;
            all.push(ArchiveDamage::from(verified));
        }
        let groups = consistency::verify_groups(&mut conn, &store, &sources, Groups::All).await?;
        let catalogue = consistency::verify_catalogue(&mut conn, &store, &sources).await?;
        let catalogue = [groups, catalogue].into_iter().filter(|found| !found.damaged.is_empty());
        all.extend(catalogue.map(ArchiveDamage::from));
        Ok::<_, JobError>(all)
    };
    let all = answer.await.map_err(|error| refuse(&prepared, &error))?;
    leave(conn).await;
    let damaged = all.iter().any(|table| !table.damaged.is_empty());
    if place.json {
        output::say_json(&all);
    } else {
        answers::tell_verified(&all);
    }
    Ok(if damaged { Exit::Failed } else { Exit::Done })
}

async fn leave(conn: PgConnection) {
    // All answers are in; how the connection ends does not matter.
    let _ended = conn.close().await;
}

/// The instants between which something was last active, in the file's zone.
fn instant(text: &str, zone: &jiff::tz::TimeZone) -> Result<DateTime<Utc>, String> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => text
            .parse::<jiff::civil::Date>()
            .and_then(|date| date.to_zoned(zone.clone()))
            .map(|zoned| zoned.timestamp())
            .map_err(|_| {
                format!("`{text:.40}` is neither a date such as 2025-12-31 nor an instant such as 2025-12-31T23:00:00Z")
            })?,
    };
    Ok(crate::clock::to_sql(at))
}

/// A value for a job's `with:`.
fn text(value: &str) -> Value {
    Value::from(value)
}
