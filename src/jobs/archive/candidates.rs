//! What could move now: the groups or pages of a rule, how many rows each has, and what stays for which reason.

use sqlx::PgConnection;

use super::catalogue::{Rows, read_rows};
use super::condition::{self, LOOK_LIMIT};
use super::rule::{Chunks, HELD, HeldWith, PICKED, Part, Root, Rule};
use super::spec::Archive;
use super::store::Store;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Statement, literal};

/// A group that could move.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    /// The group.
    pub group_key: String,
    /// Rows of all parts that would move.
    pub rows: i64,
}

/// A range of the root table's pages with rows that could move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// The first page.
    pub from: i64,
    /// The first page after it.
    pub to: i64,
    /// How many roots would move.
    pub roots: i64,
    /// About how many rows of all parts would move.
    pub rows: i64,
}

/// What stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// How many roots.
    pub count: i64,
    /// Why.
    pub because: String,
}

/// What could move, and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidates {
    /// Groups, the least recently active first; where roots are gone through by groups.
    pub groups: Vec<Candidate>,
    /// Ranges of pages, in their order; where the roots themselves are the many rows.
    pub pages: Vec<Pages>,
    /// What stays although there is something of it to move.
    pub excluded: Vec<Excluded>,
}

/// Looks for what could move now, in a transaction in which nothing can be written: not by functions in somebody's
/// `where`, either.
///
/// # Errors
/// When the server cannot be asked, or something wants to write.
pub(super) async fn candidates_read_only(
    rule: &Rule,
    spec: &Archive,
    conn: &mut PgConnection,
) -> Result<Candidates, JobError> {
    condition::reading(conn, async |conn| candidates(rule, spec, conn).await).await.map_err(condition::has_to_read)
}

/// Looks for what could move now; only reads.
///
/// # Errors
/// When the server cannot be asked.
pub async fn candidates(rule: &Rule, spec: &Archive, conn: &mut PgConnection) -> Result<Candidates, JobError> {
    let store = Store::new(&spec.schema);
    let held = if store.exists(conn).await? { held(rule, &store) } else { "false".to_owned() };
    let excluded = excluded(rule, &held, conn).await?;
    let (groups, pages) = match rule.root.chunks {
        Chunks::Groups => (groups(rule, &held, conn).await?, Vec::new()),
        Chunks::Pages => (Vec::new(), pages(rule, spec, &held, conn).await?),
    };
    Ok(Candidates { groups, pages, excluded })
}

/// The condition over `r` that its group is held, by this rule or another one about the same roots, or held with a group of
/// another scope.
pub(super) fn held(rule: &Rule, store: &Store) -> String {
    let Root { table, group, held_with, .. } = &rule.root;
    let root = serde_json::json!(table).to_string();
    // Lists that depend on no row, of a moment that does not move on: the server looks for them once.
    let own = format!(
        "coalesce(({group} in (select g.group_key from {} g join {} u on u.rule_id = g.rule_id \
         where u.definition -> 'root' = {}::jsonb and u.definition ->> 'group' = {} and g.hold_until > now())), false)",
        store.table("group_state"),
        store.table("rule"),
        literal(root),
        literal(group),
    );
    let others = held_with.iter().map(|HeldWith { rules, when }| {
        let names = rules.iter().map(literal).collect::<Vec<_>>().join(", ");
        let held = format!(
            "select g.group_key from {} g join {} u on u.rule_id = g.rule_id where u.name in ({names}) \
             and g.hold_until > now()",
            store.table("group_state"),
            store.table("rule"),
        );
        format!("coalesce(({}), false)", when.replace(HELD, &held))
    });
    format!("({})", std::iter::once(own).chain(others).collect::<Vec<_>>().join(" or "))
}

/// Counts the roots that have something to move and stay, by the first reason that holds.
async fn excluded(rule: &Rule, held: &str, conn: &mut PgConnection) -> Result<Vec<Excluded>, JobError> {
    let Root { table, reasons, filled, .. } = &rule.root;
    let mut because: Vec<&str> = reasons.iter().map(|reason| reason.because.as_str()).collect();
    because.push("restored from the archive, and held");
    let mut cases: Vec<String> = reasons.iter().map(|reason| format!("coalesce(({}), true)", reason.when)).collect();
    cases.push(held.to_owned());
    let cases =
        cases.iter().enumerate().map(|(nth, case)| format!("when {case} then {nth}")).collect::<Vec<_>>().join(" ");
    let filled = filled.as_deref().unwrap_or("true");
    let statement = Statement::built(format!(
        "select s.nth, count(*) from (select case {cases} end as nth from {table} r where {filled}) s \
         where s.nth is not null group by s.nth order by s.nth"
    ));
    let rows = within(LOOK_LIMIT, sqlx::query_as::<_, (i32, i64)>(statement.to_sql()).fetch_all(conn)).await?;
    let mut all: Vec<Excluded> = Vec::new();
    for (nth, count) in rows {
        let because = usize::try_from(nth).ok().and_then(|nth| because.get(nth)).copied().unwrap_or_default();
        match all.iter_mut().find(|known| known.because == because) {
            Some(known) => known.count += count,
            None => all.push(Excluded { count, because: because.to_owned() }),
        }
    }
    Ok(all)
}

/// The SELECT of the roots that could move, with the columns of the list that a batch makes of them.
fn picked(root: &Root, held: &str) -> String {
    let Root { table, keys, group, eligible, activity, filled, .. } = root;
    let columns = keys.iter().enumerate().map(|(nth, (key, _))| format!(", r.{key} as k{}", nth + 1));
    let columns = columns.collect::<Vec<_>>().concat();
    let filled = filled.as_ref().map(|filled| format!("({filled}) and ")).unwrap_or_default();
    format!(
        "select r.ctid as tid, {group} as group_key, {activity} as activity{columns} from {table} r \
         where {filled}({eligible}) and not {held}"
    )
}

async fn groups(rule: &Rule, held: &str, conn: &mut PgConnection) -> Result<Vec<Candidate>, JobError> {
    let counts = rule.parts.iter().map(count).collect::<Vec<_>>().join(" union all ");
    let statement = Statement::built(
        format!(
            "with pgupkeep_picked as materialized ({}), counted as ({counts}) \
             select p.group_key, sum(c.n)::bigint as rows from (select group_key, max(activity) as activity \
             from pgupkeep_picked group by group_key) p join counted c on c.group_key = p.group_key \
             group by p.group_key, p.activity having sum(c.n) > 0 order by p.activity, p.group_key",
            picked(&rule.root, held)
        )
        .replace(PICKED, "pgupkeep_picked p")
        .replace("pg_temp.pgupkeep_picked", "pgupkeep_picked"),
    );
    Ok(within(LOOK_LIMIT, sqlx::query_as(statement.to_sql()).fetch_all(conn)).await?)
}

/// Counts a part's rows by group.
fn count(part: &Part) -> String {
    let Part { table, using, on, kept, .. } = part;
    let kept = kept.as_ref().map(|kept| format!(" and not exists (select 1 from ({kept}) k where k.tid = t.ctid)"));
    format!(
        "select p.group_key, count(*) as n from {table} t, {using} where {on}{} group by p.group_key",
        kept.unwrap_or_default()
    )
}

async fn pages(rule: &Rule, spec: &Archive, held: &str, conn: &mut PgConnection) -> Result<Vec<Pages>, JobError> {
    let oids: Vec<_> = rule.parts.iter().map(|part| part.oid).chain([rule.root.oid]).collect();
    let (roots, others): (Vec<Rows>, Vec<Rows>) =
        read_rows(conn, &oids).await?.into_iter().partition(|rows| rows.oid == rule.root.oid);
    let (tuples, pages) = roots.first().map_or((0.0, 0.0), |root| (root.tuples, root.pages));
    let per_page = tuples / pages.max(1.0);
    let each = 1.0 + others.iter().map(|rows| rows.tuples).sum::<f64>() / tuples.max(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "at least one, and no more than a table has")]
    let span = (f64::from(spec.batch_rows) / (per_page.max(1.0) * each)).clamp(1.0, 1e9) as i64;
    let statement = Statement::built(format!(
        "select ((p.tid::text::point)[0])::bigint / {span} as part, count(*) from ({}) p group by 1 order by 1",
        picked(&rule.root, held)
    ));
    let rows = within(LOOK_LIMIT, sqlx::query_as::<_, (i64, i64)>(statement.to_sql()).fetch_all(conn)).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an estimate")]
    let all = rows.into_iter().map(|(part, roots)| Pages {
        from: part * span,
        to: (part + 1) * span,
        roots,
        rows: (roots as f64 * each) as i64,
    });
    Ok(all.collect())
}
