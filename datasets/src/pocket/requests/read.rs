//! What a request's words ask for: IFEval's conditions, read from the sentences that `condition` writes.

use super::condition::{ENDS, NUMBERS, PLAIN, plain_arguments};
use serde_json::{Value, json};

/// The conditions that a request of this world states, read from its words; none where it is no such request.
pub fn conditions(user: &str) -> Option<Vec<(&'static str, Value)>> {
    let (about, mut rest) = user.split_once(". ")?;
    let openings = [
        "Write about ",
        "Tell me something about ",
        "I want a short text about ",
        "Write a few words about ",
    ];
    if !openings.iter().any(|opening| about.starts_with(opening)) {
        return None;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (condition, left) = first_condition(rest)?;
        found.push(condition);
        rest = left.trim_start();
    }
    (!found.is_empty()).then_some(found)
}

/// The condition that a text begins with, and what comes after it.
fn first_condition(text: &str) -> Option<((&'static str, Value), &str)> {
    if let Some((rule, words, id)) = PLAIN.iter().find(|(_, words, _)| text.starts_with(words)) {
        return Some(((*id, plain_arguments(*rule)), &text[words.len()..]));
    }
    if let Some(after) = text.strip_prefix("End with the words: ") {
        let end = ENDS.into_iter().find(|end| after.starts_with(end))?;
        return Some((("startend:end_checker", json!({"end_phrase": end})), &after[end.len()..]));
    }
    let (sentence, left) = text.split_at(text.find('.')? + 1);
    let words: Vec<&str> = sentence.trim_end_matches('.').split(' ').collect();
    let count = |word: &str| NUMBERS.iter().position(|number| *number == word);
    let condition = match words.as_slice() {
        ["Use", "exactly", number, "bullet", "points"] => {
            ("detectable_format:number_bullet_lists", json!({"num_bullets": count(number)?}))
        }
        ["Use", "the", "word", word] => ("keywords:existence", json!({"keywords": [word]})),
        ["Use", "the", "words", one, "and", other] => {
            ("keywords:existence", json!({"keywords": [one, other]}))
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
    Some((condition, left))
}
