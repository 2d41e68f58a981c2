//! `docs/metrics.md` and the table in the program are kept in step.

use std::fmt::Write as _;
use std::{env, fs, path::Path};

use pgupkeep::telemetry::metrics::Metric;

/// What stands between the marks of a document must be this.
fn keep_in_step(document: &str, should_be: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let is = fs::read_to_string(&path).unwrap();
    let (head, rest) = is.split_once("<!-- metrics -->\n").expect("the document holds the marks");
    let (_, tail) = rest.split_once("<!-- end -->").expect("the marks have an end");
    let should_be = format!("{head}<!-- metrics -->\n{should_be}<!-- end -->{tail}");
    if env::var_os("PGUPKEEP_UPDATE_DOCS").is_some() {
        fs::write(&path, &should_be).unwrap();
        return;
    }
    assert!(is == should_be, "{document} is behind the program; run this test with PGUPKEEP_UPDATE_DOCS=1");
}

#[test]
fn the_documents_list_every_metric_as_the_program_does() {
    let mut table = "| metric | sort | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in Metric::ALL {
        let labels: Vec<_> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, sort) = (metric.name(), metric.sort().as_str());
        writeln!(table, "| `{name}` | {sort} | {} | {} |", labels.join(", "), metric.help()).unwrap();
    }
    keep_in_step("docs/metrics.md", &table);

    let mut list = String::new();
    let mut width = 0;
    for (nth, metric) in Metric::ALL.iter().enumerate() {
        let name = format!("`{}`", metric.name());
        if nth > 0 {
            width += name.len() + 2;
            list.push_str(if width > 120 { ",\n" } else { ", " });
        }
        if nth == 0 || width > 120 {
            width = name.len();
        }
        list.push_str(&name);
    }
    keep_in_step("README.md", &format!("{list}.\n"));
}

#[test]
fn every_metric_that_an_alert_asks_for_exists() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
    let rules = fs::read_to_string(rules).unwrap();
    let asked =
        rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("pgupkeep_"));
    let known: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let mut count = 0;
    for name in asked {
        assert!(known.contains(&name), "an alert asks for {name}");
        count += 1;
    }
    assert!(count >= 5, "{rules}");
}
