//! What Python decides about characters and lines, where the rules that are followed here are written in Python.

/// `str.isspace` of one character.
pub(crate) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// `str.strip`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split` without an argument.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.splitlines`.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let is_end = matches!(
            letter,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !is_end {
            continue;
        }
        lines.push(&text[start..at]);
        start = at + letter.len_utf8();
        if letter == '\r' && letters.next_if(|(_, next)| *next == '\n').is_some() {
            start += 1;
        }
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// The number of characters.
pub(crate) fn length(text: &str) -> usize {
    // One byte of each character is not a continuation.
    text.bytes().filter(|byte| byte & 0xc0 != 0x80).count()
}

/// `str.isalpha` of one character.
pub(crate) fn is_letter(letter: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    letter.is_ascii_alphabetic()
        || (!letter.is_ascii() && letter.general_category_group() == GeneralCategoryGroup::Letter)
}

/// Whether the character is punctuation (category P).
pub(crate) fn is_punctuation(letter: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    letter.general_category_group() == GeneralCategoryGroup::Punctuation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        assert_eq!(lines("a\r\nb\rc\n\nd\u{2028}e\u{b}"), ["a", "b", "c", "", "d", "e"]);
        assert!(lines("").is_empty());
        assert_eq!((strip("\u{1f} a \u{85}"), length("aé\u{1f600}")), ("a", 3));
        assert!(is_letter('é') && !is_letter('\u{2160}') && is_punctuation('¿') && !is_punctuation('$'));
    }
}
