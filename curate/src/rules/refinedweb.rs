//! RefinedWeb's line rules (Penedo et al. 2023, section 3.3 and appendix G.2), which DCLM applies: lines that are mostly
//! capitals, numbers, counters of likes and shares, or a single word are removed, and a page that loses more than a twentieth
//! of its words is dropped.

use super::{Outcome, Text, share};
use crate::python::{split, strip};
use serde::{Deserialize, Serialize};

/// Limits of the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefinedWebLines {
    /// Share of a line's characters that are capitals, at most.
    pub max_capitals: f64,
    /// Share of the page's words that are removed, at most; null: no page is dropped.
    pub max_removed_words: Option<f64>,
}

impl Default for RefinedWebLines {
    fn default() -> Self {
        Self { max_capitals: 0.5, max_removed_words: Some(0.05) }
    }
}

/// What counters count.
const COUNTED: [&str; 14] = [
    "like", "likes", "share", "shares", "comment", "comments", "retweet", "retweets", "repost", "reposts",
    "quote", "quotes", "view", "views",
];

impl RefinedWebLines {
    /// Applies the rules; the outcome has the text without the lines that were removed.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut all, mut removed) = (0, 0);
        let mut kept = Vec::new();
        for line in text.as_str().split('\n') {
            let words = split(line).count();
            all += words;
            // An empty line separates paragraphs.
            if words > 0 && self.is_removed(strip(line), words) {
                removed += words;
            } else {
                kept.push(line);
            }
        }
        let is_dropped = outcome.is_above(
            "removed_words",
            share(removed, all),
            self.max_removed_words,
            "too_many_words_removed",
        );
        if !is_dropped && removed > 0 {
            outcome.text = Some(kept.join("\n"));
        }
        outcome
    }

    fn is_removed(&self, line: &str, words: usize) -> bool {
        let letters = line.chars().count();
        let capitals = line.chars().filter(|letter| letter.is_uppercase()).count();
        let is_number = line.chars().all(|letter| letter.is_numeric());
        let mut parts = line.split_whitespace();
        let is_counter = words == 2
            && parts.next().is_some_and(|number| {
                number
                    .trim_end_matches(['k', 'K', 'M'])
                    .chars()
                    .all(|digit| digit.is_ascii_digit() || matches!(digit, '.' | ','))
            })
            && parts.next().is_some_and(|counted| COUNTED.contains(&counted.to_ascii_lowercase().as_str()));
        share(capitals, letters) > self.max_capitals || is_number || is_counter || words == 1
    }
}
