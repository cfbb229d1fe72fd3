//! FineWeb's own rules (Penedo et al. 2024, section 3.6), as datatrove's `FineWebQualityFilter` applies them: lines that end
//! with punctuation, short lines, characters in duplicate lines, line ends per word.

use super::gopher::is_terminal;
use super::repetition::duplicates;
use super::{Outcome, Text, share};
use crate::python::{length, strip};
use serde::{Deserialize, Serialize};

/// Limits of the rules; a limit that is null is not applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineWeb {
    /// Share of lines that end with punctuation.
    pub min_lines_with_end: Option<f64>,
    /// Keep pages of which no line ends with punctuation.
    pub keep_without_ends: bool,
    /// Share of short lines.
    pub max_short_lines: Option<f64>,
    /// Characters of a short line at most.
    pub short_line: usize,
    /// Share of characters in lines that occurred before.
    pub max_duplicate_characters: Option<f64>,
    /// Line ends per word.
    pub max_line_ends_per_word: Option<f64>,
}

impl Default for FineWeb {
    fn default() -> Self {
        Self {
            min_lines_with_end: Some(0.12),
            keep_without_ends: false,
            max_short_lines: Some(0.67),
            short_line: 30,
            max_duplicate_characters: Some(0.01),
            max_line_ends_per_word: Some(0.3),
        }
    }
}

impl FineWeb {
    /// Applies the rules.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let lines: Vec<&str> = text.as_str().split('\n').filter(|line| !strip(line).is_empty()).collect();
        if outcome.drop_if(lines.is_empty(), "empty", 0.0, Some(1.0)) {
            return outcome;
        }
        let ends = share(lines.iter().filter(|line| line.ends_with(is_terminal)).count(), lines.len());
        let least = self.min_lines_with_end.filter(|_| ends > 0.0 || !self.keep_without_ends);
        let short = lines.iter().filter(|line| length(line) <= self.short_line).count();
        let feeds = text.as_str().bytes().filter(|byte| *byte == b'\n').count();
        let (_, repeated) = duplicates(&lines);
        let letters = length(text.as_str()) - feeds;
        let is_dropped = outcome.is_below("lines_with_end", ends, least, "line_punct_ratio")
            || outcome.is_above(
                "short_lines",
                share(short, lines.len()),
                self.max_short_lines,
                "short_line_ratio",
            )
            || outcome.is_above(
                "duplicate_characters",
                share(repeated, letters),
                self.max_duplicate_characters,
                "char_dup_ratio",
            );
        if !is_dropped {
            let per_word = share(feeds, text.words().len());
            outcome.is_above("line_ends_per_word", per_word, self.max_line_ends_per_word, "list_ratio");
        }
        outcome
    }
}
