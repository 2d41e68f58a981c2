//! From the bytes of a file to its parts, gathering every problem on the way.
//!
//! The order matters: size, UTF-8, then the [`Index`], which is cheap and refuses what is dangerous, then YAML values,
//! then each part alone. A part is read until it is right: the key that is wrong goes on record and is taken out, and
//! the rest is read again. So a file with four mistakes tells all four at once.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::index::{Index, Misfit, Place};
use super::problem::{Finding, Problem, Problems, quote};
use super::words::{finding_of, quoted_after, unknown, wanted};

/// The largest file that is looked at; ten thousand jobs fit.
pub const LARGEST_FILE: usize = 1 << 20;

/// The most problems that one part is searched for.
const MOST_PER_PART: usize = 20;

/// The most problems that are kept of a file.
const MOST_PER_FILE: usize = 1000;

/// Under these keys a value may be a secret, so none is quoted.
const SECRET_SECTIONS: &[&str] = &["targets", "control"];

/// A YAML path: keys, and numbers from 0 for what stands in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct At(Vec<String>);

impl At {
    /// The whole file.
    pub fn top() -> Self {
        Self::default()
    }

    /// One level further down.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut path = self.0.clone();
        path.push(key.into());
        Self(path)
    }

    /// One entry of the list here.
    #[must_use]
    pub fn nth(&self, nth: usize) -> Self {
        self.key(nth.to_string())
    }

    /// Several levels further down.
    #[must_use]
    pub fn below(&self, path: &[String]) -> Self {
        Self([self.0.as_slice(), path].concat())
    }

    fn may_be_secret(&self) -> bool {
        self.0.first().is_some_and(|section| SECRET_SECTIONS.contains(&section.as_str()))
    }
}

/// A map of keys, some of which it cannot do without.
///
/// Their types are optional all the same, so that what is missing hides nothing else that is wrong with the map.
pub trait Keys: DeserializeOwned {
    /// The keys that it cannot do without.
    const NEEDED: &'static [&'static str];
}

/// Reads a file's bytes as YAML: the one place that knows a YAML library.
///
/// # Errors
/// Gives everything that is wrong with the bytes as text and as YAML.
pub fn read_yaml(file: &str, bytes: &[u8]) -> Result<(Value, Index), Problems> {
    let refuse = |misfits: Vec<Misfit>| {
        let mut problems: Vec<_> =
            misfits.into_iter().map(|(place, path, finding)| finding.stand_at(file, place, &path)).collect();
        problems.sort();
        Problems(problems)
    };
    let whole = |place: Place, finding: Finding| refuse(vec![(place, String::new(), finding)]);
    if bytes.len() > LARGEST_FILE {
        let finding = Finding::new(format!("the file is larger than {LARGEST_FILE} bytes"));
        return Err(whole((1, 1), finding.expected("a schedules file")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = place_of_byte(&bytes[..error.valid_up_to()]);
        whole(place, Finding::new("the file is not text in UTF-8").expected("a file saved as UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let index = Index::build(text).map_err(refuse)?;
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| {
        let place = error.location().map_or((1, 1), |location| (location.line().max(1), location.column().max(1)));
        let message = error.to_string();
        let message = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
        whole(place, Finding::new(format!("this is not YAML: {message}")))
    })?;
    Ok((json_of(value), index))
}

fn place_of_byte(before: &[u8]) -> Place {
    let text = String::from_utf8_lossy(before);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

/// The same value as JSON knows it; keys become text, and so do numbers that JSON lacks.
fn json_of(value: serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => Value::Bool(flag),
        serde_yaml::Value::Number(number) => {
            serde_json::to_value(&number).ok().filter(Value::is_number).unwrap_or(Value::String(number.to_string()))
        }
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(values) => Value::Array(values.into_iter().map(json_of).collect()),
        serde_yaml::Value::Mapping(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key_of(key), json_of(value))).collect())
        }
        serde_yaml::Value::Tagged(tagged) => json_of(tagged.value),
    }
}

fn key_of(key: serde_yaml::Value) -> String {
    match json_of(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Reads parts, and keeps the problems and warnings that come up, each with its place.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a str,
    index: Index,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Why a part could not be read: where inside it, and the deserializer's words.
pub type PartError = (Vec<String>, String);

impl<'a> Reader<'a> {
    /// A reader of a file whose places are known.
    pub fn new(file: &'a str, index: Index) -> Self {
        Self { file, index, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Records a problem with the value at a path.
    pub fn refuse(&mut self, at: &At, finding: Finding) {
        let spot = self.index.locate(&at.0);
        self.record(finding.stand_at(self.file, spot.value, &spot.path));
    }

    /// Records a problem with the key at a path.
    pub fn refuse_key(&mut self, at: &At, finding: Finding) {
        let spot = self.index.locate(&at.0);
        self.record(finding.stand_at(self.file, spot.key, &spot.path));
    }

    /// Records an unknown key; where its name is not quoted, its path ends above it.
    fn refuse_unknown_key(&mut self, at: &At, finding: Finding) {
        let spot = self.index.locate(&at.0);
        let shown =
            if finding.quotes_something() { spot.path } else { self.index.locate(&at.0[..at.0.len() - 1]).path };
        self.record(finding.stand_at(self.file, spot.key, &shown));
    }

    fn record(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PER_FILE {
            self.problems.push(problem);
        }
    }

    /// Whether a problem with the value at a path is on record.
    pub fn has_refused(&self, at: &At) -> bool {
        let spot = self.index.locate(&at.0);
        self.problems.iter().any(|problem| (problem.line, problem.column) == spot.value && problem.path == spot.path)
    }

    /// Records something that is allowed but unwise.
    pub fn warn(&mut self, at: &At, finding: Finding) {
        let spot = self.index.locate(&at.0);
        self.warnings.push(finding.stand_at(self.file, spot.value, &spot.path));
    }

    /// Records something about a key that is allowed but unwise.
    pub fn warn_key(&mut self, at: &At, finding: Finding) {
        let spot = self.index.locate(&at.0);
        self.warnings.push(finding.stand_at(self.file, spot.key, &spot.path));
    }

    /// Where a key stands, as `line:column`.
    pub fn place_of(&self, at: &At) -> String {
        let (line, column) = self.index.locate(&at.0).key;
        format!("{line}:{column}")
    }

    /// Reads a part of the file that is a map of keys, and tells of those that it lacks.
    ///
    /// A derived struct would take a list for its keys in their order.
    pub fn read_map<T: Keys>(&mut self, value: &Value, at: &At) -> Option<T> {
        if value.is_array() {
            let message = T::deserialize(&Value::Null).err().map(|error| error.to_string()).unwrap_or_default();
            let expected = message.rsplit_once(", expected ").map_or("a map of keys", |(_, expected)| wanted(expected));
            self.refuse(at, Finding::new("found a list").expected(expected));
            return None;
        }
        self.tell_missing::<T>(value, at);
        self.read(value, at)
    }

    /// Tells of the keys that a map cannot do without and does not have, or has without a value.
    pub fn tell_missing<T: Keys>(&mut self, value: &Value, at: &At) {
        let Some(map) = value.as_object() else { return };
        for key in T::NEEDED.iter().filter(|key| map.get(**key).is_none_or(Value::is_null)) {
            self.refuse_key(at, Finding::new(format!("the key {} is missing", quote(key))));
        }
    }

    /// Reads a part of the file.
    pub fn read<T: DeserializeOwned>(&mut self, value: &Value, at: &At) -> Option<T> {
        self.read_by(value, at, |value| {
            serde_path_to_error::deserialize(value).map_err(|error| {
                let path = error.path().iter().filter_map(segment_text).collect();
                (path, error.into_inner().to_string())
            })
        })
    }

    /// Reads a part with a function of its own.
    ///
    /// What is wrong goes on record and is taken out, then the rest is read again; so the part comes back even if it
    /// had problems, unless something that it cannot do without was missing or wrong.
    pub fn read_by<T>(&mut self, value: &Value, at: &At, read: impl Fn(&Value) -> Result<T, PartError>) -> Option<T> {
        let mut value = value.clone();
        let mut removed: Vec<Vec<String>> = Vec::new();
        for _ in 0..MOST_PER_PART {
            let (mut path, message) = match read(&value) {
                Ok(part) => return Some(part),
                Err(error) => error,
            };
            if let Some(key) = quoted_after(&message, "unknown field `") {
                if path.last() != Some(&key) || lookup(&value, &path).is_some_and(|found| found.get(&key).is_some()) {
                    path.push(key);
                }
                let place = at.below(&path);
                self.refuse_unknown_key(&place, unknown(&message, "key", place.may_be_secret()));
            } else if let Some(key) = quoted_after(&message, "missing field `") {
                path.push(key.clone());
                let is_told = removed.contains(&path);
                path.pop();
                if !is_told {
                    let finding = Finding::new(format!("the key {} is missing", quote(&key)));
                    self.refuse_key(&at.below(&path), finding);
                }
                if path.is_empty() {
                    return None;
                }
            } else if removed.iter().any(|path| mentions(&message, path)) {
                // It misses what was taken out as wrong; that has been told.
                return None;
            } else {
                let place = at.below(&path);
                let finding = finding_of(&message, place.may_be_secret());
                self.refuse(&place, finding);
            }
            let path = remove(&mut value, &path)?;
            removed.push(path);
        }
        self.refuse(at, Finding::new(format!("more is wrong here than these {MOST_PER_PART} problems")));
        None
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Gives all problems, sorted by place, if there are any; else the warnings.
    pub fn finish(mut self) -> Result<Vec<Problem>, Problems> {
        self.problems.sort();
        self.problems.dedup();
        self.warnings.sort();
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(Problems(self.problems)) }
    }
}

fn segment_text(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn mentions(message: &str, path: &[String]) -> bool {
    path.last().is_some_and(|key| message.contains(&format!("`{key}`")) && !message.starts_with("invalid "))
}

fn lookup<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match value {
        Value::Object(map) => map.get(segment),
        Value::Array(values) => segment.parse::<usize>().ok().and_then(|nth| values.get(nth)),
        _ => None,
    })
}

/// Takes out what stands at a path, or the list around it, so that numbers of other entries stay as they are.
fn remove(value: &mut Value, path: &[String]) -> Option<Vec<String>> {
    let mut maps: Option<&mut Map<String, Value>> = value.as_object_mut();
    for (depth, segment) in path.iter().enumerate() {
        let map = maps?;
        let is_last = depth + 1 == path.len();
        if is_last || !map.get(segment).is_some_and(Value::is_object) {
            map.shift_remove(segment)?;
            return Some(path[..=depth].to_vec());
        }
        maps = map.get_mut(segment).and_then(Value::as_object_mut);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(bytes: &[u8]) -> Vec<String> {
        let problems = read_yaml("f", bytes).expect_err("the bytes are refused").0;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bytes_that_are_no_small_text_are_refused() {
        assert_eq!(
            problems(b"a: 1\nb: \xe4\n"),
            ["f:2:4: the file is not text in UTF-8; expected a file saved as UTF-8"]
        );
        let started = std::time::Instant::now();
        let nonsense = "x: [{".repeat(1_000_000);
        assert_eq!(
            problems(nonsense.as_bytes()),
            ["f:1:1: the file is larger than 1048576 bytes; expected a schedules file"]
        );
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_fine() {
        let (value, index) = read_yaml("f", b"\xef\xbb\xbfa: 1\r\nb: x\r\n").expect("good");
        assert_eq!(value, serde_json::json!({ "a": 1, "b": "x" }));
        assert_eq!(index.locate(&["b"]).value, (2, 4));
    }

    #[test]
    fn a_part_tells_all_its_problems_and_comes_back_without_them() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Part {
            #[serde(default)]
            left: Vec<u8>,
            #[serde(default)]
            right: String,
            inner: Option<Box<Part>>,
        }
        let text = "left: [1, x]\nrigth: 1\nright: true\ninner:\n  inner: { left: 300, inner: 1 }\n  inner2: 7\n";
        let (value, index) = read_yaml("f", text.as_bytes()).expect("good");
        let mut reader = Reader::new("f", index);
        let part: Part = reader.read(&value, &At::top()).expect("what is left is right");
        assert!(part.left.is_empty() && part.right.is_empty());
        assert!(part.inner.and_then(|inner| inner.inner).is_some());
        let problems = reader.finish().expect_err("there were problems").0;
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "f:1:11: left[1]: found the text `x`; expected a whole number",
                "f:2:1: rigth: unknown key `rigth`; expected one of `left`, `right`, `inner`; did you mean `right`?",
                "f:3:8: right: found the boolean `true`; expected text",
                "f:5:18: inner.inner.left: found the number `300`; expected a list",
                "f:5:30: inner.inner.inner: found the number `1`; expected a map of keys",
                "f:6:3: inner.inner2: unknown key `inner2`; expected one of `left`, `right`, `inner`; did you mean `inner`?",
            ]
        );
    }
}
