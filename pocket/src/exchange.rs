//! Texts with words exchanged for others of their sorts: rewritings and summaries that are wrong.

use crate::draw::Draw;
use crate::names::name;
use crate::split::Split;
use crate::text::words;
use crate::vocabulary::{COLORS, DAYS, EVENTS, JOBS, PLACES, Sort, THINGS, sort_of};
use std::collections::HashSet;

/// A text with up to `count` of the words in `candidates` exchanged for others of their sorts that `source` does not
/// contain.
pub(crate) fn exchange_words(
    text: &str,
    source: &str,
    candidates: &[&str],
    count: usize,
    draw: &mut Draw,
) -> String {
    let words = draw.several(candidates, count.min(candidates.len()));
    words
        .into_iter()
        .fold(text.to_owned(), |changed, word| replace_word(&changed, word, &other_word(word, source, draw)))
}

/// A word of the same sort that a text does not contain.
fn other_word(word: &str, text: &str, draw: &mut Draw) -> String {
    let text_words: HashSet<&str> = words(text).collect();
    loop {
        let other = match sort_of(word) {
            Some(Sort::Name) => name(draw, Split::Train),
            Some(Sort::Place) => draw.pick(&PLACES).to_owned(),
            Some(Sort::Thing) => draw.pick(&THINGS).to_owned(),
            Some(Sort::Color) => draw.pick(&COLORS).to_owned(),
            Some(Sort::Day) => draw.pick(&DAYS).to_owned(),
            Some(Sort::Job) => draw.pick(&JOBS).to_owned(),
            Some(Sort::Event) => draw.pick(&EVENTS).to_owned(),
            _ => draw.between(1, 12).to_string(),
        };
        if !text_words.contains(other.as_str()) {
            return other;
        }
    }
}

/// A text with every occurrence of a word replaced by another one.
pub(crate) fn replace_word(text: &str, word: &str, other: &str) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let (first, after) = rest.split_at(end);
        changed.push_str(if first == word { other } else { first });
        let next = after.find(char::is_alphanumeric).unwrap_or(after.len());
        changed.push_str(&after[..next]);
        rest = &after[next..];
    }
    changed
}
