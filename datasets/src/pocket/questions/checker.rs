//! Whether a reply answers any question of the world, whoever asked it.

use super::super::Fact;
use super::super::facts::read_all;
use super::super::sentence::sentences;
use super::super::words::{Sort, sort_of, words};
use super::answer::{Answer, answer};
use super::ask::{Ask, Form};

/// What was found out about a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Right,
    /// It is not.
    Wrong,
    /// The question is of the world, but what it tells does not answer it.
    Unanswerable,
    /// The question is not one this world asks.
    Unreadable,
}

/// Judges a reply to the last of a user's turns; all turns tell facts.
pub fn check(turns: &[&str], reply: &str) -> Verdict {
    let Some((facts, ask)) = understand(turns) else { return Verdict::Unreadable };
    match answer(&facts, &ask) {
        None => Verdict::Unanswerable,
        Some(answer) if says(reply, &answer, &ask) => Verdict::Right,
        Some(_) => Verdict::Wrong,
    }
}

/// All facts of the turns, and what the last one asks.
fn understand(turns: &[&str]) -> Option<(Vec<Fact>, Ask)> {
    let (mut facts, mut asked) = (Vec::new(), None);
    for turn in turns {
        let (told, others) = read_all(turn);
        facts.extend(told);
        // A procedure may be asked about in words and end with `print x`: one question.
        let mut asks: Vec<Ask> = others.into_iter().map(Ask::read).collect::<Option<_>>()?;
        asks.dedup_by_key(|ask| ask.form);
        asked = match asks.len() {
            1 => asks.pop(),
            _ => return None,
        };
    }
    Some((facts, asked?))
}

/// Whether the last sentence of a reply gives this answer, of what was asked about and of nothing else. What comes
/// before it are steps.
pub(super) fn says(reply: &str, answer: &Answer, ask: &Ask) -> bool {
    let last = sentences(reply).last().unwrap_or("");
    if ask.form == Form::Backwards {
        let items = words(last).filter(|word| matches!(sort_of(word), Some(Sort::Thing | Sort::Animal)));
        return items.eq(answer.words.iter().map(String::as_str));
    }
    let said: Vec<&str> = words(last).collect();
    let answers = |word: &str| answer.words[0] == word;
    let of_something_else = |word: &&str| match sort_of(word) {
        None | Some(Sort::Number) => matches!(*word, "not" | "no" | "nobody" | "never"),
        Some(_) => !answers(word) && !ask.names(word),
    };
    if said.iter().any(of_something_else) {
        return false;
    }
    // The number that answers is the last one: others may be part of how it is said.
    match answer.sort {
        Sort::Number => {
            said.iter().rfind(|word| sort_of(word) == Some(Sort::Number)).is_some_and(|word| answers(word))
        }
        _ => said.iter().any(|word| answers(word)),
    }
}
