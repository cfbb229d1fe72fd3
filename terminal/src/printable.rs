//! Untrusted text on a terminal: what a model or a file contains must not move the cursor, hide lines or set the title.

/// The text with its control characters escaped, except line feeds and tabs.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_feeds_and_tabs_reach_the_terminal() {
        assert_eq!(printable("a\tb\nΩ 😀 \\"), "a\tb\nΩ 😀 \\");
        assert_eq!(printable("\u{1b}[2J\r\u{7f}\u{9b}1m\0"), r"\u{1b}[2J\r\u{7f}\u{9b}1m\u{0}");
    }
}
