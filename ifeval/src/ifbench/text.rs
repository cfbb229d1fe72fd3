//! What several groups do with a text: leaving out ASCII's 32 punctuation marks, in all of it or around it, and reading it
//! without accents.

use unicode_normalization::UnicodeNormalization;

/// The text without punctuation marks.
pub(super) fn without_punctuation(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_punctuation()).collect()
}

/// Whether it is a punctuation mark or a space; other white space is not.
fn is_mark(letter: char) -> bool {
    letter.is_ascii_punctuation() || letter == ' '
}

/// The text without punctuation marks and spaces at both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_mark)
}

/// The text without punctuation marks and spaces at its start.
pub(super) fn trim_start(text: &str) -> &str {
    text.trim_start_matches(is_mark)
}

/// The text without punctuation marks and spaces at its end.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_mark)
}

/// The ASCII characters of the text's compatibility decomposition: `São` becomes `Sao`.
pub(super) fn ascii(text: &str) -> String {
    text.nfkd().filter(char::is_ascii).collect()
}
