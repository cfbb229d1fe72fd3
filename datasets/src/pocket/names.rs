//! Names of people: two open syllables and perhaps a last consonant, twelve thousand of them, a tenth held out. The
//! first three letters are 480 sets, few enough for a small vocabulary to hold each as one token.

use super::Draw;
use super::draw::hash;
use super::words::words;

/// Which half of the world a text may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Nine tenths of all names and of all combinations of facts.
    Train,
    /// The others.
    Test,
}

impl Split {
    /// Whether what these words say belongs here.
    pub(super) fn holds(self, words: &str) -> bool {
        hash(words).is_multiple_of(10) == (self == Self::Test)
    }
}

const CONSONANTS: [char; 16] =
    ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
/// Of the second syllable.
const MIDDLES: [char; 6] = ['l', 'm', 'n', 'r', 't', 'v'];
const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
const ENDINGS: [&str; 5] = ["", "l", "n", "r", "s"];
/// Built like names, but words of the texts.
const WORDS: [&str; 26] = [
    "love", "name", "note", "here", "more", "take", "give", "make", "gave", "came", "home", "late", "time",
    "live", "none", "done", "some", "have", "were", "bake", "rope", "kite", "cave", "never", "later", "come",
];

/// A name of this split.
pub(super) fn name(draw: &mut Draw, split: Split) -> String {
    loop {
        let mut name = String::new();
        for consonants in [CONSONANTS.as_slice(), &MIDDLES] {
            name.push(draw.pick(consonants));
            name.push(draw.pick(&VOWELS));
        }
        name.push_str(draw.pick(&ENDINGS));
        if !WORDS.contains(&name.as_str()) && split.holds(&name) {
            return name[..1].to_uppercase() + &name[1..];
        }
    }
}

/// Different names.
pub(super) fn names(draw: &mut Draw, split: Split, count: usize) -> Vec<String> {
    let mut list: Vec<String> = Vec::with_capacity(count);
    while list.len() < count {
        let name = name(draw, split);
        // Names that begin alike are easily taken for each other, by people too.
        if list.iter().all(|other| other[..2] != name[..2]) {
            list.push(name);
        }
    }
    list
}

/// Whether a word is built as a name.
pub(super) fn is_name(word: &str) -> bool {
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
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    words(text).filter(|word| is_name(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_never_of_both_splits() {
        let mut draw = Draw::new(1, "names");
        for _ in 0..2000 {
            let (train, test) = (name(&mut draw, Split::Train), name(&mut draw, Split::Test));
            assert!(is_name(&train) && is_name(&test) && train != test);
            assert!(Split::Train.holds(&train.to_lowercase()) && !Split::Train.holds(&test.to_lowercase()));
        }
        for word in ["Here", "Love", "Dear", "Hi", "mara", "News", "The", "Where"] {
            assert!(!is_name(word), "{word}");
        }
        assert!(is_name("Mara") && is_name("Tolin"));
    }
}
