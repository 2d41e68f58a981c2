//! The `reindex` job: REINDEX INDEX CONCURRENTLY, index by index, for what is named or bloated.
//!
//! It rebuilds on evidence, and says which: a measurement, our own baseline, or an estimate where one can be trusted.
//! It begins only when nobody is in sight whom the rebuild would have to wait for. It sets no `lock_timeout`, which
//! would also end the harmless wait for old transactions and leave an invalid index; it watches that wait from outside,
//! and cancels itself, never anybody else. What an interrupted rebuild of its own has left behind it drops; what
//! somebody else has left it names. It refuses to rebuild a leftover, which would make a valid duplicate of it, and
//! whatever the server cannot rebuild without locking the application out.

mod decide;
mod evidence;
mod facts;
mod leftovers;
mod perform;
pub(crate) mod room;
mod step;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::context::{Context, JobError};
use super::pattern::TablePattern;
use super::{Job, Profile, StepReport, Weight};
use crate::amounts::{ByteSize, Percent};
use crate::fault::Fault;
use crate::lengths::Elapsed;
use crate::pg::session::Server;
use crate::pg::statement::Qualified;

pub use decide::decide;
pub use evidence::{Density, Grade, Verdict, judge};
pub use facts::{Candidate, IndexFacts, Sort};
pub use leftovers::Leftover;
pub use step::{DropStep, RebuildStep, Step, Why};

/// How many indexes a note names.
const MOST_NAMED: usize = 10;

/// The parameters of a `reindex` job, all of them optional.
///
/// ```
/// # let yaml = r#"
/// include: [public.metrics, idx_runs_*]  # by the name of the index or of its table; default: every index
/// exclude: [audit.*]                     # wins over include
/// always: false                          # true: every included index, bloated or not
/// bloat_over: 30%                        # rebuild when more than this share of an index is waste
/// min_size: 10MiB                        # smaller indexes are left alone, unless named exactly and `always`
/// max_size: 200GiB                       # larger ones too: a rebuild needs the space of a second copy
/// disk: /var/lib/postgresql              # the server's disk, where it can be seen from here: looked at before each index
/// disk_size: 500GiB                      # where it cannot: how large it is
/// keep_free: 1GiB                        # what must stay free besides the copy and its log
/// evidence: [measured, baseline, estimate]
/// measure_up_to: 1GiB                    # pgstatindex reads the whole index; larger ones are not measured
/// max_blocker_wait: 10m                  # how long other sessions are waited for
/// adopt: false                           # true: drop leftovers of rebuilds that are not on record as ours, too
/// # "#;
/// # let reindex: pgupkeep::jobs::reindex::Reindex = serde_yaml::from_str(yaml).unwrap();
/// # assert_eq!(reindex.include.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reindex {
    /// Only indexes that one of these patterns means, by their own name or their table's; empty: all.
    #[serde(default)]
    pub include: Vec<TablePattern>,
    /// No index that one of these patterns means.
    #[serde(default)]
    pub exclude: Vec<TablePattern>,
    /// Every included index each time, bloated or not.
    #[serde(default)]
    pub always: bool,
    /// Rebuild when more than this share of an index is waste.
    #[serde(default = "bloat_over")]
    pub bloat_over: Percent,
    /// Smaller indexes are left alone, unless `always` holds for one that is named exactly.
    #[serde(default = "min_size")]
    pub min_size: ByteSize,
    /// Larger indexes are left alone: a rebuild needs the disk space of a second copy, and about as much WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// A folder on the disk of the server's data that this process can see: an index is begun only when it has room for
    /// a second copy and its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// How large the disk of the server's data is, where it cannot be seen: what the databases and the log take is
    /// subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<ByteSize>,
    /// What must stay free on that disk besides the copy and its log.
    #[serde(default = "keep_free")]
    pub keep_free: ByteSize,
    /// The grades of evidence that count; the best that can be had is used.
    #[serde(default = "every_grade", deserialize_with = "some_grades")]
    pub evidence: Vec<Grade>,
    /// Larger indexes are not measured: pgstatindex reads the whole index.
    #[serde(default = "measure_up_to")]
    pub measure_up_to: ByteSize,
    /// How long other sessions are waited for, before a rebuild begins and while it works.
    #[serde(default = "max_blocker_wait")]
    pub max_blocker_wait: Elapsed,
    /// Drop leftovers of interrupted rebuilds that are not on record as ours, too.
    #[serde(default)]
    pub adopt: bool,
}

/// Which indexes another kind wants rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// All of them.
    All,
    /// Those that are bloated.
    Bloated,
}

impl Reindex {
    /// Indexes of these tables, from a megabyte on; for other kinds.
    pub(super) fn of_tables(tables: &[Qualified], which: Rebuild) -> Self {
        Self {
            include: tables.iter().map(TablePattern::of).collect(),
            exclude: Vec::new(),
            always: which == Rebuild::All,
            bloat_over: bloat_over(),
            min_size: ByteSize(1 << 20),
            max_size: None,
            disk: None,
            disk_size: None,
            keep_free: keep_free(),
            evidence: every_grade(),
            measure_up_to: measure_up_to(),
            max_blocker_wait: max_blocker_wait(),
            adopt: false,
        }
    }
}

fn bloat_over() -> Percent {
    #[expect(clippy::expect_used, reason = "a constant, and tested")]
    "30%".parse().expect("a share")
}

const fn min_size() -> ByteSize {
    ByteSize(10 << 20)
}

const fn keep_free() -> ByteSize {
    ByteSize(1 << 30)
}

const fn measure_up_to() -> ByteSize {
    ByteSize(1 << 30)
}

fn every_grade() -> Vec<Grade> {
    vec![Grade::Measured, Grade::Baseline, Grade::Estimate]
}

/// Without any, no index would ever be found bloated.
fn some_grades<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Grade>, D::Error> {
    let grades = Vec::deserialize(deserializer)?;
    if grades.is_empty() {
        Err(de::Error::custom("this list is empty; leave it out for every grade"))
    } else {
        Ok(grades)
    }
}

const fn max_blocker_wait() -> Elapsed {
    Elapsed(Duration::from_mins(10))
}

impl Job for Reindex {
    const KIND: &'static str = "reindex";
    const PROFILE: Profile = Profile {
        weight: Weight::Heavy,
        retries: 3,
        about: "rebuild bloated or named indexes concurrently, one by one, and clear up after interrupted rebuilds",
    };
    type Step = Step;

    fn check(&self) -> Result<(), String> {
        let least = self.min_size;
        match self.max_size {
            Some(most) if most.bytes() < least.bytes() => {
                Err(format!("`max_size` is {most}, less than the {least} of `min_size`"))
            }
            _ => Ok(()),
        }
    }

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        check_server(cx.server())?;
        let leftovers = leftovers::read(self, cx).await?;
        let candidates = facts::read_candidates(self, cx).await?;
        // Read last: what was done a moment after the job had begun must not seem older than that.
        let begun_ago = if self.always { cx.job_age().await? } else { None };
        for pattern in &self.include {
            let means = |candidate: &Candidate| candidate.facts.is_meant_by(pattern);
            if !candidates.iter().any(means) {
                cx.note(format!("the pattern {pattern} of include means no index of the sizes that are looked at"));
            }
        }
        let (steps, unjudged) = decide(self, &candidates, &leftovers, begun_ago);
        if !unjudged.is_empty() {
            cx.note(format!("nothing trustworthy is known of the bloat of {}", the_first(&unjudged)));
        }
        room::foretell(self, &steps, cx).await?;
        Ok(steps)
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        perform::perform(self, step, cx).await
    }
}

/// The first of these, and how many more there are.
fn the_first(names: &[String]) -> String {
    match names.split_at_checked(MOST_NAMED) {
        Some((first, more @ [_, ..])) => format!("{} and {} more", first.join(", "), more.len()),
        _ => names.join(", "),
    }
}

/// Refuses servers on which a concurrent rebuild can damage the index.
///
/// Source: release notes of PostgreSQL 14.4, "Prevent possible corruption of indexes created or rebuilt with the
/// CONCURRENTLY option".
fn check_server(server: Server) -> Result<(), JobError> {
    if (140_000..140_004).contains(&server.version) {
        return Err(JobError::Refused {
            fault: Fault::Statement,
            message: format!(
                "PostgreSQL 14.{} can corrupt an index that is rebuilt concurrently; nothing was sent; update the server \
                 to 14.4 or later",
                server.version % 10_000
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn every_parameter_has_a_default() {
        let reindex: Reindex = parse_with(&json!({})).expect("no parameter is needed");
        let written = serde_json::to_value(&reindex).expect("it can be written");
        assert_eq!(
            written,
            json!({
                "include": [], "exclude": [], "always": false, "bloat_over": "30%", "min_size": "10MiB", "keep_free": "1GiB",
                "evidence": ["measured", "baseline", "estimate"], "measure_up_to": "1GiB", "max_blocker_wait": "10m",
                "adopt": false,
            })
        );
        assert_eq!(parse_with::<Reindex>(&written), Ok(reindex));
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_its_place() {
        let check = |with, path: &[&str], message: &str| {
            let error = parse_with::<Reindex>(&with).expect_err("refused");
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(message), "{error}");
        };
        check(json!({ "bloat_over": "0.3" }), &["bloat_over"], "such as 30%");
        check(json!({ "min_size": "10MB" }), &["min_size"], "MiB");
        check(json!({ "max_blocker_wait": "soon" }), &["max_blocker_wait"], "such as 30s");
        check(json!({ "evidence": ["guess"] }), &["evidence", "0"], "measured");
        check(json!({ "max_size": "1MiB" }), &[], "`max_size` is 1MiB, less than the 10MiB of `min_size`");
        check(json!({ "lock_timeout": "1s" }), &["lock_timeout"], "unknown field");
    }

    #[test]
    fn a_note_names_the_first_of_many_indexes() {
        let check = |count: usize, expected: &str| {
            let names: Vec<String> = (1..=count).map(|nth| format!("i{nth}")).collect();
            assert_eq!(the_first(&names), expected);
        };
        check(2, "i1, i2");
        check(10, "i1, i2, i3, i4, i5, i6, i7, i8, i9, i10");
        check(12, "i1, i2, i3, i4, i5, i6, i7, i8, i9, i10 and 2 more");
    }

    #[test]
    fn servers_that_damage_indexes_are_refused() {
        let check = |version, refused: bool| {
            let server = Server { version, in_recovery: false };
            assert_eq!(check_server(server).is_err(), refused, "{version}");
        };
        check(130_022, false);
        check(140_000, true);
        check(140_003, true);
        check(140_004, false);
        check(150_000, false);
    }
}
