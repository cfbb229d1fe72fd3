//! Sentences with slots, read both ways: filled in to write a text, matched to read it back. A slot holds one word, so
//! that every sentence has one reading.

use super::words::{Sort, sort_of};
use super::{Draw, Split};

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

/// Words by the slots they fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots(Vec<(char, String)>);

impl Slots {
    pub(super) fn new(words: &[(char, &str)]) -> Self {
        Self(words.iter().map(|(slot, word)| (*slot, (*word).to_owned())).collect())
    }

    /// Slots that are drawn until what they say belongs to a split.
    pub(super) fn of_split(split: Split, draw: &mut Draw, make: impl Fn(&mut Draw) -> Self) -> Self {
        loop {
            let slots = make(draw);
            if split.holds(&slots.facts().collect::<Vec<_>>().join(" ")) {
                return slots;
            }
        }
    }

    /// The word of a slot, empty where there is none.
    pub(super) fn get(&self, slot: char) -> &str {
        self.iter().find(|(name, _)| *name == slot).map_or("", |(_, word)| word)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (char, &str)> {
        self.0.iter().map(|(slot, word)| (*slot, word.as_str()))
    }

    /// All words but the names: what decides whether they are held out.
    pub(super) fn facts(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(slot, _)| takes(*slot) != Some(Sort::Name)).map(|(_, word)| word)
    }

    /// A template with its slots filled.
    pub(super) fn fill(&self, template: &str) -> String {
        self.iter().fold(template.to_owned(), |text, (slot, word)| text.replace(&format!("{{{slot}}}"), word))
    }

    /// A text of sentences; a third of those that begin with `~` are left out.
    pub(super) fn tell(&self, sentences: &[&str], draw: &mut Draw) -> String {
        let mut text = Vec::new();
        for sentence in sentences {
            match sentence.strip_prefix('~') {
                Some(_) if draw.chance(35) => {}
                Some(optional) => text.push(self.fill(optional)),
                None => text.push(self.fill(sentence)),
            }
        }
        text.join(" ")
    }
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
        let text = Slots::new(&values).fill("{n} has {k} {t}s.");
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
