//! Prefixes, suffixes and infixes of a word. ASCII is decided by hand, as the patterns of the tables decide; they decide the
//! rest, because they are slow.

use super::English;
use std::ops::Range;

/// Punctuation that is a token wherever it begins or ends a word.
const fn is_mark(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b':'
            | b';'
            | b'!'
            | b'?'
            | b'('
            | b')'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'<'
            | b'>'
            | b'_'
            | b'#'
            | b'*'
            | b'&'
            | b'\''
            | b'"'
            | b'`'
    )
}

impl English {
    /// Bytes of the prefix; 0 without one.
    pub(super) fn prefix(&self, word: &str) -> usize {
        let bytes = word.as_bytes();
        match bytes.first() {
            Some(b'U' | b'C' | b'A') => usize::from(bytes.contains(&b'$')) * self.found(&self.prefix, word),
            Some(byte) if byte.is_ascii_alphanumeric() => 0,
            Some(byte) if is_mark(*byte) || matches!(byte, b'%' | b'=' | b'$') => 1,
            Some(b'+') => usize::from(!bytes.get(1).is_some_and(u8::is_ascii_digit)),
            Some(b'.') if bytes.get(1) == Some(&b'.') => {
                bytes.iter().take_while(|byte| **byte == b'.').count()
            }
            Some(byte) if byte.is_ascii() => 0,
            Some(_) => self.found(&self.prefix, word),
            None => 0,
        }
    }

    /// Bytes of the suffix; 0 without one.
    pub(super) fn suffix(&self, word: &str) -> usize {
        let bytes = word.as_bytes();
        let [before, last] = match bytes {
            [.., before, last] => [*before, *last],
            [last] => [0, *last],
            [] => return 0,
        };
        if last.is_ascii_digit() {
            0
        } else if is_mark(last) {
            1
        } else if last.is_ascii_alphabetic() {
            let can_end =
                bytes.iter().any(|byte| byte.is_ascii_digit() || *byte == b'\'' || !byte.is_ascii());
            if can_end { self.found(&self.suffix, word) } else { 0 }
        } else if last == b'.' && (before.is_ascii_lowercase() || before.is_ascii_digit()) && word.is_ascii()
        {
            1
        } else if matches!(last, b'/' | b'-' | b'=' | b'@' | b'\\' | b'^' | b'|' | b'~') {
            0
        } else {
            self.found(&self.suffix, word)
        }
    }

    fn found(&self, pattern: &fancy_regex::Regex, word: &str) -> usize {
        // A pattern that gives up (too much backtracking) finds nothing.
        pattern.find(word).ok().flatten().map_or(0, |found| found.range().len())
    }

    /// Whether the word is an address.
    pub(super) fn is_url(&self, word: &str) -> bool {
        word.contains('.') && self.url.is_match(word).unwrap_or(false)
    }

    /// The places within a word at which it is split.
    pub(super) fn infixes(&self, word: &str) -> Vec<Range<usize>> {
        let bytes = word.as_bytes();
        if bytes.iter().all(u8::is_ascii_alphanumeric) {
            Vec::new()
        } else if word.is_ascii() {
            ascii_infixes(bytes)
        } else {
            self.infix.find_iter(word).map_while(Result::ok).map(|found| found.range()).collect()
        }
    }
}

fn ascii_infixes(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match infix_at(bytes, at) {
            0 => at += 1,
            length => {
                found.push(at..at + length);
                at += length;
            }
        }
    }
    found
}

/// Bytes of the infix at a place; 0 where there is none.
fn infix_at(bytes: &[u8], at: usize) -> usize {
    let before = at.checked_sub(1).map_or(0, |before| bytes[before]);
    let after = |length: usize| bytes.get(at + length).copied().unwrap_or(0);
    let is_quote = |byte: u8| matches!(byte, b'\'' | b'"' | b'`');
    let byte = bytes[at];
    let dots = bytes[at..].iter().take_while(|byte| **byte == b'.').count();
    if dots > 1 {
        return dots;
    }
    if matches!(byte, b'+' | b'-' | b'*' | b'^')
        && before.is_ascii_digit()
        && (after(1).is_ascii_digit() || after(1) == b'-')
    {
        return 1;
    }
    match byte {
        b'.' => usize::from(
            (before.is_ascii_lowercase() || is_quote(before))
                && (after(1).is_ascii_uppercase() || is_quote(after(1))),
        ),
        b',' => usize::from(before.is_ascii_alphabetic() && after(1).is_ascii_alphabetic()),
        b'~' => usize::from(before.is_ascii_alphanumeric() && after(1).is_ascii_alphabetic()),
        b'-' if before.is_ascii_alphanumeric() => {
            let hyphens = bytes[at..].iter().take_while(|byte| **byte == b'-').count();
            if hyphens <= 3 && after(hyphens).is_ascii_alphabetic() { hyphens } else { 0 }
        }
        b':' | b'<' | b'>' | b'=' | b'/' => {
            usize::from(before.is_ascii_alphanumeric() && after(1).is_ascii_alphabetic())
        }
        _ => 0,
    }
}
