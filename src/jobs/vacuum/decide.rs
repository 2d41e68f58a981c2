//! Which tables get what, and why: pure.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::types::Oid;

use super::Vacuum;
use super::facts::{Sort, TableFacts};
use super::step::{Permission, Reason, Step, TableStep, Work};
use crate::pg::session::Server;

/// Fewer pages than these are read faster than they are looked up, so the visibility map of a small table is left be.
const FEWEST_PAGES: i64 = 1000;
/// Autovacuum never analyzes a partitioned table, so it is done after so long in any case.
const PARENT_ANALYZE_AGE: Duration = Duration::from_hours(7 * 24);

/// Decides which tables get what, the most urgent first.
///
/// `begun_ago` is when this job's work began, if it has begun: with `always`, what has been done since is done.
pub fn decide(spec: &Vacuum, facts: &[TableFacts], server: Server, begun_ago: Option<Duration>) -> Vec<Step> {
    let included = |facts: &&TableFacts| {
        (spec.include.is_empty() || spec.include.iter().any(|pattern| pattern.matches(&facts.table)))
            && !spec.exclude.iter().any(|pattern| pattern.matches(&facts.table))
    };
    let parents = |having: fn(&TableFacts) -> bool| -> HashSet<Oid> {
        let partitions = facts.iter().filter(|facts| facts.sort == Sort::Plain && having(facts));
        partitions.flat_map(|facts| facts.ancestors.iter().copied()).collect()
    };
    // The server does not gather statistics of a tree without a leaf.
    let (with_leaves, with_rows) = (parents(|_| true), parents(has_rows));
    let mut chosen: Vec<(&TableFacts, TableStep)> = Vec::new();
    for facts in facts.iter().filter(included).filter(|facts| facts.sort != Sort::Partitioned) {
        let reasons = reasons(spec, facts, begun_ago);
        if let Some(work) = work(facts, &reasons) {
            chosen.push((
                facts,
                TableStep {
                    oid: facts.oid,
                    table: facts.table.clone(),
                    work,
                    reasons,
                    permission: Permission::of(facts),
                },
            ));
        }
    }
    let changed: HashSet<Oid> = chosen
        .iter()
        .filter(|(_, step)| step.work.analyzes())
        .flat_map(|(facts, _)| facts.ancestors.iter().copied())
        .collect();
    for facts in facts.iter().filter(included).filter(|facts| facts.sort == Sort::Partitioned) {
        let stale = facts.analyzed_ago.is_none_or(|ago| ago > PARENT_ANALYZE_AGE.as_secs_f64());
        let reason = if spec.always {
            let undone = !done_since(facts.analyzed_ago, begun_ago);
            (undone && with_leaves.contains(&facts.oid)).then_some(Reason::Always)
        } else {
            (changed.contains(&facts.oid) || stale && with_rows.contains(&facts.oid)).then_some(Reason::Partitions)
        };
        if let Some(reason) = reason {
            let (oid, table) = (facts.oid, facts.table.clone());
            chosen.push((
                facts,
                TableStep { oid, table, work: Work::Analyze, reasons: vec![reason], permission: Permission::of(facts) },
            ));
        }
    }
    chosen.sort_by(urgency);
    let vacuums = chosen.iter().filter(|(_, step)| step.work.vacuums()).count();
    let mut steps: Vec<Step> = chosen.into_iter().map(|(_, step)| Step::Table(step)).collect();
    if vacuums > 0 && skips_database_stats(server) {
        steps.push(Step::DatabaseStats);
    }
    steps
}

/// Whether the server can leave the database's oldest transaction id for the end.
pub(super) const fn skips_database_stats(server: Server) -> bool {
    server.version >= 160_000
}

fn reasons(spec: &Vacuum, facts: &TableFacts, begun_ago: Option<Duration>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if facts.age_score >= spec.age_score.get() {
        reasons.push(Reason::Age);
    }
    if facts.sort == Sort::Catalogue {
        // Autovacuum looks after the system's tables well; their age is everybody's business, but only where we may.
        reasons.retain(|_| facts.permitted);
        return reasons;
    }
    if facts.dead_score >= spec.dead_score.get() {
        reasons.push(Reason::DeadRows);
    }
    if lags_in_visibility(spec, facts) {
        reasons.push(Reason::Inserts);
    }
    if facts.analyze_score >= spec.analyze_score.get() {
        reasons.push(Reason::Analyze);
    }
    if facts.analyzed_ago.is_none() && has_rows(facts) {
        reasons.push(Reason::NeverAnalyzed);
    }
    if spec.always {
        if done_since(facts.vacuumed_ago, begun_ago) && done_since(facts.analyzed_ago, begun_ago) {
            return Vec::new();
        }
        reasons.push(Reason::Always);
    }
    reasons.sort_by_key(|reason| reason.rank());
    reasons
}

/// Whether inserted rows, or gaps in the visibility map, make it worth reading the table's unseen pages.
///
/// A table that was never counted has 0 pages by the catalogue, however many rows were loaded into it.
fn lags_in_visibility(spec: &Vacuum, facts: &TableFacts) -> bool {
    let inserted = facts.insert_score >= spec.insert_score.get();
    if facts.pages == 0 {
        return inserted && facts.live > 0;
    }
    let unseen = facts.grown_pages.max(facts.pages - facts.visible_pages);
    #[expect(clippy::cast_precision_loss, reason = "a share of pages")]
    let visible_share = facts.visible_pages as f64 / (facts.visible_pages + unseen) as f64;
    unseen >= FEWEST_PAGES && (inserted || visible_share < spec.visibility.get())
}

const fn has_rows(facts: &TableFacts) -> bool {
    facts.pages > 0 || facts.live > 0
}

/// What is sent for these reasons.
///
/// A large table that is to be analyzed is vacuumed as well: it has changed, and ANALYZE would only bring to light the
/// gaps in its visibility map that the next plan would then have to close.
fn work(facts: &TableFacts, reasons: &[Reason]) -> Option<Work> {
    let large = facts.pages + facts.grown_pages >= FEWEST_PAGES;
    let vacuum = large || reasons.iter().any(|reason| reason.rank() < Reason::Analyze.rank());
    let analyze = reasons.iter().any(|reason| reason.rank() >= Reason::Analyze.rank() || *reason == Reason::Always);
    match (vacuum, analyze || facts.modified > 0) {
        _ if reasons.is_empty() => None,
        (true, true) => Some(Work::VacuumAnalyze),
        (true, false) => Some(Work::Vacuum),
        (false, _) => Some(Work::Analyze),
    }
}

fn done_since(ago: Option<f64>, begun_ago: Option<Duration>) -> bool {
    ago.zip(begun_ago).is_some_and(|(ago, begun)| ago < begun.as_secs_f64())
}

/// The order of work: by the most urgent reason, within one by its score, then by name. Partitions come before their
/// parents, so that one pass serves both.
fn urgency((a, left): &(&TableFacts, TableStep), (b, right): &(&TableFacts, TableStep)) -> Ordering {
    let rank = |step: &TableStep| step.reasons.first().map_or(u8::MAX, |reason| reason.rank());
    let parent = |facts: &TableFacts| facts.sort == Sort::Partitioned;
    let score = |facts: &TableFacts, step: &TableStep| match step.reasons.first() {
        Some(Reason::Age) => facts.age_score,
        Some(Reason::DeadRows) => facts.dead_score,
        Some(Reason::Inserts) => facts.insert_score,
        Some(Reason::Analyze | Reason::NeverAnalyzed) => facts.analyze_score,
        Some(Reason::Partitions | Reason::Always) | None => 0.0,
    };
    (parent(a), rank(left))
        .cmp(&(parent(b), rank(right)))
        .then_with(|| score(b, right).total_cmp(&score(a, left)))
        .then_with(|| a.table.cmp(&b.table))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::facts::tests::facts;
    use super::*;

    fn server(version: i32) -> Server {
        Server { version, in_recovery: false }
    }

    fn plan(with: Value, tables: &[TableFacts], begun_ago: Option<u64>) -> Vec<String> {
        let spec: Vacuum = serde_json::from_value(with).expect("parameters");
        let steps = decide(&spec, tables, server(150_000), begun_ago.map(Duration::from_secs));
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_is_chosen_for_each_reason_and_only_from_its_limit_on() {
        let check = |change: fn(&mut TableFacts), expected: Option<&str>| {
            let mut table = facts("t");
            change(&mut table);
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(plan(json!({}), &[table], None), expected);
        };
        check(|_| (), None);
        check(|t| t.dead_score = 0.49, None);
        check(|t| t.dead_score = 0.5, Some("vacuum public.t [dead_rows]"));
        check(|t| (t.dead_score, t.modified) = (0.5, 1), Some("vacuum (analyze) public.t [dead_rows]"));
        check(|t| t.age_score = 0.5, Some("vacuum (freeze) public.t [age]"));
        check(|t| t.analyze_score = 0.5, Some("vacuum (analyze) public.t [analyze]"));
        check(|t| (t.pages, t.visible_pages, t.analyze_score) = (999, 0, 0.5), Some("analyze public.t [analyze]"));
        check(|t| (t.dead_score, t.analyze_score) = (1.0, 1.0), Some("vacuum (analyze) public.t [dead_rows, analyze]"));
        check(|t| t.analyzed_ago = None, Some("vacuum (analyze) public.t [never_analyzed]"));
        check(|t| (t.pages, t.analyzed_ago) = (9, None), Some("analyze public.t [never_analyzed]"));
        // Gaps in the visibility map count from 1,000 pages and from 5 % on.
        check(|t| t.visible_pages = 1001, None);
        check(|t| t.visible_pages = 1000, Some("vacuum public.t [inserts]"));
        check(|t| (t.pages, t.visible_pages) = (100_000, 96_000), None);
        check(
            |t| (t.pages, t.visible_pages, t.insert_score) = (100_000, 96_000, 0.1),
            Some("vacuum public.t [inserts]"),
        );
        // The catalogue does not know yet how far a table has grown.
        check(|t| (t.grown_pages, t.insert_score) = (999, 9.0), None);
        check(|t| (t.grown_pages, t.insert_score) = (1000, 0.1), Some("vacuum public.t [inserts]"));
        // A table that was loaded but never counted has no pages by the catalogue.
        check(
            |t| (t.pages, t.visible_pages, t.insert_score, t.analyzed_ago, t.modified) = (0, 0, 5.0, None, 9),
            Some("vacuum (analyze) public.t [inserts, never_analyzed]"),
        );
        // An empty table has nothing to be done about, even if it was never analyzed.
        check(|t| (t.pages, t.visible_pages, t.live, t.analyzed_ago) = (0, 0, 0, None), None);
    }

    #[test]
    fn patterns_choose_and_exclude_wins() {
        let tables = ["a", "b", "c"].map(|name| TableFacts { dead_score: 1.0, ..facts(name) });
        let check = |with, expected: &[&str]| assert_eq!(plan(with, &tables, None), expected);
        check(json!({ "include": ["public.a", "b"] }), &["vacuum public.a [dead_rows]", "vacuum public.b [dead_rows]"]);
        check(json!({ "include": ["public.*"], "exclude": ["?"] }), &[]);
        check(json!({ "exclude": ["*.a", "b"] }), &["vacuum public.c [dead_rows]"]);
    }

    #[test]
    fn the_most_urgent_table_comes_first() {
        let tables = [
            TableFacts { analyze_score: 9.0, pages: 9, ..facts("changed") },
            TableFacts { dead_score: 0.6, ..facts("some_dead") },
            TableFacts { visible_pages: 0, ..facts("inserted") },
            TableFacts { age_score: 0.6, ..facts("old") },
            TableFacts { dead_score: 3.0, ..facts("many_dead") },
            TableFacts { age_score: 0.9, dead_score: 1.0, ..facts("oldest") },
        ];
        assert_eq!(
            plan(json!({}), &tables, None),
            [
                "vacuum (freeze) public.oldest [age, dead_rows]",
                "vacuum (freeze) public.old [age]",
                "vacuum public.many_dead [dead_rows]",
                "vacuum public.some_dead [dead_rows]",
                "vacuum public.inserted [inserts]",
                "analyze public.changed [analyze]",
            ]
        );
    }

    #[test]
    fn a_partitioned_table_is_analyzed_after_its_partitions() {
        let parent = |analyzed_ago| TableFacts {
            oid: Oid(1),
            sort: Sort::Partitioned,
            pages: 0,
            visible_pages: 0,
            live: 0,
            analyzed_ago,
            ..facts("a_parent")
        };
        let part =
            |change: f64| TableFacts { ancestors: vec![Oid(1)], analyze_score: change, pages: 9, ..facts("part") };
        let empty = TableFacts { pages: 0, live: 0, visible_pages: 0, ..part(0.0) };
        let check = |tables: &[TableFacts], expected: &[&str]| assert_eq!(plan(json!({}), tables, None), expected);
        check(&[parent(Some(60.0)), part(0.0)], &[]);
        check(&[parent(None), part(0.0)], &["analyze public.a_parent [partitions]"]);
        check(&[parent(None), empty.clone()], &[]);
        check(&[parent(Some(8.0 * 86_400.0)), part(0.0)], &["analyze public.a_parent [partitions]"]);
        let always = |tables: &[TableFacts]| plan(json!({ "always": true, "include": ["a_parent"] }), tables, None);
        assert_eq!(always(&[parent(None), empty]), ["analyze public.a_parent [always]"]);
        assert_eq!(always(&[parent(None)]), Vec::<String>::new());
        check(
            &[parent(Some(60.0)), part(1.0)],
            &["analyze public.part [analyze]", "analyze public.a_parent [partitions]"],
        );
    }

    #[test]
    fn a_catalogue_is_vacuumed_for_its_age_and_only_where_we_may() {
        let catalogue = TableFacts { sort: Sort::Catalogue, dead_score: 9.0, analyzed_ago: None, ..facts("pg_class") };
        let check = |permitted, age_score, expected: &[&str]| {
            let table = TableFacts { permitted, age_score, ..catalogue.clone() };
            assert_eq!(plan(json!({ "always": true }), &[table], None), expected);
        };
        check(true, 0.1, &[]);
        check(true, 0.7, &["vacuum (freeze) public.pg_class [age]"]);
        check(false, 0.7, &[]);
    }

    #[test]
    fn always_means_every_table_but_none_twice_in_one_run() {
        let done = TableFacts { vacuumed_ago: Some(5.0), analyzed_ago: Some(5.0), ..facts("done") };
        let half = TableFacts { vacuumed_ago: Some(5.0), ..facts("half") };
        let tables = [done, half, facts("waiting")];
        let check = |begun_ago, expected: &[&str]| {
            assert_eq!(plan(json!({ "always": true }), &tables, begun_ago), expected);
        };
        let (done, half) = ("vacuum (analyze) public.done [always]", "vacuum (analyze) public.half [always]");
        let waiting = "vacuum (analyze) public.waiting [always]";
        check(None, &[done, half, waiting]);
        check(Some(1), &[done, half, waiting]);
        check(Some(60), &[half, waiting]);
    }

    #[test]
    fn the_database_is_seen_to_once_at_the_end_where_the_server_can() {
        let spec: Vacuum = serde_json::from_value(json!({})).expect("defaults");
        let check = |version, table: TableFacts, expected: bool| {
            let steps = decide(&spec, &[table], server(version), None);
            assert_eq!(steps.last() == Some(&Step::DatabaseStats), expected, "{version}");
        };
        check(160_000, TableFacts { dead_score: 1.0, ..facts("t") }, true);
        check(150_000, TableFacts { dead_score: 1.0, ..facts("t") }, false);
        check(160_000, TableFacts { analyze_score: 1.0, pages: 9, ..facts("t") }, false);
    }
}
