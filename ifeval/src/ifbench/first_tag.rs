//! The part of speech of a text's first word, by NLTK's averaged perceptron (Honnibal 2013,
//! <https://explosion.ai/blog/part-of-speech-pos-tagger-in-python>). Only the first word is asked for, so the table
//! (`data/README.md`) has only what can be known about one: itself and the two words after it.

use crate::python;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The groups of `data/make_tables.py`.
const FIXED: u8 = 0;
const END: [&str; 2] = ["-END-", "-END2-"];

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::new(include_bytes!("../../data/first_tag.bin")));

struct Model {
    /// The tags in the order of their names.
    tags: Vec<&'static str>,
    /// Three bytes for each weight of a feature: its group, then its key.
    weights: HashMap<(u8, &'static str), &'static [u8]>,
}

impl Model {
    fn new(bytes: &'static [u8]) -> Model {
        let mut table = Table(bytes);
        let tags = (0..table.byte()).map(|_| table.name()).collect();
        let mut weights = HashMap::new();
        while !table.0.is_empty() {
            let key = table.name();
            for _ in 0..table.byte() {
                let group = table.byte();
                let length = 3 * usize::from(table.byte());
                weights.insert((group, key), table.take(length));
            }
        }
        Model { tags, weights }
    }

    /// The tags and weights of a feature; none if the model does not have it.
    fn feature(&self, group: u8, key: &str) -> impl Iterator<Item = (usize, f64)> {
        let weights = self.weights.get(&(group, key)).copied().unwrap_or_default();
        weights.chunks_exact(3).map(|three| {
            let packed = u32::from_le_bytes([three[0], three[1], three[2], 0]);
            let thousandths = (packed << 14) as i32 >> 14;
            ((packed >> 18) as usize, f64::from(thousandths) / 1000.0)
        })
    }
}

/// What is left of the bytes of `first_tag.bin`.
struct Table(&'static [u8]);

impl Table {
    fn take(&mut self, length: usize) -> &'static [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn name(&mut self) -> &'static str {
        let length = usize::from(self.byte());
        std::str::from_utf8(self.take(length)).expect("the table's names are UTF-8")
    }
}

/// The Penn Treebank tag of the first of a text's tokens; none if there is none.
pub(super) fn of(tokens: &[String]) -> Option<&'static str> {
    let first = tokens.first()?;
    if let Some((tag, _)) = MODEL.feature(FIXED, first).next() {
        return Some(MODEL.tags[tag]);
    }
    let mut after = tokens[1..].iter().map(|token| normalize(token)).chain(END.map(str::to_owned));
    let (word, next, second) =
        (normalize(first), after.next().unwrap_or_default(), after.next().unwrap_or_default());
    let initial = &first[..first.chars().next().map_or(0, char::len_utf8)];
    // In the order in which NLTK adds them: sums of floats depend on it.
    let features = [
        (1, ""),
        (2, ending(first)),
        (3, initial),
        (4, ""),
        (5, ""),
        (6, ""),
        (7, word.as_str()),
        (8, word.as_str()),
        (9, ""),
        (10, ""),
        (11, ""),
        (12, next.as_str()),
        (13, ending(&next)),
        (14, second.as_str()),
    ];
    let mut scores = vec![0.0; MODEL.tags.len()];
    for (group, key) in features {
        for (tag, weight) in MODEL.feature(group, key) {
            scores[tag] += weight;
        }
    }
    // Of equal scores the last name wins.
    let best = (0..scores.len()).reduce(|best, tag| if scores[tag] >= scores[best] { tag } else { best });
    best.map(|tag| MODEL.tags[tag])
}

/// The last three characters.
fn ending(word: &str) -> &str {
    let start = word.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
    &word[start..]
}

/// A token as the features have it: in lower case, and one name for all numbers and for all words with a hyphen.
fn normalize(token: &str) -> String {
    let is_number = token.chars().all(python::is_digit);
    if token.contains('-') && !token.starts_with('-') {
        "!HYPHEN".to_owned()
    } else if is_number && token.chars().count() == 4 {
        "!YEAR".to_owned()
    } else if token.starts_with(python::is_digit) {
        "!DIGITS".to_owned()
    } else {
        token.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use crate::nltk;

    /// The expected values are those of NLTK 3.10.4.
    #[test]
    fn tags_are_those_of_nltk() {
        for (text, tag) in [("Consider this.", "VB"), ("The end.", "DT"), ("Running is fun", "VBG"), ("", "")]
        {
            assert_eq!(super::of(&nltk::word_tokenize(text)).unwrap_or(""), tag, "{text}");
        }
    }
}
