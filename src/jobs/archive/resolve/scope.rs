//! From a scope of a preset to a rule.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::super::catalogue::{FACTS_LIMIT, TableFacts, find_schemas, find_tables, read_foreign_keys, read_tables};
use super::super::graph::{ForeignKey, out_of_order, uncovered};
use super::super::preset::{Expansion, Fence, PartModel, Preset, PresetError, ReasonModel, Scope, Unless};
use super::super::rule::{HELD, HeldWith, Inner, Part, Reason, Root, Rule, Use};
use super::super::spec::{Archive, RegisteredModels};
use super::super::store::Store;
use super::checks::{check_ordinary, check_rights, warn_of, warn_of_publications, warn_of_scan};
use super::{Moment, instant, lock, refused, using};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Literal, Qualified, Statement};

/// Tables below this size are read through when the roots that have rows in them are looked for; larger ones are
/// skipped through by their index.
const SMALL: f64 = 1e6;

/// Everything that a scope is resolved with.
struct Ground<'a> {
    spec: &'a Archive,
    preset: &'a Preset,
    scope: &'a Scope,
    moment: &'a Moment,
    schema: String,
    tables: BTreeMap<String, TableFacts>,
    keys: Vec<ForeignKey>,
}

pub(super) async fn resolve(spec: &Archive, moment: &Moment, conn: &mut PgConnection) -> Result<Rule, JobError> {
    let preset = load(spec).await?;
    let (name, scope) = preset.scope(spec.scope.as_deref()).map_err(unusable)?;
    let thins_out = scope.parts.iter().any(|part| part.keep.is_some());
    spec.check_scope(name, thins_out, scope.root.leaves).map_err(refused)?;
    let schema = find_schema(spec, &preset, conn).await?;
    let version_table = preset.schema_version.iter().map(|place| &place.table);
    let names: Vec<String> = preset.tables.keys().chain(&preset.others).chain(version_table).cloned().collect();
    let found = find_tables(conn, &schema, &names).await?;
    let oids: Vec<Oid> = found.iter().map(|(oid, _)| *oid).collect();
    let facts = read_tables(conn, &oids).await?;
    let tables = facts.into_iter().map(|facts| (facts.name.name.0.clone(), facts)).collect();
    let keys = read_foreign_keys(conn).await?;
    let ground = Ground { spec, preset: &preset, scope, moment, schema, tables, keys };
    ground.check()?;
    let unknown = ground.check_other_archives(conn).await?;
    ground.check_refusals(conn).await?;
    let mut rule = ground.rule(name)?;
    rule.schema_version = ground.schema_version(conn).await?;
    rule.warnings = ground.warnings(&rule, conn).await?;
    rule.warnings.extend(unknown);
    Ok(rule)
}

async fn load(spec: &Archive) -> Result<Preset, JobError> {
    let name = spec.preset.as_deref().unwrap_or_default();
    if let Some(preset) = Preset::embedded(name) {
        return preset.map_err(unusable);
    }
    let text = tokio::fs::read_to_string(name).await;
    let text = text.map_err(|error| refused(format!("the preset {name} cannot be read: {error}")))?;
    Preset::read(name, &text).map_err(unusable)
}

#[expect(clippy::needless_pass_by_value, reason = "reads better in map_err")]
fn unusable(error: PresetError) -> JobError {
    refused(error.to_string())
}

/// The schema that the application's tables are in.
async fn find_schema(spec: &Archive, preset: &Preset, conn: &mut PgConnection) -> Result<String, JobError> {
    let mut schemas = find_schemas(conn, &preset.recognised_by, &spec.schema).await?;
    match (schemas.pop(), schemas.first()) {
        (Some(schema), None) => Ok(schema),
        (None, _) => Err(refused(format!(
            "no schema of this database has the tables {}, by which the preset {} knows its application",
            preset.recognised_by.join(", "),
            preset.name
        ))),
        (Some(last), Some(_)) => Err(refused(format!(
            "the tables of the preset {} are in several schemas ({}, {last}), and nothing tells which of them is meant",
            preset.name,
            schemas.join(", ")
        ))),
    }
}

impl Ground<'_> {
    fn has(&self, place: &str) -> bool {
        place
            .split_once('.')
            .is_some_and(|(table, column)| self.tables.get(table).is_some_and(|facts| facts.column(column).is_some()))
    }

    fn table(&self, name: &str) -> Result<&TableFacts, JobError> {
        self.tables.get(name).ok_or_else(|| {
            refused(format!(
                "the preset {} needs a table {name}, and the schema {} has none; this version of the schema is not known",
                self.preset.name, self.schema
            ))
        })
    }

    /// The parts whose tables exist.
    fn parts(&self) -> impl Iterator<Item = (&PartModel, &TableFacts)> {
        self.scope.parts.iter().filter_map(|part| Some((part, self.tables.get(&part.table)?)))
    }

    /// Refuses whatever the preset does not know, before anything moves.
    fn check(&self) -> Result<(), JobError> {
        for part in self.scope.parts.iter().filter(|part| !part.optional) {
            self.table(&part.table)?;
        }
        for (_, facts) in self.parts() {
            check_ordinary(facts)?;
        }
        check_rights(&self.uses()?)?;
        for (part, facts) in self.parts() {
            self.check_columns(part, facts)?;
        }
        let order: Vec<Oid> = self.parts().map(|(_, facts)| facts.oid).collect();
        if let Some(key) = uncovered(&order, &self.keys, &|key| self.is_guarded(key)).first() {
            return Err(refused(format!(
                "{} refers to {} by the foreign key {}, of which the preset {} knows nothing: its rows would go, change, \
                 or keep others from going",
                key.child_table.plain(),
                key.parent_table.plain(),
                Ident(key.name.clone()),
                self.preset.name
            )));
        }
        if let Some(key) = out_of_order(&order, &self.keys).first() {
            return Err(refused(format!(
                "the preset {} empties {} before {}, which refers to it by {}",
                self.preset.name,
                key.parent_table.plain(),
                key.child_table.plain(),
                Ident(key.name.clone())
            )));
        }
        Ok(())
    }

    fn uses(&self) -> Result<Vec<(&TableFacts, Use)>, JobError> {
        let mut uses = vec![(self.table(&self.scope.root.table)?, Use::Locks)];
        uses.extend(self.parts().map(|(_, facts)| (facts, Use::Moves)));
        for mark in &self.scope.marks {
            uses.push((self.table(&mark.inserts)?, Use::Marks));
        }
        uses.extend(self.tables.values().map(|facts| (facts, Use::Reads)));
        Ok(uses)
    }

    fn is_guarded(&self, key: &ForeignKey) -> bool {
        let place = |column: &Ident| format!("{}.{}", key.child_table.name.0, column.0);
        key.child_table.schema.0 == self.schema
            && key.child_columns.iter().all(|column| self.scope.guarded.contains(&place(column)))
    }

    fn check_columns(&self, part: &PartModel, facts: &TableFacts) -> Result<(), JobError> {
        let known = self.preset.tables.get(&part.table);
        for column in &facts.columns {
            let types = known.and_then(|known| known.get(&column.name));
            let place = format!("{}.{}", facts.name.plain(), column.name);
            match types {
                None => {
                    return Err(refused(format!(
                        "the column {place} ({}) is not known to the preset {}: the application's schema is newer than \
                         what pgupkeep was tested with; update pgupkeep",
                        column.sql_type, self.preset.name
                    )));
                }
                Some(types) if types.split('|').any(|name| name.trim() == column.type_name) => {}
                Some(types) => {
                    return Err(refused(format!(
                        "the column {place} is of type {}, and the preset {} knows it as {types}",
                        column.sql_type, self.preset.name
                    )));
                }
            }
        }
        let needed = part.by.iter().chain(&part.series).chain(&part.order).chain(&part.group_columns);
        match needed.into_iter().find(|name| facts.column(name).is_none()) {
            Some(name) => Err(refused(format!("{} has no column {name}", facts.name.plain()))),
            None => Ok(()),
        }
    }

    /// Refuses a second archive of the application in the database: a mark tells of one. Warns of those that cannot be read.
    async fn check_other_archives(&self, conn: &mut PgConnection) -> Result<Vec<String>, JobError> {
        let mut unknown = Vec::new();
        let archives = sqlx::query_as::<_, (String, bool)>(include_str!("../../sql/find_archives.sql"));
        let archives = within(FACTS_LIMIT, archives.fetch_all(&mut *conn)).await?;
        for (schema, is_readable) in archives.into_iter().filter(|(schema, _)| *schema != self.spec.schema) {
            if !is_readable {
                unknown.push(format!(
                    "there is an archive in the schema {schema} too, whose catalogue the role may not read: should it have rows of \
                     this application, give the job `schema: {schema}`, since what is marked as archived tells of one archive"
                ));
                continue;
            }
            let store = Store::new(&schema);
            let roots: Vec<_> = self.tables.values().map(|facts| sqlx::types::Json(&facts.name)).collect();
            // By a preset, whatever it calls itself; a job's own table has no marks.
            let statement = Statement::built(format!(
                "select u.name from {} u where strpos(u.name, '/') > 0 and u.definition -> 'root' = any($1) \
                 and exists (select from {} g where g.rule_id = u.rule_id and (g.row_count > 0 or g.hold_until > now())) \
                 order by 1 limit 1",
                store.table("rule"),
                store.table("group_state")
            ));
            let query = sqlx::query_scalar::<_, String>(statement.to_sql()).bind(roots);
            if let Some(rule) = within(FACTS_LIMIT, query.fetch_optional(&mut *conn)).await? {
                return Err(refused(format!(
                    "the schema {schema} already has an archive of this application (rows or holds of {rule}), and what is marked as \
                     archived tells of one archive: give the job `schema: {schema}`, or restore what is there first \
                     (`pgupkeep archive restore --schema {schema} --where true --hold off`)"
                )));
            }
        }
        Ok(unknown)
    }

    async fn check_refusals(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        for refusal in self.scope.refuses.iter().filter(|refusal| refusal.only_with.iter().all(|place| self.has(place)))
        {
            let condition = self.expand(&refusal.when)?;
            let statement = Statement::built(format!("SELECT coalesce(({condition}), true)"));
            let query = sqlx::query_scalar::<_, bool>(statement.to_sql());
            if within(FACTS_LIMIT, query.fetch_one(&mut *conn)).await? {
                return Err(refused(&*refusal.because));
            }
        }
        Ok(())
    }

    fn expand(&self, text: &str) -> Result<String, JobError> {
        self.preset.expand(text, &|name| self.value(name)).map_err(unusable)
    }

    /// What a name in braces stands for here.
    fn value(&self, name: &str) -> Option<Expansion> {
        let moment = self.moment;
        let sql = match name {
            "held" => HELD.to_owned(),
            "archive" => Literal(&self.spec.schema).to_string(),
            "now" => instant(&moment.now),
            "now_ms" => moment.now_ms.to_string(),
            "cutoff" => instant(&moment.cutoff),
            "cutoff_ms" => moment.cutoff_us.div_euclid(1000).to_string(),
            "stale_cutoff" => moment.stale_cutoff.as_deref().map_or_else(|| "NULL::timestamptz".to_owned(), instant),
            "keep_points" => self.spec.keep_points.to_string(),
            "keep_tags" => {
                let tags: Vec<String> = self.spec.keep_tags.iter().map(|tag| Literal(tag).to_string()).collect();
                format!("ARRAY[{}]::text[]", tags.join(", "))
            }
            _ if self.preset.any_of.contains_key(name) => {
                let reasons = self.preset.any_of.get(name)?.iter().filter_map(|name| self.reason(name));
                let any: Vec<String> = reasons.map(|reason| format!("({})", reason.when)).collect();
                return Some(Expansion::Template(if any.is_empty() { "false".to_owned() } else { any.join(" OR ") }));
            }
            _ if self.preset.knows(name) => self.tables.get(name)?.name.to_string(),
            _ => return None,
        };
        Some(Expansion::Sql(sql))
    }

    /// A reason, where it makes sense in this database and for this job.
    fn reason(&self, name: &str) -> Option<&ReasonModel> {
        let reason = self.preset.reasons.get(name)?;
        let dropped = match reason.unless {
            Some(Unless::RegisteredModels) => self.spec.registered_models == RegisteredModels::Include,
            None => false,
        };
        (!dropped && reason.only_with.iter().all(|place| self.has(place))).then_some(reason)
    }

    fn rule(&self, name: &str) -> Result<Rule, JobError> {
        let root = self.table(&self.scope.root.table)?;
        let parts = self.parts().map(|(model, facts)| self.part(model, facts)).collect::<Result<Vec<_>, _>>()?;
        let mut locks: Vec<String> = Vec::new();
        for part in parts.iter().rev().filter(|part| part.oid != root.oid && self.is_referred_to(part.oid)) {
            locks.push(lock(part));
        }
        let marks = self.scope.marks.iter().map(|mark| self.expand(&mark.sql)).collect::<Result<_, _>>()?;
        Ok(Rule {
            name: format!("{}/{name}", self.preset.name),
            condition: None,
            cutoff: self.moment.cutoff.clone(),
            root: self.root(root)?,
            locks,
            parts,
            marks,
            inner: self.inner(name)?,
            unmarks: self.scope.unmarks.iter().map(|sql| self.expand(sql)).collect::<Result<_, _>>()?,
            wanted: self.scope.wanted.as_deref().map(|sql| self.expand(sql)).transpose()?,
            schema_version: None,
            warnings: Vec::new(),
            uses: self.uses()?.iter().map(|(facts, purpose)| (facts.name.clone(), *purpose)).collect(),
        })
    }

    fn is_referred_to(&self, oid: Oid) -> bool {
        self.keys.iter().any(|key| key.parent == oid && key.child != oid)
    }

    fn root(&self, facts: &TableFacts) -> Result<Root, JobError> {
        let model = &self.scope.root;
        let mut keys = Vec::new();
        for key in &model.keys {
            let column = facts.column(key);
            let column = column.ok_or_else(|| refused(format!("{} has no column {key}", facts.name.plain())))?;
            keys.push((Ident(column.name.clone()), column.sql_type.clone()));
        }
        let (mut reasons, mut eligible, mut fenced) = (Vec::new(), Vec::new(), Vec::new());
        for reason in self.scope.stays.iter().filter_map(|name| self.reason(name)) {
            let when = self.expand(&reason.when)?;
            eligible.push(format!("NOT ({when})"));
            match &reason.locked {
                Fence::Same => fenced.push(format!("NOT ({when})")),
                Fence::Quicker(quicker) => fenced.push(format!("NOT ({})", self.expand(quicker)?)),
                Fence::Nothing => {}
            }
            reasons.push(Reason { because: reason.because.clone(), when });
        }
        Ok(Root {
            table: facts.name.clone(),
            oid: facts.oid,
            keys,
            group: self.expand(&model.group)?,
            by_archival: false,
            filled: if model.leaves { None } else { Some(self.filled()) },
            eligible: eligible.join("\n AND "),
            fenced: fenced.join("\n AND "),
            reasons,
            held_with: self.held_with()?,
            activity: self.expand(&model.activity)?,
            chunks: model.chunks,
            leaves: model.leaves,
        })
    }

    /// What moves here and is the root of other scopes.
    fn inner(&self, this: &str) -> Result<Vec<Inner>, JobError> {
        let mut all: Vec<Inner> = Vec::new();
        for other in self.preset.scopes.values().filter(|other| other.root.table != self.scope.root.table) {
            let root = &other.root;
            let Some((_, facts)) = self.parts().find(|(part, _)| part.table == root.table) else { continue };
            let within = other.held_with.iter().find(|with| with.scopes.iter().any(|scope| scope == this));
            let within = within.map(|with| self.expand(&with.when)).transpose()?;
            let inner = Inner { table: facts.name.clone(), name: self.expand(&root.group)?, within };
            if !all.contains(&inner) {
                all.push(inner);
            }
        }
        Ok(all)
    }

    fn held_with(&self) -> Result<Vec<HeldWith>, JobError> {
        let with = self.scope.held_with.iter().map(|model| {
            let rules = model.scopes.iter().map(|scope| format!("{}/{scope}", self.preset.name)).collect();
            Ok(HeldWith { rules, when: self.expand(&model.when)? })
        });
        with.collect()
    }

    /// The condition that a root has rows in one of the parts that tell.
    fn filled(&self) -> String {
        let key = self.scope.root.keys.first().map(|key| Ident(key.clone()).to_string()).unwrap_or_default();
        let tells = |model: &PartModel, place: usize| {
            if self.scope.filled_by.is_empty() { place == 0 } else { self.scope.filled_by.contains(&model.table) }
        };
        let direct =
            self.parts().enumerate().filter(|(place, (model, _))| tells(model, *place) && model.using.is_none());
        let any: Vec<String> = direct
            .filter_map(|(_, (model, facts))| {
                let column = model.by.first()?;
                let rows = distinct(&facts.name, &Ident(column.clone()), facts);
                Some(format!("r.{key} IN ({rows})"))
            })
            .collect();
        if any.is_empty() { "true".to_owned() } else { format!("({})", any.join(" OR ")) }
    }

    fn part(&self, model: &PartModel, facts: &TableFacts) -> Result<Part, JobError> {
        let joins = model.using.as_deref().map(|joins| self.expand(joins)).transpose()?;
        let kept = match &model.keep {
            Some(keep) if self.spec.keep_points > 0 => Some(self.expand(keep)?),
            _ => None,
        };
        Ok(Part {
            table: facts.name.clone(),
            oid: facts.oid,
            using: using(joins.as_deref()),
            on: format!("({})", self.expand(&model.on)?),
            indexed: facts.is_indexed_by(&model.by),
            kept,
            series: model.series.clone(),
            order: model.order.clone(),
            group_columns: model.group_columns.clone(),
        })
    }

    async fn schema_version(&self, conn: &mut PgConnection) -> Result<Option<String>, JobError> {
        let Some(place) = &self.preset.schema_version else { return Ok(None) };
        let Some(facts) = self.tables.get(&place.table) else { return Ok(None) };
        let column = Ident(place.column.clone());
        let statement = Statement::built(format!("SELECT max({column}::text) FROM {}", facts.name));
        let query = sqlx::query_scalar::<_, Option<String>>(statement.to_sql());
        match within(FACTS_LIMIT, query.fetch_one(conn)).await {
            Err(error) if error.fault() == Fault::Statement => Ok(None),
            version => Ok(version?),
        }
    }

    async fn warnings(&self, rule: &Rule, conn: &mut PgConnection) -> Result<Vec<String>, JobError> {
        let mut warnings = Vec::new();
        let moving: Vec<&TableFacts> = self.parts().map(|(_, facts)| facts).collect();
        for (part, (model, facts)) in rule.parts.iter().zip(self.parts()) {
            warnings.extend(warn_of(facts));
            if !part.indexed {
                let columns: Vec<String> = model.by.iter().map(|name| Ident(name.clone()).to_string()).collect();
                let columns = columns.join(", ");
                warnings.push(format!(
                    "{} has no index on ({columns}), so that each batch reads the whole of it; CREATE INDEX CONCURRENTLY \
                     ON {} ({columns})",
                    part.table.plain(),
                    part.table
                ));
            }
        }
        warnings.extend(warn_of_publications(&moving));
        let order: BTreeSet<u32> = moving.iter().map(|facts| facts.oid.0).collect();
        let keys: Vec<&ForeignKey> = self.keys.iter().filter(|key| order.contains(&key.parent.0)).collect();
        let children: Vec<Oid> = keys.iter().map(|key| key.child).collect();
        let children = read_tables(conn, &children).await?;
        for key in keys {
            let warning = warn_of_scan(key, children.iter().find(|child| child.oid == key.child));
            warnings.extend(warning);
        }
        warnings.dedup();
        Ok(warnings)
    }
}

/// The distinct values of a column; by its index, one step a value, where that spares reading a large table.
fn distinct(table: &Qualified, column: &Ident, facts: &TableFacts) -> String {
    let small = facts.tuples > 0.0 && facts.tuples < SMALL;
    if small || !facts.is_indexed_by(std::slice::from_ref(&column.0)) {
        return format!("SELECT t.{column} FROM {table} t WHERE t.{column} IS NOT NULL");
    }
    format!(
        "WITH RECURSIVE live AS ((SELECT t.{column} AS key FROM {table} t ORDER BY t.{column} LIMIT 1) UNION ALL \
         SELECT (SELECT t.{column} FROM {table} t WHERE t.{column} > live.key ORDER BY t.{column} LIMIT 1) FROM live \
         WHERE live.key IS NOT NULL) SELECT live.key FROM live WHERE live.key IS NOT NULL"
    )
}
