//! The pocket world: small English texts that are true by construction, endlessly many, and checkers that read
//! them back. What the pocket models are made of and measured on.
//!
//! Everything follows from a seed. Names, and the combinations of facts that questions are about, are split by their
//! hash between training and test, and every question holds what is needed to answer it: what is measured is skill, not
//! memory. In documents alone a question that follows another may be about a combination that is held out.

pub mod documents;
mod draw;
mod facts;
pub mod letters;
mod names;
pub mod questions;
pub mod requests;
mod scenes;
mod sentence;
pub mod stories;
pub mod talks;
mod words;

pub use draw::Draw;
pub use facts::Fact;
pub use names::Split;
pub use questions::{Kind, Question, Verdict, check};

/// The words of the world in a reply's last sentence, in their order: what it answers, after any steps.
pub fn answered(reply: &str) -> Vec<&str> {
    sentence::sentences(reply).last().into_iter().flat_map(words::of_world).collect()
}

/// What a text tells in the place of a word: the word itself where it holds it, else the first one of its sort.
pub fn counterpart<'a>(word: &str, text: &'a str) -> Option<&'a str> {
    let told = || words::of_world(text);
    let sort = words::sort_of(word);
    told().find(|other| *other == word).or_else(|| told().find(|other| words::sort_of(other) == sort))
}

/// The words of the world in a text (names, places, things, numbers), each once, in its order.
pub fn told(text: &str) -> Vec<&str> {
    let mut list: Vec<&str> = Vec::new();
    for word in words::of_world(text) {
        if !list.contains(&word) {
            list.push(word);
        }
    }
    list
}

/// Whether a text names somebody whose name is held out.
pub fn names_held_out(text: &str) -> bool {
    names::names_in(text).any(|name| Split::Test.holds(&name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_for_the_first_of_its_sort_where_it_is_not_told_itself() {
        let source = "Mara, come to the party at 4 in the mill. Tolin";
        assert_eq!(counterpart("Tolin", source), Some("Tolin"));
        assert_eq!(counterpart("Bemi", source), Some("Mara"));
        assert_eq!(counterpart("barn", source), Some("mill"));
        assert_eq!(counterpart("red", source), None);
    }

    #[test]
    fn the_last_sentence_answers() {
        assert_eq!(answered("Let me see. 12 Mara, 30 Tolin. The oldest: 30 Tolin."), ["30", "Tolin"]);
        assert_eq!(answered("5 + 2 = 7. Mara has 7 lamps now."), ["Mara", "7", "lamps"]);
        assert!(answered("So be it.").is_empty());
    }

    #[test]
    fn who_is_held_out_is_found_in_a_text() {
        let mut draw = Draw::new(2, "held out");
        for _ in 0..200 {
            let held_out = format!("Where is {}'s lamp?", names::name(&mut draw, Split::Test));
            assert!(names_held_out(&held_out), "{held_out}");
            let question = Question::new(draw.pick(&Kind::ALL), &mut draw, Split::Train);
            assert!(!names_held_out(&question.user), "{}", question.user);
        }
    }
}
