//! What a judge in the pocket world answers: first the reason, word by word, then the verdict that follows from it. A
//! model of this size can compare two words but cannot judge in one step.

use super::agreement::{Agreement, compare_pairs, compare_replies, compare_words};
use crate::draw::Draw;
use crate::questions::{Kind, Question};
use crate::requests::Request;
use crate::split::Split;
use crate::talks::{Topic, retell, talk};
use serde_json::{Map, Value, json};

/// The judgment of a question's difficulty.
pub(super) fn difficulty(question: &Question) -> Value {
    let (intent, knowledge) = match question.kind {
        Kind::Place | Kind::Moves => ("find a place", "reading"),
        Kind::Owner | Kind::Age | Kind::Most => ("find a person", "reading and comparing"),
        Kind::Color => ("find a colour", "reading"),
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

/// The classification of a kind of question.
pub(super) fn classification(kind: Kind) -> Value {
    let (primary, others): (&str, &[&str]) = match kind {
        Kind::Place | Kind::Owner | Kind::Color | Kind::Job => ("Information seeking", &[]),
        Kind::Moves | Kind::Age => ("Reasoning", &["Information seeking"]),
        Kind::Day => ("Planning", &["Information seeking"]),
        Kind::Next | Kind::Backwards => ("Editing", &[]),
        Kind::Length | Kind::Most => ("Data analysis", &["Reasoning"]),
        Kind::Sum => ("Math", &["Reasoning"]),
        Kind::Code => ("Coding & Debugging", &["Math"]),
    };
    json!({"primary_tag": primary, "other_tags": others})
}

/// A task and the judgment of its quality; nearly half of the tasks have no answer. The judgment compares what is asked
/// for with every fact: a judge that only answered "clear" accepted questions about things that no fact mentions.
pub(super) fn quality(kind: Kind, draw: &mut Draw, split: Split) -> (String, Value) {
    let answer = |explanation: &str, quality: &str| json!({"explanation": explanation, "quality": quality});
    if draw.chance(10) {
        let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas]);
        return (talk(topic, draw, split).swap_remove(0).0, answer("No fact is needed.", "good"));
    }
    let mut question = Question::new(kind, draw, split);
    match draw.below(10) {
        0..=2 => question = question.unanswerable(draw).unwrap_or(question),
        3 => {
            return (question.shuffled_text(draw), answer("The words are mixed up.", "very poor"));
        }
        4 => {
            let words: Vec<&str> = question.user.split(' ').collect();
            let first_half = words[..(words.len() / 2).max(1)].join(" ");
            if !first_half.contains('?') {
                return (first_half, answer("Nothing is asked.", "very poor"));
            }
        }
        _ => {}
    }
    let (reasons, matches): (Vec<String>, Vec<bool>) =
        question.compared_with_facts().into_iter().map(|fact| compare_pairs(fact.into_iter())).unzip();
    let match_count = matches.iter().filter(|is_match| **is_match).count();
    let (verdict, quality) = match question.size() {
        0..=3 if question.is_answerable() => ("It is told.", "good"),
        _ if question.is_answerable() => ("It is told.", "excellent"),
        _ if match_count > 1 => ("It is told twice.", "poor"),
        _ => ("It is not told.", "poor"),
    };
    let reason = if reasons.is_empty() { "nothing".to_owned() } else { reasons.join("; ") };
    (question.user, answer(&format!("{reason}. {verdict}"), quality))
}

/// The replies of a conversation, and the judgment whether they agree with the judge's own replies.
pub(super) struct Reward {
    pub(super) replies: Vec<String>,
    /// The judge's own replies to the same turns.
    pub(super) own_replies: Vec<String>,
    pub(super) answer: Value,
}

/// A conversation of one or two turns; half of them have a wrong reply.
pub(super) fn reward(kind: Kind, draw: &mut Draw, split: Split) -> Reward {
    let turns = if draw.chance(75) { 2 } else { 1 };
    let wrong_turn = if draw.chance(50) { draw.below(turns) } else { turns };
    let (mut replies, mut own_replies, mut agreements) = (Vec::new(), Vec::new(), Vec::new());
    if draw.chance(25) {
        let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Scene, Topic::Advice, Topic::Ideas]);
        let others = talk(topic, draw, split);
        for (turn, talk) in talk_twice(topic, draw, split).into_iter().take(turns).enumerate() {
            let reply = if turn == wrong_turn { others[turn].1.clone() } else { talk.reply };
            agreements.push(compare_replies(Some(topic), &reply, &talk.second_reply));
            replies.push(reply);
            own_replies.push(talk.second_reply);
        }
    } else {
        let mut question = Question::new(kind, draw, split);
        for turn in 0..turns {
            if turn > 0 {
                question = question.follow_up_of_split(draw);
            }
            let (reply, own_reply) = two_replies(&question, turn == wrong_turn, draw);
            agreements.push(compare_replies(None, &reply, &own_reply));
            replies.push(reply);
            own_replies.push(own_reply);
        }
    }
    let agrees = agreements.iter().all(|(_, agrees)| *agrees);
    let reasons: Vec<String> = agreements.into_iter().map(|(reason, _)| reason).collect();
    let answer = json!({"reason": reasons.join("; "), "score": if agrees { 10 } else { 1 }});
    Reward { replies, own_replies, answer }
}

/// Two replies to a question. If they differ, either may be the wrong one.
fn two_replies(question: &Question, differ: bool, draw: &mut Draw) -> (String, String) {
    match draw.below(3) {
        _ if !differ => (question.natural_reply(draw), question.natural_reply(draw)),
        0 => (question.natural_reply(draw), question.wrong_reply(draw)),
        _ => (question.wrong_reply(draw), question.natural_reply(draw)),
    }
}

/// A task with a reply, the judge's own reply, and the ratings.
pub(super) struct Rating {
    pub(super) task: String,
    pub(super) reply: String,
    pub(super) own_reply: String,
    pub(super) answer: Value,
}

/// A random reply with its ratings.
pub(super) fn rating(kind: Kind, draw: &mut Draw, split: Split) -> Rating {
    match draw.below(20) {
        0..=2 => rating_of_request(draw, split),
        3..=6 => {
            let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas]);
            let first = talk_twice(topic, draw, split).swap_remove(0);
            let own_reply = first.second_reply;
            let reply = if draw.chance(40) { talk(topic, draw, split).swap_remove(0).1 } else { first.reply };
            let agreement = compare_replies(Some(topic), &reply, &own_reply);
            let answer = Manner::Sentence.ratings(&reply, agreement);
            Rating { task: first.user, reply, own_reply, answer }
        }
        _ => rating_of_question(&Question::new(kind, draw, split), draw),
    }
}

/// A reply to a question, wrong in 40 of 100 draws.
fn rating_of_question(question: &Question, draw: &mut Draw) -> Rating {
    let (reply, own_reply, manner) = if draw.chance(40) {
        let (reply, own_reply) = two_replies(question, true, draw);
        let is_chatty = reply.starts_with(Question::CHATTY);
        (reply, own_reply, if is_chatty { Manner::Chatty } else { Manner::Sentence })
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
            Manner::Fragment => question.bare_reply(),
            Manner::Chatty => question.chatty_reply(),
        };
        (reply, question.natural_reply(draw), manner)
    };
    // A fragment contains only the words of the answer.
    let agreement = match manner {
        Manner::Fragment => compare_words(&reply, &own_reply),
        _ => compare_replies(None, &reply, &own_reply),
    };
    let answer = manner.ratings(&reply, agreement);
    Rating { task: question.user.clone(), reply, own_reply, answer }
}

/// A reply that meets the conditions of a request, or not. The judge's own reply says nothing about it.
fn rating_of_request(draw: &mut Draw, split: Split) -> Rating {
    let request = Request::new(draw, split);
    let is_right = draw.chance(50);
    let rule = if is_right { "The rule is kept." } else { "The rule is not kept." };
    let reply = if is_right { request.reply.clone() } else { request.wrong_reply };
    let marks = if is_right { [5, 5, 5, 5] } else { [1, 4, 5, 2] };
    let form = format!("{}: {rule}", first_word(&reply));
    let answer = ratings([&form, "Nothing is wrong.", "It says what it is.", rule], marks);
    Rating { task: request.user, reply, own_reply: request.reply, answer }
}

/// The form of a reply.
#[derive(Clone, Copy)]
enum Manner {
    Sentence,
    Fragment,
    Chatty,
}

impl Manner {
    /// The ratings of a reply in this manner. The manner shows in the first word of the reply, so the judgment begins
    /// with that word: when it came later, the judge often named another word.
    fn ratings(self, reply: &str, (reason, agrees): Agreement) -> Value {
        let (form, mark) = match self {
            Self::Sentence => ("It is a sentence.", 5),
            Self::Fragment => ("It is no sentence.", 3),
            Self::Chatty => ("It says too much.", 3),
        };
        let form = format!("{}: {form}", first_word(reply));
        if agrees {
            return ratings([&form, &reason, "It is sure.", "It is so."], [mark, 5, 5, 5]);
        }
        ratings([&form, &reason, "It is too sure.", "It is not so."], [mark, 1, 2, 2])
    }
}

fn first_word(reply: &str) -> &str {
    reply.split(' ').next().unwrap_or_default()
}

/// A turn of a conversation with two right replies.
struct TalkTurn {
    user: String,
    reply: String,
    second_reply: String,
}

/// A conversation in which every turn has two right replies.
fn talk_twice(topic: Topic, draw: &mut Draw, split: Split) -> Vec<TalkTurn> {
    let turns = talk(topic, draw, split);
    let second_replies = match topic {
        Topic::Ideas => talk(topic, draw, split).into_iter().map(|(_, reply)| reply).collect(),
        _ => retell(&turns, draw),
    };
    let turns = turns.into_iter().zip(second_replies);
    turns.map(|((user, reply), second_reply)| TalkTurn { user, reply, second_reply }).collect()
}

/// The aspects of the preferences' recipe that are rated, in its order.
pub(super) const ASPECTS: [&str; 4] = ["instruction_following", "truthfulness", "honesty", "helpfulness"];

/// A rating of each aspect with its reason.
fn ratings(reasons: [&str; 4], marks: [i64; 4]) -> Value {
    let ratings = ASPECTS.iter().zip(reasons).zip(marks);
    ratings
        .map(|((aspect, reason), mark)| ((*aspect).to_owned(), json!({"reason": reason, "rating": mark})))
        .collect::<Map<_, _>>()
        .into()
}

/// The judgment whether a text that was made from a source agrees with it: each of its words of the world, and the
/// counterpart in the source.
pub(super) fn faithfulness(source: &str, text: &str) -> Value {
    let (reason, agrees) = compare_words(text, source);
    json!({"reason": reason, "score": if agrees { 5 } else { 1 }})
}
