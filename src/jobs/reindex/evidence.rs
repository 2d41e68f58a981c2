//! How much of an index is waste, and how that is known: three grades, never mixed, always told. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Candidate;

/// How the waste of an index is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// pgstatindex of the extension pgstattuple has read the whole b-tree.
    Measured,
    /// Bytes for each entry, beside those right after our own last rebuild of that index.
    Baseline,
    /// The pages that the statistics say are needed; only for b-trees for which that is known to be near the truth.
    Estimate,
}

impl Grade {
    /// The grade's word in plans, in the configuration and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Baseline => "baseline",
            Self::Estimate => "estimate",
        }
    }
}

/// What pgstatindex says of a b-tree.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub struct Density {
    /// Pages with entries.
    pub leaf_pages: i64,
    /// Pages without.
    pub empty_pages: i64,
    /// Pages that were given up, and wait to be used again.
    pub deleted_pages: i64,
    /// How full the leaf pages are, in percent; not a number when there is none.
    pub avg_leaf_density: f64,
}

/// What can be said of an index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// A share of it is waste.
    Waste(Grade, f64),
    /// Nothing that can be trusted.
    Withheld(&'static str),
}

/// A freshly built b-tree is 87 to 91 % full, so less waste than this is none.
const NOISE: f64 = 0.05;
/// Below this size the pages that every index has say more than its entries do.
const SMALLEST_JUDGED: i64 = 128 << 10;
/// The server aligns to eight bytes on every platform that matters here.
const ALIGNMENT: f64 = 8.0;

/// Judges an index by the best of the allowed grades that can be had.
pub fn judge(candidate: &Candidate, allowed: &[Grade]) -> Verdict {
    let mut why = "no grade of evidence is allowed";
    for (grade, found) in [
        (Grade::Measured, measured as fn(&Candidate) -> Result<f64, &'static str>),
        (Grade::Baseline, by_baseline),
        (Grade::Estimate, estimated),
    ] {
        if !allowed.contains(&grade) {
            continue;
        }
        match found(candidate) {
            Ok(waste) => return Verdict::Waste(grade, if waste < NOISE { 0.0 } else { waste }),
            Err(reason) => why = reason,
        }
    }
    Verdict::Withheld(why)
}

/// What the leaf pages would take at their fill factor, beside the pages that there are.
#[expect(clippy::cast_precision_loss, reason = "a share of pages")]
fn measured(candidate: &Candidate) -> Result<f64, &'static str> {
    let density = candidate.density.ok_or("it was not measured")?;
    let pages = (density.leaf_pages + density.empty_pages + density.deleted_pages) as f64;
    let full = if density.avg_leaf_density.is_finite() { density.avg_leaf_density } else { 0.0 };
    if pages < 1.0 {
        return Ok(0.0);
    }
    let needed = density.leaf_pages as f64 * full / f64::from(candidate.facts.fill_factor);
    Ok(1.0 - needed / pages)
}

#[expect(clippy::cast_precision_loss, reason = "bytes for an entry")]
fn by_baseline(candidate: &Candidate) -> Result<f64, &'static str> {
    let (bytes, tuples) = counted(candidate)?;
    let known = candidate.baseline.as_ref().ok_or("it has no baseline yet")?;
    let then = known.baseline.bytes as f64 / known.baseline.tuples;
    Ok(1.0 - then * tuples / bytes)
}

/// The pages that a b-tree of entries of average length takes.
///
/// An entry is a line pointer of 4 bytes and a header of 8, or 16 with a bitmap of nulls, before its aligned data.
/// Source: PostgreSQL documentation, "Database Page Layout"; src/include/access/itup.h.
fn estimated(candidate: &Candidate) -> Result<f64, &'static str> {
    let facts = &candidate.facts;
    if facts.method != "btree" {
        return Err("only b-trees are estimated");
    }
    if !facts.has_statistics {
        return Err("its statistics cannot be seen, or it has expressions or a condition");
    }
    if facts.deduplicated {
        return Err("an estimate knows nothing of its deduplication");
    }
    if facts.has_name {
        return Err("an estimate is wrong for columns of type name");
    }
    let (bytes, tuples) = counted(candidate)?;
    let align = |bytes: f64| (bytes / ALIGNMENT).ceil() * ALIGNMENT;
    let entry = 4.0 + if facts.has_nulls { 16.0 } else { 8.0 } + align(facts.width);
    let block = f64::from(facts.block_size);
    let fit = ((block - 40.0) * f64::from(facts.fill_factor) / (100.0 * entry)).floor().max(1.0);
    let needed = 1.0 + (tuples / fit).ceil();
    Ok(1.0 - needed * block / bytes)
}

/// Bytes and entries, where both are known and fresh.
#[expect(clippy::cast_precision_loss, reason = "for a share")]
fn counted(candidate: &Candidate) -> Result<(f64, f64), &'static str> {
    let facts = &candidate.facts;
    let bytes = candidate.bytes.ok_or("its size could not be read")?;
    if facts.stale || facts.tuples <= 0.0 {
        return Err("its table has changed since the last ANALYZE");
    }
    if bytes < SMALLEST_JUDGED {
        return Err("it is too small to be judged");
    }
    Ok((bytes as f64, facts.tuples))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::candidate;
    use super::*;

    const ALL: &[Grade] = &[Grade::Measured, Grade::Baseline, Grade::Estimate];

    fn check(change: fn(&mut Candidate), allowed: &[Grade], expected: Result<(Grade, f64), &str>) {
        let mut index = candidate("i");
        change(&mut index);
        match (judge(&index, allowed), expected) {
            (Verdict::Waste(grade, waste), Ok((expected, share))) => {
                assert_eq!(grade, expected);
                assert!((waste - share).abs() < 0.005, "{waste} is not {share}");
            }
            (Verdict::Withheld(why), Err(expected)) => assert_eq!(why, expected),
            (verdict, expected) => panic!("{verdict:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_measurement_counts_empty_and_deleted_pages_and_no_noise() {
        let density = |leaf_pages, empty_pages, deleted_pages, avg_leaf_density| {
            move |index: &mut Candidate| {
                index.density = Some(Density { leaf_pages, empty_pages, deleted_pages, avg_leaf_density });
            }
        };
        let check = |change: &dyn Fn(&mut Candidate), share: f64| {
            let mut index = candidate("i");
            change(&mut index);
            let Verdict::Waste(Grade::Measured, waste) = judge(&index, ALL) else { panic!("measured") };
            assert!((waste - share).abs() < 0.005, "{waste} is not {share}");
        };
        check(&density(1000, 0, 0, 90.0), 0.0);
        check(&density(1000, 0, 0, 87.0), 0.0);
        check(&density(1000, 0, 0, 91.0), 0.0);
        check(&density(1000, 0, 0, 45.0), 0.5);
        check(&density(500, 0, 500, 90.0), 0.5);
        check(&density(500, 250, 250, 45.0), 0.75);
        check(&density(0, 0, 1000, f64::NAN), 1.0);
        check(&density(0, 0, 0, f64::NAN), 0.0);
    }

    #[test]
    fn the_best_allowed_grade_is_used() {
        // 10,000 entries in 400 kB, 40 bytes each; an entry takes 20, and 16.4 right after the rebuild.
        let known = |index: &mut Candidate| index.baseline = Some(super::super::facts::tests::baseline(164_000));
        check(known, ALL, Ok((Grade::Baseline, 0.59)));
        check(known, &[Grade::Estimate], Ok((Grade::Estimate, 0.406)));
        check(|_| (), ALL, Ok((Grade::Estimate, 0.406)));
        check(|_| (), &[Grade::Measured], Err("it was not measured"));
        check(|_| (), &[], Err("no grade of evidence is allowed"));
    }

    #[test]
    fn an_estimate_that_cannot_be_trusted_is_withheld() {
        check(|i| i.facts.deduplicated = true, ALL, Err("an estimate knows nothing of its deduplication"));
        check(|i| i.facts.has_name = true, ALL, Err("an estimate is wrong for columns of type name"));
        check(|i| i.facts.stale = true, ALL, Err("its table has changed since the last ANALYZE"));
        check(|i| i.facts.tuples = 0.0, ALL, Err("its table has changed since the last ANALYZE"));
        check(|i| i.facts.method = "gin".to_owned(), ALL, Err("only b-trees are estimated"));
        check(|i| i.bytes = None, ALL, Err("its size could not be read"));
        check(|i| i.bytes = Some(100_000), ALL, Err("it is too small to be judged"));
        check(
            |i| i.facts.has_statistics = false,
            ALL,
            Err("its statistics cannot be seen, or it has expressions or a condition"),
        );
    }
}
