//! Which groups of the archive a person or a tag means, in the order in which they can go back.

use sqlx::PgConnection;

use super::catalogue::read_foreign_keys;
use super::condition::{self, ConditionError};
use super::rule::{HELD, Inner};
use super::store::{Definition, KnownRule, Source, Store, exists};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::lengths::CalendarSpan;
use crate::pg::PgError;
use crate::pg::statement::{Qualified, Statement, literal};

/// One group that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// By which rule it was archived.
    pub rule: KnownRule,
    /// Its number.
    pub group_id: i64,
    /// Its name.
    pub group_key: String,
    /// How many of its rows are in the archive.
    pub rows: i64,
    /// What it is wanted for, where that is something in it: a run in an experiment that was archived as a whole.
    pub inner: Vec<String>,
}

/// Which groups a person means.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Groups of this name, by whatever rule.
    Named(Vec<String>),
    /// Groups whose root fulfils a condition over its columns.
    Where(String),
    /// Groups whose last activity lies in here: from, and up to but without.
    Between(chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>),
    /// Groups whose restore somebody asks for in the application.
    Asked,
}

/// The rules by which something was archived, or the one of that name, in the order in which their groups come back:
/// whoever leaves with the root before those whose rows refer to it.
///
/// # Errors
/// When they cannot be read, or there is none of that name.
async fn rules(conn: &mut PgConnection, store: &Store, name: Option<&str>) -> Result<Vec<KnownRule>, JobError> {
    let mut rules = store.rules(conn).await?;
    if let Some(name) = name {
        let names = rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>().join(", ");
        rules.retain(|rule| rule.name == name);
        if rules.is_empty() {
            let message = format!("nothing was archived by a rule {name:?}; there are {names}");
            return Err(JobError::Refused { fault: Fault::Statement, message });
        }
    }
    let keys = read_foreign_keys(conn).await?;
    let refers = |child: &Qualified, parent: &Qualified| {
        child != parent && keys.iter().any(|key| key.child_table == *child && key.parent_table == *parent)
    };
    for rule in &mut rules {
        let tables = std::mem::take(&mut rule.definition.tables);
        rule.definition.tables = parents_first(tables, refers);
    }
    Ok(parents_first(rules, |rule, other| is_below(&rule.definition, &other.definition, refers)))
}

/// Whether what one rule has archived belongs to what another one has: the other takes the one's roots along, or else the one's
/// tables refer to the other's and not the other way round.
fn is_below(rule: &Definition, other: &Definition, refers: impl Fn(&Qualified, &Qualified) -> bool) -> bool {
    let any = |children: &[Qualified], parents: &[Qualified]| {
        children.iter().any(|child| parents.iter().any(|parent| refers(child, parent)))
    };
    match (other.tables.contains(&rule.root), rule.tables.contains(&other.root)) {
        (true, false) => true,
        (false, true) => false,
        _ => any(&rule.tables, &other.tables) && !any(&other.tables, &rule.tables),
    }
}

/// The same in an order in which nothing comes before what it refers to, and else as they were; a circle stays as it is.
fn parents_first<T>(mut items: Vec<T>, refers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut ordered = Vec::with_capacity(items.len());
    while !items.is_empty() {
        let is_free = |item: &T| !items.iter().any(|other| refers(item, other));
        let next = items.iter().position(is_free).unwrap_or(0);
        ordered.push(items.remove(next));
    }
    ordered
}

/// Which of the groups that are meant are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that have rows in the archive.
    Archived,
    /// Besides those that are back, and held.
    ArchivedOrHeld,
    /// Besides those that are back, and held until more than a day before a hold of this length would end, or not at all.
    ArchivedOrHeldShorter(CalendarSpan),
}

/// The groups that are meant, and those that something of them is in.
///
/// # Errors
/// When they cannot be read, there is no such rule, or the condition is not understood.
pub async fn find(
    conn: &mut PgConnection,
    store: &Store,
    rule: Option<&str>,
    selection: &Selection,
    which: Which,
) -> Result<Vec<Wanted>, JobError> {
    let which = match which {
        Which::Archived => "g.row_count > 0".to_owned(),
        Which::ArchivedOrHeld => "(g.row_count > 0 or g.hold_until > clock_timestamp())".to_owned(),
        Which::ArchivedOrHeldShorter(span) => format!(
            "(g.row_count > 0 or g.restored_at is not null and coalesce(g.hold_until, g.restored_at) \
             < clock_timestamp() + {} - interval '1 day')",
            span.to_interval()
        ),
    };
    let (mut found, mut understood, mut not_understood) = (Vec::<Wanted>::new(), false, None);
    let rules = rules(conn, store, rule).await?;
    for rule in &rules {
        let searches = match selection {
            Selection::Named(names) => {
                let names = names.iter().map(literal).collect::<Vec<_>>().join(", ");
                vec![Search::by(format!("g.group_key in ({names})"))]
            }
            Selection::Between(from, to) => vec![Search::by(format!(
                "g.last_activity >= {} and g.last_activity < {}",
                literal(from.to_rfc3339()),
                literal(to.to_rfc3339())
            ))],
            Selection::Where(condition) => of_roots(conn, store, rule, condition).await?,
            Selection::Asked => match &rule.definition.wanted {
                Some(wanted) => vec![Search::by(format!("g.group_key in ({wanted})"))],
                None => continue,
            },
        };
        for search in searches {
            match search.run(conn, store, rule, &which).await {
                Ok(rows) => {
                    understood = true;
                    for (group_id, group_key, rows) in rows {
                        if !found.iter().any(|known| known.group_id == group_id) {
                            let rule = rule.clone();
                            found.push(Wanted { rule, group_id, group_key, rows, inner: Vec::new() });
                        }
                    }
                }
                // undefined_column, wrong types: the condition is about another rule's root, or an earlier shape of it.
                Err(ConditionError::Pg(error))
                    if matches!(error.sqlstate(), Some("42703" | "42883" | "42804" | "22P02")) =>
                {
                    not_understood = Some(error.into());
                }
                Err(error) => return Err(no_condition(error)),
            }
        }
    }
    if let Some(error) = not_understood.filter(|_| !understood) {
        return Err(no_condition(error));
    }
    let mut names: Vec<String> =
        found.iter().filter(|wanted| wanted.rows > 0).map(|wanted| wanted.group_key.clone()).collect();
    if let Selection::Named(named) = selection {
        names.extend(named.iter().cloned());
    }
    let mut around = around(conn, store, &rules, &names).await?;
    if let Selection::Named(named) = selection {
        around.extend(back_around(conn, store, &rules, named, &which).await?);
    }
    for wanted in around {
        match found.iter_mut().find(|known| known.group_id == wanted.group_id) {
            Some(known) => known.inner = wanted.inner,
            None => found.push(wanted),
        }
    }
    found.sort_by_key(|wanted| rules.iter().position(|rule| rule.rule_id == wanted.rule.rule_id));
    Ok(found)
}

/// The archived groups that have something of these names in them.
async fn around(
    conn: &mut PgConnection,
    store: &Store,
    rules: &[KnownRule],
    names: &[String],
) -> Result<Vec<Wanted>, JobError> {
    let mut found: Vec<Wanted> = Vec::new();
    if names.is_empty() {
        return Ok(found);
    }
    for rule in rules {
        for inner in &rule.definition.inner {
            for source in store.sources(conn, Some(&inner.table)).await? {
                add_around(conn, store, (rule, inner, &source), names, &mut found).await?;
            }
        }
    }
    Ok(found)
}

/// The groups that have come back with something of these names in them, and are meant.
async fn back_around(
    conn: &mut PgConnection,
    store: &Store,
    rules: &[KnownRule],
    names: &[String],
    which: &str,
) -> Result<Vec<Wanted>, JobError> {
    let mut found: Vec<Wanted> = Vec::new();
    for rule in rules {
        for Inner { table, name, within } in &rule.definition.inner {
            let Some(within) = within else { continue };
            let statement = Statement::built(format!(
                "select g.group_id, g.group_key, array_agg(distinct i.name order by i.name) from {} g \
                 join lateral (select {name} as name from {table} r where {name} = any($1) and ({})) i on true \
                 where g.rule_id = {} and g.row_count = 0 and g.restored_at is not null and {which} \
                 group by g.group_id, g.group_key order by g.group_key",
                store.table("group_state"),
                within.replace(HELD, "select g.group_key"),
                rule.rule_id
            ));
            let query = sqlx::query_as::<_, (i64, String, Vec<String>)>(statement.to_sql()).bind(names);
            let rows = match query.fetch_all(&mut *conn).await.map_err(PgError::from) {
                // The table is gone, or another one by now.
                Err(error) if error.fault() == Fault::Statement => continue,
                rows => rows?,
            };
            for (group_id, group_key, inner) in rows {
                if !found.iter().any(|known| known.group_id == group_id) {
                    found.push(Wanted { rule: rule.clone(), group_id, group_key, rows: 0, inner });
                }
            }
        }
    }
    Ok(found)
}

/// Adds the rule's groups that have something of these names in one shape of a table.
async fn add_around(
    conn: &mut PgConnection,
    store: &Store,
    (rule, inner, source): (&KnownRule, &Inner, &Source),
    names: &[String],
    found: &mut Vec<Wanted>,
) -> Result<(), JobError> {
    let statement = Statement::built(format!(
        "select g.group_id, g.group_key, g.row_count, array_agg(distinct i.name order by i.name) from {} g \
         join (select r.pgupkeep_group, {} as name from {} r) i on i.pgupkeep_group = g.group_id \
         where g.rule_id = {} and g.row_count > 0 and i.name = any($1) \
         group by g.group_id, g.group_key, g.row_count, g.last_activity order by g.last_activity, g.group_key",
        store.table("group_state"),
        inner.name,
        source.place.rows(),
        rule.rule_id
    ));
    let query = sqlx::query_as::<_, (i64, String, i64, Vec<String>)>(statement.to_sql()).bind(names);
    let rows = match query.fetch_all(conn).await.map_err(PgError::from) {
        // An earlier shape of the table has not the columns that names are made of.
        Err(error) if error.fault() == Fault::Statement => return Ok(()),
        rows => rows?,
    };
    for (group_id, group_key, rows, names) in rows {
        match found.iter_mut().find(|known| known.group_id == group_id) {
            Some(known) => known.inner.extend(names),
            None => found.push(Wanted { rule: rule.clone(), group_id, group_key, rows, inner: names }),
        }
    }
    Ok(())
}

fn no_condition(error: ConditionError) -> JobError {
    match error {
        ConditionError::Pg(error) if error.fault() != Fault::Statement || error.sqlstate() == Some("25006") => {
            condition::has_to_read(error.into())
        }
        error => JobError::Refused {
            fault: Fault::Statement,
            message: format!("`where` is no condition over what was archived: {error}; nothing was restored"),
        },
    }
}

/// A look for groups of one rule.
struct Search<'a> {
    /// Which groups `g` are meant.
    condition: String,
    /// A person's words in it, and what they are about.
    written: Option<(&'a str, String)>,
}

impl Search<'_> {
    const fn by(condition: String) -> Self {
        Self { condition, written: None }
    }

    /// The numbers, names and archived rows of the groups.
    async fn run(
        &self,
        conn: &mut PgConnection,
        store: &Store,
        rule: &KnownRule,
        which: &str,
    ) -> Result<Vec<(i64, String, i64)>, ConditionError> {
        let statement = Statement::built(format!(
            "select g.group_id, g.group_key, g.row_count from {} g where g.rule_id = {} and {which} and {} \
             order by g.last_activity, g.group_key",
            store.table("group_state"),
            rule.rule_id,
            self.condition
        ));
        let look = async |conn: &mut PgConnection| {
            if let Some((condition, over)) = &self.written {
                condition::check(condition, over, conn).await?;
            }
            Ok(sqlx::query_as(statement.to_sql()).fetch_all(conn).await.map_err(PgError::from)?)
        };
        if self.written.is_some() { condition::reading(conn, look).await } else { look(conn).await }
    }
}

/// Refuses a group that was never archived, and is in none that was; what was restored since is known.
///
/// # Errors
/// When there is one, or the catalogue cannot be read.
pub async fn check_names(
    conn: &mut PgConnection,
    store: &Store,
    names: &[String],
    found: &[Wanted],
) -> Result<(), JobError> {
    let statement = Statement::built(format!(
        "select n from unnest($1::text[]) n where not exists (select 1 from {} g where g.group_key = n)",
        store.table("group_state")
    ));
    let mut unknown = sqlx::query_scalar::<_, String>(statement.to_sql()).bind(names).fetch_all(&mut *conn).await?;
    unknown.retain(|name| !found.iter().any(|wanted| wanted.inner.contains(name)));
    if !unknown.is_empty() {
        // What came back with a group that it was in.
        let rules = store.rules(conn).await?;
        let back = back_around(conn, store, &rules, &unknown, "true").await?;
        unknown.retain(|name| !back.iter().any(|group| group.inner.contains(name)));
    }
    match unknown.first() {
        None => Ok(()),
        Some(name) => Err(JobError::Refused {
            fault: Fault::Statement,
            message: format!("the archive knows no group {name:?}; nothing was restored (`pgupkeep archive list`)"),
        }),
    }
}

/// Leaves out what is said to be back, and was deleted since; refuses to hold it where it is meant by its name.
///
/// # Errors
/// That, or the server cannot be asked.
pub async fn retain_there(
    conn: &mut PgConnection,
    found: &mut Vec<Wanted>,
    selection: &Selection,
) -> Result<(), JobError> {
    let mut gone: Vec<i64> = Vec::new();
    for wanted in found.iter().filter(|wanted| wanted.rows == 0 && !wanted.rule.definition.by_archival) {
        let Definition { root, group, .. } = &wanted.rule.definition;
        let statement = Statement::built(format!("select exists (select from {root} r where ({group})::text = $1)"));
        let is_there = sqlx::query_scalar::<_, bool>(statement.to_sql()).bind(&wanted.group_key);
        match is_there.fetch_one(&mut *conn).await.map_err(PgError::from) {
            Ok(true) => {}
            Ok(false) if matches!(selection, Selection::Named(_)) => {
                return Err(JobError::Refused {
                    fault: Fault::Statement,
                    message: format!(
                        "{:?} was restored before, and somebody has deleted it since; the archive holds nothing of it, and \
                         nothing was restored",
                        wanted.group_key
                    ),
                });
            }
            // The table is gone, too, or is another one by now.
            Err(error) if error.fault() != Fault::Statement => return Err(error.into()),
            Ok(false) | Err(_) => gone.push(wanted.group_id),
        }
    }
    found.retain(|wanted| !gone.contains(&wanted.group_id));
    Ok(())
}

/// The looks for groups one of whose roots fulfils a condition over `r`; each may fail by itself.
///
/// Roots that have left know their group, whatever groups are called by now. Others are live: because they stay, or because a
/// move was interrupted before their turn.
async fn of_roots<'a>(
    conn: &mut PgConnection,
    store: &Store,
    rule: &KnownRule,
    condition: &'a str,
) -> Result<Vec<Search<'a>>, JobError> {
    let Definition { root, group, by_archival, leaves, .. } = &rule.definition;
    let sources = store.sources(conn, Some(root)).await?;
    let is_live = exists(conn, root).await?;
    // On lines of its own, so that a comment in it ends before what follows.
    let search = |is: &str, of: &str, over: String| Search {
        condition: format!("g.{is} in (select {of} from {over} r where (\n{condition}\n))"),
        written: Some((condition, over)),
    };
    let of_group = |over: String| search("group_key", group, over);
    if *leaves {
        let of_shape = |source: &Source| search("group_id", "r.pgupkeep_group", source.place.rows().to_string());
        let live = (is_live && !by_archival).then(|| of_group(root.to_string()));
        return Ok(sources.iter().map(of_shape).chain(live).collect());
    }
    let live = is_live.then(|| of_group(root.to_string()));
    Ok(sources.iter().map(|source| of_group(source.place.rows().to_string())).chain(live).collect())
}

/// The sources that a rule's groups may have rows in.
///
/// # Errors
/// When they cannot be read.
pub async fn sources_of(conn: &mut PgConnection, store: &Store, rule: &KnownRule) -> Result<Vec<Source>, JobError> {
    let all = store.sources(conn, None).await?;
    let is_of = |table: &Qualified| rule.definition.tables.contains(table);
    Ok(all.into_iter().filter(|source| is_of(&source.shape.table)).collect())
}
