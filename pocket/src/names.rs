//! Names of people: two open syllables and sometimes a final consonant. There are 12,000 of them; a tenth is held out.
//! Their first three letters have 480 combinations, few enough for a small vocabulary to have a token for each.

use crate::draw::Draw;
use crate::split::Split;
use crate::text::words;

const CONSONANTS: [char; 16] =
    ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
/// Consonants of the second syllable.
const MIDDLES: [char; 6] = ['l', 'm', 'n', 'r', 't', 'v'];
const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
const ENDINGS: [&str; 5] = ["", "l", "n", "r", "s"];
/// Words of the texts that have the form of a name.
const WORDS: [&str; 26] = [
    "love", "name", "note", "here", "more", "take", "give", "make", "gave", "came", "home", "late", "time",
    "live", "none", "done", "some", "have", "were", "bake", "rope", "kite", "cave", "never", "later", "come",
];

/// A random name of a split.
pub(crate) fn name(draw: &mut Draw, split: Split) -> String {
    loop {
        let mut name = String::new();
        for consonants in [CONSONANTS.as_slice(), &MIDDLES] {
            name.push(draw.pick(consonants));
            name.push(draw.pick(&VOWELS));
        }
        name.push_str(draw.pick(&ENDINGS));
        if !WORDS.contains(&name.as_str()) && split.contains(&name) {
            return name[..1].to_uppercase() + &name[1..];
        }
    }
}

/// Different random names of a split.
pub(crate) fn names(draw: &mut Draw, split: Split, count: usize) -> Vec<String> {
    let mut list: Vec<String> = Vec::with_capacity(count);
    while list.len() < count {
        let name = name(draw, split);
        // Names with the same beginning are easily confused, by people too.
        if list.iter().all(|other| other[..2] != name[..2]) {
            list.push(name);
        }
    }
    list
}

/// Whether a word has the form of a name.
pub(crate) fn is_name(word: &str) -> bool {
    let letters: Vec<char> = word.chars().collect();
    let lower = word.to_lowercase();
    let [first, a, second, b, ending @ ..] = letters.as_slice() else { return false };
    let ending: String = ending.iter().collect();
    first.is_ascii_uppercase()
        && CONSONANTS.contains(&first.to_ascii_lowercase())
        && VOWELS.contains(a)
        && MIDDLES.contains(second)
        && VOWELS.contains(b)
        && ENDINGS.contains(&ending.as_str())
        && !WORDS.contains(&lower.as_str())
}

/// The names in a text.
pub(crate) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    words(text).filter(|word| is_name(word))
}

/// Whether a text contains a held-out name.
pub(crate) fn has_held_out_name(text: &str) -> bool {
    names_in(text).any(|name| Split::Test.contains(&name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_never_in_both_splits() {
        let mut draw = Draw::new(1, "names");
        for _ in 0..2000 {
            let (train, test) = (name(&mut draw, Split::Train), name(&mut draw, Split::Test));
            assert!(is_name(&train) && is_name(&test) && train != test);
            assert!(
                Split::Train.contains(&train.to_lowercase()) && !Split::Train.contains(&test.to_lowercase())
            );
        }
        for word in ["Here", "Love", "Dear", "Hi", "mara", "News", "The", "Where"] {
            assert!(!is_name(word), "{word}");
        }
        assert!(is_name("Mara") && is_name("Tolin"));
    }
}
