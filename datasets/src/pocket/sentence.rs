//! Sentences with slots, read both ways: filled in to write a text, matched to read it back. A slot holds one word, so
//! that every sentence has one reading.

use super::words::{Sort, sort_of};

/// What a slot takes, by its letter in a template: `{n} has a {c} {t}.`
fn takes(slot: char) -> Option<Sort> {
    Some(match slot {
        'n' | 'm' => Sort::Name,
        'p' | 'q' => Sort::Place,
        't' => Sort::Thing,
        'c' => Sort::Colour,
        'j' => Sort::Job,
        'd' => Sort::Day,
        'e' => Sort::Event,
        'k' => Sort::Number,
        _ => return None,
    })
}

/// A template with its slots filled: (letter, word) pairs.
pub(super) fn fill(template: &str, values: &[(char, &str)]) -> String {
    let mut text = template.to_owned();
    for (slot, value) in values {
        text = text.replace(&format!("{{{slot}}}"), value);
    }
    text
}

/// The words in a template's slots, in order of the template, if the text is an instance of it.
pub(super) fn read<'a>(template: &str, text: &'a str) -> Option<Vec<(char, &'a str)>> {
    let (mut slots, mut rest) = (Vec::new(), text);
    let mut pieces = template.split('{');
    rest = rest.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        let (slot, literal) = piece.split_once('}')?;
        let slot = slot.chars().next()?;
        let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let mut word = &rest[..end];
        // A plural: the literal begins with the letter that ends the word.
        if literal.starts_with('s') && takes(slot) == Some(Sort::Thing) {
            word = word.strip_suffix('s')?;
        }
        if sort_of(word) != takes(slot) {
            return None;
        }
        slots.push((slot, word));
        rest = rest[word.len()..].strip_prefix(literal)?;
    }
    rest.is_empty().then_some(slots)
}

/// The sentences of a text: ends are `.`, `?`, `!` before white space, and line ends and semicolons of procedures.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return None;
            }
            let ends = rest.char_indices().find_map(|(index, letter)| {
                let next = rest[index + letter.len_utf8()..].chars().next();
                let stop = matches!(letter, '.' | '?' | '!') && next.is_none_or(char::is_whitespace);
                if stop {
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
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_read_back() {
        let values = [('n', "Mara"), ('k', "12"), ('t', "lamp")];
        let text = fill("{n} has {k} {t}s.", &values);
        assert_eq!(text, "Mara has 12 lamps.");
        assert_eq!(read("{n} has {k} {t}s.", &text).unwrap(), values);
        assert_eq!(read("{n}'s {t} is {c}.", "Mara's lamp is red.").unwrap()[2], ('c', "red"));
        assert!(read("{n} is in the {p}.", "Mara is in the lamp.").is_none());
        assert!(read("{n} is in the {p}.", "Mara is in the barn").is_none());
        assert!(read("{n} is in the {p}.", "mara is in the barn.").is_none());
    }

    #[test]
    fn sentences_end_where_they_end() {
        let list: Vec<&str> = sentences("A is in. Is B?\nset x to 4; add 2.5 to x\nEnd").collect();
        assert_eq!(list, ["A is in.", "Is B?", "set x to 4", "add 2.5 to x", "End"]);
    }
}
