//! Requests for a few sentences under conditions that a program can check: IFEval's, in plain words, with replies that
//! meet them.

mod condition;
mod read;

pub use read::conditions;

use super::scenes::{Subject, scene};
use super::{Draw, Split};
use condition::{Condition, Rule};
use serde_json::Value;

/// A request, what it asks for in IFEval's terms, and a reply.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request's words.
    pub user: String,
    /// The ids and arguments of its conditions.
    pub conditions: Vec<(&'static str, Value)>,
    /// A reply that meets them.
    pub reply: String,
    /// A reply that breaks the first of them.
    pub wrong: String,
}

/// A reply on its way: its sentences, and what goes around them.
#[derive(Clone, Default)]
struct Reply {
    sentences: Vec<String>,
    bullets: bool,
    title: Option<String>,
    end: Option<String>,
    quoted: bool,
    capital: Option<bool>,
}

impl Reply {
    fn text(&self) -> String {
        let body = if self.bullets {
            self.sentences.iter().map(|one| format!("* {one}")).collect::<Vec<_>>().join("\n")
        } else {
            self.sentences.join(" ")
        };
        let mut text = body;
        if let Some(title) = &self.title {
            text = format!("<<{title}>>\n{text}");
        }
        if let Some(end) = &self.end {
            text = format!("{text}{}{end}", if self.bullets { "\n" } else { " " });
        }
        match self.capital {
            Some(true) => text = text.to_uppercase(),
            Some(false) => text = text.to_lowercase(),
            None => {}
        }
        if self.quoted { format!("\"{text}\"") } else { text }
    }
}

impl Request {
    /// A request about people and things of a split, with one condition, sometimes two.
    pub fn new(draw: &mut Draw, split: Split) -> Self {
        let subject = Subject::new(draw, split);
        let count = draw.between(1, 3);
        let mut reply = Reply { sentences: scene(&subject, count, draw), ..Reply::default() };
        let first = draw.pick(&Rule::ALL);
        let mut conditions = vec![Condition::new(first, &subject, draw)];
        if draw.chance(20) {
            let second = draw.pick(&Rule::ALL);
            if first.goes_with(second) {
                conditions.push(Condition::new(second, &subject, draw));
            }
        }
        for condition in &conditions {
            while reply.sentences.len() < condition.least_sentences() {
                reply.sentences = scene(&subject, reply.sentences.len() + 1, draw);
            }
        }
        let mut wrong = reply.clone();
        conditions.iter().for_each(|condition| (condition.apply)(&mut reply));
        (conditions[0].spoil)(&mut wrong);
        let words: Vec<&str> = conditions.iter().map(|condition| condition.words.as_str()).collect();
        let about = about(&subject, draw);
        Self {
            user: format!("{about} {}", words.join(" ")),
            conditions: conditions
                .iter()
                .map(|condition| (condition.id, condition.arguments.clone()))
                .collect(),
            reply: reply.text(),
            wrong: wrong.text(),
        }
    }

    /// The conditions' words without what is to be written about.
    pub(super) fn rule(&self) -> &str {
        self.user.split_once(". ").map_or("", |(_, rule)| rule)
    }
}

fn about(subject: &Subject, draw: &mut Draw) -> String {
    let Subject { name, thing, place, colour } = subject;
    match draw.below(4) {
        0 => format!("Write about {name} and a {colour} {thing} in the {place}."),
        1 => format!("Tell me something about a {colour} {thing} and {name} in the {place}."),
        2 => format!("I want a short text about {name} with a {colour} {thing} in the {place}."),
        _ => format!("Write a few words about {name} in the {place} with a {colour} {thing}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_back_from_the_requests_words() {
        let mut draw = Draw::new(8, "requests");
        for _ in 0..2000 {
            let request = Request::new(&mut draw, Split::Train);
            assert_eq!(conditions(&request.user).as_ref(), Some(&request.conditions), "{}", request.user);
        }
        assert_eq!(conditions("Write about Mara. Be kind."), None);
    }
}
