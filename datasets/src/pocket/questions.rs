//! Questions of thirteen kinds that hold what is needed to answer them, their answers, and the checker that reads
//! any question of the world, asked by anybody, and says whether a reply is right.

mod answer;
mod ask;
mod checker;
mod facts;
mod reply;

pub use checker::{Verdict, check};

use super::facts::tuple;
use super::{Draw, Fact, Split};
use answer::{answer, beside_told, named_by};
use ask::Ask;
use checker::says;
use facts::{ask, facts, more};
use reply::{ended, other, reply, told};
use serde::{Deserialize, Serialize};

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Where somebody is.
    Place,
    /// Who has a thing.
    Owner,
    /// What colour somebody's thing has.
    Colour,
    /// Where somebody is after some moves.
    Moves,
    /// Who is the oldest or the youngest.
    Age,
    /// Who does a work, or what somebody's work is.
    Job,
    /// Where somebody goes on a day, or when somebody goes to a place.
    Day,
    /// What comes after or before a thing in a list.
    Next,
    /// A list from its end to its beginning.
    Backwards,
    /// How many things a list holds.
    Length,
    /// How many things somebody has after gains and losses.
    Sum,
    /// Who has the most or the fewest of a thing.
    Most,
    /// What a small procedure prints.
    Code,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Place,
        Self::Owner,
        Self::Colour,
        Self::Moves,
        Self::Age,
        Self::Job,
        Self::Day,
        Self::Next,
        Self::Backwards,
        Self::Length,
        Self::Sum,
        Self::Most,
        Self::Code,
    ];

    /// As it is written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Owner => "owner",
            Self::Colour => "colour",
            Self::Moves => "moves",
            Self::Age => "age",
            Self::Job => "job",
            Self::Day => "day",
            Self::Next => "next",
            Self::Backwards => "backwards",
            Self::Length => "length",
            Self::Sum => "sum",
            Self::Most => "most",
            Self::Code => "code",
        }
    }
}

/// A question with its answer, and a reply that gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it asks for.
    pub kind: Kind,
    /// What is told and asked.
    pub user: String,
    /// A right reply.
    pub reply: String,
    /// The answer's words.
    pub answer: String,
    facts: Vec<Fact>,
    ask: Ask,
    split: Split,
}

impl Question {
    /// A question of a kind whose names and facts are of a split.
    pub fn new(kind: Kind, draw: &mut Draw, split: Split) -> Self {
        loop {
            let facts = facts(kind, draw, split);
            let ask = ask(kind, &facts, draw);
            let Some(found) = answer(&facts, &ask).filter(|_| split.holds(&tuple(&facts))) else { continue };
            let user = told(&facts, &ask, draw);
            let reply = reply(&facts, &ask, &found, draw);
            return Self { kind, user, reply, answer: found.words.join(", "), facts, ask, split };
        }
    }

    /// Another question about the same facts, or after one more, held out or not.
    pub fn follow_up(&self, draw: &mut Draw) -> Self {
        // Of a list these can be asked once only.
        let once = matches!(self.kind, Kind::Backwards | Kind::Length);
        let kind = if once { Kind::Next } else { self.kind };
        loop {
            let mut facts = self.facts.clone();
            let more = more(kind, &facts, draw, self.split);
            facts.extend(more.clone());
            let ask = ask(kind, &facts, draw);
            let Some(found) = answer(&facts, &ask) else { continue };
            if more.is_none() && ask == self.ask {
                continue;
            }
            let asked = ask.sentence(draw);
            let user = match more {
                Some(fact) => format!("{} {asked}", ended(&fact.sentence(draw))),
                None if asked.starts_with('W') && draw.chance(60) => {
                    format!("And {}{}", asked[..1].to_lowercase(), &asked[1..])
                }
                None => asked,
            };
            let reply = reply(&facts, &ask, &found, draw);
            return Self { kind, user, reply, answer: found.words.join(", "), facts, ask, split: self.split };
        }
    }

    /// A reply of the same form with another answer, of the text where it has one, and that answer.
    pub fn wrong(&self, draw: &mut Draw) -> (String, String) {
        let Some(right) = answer(&self.facts, &self.ask) else { return Default::default() };
        loop {
            let wrong = other(&self.facts, &self.ask, &right, draw, self.split);
            let text = reply(&self.facts, &self.ask, &wrong, draw);
            if wrong != right && !says(&text, &right, &self.ask) {
                return (text, wrong.words.join(", "));
            }
        }
    }

    /// A follow-up that can be trained on where the first question can: then it is not held out, either. Few facts are
    /// left for follow-ups that are held out, so those of a test question may be any.
    pub fn follow_up_of_split(&self, draw: &mut Draw) -> Self {
        loop {
            let next = self.follow_up(draw);
            // Where nothing was added, the facts are those of a question that was drawn for the split.
            let added = next.facts.len() > self.facts.len();
            if self.split == Split::Test || !added || self.split.holds(&tuple(&next.facts)) {
                return next;
            }
        }
    }

    /// The same question where the text does not tell it: of a stranger, of a stranger's thing, of two facts mixed, after
    /// facts of another kind, or where it is told twice. It has no right reply.
    pub fn unanswerable(&self, draw: &mut Draw) -> Option<Self> {
        for _ in 0..20 {
            let stranger = Self::new(self.kind, draw, self.split).ask;
            let (mut asked, mut facts) = (self.ask.clone(), self.facts.clone());
            match draw.below(5) {
                0 => asked = stranger,
                1 => asked = asked.crossed(&stranger),
                2 => asked = asked.crossed(&ask(self.kind, &facts, draw)),
                // The lines of a procedure are no sentences.
                3 if self.kind != Kind::Code => {
                    let kind =
                        draw.pick(&Kind::ALL.map(|kind| if kind == Kind::Code { Kind::Place } else { kind }));
                    facts = Self::new(kind, draw, self.split).facts;
                }
                _ => facts = self.told_twice(draw),
            }
            if answer(&facts, &asked).is_none() {
                let user = told(&facts, &asked, draw);
                return Some(Self {
                    user,
                    facts,
                    ask: asked,
                    reply: String::new(),
                    answer: String::new(),
                    ..*self
                });
            }
        }
        None
    }

    /// The facts, and one more that the question could be about as well.
    fn told_twice(&self, draw: &mut Draw) -> Vec<Fact> {
        let (relations, slots) = named_by(self.ask.form);
        let mut facts = self.facts.clone();
        let could: Vec<usize> =
            (0..facts.len()).filter(|index| relations.contains(&facts[*index].relation)).collect();
        let one = draw.pick(&could);
        if facts[one].items.is_empty() {
            let again = self.facts[one].with(|slot| slots.contains(&slot).then(|| self.ask.get(slot)));
            facts.insert(draw.below(facts.len() + 1), again);
        } else if !self.ask.get('t').is_empty() {
            let place = draw.between(1, facts[one].items.len() - 1);
            facts[one].items.insert(place, self.ask.get('t').to_owned());
        }
        facts
    }

    /// Whether what it tells answers it.
    pub fn answerable(&self) -> bool {
        answer(&self.facts, &self.ask).is_some()
    }

    /// What is told beside what is asked for, fact by fact and word by word up to the first that differs. It can be
    /// answered where none differs in one fact or, where the question compares or time goes by, in more.
    pub fn beside_told(&self) -> Vec<Vec<(String, String)>> {
        beside_told(&self.facts, &self.ask)
    }

    /// The question with its words in any order.
    pub fn mixed_up(&self, draw: &mut Draw) -> String {
        let mut words: Vec<&str> = self.user.split(' ').collect();
        draw.shuffle(&mut words);
        words.join(" ")
    }

    /// The facts alone, a sentence each.
    pub(super) fn sentences(&self, draw: &mut Draw) -> Vec<String> {
        self.facts.iter().map(|fact| fact.sentence(draw)).collect()
    }

    /// What stands between sentences: the steps of a procedure are lines.
    pub(super) fn joint(&self) -> &'static str {
        if self.kind == Kind::Code { "\n" } else { " " }
    }

    /// The facts alone, as a text.
    pub(super) fn told(&self, draw: &mut Draw) -> String {
        self.sentences(draw).join(self.joint())
    }

    /// The facts that an earlier question did not have.
    pub(super) fn told_since(&self, earlier: &Self, draw: &mut Draw) -> Option<String> {
        let new = self.facts.get(earlier.facts.len()..)?;
        let told: Vec<String> = new.iter().map(|fact| fact.sentence(draw)).collect();
        (!told.is_empty()).then(|| told.join(" "))
    }

    /// The question alone.
    pub(super) fn asked(&self, draw: &mut Draw) -> String {
        self.ask.sentence(draw)
    }

    pub(super) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The answer alone, neither steps nor a sentence around it.
    pub fn terse(&self) -> String {
        match self.kind {
            Kind::Place | Kind::Moves | Kind::Next => format!("The {}.", self.answer),
            _ => format!("{}.", self.answer),
        }
    }

    /// Words before a reply that say nothing.
    pub const CHATTY: &str = "Let me see.";

    /// The reply with words before it that say nothing.
    pub fn chatty(&self) -> String {
        format!("{} {}", Self::CHATTY, self.reply)
    }

    /// A right reply as people give them: more often than not with words too many.
    pub fn spoken(&self, draw: &mut Draw) -> String {
        if draw.chance(60) { self.chatty() } else { self.reply.clone() }
    }

    /// How many facts it takes.
    pub fn size(&self) -> usize {
        self.facts.iter().map(|fact| fact.items.len().max(1)).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_checker_knows_right_from_wrong_in_every_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(7, kind.name());
            for split in [Split::Train, Split::Test] {
                for _ in 0..500 {
                    let question = Question::new(kind, &mut draw, split);
                    let user = question.user.as_str();
                    assert_eq!(check(&[user], &question.reply), Verdict::Right, "{user}\n{}", question.reply);
                    let spoken = question.spoken(&mut draw);
                    assert_eq!(check(&[user], &spoken), Verdict::Right, "{user}\n{spoken}");
                    let wrong = question.wrong(&mut draw).0;
                    assert_eq!(check(&[user], &wrong), Verdict::Wrong, "{user}\n{wrong}");
                    assert_eq!(check(&[user], ""), Verdict::Wrong, "{user}");
                    let next = question.follow_up(&mut draw);
                    let turns = [user, next.user.as_str()];
                    assert_eq!(check(&turns, &next.reply), Verdict::Right, "{turns:?}\n{}", next.reply);
                    assert_eq!(check(&turns, &next.wrong(&mut draw).0), Verdict::Wrong, "{turns:?}");
                    let same = |question: &Question| {
                        let all =
                            |fact: &Vec<(String, String)>| fact.iter().all(|(told, asked)| told == asked);
                        question.beside_told().iter().filter(|fact| all(fact)).count()
                    };
                    assert!(question.answerable() && same(&question) > 0, "{user}");
                    if let Some(other) = question.unanswerable(&mut draw) {
                        let text = other.user.as_str();
                        assert_eq!(check(&[text], &question.reply), Verdict::Unanswerable, "{text}");
                        assert!(
                            !other.answerable() && same(&other) != 1
                                || kind == Kind::Most
                                || kind == Kind::Age,
                            "{text}"
                        );
                    }
                }
            }
        }
        assert_eq!(check(&["Why is the sky blue?"], "So."), Verdict::Unreadable);
        assert_eq!(check(&["Mara is in the barn."], "Mara is in the barn."), Verdict::Unreadable);
    }

    #[test]
    fn what_is_held_out_is_not_trained_on() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(13, kind.name());
            for _ in 0..300 {
                let mut question = Question::new(kind, &mut draw, Split::Train);
                for _ in 0..3 {
                    assert!(Split::Train.holds(&tuple(&question.facts)), "{}", question.user);
                    question = question.follow_up_of_split(&mut draw);
                }
                let held_out = Question::new(kind, &mut draw, Split::Test);
                assert!(!Split::Train.holds(&tuple(&held_out.facts)), "{}", held_out.user);
            }
        }
    }

    #[test]
    fn no_constant_answers_a_fifth_of_a_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(11, kind.name());
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..1000 {
                *seen.entry(Question::new(kind, &mut draw, Split::Test).answer).or_default() += 1;
            }
            let most = seen.values().max().unwrap();
            assert!(*most <= 200, "{}: {most} of 1000", kind.name());
        }
    }

    #[test]
    fn the_last_sentence_decides() {
        let turns = ["Mara went to the barn. Then Mara went to the mill. Where is Mara now?"];
        assert_eq!(
            check(&turns, "Mara went to the barn, then the mill. Now Mara is in the mill."),
            Verdict::Right
        );
        assert_eq!(check(&turns, "Mara is in the barn or the mill."), Verdict::Wrong);
        assert_eq!(check(&turns, "The mill."), Verdict::Right);
        assert_eq!(check(&turns, "In the mill. No, in the barn."), Verdict::Wrong);
        assert_eq!(check(&turns, "Mara is not in the mill."), Verdict::Wrong);
        assert_eq!(check(&turns, "Tolin is in the mill."), Verdict::Wrong);
        let twice = ["Mara has a red hat. The red hat belongs to Mara. Who has the red hat?"];
        assert_eq!(check(&twice, "The red hat belongs to Mara."), Verdict::Right);
        assert_eq!(check(&["And é \u{201c}who?"], ""), Verdict::Unreadable);
    }
}
