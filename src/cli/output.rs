//! What commands print: answers to standard output, complaints to standard error.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::exit::Exit;
use crate::ledger::LedgerError;
use crate::lengths::rough;

/// Prints one line of the answer, whatever the names in it hold.
pub fn say(line: &str) {
    say_verbatim(&harmless(line));
}

/// Prints a text that others read as it stands: JSON, SQL, a shell's completions.
pub fn say_verbatim(text: &str) {
    // A reader that went away, such as `head`, is no error.
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// Prints a complaint.
pub fn complain(text: &str) {
    for line in text.lines() {
        tell(&format!("pgupkeep: {line}"));
    }
}

/// Prints one line on how the work goes, beside the answer.
pub fn tell(line: &str) {
    // Whoever closed standard error does not want to know.
    let _gone = writeln!(std::io::stderr(), "{}", harmless(line));
}

/// A line that a terminal shows as one, and obeys nothing in it: names of the database may hold anything.
pub fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| {
            if matches!(c, '\n' | '\t') {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Prints a value as JSON, for programs.
pub fn say_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say_verbatim(&text),
        Err(error) => complain(&format!("the answer cannot be written as JSON: {error}")),
    }
}

/// Complains about the ledger, and says what to exit with.
pub fn complain_of_ledger(error: &LedgerError) -> Exit {
    complain(&error.to_string());
    if let LedgerError::Pg(error) = error {
        complain(&error.hint());
    }
    Exit::of_ledger(error)
}

/// A table of the given columns, as wide as the terminal.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    table
}

/// Prints a table without the blanks around it.
pub fn say_table(table: &Table) {
    for line in table.lines() {
        let line = line.trim_end();
        say(line.strip_prefix(' ').unwrap_or(line));
    }
}

/// Text, or nothing.
pub fn or_blank(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// An instant for people, in UTC to the second.
pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// An instant for programs: RFC 3339 in UTC, to the microsecond.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// An instant for people, by the clocks of a zone, with the weekday and the offset.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S%:z").to_string()
}

/// An instant for programs, by the clocks of a zone: RFC 3339 with the offset.
pub fn local_rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// An elapsed time for people.
pub fn elapsed(milliseconds: i64) -> String {
    rough(Duration::from_millis(milliseconds.unsigned_abs())).to_string()
}

/// A number of rows for people.
pub fn rows(count: i64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// A text on one line, and not longer than fits beside others.
pub fn brief(text: &str) -> String {
    const MOST: usize = 100;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(MOST) {
        line.truncate(cut);
        line.push_str("...");
    }
    harmless(&line)
}

/// Bytes for people, in binary units.
#[expect(clippy::cast_precision_loss, reason = "three digits for people")]
pub fn bytes(count: i64) -> String {
    let mut size = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size.abs() < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Whether a person looks at standard error.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        let check = |count: i64, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(-2048, "-2.0 KiB");
        check(10 * 1024 * 1024 * 1024, "10.0 GiB");
    }

    #[test]
    fn an_instant_is_shown_by_the_clocks_of_its_zone() {
        let berlin = crate::calendar::zone("Europe/Berlin").expect("a zone");
        let check = |at: &str, expected: (&str, &str)| {
            let at = at.parse().expect(at);
            assert_eq!((local(at, &berlin).as_str(), local_rfc3339(at, &berlin).as_str()), expected);
        };
        check("2026-03-29T00:59:59Z", ("Sun 2026-03-29 01:59:59+01:00", "2026-03-29T01:59:59+01:00"));
        check("2026-03-29T01:00:00Z", ("Sun 2026-03-29 03:00:00+02:00", "2026-03-29T03:00:00+02:00"));
    }

    #[test]
    fn a_brief_text_is_one_line_without_control_characters() {
        assert_eq!(brief("a\n  b\u{1b}[31m"), "a b\u{fffd}[31m");
        assert_eq!(harmless("x\ny\u{7}\u{1b}]0;z"), "x y\u{fffd}\u{fffd}]0;z");
        assert_eq!(brief(&"x".repeat(101)), format!("{}...", "x".repeat(100)));
    }
}
