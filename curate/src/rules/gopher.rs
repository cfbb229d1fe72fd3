//! Gopher's quality rules (Rae et al. 2021, appendix A1.1), as datatrove's `GopherQualityFilter` applies them: words, their
//! length, symbols, bullets, ellipses, letters, stop words.

use super::{Outcome, Text, share};
use crate::python::{is_letter, is_space, length, lines};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Limits of the rules; a limit that is null is not applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GopherQuality {
    /// Fewest and most words with something other than punctuation.
    pub min_words: Option<f64>,
    /// See `min_words`.
    pub max_words: Option<f64>,
    /// Mean characters of those words.
    pub min_word_length: Option<f64>,
    /// See `min_word_length`.
    pub max_word_length: Option<f64>,
    /// Hash signs, and ellipses, per word.
    pub max_symbols_per_word: Option<f64>,
    /// Share of lines that begin with a bullet.
    pub max_bullet_lines: Option<f64>,
    /// Share of lines that end with an ellipsis.
    pub max_ellipsis_lines: Option<f64>,
    /// Share of words with a letter.
    pub min_words_with_letters: Option<f64>,
    /// Different stop words (the, be, to, of, and, that, have, with).
    pub min_stop_words: Option<f64>,
}

impl Default for GopherQuality {
    fn default() -> Self {
        Self {
            min_words: Some(50.0),
            max_words: Some(100_000.0),
            min_word_length: Some(3.0),
            max_word_length: Some(10.0),
            max_symbols_per_word: Some(0.1),
            max_bullet_lines: Some(0.9),
            max_ellipsis_lines: Some(0.3),
            min_words_with_letters: Some(0.8),
            min_stop_words: Some(2.0),
        }
    }
}

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// Punctuation of datatrove's `utils/text.py`, beside the ends of sentences of all scripts and control characters.
const PUNCTUATION: &str = "!/\u{2014}\u{201d}:\u{ff05}\u{ff11}\u{3008}&(\u{3001}\u{2501}\\\u{3010}#%\u{300c}\u{300d}\u{ff0c}\u{3011}\u{ff1b}+^]~\u{201c}\u{300a}\u{201e}';\u{2019}{|\u{2236}\u{b4}[=-`*\u{ff0e}\u{ff08}\u{2013}\u{ff1f}\u{ff01}\u{ff1a}$\u{ff5e}\u{ab}\u{3009},><\u{300b})?\u{ff09}\u{3002}\u{2026}@_.\"}\u{25ba}\u{bb}";

static TERMINAL: LazyLock<Vec<char>> = LazyLock::new(|| {
    let mut ends: Vec<char> =
        include_str!("../../data/terminal.txt").chars().filter(|end| !end.is_whitespace()).collect();
    ends.sort_unstable();
    ends
});

/// Whether a character ends sentences, in any script.
pub(super) fn is_terminal(letter: char) -> bool {
    if letter.is_ascii() {
        matches!(letter, '.' | '!' | '?')
    } else {
        TERMINAL.binary_search(&letter).is_ok()
    }
}

fn is_symbol(letter: char) -> bool {
    if letter.is_ascii_digit() || letter.is_alphabetic() {
        return false;
    }
    let is_control = letter.is_control() && !matches!(letter, '\t' | '\n');
    is_control || PUNCTUATION.contains(letter) || is_terminal(letter)
}

impl GopherQuality {
    /// Applies the rules.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        self.check(text, &mut outcome);
        outcome
    }

    /// Stops at the first rule that drops the text.
    fn check(&self, text: &Text<'_>, outcome: &mut Outcome) -> bool {
        let words = text.words();
        let (mut count, mut letters) = (0, 0);
        for word in words.iter().filter(|word| !word.chars().all(is_symbol)) {
            count += 1;
            letters += length(word);
        }
        let all = words.len();
        let mean = share(letters, count);
        let text = text.as_str();
        if outcome.is_below("words", count as f64, self.min_words, "gopher_short_doc")
            || outcome.is_above("words", count as f64, self.max_words, "gopher_long_doc")
            || outcome.is_below("word_length", mean, self.min_word_length, "gopher_below_avg_threshold")
            || outcome.is_above("word_length", mean, self.max_word_length, "gopher_above_avg_threshold")
        {
            return true;
        }
        let hashes = share(text.matches('#').count(), all);
        let ellipses = share(text.matches("...").count() + text.matches('\u{2026}').count(), all);
        if outcome.is_above("hashes_per_word", hashes, self.max_symbols_per_word, "gopher_too_many_hashes")
            || outcome.is_above(
                "ellipses_per_word",
                ellipses,
                self.max_symbols_per_word,
                "gopher_too_many_ellipsis",
            )
        {
            return true;
        }
        let lines = lines(text);
        let bullets = lines
            .iter()
            .filter(|line| line.trim_start_matches(is_space).starts_with(['\u{2022}', '-']))
            .count();
        let cut = |line: &&&str| {
            let line = line.trim_end_matches(is_space);
            line.ends_with("...") || line.ends_with('\u{2026}')
        };
        let cut = lines.iter().filter(cut).count();
        let with_letters = words.iter().filter(|word| word.chars().any(is_letter)).count();
        let stop_words = STOP_WORDS.iter().filter(|stop| words.contains(stop)).count();
        outcome.is_above(
            "bullet_lines",
            share(bullets, lines.len()),
            self.max_bullet_lines,
            "gopher_too_many_bullets",
        ) || outcome.is_above(
            "ellipsis_lines",
            share(cut, lines.len()),
            self.max_ellipsis_lines,
            "gopher_too_many_end_ellipsis",
        ) || outcome.is_below(
            "words_with_letters",
            share(with_letters, all),
            self.min_words_with_letters,
            "gopher_below_alpha_threshold",
        ) || outcome.is_below(
            "stop_words",
            stop_words as f64,
            self.min_stop_words,
            "gopher_enough_stop_words",
        )
    }
}
