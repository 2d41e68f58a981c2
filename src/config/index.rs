//! Where everything in a YAML text stands, and what is refused before anyone reads it.
//!
//! Values know nothing of lines, so a cheap first pass over the parser's events notes the place of every key and
//! value. The same pass refuses what a file of a few dozen lines has no need of and what goes wrong silently or slowly:
//! duplicate keys (elsewhere the last one wins), anchors and aliases (they hide what a line means, and a few of them
//! expand to gigabytes), merge keys, tags, a second document, and deep nesting.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Finding, clip, quote};

/// The deepest nesting; a complete file has seven levels.
const DEEPEST: usize = 32;

/// The most findings of one pass; more of them say nothing new.
const MOST_FINDINGS: usize = 100;

/// A line and a column, both from 1; columns count characters.
pub type Place = (usize, usize);

/// Something wrong with the text itself, where it stands, and the YAML path as far as there is one.
pub type Misfit = (Place, String, Finding);

/// The places of all keys and values of a YAML text.
#[derive(Debug)]
pub struct Index {
    root: Node,
}

/// Where a YAML path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Where its key stands, or its value in a list.
    pub key: Place,
    /// Where its value stands; where its key stands if there is no value.
    pub value: Place,
    /// The path as text: `schedules.daily[0].at`.
    pub path: String,
}

#[derive(Debug)]
struct Node {
    key: Place,
    value: Place,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Scalar,
    List(Vec<Node>),
    Map(HashMap<String, Node>),
}

impl Index {
    /// Notes every place of a text.
    ///
    /// # Errors
    /// Gives everything that is wrong with the text as YAML, or that we refuse.
    pub fn build(text: &str) -> Result<Self, Vec<Misfit>> {
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => builder.take(event, span),
                Err(error) => builder.refuse_scan(&error, text),
            }
            if builder.stopped || builder.misfits.len() >= MOST_FINDINGS {
                break;
            }
        }
        if builder.misfits.is_empty() {
            let empty = Node { key: (1, 1), value: (1, 1), inner: Inner::Scalar };
            Ok(Self { root: builder.root.unwrap_or(empty) })
        } else {
            Err(builder.misfits)
        }
    }

    /// Finds a path, or what of it there is: the nearest ancestor lends its place.
    pub fn locate<S: AsRef<str>>(&self, path: &[S]) -> Spot {
        let mut spot = Spot { key: self.root.key, value: self.root.value, path: String::new() };
        let mut node = Some(&self.root);
        for segment in path.iter().map(AsRef::as_ref) {
            node = node.and_then(|node| match &node.inner {
                Inner::Scalar => None,
                Inner::List(nodes) => segment.parse::<usize>().ok().and_then(|nth| nodes.get(nth)),
                Inner::Map(nodes) => nodes.get(segment),
            });
            if let Some(node) = node {
                (spot.key, spot.value) = (node.key, node.value);
            }
            push_segment(&mut spot.path, segment);
        }
        spot
    }
}

/// Adds a segment: numbers as `[0]`, keys after a dot, in quotes if they hold what would mislead.
fn push_segment(path: &mut String, segment: &str) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !segment.is_empty() && segment.chars().all(|c| c.is_ascii_digit()) && !path.is_empty() {
        path.extend(["[", segment, "]"]);
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    if !segment.is_empty() && segment.chars().all(is_plain) && segment.len() <= 63 {
        path.push_str(segment);
    } else {
        path.extend(["\"", &clip(segment), "\""]);
    }
}

/// A list or map whose end has not come yet.
#[derive(Debug)]
struct Open {
    key: Place,
    value: Place,
    /// The name that it has in the map around it.
    name: Option<String>,
    inner: Inner,
    /// The key whose value comes next.
    pending: Option<(String, Place)>,
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    misfits: Vec<Misfit>,
    stopped: bool,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) {
        let place = place_of(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse(place, Finding::new("a second document begins here").expected("one document a file"));
                    self.stopped = true;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                self.take_scalar(&text, style, place);
            }
            Event::Alias(_) => {
                self.refuse(
                    place,
                    Finding::new("an alias is not allowed")
                        .expected("the value itself; text that begins with `*` needs quotes"),
                );
                self.take_scalar("*", ScalarStyle::DoubleQuoted, place);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                self.start(Inner::List(Vec::new()), place);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                self.start(Inner::Map(HashMap::new()), place);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn take_scalar(&mut self, text: &str, style: ScalarStyle, place: Place) {
        if let Some(Open { inner: Inner::Map(nodes), pending: pending @ None, .. }) = self.open.last_mut() {
            let earlier = nodes.get(text).map(|node| node.key);
            *pending = Some((text.to_owned(), place));
            if text == "<<" && style == ScalarStyle::Plain {
                let finding = Finding::new("a merge key `<<` is not allowed").expected("the keys themselves");
                self.refuse(place, finding);
            } else if let Some((line, column)) = earlier {
                let message = format!("the key {} stands here and at {line}:{column}", quote(text));
                self.refuse(place, Finding::new(message).expected("every key once"));
            }
            return;
        }
        let (name, key) = self.next_name(place);
        // A value that was left out has no place of its own: the parser gives that of whatever comes next.
        let value = if text.is_empty() && style == ScalarStyle::Plain { key } else { place };
        self.close(name, Node { key, value, inner: Inner::Scalar });
    }

    fn start(&mut self, inner: Inner, place: Place) {
        if self.open.len() >= DEEPEST {
            let finding = Finding::new(format!("this is nested more than {DEEPEST} levels deep"));
            self.refuse(place, finding.expected("a schedules file"));
            self.stopped = true;
            return;
        }
        if let Some(Open { inner: Inner::Map(_), pending: None, .. }) = self.open.last() {
            self.refuse(place, Finding::new("a list or a map stands where a key belongs").expected("`key: value`"));
            self.stopped = true;
            return;
        }
        let (name, key) = self.next_name(place);
        self.open.push(Open { key, value: place, name, inner, pending: None });
    }

    fn end(&mut self) {
        if let Some(Open { key, value, name, inner, .. }) = self.open.pop() {
            self.close(name, Node { key, value, inner });
        }
    }

    /// The name and the place of the key that the value at this place belongs to.
    fn next_name(&mut self, place: Place) -> (Option<String>, Place) {
        match self.open.last_mut().and_then(|open| open.pending.take()) {
            Some((name, key)) => (Some(name), key),
            None => (None, place),
        }
    }

    fn close(&mut self, name: Option<String>, node: Node) {
        match (self.open.last_mut().map(|open| &mut open.inner), name) {
            (Some(Inner::List(nodes)), _) => nodes.push(node),
            (Some(Inner::Map(nodes)), Some(name)) => {
                nodes.entry(name).or_insert(node);
            }
            _ => {
                self.root.get_or_insert(node);
            }
        }
    }

    fn refuse_extras(&mut self, place: Place, anchor: usize, is_tagged: bool) {
        if anchor > 0 {
            let finding = Finding::new("an anchor is not allowed");
            self.refuse(place, finding.expected("the value itself; text that begins with `&` needs quotes"));
        }
        if is_tagged {
            let finding = Finding::new("a tag is not allowed");
            self.refuse(place, finding.expected("the value itself; text that begins with `!` needs quotes"));
        }
    }

    fn refuse_scan(&mut self, error: &ScanError, text: &str) {
        let place = place_of(error.marker());
        let info = error.info();
        let line = text.lines().nth(place.0.saturating_sub(1)).unwrap_or_default();
        let finding = if info.contains("anchor") {
            Finding::new("unquoted text begins with `*`, which YAML reads as an alias")
                .expected("quotes, as in cron: \"*/5 * * * *\"")
        } else if info.contains("cannot start any token") || info.contains("unexpected character") {
            Finding::new(format!("this is not YAML: {info}"))
                .expected("quotes around text that begins with a sign, as in cron: \"@daily\"")
        } else if line.trim_start_matches(' ').starts_with('\t') {
            Finding::new(format!("this is not YAML: {info}")).expected("spaces instead of tabs")
        } else {
            Finding::new(format!("this is not YAML: {info}"))
        };
        self.refuse(place, finding);
        self.stopped = true;
    }

    fn refuse(&mut self, place: Place, finding: Finding) {
        let mut path = String::new();
        for open in &self.open {
            if let Some(name) = &open.name {
                push_segment(&mut path, name);
            }
            if let Inner::List(nodes) = &open.inner {
                push_segment(&mut path, &nodes.len().to_string());
            }
        }
        if let Some((name, _)) = self.open.last().and_then(|open| open.pending.as_ref()) {
            push_segment(&mut path, name);
        }
        self.misfits.push((place, path, finding));
    }
}

fn place_of(marker: &Marker) -> Place {
    (marker.line().max(1), marker.col() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misfits(text: &str) -> Vec<String> {
        let misfits = Index::build(text).expect_err("the text is refused");
        misfits.into_iter().map(|(place, path, finding)| finding.stand_at("f", place, &path).to_string()).collect()
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        let index = Index::build("a: 1\nb:\n  - x\n  - { c: 2, d: }\n'e.f':\n  g: [1,\n   2]\n").expect("good");
        let check = |path: &[&str], key: Place, value: Place, text: &str| {
            assert_eq!(index.locate(path), Spot { key, value, path: text.to_owned() });
        };
        check(&[], (1, 1), (1, 1), "");
        check(&["a"], (1, 1), (1, 4), "a");
        check(&["b", "0"], (3, 5), (3, 5), "b[0]");
        check(&["b", "1", "c"], (4, 7), (4, 10), "b[1].c");
        check(&["b", "1", "d"], (4, 13), (4, 13), "b[1].d");
        check(&["e.f", "g", "1"], (7, 4), (7, 4), "\"e.f\".g[1]");
        check(&["b", "1", "nothing", "below"], (4, 5), (4, 5), "b[1].nothing.below");
    }

    #[test]
    fn a_byte_order_of_characters_not_bytes_counts_the_columns() {
        let index = Index::build("{ größe: 1, b: 2 }").expect("good");
        assert_eq!(index.locate(&["b"]).key, (1, 13));
    }

    #[test]
    fn what_the_file_has_no_need_of_is_refused_with_its_place() {
        let check = |text: &str, expected: &[&str]| assert_eq!(misfits(text), expected, "{text:?}");
        check("a: 1\nb: 2\na: 3\n", &["f:3:1: a: the key `a` stands here and at 1:1; expected every key once"]);
        check(
            "a: { b: 1, b: 2 }\na: 3",
            &[
                "f:1:12: a.b: the key `b` stands here and at 1:6; expected every key once",
                "f:2:1: a: the key `a` stands here and at 1:1; expected every key once",
            ],
        );
        check(
            "a: &x 1\nb: *x\n",
            &[
                "f:1:4: a: an anchor is not allowed; expected the value itself; text that begins with `&` needs quotes",
                "f:2:4: b: an alias is not allowed; expected the value itself; text that begins with `*` needs quotes",
            ],
        );
        check(
            "cron: */5 * * * *\n",
            &[
                "f:1:7: cron: unquoted text begins with `*`, which YAML reads as an alias; expected quotes, as in cron: \"*/5 * * * *\"",
            ],
        );
        check(
            "a: !vacuum { b: 1 }",
            &["f:1:4: a: a tag is not allowed; expected the value itself; text that begins with `!` needs quotes"],
        );
        check(
            "a:\n  <<: { b: 1 }\n",
            &["f:2:3: a.\"<<\": a merge key `<<` is not allowed; expected the keys themselves"],
        );
        check("a: 1\n---\nb: 1\n", &["f:2:1: a second document begins here; expected one document a file"]);
        check("? [a, b]\n: 1\n", &["f:1:3: a list or a map stands where a key belongs; expected `key: value`"]);
    }

    #[test]
    fn a_hundred_thousand_brackets_are_refused_at_once() {
        let started = std::time::Instant::now();
        assert_eq!(misfits(&"[".repeat(100_000)).len(), 1);
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_billion_laughs_are_not_expanded() {
        let mut text = String::from("a0: &a0 [lol]\n");
        for level in 1..10 {
            let aliases = format!("*a{},", level - 1).repeat(10);
            text.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
        }
        assert_eq!(misfits(&text).len(), MOST_FINDINGS);
    }
}
