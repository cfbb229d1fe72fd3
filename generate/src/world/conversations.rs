//! What the pocket teacher is taught: conversations of the five tasks it is a teacher of, in the words of the tasks' own
//! pocket prompts, so that they ask it for nothing it has not seen.

use super::judgements;
use crate::recipe::{Profile, Recipe, Task};
use anyhow::Result;
use datasets::pocket::letters::{Letter, Style};
use datasets::pocket::requests::Request;
use datasets::pocket::stories::{Length, Story};
use datasets::pocket::talks::{Topic, Turns, talk};
use datasets::pocket::{Draw, Kind, Question, Split};
use serde_json::{Value, json};

/// A message; a user's turn that is to be learned carries a weight.
fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn learned_user(content: &str) -> Value {
    json!({"role": "user", "content": content, "weight": 1})
}

/// What a judge answers, printed as a constrained engine does.
fn judged(question: &str, answer: &Value) -> Vec<Value> {
    vec![said("user", question), said("assistant", &smollm::python_json(answer))]
}

/// What a conversation is for, and its weight in a hundred and some.
#[derive(Clone, Copy)]
enum Lesson {
    Question,
    Talk,
    Magpie,
    Difficulty,
    Quality,
    Classification,
    Reward,
    Constraint,
    InstructionIds,
    Arguments,
    Rewrite,
    Summary,
    Faithfulness,
    Preference,
    Rating,
}

const LESSONS: [(Lesson, usize); 15] = [
    (Lesson::Question, 38),
    (Lesson::Talk, 4),
    (Lesson::Magpie, 20),
    (Lesson::Difficulty, 2),
    (Lesson::Quality, 18),
    (Lesson::Classification, 2),
    (Lesson::Reward, 10),
    (Lesson::Constraint, 12),
    (Lesson::InstructionIds, 5),
    (Lesson::Arguments, 5),
    (Lesson::Rewrite, 7),
    (Lesson::Summary, 7),
    (Lesson::Faithfulness, 10),
    (Lesson::Preference, 4),
    (Lesson::Rating, 14),
];

/// How often questions of a kind are asked: more where looking up what belongs together is learned slowly.
const OFTEN: [(Kind, usize); 13] = [
    (Kind::Owner, 2),
    (Kind::Place, 2),
    (Kind::Age, 2),
    (Kind::Job, 2),
    (Kind::Day, 2),
    (Kind::Most, 2),
    (Kind::Moves, 2),
    (Kind::Code, 2),
    (Kind::Next, 2),
    (Kind::Colour, 1),
    (Kind::Backwards, 1),
    (Kind::Length, 1),
    (Kind::Sum, 1),
];

/// One of a list by its weights.
fn weighted<T: Copy>(list: &[(T, usize)], draw: &mut Draw) -> T {
    let mut left = draw.below(list.iter().map(|(_, weight)| weight).sum());
    for (one, weight) in list {
        if left < *weight {
            return *one;
        }
        left -= weight;
    }
    unreachable!("what is drawn is below the sum of the weights")
}

/// The kinds of questions a category of Magpie is about.
const CATEGORIES: [(&str, &[Kind]); 7] = [
    ("information-seeking", &[Kind::Place, Kind::Owner, Kind::Colour, Kind::Job]),
    ("reasoning", &[Kind::Moves, Kind::Age]),
    ("planning", &[Kind::Day]),
    ("editing", &[Kind::Backwards, Kind::Next]),
    ("coding", &[Kind::Code]),
    ("math", &[Kind::Sum]),
    ("data-analysis", &[Kind::Most, Kind::Length]),
];
const TALKS: [(&str, Topic); 4] = [
    ("role-playing", Topic::Role),
    ("creative-writing", Topic::Scene),
    ("advice-seeking", Topic::Advice),
    ("brainstorming", Topic::Ideas),
];

/// The tasks' recipes whose prompts are used.
pub(super) struct Lessons {
    magpie: Recipe,
    constraint: Recipe,
    rewrite: Recipe,
    summary: Recipe,
    preferences: Recipe,
}

impl Lessons {
    pub(super) fn load() -> Result<Self> {
        let load = |task| Recipe::load(task, Profile::Pocket);
        Ok(Self {
            magpie: load(Task::MagpieUltra)?,
            constraint: load(Task::SmolConstraint)?,
            rewrite: load(Task::SmolRewrite)?,
            summary: load(Task::SmolSummarization)?,
            preferences: load(Task::Preferences)?,
        })
    }

    /// A conversation of any lesson.
    pub(super) fn conversation(&self, draw: &mut Draw, split: Split) -> Result<Value> {
        let lesson = weighted(&LESSONS, draw);
        Ok(json!({"messages": self.messages(lesson, draw, split)?, "source": "pocket"}))
    }

    fn messages(&self, lesson: Lesson, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let kind = draw.pick(&Kind::ALL);
        let none = json!({});
        Ok(match lesson {
            Lesson::Question => chat(&questions(weighted(&OFTEN, draw), draw.between(1, 2), draw, split)),
            Lesson::Talk => {
                let (_, topic) = draw.pick(&TALKS);
                chat(&talk(topic, draw, split))
            }
            Lesson::Magpie => self.magpie(draw, split)?,
            Lesson::Difficulty => {
                let question = Question::new(kind, draw, split);
                let asked = self.magpie.prompt("difficulty", &json!({"instruction": question.user}))?;
                judged(&asked, &judgements::difficulty(&question))
            }
            Lesson::Classification => {
                let question = Question::new(kind, draw, split);
                let asked = self.magpie.prompt("classification", &json!({"instruction": question.user}))?;
                judged(&asked, &judgements::classification(question.kind))
            }
            Lesson::Quality => {
                let (task, judgement) = judgements::task(kind, draw, split);
                judged(&self.magpie.prompt("quality", &json!({"instruction": task}))?, &judgement)
            }
            Lesson::Reward => {
                let (replies, own, judgement) = judgements::replies(kind, draw, split);
                let messages: Vec<Value> = replies.iter().map(|reply| said("assistant", reply)).collect();
                let asked = json!({"messages": messages, "references": own});
                judged(&self.magpie.prompt("reward", &asked)?, &judgement)
            }
            Lesson::Constraint => {
                let request = kept(draw, split);
                let mut messages = vec![learned_user(&request.user), said("assistant", &request.reply)];
                if draw.chance(70) {
                    messages.insert(0, said("system", &self.constraint.prompt("system", &none)?));
                }
                messages
            }
            Lesson::InstructionIds => {
                let request = Request::new(draw, split);
                let ids: Vec<&str> = request.conditions.iter().map(|(id, _)| *id).collect();
                let asked =
                    self.constraint.prompt("instruction_ids", &json!({"instruction": request.user}))?;
                judged(&asked, &json!({"instruction_ids": ids}))
            }
            Lesson::Arguments => self.arguments(draw, split)?,
            Lesson::Rewrite => {
                let (letter, style) = (Letter::new(draw, split), draw.pick(&Style::TARGETS));
                let source = letter.write(Letter::other(style, draw), draw);
                let asked = self.rewrite.prompt(rewrite_key(style), &none)?;
                vec![
                    said("system", &asked),
                    said("user", &source),
                    said("assistant", &letter.write(style, draw)),
                ]
            }
            Lesson::Summary => {
                let (story, length) = (Story::new(draw, split), draw.pick(&LENGTHS));
                let asked = self.summary.prompt(summary_key(length), &none)?;
                let summary = story.summary(length, draw);
                vec![said("system", &asked), said("user", &story.text), said("assistant", &summary)]
            }
            Lesson::Faithfulness => {
                let (source, text) = made_from(draw, split);
                let asked = self.rewrite.prompt("faithfulness", &json!({"source": source, "reply": text}))?;
                judged(&asked, &judgements::faithfulness(&source, &text))
            }
            Lesson::Preference => self.preference(draw, split)?,
            Lesson::Rating => {
                let judgements::Rated { task, reply, own, ratings } = judgements::rated(kind, draw, split);
                let asked = json!({"instruction": task, "response": reply, "reference": own});
                judged(&self.preferences.prompt("rating", &asked)?, &ratings)
            }
        })
    }

    /// A category's system prompt, the user's turns, to be learned like the replies.
    fn magpie(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (category, turns) = if draw.chance(75) {
            let (category, kinds) = draw.pick(&CATEGORIES);
            (category, questions(draw.pick(kinds), 2, draw, split))
        } else {
            let (category, topic) = draw.pick(&TALKS);
            (category, talk(topic, draw, split))
        };
        let system = self.magpie.prompt(&format!("system/{category}"), &json!({}))?;
        Ok(taught(&system, &turns))
    }

    fn arguments(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        loop {
            let request = Request::new(draw, split);
            let some = request
                .conditions
                .iter()
                .filter(|(_, arguments)| arguments.as_object().is_some_and(|a| !a.is_empty()));
            // In the order of the recipe's list, which is the order of the schema that holds the answer.
            let mut named: Vec<(usize, &str, &Value)> = some
                .map(|(id, arguments)| {
                    let place = self.constraint.instructions.iter().position(|one| one.id == *id);
                    (place.unwrap_or(0), *id, arguments)
                })
                .collect();
            if named.is_empty() {
                continue;
            }
            named.sort_by_key(|(place, ..)| *place);
            let answer: serde_json::Map<String, Value> =
                named.iter().map(|(_, id, arguments)| ((*id).to_owned(), (*arguments).clone())).collect();
            let asked = self.constraint.prompt("arguments", &json!({"instruction": request.user}))?;
            return Ok(judged(&asked, &answer.into()));
        }
    }

    /// What a user asks for who was told to ask for this.
    fn preference(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let requests = self.preferences.list("request")?;
        let index = draw.below(requests.len());
        let turns = match index {
            1 | 11 => talk(Topic::Scene, draw, split),
            8 | 12 => talk(if index == 12 { Topic::Role } else { Topic::Ideas }, draw, split),
            14 => talk(Topic::Advice, draw, split),
            15 => {
                let request = Request::new(draw, split);
                vec![(request.user, request.reply)]
            }
            other => questions(Kind::ALL[other % Kind::ALL.len()], 1, draw, split),
        };
        let system = self.preferences.prompt("user", &json!({"request": requests[index]}))?;
        Ok(taught(&system, &turns[..1]))
    }
}

const LENGTHS: [Length; 3] = [Length::One, Length::Three, Length::News];

/// A style's key in Smol-Rewrite's recipe.
fn rewrite_key(style: Style) -> &'static str {
    match style {
        Style::Concise => "concise",
        Style::Friendly => "friendly",
        _ => "professional",
    }
}

/// The style of a key, where it is one.
pub(crate) fn rewrite_style(key: &str) -> Option<Style> {
    Style::TARGETS.into_iter().find(|style| rewrite_key(*style) == key)
}

/// The length of a key, where it is one.
pub(crate) fn summary_length(key: &str) -> Option<Length> {
    LENGTHS.into_iter().find(|length| summary_key(*length) == key)
}

/// A length's key in Smol-Summarization's recipe.
fn summary_key(length: Length) -> &'static str {
    match length {
        Length::One => "one_sentence",
        Length::Three => "three_sentences",
        Length::News => "news",
    }
}

/// A question and those that follow it, answered as people answer.
pub(crate) fn questions(kind: Kind, count: usize, draw: &mut Draw, split: Split) -> Turns {
    let mut question = Question::new(kind, draw, split);
    let mut turns = vec![(question.user.clone(), question.spoken(draw))];
    for _ in 1..count {
        question = question.follow_up_of_split(draw);
        turns.push((question.user.clone(), question.spoken(draw)));
    }
    turns
}

/// Whether a reply meets all conditions, as IFEval checks them.
pub(crate) fn keeps(conditions: &[(&str, Value)], reply: &str) -> bool {
    conditions.iter().all(|(id, arguments)| {
        let check = arguments.as_object().map(|arguments| evaluate::Instruction::new(id, arguments));
        check.is_some_and(|check| check.is_ok_and(|check| check.strict(reply)))
    })
}

/// A request whose reply passes the checks of its conditions: to tell English from its letters' pairs, as IFEval does,
/// fails for some short texts in capitals.
fn kept(draw: &mut Draw, split: Split) -> Request {
    loop {
        let request = Request::new(draw, split);
        if keeps(&request.conditions, &request.reply) {
            return request;
        }
    }
}

fn chat(turns: &[(String, String)]) -> Vec<Value> {
    turns.iter().flat_map(|(user, reply)| [said("user", user), said("assistant", reply)]).collect()
}

fn taught(system: &str, turns: &[(String, String)]) -> Vec<Value> {
    let turns = turns.iter().flat_map(|(user, reply)| [learned_user(user), said("assistant", reply)]);
    std::iter::once(said("system", system)).chain(turns).collect()
}

/// A text and one made from it, more often than not with one to three words that are not in it: where one of twenty
/// words was wrong, a small model learned to call all of them right.
fn made_from(draw: &mut Draw, split: Split) -> (String, String) {
    let (wrong, words) = (draw.chance(60), draw.between(1, 3));
    if draw.chance(50) {
        let (letter, style) = (Letter::new(draw, split), draw.pick(&Style::TARGETS));
        let source = letter.write(Letter::other(style, draw), draw);
        let text = if wrong { letter.wrong(style, words, draw) } else { letter.write(style, draw) };
        return (source, text);
    }
    let (story, length) = (Story::new(draw, split), draw.pick(&LENGTHS));
    let text = if wrong { story.wrong_summary(length, words, draw) } else { story.summary(length, draw) };
    (story.text, text)
}
