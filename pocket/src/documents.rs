//! Plain documents for pretraining, similar to web pages, code and mathematics. They state facts and come back to them,
//! as texts do, so they contain every skill that conversations need later, but never in the form of a conversation. A
//! fourth source, the copybook, repeats lines and facts, so that a small model has much to attend back to.

use crate::draw::Draw;
use crate::facts::Fact;
use crate::letters::{Letter, Style};
use crate::names::{name, names};
use crate::questions::{Kind, Question};
use crate::requests::Request;
use crate::split::Split;
use crate::stories::{Length, Story};
use crate::talks::{Topic, talk};
use crate::vocabulary::{COLORS, DAYS, JOBS, PLACES, THINGS};

/// A source of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentSource {
    /// Pages, stories, letters.
    Web,
    /// Procedures and records.
    Code,
    /// Sums and comparisons.
    Math,
    /// Repeated lines and facts.
    Copybook,
}

impl DocumentSource {
    /// The name of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Code => "code",
            Self::Math => "math",
            Self::Copybook => "copybook",
        }
    }
}

const WEB_KINDS: [Kind; 8] =
    [Kind::Place, Kind::Owner, Kind::Color, Kind::Moves, Kind::Job, Kind::Day, Kind::Next, Kind::Backwards];
const MATH_KINDS: [Kind; 4] = [Kind::Sum, Kind::Most, Kind::Age, Kind::Length];
/// Kinds whose answers are words of the text.
const LOOKUP_KINDS: [Kind; 5] = [Kind::Place, Kind::Owner, Kind::Color, Kind::Job, Kind::Day];

/// A document of a source. Its names belong to a split, and its facts, too, except in follow-up questions.
pub(crate) fn document(source: DocumentSource, draw: &mut Draw, split: Split) -> String {
    match source {
        DocumentSource::Web => match draw.below(20) {
            0..=6 => page(draw.pick(&WEB_KINDS), draw, split),
            7..=8 => dialog(draw.pick(&WEB_KINDS), draw, split),
            9..=12 => story(draw, split),
            13..=15 => letter(draw, split),
            16..=17 => form_text(draw, split),
            _ => column(draw, split),
        },
        DocumentSource::Code if draw.chance(70) => page(Kind::Code, draw, split),
        DocumentSource::Code => records(draw, split),
        DocumentSource::Math if draw.chance(20) => sums(draw),
        DocumentSource::Math => page(draw.pick(&MATH_KINDS), draw, split),
        DocumentSource::Copybook => match draw.below(10) {
            0..=2 => repeated_line(draw, split),
            3..=6 => register(draw, split),
            _ => repeated_facts(draw.pick(&LOOKUP_KINDS), draw, split),
        },
    }
}

/// A line of words and names, written several times.
fn repeated_line(draw: &mut Draw, split: Split) -> String {
    let word = |draw: &mut Draw| match draw.below(8) {
        0..=1 => name(draw, split),
        2 => draw.pick(&COLORS).to_owned(),
        3 => draw.pick(&JOBS).to_owned(),
        4..=5 => draw.pick(&PLACES).to_owned(),
        _ => draw.pick(&THINGS).to_owned(),
    };
    let line: Vec<String> = (0..draw.between(4, 9)).map(|_| word(draw)).collect();
    vec![line.join(" "); draw.between(3, 5)].join("\n")
}

/// Names with a word each, then the same in other orders, with the name or the word first. A model learns what follows
/// a word without help, but what precedes it only from many examples.
fn register(draw: &mut Draw, split: Split) -> String {
    let count = draw.between(3, 6);
    let words: Vec<String> = match draw.below(6) {
        0 => draw.several(&JOBS, count).into_iter().map(str::to_owned).collect(),
        1 => draw.several(&PLACES, count).into_iter().map(str::to_owned).collect(),
        2 => draw.several(&DAYS, count).into_iter().map(str::to_owned).collect(),
        3 => draw.several(&(2..70).collect::<Vec<usize>>(), count).iter().map(usize::to_string).collect(),
        _ => {
            let (colors, things) = (draw.several(&COLORS, count), draw.several(&THINGS, count));
            colors.iter().zip(things).map(|(color, thing)| format!("{color} {thing}")).collect()
        }
    };
    let people = names(draw, split, count);
    let mut pairs: Vec<(String, String)> = people.into_iter().zip(words).collect();
    let mut lines = Vec::new();
    for round in 0..draw.between(3, 4) {
        let is_reversed = round > 0 && draw.chance(60);
        let pair = |(name, word): &(String, String)| {
            if is_reversed { format!("{word} {name}") } else { format!("{name} {word}") }
        };
        lines.push(format!("{}.", pairs.iter().map(pair).collect::<Vec<_>>().join(", ")));
        draw.shuffle(&mut pairs);
    }
    lines.join("\n")
}

/// Facts, then the same facts two or three times more: word for word in another order, or as answers.
fn repeated_facts(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let mut question = Question::new(kind, draw, split);
    let mut sentences = question.fact_sentences(draw);
    let mut rounds = vec![sentences.join(" ")];
    for _ in 0..draw.between(2, 3) {
        if draw.chance(50) {
            rounds.push(in_another_order(&mut sentences, draw));
        } else {
            let mut replies = Vec::new();
            for _ in &sentences {
                question = question.follow_up(draw);
                replies.push(question.reply.clone());
            }
            rounds.push(format!("So {}", replies.join(" ")));
        }
    }
    rounds.join(" ")
}

/// The same sentences in another order: the simplest text that teaches attention to what came before.
fn in_another_order(sentences: &mut [String], draw: &mut Draw) -> String {
    draw.shuffle(sentences);
    format!("Again: {}", sentences.join(" "))
}

/// Facts, then several things that follow from them.
fn page(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let first = Question::new(kind, draw, split);
    let opening = draw.pick(&["So ", "This means: ", "In short: ", "", "", "That is to say: ", "We see: "]);
    let separator = first.separator();
    let mut sentences = first.fact_sentences(draw);
    let facts = sentences.join(separator);
    if kind != Kind::Code && draw.chance(30) {
        return format!("{facts} {}", in_another_order(&mut sentences, draw));
    }
    let mut text = format!("{facts}{separator}{opening}{}", first.reply);
    let mut last = first;
    for _ in 0..draw.between(0, 3) {
        let next = last.follow_up(draw);
        if let Some(new_facts) = next.new_facts_text(&last, draw) {
            text.push_str(separator);
            text.push_str(&new_facts);
        }
        text.push_str(separator);
        text.push_str(&next.reply);
        last = next;
    }
    text
}

/// One person asks, another one answers.
fn dialog(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let (one, other) = (name(draw, split), name(draw, split));
    let first = Question::new(kind, draw, split);
    let mut text = format!(
        "{} {one} asked {other}: \"{}\" \"{}\" said {other}.",
        first.facts_text(draw),
        first.query_sentence(draw),
        first.reply
    );
    if draw.chance(50) {
        let next = first.follow_up(draw);
        text.push_str(&format!(" {one} said: \"{}\" {other} said: \"{}\"", next.user, next.reply));
    }
    text
}

/// A story, in most cases with a summary.
fn story(draw: &mut Draw, split: Split) -> String {
    let story = Story::new(draw, split);
    match draw.below(4) {
        0 => story.text,
        1 => format!("{}\nIn one sentence: {}", story.text, story.summary(Length::One, draw)),
        2 => format!("{}\nIn three sentences: {}", story.text, story.summary(Length::Three, draw)),
        _ => format!("{}\n{}", story.text, story.summary(Length::News, draw)),
    }
}

/// A letter, then the same in another style.
fn letter(draw: &mut Draw, split: Split) -> String {
    let letter = Letter::new(draw, split);
    let target = draw.pick(&Style::TARGETS);
    let source = letter.write(Letter::source_style(target, draw), draw);
    let heading = match target {
        Style::Concise => "The same in short",
        Style::Friendly => "The same to a friend",
        _ => "The same at work",
    };
    format!("{source}\n{heading}: {}", letter.write(target, draw))
}

/// A text of some form, below the rule that it follows.
fn form_text(draw: &mut Draw, split: Split) -> String {
    let request = Request::new(draw, split);
    let rule = request.rule();
    format!("{rule}\n{}", request.reply)
}

/// Lines from a conversation without a single right answer: a role, scenes, advice, ideas.
fn column(draw: &mut Draw, split: Split) -> String {
    let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Scene, Topic::Advice, Topic::Ideas]);
    let turns = talk(topic, draw, split);
    if topic == Topic::Scene {
        return turns.into_iter().map(|(_, reply)| reply).collect::<Vec<_>>().join("\n");
    }
    turns.iter().map(|(user, reply)| format!("- {user} - {reply}")).collect::<Vec<_>>().join("\n")
}

/// Facts as sentences and as JSON records.
fn records(draw: &mut Draw, split: Split) -> String {
    let kind = draw.pick(&[Kind::Place, Kind::Owner, Kind::Age, Kind::Job, Kind::Day]);
    let question = Question::new(kind, draw, split);
    let record = |fact: &Fact| {
        let fields: Vec<String> = fact.fields().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", fields.join(", "))
    };
    let lines: Vec<String> = question.facts().iter().map(record).collect();
    format!("{}\n{}", question.facts_text(draw), lines.join("\n"))
}

/// Additions and subtractions, one per line.
fn sums(draw: &mut Draw) -> String {
    let line = |draw: &mut Draw| {
        let (a, b) = (draw.between(0, 14), draw.between(0, 9));
        if draw.chance(50) || b > a {
            format!("{a} + {b} = {}", a + b)
        } else {
            format!("{a} - {b} = {}", a - b)
        }
    };
    (0..draw.between(6, 14)).map(|_| line(draw)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::words;
    use crate::vocabulary::{Sort, sort_of};

    /// No held-out name is in a training document.
    #[test]
    fn documents_contain_only_names_of_their_split() {
        let sources =
            [DocumentSource::Web, DocumentSource::Code, DocumentSource::Math, DocumentSource::Copybook];
        for split in [Split::Train, Split::Test] {
            let mut draw = Draw::new(9, "documents");
            for round in 0..800 {
                let text = document(sources[round % 4], &mut draw, split);
                assert!(!text.contains('{') || text.contains('"'), "a slot that is not filled: {text}");
                for name in words(&text).filter(|word| sort_of(word) == Some(Sort::Name)) {
                    assert!(split.contains(&name.to_lowercase()), "{name} in {text}");
                }
            }
        }
    }
}
