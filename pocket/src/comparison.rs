//! Comparison of two texts by the words of the world that they contain.

use crate::text::{sentences, words};
use crate::vocabulary::{sort_of, world_words};
use std::collections::HashSet;

/// The words of the world in the last sentence of a reply, in their order: its answer, without steps before it.
pub(crate) fn answer_words(reply: &str) -> Vec<&str> {
    sentences(reply).last().into_iter().flat_map(world_words).collect()
}

/// What a text has in the place of a word: the word itself if it contains it, otherwise its first word of the same
/// sort.
pub(crate) fn counterpart<'a>(word: &str, text: &'a str) -> Option<&'a str> {
    let sort = sort_of(word);
    let same = world_words(text).find(|other| *other == word);
    same.or_else(|| world_words(text).find(|other| sort_of(other) == sort))
}

/// The words of the world in a text (names, places, things, numbers), each once, in their order.
pub(crate) fn distinct_words(text: &str) -> Vec<&str> {
    let mut list: Vec<&str> = Vec::new();
    for word in world_words(text) {
        if !list.contains(&word) {
            list.push(word);
        }
    }
    list
}

/// Whether a text contains all words of the world that its source contains; not where the source has none.
pub(crate) fn is_complete(source: &str, text: &str) -> bool {
    let mut source_words = world_words(source).peekable();
    let text_words: HashSet<&str> = words(text).collect();
    source_words.peek().is_some() && source_words.all(|word| text_words.contains(word))
}

/// Whether every word of the world in a text is also in its source.
pub(crate) fn is_faithful(source: &str, text: &str) -> bool {
    let source_words: HashSet<&str> = words(source).collect();
    world_words(text).all(|word| source_words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counterpart_is_the_word_itself_or_the_first_of_its_sort() {
        let source = "Mara, come to the party at 4 in the mill. Tolin";
        assert_eq!(counterpart("Tolin", source), Some("Tolin"));
        assert_eq!(counterpart("Bemi", source), Some("Mara"));
        assert_eq!(counterpart("barn", source), Some("mill"));
        assert_eq!(counterpart("red", source), None);
    }

    #[test]
    fn the_last_sentence_is_the_answer() {
        assert_eq!(answer_words("Let me see. 12 Mara, 30 Tolin. The oldest: 30 Tolin."), ["30", "Tolin"]);
        assert_eq!(answer_words("5 + 2 = 7. Mara has 7 lamps now."), ["Mara", "7", "lamps"]);
        assert!(answer_words("So be it.").is_empty());
    }
}
