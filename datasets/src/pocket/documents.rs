//! Plain documents to pretrain on: web-, code- and math-like. They tell facts and come back to them, as texts do, and
//! so hold every skill that conversations ask for later, never in a conversation's form. A fourth source, the copybook,
//! says the same things over and over, so that a small model has much to look back for.

use super::letters::{Letter, Style};
use super::names::{name, names};
use super::questions::{Kind, Question};
use super::requests::Request;
use super::stories::{Length, Story};
use super::talks::{Topic, talk};
use super::words::{COLOURS, DAYS, JOBS, PLACES, THINGS};
use super::{Draw, Split};

/// What a document is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Pages, stories, letters.
    Web,
    /// Procedures and records.
    Code,
    /// Sums and comparisons.
    Math,
    /// Lines and facts that are repeated.
    Copybook,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 4] = [Self::Web, Self::Code, Self::Math, Self::Copybook];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Code => "code",
            Self::Math => "math",
            Self::Copybook => "copybook",
        }
    }
}

const WEB_KINDS: [Kind; 8] =
    [Kind::Place, Kind::Owner, Kind::Colour, Kind::Moves, Kind::Job, Kind::Day, Kind::Next, Kind::Backwards];
const MATH_KINDS: [Kind; 4] = [Kind::Sum, Kind::Most, Kind::Age, Kind::Length];
/// Those whose answers are words of the text.
const LOOKED_UP: [Kind; 5] = [Kind::Place, Kind::Owner, Kind::Colour, Kind::Job, Kind::Day];

/// A document of a source whose names and facts are of a split.
pub fn document(source: Source, draw: &mut Draw, split: Split) -> String {
    match source {
        Source::Web => match draw.below(20) {
            0..=6 => page(draw.pick(&WEB_KINDS), draw, split),
            7..=8 => overheard(draw.pick(&WEB_KINDS), draw, split),
            9..=12 => story(draw, split),
            13..=15 => letter(draw, split),
            16..=17 => form(draw, split),
            _ => column(draw, split),
        },
        Source::Code if draw.chance(70) => page(Kind::Code, draw, split),
        Source::Code => records(draw, split),
        Source::Math if draw.chance(20) => sums(draw),
        Source::Math => page(draw.pick(&MATH_KINDS), draw, split),
        Source::Copybook => match draw.below(10) {
            0..=2 => copied_line(draw, split),
            3..=6 => register(draw, split),
            _ => told_over(draw.pick(&LOOKED_UP), draw, split),
        },
    }
}

/// A line of words and names, written again and again.
fn copied_line(draw: &mut Draw, split: Split) -> String {
    let word = |draw: &mut Draw| match draw.below(8) {
        0..=1 => name(draw, split),
        2 => draw.pick(&COLOURS).to_owned(),
        3 => draw.pick(&JOBS).to_owned(),
        4..=5 => draw.pick(&PLACES).to_owned(),
        _ => draw.pick(&THINGS).to_owned(),
    };
    let line: Vec<String> = (0..draw.between(4, 9)).map(|_| word(draw)).collect();
    vec![line.join(" "); draw.between(3, 5)].join("\n")
}

/// Names with what belongs to them, then the same in other orders, from the name to the word or from the word to the
/// name: what follows a word is learned by itself, what came before it only where it is asked for often.
fn register(draw: &mut Draw, split: Split) -> String {
    let count = draw.between(3, 6);
    let words: Vec<String> = match draw.below(6) {
        0 => draw.several(&JOBS, count).into_iter().map(str::to_owned).collect(),
        1 => draw.several(&PLACES, count).into_iter().map(str::to_owned).collect(),
        2 => draw.several(&DAYS, count).into_iter().map(str::to_owned).collect(),
        3 => draw.several(&(2..70).collect::<Vec<usize>>(), count).iter().map(usize::to_string).collect(),
        _ => {
            let (colours, things) = (draw.several(&COLOURS, count), draw.several(&THINGS, count));
            colours.iter().zip(things).map(|(colour, thing)| format!("{colour} {thing}")).collect()
        }
    };
    let people = names(draw, split, count);
    let mut pairs: Vec<(String, String)> = people.into_iter().zip(words).collect();
    let mut lines = Vec::new();
    for round in 0..draw.between(3, 4) {
        let turned = round > 0 && draw.chance(60);
        let pair = |(name, word): &(String, String)| {
            if turned { format!("{word} {name}") } else { format!("{name} {word}") }
        };
        lines.push(format!("{}.", pairs.iter().map(pair).collect::<Vec<_>>().join(", ")));
        draw.shuffle(&mut pairs);
    }
    lines.join("\n")
}

/// Facts that are told, then told again two or three times in other orders: word for word or as answers would.
fn told_over(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let mut question = Question::new(kind, draw, split);
    let mut told = question.sentences(draw);
    let mut rounds = vec![told.join(" ")];
    for _ in 0..draw.between(2, 3) {
        if draw.chance(50) {
            rounds.push(again(&mut told, draw));
        } else {
            let mut replies = Vec::new();
            for _ in &told {
                question = question.follow_up(draw);
                replies.push(question.reply.clone());
            }
            rounds.push(format!("So {}", replies.join(" ")));
        }
    }
    rounds.join(" ")
}

/// The same in another order, word for word: the shortest way to learn to look back.
fn again(told: &mut [String], draw: &mut Draw) -> String {
    draw.shuffle(told);
    format!("Again: {}", told.join(" "))
}

/// Facts, then what follows from them, one by one.
fn page(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let first = Question::new(kind, draw, split);
    let opening = draw.pick(&["So ", "This means: ", "In short: ", "", "", "That is to say: ", "We see: "]);
    let joint = first.joint();
    let mut told = first.sentences(draw);
    let once = told.join(joint);
    if kind != Kind::Code && draw.chance(30) {
        return format!("{once} {}", again(&mut told, draw));
    }
    let mut text = format!("{once}{joint}{opening}{}", first.reply);
    let mut last = first;
    for _ in 0..draw.between(0, 3) {
        let next = last.follow_up(draw);
        if let Some(told) = next.told_since(&last, draw) {
            text.push_str(joint);
            text.push_str(&told);
        }
        text.push_str(joint);
        text.push_str(&next.reply);
        last = next;
    }
    text
}

/// Somebody asks, somebody answers.
fn overheard(kind: Kind, draw: &mut Draw, split: Split) -> String {
    let (asks, answers) = (name(draw, split), name(draw, split));
    let first = Question::new(kind, draw, split);
    let mut text = format!(
        "{} {asks} asked {answers}: \"{}\" \"{}\" said {answers}.",
        first.told(draw),
        first.asked(draw),
        first.reply
    );
    if draw.chance(50) {
        let next = first.follow_up(draw);
        text.push_str(&format!(" {asks} said: \"{}\" {answers} said: \"{}\"", next.user, next.reply));
    }
    text
}

fn story(draw: &mut Draw, split: Split) -> String {
    let story = Story::new(draw, split);
    match draw.below(4) {
        0 => story.text,
        1 => format!("{}\nIn one sentence: {}", story.text, story.summary(Length::One, draw)),
        2 => format!("{}\nIn three sentences: {}", story.text, story.summary(Length::Three, draw)),
        _ => format!("{}\n{}", story.text, story.summary(Length::News, draw)),
    }
}

fn letter(draw: &mut Draw, split: Split) -> String {
    let letter = Letter::new(draw, split);
    let target = draw.pick(&Style::TARGETS);
    let source = letter.write(Letter::other(target, draw), draw);
    let way = match target {
        Style::Concise => "The same in short",
        Style::Friendly => "The same to a friend",
        _ => "The same at work",
    };
    format!("{source}\n{way}: {}", letter.write(target, draw))
}

/// A text of some form, under the words that say which.
fn form(draw: &mut Draw, split: Split) -> String {
    let request = Request::new(draw, split);
    let rule = request.rule();
    format!("{rule}\n{}", request.reply)
}

/// Lines of a paper's corner: parts, scenes, advice, ideas.
fn column(draw: &mut Draw, split: Split) -> String {
    let topic = draw.pick(&[Topic::Role, Topic::Scene, Topic::Scene, Topic::Advice, Topic::Ideas]);
    let turns = talk(topic, draw, split);
    if topic == Topic::Scene {
        return turns.into_iter().map(|(_, reply)| reply).collect::<Vec<_>>().join("\n");
    }
    turns.iter().map(|(user, reply)| format!("- {user} - {reply}")).collect::<Vec<_>>().join("\n")
}

/// Facts as records, with the sentences they come from.
fn records(draw: &mut Draw, split: Split) -> String {
    let kind = draw.pick(&[Kind::Place, Kind::Owner, Kind::Age, Kind::Job, Kind::Day]);
    let question = Question::new(kind, draw, split);
    let record = |fact: &super::Fact| {
        let fields: Vec<String> = fact.named().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", fields.join(", "))
    };
    let lines: Vec<String> = question.facts().iter().map(record).collect();
    format!("{}\n{}", question.told(draw), lines.join("\n"))
}

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
    use crate::pocket::words::{Sort, sort_of, words};

    /// What is held out stays out: no name of a test document is one of the training's.
    #[test]
    fn documents_hold_names_of_their_split_only() {
        for split in [Split::Train, Split::Test] {
            let mut draw = Draw::new(9, "documents");
            for round in 0..800 {
                let text = document(Source::ALL[round % 4], &mut draw, split);
                assert!(!text.contains('{') || text.contains('"'), "an empty slot: {text}");
                for name in words(&text).filter(|word| sort_of(word) == Some(Sort::Name)) {
                    assert!(split.holds(&name.to_lowercase()), "{name} in {text}");
                }
            }
        }
    }
}
