//! The `archive_restore` job: archived rows go back to the tables that they left, proven, group by group.
//!
//! `pgupkeep archive restore` makes runs of this kind, and the daemon does when somebody asks for a restore with a tag in
//! the application. It refuses to overwrite a row that was written since, and what it restores is held: the next archival
//! leaves it alone until the hold is over.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::archive::limit::Limit;
use super::archive::restore::{self, Hold};
use super::archive::selection::{self, Selection, Wanted, Which};
use super::archive::store::Store;
use super::context::{Context, JobError};
use super::{Job, Measures, Profile, StepReport, Weight};
use crate::fault::Fault;
use crate::lengths::CalendarSpan;

/// The parameters of an `archive_restore` job: which groups, in exactly one way.
///
/// ```
/// # let yaml = r#"
/// groups: [0123456789abcdef0123456789abcdef]   # by name: the ids of runs, for MLflow
/// ## where: r.experiment_id = 7                 # or by a condition over the root's row `r`
/// ## between: { from: 2025-01-01T00:00:00Z, to: 2025-02-01T00:00:00Z }   # or by the last activity
/// ## asked: true                                # or what people have tagged for it in the application
/// ## rule: mlflow/metric_history                  # only what this rule has archived; default: whatever rule
/// hold: 90days                                 # not archived again for so long
/// schema: archive
/// # "#;
/// # let restore: pgupkeep::jobs::archive_restore::ArchiveRestore = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(restore.groups.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRestore {
    /// Groups by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// A condition over the root's row `r`, as SQL.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// When they were last active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Between>,
    /// What people have asked for in the application.
    #[serde(default)]
    pub asked: bool,
    /// Only what was archived by this rule, as `archive list` calls it; default: by whatever rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// For how long they are not archived again; `off` also ends the hold of groups that are back already.
    #[serde(default = "hold")]
    pub hold: Limit<CalendarSpan>,
    /// The schema that the archive is in.
    #[serde(default = "archive_schema")]
    pub schema: String,
}

/// A span of time: from, and up to but without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The first instant of it.
    #[schemars(with = "String")]
    pub from: jiff::Timestamp,
    /// The first instant after it.
    #[schemars(with = "String")]
    pub to: jiff::Timestamp,
}

const fn hold() -> Limit<CalendarSpan> {
    Limit::At(CalendarSpan { months: 0, days: 90 })
}

fn archive_schema() -> String {
    "archive".to_owned()
}

/// One group's way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    wanted: Wanted,
    /// Whether it is held afterwards.
    is_held: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wanted { rule, group_key, rows, inner, .. }, is_held) = (&self.wanted, self.is_held);
        match (rows, inner.as_slice()) {
            (0, [one]) if is_held => write!(f, "hold {group_key} of {}, which {one} came back with", rule.name),
            (0, [one]) => write!(f, "end the hold of {group_key} of {}, which {one} came back with", rule.name),
            (0, _) if is_held => write!(f, "hold {group_key} of {}, which is back", rule.name),
            (0, _) => write!(f, "end the hold of {group_key} of {}", rule.name),
            (rows, []) => write!(f, "restore {group_key} of {} [{rows} rows]", rule.name),
            (rows, [one]) => write!(f, "restore {group_key} of {}, which {one} is in [{rows} rows]", rule.name),
            (rows, inner) => {
                write!(f, "restore {group_key} of {}, which {} of them are in [{rows} rows]", rule.name, inner.len())
            }
        }
    }
}

impl ArchiveRestore {
    /// What is to be restored, or every problem with how that is said.
    fn selection(&self) -> Result<Selection, String> {
        let mut ways: Vec<Selection> = Vec::new();
        if !self.groups.is_empty() {
            ways.push(Selection::Named(self.groups.clone()));
        }
        ways.extend(self.condition.clone().map(Selection::Where));
        ways.extend(self.between.map(|between| Selection::Between(to_utc(between.from), to_utc(between.to))));
        if self.asked {
            ways.push(Selection::Asked);
        }
        let wrong = [
            (
                ways.len() != 1,
                "say in exactly one way what is to be restored: `groups`, `where`, `between` or `asked: true`",
            ),
            (self.groups.iter().any(|name| name.trim().is_empty()), "a name in `groups` is empty"),
            (self.condition.as_ref().is_some_and(|text| text.trim().is_empty()), "`where` is empty"),
            (
                self.between.is_some_and(|between| between.from >= between.to),
                "`between`: the end is not after the beginning, so that nothing lies in it",
            ),
        ];
        let wrong: Vec<&str> = wrong.iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, words)| *words).collect();
        if wrong.is_empty() { Ok(ways.remove(0)) } else { Err(wrong.join("; ")) }
    }
}

fn to_utc(at: jiff::Timestamp) -> DateTime<Utc> {
    crate::clock::to_sql(at)
}

impl Job for ArchiveRestore {
    const KIND: &'static str = "archive_restore";
    const PROFILE: Profile = Profile {
        weight: Weight::Heavy,
        retries: 3,
        about: "put archived rows back where they were, proven, and hold them there",
    };
    type Step = Step;

    fn check(&self) -> Result<(), String> {
        self.selection().map(drop)
    }

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        let store = Store::new(&self.schema);
        let selection = self.selection().map_err(|message| JobError::Refused { fault: Fault::Statement, message })?;
        let conn = cx.reader().await?;
        if !store.exists(conn).await? {
            if self.asked {
                return Ok(Vec::new());
            }
            let message =
                format!("there is no archive in the schema {} of this database; nothing was restored", self.schema);
            return Err(JobError::Refused { fault: Fault::Statement, message });
        }
        store.check_readable(conn).await?;
        store.check_owned(conn).await?;
        let which = match (self.hold, &selection) {
            (Limit::Off, _) => Which::ArchivedOrHeld,
            (Limit::At(_), Selection::Asked) => Which::Archived,
            // Who means a group that is back already wants it held for longer.
            (Limit::At(span), _) => Which::ArchivedOrHeldShorter(span),
        };
        let is_held = self.hold != Limit::Off;
        let mut found = selection::find(conn, &store, self.rule.as_deref(), &selection, which).await?;
        selection::check_names(conn, &store, &self.groups, &found).await?;
        if is_held {
            // Where something of it comes back now, that is what is held.
            let coming: Vec<String> =
                found.iter().filter(|wanted| wanted.rows > 0).map(|wanted| wanted.group_key.clone()).collect();
            found.retain(|wanted| wanted.rows > 0 || !coming.contains(&wanted.group_key));
            selection::retain_there(conn, &mut found, &selection).await?;
            if let Selection::Named(_) = selection {
                // What is held for as long already is not found, and may be gone all the same.
                let mut back =
                    selection::find(conn, &store, self.rule.as_deref(), &selection, Which::ArchivedOrHeld).await?;
                back.retain(|wanted| wanted.rows == 0 && !coming.contains(&wanted.group_key));
                selection::retain_there(conn, &mut back, &selection).await?;
            }
        }
        Ok(found.into_iter().map(|wanted| Step { wanted, is_held }).collect())
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        let store = Store::new(&self.schema);
        let Step { wanted, .. } = step;
        let sources = selection::sources_of(cx.reader().await?, &store, &wanted.rule).await?;
        let hold = match self.hold {
            Limit::Off => Hold("null".to_owned()),
            Limit::At(span) => Hold(format!("clock_timestamp() + {}", span.to_interval())),
        };
        let live = restore::live(cx.reader().await?, &sources).await?;
        let script = restore::script(&store, wanted, &sources, &live, &hold);
        let mut conn = cx.session.lend()?;
        let work = restore::restore(&mut conn, &store, wanted, &sources, &live, &hold);
        let restored = cx.oversee(&step.to_string(), &script, work).await;
        let restored = cx.take_back(conn, restored).await?;
        let detail = json!({ "written": restored.written, "present": restored.present, "proven": true });
        let rows = i64::try_from(restored.written).ok();
        Ok(StepReport::Done(Measures { rows, detail: Some(detail), ..Measures::default() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn what_selects_nothing_or_twice_is_refused_with_words() {
        let check = |with: Value, expected: &str| {
            let error = parse_with::<ArchiveRestore>(&with).expect_err(&with.to_string()).to_string();
            assert!(error.contains(expected), "{with}: {error}");
        };
        check(json!({}), "in exactly one way");
        check(json!({ "groups": [] }), "in exactly one way");
        check(json!({ "groups": ["x"], "asked": true }), "in exactly one way");
        check(
            json!({ "groups": [""], "where": " " }),
            "or `asked: true`; a name in `groups` is empty; `where` is empty",
        );
        let at = "2025-01-01T00:00:00Z";
        check(json!({ "between": { "from": at, "to": at } }), "the end is not after the beginning");
        let good: ArchiveRestore = serde_json::from_value(json!({ "asked": true })).expect("enough");
        let complete = serde_json::to_value(&good).expect("a value");
        assert_eq!(serde_json::from_value::<ArchiveRestore>(complete).expect("the same"), good);
    }
}
