//! A question with its answer and a reply, its follow-ups, and the parts of its text.

use super::answer::{answer, compare_with_facts};
use super::content::{draw_change, draw_facts, draw_query};
use super::kind::Kind;
use super::query::Query;
use super::reply::{question_text, reply_text, with_end};
use crate::draw::Draw;
use crate::facts::{Fact, split_key};
use crate::split::Split;

/// A question with its answer, and a reply that gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub kind: Kind,
    /// The user's text: facts and a question.
    pub user: String,
    /// A right reply.
    pub reply: String,
    /// The words of the answer, separated by commas.
    pub answer: String,
    pub(super) facts: Vec<Fact>,
    pub(super) query: Query,
    pub(super) split: Split,
}

impl Question {
    /// Words before a reply that say nothing.
    pub(crate) const CHATTY: &str = "Let me see.";

    /// A question of a kind whose names and facts belong to a split.
    pub fn new(kind: Kind, draw: &mut Draw, split: Split) -> Self {
        loop {
            let facts = draw_facts(kind, draw, split);
            let query = draw_query(kind, &facts, draw);
            let right = answer(&facts, &query).filter(|_| split.contains(&split_key(&facts)));
            let Some(right) = right else { continue };
            let user = question_text(&facts, &query, draw);
            let reply = reply_text(&facts, &query, &right, draw);
            return Self { kind, user, reply, answer: right.words.join(", "), facts, query, split };
        }
    }

    /// Another question about the same facts, or after one more fact, whatever its split.
    pub(crate) fn follow_up(&self, draw: &mut Draw) -> Self {
        // Both can be asked only once about a list.
        let is_asked_once = matches!(self.kind, Kind::Backwards | Kind::Length);
        let kind = if is_asked_once { Kind::Next } else { self.kind };
        loop {
            let mut facts = self.facts.clone();
            let change = draw_change(kind, &facts, draw, self.split);
            facts.extend(change.clone());
            let query = draw_query(kind, &facts, draw);
            let Some(right) = answer(&facts, &query) else { continue };
            if change.is_none() && query == self.query {
                continue;
            }
            let question = query.sentence(draw);
            let user = match change {
                Some(fact) => format!("{} {question}", with_end(&fact.sentence(draw))),
                None if question.starts_with('W') && draw.chance(60) => {
                    format!("And {}{}", question[..1].to_lowercase(), &question[1..])
                }
                None => question,
            };
            let reply = reply_text(&facts, &query, &right, draw);
            let answer = right.words.join(", ");
            return Self { kind, user, reply, answer, facts, query, split: self.split };
        }
    }

    /// A follow-up that belongs to the training split if the question does. Held-out follow-ups are not restricted,
    /// because few combinations of facts would be left for them.
    pub(crate) fn follow_up_of_split(&self, draw: &mut Draw) -> Self {
        loop {
            let next = self.follow_up(draw);
            // Without a new fact, the facts are those that were drawn for the split.
            let has_new_fact = next.facts.len() > self.facts.len();
            if self.split == Split::Test || !has_new_fact || self.split.contains(&split_key(&next.facts)) {
                return next;
            }
        }
    }

    /// A conversation: a question and `count - 1` follow-ups, with natural replies.
    pub(crate) fn turns(kind: Kind, count: usize, draw: &mut Draw, split: Split) -> Vec<(String, String)> {
        let mut question = Self::new(kind, draw, split);
        let mut turns = vec![(question.user.clone(), question.natural_reply(draw))];
        for _ in 1..count {
            question = question.follow_up_of_split(draw);
            turns.push((question.user.clone(), question.natural_reply(draw)));
        }
        turns
    }

    /// Whether its text contains its answer.
    pub(crate) fn is_answerable(&self) -> bool {
        answer(&self.facts, &self.query).is_some()
    }

    /// What each fact states beside what is asked for, word by word up to the first that differs. The question is
    /// answerable if nothing differs in exactly one fact; or in several facts, if it compares people or things happen
    /// one after another.
    pub(crate) fn compared_with_facts(&self) -> Vec<Vec<(String, String)>> {
        compare_with_facts(&self.facts, &self.query)
    }

    /// The facts alone, one sentence each.
    pub(crate) fn fact_sentences(&self, draw: &mut Draw) -> Vec<String> {
        self.facts.iter().map(|fact| fact.sentence(draw)).collect()
    }

    /// What is written between sentences: the steps of a procedure are lines.
    pub(crate) fn separator(&self) -> &'static str {
        if self.kind == Kind::Code { "\n" } else { " " }
    }

    /// The facts alone, as one text.
    pub(crate) fn facts_text(&self, draw: &mut Draw) -> String {
        self.fact_sentences(draw).join(self.separator())
    }

    /// The facts that an earlier question does not have, as one text; none if there are no new facts.
    pub(crate) fn new_facts_text(&self, earlier: &Self, draw: &mut Draw) -> Option<String> {
        let new = self.facts.get(earlier.facts.len()..)?;
        let sentences: Vec<String> = new.iter().map(|fact| fact.sentence(draw)).collect();
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }

    /// The question alone, without the facts.
    pub(crate) fn query_sentence(&self, draw: &mut Draw) -> String {
        self.query.sentence(draw)
    }

    /// The facts.
    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The answer alone, without steps and without a sentence around it.
    pub(crate) fn bare_reply(&self) -> String {
        match self.kind {
            Kind::Place | Kind::Moves | Kind::Next => format!("The {}.", self.answer),
            _ => format!("{}.", self.answer),
        }
    }

    /// The reply with words before it that say nothing.
    pub(crate) fn chatty_reply(&self) -> String {
        format!("{} {}", Self::CHATTY, self.reply)
    }

    /// A right reply, chatty in 60 of 100 draws.
    pub(crate) fn natural_reply(&self, draw: &mut Draw) -> String {
        if draw.chance(60) { self.chatty_reply() } else { self.reply.clone() }
    }

    /// The number of facts; each item of a list counts.
    pub(crate) fn size(&self) -> usize {
        self.facts.iter().map(|fact| fact.items.len().max(1)).sum()
    }
}
