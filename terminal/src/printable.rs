//! Untrusted text on a terminal: what a model, a server or a file contains must not move the cursor, hide or reorder
//! text, set the title, or look like a line of the program's own.

/// The text with its control characters, and the characters that reorder or hide text, escaped; line feeds and tabs stay.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            other if other.is_control() || is_deceptive(other) => shown.extend(other.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

/// The same, with lines after the first one indented: only the first line can be taken for the program's own.
pub fn printable_message(text: &str) -> String {
    printable(text).replace('\n', "\n  ")
}

/// Whether a character is invisible or changes the order in which others are shown: the bidirectional marks, embeddings,
/// overrides and isolates (Unicode Standard Annex 9), separators of lines and paragraphs, the zero-width space, word
/// joiners and other invisible operators, interlinear annotations and tags. Joiners that scripts and emoji need stay.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_feeds_and_tabs_reach_the_terminal() {
        assert_eq!(printable("a\tb\nΩ 😀 \\"), "a\tb\nΩ 😀 \\");
        assert_eq!(printable("\u{1b}[2J\r\u{7f}\u{9b}1m\0"), r"\u{1b}[2J\r\u{7f}\u{9b}1m\u{0}");
    }

    #[test]
    fn marks_that_reorder_or_hide_text_are_spelled_out() {
        assert_eq!(printable("user\u{202e}gpj.exe\u{2066}"), r"user\u{202e}gpj.exe\u{2066}");
        assert_eq!(
            printable("\u{200b}\u{200f}\u{2028}\u{feff}\u{e0041}"),
            r"\u{200b}\u{200f}\u{2028}\u{feff}\u{e0041}"
        );
        // A joiner of an emoji, one of Persian, and right-to-left text by itself.
        for text in ["👩\u{200d}🔬", "می\u{200c}خواهم", "שלום"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn a_line_end_forges_no_line_of_the_programs() {
        let text = "cannot read a\nsmoltalk: all is well\r\n";
        assert_eq!(printable_message(text), "cannot read a\n  smoltalk: all is well\\r\n  ");
    }
}
