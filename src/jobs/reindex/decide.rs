//! Which indexes are rebuilt, which leftovers dropped, and what is refused: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reindex;
use super::evidence::{Verdict, judge};
use super::facts::{Candidate, IndexFacts, Sort};
use super::leftovers::{Leftover, Origin};
use super::step::{DropStep, RebuildStep, Step, Why};
use crate::fault::Fault;
use crate::jobs::pattern::TablePattern;
use crate::pg::statement::Qualified;

/// Whether an index is the job's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inclusion {
    /// Not at all.
    Out,
    /// It is one of many that the patterns leave in.
    In,
    /// It is to be rebuilt in any case, and somebody wrote down its name or its table's.
    Named,
}

/// Whether an index is the job's business.
///
/// A TOAST index that is closed to us is so only by its own name: its table is looked after all the same. The system's
/// indexes, those of temporary tables, and BRIN, which does not bloat, are so only when they are named.
pub(super) fn inclusion(spec: &Reindex, facts: &IndexFacts) -> Inclusion {
    if spec.exclude.iter().any(|pattern| facts.is_meant_by(pattern)) {
        return Inclusion::Out;
    }
    if facts.is_out_of_reach() && !spec.include.iter().any(|it| it.is_exact() && it.matches(&facts.index)) {
        return Inclusion::Out;
    }
    if spec.always && spec.include.iter().any(|pattern| pattern.is_exact() && facts.is_meant_by(pattern)) {
        return Inclusion::Named;
    }
    if is_meant(spec, facts) { Inclusion::In } else { Inclusion::Out }
}

/// Whether the patterns mean an index that the job is for, be it closed to us or not.
pub(super) fn is_meant(spec: &Reindex, facts: &IndexFacts) -> bool {
    let foreign = matches!(facts.sort, Sort::Catalogue | Sort::Temporary) || facts.method == "brin";
    let by = |patterns: &[TablePattern]| patterns.iter().any(|pattern| facts.is_meant_by(pattern));
    !foreign && (spec.include.is_empty() || by(&spec.include)) && !by(&spec.exclude)
}

/// Decides what is done, leftovers first, then the tables with the largest waste, each table's indexes together while
/// its pages are in the server's memory; and tells which indexes could not be judged.
///
/// `begun_ago` is when this job's work began, if it has begun: with `always`, what was rebuilt since is done.
pub fn decide(
    spec: &Reindex,
    candidates: &[Candidate],
    leftovers: &[Leftover],
    begun_ago: Option<Duration>,
) -> (Vec<Step>, Vec<String>) {
    let mut steps = Vec::new();
    let (mut chosen, mut refused, mut unjudged) = (Vec::new(), Vec::new(), Vec::new());
    for leftover in leftovers {
        match (&leftover.origin, &leftover.twin) {
            (Origin::Ours, Some(twin)) => steps.push(Step::Drop(DropStep {
                oid: leftover.oid,
                leftover: leftover.index.clone(),
                table_oid: leftover.table_oid,
                twin: twin.clone(),
            })),
            _ if leftover.building || !leftover.is_meant(spec) => {}
            (_, twin) => refused.push(refuse_invalid(leftover, twin.as_ref())),
        }
    }
    for candidate in candidates {
        let facts = &candidate.facts;
        let why = if spec.always {
            let done = candidate.baseline.as_ref().zip(begun_ago);
            if done.is_some_and(|(known, begun)| known.rebuilt_ago < begun.as_secs_f64()) {
                continue;
            }
            Why::Always
        } else {
            match judge(candidate, &spec.evidence) {
                Verdict::Waste(grade, waste) if waste > spec.bloat_over.fraction() => Why::Waste(grade, waste),
                Verdict::Waste(..) => continue,
                Verdict::Withheld(reason) => {
                    if facts.sort == Sort::Plain {
                        unjudged.push(format!("{} ({reason})", facts.index.plain()));
                    }
                    continue;
                }
            }
        };
        let of_it = || leftovers.iter().filter(|leftover| leftover.twin.as_ref() == Some(&facts.index));
        if facts.sort == Sort::Invalid {
            // It is told of as what it is: a leftover of somebody's.
            continue;
        }
        if of_it().any(|leftover| leftover.rebuilt && leftover.origin == Origin::Ours) {
            // Its rebuild had succeeded when it was interrupted.
            continue;
        }
        if let Some(reason) = cannot(facts.sort) {
            refused.push(Step::Refuse {
                index: facts.index.clone(),
                reason: reason.to_owned(),
                fault: Fault::Statement,
            });
        } else if of_it().all(|leftover| leftover.origin == Origin::Ours) {
            let (oid, index, bytes) = (facts.oid, facts.index.clone(), candidate.bytes);
            chosen.push((&facts.table, RebuildStep { oid, index, bytes, why }));
        }
    }
    let mut of_table = BTreeMap::<&Qualified, f64>::new();
    for (table, step) in &chosen {
        *of_table.entry(table).or_default() += wasted(step);
    }
    let total = |table: &Qualified| of_table.get(table).copied().unwrap_or_default();
    chosen.sort_by(|(table_a, a), (table_b, b)| {
        let by_table = total(table_b).total_cmp(&total(table_a)).then_with(|| table_a.cmp(table_b));
        by_table.then_with(|| wasted(b).total_cmp(&wasted(a))).then_with(|| a.index.cmp(&b.index))
    });
    steps.extend(chosen.into_iter().map(|(_, step)| Step::Rebuild(step)));
    steps.extend(refused);
    (steps, unjudged)
}

#[expect(clippy::cast_precision_loss, reason = "an order")]
fn wasted(step: &RebuildStep) -> f64 {
    let share = match step.why {
        Why::Always => 1.0,
        Why::Waste(_, share) => share,
    };
    step.bytes.unwrap_or(0) as f64 * share
}

/// Why an index of this sort cannot be rebuilt beside the application.
pub(super) const fn cannot(sort: Sort) -> Option<&'static str> {
    match sort {
        Sort::Plain => None,
        Sort::Catalogue => Some("the server does not rebuild its own indexes concurrently; nothing was sent"),
        Sort::Temporary => Some("it is of a temporary table of another session; nothing was sent"),
        Sort::Exclusion => Some(
            "the server cannot rebuild an index of an exclusion constraint concurrently; nothing was sent; exclude it, \
             or run REINDEX INDEX on it while the application may wait",
        ),
        Sort::Invalid => Some("it is invalid, and a rebuild would make a duplicate of it; nothing was sent"),
    }
}

fn refuse_invalid(leftover: &Leftover, twin: Option<&Qualified>) -> Step {
    let index = leftover.index.clone();
    let reason = match twin {
        Some(twin) => format!(
            "it is invalid, a copy of {} that an interrupted rebuild has left, but not one that is on record as ours; it \
             was left alone, and {} is not rebuilt before it is gone; DROP INDEX CONCURRENTLY {index}, or set `adopt: true`",
            twin.plain(),
            twin.plain()
        ),
        None => format!(
            "it is invalid, so that it may cost each write and serves no query; it was left alone; \
             DROP INDEX CONCURRENTLY {index} and create it again"
        ),
    };
    Step::Refuse { index, reason, fault: Fault::Statement }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::evidence::Density;
    use super::super::facts::tests::{baseline, candidate};
    use super::super::leftovers::tests::leftover;
    use super::*;

    fn spec(with: Value) -> Reindex {
        serde_json::from_value(with).expect("parameters")
    }

    fn plan(with: Value, candidates: &[Candidate], leftovers: &[Leftover]) -> Vec<String> {
        let (steps, _) = decide(&spec(with), candidates, leftovers, None);
        steps.iter().map(ToString::to_string).collect()
    }

    fn bloated(name: &str, full: f64) -> Candidate {
        let density = Density { leaf_pages: 48, empty_pages: 0, deleted_pages: 0, avg_leaf_density: full };
        Candidate { density: Some(density), ..candidate(name) }
    }

    #[test]
    fn the_largest_waste_comes_first_and_too_little_does_not_come() {
        let indexes = [bloated("some", 60.0), bloated("most", 10.0), bloated("little", 64.0)];
        assert_eq!(
            plan(json!({}), &indexes, &[]),
            [
                "reindex public.most [390.6 KiB, measured 89% waste]",
                "reindex public.some [390.6 KiB, measured 33% waste]"
            ]
        );
        assert_eq!(plan(json!({ "bloat_over": "25%" }), &indexes, &[]).len(), 3);
        assert_eq!(plan(json!({ "always": true }), &indexes, &[])[0], "reindex public.little [390.6 KiB, always]");
    }

    #[test]
    fn indexes_of_one_table_stay_together_and_the_most_wasteful_table_comes_first() {
        let of = |table: &str, name: &str, full| {
            let mut index = bloated(name, full);
            index.facts.table = Qualified::new("public", table);
            index
        };
        let indexes = [of("a", "a_1", 20.0), of("b", "b_1", 10.0), of("a", "a_2", 40.0)];
        let planned = plan(json!({}), &indexes, &[]);
        let names: Vec<_> = planned.iter().map(|step| step.split([' ', '[']).nth(1).unwrap_or_default()).collect();
        assert_eq!(names, ["public.a_1", "public.a_2", "public.b_1"]);
    }

    #[test]
    fn what_cannot_be_rebuilt_is_refused_by_name_when_it_is_asked_for() {
        let check = |sort, expected: &str| {
            let mut index = candidate("i");
            index.facts.sort = sort;
            let planned = plan(json!({ "always": true }), &[index.clone()], &[]);
            assert!(planned[0].starts_with("refuse public.i: ") && planned[0].contains(expected), "{planned:?}");
            index.density = Some(Density { leaf_pages: 48, empty_pages: 0, deleted_pages: 0, avg_leaf_density: 90.0 });
            assert_eq!(plan(json!({}), &[index], &[]), Vec::<String>::new());
        };
        check(Sort::Catalogue, "its own indexes");
        check(Sort::Temporary, "temporary table");
        check(Sort::Exclusion, "exclusion constraint");
    }

    #[test]
    fn indexes_of_the_system_and_brin_have_to_be_named() {
        let check = |with: Value, change: fn(&mut IndexFacts), expected: Inclusion| {
            let mut facts = candidate("i").facts;
            change(&mut facts);
            assert_eq!(inclusion(&spec(with.clone()), &facts), expected, "{with}");
        };
        check(json!({}), |_| (), Inclusion::In);
        check(json!({ "include": ["public.t"] }), |_| (), Inclusion::In);
        check(json!({ "include": ["other.*"] }), |_| (), Inclusion::Out);
        check(json!({ "exclude": ["t"] }), |_| (), Inclusion::Out);
        check(json!({ "always": true, "include": ["i"] }), |_| (), Inclusion::Named);
        check(json!({ "always": true, "include": ["i"], "exclude": ["t"] }), |_| (), Inclusion::Out);
        check(json!({ "always": true, "include": ["*"] }), |f| f.sort = Sort::Catalogue, Inclusion::Out);
        check(json!({ "always": true, "include": ["i"] }), |f| f.sort = Sort::Catalogue, Inclusion::Named);
        check(json!({ "always": true }), |f| f.method = "brin".to_owned(), Inclusion::Out);
        let closed = |f: &mut IndexFacts| {
            f.index = Qualified::new("pg_toast", "pg_toast_1_index");
            f.known.push(f.index.clone());
            f.schema_open = false;
        };
        check(json!({}), closed, Inclusion::Out);
        check(json!({ "always": true, "include": ["t"] }), closed, Inclusion::Out);
        check(json!({ "include": ["pg_toast.pg_toast_1_index"] }), closed, Inclusion::In);
        check(json!({ "always": true, "include": ["public.i"] }), |f| f.method = "brin".to_owned(), Inclusion::Named);
    }

    #[test]
    fn leftovers_of_ours_are_dropped_first_and_those_of_others_named() {
        let indexes = [bloated("i", 10.0)];
        let ours = leftover("i_ccnew", Some("i"), Origin::Ours);
        let planned = plan(json!({}), &indexes, std::slice::from_ref(&ours));
        assert_eq!(planned[0], "drop public.i_ccnew, left by a rebuild of public.i");
        assert!(planned[1].starts_with("reindex public.i ["), "{planned:?}");

        let theirs = leftover("i_ccnew", Some("i"), Origin::Theirs);
        let planned = plan(json!({}), &indexes, std::slice::from_ref(&theirs));
        assert_eq!(planned.len(), 1, "the index is not rebuilt: {planned:?}");
        assert!(planned[0].starts_with("refuse public.i_ccnew: it is invalid, a copy of public.i"), "{planned:?}");

        let broken = leftover("broken", None, Origin::Theirs);
        assert!(plan(json!({}), &[], std::slice::from_ref(&broken))[0].contains("create it again"));
        assert_eq!(plan(json!({ "include": ["other"] }), &[], std::slice::from_ref(&broken)), Vec::<String>::new());
        let building = Leftover { building: true, ..broken };
        assert_eq!(plan(json!({}), &[], &[building]), Vec::<String>::new());
    }

    #[test]
    fn an_index_whose_rebuild_had_succeeded_is_not_rebuilt_again() {
        let old = leftover("i_ccold", Some("i"), Origin::Ours);
        let planned = plan(json!({ "always": true }), &[candidate("i")], &[old]);
        assert_eq!(planned, ["drop public.i_ccold, left by a rebuild of public.i"]);
    }

    #[test]
    fn always_means_every_index_but_none_twice_in_one_run() {
        let done = Candidate { baseline: Some(baseline(164_000)), ..candidate("i") };
        let check = |begun_ago: Option<u64>, expected: usize| {
            let begun_ago = begun_ago.map(Duration::from_secs);
            let (steps, _) = decide(&spec(json!({ "always": true })), std::slice::from_ref(&done), &[], begun_ago);
            assert_eq!(steps.len(), expected, "{begun_ago:?}");
        };
        check(None, 1);
        check(Some(60), 1);
        check(Some(7200), 0);
    }
}
