//! Words and sentences as datatrove counts them: spaCy's tokenizer for English and its rule for the ends of sentences. Its
//! tables are data (`data/english.json`, MIT, with the script that made it); what is written here is their application, with
//! short ways for what most words are.

mod affixes;

use crate::python::{is_punctuation, is_space};
use fancy_regex::Regex;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

/// Pieces of words that were split before, per thread, before the memory of them is cleared.
const REMEMBERED: usize = 50_000;
/// Bytes of a word that is remembered at most.
const LONGEST_REMEMBERED: usize = 64;

/// The tables.
struct English {
    prefix: Regex,
    suffix: Regex,
    infix: Regex,
    url: Regex,
    /// Words with tokens of their own.
    special: HashMap<String, Vec<String>>,
    /// Special cases that are several tokens before they are looked up, by their first token.
    phrases: HashMap<String, Vec<Phrase>>,
    sentence_ends: HashSet<String>,
}

struct Phrase {
    tokens: Vec<String>,
    becomes: Vec<String>,
}

#[derive(Deserialize)]
struct Tables {
    prefix: String,
    suffix: String,
    infix: String,
    url: String,
    special: HashMap<String, Vec<String>>,
    sentence_ends: String,
}

static ENGLISH: LazyLock<English> = LazyLock::new(|| {
    let tables: Tables =
        serde_json::from_str(include_str!("../data/english.json")).expect("the tables are JSON");
    let regex = |pattern: &str| Regex::new(pattern).expect("the patterns of the tables compile");
    let mut english = English {
        prefix: regex(&tables.prefix),
        suffix: regex(&tables.suffix),
        infix: regex(&tables.infix),
        url: regex(&tables.url),
        special: tables.special,
        phrases: HashMap::new(),
        sentence_ends: tables.sentence_ends.chars().map(String::from).collect(),
    };
    english.phrases = english.phrases();
    english
});

/// The tokens of a word.
type Ranges = Box<[Range<u32>]>;

thread_local! {
    static SPLIT: RefCell<HashMap<Box<str>, Ranges>> = RefCell::default();
}

/// The words of a text.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let mut tokens = tokens(text);
    tokens.retain(|token| !token.starts_with(is_space));
    tokens
}

/// The number of sentences of a text.
pub(crate) fn sentences(text: &str) -> usize {
    let tokens = tokens(text);
    let mut count = usize::from(!tokens.is_empty());
    let mut is_after_end = false;
    for token in tokens {
        let is_end = ENGLISH.sentence_ends.contains(token);
        if is_after_end && !is_end && !token.chars().all(is_punctuation) {
            count += 1;
            is_after_end = false;
        }
        is_after_end |= is_end;
    }
    count
}

/// The tokens of a text; white space of more than one space is a token.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::with_capacity(text.len() / 5);
    let mut start = 0;
    let mut in_space = text.starts_with(is_space);
    for (at, letter) in text.char_indices() {
        if is_space(letter) == in_space {
            continue;
        }
        if start < at {
            ENGLISH.split(&text[start..at], &mut tokens);
        }
        // A single space after a word belongs to it.
        start = if letter == ' ' { at + 1 } else { at };
        in_space = !in_space;
    }
    if start < text.len() {
        ENGLISH.split(&text[start..], &mut tokens);
    }
    ENGLISH.join_phrases(tokens)
}

impl English {
    /// The tokens of a word or of white space.
    fn split<'a>(&'static self, word: &'a str, tokens: &mut Vec<&'a str>) {
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphabetic());
        if let Some(special) = self.special.get(word) {
            let mut start = 0;
            for token in special {
                tokens.push(&word[start..start + token.len()]);
                start += token.len();
            }
        } else if is_plain {
            tokens.push(word);
        } else {
            SPLIT.with_borrow_mut(|split| {
                if let Some(ranges) = split.get(word) {
                    tokens.extend(ranges.iter().map(|range| &word[range.start as usize..range.end as usize]));
                    return;
                }
                let mut ranges = Vec::new();
                self.split_affixes(word, true, &mut ranges);
                tokens.extend(ranges.iter().map(|range| &word[range.clone()]));
                if word.len() <= LONGEST_REMEMBERED {
                    if split.len() >= REMEMBERED {
                        split.clear();
                    }
                    let ranges = ranges.iter().map(|range| range.start as u32..range.end as u32);
                    split.insert(word.into(), ranges.collect());
                }
            });
        }
    }

    /// Takes prefixes and suffixes off until nothing changes, then splits what is left; the ranges of the tokens.
    fn split_affixes(&self, word: &str, with_special: bool, ranges: &mut Vec<Range<usize>>) {
        let is_special = |text: &str| with_special && self.special.contains_key(text);
        let (mut start, mut end) = (0, word.len());
        let mut suffixes: Vec<Range<usize>> = Vec::new();
        let mut last = usize::MAX;
        while start < end && end - start != last && !is_special(&word[start..end]) {
            let inner = &word[start..end];
            last = inner.len();
            let prefix = self.prefix(inner);
            if prefix > 0 && prefix < inner.len() && is_special(&inner[prefix..]) {
                ranges.push(start..start + prefix);
                start += prefix;
                break;
            }
            let suffix = self.suffix(&inner[prefix..]);
            if suffix > 0 && suffix < inner.len() && is_special(&inner[..inner.len() - suffix]) {
                suffixes.push(end - suffix..end);
                end -= suffix;
                break;
            }
            if prefix > 0 {
                ranges.push(start..start + prefix);
                start += prefix;
            }
            if suffix > 0 && prefix + suffix <= inner.len() {
                suffixes.push(end - suffix..end);
                end -= suffix;
            }
        }
        if start < end {
            self.split_inner(word, start..end, with_special, ranges);
        }
        ranges.extend(suffixes.into_iter().rev());
    }

    /// What is left of a word without its affixes.
    fn split_inner(
        &self,
        word: &str,
        inner: Range<usize>,
        with_special: bool,
        ranges: &mut Vec<Range<usize>>,
    ) {
        let text = &word[inner.clone()];
        if with_special && let Some(special) = self.special.get(text) {
            let mut start = inner.start;
            for token in special {
                ranges.push(start..start + token.len());
                start += token.len();
            }
            return;
        }
        if self.is_url(text) {
            ranges.push(inner);
            return;
        }
        let mut start = 0;
        for infix in self.infixes(text) {
            if infix.start == 0 {
                continue;
            }
            if infix.start != start {
                ranges.push(inner.start + start..inner.start + infix.start);
            }
            ranges.push(inner.start + infix.start..inner.start + infix.end);
            start = infix.end;
        }
        if start < text.len() {
            ranges.push(inner.start + start..inner.end);
        }
    }

    /// The special cases that affixes would split, as the tokens they are split into.
    fn phrases(&self) -> HashMap<String, Vec<Phrase>> {
        let mut phrases: HashMap<String, Vec<Phrase>> = HashMap::new();
        for (text, becomes) in &self.special {
            let is_split = self.prefix(text) > 0 || self.suffix(text) > 0 || !self.infixes(text).is_empty();
            if !is_split || text.chars().any(is_space) {
                continue;
            }
            let mut ranges = Vec::new();
            self.split_affixes(text, false, &mut ranges);
            let tokens: Vec<String> = ranges.iter().map(|range| text[range.clone()].to_owned()).collect();
            let phrase = Phrase { tokens, becomes: becomes.clone() };
            phrases.entry(phrase.tokens[0].clone()).or_default().push(phrase);
        }
        for list in phrases.values_mut() {
            list.sort_by(|one, other| {
                other.tokens.len().cmp(&one.tokens.len()).then(one.tokens.cmp(&other.tokens))
            });
        }
        phrases
    }

    /// Replaces tokens that together are a special case; of those that overlap the longest counts, then the first.
    fn join_phrases<'a>(&'static self, tokens: Vec<&'a str>) -> Vec<&'a str> {
        let mut matches: Vec<(usize, &'static Phrase)> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let Some(phrases) = self.phrases.get(*token) else { continue };
            // Tokens with nothing between them.
            let start = token.as_ptr() as usize;
            let is_here = |phrase: &&Phrase| {
                let mut end = start;
                phrase.tokens.iter().enumerate().all(|(offset, part)| {
                    let follows = tokens
                        .get(at + offset)
                        .is_some_and(|token| *token == part.as_str() && token.as_ptr() as usize == end);
                    end += part.len();
                    follows
                })
            };
            matches.extend(phrases.iter().filter(is_here).map(|phrase| (at, phrase)));
        }
        if matches.is_empty() {
            return tokens;
        }
        matches.sort_by(|(one_at, one), (other_at, other)| {
            other.tokens.len().cmp(&one.tokens.len()).then(one_at.cmp(other_at))
        });
        let mut taken: Vec<Option<&'static Phrase>> = vec![None; tokens.len()];
        let mut is_covered = vec![false; tokens.len()];
        for (at, phrase) in matches {
            let covers = at..at + phrase.tokens.len();
            if !is_covered[covers.clone()].contains(&true) {
                is_covered[covers].fill(true);
                taken[at] = Some(phrase);
            }
        }
        let mut joined = Vec::with_capacity(tokens.len());
        for (at, token) in tokens.into_iter().enumerate() {
            match taken[at] {
                Some(phrase) => joined.extend(phrase.becomes.iter().map(String::as_str)),
                None if is_covered[at] => {}
                None => joined.push(token),
            }
        }
        joined
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn words_are_split() {
        let split = |text: &'static str| words(text).join("|");
        assert_eq!(split("I can't go to the U.K., don't you?"), "I|ca|n't|go|to|the|U.K.|,|do|n't|you|?");
        assert_eq!(
            split("(well-known) 3.5km at 10a.m.\n\n  \"x\""),
            "(|well|-|known|)|3.5|km|at|10|a.m.|\"|x|\""
        );
        assert_eq!(split("see https://a.org/b?c=d, ok"), "see|https://a.org/b?c=d|,|ok");
        assert_eq!((sentences("One. Two! Three?! (Four.) five"), sentences("")), (5, 0));
    }

    /// Source: tests/goldens/make_rule_goldens.py.
    #[test]
    fn words_and_sentences_equal_spacys() {
        let goldens = include_str!("../tests/goldens/words.jsonl");
        for line in goldens.lines() {
            let golden: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = golden["text"].as_str().unwrap();
            assert_eq!(serde_json::json!(words(text)), golden["words"], "{text:?}");
            assert_eq!(sentences(text) as u64, golden["sentences"].as_u64().unwrap(), "{text:?}");
        }
        assert!(goldens.lines().count() > 100);
    }
}
