//! The conditions of a request, read from the sentences that `condition.rs` writes.

use super::condition::{ENDS, NUMBERS, PLAIN, plain_arguments};
use serde_json::{Value, json};

/// The conditions of a request of the world; none if the text is not such a request.
pub(crate) fn conditions(user: &str) -> Option<Vec<(&'static str, Value)>> {
    let (opening, mut rest) = user.split_once(". ")?;
    let openings = [
        "Write about ",
        "Tell me something about ",
        "I want a short text about ",
        "Write a few words about ",
    ];
    if !openings.iter().any(|known| opening.starts_with(known)) {
        return None;
    }
    let mut conditions = Vec::new();
    while !rest.is_empty() {
        let (condition, after) = first_condition(rest)?;
        conditions.push(condition);
        rest = after.trim_start();
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// The condition that a text begins with, and the rest of the text.
fn first_condition(text: &str) -> Option<((&'static str, Value), &str)> {
    if let Some((rule, sentence, id)) = PLAIN.iter().find(|(_, sentence, _)| text.starts_with(sentence)) {
        return Some(((*id, plain_arguments(*rule)), &text[sentence.len()..]));
    }
    if let Some(after) = text.strip_prefix("End with the words: ") {
        let end = ENDS.into_iter().find(|end| after.starts_with(end))?;
        return Some((("startend:end_checker", json!({"end_phrase": end})), &after[end.len()..]));
    }
    let (sentence, rest) = text.split_at(text.find('.')? + 1);
    let words: Vec<&str> = sentence.trim_end_matches('.').split(' ').collect();
    let count = |word: &str| NUMBERS.iter().position(|number| *number == word);
    let condition = match words.as_slice() {
        ["Use", "exactly", number, "bullet", "points"] => {
            ("detectable_format:number_bullet_lists", json!({"num_bullets": count(number)?}))
        }
        ["Use", "the", "word", word] => ("keywords:existence", json!({"keywords": [word]})),
        ["Use", "the", "words", first, "and", second] => {
            ("keywords:existence", json!({"keywords": [first, second]}))
        }
        ["Do", "not", "use", "the", "word", word] => {
            ("keywords:forbidden_words", json!({"forbidden_words": [word]}))
        }
        ["Use", "at", "least", number, "sentences"] => (
            "length_constraints:number_sentences",
            json!({"num_sentences": count(number)?, "relation": "at least"}),
        ),
        ["Use", "less", "than", number, "sentences"] => (
            "length_constraints:number_sentences",
            json!({"num_sentences": count(number)?, "relation": "less than"}),
        ),
        ["Use", "the", "word", word, "at", "least", number, "times"] => (
            "keywords:frequency",
            json!({"keyword": word, "frequency": count(number)?, "relation": "at least"}),
        ),
        ["Leave", number, "placeholder" | "placeholders", "in", "square", "brackets"] => {
            ("detectable_content:number_placeholders", json!({"num_placeholders": count(number)?}))
        }
        ["Highlight", number, "word" | "words", "with", "stars"] => {
            ("detectable_format:number_highlighted_sections", json!({"num_highlights": count(number)?}))
        }
        _ => return None,
    };
    Some((condition, rest))
}
