//! Whether a word's number of syllables is odd, by syllapy: a rule on vowels, and a list of the words it gets wrong.

use crate::python;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The words of syllapy's list to which the rule gives the other parity; see `data/README.md`.
static EXCEPTIONS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("../../data/syllable_parity.txt").lines().collect());

/// Whether a word in lower case and without ASCII punctuation has an odd number of syllables. One with a digit has none.
pub(super) fn is_odd(word: &str) -> bool {
    let has_digit = word.chars().any(|letter| python::digit_value(letter).is_some());
    !has_digit && (count(word) % 2 == 1) != EXCEPTIONS.contains(word)
}

/// The runs of vowels, without a silent `e` at the end, at least one.
fn count(word: &str) -> usize {
    let letters: Vec<char> = word.chars().collect();
    let is_vowel = |at: usize| "aeiouy".contains(letters[at]);
    let starts_run = |at: &usize| is_vowel(*at) && (*at == 0 || !is_vowel(*at - 1));
    let runs = (0..letters.len()).filter(starts_run).count();
    let voiced_end = word.ends_with("le") && letters.len() > 2 && !is_vowel(letters.len() - 3);
    (runs + usize::from(voiced_end)).saturating_sub(usize::from(word.ends_with('e'))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of syllapy 0.8.0.
    #[test]
    fn parities_are_those_of_syllapy() {
        for odd in ["the", "cat", "banana", "rhythms", "queue", "beautiful", "area", "日本", "e"] {
            assert!(is_odd(odd), "{odd}");
        }
        for even in ["table", "open", "bottle", "absolutely", "2nd", "٣", "selfcare"] {
            assert!(!is_odd(even), "{even}");
        }
    }
}
