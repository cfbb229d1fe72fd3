//! English Punkt sentence splitting (Kiss and Strunk 2006, Computational Linguistics 32) as NLTK implements it. Where a
//! `.`, `?` or `!` may end a sentence, the words around it decide, by lists that were learned from news text.
//!
//! The lists come from the crate `punkt_n` and equal NLTK's `punkt_tab`. The decisions are implemented here, because
//! that crate's splitter does not realign closing quotes and differs on ellipses and numbers.

use crate::python;
use fancy_regex::Regex;
use punkt_n::TrainingData;
use std::sync::LazyLock;

static MODEL: LazyLock<TrainingData> = LazyLock::new(TrainingData::english);

/// Returns the sentences of `text` without the white space between them.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in possible_ends(text) {
        if ends_sentence(end.context(text)) {
            pieces.push((start, end.mark + 1));
            start = end.next_word.unwrap_or(end.mark + 1);
        }
    }
    pieces.push((start, text.trim_end_matches(python::is_space).len()));
    realign(text, &pieces)
}

/// A punctuation mark that may end a sentence. Positions are in bytes.
#[derive(Clone, Copy)]
struct PossibleEnd {
    word: usize,
    mark: usize,
    /// The end of what follows the mark: one closing character, or white space and a word.
    after: usize,
    next_word: Option<usize>,
}

impl PossibleEnd {
    /// The word before the mark, the mark and what follows.
    fn context<'t>(&self, text: &'t str) -> &'t str {
        &text[self.word..self.after]
    }
}

/// The marks that may end a sentence; only the last of marks that follow the same word (`what?!`).
fn possible_ends(text: &str) -> Vec<PossibleEnd> {
    let mut ends: Vec<PossibleEnd> = Vec::new();
    let (mut word, mut last) = (0, 0);
    for (mark, _) in text.match_indices(['.', '?', '!']) {
        let Some((after, next_word)) = following(text, mark + 1) else { continue };
        let space = text[last..mark].rfind([' ', '\t', '\n', '\r', '\x0b', '\x0c']).unwrap_or(0);
        let word_start = if space > 0 { last + space + 1 } else { word };
        if word_start < last {
            ends.pop();
        }
        (word, last) = (word_start, mark);
        ends.push(PossibleEnd { word, mark, after, next_word });
    }
    ends
}

/// The end of what follows at `at`, a closing character or white space and a word, and the start of that word.
fn following(text: &str, at: usize) -> Option<(usize, Option<usize>)> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if is_non_word(first) {
        return Some((at + first.len_utf8(), None));
    }
    let word = rest.trim_start();
    let start = at + rest.len() - word.len();
    let length = word.find(char::is_whitespace).unwrap_or(word.len());
    (start > at && length > 0).then_some((start + length, Some(start)))
}

/// Moves closing quotes and brackets at the start of a piece to the end of the piece before it.
fn realign<'t>(text: &'t str, pieces: &[(usize, usize)]) -> Vec<&'t str> {
    let piece = |start: usize, end: usize| text.get(start..end).unwrap_or("");
    let mut sentences = Vec::new();
    let mut moved = 0;
    for (index, (start, end)) in pieces.iter().enumerate() {
        let start = start + moved;
        moved = 0;
        match pieces.get(index + 1).and_then(|next| Some((next.0, closing_length(piece(next.0, next.1))?))) {
            Some((next, length)) => {
                let without_space = python::strip(&text[next..next + length]).len();
                sentences.push(piece(start, next + without_space));
                moved = length;
            }
            None if start < *end => sentences.push(piece(start, *end)),
            None => {}
        }
    }
    sentences
}

/// The length in bytes of the closing characters that `text` begins with and of the white space after them; none if a
/// word follows directly.
fn closing_length(text: &str) -> Option<usize> {
    const CLOSING: [char; 11] = ['"', '\'', ')', ']', '}', '‘', '’', '“', '”', '«', '»'];
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(CLOSING) {
        let word = after.trim_start();
        if word.len() < after.len() || after.is_empty() || after.starts_with("--") {
            return Some(text.len() - word.len());
        }
        rest = after;
    }
    None
}

/// A token and what the lists say about it.
struct Token<'t> {
    text: &'t str,
    /// The token in lower case; `##number##` for a number.
    kind: String,
    is_break: bool,
    is_abbreviation: bool,
    is_ellipsis: bool,
}

impl<'t> Token<'t> {
    fn new(text: &'t str) -> Token<'t> {
        static NUMBER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^-?[.,]?\d[\d,.\-]*\.?$").expect("a fixed pattern"));
        let lower = text.to_lowercase();
        let kind = if NUMBER.is_match(&lower).unwrap_or(false) { "##number##".to_owned() } else { lower };
        let mut token = Token { text, kind, is_break: false, is_abbreviation: false, is_ellipsis: false };
        let stem = text.strip_suffix('.').map(str::to_lowercase);
        if matches!(text, "." | "?" | "!") {
            token.is_break = true;
        } else if text.len() > 1 && text.bytes().all(|byte| byte == b'.') {
            token.is_ellipsis = true;
        } else if let Some(stem) = stem.filter(|_| !text.ends_with("..")) {
            let last = stem.rsplit('-').next().unwrap_or(&stem);
            token.is_abbreviation = MODEL.contains_abbrev(&stem) || MODEL.contains_abbrev(last);
            token.is_break = !token.is_abbreviation;
        }
        token
    }

    fn kind_without_period(&self) -> &str {
        if self.kind.len() > 1 { self.kind.strip_suffix('.').unwrap_or(&self.kind) } else { &self.kind }
    }

    /// The form in which the lists contain a following word: with its period unless that ends a sentence.
    fn kind_as_next(&self) -> &str {
        if self.is_break { self.kind_without_period() } else { &self.kind }
    }

    /// Whether it is one letter and a period.
    fn is_initial(&self) -> bool {
        static INITIAL: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^[\w--\d]\.$").expect("a fixed pattern"));
        INITIAL.is_match(self.text).unwrap_or(false)
    }

    fn first(&self) -> &str {
        let length = self.text.chars().next().map_or(0, char::len_utf8);
        &self.text[..length]
    }

    /// Whether the token begins a sentence, by where its word occurs in upper and lower case; none if that is
    /// undecided.
    fn begins_sentence(&self) -> Option<bool> {
        // Bits of `punkt_n`'s orthographic context.
        const SEEN_UPPER_MID: u8 = 1 << 2;
        const SEEN_UPPER: u8 = (1 << 1) | (1 << 2) | (1 << 3);
        const SEEN_LOWER_BEGIN: u8 = 1 << 4;
        if matches!(self.text, ";" | ":" | "," | "." | "!" | "?") {
            return Some(false);
        }
        let seen = MODEL.get_orthographic_context(self.kind_as_next());
        if python::is_upper(self.first()) && seen & SEEN_LOWER != 0 && seen & SEEN_UPPER_MID == 0 {
            return Some(true);
        }
        let is_inside = seen & SEEN_UPPER != 0 || seen & SEEN_LOWER_BEGIN == 0;
        (python::is_lower(self.first()) && is_inside).then_some(false)
    }
}

const SEEN_LOWER: u8 = (1 << 4) | (1 << 5) | (1 << 6);

/// Whether a token of `context` other than its last one ends a sentence.
fn ends_sentence(context: &str) -> bool {
    let mut tokens = Vec::new();
    for line in context.split('\n') {
        split_tokens(line, &mut tokens);
    }
    tokens.windows(2).any(|pair| ends_before(&pair[0], &pair[1]))
}

/// Whether a sentence ends between two tokens: decided by `token` alone, then corrected by `next`.
fn ends_before(token: &Token<'_>, next: &Token<'_>) -> bool {
    if !token.text.ends_with('.') {
        return token.is_break;
    }
    let (kind, next_kind) = (token.kind_without_period(), next.kind_as_next());
    if MODEL.contains_collocation(kind, next_kind) {
        return false;
    }
    let is_initial = token.is_initial();
    let is_upper = python::is_upper(next.first());
    if (token.is_abbreviation || token.is_ellipsis)
        && !is_initial
        && (next.begins_sentence() == Some(true) || (is_upper && MODEL.contains_sentence_starter(next_kind)))
    {
        return true;
    }
    if is_initial || kind == "##number##" {
        match next.begins_sentence() {
            Some(false) => return false,
            // A name that never occurs in lower case, as in "J. Bach".
            None if is_initial && is_upper && MODEL.get_orthographic_context(next_kind) & SEEN_LOWER == 0 => {
                return false;
            }
            _ => {}
        }
    }
    token.is_break
}

/// Splits a line into tokens; periods stay with their word.
fn split_tokens<'t>(line: &'t str, tokens: &mut Vec<Token<'t>>) {
    let letters: Vec<(usize, char)> = line.char_indices().collect();
    let byte = |at: usize| letters.get(at).map_or(line.len(), |(byte, _)| *byte);
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at].1;
        if letter.is_whitespace() && run_end(&letters, at).is_none() {
            at += 1;
            continue;
        }
        let end = run_end(&letters, at).unwrap_or_else(|| {
            if "(\"`{[:;&#*@)}]-,".contains(letter) { at + 1 } else { word_end(&letters, at + 1) }
        });
        tokens.push(Token::new(&line[byte(at)..byte(end)]));
        at = end;
    }
}

/// The first position from `at` on that is after the word.
fn word_end(letters: &[(usize, char)], mut at: usize) -> usize {
    let is_over = |at: usize| {
        letters.get(at).is_none_or(|(_, letter)| letter.is_whitespace() || is_non_word(*letter))
            || run_end(letters, at).is_some()
    };
    while !(is_over(at) || (letters[at].1 == ',' && is_over(at + 1))) {
        at += 1;
    }
    at
}

/// The end of the dashes, dots or spaced dots (`. . .`) that begin at `at`.
fn run_end(letters: &[(usize, char)], at: usize) -> Option<usize> {
    let is = |at: usize, expected: char| letters.get(at).is_some_and(|(_, letter)| *letter == expected);
    for mark in ['-', '.'] {
        let length = (at..).take_while(|at| is(*at, mark)).count();
        if length >= 2 {
            return Some(at + length);
        }
    }
    let is_spaced =
        |at: &usize| is(*at, '.') && letters.get(at + 1).is_some_and(|(_, letter)| letter.is_whitespace());
    let pairs = (at..).step_by(2).take_while(is_spaced).count();
    let full_pairs = if is(at + 2 * pairs, '.') { pairs } else { pairs.saturating_sub(1) };
    (full_pairs >= 2).then_some(at + 2 * full_pairs + 1)
}

/// Whether a character is never part of a word.
fn is_non_word(letter: char) -> bool {
    ")\";}]*:@'({[‘’“”«»?!".contains(letter)
}

#[cfg(test)]
mod tests {
    /// The expected values are those of NLTK 3.10.4.
    #[test]
    fn sentences_are_those_of_nltk() {
        let split = |text| super::sentences(text).join("|");
        assert_eq!(
            split("Dr. Smith paid $3.50 to J. Bach. He left."),
            "Dr. Smith paid $3.50 to J. Bach.|He left."
        );
        assert_eq!(
            split("(He left.) \"Why?\" she asked. Who knows..."),
            "(He left.)|\"Why?\"|she asked.|Who knows..."
        );
        assert_eq!(split("Wait... What?! No . . . way. e.g. this"), "Wait...|What?!|No .|.|.|way.|e.g.|this");
        assert_eq!(split("  "), "");
        assert_eq!(split("No. 5 is alive.\n\nIt is."), "No.|5 is alive.|It is.");
    }
}
