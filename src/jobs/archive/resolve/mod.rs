//! From the parameters of a job to a [`Rule`] for one database.
//!
//! Everything that could go wrong later is looked for here, before anything moves: tables that are no ordinary tables,
//! columns and types that a preset does not know, references that nobody looks after, rules and row-level security that
//! would make a DELETE do something else, rights that are missing. All of them refuse the job with words.

mod checks;
mod scope;
mod table;

use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::catalogue::FACTS_LIMIT;
use super::limit::Limit;
use super::rule::{HeldWith, PICKED, Part, Rule, name_of};
use super::spec::Archive;
use super::store::{Definition, KnownRule, Store};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::lengths::CalendarSpan;
use crate::pg::PgError;
use crate::pg::connect::within;
use crate::pg::statement::{Literal, Qualified};

/// Finds out what the job moves in this database; only reads.
///
/// # Errors
/// [`JobError::Refused`] says what was found and what to do; nothing was touched.
pub async fn resolve(spec: &Archive, conn: &mut PgConnection) -> Result<Rule, JobError> {
    let moment = Moment::read(spec, conn).await?;
    let mut rule = match spec.root_table() {
        Some(root) => table::resolve(spec, &root, &moment, conn).await?,
        None => scope::resolve(spec, &moment, conn).await?,
    };
    let store = Store::new(&spec.schema);
    if store.exists(conn).await? {
        for known in store.rules(conn).await? {
            rule.root.held_with.extend(held_by(&known, &rule, &store, conn).await);
        }
    }
    Ok(rule)
}

/// The number of the job's own table, where it names one that is there.
pub(super) async fn root_of(spec: &Archive, conn: &mut PgConnection) -> Result<Option<Oid>, JobError> {
    match spec.root_table() {
        Some(root) => table::find_root(&root, conn).await,
        None => Ok(None),
    }
}

/// The job's table, where it is gone and the archive still keeps its rows for a time.
///
/// # Errors
/// When the server cannot be asked.
pub async fn outlived(spec: &Archive, conn: &mut PgConnection) -> Result<Option<Qualified>, JobError> {
    let (Some(root), Limit::At(_)) = (spec.root_table(), spec.archive_keep) else { return Ok(None) };
    let (store, name) = (Store::new(&spec.schema), name_of(&root));
    let is_gone = root_of(spec, conn).await?.is_none() && store.exists(conn).await?;
    let is_kept = is_gone && store.rules(conn).await?.iter().any(|rule| rule.name == name);
    Ok(is_kept.then_some(root))
}

/// What a hold of a rule about the same roots means for this one, where live rows do not tell the same group. Where they tell
/// none, all are held that fulfil the condition which rows of that rule have left by, while it can be asked.
async fn held_by(known: &KnownRule, rule: &Rule, store: &Store, conn: &mut PgConnection) -> Option<HeldWith> {
    let Definition { root, group, by_archival, condition, .. } = &known.definition;
    if *root != rule.root.table || (!by_archival && *group == rule.root.group) {
        return None;
    }
    let held = format!(
        "select h.group_key from {} h where h.rule_id = {} and h.hold_until > clock_timestamp()",
        store.table("group_state"),
        known.rule_id
    );
    let when = match condition {
        _ if !by_archival => format!("({group}) in ({held})"),
        Some(condition) if table::check_condition(condition, root, conn).await.is_ok() => {
            format!("exists ({held}) and (\n{condition}\n)")
        }
        _ => format!("exists ({held})"),
    };
    Some(HeldWith { rules: Vec::new(), when })
}

/// Something that stops the job before anything moves.
fn refused(message: impl Into<String>) -> JobError {
    JobError::Refused { fault: Fault::Statement, message: format!("{}; nothing was touched", message.into()) }
}

/// The instants that a rule is made with, by the server's clock.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
struct Moment {
    now: String,
    now_ms: i64,
    cutoff: String,
    cutoff_us: i64,
    stale_cutoff: Option<String>,
}

impl Moment {
    async fn read(spec: &Archive, conn: &mut PgConnection) -> Result<Self, PgError> {
        let stale = match spec.stale_running_after {
            Limit::Off => None,
            Limit::At(CalendarSpan { months, days }) => Some((months, days)),
        };
        let query = sqlx::query_as(include_str!("../../sql/read_moment.sql"))
            .bind(spec.older_than.months)
            .bind(spec.older_than.days)
            .bind(stale.map(|(months, _)| months))
            .bind(stale.map(|(_, days)| days));
        within(FACTS_LIMIT, query.fetch_one(conn)).await
    }
}

/// An instant as a constant.
fn instant(text: &str) -> String {
    format!("{}::timestamptz", Literal(text))
}

/// The statement that locks the rows of a part, from the picked roots on.
fn lock(part: &Part) -> String {
    format!(
        "SELECT count(*) FROM (SELECT FROM {} t, {} WHERE {} FOR UPDATE OF t) AS locked",
        part.table, part.using, part.on
    )
}

/// The FROM items of a part that takes the given joins besides the picked roots.
fn using(joins: Option<&str>) -> String {
    joins.map_or_else(|| PICKED.to_owned(), |joins| format!("{PICKED} {joins}"))
}
