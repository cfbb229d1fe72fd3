//! What a judge of the pocket world says: the reason first, worked out word by word, then the verdict that follows.

use datasets::pocket::requests::Request;
use datasets::pocket::talks::{Topic, retell, talk};
use datasets::pocket::{Draw, Kind, Question, Split, answered, counterpart, told};
use serde_json::{Value, json};

/// Difficulty's answer about a question.
pub(super) fn difficulty(question: &Question) -> Value {
    let (intent, knowledge) = match question.kind {
        Kind::Place | Kind::Moves => ("find a place", "reading"),
        Kind::Owner | Kind::Age | Kind::Most => ("find a person", "reading and comparing"),
        Kind::Colour => ("find a colour", "reading"),
        Kind::Job => ("find a work", "reading"),
        Kind::Day => ("find a day or a place", "reading"),
        Kind::Next | Kind::Backwards => ("use a list", "order"),
        Kind::Length => ("count a list", "counting"),
        Kind::Sum => ("count things", "sums"),
        Kind::Code => ("run a procedure", "sums"),
    };
    let difficulty = match question.size() {
        0..=2 => "very easy",
        3 => "easy",
        4 => "medium",
        _ => "hard",
    };
    json!({"intent": intent, "knowledge": knowledge, "difficulty": difficulty})
}

/// Classification's answer about a kind.
pub(super) fn classification(kind: Kind) -> Value {
    let (primary, others): (&str, &[&str]) = match kind {
        Kind::Place | Kind::Owner | Kind::Colour | Kind::Job => ("Information seeking", &[]),
        Kind::Moves | Kind::Age => ("Reasoning", &["Information seeking"]),
        Kind::Day => ("Planning", &["Information seeking"]),
        Kind::Next | Kind::Backwards => ("Editing", &[]),
        Kind::Length | Kind::Most => ("Data analysis", &["Reasoning"]),
        Kind::Sum => ("Math", &["Reasoning"]),
        Kind::Code => ("Coding & Debugging", &["Math"]),
    };
    json!({"primary_tag": primary, "other_tags": others})
}

/// A task and quality's answer: nearly half of the tasks cannot be done. What is asked for is held beside what is told,
/// fact by fact: a judge that only said "clear" passed questions about things that no fact tells of.
pub(super) fn task(kind: Kind, draw: &mut Draw, split: Split) -> (String, Value) {
    let answer = |explanation: &str, quality: &str| json!({"explanation": explanation, "quality": quality});
    if draw.chance(10) {
        let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas]);
        return (talk(topic, draw, split).swap_remove(0).0, answer("No fact is needed.", "good"));
    }
    let mut question = Question::new(kind, draw, split);
    match draw.below(10) {
        0..=2 => question = question.unanswerable(draw).unwrap_or(question),
        3 => {
            return (question.mixed_up(draw), answer("The words are mixed up.", "very poor"));
        }
        4 => {
            let words: Vec<&str> = question.user.split(' ').collect();
            let some = words[..(words.len() / 2).max(1)].join(" ");
            if !some.contains('?') {
                return (some, answer("Nothing is asked.", "very poor"));
            }
        }
        _ => {}
    }
    let (found, same): (Vec<String>, Vec<bool>) =
        question.beside_told().into_iter().map(|fact| pairs(fact.into_iter())).unzip();
    let times = same.iter().filter(|same| **same).count();
    let (told, quality) = match question.size() {
        0..=3 if question.answerable() => ("It is told.", "good"),
        _ if question.answerable() => ("It is told.", "excellent"),
        _ if times > 1 => ("It is told twice.", "poor"),
        _ => ("It is not told.", "poor"),
    };
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join("; ") };
    (question.user, answer(&format!("{found}. {told}"), quality))
}

/// The replies of a conversation, the judge's own answers in their places, and the reward's answer: whether they agree.
/// Half of them do not.
pub(super) fn replies(kind: Kind, draw: &mut Draw, split: Split) -> (Vec<String>, Vec<String>, Value) {
    let turns = if draw.chance(75) { 2 } else { 1 };
    let wrong_at = if draw.chance(50) { draw.below(turns) } else { turns };
    let (mut given, mut own, mut found) = (Vec::new(), Vec::new(), Vec::new());
    if draw.chance(25) {
        let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Scene, Topic::Advice, Topic::Ideas]);
        let others = talk(topic, draw, split);
        for (turn, (first, second, _)) in told_twice(topic, draw, split).into_iter().take(turns).enumerate() {
            let first = if turn == wrong_at { others[turn].1.clone() } else { first };
            found.push(alike(Some(topic), &first, &second));
            given.push(first);
            own.push(second);
        }
    } else {
        let mut question = Question::new(kind, draw, split);
        for turn in 0..turns {
            if turn > 0 {
                question = question.follow_up_of_split(draw);
            }
            let (first, second) = answers(&question, turn == wrong_at, draw);
            found.push(alike(None, &first, &second));
            given.push(first);
            own.push(second);
        }
    }
    let agree = found.iter().all(|(_, agree)| *agree);
    let reasons: Vec<String> = found.into_iter().map(|(reason, _)| reason).collect();
    (given, own, json!({"reason": reasons.join("; "), "score": if agree { 10 } else { 1 }}))
}

/// A reply and another answer to the same question; where they differ, either may be the wrong one.
fn answers(question: &Question, differ: bool, draw: &mut Draw) -> (String, String) {
    match draw.below(3) {
        _ if !differ => (question.spoken(draw), question.spoken(draw)),
        0 => (question.spoken(draw), question.wrong(draw).0),
        _ => (question.wrong(draw).0, question.spoken(draw)),
    }
}

/// Whether two replies say the same, and why: of questions the words that answer them one by one, of what somebody
/// makes up each word in both, of advice all of it.
fn alike(topic: Option<Topic>, first: &str, second: &str) -> (String, bool) {
    match topic {
        None => {
            let (first, second) = (answered(first), answered(second));
            let at = |list: &[&str], index: usize| (*list.get(index).unwrap_or(&"nothing")).to_owned();
            pairs((0..first.len().max(second.len())).map(|index| (at(&first, index), at(&second, index))))
        }
        Some(Topic::Role | Topic::Scene) => beside(first, second),
        Some(Topic::Ideas) => ("They are ideas".to_owned(), true),
        Some(Topic::Advice) => {
            let agree = first == second;
            (compared(&format!("{first} {second}"), agree), agree)
        }
    }
}

/// Each of a text's words and what stands for it in another text.
fn beside(text: &str, other: &str) -> (String, bool) {
    let stands = |word: &str| counterpart(word, other).unwrap_or("nothing").to_owned();
    pairs(told(text).into_iter().map(|word| (word.to_owned(), stands(word))))
}

/// Two words at a time, and whether they are the same: what a small model can do one step at a time.
fn pairs(list: impl Iterator<Item = (String, String)>) -> (String, bool) {
    let (mut reasons, mut all) = (Vec::new(), true);
    for (first, second) in list {
        all &= first == second;
        reasons.push(compared(&format!("{first} {second}"), first == second));
    }
    if reasons.is_empty() {
        return ("nothing is said".to_owned(), false);
    }
    (reasons.join(", "), all)
}

/// Words that stand side by side, and whether they are the same.
fn compared(words: &str, same: bool) -> String {
    format!("{words} {}", if same { "yes" } else { "no" })
}

/// What a completion was asked, it, the judge's own answer, and its ratings.
pub(super) struct Rated {
    pub(super) task: String,
    pub(super) reply: String,
    pub(super) own: String,
    pub(super) ratings: Value,
}

/// A completion and its ratings.
pub(super) fn rated(kind: Kind, draw: &mut Draw, split: Split) -> Rated {
    match draw.below(20) {
        0..=2 => rated_request(draw, split),
        3..=6 => {
            let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas]);
            let (again, own, task) = told_twice(topic, draw, split).swap_remove(0);
            let reply = if draw.chance(40) { talk(topic, draw, split).swap_remove(0).1 } else { again };
            let ratings = Manner::Sentence.ratings(&reply, alike(Some(topic), &reply, &own));
            Rated { task, reply, own, ratings }
        }
        _ => {
            let question = Question::new(kind, draw, split);
            let (reply, own, manner) = if draw.chance(40) {
                let (reply, own) = answers(&question, true, draw);
                let chatty = reply.starts_with(Question::CHATTY);
                (reply, own, if chatty { Manner::Chatty } else { Manner::Sentence })
            } else {
                let manner = draw.pick(&[
                    Manner::Sentence,
                    Manner::Sentence,
                    Manner::Fragment,
                    Manner::Chatty,
                    Manner::Chatty,
                ]);
                let reply = match manner {
                    Manner::Sentence => question.reply.clone(),
                    Manner::Fragment => question.terse(),
                    Manner::Chatty => question.chatty(),
                };
                (reply, question.spoken(draw), manner)
            };
            // A fragment holds the answer's words alone.
            let found = match manner {
                Manner::Fragment => beside(&reply, &own),
                _ => alike(None, &reply, &own),
            };
            let ratings = manner.ratings(&reply, found);
            Rated { task: question.user, reply, own, ratings }
        }
    }
}

/// A text with a rule, kept or not: another text that keeps it says nothing about this one.
fn rated_request(draw: &mut Draw, split: Split) -> Rated {
    let request = Request::new(draw, split);
    let kept = draw.chance(50);
    let rule = if kept { "The rule is kept." } else { "The rule is not kept." };
    let reply = if kept { request.reply.clone() } else { request.wrong };
    let marks = if kept { [5, 5, 5, 5] } else { [1, 4, 5, 2] };
    let form = format!("{}: {rule}", first_word(&reply));
    let ratings = ratings([&form, "Nothing is wrong.", "It says what it is.", rule], marks);
    Rated { task: request.user, reply, own: request.reply, ratings }
}

/// How a reply is put.
#[derive(Clone, Copy)]
enum Manner {
    Sentence,
    Fragment,
    Chatty,
}

impl Manner {
    /// The ratings of a reply in this manner, which agrees with the judge's own answer or does not. The manner shows by
    /// the reply's first word, so that is named at the very start: named later it was often another word.
    fn ratings(self, reply: &str, (reason, agree): (String, bool)) -> Value {
        let (form, mark) = match self {
            Self::Sentence => ("It is a sentence.", 5),
            Self::Fragment => ("It is no sentence.", 3),
            Self::Chatty => ("It says too much.", 3),
        };
        let form = format!("{}: {form}", first_word(reply));
        if agree {
            return ratings([&form, &reason, "It is sure.", "It is so."], [mark, 5, 5, 5]);
        }
        ratings([&form, &reason, "It is too sure.", "It is not so."], [mark, 1, 2, 2])
    }
}

fn first_word(reply: &str) -> &str {
    reply.split(' ').next().unwrap_or_default()
}

/// A talk's replies, the same again as somebody else would give them, and what the user said.
fn told_twice(topic: Topic, draw: &mut Draw, split: Split) -> Vec<(String, String, String)> {
    let turns = talk(topic, draw, split);
    let again = match topic {
        Topic::Ideas => talk(topic, draw, split).into_iter().map(|(_, reply)| reply).collect(),
        _ => retell(&turns, draw),
    };
    turns.into_iter().zip(again).map(|((user, reply), again)| (reply, again, user)).collect()
}

/// The four aspects of the preferences' recipe, in its order.
fn ratings(reasons: [&str; 4], marks: [i64; 4]) -> Value {
    let aspects = ["instruction_following", "truthfulness", "honesty", "helpfulness"];
    let rated = aspects.iter().zip(reasons).zip(marks);
    rated
        .map(|((aspect, reason), mark)| ((*aspect).to_owned(), json!({"reason": reason, "rating": mark})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The verdict over a text made from another: each of its words of the world, and what the other has in its place.
pub(super) fn faithfulness(source: &str, text: &str) -> Value {
    let (reason, faithful) = beside(text, source);
    json!({"reason": reason, "score": if faithful { 5 } else { 1 }})
}
