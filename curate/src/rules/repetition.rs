//! Gopher's rules about repetition (Rae et al. 2021, table A1), as datatrove's `GopherRepetitionFilter` applies them:
//! duplicate paragraphs and lines, the most frequent short runs of words, repeated long runs.

use super::{Outcome, Text};
use crate::python::{length, strip};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Limits of the rules; a limit that is null is not applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GopherRepetition {
    /// Share of paragraphs that occurred before.
    pub max_duplicate_paragraphs: Option<f64>,
    /// Share of characters in them.
    pub max_duplicate_paragraph_characters: Option<f64>,
    /// Share of lines that occurred before.
    pub max_duplicate_lines: Option<f64>,
    /// Share of characters in them.
    pub max_duplicate_line_characters: Option<f64>,
    /// Share of characters in the most frequent run of 2, 3 and 4 words.
    pub max_top_run: [Option<f64>; 3],
    /// Share of characters in runs of 5 to 10 words that occurred before.
    pub max_duplicate_runs: [Option<f64>; 6],
}

impl Default for GopherRepetition {
    fn default() -> Self {
        Self {
            max_duplicate_paragraphs: Some(0.3),
            max_duplicate_paragraph_characters: Some(0.2),
            max_duplicate_lines: Some(0.3),
            max_duplicate_line_characters: Some(0.2),
            max_top_run: [0.2, 0.18, 0.16].map(Some),
            max_duplicate_runs: [0.15, 0.14, 0.13, 0.12, 0.11, 0.1].map(Some),
        }
    }
}

const TOP_NAMES: [(&str, &str); 3] =
    [("top_2_gram", "top_2_gram"), ("top_3_gram", "top_3_gram"), ("top_4_gram", "top_4_gram")];
const RUN_NAMES: [(&str, &str); 6] = [
    ("repeated_5_grams", "duplicated_5_n_grams"),
    ("repeated_6_grams", "duplicated_6_n_grams"),
    ("repeated_7_grams", "duplicated_7_n_grams"),
    ("repeated_8_grams", "duplicated_8_n_grams"),
    ("repeated_9_grams", "duplicated_9_n_grams"),
    ("repeated_10_grams", "duplicated_10_n_grams"),
];

impl GopherRepetition {
    /// Applies the rules.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        self.check(text, &mut outcome);
        outcome
    }

    fn check(&self, text: &Text<'_>, outcome: &mut Outcome) -> bool {
        let whole = length(text.as_str());
        if whole == 0 {
            return outcome.drop_if(true, "empty", 0.0, Some(1.0));
        }
        let of = |part: usize, whole: usize| part as f64 / whole as f64;
        let paragraphs = split_at_line_ends(strip(text.as_str()), 2);
        let (repeated, letters) = duplicates(&paragraphs);
        if outcome.is_above(
            "duplicate_paragraphs",
            of(repeated, paragraphs.len()),
            self.max_duplicate_paragraphs,
            "dup_para_frac",
        ) || outcome.is_above(
            "duplicate_paragraph_characters",
            of(letters, whole),
            self.max_duplicate_paragraph_characters,
            "dup_para_char_frac",
        ) {
            return true;
        }
        let lines = split_at_line_ends(text.as_str(), 1);
        let (repeated, letters) = duplicates(&lines);
        if outcome.is_above(
            "duplicate_lines",
            of(repeated, lines.len()),
            self.max_duplicate_lines,
            "dup_line_frac",
        ) || outcome.is_above(
            "duplicate_line_characters",
            of(letters, whole),
            self.max_duplicate_line_characters,
            "dup_line_char_frac",
        ) {
            return true;
        }
        let runs = Runs::new(text.words());
        for (run, ((name, reason), limit)) in (2..).zip(TOP_NAMES.iter().zip(self.max_top_run)) {
            let Some(top) = runs.top(run) else { continue };
            if outcome.is_above(name, of(top, whole), limit, reason) {
                return true;
            }
        }
        for (run, ((name, reason), limit)) in (5..).zip(RUN_NAMES.iter().zip(self.max_duplicate_runs)) {
            if outcome.is_above(name, of(runs.repeated(run), whole), limit, reason) {
                return true;
            }
        }
        false
    }
}

/// Splits a text at runs of at least so many line feeds.
fn split_at_line_ends(text: &str, least: usize) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let ends = bytes[at..].iter().take_while(|byte| **byte == b'\n').count();
        if ends >= least {
            parts.push(&text[start..at]);
            start = at + ends;
        }
        at += ends.max(1);
    }
    parts.push(&text[start..]);
    parts
}

/// How many of the parts occurred before, and their characters.
pub(super) fn duplicates(parts: &[&str]) -> (usize, usize) {
    let mut known = HashSet::with_capacity(parts.len());
    let repeated = parts.iter().filter(|part| !known.insert(**part));
    repeated.fold((0, 0), |(count, letters), part| (count + 1, letters + length(part)))
}

/// Runs of words by their hashes: polynomials over the bytes of the words, modulo 2^61 - 1.
struct Runs {
    /// Of all bytes before each word, and of all.
    hashes: Vec<u64>,
    /// The powers of the base for numbers of bytes that most runs have.
    powers: Vec<u64>,
    /// Bytes and characters before each word.
    bytes: Vec<usize>,
    letters: Vec<usize>,
    /// A hash of each word by itself.
    words: Vec<u64>,
}

const MODULUS: u64 = (1 << 61) - 1;
/// An odd number without a pattern.
const BASE: u64 = 0x0f3c_5a1b_77d2_9e41;

fn product(one: u64, other: u64) -> u64 {
    let wide = u128::from(one) * u128::from(other);
    let sum = (wide & u128::from(MODULUS)) as u64 + (wide >> 61) as u64;
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

fn powers() -> Vec<u64> {
    std::iter::successors(Some(1), |power| Some(product(*power, BASE))).take(160).collect()
}

/// Hashes are not hashed again.
#[derive(Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        // The table takes its bits from both ends.
        self.0 = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Hashes = BuildHasherDefault<Unchanged>;

impl Runs {
    fn new(words: &[&str]) -> Self {
        let mut runs = Self {
            hashes: vec![0],
            powers: powers(),
            bytes: vec![0],
            letters: vec![0],
            words: Vec::with_capacity(words.len()),
        };
        let (mut hash, mut bytes, mut letters) = (0, 0, 0);
        for word in words {
            let mut own = 0;
            for byte in word.bytes() {
                hash = (product(hash, BASE) + u64::from(byte) + 1) % MODULUS;
                own = (product(own, BASE) + u64::from(byte) + 1) % MODULUS;
            }
            bytes += word.len();
            letters += length(word);
            runs.hashes.push(hash);
            runs.bytes.push(bytes);
            runs.letters.push(letters);
            runs.words.push(own);
        }
        runs
    }

    fn power(&self, bytes: usize) -> u64 {
        if let Some(known) = self.powers.get(bytes) {
            return *known;
        }
        let (mut power, mut base, mut rest) = (1, BASE, bytes);
        while rest > 0 {
            if rest & 1 == 1 {
                power = product(power, base);
            }
            base = product(base, base);
            rest >>= 1;
        }
        power
    }

    /// Characters in the most frequent run of so many words with a space between them, the first one among equals; `None`
    /// for a text with fewer words.
    fn top(&self, run: usize) -> Option<usize> {
        let mut counts: HashMap<u64, (usize, usize), Hashes> = HashMap::default();
        for (at, words) in self.words.windows(run).enumerate() {
            let hash = words.iter().fold(0, |hash, word| (product(hash, BASE) + word + 1) % MODULUS);
            counts.entry(hash).or_insert((0, at)).0 += 1;
        }
        let (count, at) =
            counts.into_values().max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)))?;
        Some(count * (self.letters[at + run] - self.letters[at] + run - 1))
    }

    /// Characters in runs of so many words that occurred before; words of such a run are not looked at again.
    fn repeated(&self, run: usize) -> usize {
        let mut known: HashSet<u64, Hashes> = HashSet::default();
        let (mut at, mut letters) = (0, 0);
        while at + run <= self.words.len() {
            let before = product(self.hashes[at], self.power(self.bytes[at + run] - self.bytes[at]));
            let hash = (self.hashes[at + run] + MODULUS - before) % MODULUS;
            // As in the original, words are joined without spaces here.
            if known.insert(hash) {
                at += 1;
            } else {
                letters += self.letters[at + run] - self.letters[at];
                at += run;
            }
        }
        letters
    }
}
