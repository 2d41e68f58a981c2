//! The parameters of an `archive` job: what moves, when it is old enough, and what a run must not cost.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::Limit;
use super::preset::Preset;
use super::rule::name_of;
use crate::amounts::ByteSize;
use crate::jobs::pattern::TablePattern;
use crate::lengths::{CalendarSpan, Elapsed};
use crate::pg::statement::Qualified;

/// The parameters of an `archive` job; what moves is either a `preset` with a `scope`, or a `table`.
///
/// ```
/// # let yaml = r#"
/// preset: mlflow                # or the path of a preset file, such as ./presets/other.yaml
/// scope: metric_history         # the preset's default; mlflow has runs, experiments and traces besides
/// older_than: 90days            # by the server's clock, since something last happened
/// keep_points: 0                # metric_history: rows that stay of each series, evenly spread; MLflow's UI asks for 320
/// keep_tags: [pgupkeep.keep]    # runs and traces with one of these tags stay
/// stale_running_after: 1 year   # default off: what never ended is taken to have ended after so long
/// registered_models: exclude    # include: metric_history of runs behind registered models moves, too
/// batch_rows: 200000            # rows of one transaction
/// batch_time: 20s               # and its length
/// lock_wait: 2s                 # how long a lock may be waited for
/// require_backup: 36h           # the newest good backup may be this old, where a backup job looks after the target
/// archive_keep: 3 years         # default off: for how long the archive itself is kept
/// repository: local             # where what it does not keep is exported first; may be left out if there is only one
/// max_replica_lag: 30s          # a standby that is further behind is waited for
/// max_wal: 20GiB                # default off: WAL that slots or the archiver still need
/// disk: /var/lib/postgresql     # the server's disk, where it can be seen from here: looked at before each batch
/// keep_free: 10GiB              # what must be free there; default 1GiB
/// pause_between: 0s             # between two batches
/// vacuum: true                  # VACUUM (ANALYZE) the tables afterwards
/// reindex: true                 # and rebuild the indexes that shrank to air
/// schema: archive               # where the archive is
/// # "#;
/// # let archive: pgupkeep::jobs::archive::spec::Archive = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(archive.batch_rows, 200_000);
/// ```
///
/// ```
/// # let yaml = r#"
/// table: public.events          # and every table that refers to it, except with ON DELETE SET NULL or SET DEFAULT
/// age: created_at               # timestamptz, timestamp, date, or an integer with its age_unit
/// where: status = 'done'        # in place of age or besides it: a condition over the table's own columns
/// older_than: 2 years
/// stay: [audit.*]               # tables that must not move: rows that they refer to stay, and are reported
/// # "#;
/// # let archive: pgupkeep::jobs::archive::spec::Archive = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(archive.stay.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// What an application's tables mean: `mlflow`, or the path of a preset file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The part of the preset that moves; default: the preset's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// In place of a preset: a table as `schema.table`; the tables that refer to it move along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How long ago something must last have happened, by the server's clock.
    #[serde(default = "older_than")]
    pub older_than: CalendarSpan,
    /// The column that tells a row's age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// What an integer in that column counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_unit: Option<AgeUnit>,
    /// A condition over the table's row `r`, as SQL that only reads; functions and other tables with their schemas.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Tables that must not move although they refer to rows that would.
    #[serde(default)]
    pub stay: Vec<TablePattern>,
    /// How many rows of each series stay behind, evenly spread; 0: none.
    #[serde(default)]
    pub keep_points: u32,
    /// Tags that keep what has them where it is.
    #[serde(default = "keep_tags")]
    pub keep_tags: Vec<String>,
    /// After how long something that never ended is taken to have ended.
    #[serde(default = "off::<CalendarSpan>")]
    pub stale_running_after: Limit<CalendarSpan>,
    /// Whether the runs behind registered models are left alone.
    #[serde(default)]
    pub registered_models: RegisteredModels,
    /// How many rows one transaction moves, about.
    #[serde(default = "batch_rows")]
    pub batch_rows: u32,
    /// How long one transaction may take, about.
    #[serde(default = "batch_time")]
    pub batch_time: Elapsed,
    /// How long a lock may be waited for.
    #[serde(default = "lock_wait")]
    pub lock_wait: Elapsed,
    /// How old the newest good backup may be, where a backup job looks after the target.
    #[serde(default = "require_backup")]
    pub require_backup: Limit<Elapsed>,
    /// How long ago something must last have happened before rows leave the archive for good; rows of a rule without `age`
    /// count from their archival. Not shorter than `older_than`. It says nothing of what another scope, or another `where`,
    /// has archived.
    #[serde(default = "off::<CalendarSpan>")]
    pub archive_keep: Limit<CalendarSpan>,
    /// The repository that what is not kept any more is exported to before it is deleted; may be left out if there is
    /// only one, which the configuration then puts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// How far behind a standby may be.
    #[serde(default = "max_replica_lag")]
    pub max_replica_lag: Limit<Elapsed>,
    /// How much WAL replication slots and the archiver may hold back.
    #[serde(default = "off::<ByteSize>")]
    pub max_wal: Limit<ByteSize>,
    /// A folder on the disk of the server's data that this process can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// How much must be free on that disk before a batch begins.
    #[serde(default = "keep_free")]
    pub keep_free: ByteSize,
    /// How long to rest between two batches.
    #[serde(default = "pause_between")]
    pub pause_between: Elapsed,
    /// VACUUM the tables afterwards.
    #[serde(default = "yes")]
    pub vacuum: bool,
    /// Rebuild the indexes that shrank to air afterwards.
    #[serde(default = "yes")]
    pub reindex: bool,
    /// The schema that the archive is in.
    #[serde(default = "archive_schema")]
    pub schema: String,
}

/// What an integer that tells a time counts, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl AgeUnit {
    /// How many of it make a second.
    pub const fn per_second(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
            Self::Nanoseconds => 1_000_000_000,
        }
    }
}

/// What becomes of the runs behind registered models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredModels {
    /// They are left alone.
    #[default]
    Exclude,
    /// They are treated like others.
    Include,
}

fn older_than() -> CalendarSpan {
    CalendarSpan { months: 0, days: 90 }
}

fn keep_tags() -> Vec<String> {
    vec!["pgupkeep.keep".to_owned()]
}

const fn off<T>() -> Limit<T> {
    Limit::Off
}

const fn batch_rows() -> u32 {
    200_000
}

const fn batch_time() -> Elapsed {
    Elapsed(Duration::from_secs(20))
}

const fn lock_wait() -> Elapsed {
    Elapsed(Duration::from_secs(2))
}

const fn require_backup() -> Limit<Elapsed> {
    Limit::At(Elapsed(Duration::from_hours(36)))
}

const fn keep_free() -> ByteSize {
    ByteSize(1 << 30)
}

const fn max_replica_lag() -> Limit<Elapsed> {
    Limit::At(Elapsed(Duration::from_secs(30)))
}

const fn pause_between() -> Elapsed {
    Elapsed(Duration::ZERO)
}

const fn yes() -> bool {
    true
}

fn archive_schema() -> String {
    "archive".to_owned()
}

impl Archive {
    /// The table that moves, where it is no preset.
    pub(super) fn root_table(&self) -> Option<Qualified> {
        table_name(self.table.as_deref()?)
    }

    /// What a row of the table has to fulfil, in the words by which its archive is known.
    pub(super) fn condition(&self) -> Option<String> {
        self.condition.as_deref().map(|condition| condition.trim().to_owned())
    }

    /// What is archived, for people, and how long it is kept there; jobs with the same words share an archive.
    pub(crate) fn keeping(&self) -> (String, Limit<CalendarSpan>) {
        let what = match (&self.preset, self.root_table()) {
            (Some(name), _) => {
                let scope = self.scope.as_deref();
                // By the names that the preset has itself, as in the catalogue.
                let preset = self.read_preset();
                let known =
                    preset.as_ref().and_then(|preset| Some((preset.name.as_str(), preset.scope(scope).ok()?.0)));
                let (name, scope) = known.unwrap_or((name, scope.unwrap_or_default()));
                format!("scope {scope} of the preset {name}")
            }
            (None, root) => {
                let condition = self.condition().map(|condition| format!(" where {condition}")).unwrap_or_default();
                format!("{}{condition}", root.map(|root| name_of(&root)).unwrap_or_default())
            }
        };
        (format!("{what}, in the schema {}", self.schema), self.archive_keep)
    }

    /// The name of the preset by which an application is archived, where one is: a path may be spelled in many ways.
    pub(crate) fn application(&self) -> Option<String> {
        let preset = self.read_preset().map(|preset| preset.name);
        preset.or_else(|| self.preset.clone())
    }

    fn read_preset(&self) -> Option<Preset> {
        let name = self.preset.as_deref()?;
        let read = || Some(Preset::read(name, &std::fs::read_to_string(name).ok()?));
        Preset::embedded(name).or_else(read)?.ok()
    }

    /// What contradicts itself, all of it, before any database is asked.
    pub(super) fn contradictions(&self) -> Result<(), String> {
        let mut wrong = match (&self.preset, &self.table) {
            (Some(_), Some(_)) => vec!["`preset` and `table` exclude each other: one job moves one of them".to_owned()],
            (None, None) => vec!["say what moves: `preset: mlflow`, or `table: schema.table`".to_owned()],
            (Some(preset), None) => self.check_preset(preset),
            (None, Some(table)) => self.check_table(table),
        };
        let is_foreign = self.schema.is_empty() || self.schema.len() > 63 || self.schema.starts_with("pg_");
        // Without an age the archive counts from the archival.
        let has_age = self.preset.is_some() || self.age.is_some();
        let is_kept_shorter = match self.archive_keep {
            // A month is no certain number of days.
            Limit::At(keep) => has_age && keep.about_days() + 3.0 < self.older_than.about_days(),
            Limit::Off => false,
        };
        wrong.extend(told([
            (
                is_kept_shorter,
                "`archive_keep` is shorter than `older_than`, and both count from the last activity: what is archived would be \
                 deleted by the next run"
                    .to_owned(),
            ),
            (self.batch_rows == 0, "`batch_rows` must be at least 1".to_owned()),
            (
                self.batch_time.0.is_zero() || self.lock_wait.0.is_zero(),
                "`batch_time` and `lock_wait` must be longer than nothing".to_owned(),
            ),
            (is_foreign, format!("`schema: {}` cannot be a schema of ours; the usual one is `archive`", self.schema)),
            (self.keep_tags.iter().any(String::is_empty), "a tag in `keep_tags` is empty".to_owned()),
        ]));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    fn check_preset(&self, preset: &str) -> Vec<String> {
        let only_tables = [
            ("age", self.age.is_some()),
            ("age_unit", self.age_unit.is_some()),
            ("where", self.condition.is_some()),
            ("stay", !self.stay.is_empty()),
        ];
        let mut wrong = told(
            only_tables
                .map(|(name, given)| (given, format!("`{name}` goes with `table`; a preset knows its tables itself"))),
        );
        match Preset::embedded(preset) {
            None if preset.contains(['/', '.']) => {}
            None => {
                let names = Preset::embedded_names().join(", ");
                wrong.push(format!(
                    "no preset is called `{preset:.60}`: there is {names}, or the path of a file, as in ./{preset:.60}.yaml"
                ));
            }
            Some(Err(error)) => wrong.push(error.to_string()),
            Some(Ok(known)) => match known.scope(self.scope.as_deref()) {
                Err(error) => wrong.push(error.to_string()),
                Ok((name, scope)) => {
                    let has_series = scope.parts.iter().any(|part| part.keep.is_some());
                    wrong.extend(self.check_scope(name, has_series, scope.root.leaves).err());
                }
            },
        }
        wrong
    }

    /// What goes with some scopes only; a preset in a file is asked when the job runs.
    ///
    /// # Errors
    /// Says which parameters do not go with the scope.
    pub(super) fn check_scope(&self, name: &str, has_series: bool, leaves: bool) -> Result<(), String> {
        let is_without_registry = self.registered_models == RegisteredModels::Include && (leaves || !has_series);
        let wrong = told([
            (
                self.keep_points > 0 && !has_series,
                format!("`keep_points` goes with scopes that thin out series, such as metric_history; {name} has none"),
            ),
            (
                is_without_registry,
                format!(
                    "`registered_models: include` goes with metric_history only: with {name} the registry would lose the runs \
                     behind its models"
                ),
            ),
        ]);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    fn check_table(&self, table: &str) -> Vec<String> {
        let is_of_a_preset =
            self.registered_models == RegisteredModels::Include || self.stale_running_after != Limit::Off;
        told([
            (self.scope.is_some(), "`scope` goes with `preset`".to_owned()),
            (self.keep_points > 0, "`keep_points` goes with `preset: mlflow` and `scope: metric_history`".to_owned()),
            (is_of_a_preset, "`registered_models` and `stale_running_after` go with `preset`".to_owned()),
            (
                table_name(table).is_none(),
                format!(
                    "`table: {table:.120}` has no schema; write `schema.table`, or `\"schema\".\"table\"` where a dot is part \
                     of a name"
                ),
            ),
            (
                self.age.is_none() && self.condition.is_none(),
                "say which rows are old: `age: column`, or `where: condition`, or both".to_owned(),
            ),
            (self.age_unit.is_some() && self.age.is_none(), "`age_unit` goes with `age`".to_owned()),
            (self.condition.as_ref().is_some_and(|text| text.trim().is_empty()), "`where` is empty".to_owned()),
        ])
    }
}

/// The words of what is wrong.
fn told<const N: usize>(checks: [(bool, String); N]) -> Vec<String> {
    checks.into_iter().filter_map(|(is_wrong, words)| is_wrong.then_some(words)).collect()
}

/// Reads `schema.table`, as the catalogue spells them; each may be quoted, with quotes doubled inside.
fn table_name(text: &str) -> Option<Qualified> {
    let quoted = |text: &str| {
        let (mut name, mut rest) = (String::new(), text.strip_prefix('"')?);
        loop {
            let (part, after) = rest.split_once('"')?;
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    name.push('"');
                    rest = after;
                }
                None => return Some((name, after.to_owned())),
            }
        }
    };
    let quoted_schema = quoted(text).and_then(|(schema, after)| Some((schema, after.strip_prefix('.')?.to_owned())));
    let plain = || text.split_once('.').map(|(schema, name)| (schema.to_owned(), name.to_owned()));
    let (schema, name) = quoted_schema.or_else(plain)?;
    let name = quoted(&name).filter(|(_, rest)| rest.is_empty()).map_or(name, |(name, _)| name);
    (!schema.is_empty() && !name.is_empty()).then(|| Qualified::new(schema, name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn every_parameter_but_what_moves_has_a_default() {
        let archive: Archive = serde_json::from_value(json!({ "preset": "mlflow" })).expect("enough");
        assert_eq!(archive.older_than.to_string(), "90 days");
        assert_eq!(archive.require_backup.to_string(), "1day 12h");
        assert_eq!(archive.keep_tags, ["pgupkeep.keep"]);
        let complete = serde_json::to_value(&archive).expect("a value");
        assert_eq!(serde_json::from_value::<Archive>(complete).expect("the same"), archive);
    }

    #[test]
    fn a_table_is_named_plainly_or_in_quotes() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            assert_eq!(table_name(text), expected.map(|(schema, name)| Qualified::new(schema, name)), "{text}");
        };
        check("public.events", Some(("public", "events")));
        check("public.a.b", Some(("public", "a.b")));
        check(r#""a.b"."c""#, Some(("a.b", "c")));
        check(r#""s"".x"."ro""ot '1'; --""#, Some((r#"s".x"#, r#"ro"ot '1'; --"#)));
        check(r#"public."Ev nt""#, Some(("public", "Ev nt")));
        check(r#""Odd".events"#, Some(("Odd", "events")));
        check(r#"public."""events""""#, Some(("public", r#""events""#)));
        check("events", None);
        check(".events", None);
        check("public.", None);
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_words() {
        let check = |with: Value, expected: &str| {
            let error = parse_with::<Archive>(&with).expect_err(&with.to_string()).to_string();
            assert!(error.contains(expected), "{with}: {error}");
        };
        check(json!({}), "say what moves");
        check(json!({ "preset": "mlflow", "archive_keep": "30 days" }), "`archive_keep` is shorter than `older_than`");
        check(json!({ "preset": "mlflow", "table": "a.b" }), "exclude each other");
        check(json!({ "preset": "wandb" }), "no preset is called `wandb`: there is mlflow");
        check(json!({ "preset": "mlflow", "scope": "models" }), "experiments, metric_history, runs, traces");
        check(json!({ "preset": "mlflow", "age": "t" }), "`age` goes with `table`");
        check(json!({ "preset": "mlflow", "scope": "runs", "keep_points": 320 }), "`keep_points` goes with scopes");
        check(json!({ "preset": "mlflow", "scope": "runs", "registered_models": "include" }), "metric_history only");
        check(json!({ "preset": "mlflow", "scope": "experiments", "registered_models": "include" }), "only");
        check(json!({ "preset": "mlflow", "older": "90days" }), "unknown field `older`");
        check(json!({ "preset": "mlflow", "older_than": "90 minutes" }), "nothing shorter");
        check(json!({ "preset": "mlflow", "max_wal": "lots" }), "`off` turns it off");
        check(json!({ "preset": "mlflow", "batch_rows": 0 }), "at least 1");
        check(json!({ "preset": "mlflow", "schema": "pg_catalog" }), "cannot be a schema of ours");
        check(json!({ "table": "events", "age": "t" }), "has no schema");
        check(json!({ "table": "public.events" }), "say which rows are old");
        check(json!({ "table": "public.events", "age": "t", "scope": "runs" }), "`scope` goes with `preset`");
        check(json!({ "table": "public.events", "age": "t", "keep_points": 1 }), "goes with `preset: mlflow`");
        check(json!({ "table": "public.events", "where": "a", "age_unit": "seconds" }), "`age_unit` goes with `age`");
        check(json!({ "table": "public.events", "where": " " }), "`where` is empty");
        let several =
            json!({ "preset": "mlflow", "scope": "rns", "stay": ["a.b"], "batch_rows": 0, "keep_tags": [""] });
        for expected in ["`stay` goes with", "metric_history, runs", "`batch_rows` must be", "a tag in `keep_tags`"] {
            check(several.clone(), expected);
        }
    }
}
