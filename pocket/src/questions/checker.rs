//! The checker: whether a reply answers a question of the world, whoever wrote the question.

use super::answer::{Answer, answer};
use super::query::{Form, Query};
use crate::facts::{Fact, read_facts};
use crate::text::{sentences, words};
use crate::vocabulary::{Sort, sort_of};

/// The judgment of a reply, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It is the answer.
    Right,
    /// It is not the answer.
    Wrong,
    /// The question is one of the world, but its facts do not answer it.
    Unanswerable,
    /// The question is not one of the world.
    Unreadable,
}

/// Judges a reply to the last of a user's turns. The facts of all turns count.
pub(crate) fn check(turns: &[&str], reply: &str) -> Verdict {
    let Some((facts, query)) = read_turns(turns) else { return Verdict::Unreadable };
    match answer(&facts, &query) {
        None => Verdict::Unanswerable,
        Some(answer) if gives_answer(reply, &answer, &query) => Verdict::Right,
        Some(_) => Verdict::Wrong,
    }
}

/// The facts of all turns, and the query of the last one.
fn read_turns(turns: &[&str]) -> Option<(Vec<Fact>, Query)> {
    let (mut facts, mut query) = (Vec::new(), None);
    for turn in turns {
        let (turn_facts, others) = read_facts(turn);
        facts.extend(turn_facts);
        // A procedure may be asked about in a sentence and end with `print x`: that is one query.
        let mut queries: Vec<Query> = others.into_iter().map(Query::read).collect::<Option<_>>()?;
        queries.dedup_by_key(|query| query.form);
        query = match queries.len() {
            1 => queries.pop(),
            _ => return None,
        };
    }
    Some((facts, query?))
}

/// Whether the last sentence of a reply gives this answer, about the subject of the query and nothing else. The
/// sentences before it are steps.
pub(super) fn gives_answer(reply: &str, answer: &Answer, query: &Query) -> bool {
    let last = sentences(reply).last().unwrap_or("");
    if query.form == Form::Backwards {
        let items = words(last).filter(|word| matches!(sort_of(word), Some(Sort::Thing | Sort::Animal)));
        return items.eq(answer.words.iter().map(String::as_str));
    }
    let reply_words: Vec<&str> = words(last).collect();
    let is_answer = |word: &str| answer.words[0] == word;
    let is_foreign = |word: &&str| match sort_of(word) {
        None | Some(Sort::Number) => matches!(*word, "not" | "no" | "nobody" | "never"),
        Some(_) => !is_answer(word) && !query.contains(word),
    };
    if reply_words.iter().any(is_foreign) {
        return false;
    }
    // The last number is the answer: others may be part of the sentence.
    match answer.sort {
        Sort::Number => {
            let last_number = reply_words.iter().rfind(|word| sort_of(word) == Some(Sort::Number));
            last_number.is_some_and(|word| is_answer(word))
        }
        _ => reply_words.iter().any(|word| is_answer(word)),
    }
}
