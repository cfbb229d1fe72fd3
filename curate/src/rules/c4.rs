//! C4's rules (Raffel et al. 2020), as datatrove's `C4QualityFilter` applies them: lines without an end of a sentence, with few
//! or endless words, about JavaScript or cookies are removed; pages with a brace, with lorem ipsum or with few sentences
//! are dropped. `keep_braces` spares mathematics and code.

use super::{Outcome, Text};
use crate::python::{length, lines, split, strip};
use crate::words::sentences;
use serde::{Deserialize, Serialize};

/// Limits of the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C4 {
    /// Keep pages with a brace, which C4 drops with most LaTeX.
    pub keep_braces: bool,
    /// Keep lines that do not end as a sentence does.
    pub keep_lines_without_end: bool,
    /// Fewest sentences of a page, after lines were removed.
    pub min_sentences: Option<f64>,
    /// Fewest words of a line.
    pub min_words_per_line: usize,
    /// Most characters of a word.
    pub max_word_length: usize,
}

impl Default for C4 {
    fn default() -> Self {
        Self {
            keep_braces: false,
            keep_lines_without_end: false,
            min_sentences: Some(5.0),
            min_words_per_line: 3,
            max_word_length: 1000,
        }
    }
}

/// Phrases of notices about cookies and terms.
const POLICY: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

impl C4 {
    /// Applies the rules; the outcome has the text without the lines that were removed.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let lines = lines(text.as_str());
        let mut kept: Vec<String> = Vec::new();
        let mut count = 0;
        for (number, line) in lines.iter().enumerate() {
            let line = strip(line);
            let words: Vec<&str> = split(line).collect();
            if words.iter().any(|word| length(word) > self.max_word_length) {
                continue;
            }
            let line = without_citations(line);
            let ends = line.ends_with(['.', '?', '!', '"', '\'']) && !line.ends_with("...");
            if !ends && !self.keep_lines_without_end || words.len() < self.min_words_per_line {
                continue;
            }
            let lower = line.to_lowercase();
            // The value is the line that decided, from 1.
            if outcome.drop_if(lower.contains("lorem ipsum"), "lorem_ipsum", number as f64 + 1.0, None) {
                return outcome;
            }
            if lower.contains("javascript") {
                continue;
            }
            if outcome.drop_if(
                line.contains('{') && !self.keep_braces,
                "curly_bracket",
                number as f64 + 1.0,
                None,
            ) {
                return outcome;
            }
            if POLICY.iter().any(|phrase| lower.contains(phrase)) {
                continue;
            }
            if self.min_sentences.is_some() {
                count += sentences(&line);
            }
            kept.push(line);
        }
        outcome.measure("c4_lines_removed", (lines.len() - kept.len()) as f64);
        if !outcome.is_below("c4_sentences", count as f64, self.min_sentences, "too_few_sentences") {
            outcome.text = Some(strip(&kept.join("\n")).to_owned());
        }
        outcome
    }
}

/// A line without the marks of footnotes and of missing citations: `[12]`, `[]`, `[edit]`, `[citation needed]`.
fn without_citations(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('[') {
        let inside = &rest[at + 1..];
        // `\d` is any decimal digit.
        let digits = inside.find(|letter: char| !is_digit(letter)).unwrap_or(inside.len());
        let length = if inside[digits..].starts_with(']') {
            digits + 2
        } else if inside.starts_with("edit]") {
            6
        } else if inside.starts_with("citation needed]") {
            17
        } else {
            kept.push_str(&rest[..=at]);
            rest = inside;
            continue;
        };
        kept.push_str(&rest[..at]);
        rest = &rest[at + length..];
    }
    kept.push_str(rest);
    kept
}

fn is_digit(letter: char) -> bool {
    use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
    letter.is_ascii_digit()
        || (!letter.is_ascii() && letter.general_category() == GeneralCategory::DecimalNumber)
}
