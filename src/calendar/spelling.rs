//! What somebody may have meant to type.

/// The longest quotation of somebody's text in a message.
const LONGEST_QUOTE: usize = 60;

/// The word of `known` that `typed` is most likely a misspelling of, if any is near enough.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = typed.chars().count();
    if !(3..=LONGEST_QUOTE).contains(&length) {
        return None;
    }
    let typed = typed.to_lowercase();
    let allowed = if length < 5 { 1 } else { 2 };
    known
        .into_iter()
        .map(|word| (distance(&typed, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The text, cut to a length that does no harm in a message.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_QUOTE {
        return text.to_owned();
    }
    text.chars().take(LONGEST_QUOTE).chain("...".chars()).collect()
}

/// How many characters must be put in, left out or replaced to come from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_if_it_is_near() {
        let known = ["monday", "sunday", "saturday"];
        let check = |typed: &str, expected: Option<&str>| assert_eq!(nearest(typed, known), expected, "{typed:?}");
        check("sonday", Some("monday"));
        check("sudnay", Some("sunday"));
        check("Satuday", Some("saturday"));
        check("christmas", None);
        check("su", None);
    }

    #[test]
    fn distance_counts_single_changes() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
