//! What is wrong with a configuration file, and where.
//!
//! A problem is written for the person who has to mend the line: what was found, what was expected, and the name
//! they probably meant. Values are quoted sparingly, and whatever looks like a URL loses its login first: a problem is
//! printed to terminals and journals.

use std::fmt;

/// The longest quotation of something found in a file, in characters.
const LONGEST_QUOTE: usize = 60;

/// The most problems that are printed; a file with more than this is the wrong file.
const MOST_PRINTED: usize = 100;

/// One thing that is wrong, or unwise, in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named on the command line.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The YAML path, such as `jobs.vacuum-analyze.with.always`; empty for the file as a whole.
    pub path: String,
    /// What was found.
    pub message: String,
    /// What would have been right, where that can be said.
    pub expected: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file, sorted by place; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().take(MOST_PRINTED).enumerate() {
            let line_break = if nth == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        match self.0.len().checked_sub(MOST_PRINTED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// What a finding says, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    message: String,
    expected: Option<String>,
    suggestion: Option<String>,
}

impl Finding {
    /// Says what was found.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self { message: mask_logins(message.as_ref()), expected: None, suggestion: None }
    }

    /// Adds what would have been right.
    #[must_use]
    pub fn expected(self, expected: impl AsRef<str>) -> Self {
        Self { expected: Some(mask_logins(expected.as_ref())), ..self }
    }

    /// Adds the known name that is nearest to the one found, if one is near.
    #[must_use]
    pub fn nearest<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let suggestion = nearest(found, known).map(|name| format!("`{name}`"));
        Self { suggestion, ..self }
    }

    /// Whether it quotes what was found.
    pub(crate) fn quotes_something(&self) -> bool {
        self.message.contains('`')
    }

    /// Puts the finding in its place.
    pub(crate) fn stand_at(self, file: &str, (line, column): (usize, usize), path: &str) -> Problem {
        let Self { message, expected, suggestion } = self;
        Problem { file: file.to_owned(), line, column, path: mask_logins(path), message, expected, suggestion }
    }
}

/// The known name that a misspelt one probably stands for.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = found.chars().count();
    if length > LONGEST_QUOTE {
        return None;
    }
    let found = found.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            let longer = length.max(name.chars().count());
            *distance <= (longer / 3).max(1) && 2 * distance <= longer
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A text from the file in backquotes, cut if it is long.
pub fn quote(text: &str) -> String {
    format!("`{}`", clip(text))
}

/// What was expected where only certain names are right: "one of `a`, `b`, `c`"; a long list is cut.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let names: Vec<_> = names.into_iter().take(MOST + 1).map(quote).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        names if names.len() > MOST => format!("one of {}, ...", names[..MOST].join(", ")),
        names => format!("one of {}", names.join(", ")),
    }
}

/// A text cut to what fits into one line of a terminal, control characters escaped.
pub fn clip(text: &str) -> String {
    let mut clipped: String =
        text.chars().take(LONGEST_QUOTE).flat_map(|c| if c.is_control() { escape(c) } else { vec![c] }).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        clipped.push_str("...");
    }
    clipped
}

fn escape(c: char) -> Vec<char> {
    c.escape_debug().collect()
}

/// Cuts logins with passwords, and options, out of the URLs in a text.
fn mask_logins(text: &str) -> String {
    let Some((before, after)) = text.split_once("://") else { return text.to_owned() };
    let end = after.find(char::is_whitespace).unwrap_or(after.len());
    let (url, rest) = after.split_at(end);
    let url = match url.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => format!("***@{host}"),
        _ => url.to_owned(),
    };
    let url = url.split_once('?').map_or(url.clone(), |(url, _)| format!("{url}?***"));
    format!("{before}://{url}{}", mask_logins(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_place_path_and_advice() {
        let finding = Finding::new("unknown key `vacum`").expected("one of `vacuum`, `sql`");
        let problem = finding.nearest("vacum", ["sql", "vacuum"]).stand_at("schedules.yaml", (12, 5), "jobs.x");
        assert_eq!(
            problem.to_string(),
            "schedules.yaml:12:5: jobs.x: unknown key `vacum`; expected one of `vacuum`, `sql`; did you mean `vacuum`?"
        );
    }

    #[test]
    fn the_nearest_name_is_suggested_only_if_it_is_near() {
        let check = |found: &str, expected: Option<&str>| {
            assert_eq!(nearest(found, ["vacuum", "sequence", "sql", "targets"]), expected, "{found}");
        };
        check("vacum", Some("vacuum"));
        check("VACUUM", Some("vacuum"));
        check("vaucum", Some("vacuum"));
        check("target", Some("targets"));
        check("slq", Some("sql"));
        check("backup", None);
        check("s", None);
        check("", None);
        check(&"x".repeat(1_000_000), None);
    }

    #[test]
    fn the_login_of_a_url_is_never_quoted() {
        let check = |text: &str, expected: &str| assert_eq!(Finding::new(text).message, expected);
        check("a postgres://u:pw@h/db b", "a postgres://***@h/db b");
        check("postgres://u:p@w@h postgres://x:y@z", "postgres://***@h postgres://***@z");
        check("see https://example.org/x", "see https://example.org/x");
        check("postgres://user@host/db", "postgres://user@host/db");
        check("postgres://h/db?password=pw and", "postgres://h/db?*** and");
    }

    #[test]
    fn a_long_quotation_is_cut_and_a_control_character_escaped() {
        assert_eq!(quote(&"x".repeat(1000)).len(), 65);
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
    }

    #[test]
    fn only_the_first_hundred_problems_are_printed() {
        let problem = Finding::new("odd").stand_at("f", (1, 1), "");
        assert!(Problems(vec![problem.clone(); 101]).to_string().ends_with("\nand 1 more"));
        assert!(Problems(vec![problem; 100]).to_string().ends_with("odd"));
    }
}
