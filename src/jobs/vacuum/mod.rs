//! The `vacuum` job: VACUUM and ANALYZE the tables that need it, one by one, and check that it was done.
//!
//! It looks at every table as autovacuum does, with the server's own settings and the tables' own storage options,
//! but acts earlier: a night's pass leaves nothing for autovacuum to start at noon. It refuses to wait in a lock's
//! queue, to make autovacuum give way, to shorten files (that locks readers out) unless told to, and to believe a
//! normal command tag: VACUUM that skipped its work for want of a lock or a privilege answers in the same way as one
//! that did it, so the server's counters are read back.

mod decide;
mod facts;
mod perform;
mod step;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::context::{Context, JobError};
use super::pattern::TablePattern;
use super::{Job, Profile, StepReport, Weight};
use crate::lengths::Elapsed;
use crate::pg::statement::Qualified;

pub use decide::decide;
pub(super) use facts::{Holder, lock_holder, row_locker};
pub use facts::{Sort, TableFacts};
pub use step::{Reason, Step, TableStep, Work};

/// The parameters of a `vacuum` job, all of them optional.
///
/// ```
/// # let yaml = r#"
/// include: [public.*]            # default: every table and materialised view
/// exclude: [public.scratch_?]    # wins over include
/// always: false                  # true: every table, whether it needs it or not
/// lock_wait: 60s                 # how long a locked table is waited for, never in the lock's queue
/// truncate: false                # true: give empty pages at a table's end back, under an exclusive lock
/// dead_score: 0.5                # act at half of autovacuum's threshold for dead rows
/// # "#;
/// # let vacuum: pgupkeep::jobs::vacuum::Vacuum = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(vacuum.include.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vacuum {
    /// Only tables that one of these patterns means; empty: all.
    #[serde(default)]
    pub include: Vec<TablePattern>,
    /// No table that one of these patterns means.
    #[serde(default)]
    pub exclude: Vec<TablePattern>,
    /// Every included table each time, whether it needs it or not.
    #[serde(default)]
    pub always: bool,
    /// How long a table that somebody has locked is waited for.
    #[serde(default = "lock_wait")]
    pub lock_wait: Elapsed,
    /// Give empty pages at a table's end back to the file system, under a short exclusive lock.
    #[serde(default)]
    pub truncate: bool,
    /// VACUUM when dead rows reach this share of autovacuum's threshold.
    #[serde(default = "half")]
    pub dead_score: Score,
    /// VACUUM when rows inserted since the last one reach this share of autovacuum's threshold.
    #[serde(default = "tenth")]
    pub insert_score: Score,
    /// VACUUM when a smaller share of a table's pages than this is known to be visible to all.
    #[serde(default = "nearly_all", deserialize_with = "at_most_all")]
    pub visibility: Score,
    /// VACUUM (FREEZE) when a table's transaction ids reach this share of the age that forces autovacuum.
    #[serde(default = "half")]
    pub age_score: Score,
    /// ANALYZE when changed rows reach this share of autovacuum's threshold.
    #[serde(default = "half")]
    pub analyze_score: Score,
}

impl Vacuum {
    /// VACUUM (ANALYZE) of these tables, needed or not, giving back what is free at their ends; for other kinds.
    pub(super) fn of_tables(tables: &[Qualified]) -> Self {
        Self {
            include: tables.iter().map(TablePattern::of).collect(),
            exclude: Vec::new(),
            always: true,
            lock_wait: lock_wait(),
            truncate: true,
            dead_score: half(),
            insert_score: tenth(),
            visibility: nearly_all(),
            age_score: half(),
            analyze_score: half(),
        }
    }
}

/// A share of one of autovacuum's thresholds; at 1 autovacuum itself would act.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
pub struct Score(f64);

impl Score {
    /// The share as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Score {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        if share > 0.0 && share <= 100.0 {
            Ok(Self(share))
        } else {
            Err(format!("{share} is not a share of a threshold; write a number above 0 and at most 100, such as 0.5"))
        }
    }
}

/// A share of something that is there: unlike a score, no more than all of it.
fn at_most_all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Score, D::Error> {
    let share = Score::deserialize(deserializer)?;
    if share.0 > 1.0 { Err(de::Error::custom("this is a share of a table's pages: at most 1")) } else { Ok(share) }
}

const fn lock_wait() -> Elapsed {
    Elapsed(Duration::from_mins(1))
}

const fn half() -> Score {
    Score(0.5)
}

const fn tenth() -> Score {
    Score(0.1)
}

const fn nearly_all() -> Score {
    Score(0.95)
}

impl Job for Vacuum {
    const KIND: &'static str = "vacuum";
    const PROFILE: Profile = Profile {
        weight: Weight::Light,
        retries: 3,
        about: "VACUUM and ANALYZE the tables that need it, table by table, checked by the server's counters",
    };
    type Step = Step;

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        let facts = facts::read_tables(cx).await?;
        // Read last: what was done a moment after the job had begun must not seem older than that.
        let begun_ago = if self.always { cx.job_age().await? } else { None };
        for pattern in &self.include {
            if !facts.iter().any(|facts| pattern.matches(&facts.table)) {
                cx.note(format!("the pattern {pattern} of include means no table"));
            }
        }
        Ok(decide(self, &facts, cx.server(), begun_ago))
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        perform::perform(self, step, cx).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn every_parameter_has_a_default() {
        let vacuum: Vacuum = parse_with(&json!({})).expect("no parameter is needed");
        let written = serde_json::to_value(&vacuum).expect("it can be written");
        assert_eq!(
            written,
            json!({
                "include": [], "exclude": [], "always": false, "lock_wait": "1m", "truncate": false, "dead_score": 0.5,
                "insert_score": 0.1, "visibility": 0.95, "age_score": 0.5, "analyze_score": 0.5,
            })
        );
        assert_eq!(parse_with::<Vacuum>(&written), Ok(vacuum));
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_its_place() {
        let check = |with, path: &[&str], message: &str| {
            let error = parse_with::<Vacuum>(&with).expect_err("refused");
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(message), "{error}");
        };
        check(json!({ "lock_wait": "soon" }), &["lock_wait"], "such as 30s");
        check(json!({ "dead_score": 0 }), &["dead_score"], "above 0");
        check(json!({ "include": ["a", ""] }), &["include", "1"], "a pattern is empty");
        check(json!({ "freeze": true }), &["freeze"], "unknown field");
    }
}
