//! The deserializer's words, put into those of someone who writes YAML.

use super::problem::{Finding, clip, nearest, one_of, quote};

/// The name that a message quotes after its beginning.
pub(super) fn quoted_after(message: &str, start: &str) -> Option<String> {
    let rest = message.strip_prefix(start)?;
    let end = rest.rfind("`, expected ").or_else(|| rest.rfind("`, there are no ")).or_else(|| rest.rfind('`'))?;
    Some(rest[..end].to_owned())
}

/// A finding for a deserializer's "unknown field" or "unknown variant".
///
/// Where secrets are, what was found is quoted only if it is a misspelt name: someone who forgets a colon writes
/// `password hunter2`, which is a key then.
pub(super) fn unknown(message: &str, what: &str, may_be_secret: bool) -> Finding {
    let found = message.split_once('`').and_then(|(_, rest)| quoted_after(rest, "")).unwrap_or_default();
    let known: Vec<&str> = match message.rsplit_once("`, expected ") {
        Some((_, known)) => known.split('`').skip(1).step_by(2).collect(),
        None => Vec::new(),
    };
    let finding = if may_be_secret && nearest(&found, known.iter().copied()).is_none() {
        Finding::new(format!("unknown {what}"))
    } else {
        Finding::new(format!("unknown {what} {}", quote(&found)))
    };
    let finding = match known.as_slice() {
        [] => finding.expected(format!("no {what} here")),
        known => finding.expected(one_of(known.iter().copied())),
    };
    finding.nearest(&found, known)
}

/// A finding for any other words of a deserializer.
pub(super) fn finding_of(message: &str, may_be_secret: bool) -> Finding {
    if message.starts_with("unknown variant `") {
        return unknown(message, "value", may_be_secret);
    }
    let typed = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = typed.and_then(|typed| typed.rsplit_once(", expected ")) else {
        return Finding::new(message);
    };
    Finding::new(format!("found {}", describe(found, may_be_secret))).expected(wanted(expected))
}

/// The deserializer's word for what it wanted, in the words of the file.
pub(super) fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "string or map" => "one word",
        "a map" => "a map of keys",
        "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        other if other.starts_with("a nonzero u") => "a whole number from 1 on",
        other if other.starts_with("struct ") => "a map of keys",
        other => other,
    }
}

/// The deserializer's word for a value, in the words of the file.
fn describe(found: &str, may_be_secret: bool) -> String {
    let (word, value) = match found.split_once(' ') {
        Some((word, value)) => (word, Some(value)),
        None => (found, None),
    };
    let kind = match word {
        "null" | "unit" => return "nothing".to_owned(),
        "map" => return "a map of keys".to_owned(),
        "sequence" => return "a list".to_owned(),
        "string" => "the text",
        "boolean" => "the boolean",
        "integer" | "floating" => "the number",
        _ => return clip(found),
    };
    match value.filter(|_| !may_be_secret) {
        Some(value) => format!("{kind} {}", quote(value.trim_start_matches("point ").trim_matches(['`', '"']))),
        None => kind.replacen("the", "a", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_deserializer_become_those_of_the_file() {
        let check = |message: &str, may_be_secret: bool, expected: &str| {
            let problem = finding_of(message, may_be_secret).stand_at("f", (1, 1), "").to_string();
            assert_eq!(problem.trim_start_matches("f:1:1: "), expected);
        };
        check("invalid type: null, expected a string", false, "found nothing; expected text");
        check("invalid type: string \"x\", expected a boolean", false, "found the text `x`; expected true or false");
        check("invalid type: string \"x\", expected a boolean", true, "found a text; expected true or false");
        check(
            "invalid type: string \"a, expected b\", expected u32",
            false,
            "found the text `a, expected b`; expected a whole number",
        );
        check("invalid type: integer `7`, expected a sequence", true, "found a number; expected a list");
        check(
            "invalid type: floating point `7.5`, expected a map",
            false,
            "found the number `7.5`; expected a map of keys",
        );
        check("unknown variant `x`, expected `y`", false, "unknown value `x`; expected `y`");
        check(
            "unknown variant `yy`, expected `yz` or `zy`",
            false,
            "unknown value `yy`; expected one of `yz`, `zy`; did you mean `yz`?",
        );
        check("unknown variant `hunter2`, expected `y`", true, "unknown value; expected `y`");
        check("whatever else", true, "whatever else");
    }
}
