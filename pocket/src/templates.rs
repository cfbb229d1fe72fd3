//! Sentences with slots, used in both directions: filled in to write a text, matched to read it back. A slot holds one
//! word, so that every sentence has one reading.

use crate::draw::Draw;
use crate::split::Split;
use crate::vocabulary::{Sort, sort_of};

/// The sort of words that a slot takes, by its letter in a template, such as `{n} has a {c} {t}.`
fn slot_sort(slot: char) -> Option<Sort> {
    Some(match slot {
        'n' | 'm' => Sort::Name,
        'p' | 'q' => Sort::Place,
        't' => Sort::Thing,
        'c' => Sort::Color,
        'j' => Sort::Job,
        'd' => Sort::Day,
        'e' => Sort::Event,
        'k' => Sort::Number,
        _ => return None,
    })
}

/// Words by the slots that they fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots(Vec<(char, String)>);

impl Slots {
    pub(crate) fn new(words: &[(char, &str)]) -> Self {
        Self(words.iter().map(|(slot, word)| (*slot, (*word).to_owned())).collect())
    }

    /// Slots that are drawn with `draw_slots` until their facts belong to a split.
    pub(crate) fn of_split(split: Split, draw: &mut Draw, draw_slots: impl Fn(&mut Draw) -> Self) -> Self {
        loop {
            let slots = draw_slots(draw);
            if split.contains(&slots.facts().collect::<Vec<_>>().join(" ")) {
                return slots;
            }
        }
    }

    /// The word of a slot; empty if there is none.
    pub(crate) fn get(&self, slot: char) -> &str {
        self.iter().find(|(name, _)| *name == slot).map_or("", |(_, word)| word)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (char, &str)> {
        self.0.iter().map(|(slot, word)| (*slot, word.as_str()))
    }

    /// All words but the names: they decide the split.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(slot, _)| slot_sort(*slot) != Some(Sort::Name)).map(|(_, word)| word)
    }

    /// A template with its slots filled.
    pub(crate) fn fill(&self, template: &str) -> String {
        self.iter().fold(template.to_owned(), |text, (slot, word)| text.replace(&format!("{{{slot}}}"), word))
    }

    /// A text of several templates. Those that begin with `~` are left out in 35 of 100 draws.
    pub(crate) fn fill_all(&self, templates: &[&str], draw: &mut Draw) -> String {
        let mut text = Vec::new();
        for template in templates {
            match template.strip_prefix('~') {
                Some(_) if draw.chance(35) => {}
                Some(optional) => text.push(self.fill(optional)),
                None => text.push(self.fill(template)),
            }
        }
        text.join(" ")
    }
}

/// The words in the slots of a template, in its order; none if the text does not match it.
pub(crate) fn read<'a>(template: &str, text: &'a str) -> Option<Vec<(char, &'a str)>> {
    let (mut slots, mut rest) = (Vec::new(), text);
    let mut pieces = template.split('{');
    rest = rest.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        let (slot, literal) = piece.split_once('}')?;
        let slot = slot.chars().next()?;
        let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let mut word = &rest[..end];
        // A plural: the literal begins with the letter that ends the word.
        if literal.starts_with('s') && slot_sort(slot) == Some(Sort::Thing) {
            word = word.strip_suffix('s')?;
        }
        if sort_of(word) != slot_sort(slot) {
            return None;
        }
        slots.push((slot, word));
        rest = rest[word.len()..].strip_prefix(literal)?;
    }
    rest.is_empty().then_some(slots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_filled_template_is_read_back() {
        let values = [('n', "Mara"), ('k', "12"), ('t', "lamp")];
        let text = Slots::new(&values).fill("{n} has {k} {t}s.");
        assert_eq!(text, "Mara has 12 lamps.");
        assert_eq!(read("{n} has {k} {t}s.", &text).unwrap(), values);
        assert_eq!(read("{n}'s {t} is {c}.", "Mara's lamp is red.").unwrap()[2], ('c', "red"));
        assert!(read("{n} is in the {p}.", "Mara is in the lamp.").is_none());
        assert!(read("{n} is in the {p}.", "Mara is in the barn").is_none());
        assert!(read("{n} is in the {p}.", "mara is in the barn.").is_none());
    }
}
