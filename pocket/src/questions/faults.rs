//! Questions with a fault, and wrong replies: what judges must learn to recognize.

use super::answer::{answer, subject};
use super::checker::gives_answer;
use super::content::draw_query;
use super::kind::Kind;
use super::question::Question;
use super::reply::{other_answer, question_text, reply_text};
use crate::draw::Draw;
use crate::facts::Fact;

impl Question {
    /// A reply of the same form with a wrong answer, which is a word of the text if it has one that fits.
    pub(crate) fn wrong_reply(&self, draw: &mut Draw) -> String {
        let Some(right) = answer(&self.facts, &self.query) else { return String::new() };
        loop {
            let wrong = other_answer(&self.facts, &self.query, &right, draw, self.split);
            let text = reply_text(&self.facts, &self.query, &wrong, draw);
            if wrong != right && !gives_answer(&text, &right, &self.query) {
                return text;
            }
        }
    }

    /// A question of the same kind whose text does not contain its answer. It asks about another person or thing, mixes
    /// two facts, has facts of another kind, or has two facts that could be meant. It has no right reply.
    pub(crate) fn unanswerable(&self, draw: &mut Draw) -> Option<Self> {
        for _ in 0..20 {
            let other = Self::new(self.kind, draw, self.split).query;
            let (mut query, mut facts) = (self.query.clone(), self.facts.clone());
            match draw.below(5) {
                0 => query = other,
                1 => query = query.mixed_with(&other),
                2 => query = query.mixed_with(&draw_query(self.kind, &facts, draw)),
                // The lines of a procedure are not sentences.
                3 if self.kind != Kind::Code => {
                    let kind =
                        draw.pick(&Kind::ALL.map(|kind| if kind == Kind::Code { Kind::Place } else { kind }));
                    facts = Self::new(kind, draw, self.split).facts;
                }
                _ => facts = self.with_second_subject(draw),
            }
            if answer(&facts, &query).is_none() {
                let user = question_text(&facts, &query, draw);
                let (reply, answer) = (String::new(), String::new());
                return Some(Self { user, reply, answer, facts, query, ..*self });
            }
        }
        None
    }

    /// The facts, and one more that the question could be about.
    fn with_second_subject(&self, draw: &mut Draw) -> Vec<Fact> {
        let (relations, slots) = subject(self.query.form);
        let mut facts = self.facts.clone();
        let candidates: Vec<usize> =
            (0..facts.len()).filter(|index| relations.contains(&facts[*index].relation)).collect();
        let index = draw.pick(&candidates);
        if facts[index].items.is_empty() {
            let second = self.facts[index].with(|slot| slots.contains(&slot).then(|| self.query.get(slot)));
            facts.insert(draw.below(facts.len() + 1), second);
        } else if !self.query.get('t').is_empty() {
            let place = draw.between(1, facts[index].items.len() - 1);
            facts[index].items.insert(place, self.query.get('t').to_owned());
        }
        facts
    }

    /// The text of the question with its words in random order.
    pub(crate) fn shuffled_text(&self, draw: &mut Draw) -> String {
        let mut words: Vec<&str> = self.user.split(' ').collect();
        draw.shuffle(&mut words);
        words.join(" ")
    }
}
