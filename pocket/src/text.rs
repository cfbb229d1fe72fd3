//! Texts as words and sentences.

/// The words of a text without what surrounds them: `Mara's` gives `Mara` and `s`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The sentences of a text. They end with `.`, `?` or `!` before white space, and at the line feeds and semicolons of
/// procedures.
pub(crate) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return None;
            }
            let ends = rest.char_indices().find_map(|(index, letter)| {
                let next = rest[index + letter.len_utf8()..].chars().next();
                let is_stop = matches!(letter, '.' | '?' | '!') && next.is_none_or(char::is_whitespace);
                if is_stop {
                    Some((index + 1, index + 1))
                } else {
                    matches!(letter, '\n' | ';').then_some((index, index + 1))
                }
            });
            let (end, next) = ends.unwrap_or((rest.len(), rest.len()));
            let sentence = rest[..end].trim();
            rest = &rest[next..];
            if !sentence.is_empty() {
                return Some(sentence);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_they_end() {
        let list: Vec<&str> = sentences("A is in. Is B?\nset x to 4; add 2.5 to x\nEnd").collect();
        assert_eq!(list, ["A is in.", "Is B?", "set x to 4", "add 2.5 to x", "End"]);
    }
}
