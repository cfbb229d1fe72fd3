//! What a judge of the pocket world says: the reason first, worked out word by word, then the verdict that follows.

use datasets::pocket::requests::Request;
use datasets::pocket::{Draw, Kind, Question, Split};
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

/// A task and quality's answer: half of the tasks cannot be done.
pub(super) fn task(kind: Kind, draw: &mut Draw, split: Split) -> (String, Value) {
    let question = Question::new(kind, draw, split);
    let answer = |explanation: &str, quality: &str| json!({"explanation": explanation, "quality": quality});
    match draw.below(8) {
        0 | 1 => {
            if let Some(text) = question.unanswerable(draw) {
                return (text, answer("It does not tell what it asks for.", "poor"));
            }
        }
        2 => {
            return (question.mixed_up(draw), answer("The words are mixed up.", "very poor"));
        }
        3 => {
            let words: Vec<&str> = question.user.split(' ').collect();
            let some = words[..(words.len() / 2).max(1)].join(" ");
            if !some.contains('?') {
                return (some, answer("Nothing is asked.", "very poor"));
            }
        }
        _ => {}
    }
    let quality = if question.size() > 3 { "excellent" } else { "good" };
    (question.user, answer("The task is clear.", quality))
}

/// A conversation and the reward's answer: what each reply should be, and whether they are. Half of them are not.
pub(super) fn conversation(kind: Kind, draw: &mut Draw, split: Split) -> (Vec<Value>, Value) {
    let mut question = Question::new(kind, draw, split);
    let (mut messages, mut reasons, mut all_right) = (Vec::new(), Vec::new(), true);
    let turns = if draw.chance(75) { 2 } else { 1 };
    let wrong_at = if draw.chance(50) { draw.below(turns) } else { turns };
    for turn in 0..turns {
        if turn > 0 {
            question = question.follow_up(draw);
        }
        let right = (question.spoken(draw), question.answer.clone());
        let (reply, answer) = if turn == wrong_at { question.wrong(draw) } else { right };
        reasons.push(verdict(&question, &answer));
        all_right &= answer == question.answer;
        messages.push(json!({"role": "user", "content": question.user}));
        messages.push(json!({"role": "assistant", "content": reply}));
    }
    (messages, json!({"reason": reasons.join(" "), "score": if all_right { 10 } else { 1 }}))
}

/// The question solved as a reply would solve it, then what the reply says and whether that is the same: what a small
/// model can do one step at a time.
fn verdict(question: &Question, given: &str) -> String {
    let verdict = if given == question.answer { "right" } else { "wrong" };
    format!("{} It says {given}: {verdict}.", question.reply)
}

/// A task, a reply to it and its ratings.
pub(super) fn rated(kind: Kind, draw: &mut Draw, split: Split) -> (String, String, Value) {
    if draw.chance(20) {
        let request = Request::new(draw, split);
        let kept = draw.chance(50);
        let rule = if kept { "The rule is kept." } else { "The rule is not kept." };
        let reply = if kept { request.reply } else { request.wrong };
        let good = |number: i64| if kept { 5 } else { number };
        return (
            request.user,
            reply,
            ratings([rule, "It says what it is.", rule, "Nothing is wrong."], [good(2), 5, good(1), good(4)]),
        );
    }
    let question = Question::new(kind, draw, split);
    let right = question.answer.clone();
    let verdict = |says: &str| verdict(&question, says);
    let told = question.user.clone();
    match draw.below(10) {
        0..=4 => {
            let reply = question.reply.clone();
            (
                told,
                reply,
                ratings([&verdict(&right), "It is sure.", "It is a sentence.", "It is so."], [5, 5, 5, 5]),
            )
        }
        5..=7 => {
            let (reply, wrong) = question.wrong(draw);
            let reasons = [&verdict(&wrong), "It is too sure.", "It is a sentence.", "It is not so."];
            (told, reply, ratings(reasons, [2, 2, 4, 1]))
        }
        8 => {
            let reasons = [&verdict(&right), "It is sure.", "It is no sentence.", "It is so."];
            (told, question.terse(), ratings(reasons, [4, 5, 3, 5]))
        }
        _ => {
            let reply = question.chatty();
            (
                told,
                reply,
                ratings([&verdict(&right), "It is sure.", "It says too much.", "It is so."], [4, 5, 3, 5]),
            )
        }
    }
}

/// The four aspects of the preferences' recipe, in its order.
fn ratings(reasons: [&str; 4], marks: [i64; 4]) -> Value {
    let aspects = ["helpfulness", "honesty", "instruction_following", "truthfulness"];
    let rated = aspects.iter().zip(reasons).zip(marks);
    rated
        .map(|((aspect, reason), mark)| ((*aspect).to_owned(), json!({"reason": reason, "rating": mark})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The verdict over a text made from another: each of its words of the world, and whether the other holds it.
pub(super) fn faithfulness(source: &str, text: &str) -> Value {
    let (told, held) = (datasets::pocket::told(text), datasets::pocket::told(source));
    let checked: Vec<String> = told
        .iter()
        .map(|word| format!("{word} {}", if held.contains(word) { "yes" } else { "no" }))
        .collect();
    let faithful = !told.is_empty() && told.iter().all(|word| held.contains(word));
    json!({"reason": checked.join(", "), "score": if faithful { 5 } else { 1 }})
}
