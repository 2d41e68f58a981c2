//! `pgupkeep archive restore`: a run of kind `archive_restore`, performed in this process.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Place, find_target, instant, text};
use crate::cli::exit::Exit;
use crate::cli::prepare::Prepared;
use crate::cli::run;
use crate::jobs::{JobSpec, kind};
use crate::names::JobName;

/// What `archive restore` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    which: Which,
    /// Only what was archived by this rule, as `archive list` calls it.
    #[arg(long)]
    rule: Option<String>,
    /// For how long they are not archived again; `off` ends the hold of what is back already, too.
    #[arg(long, value_name = "SPAN", default_value = "90days")]
    hold: String,
    #[command(flatten)]
    place: Place,
}

/// What is to be restored: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Groups by name, such as runs of MLflow by their ids; may be given several times.
    #[arg(long = "run", value_name = "UUID")]
    groups: Vec<String>,
    /// Everything archived of an experiment of MLflow.
    #[arg(long, value_name = "ID")]
    experiment: Option<i64>,
    /// What was last active in this span: from a date or instant, up to but without another, in the file's zone.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    between: Option<Vec<String>>,
    /// What fulfils a condition over the root's row `r`, such as "r.name = 'baseline'".
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
}

/// Writes the run, and performs it.
pub(super) async fn restore(path: &Path, args: &Restore) -> Result<Exit, Exit> {
    let prepared = Prepared::load(path)?;
    let target = find_target(&prepared, args.place.target.as_deref())?;
    let spec = spec(&prepared, args)?;
    run::perform_here(&prepared, &spec, &[target], args.place.json).await
}

fn spec(prepared: &Prepared, args: &Restore) -> Result<JobSpec, Exit> {
    let usage = |message: String| {
        prepared.complain(&message);
        Exit::Usage
    };
    let mut with = Map::new();
    with.insert("hold".to_owned(), text(&args.hold));
    with.insert("schema".to_owned(), text(&args.place.schema));
    let which = &args.which;
    if !which.groups.is_empty() {
        with.insert("groups".to_owned(), json!(which.groups));
    }
    if let Some(rule) = &args.rule {
        with.insert("rule".to_owned(), text(rule));
    }
    if let Some(experiment) = which.experiment {
        with.insert("where".to_owned(), Value::from(format!("r.experiment_id = {experiment}")));
    }
    if let Some(condition) = &which.condition {
        with.insert("where".to_owned(), text(condition));
    }
    if let Some([from, to]) = which.between.as_deref() {
        let zone = &prepared.config.timezone;
        let read = |at: &String| instant(at, zone).map(crate::cli::output::rfc3339).map_err(usage);
        with.insert("between".to_owned(), json!({ "from": read(from)?, "to": read(to)? }));
    }
    let kind = kind("archive_restore").ok_or(Exit::Failed)?;
    let with = (kind.read_with)(&Value::Object(with)).map_err(|error| usage(error.to_string()))?;
    let name = JobName::parse("archive-restore").map_err(|error| usage(error.to_string()))?;
    Ok(JobSpec { name, kind: kind.name.to_owned(), with, timeout_ms: None, retries: 0, inner: Vec::new() })
}
