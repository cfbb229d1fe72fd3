//! Comparisons that judges make: two texts word by word, with the words as the reason.

use crate::comparison::{answer_words, counterpart, distinct_words};
use crate::talks::Topic;

/// A comparison of two texts: the reason, and whether they agree.
pub(super) type Agreement = (String, bool);

/// Whether two replies say the same: to questions, by the words of their answers one by one; in a role or a scene, by
/// every word of the world; in advice, by the whole text.
pub(super) fn compare_replies(topic: Option<Topic>, first: &str, second: &str) -> Agreement {
    match topic {
        None => {
            let (first, second) = (answer_words(first), answer_words(second));
            let word = |list: &[&str], index: usize| (*list.get(index).unwrap_or(&"nothing")).to_owned();
            let length = first.len().max(second.len());
            compare_pairs((0..length).map(|index| (word(&first, index), word(&second, index))))
        }
        Some(Topic::Role | Topic::Scene) => compare_words(first, second),
        Some(Topic::Ideas) => ("They are ideas".to_owned(), true),
        Some(Topic::Advice) => {
            let agrees = first == second;
            (compared(&format!("{first} {second}"), agrees), agrees)
        }
    }
}

/// Compares each word of the world in a text with its counterpart in another text.
pub(super) fn compare_words(text: &str, other: &str) -> Agreement {
    let other_word = |word: &str| counterpart(word, other).unwrap_or("nothing").to_owned();
    compare_pairs(distinct_words(text).into_iter().map(|word| (word.to_owned(), other_word(word))))
}

/// Compares two words at a time.
pub(super) fn compare_pairs(pairs: impl Iterator<Item = (String, String)>) -> Agreement {
    let (mut reasons, mut agrees) = (Vec::new(), true);
    for (first, second) in pairs {
        agrees &= first == second;
        reasons.push(compared(&format!("{first} {second}"), first == second));
    }
    if reasons.is_empty() {
        return ("nothing is said".to_owned(), false);
    }
    (reasons.join(", "), agrees)
}

/// Two words or texts side by side, and whether they are the same.
fn compared(texts: &str, are_same: bool) -> String {
    format!("{texts} {}", if are_same { "yes" } else { "no" })
}
