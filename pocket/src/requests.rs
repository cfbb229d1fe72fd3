//! Requests for a few sentences under conditions of IFEval, in plain words, with replies that meet them.

mod condition;
mod draft;
mod read;

pub(crate) use read::conditions;

use crate::draw::Draw;
use crate::scenes::{Subject, scene};
use crate::split::Split;
use condition::{Condition, Rule};
use draft::Draft;
use ifeval::Instruction;
use serde_json::Value;

/// A request with its conditions in IFEval's terms, and replies.
#[derive(Debug, Clone)]
pub struct Request {
    /// The text of the request.
    pub user: String,
    /// The ids and arguments of the conditions.
    pub conditions: Vec<(&'static str, Value)>,
    /// A reply that meets them.
    pub reply: String,
    /// A reply that breaks the first one.
    pub wrong_reply: String,
}

impl Request {
    /// A request about people and things of a split, with one condition, sometimes two.
    pub fn new(draw: &mut Draw, split: Split) -> Self {
        let subject = Subject::new(draw, split);
        let count = draw.between(1, 3);
        let mut reply = Draft { sentences: scene(&subject, count, draw), ..Draft::default() };
        let first = draw.pick(&Rule::ALL);
        let mut conditions = vec![Condition::new(first, &subject, draw)];
        if draw.chance(20) {
            let second = draw.pick(&Rule::ALL);
            if first.goes_with(second) {
                conditions.push(Condition::new(second, &subject, draw));
            }
        }
        for condition in &conditions {
            while reply.sentences.len() < condition.min_sentences() {
                reply.sentences = scene(&subject, reply.sentences.len() + 1, draw);
            }
        }
        let mut wrong_reply = reply.clone();
        conditions.iter().for_each(|condition| (condition.meet)(&mut reply));
        (conditions[0].violate)(&mut wrong_reply);
        let rules: Vec<&str> = conditions.iter().map(|condition| condition.text.as_str()).collect();
        Self {
            user: format!("{} {}", opening(&subject, draw), rules.join(" ")),
            conditions: conditions
                .iter()
                .map(|condition| (condition.id, condition.arguments.clone()))
                .collect(),
            reply: reply.text(),
            wrong_reply: wrong_reply.text(),
        }
    }

    /// A request whose reply passes IFEval's checks of its conditions. The language of some short texts in capitals is
    /// not recognized as English.
    pub(crate) fn new_verified(draw: &mut Draw, split: Split) -> Self {
        loop {
            let request = Self::new(draw, split);
            if meets_conditions(&request.conditions, &request.reply) {
                return request;
            }
        }
    }

    /// The text of the conditions, without what is to be written about.
    pub(crate) fn rule(&self) -> &str {
        self.user.split_once(". ").map_or("", |(_, rule)| rule)
    }
}

/// Whether a reply meets all conditions by IFEval's checks.
pub(crate) fn meets_conditions(conditions: &[(&str, Value)], reply: &str) -> bool {
    conditions.iter().all(|(id, arguments)| {
        let instruction = arguments.as_object().map(|arguments| Instruction::new(id, arguments));
        instruction.is_some_and(|instruction| instruction.is_ok_and(|instruction| instruction.strict(reply)))
    })
}

/// A sentence that says what to write about.
fn opening(subject: &Subject, draw: &mut Draw) -> String {
    let Subject { name, thing, place, color } = subject;
    match draw.below(4) {
        0 => format!("Write about {name} and a {color} {thing} in the {place}."),
        1 => format!("Tell me something about a {color} {thing} and {name} in the {place}."),
        2 => format!("I want a short text about {name} with a {color} {thing} in the {place}."),
        _ => format!("Write a few words about {name} in the {place} with a {color} {thing}."),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn conditions_are_read_back_from_the_text() {
        let mut draw = Draw::new(8, "requests");
        for _ in 0..2000 {
            let request = Request::new(&mut draw, Split::Train);
            assert_eq!(conditions(&request.user).as_ref(), Some(&request.conditions), "{}", request.user);
        }
        assert_eq!(conditions("Write about Mara. Be kind."), None);
    }

    /// A task keeps what the pocket teacher learns to write.
    #[test]
    fn replies_meet_their_own_conditions() {
        let mut draw = Draw::new(4, "requests");
        let mut ids = BTreeSet::new();
        let mut foreign_count = 0;
        for _ in 0..3000 {
            let request = Request::new(&mut draw, Split::Train);
            for (index, (id, kwargs)) in request.conditions.iter().enumerate() {
                let instruction = Instruction::new(id, kwargs.as_object().unwrap()).unwrap();
                let is_met = instruction.strict(&request.reply);
                // The language of short texts in capitals is not always recognized as English.
                foreign_count += usize::from(id.starts_with("change_case") && !is_met);
                assert!(
                    is_met || id.starts_with("change_case"),
                    "{id} {kwargs}: {}\n{}",
                    request.user,
                    request.reply
                );
                let wrong = &request.wrong_reply;
                assert!(index > 0 || !instruction.strict(wrong), "{id} {kwargs}: {wrong}");
                ids.insert(*id);
            }
        }
        assert!(ids.len() >= 12, "{ids:?}");
        assert!(foreign_count < 60, "{foreign_count}");
    }
}
