//! Stories of four plots with asides between, their summaries at three lengths, and the checker of a summary.

use super::names::{names, names_in};
use super::sentence::{Slots, read, sentences};
use super::words::{COLOURS, DAYS, JOBS, PLACES, Sort, THINGS, of_world, sort_of, words};
use super::{Draw, Split};
use std::collections::{HashMap, HashSet};

/// How a story is summed up: the styles of Smol-Summarization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// One sentence.
    One,
    /// Three sentences.
    Three,
    /// At most five, as a newspaper tells it.
    News,
}

/// A plot: its sentences, `~` before those a story may leave out, and its summaries.
struct Plot {
    sentences: &'static [&'static str],
    one: &'static [&'static str],
    three: &'static [&'static str],
    news: &'static [&'static str],
}

const PLOTS: [Plot; 4] = [
    Plot {
        sentences: &[
            "One day {n} lost a {c} {t}.",
            "~{n} was very sad.",
            "{n} looked for it in the {p}.",
            "~It was not there.",
            "~{n} asked everybody in the street.",
            "~Nobody had seen the {t}.",
            "Then {n} told {m} about it.",
            "~{m} wanted to help.",
            "{m} went to the {q} and looked everywhere.",
            "There {m} found the {c} {t}.",
            "~It lay behind a door.",
            "{m} gave the {t} back.",
            "~{n} thanked {m} many times.",
            "~They had tea and cake.",
        ],
        one: &["{m} found the {c} {t} of {n} in the {q}.", "{n} lost a {c} {t} and {m} found it in the {q}."],
        three: &[
            "{n} lost a {c} {t}.",
            "{n} looked for it in the {p}.",
            "{m} found it in the {q} and gave it back.",
        ],
        news: &[
            "News of the day: a {c} {t} was lost.",
            "It was the {t} of {n}.",
            "{m} found it in the {q}.",
            "All is well again.",
        ],
    },
    Plot {
        sentences: &[
            "{m} had a birthday on {d}.",
            "~{n} did not want to forget it.",
            "{n} went to the {p} to find a present.",
            "~There were many nice things.",
            "~Some cost too much.",
            "{n} bought a {c} {t} there.",
            "~{n} put it into a bag.",
            "~The bag was heavy.",
            "On {d} {n} met {m} in the {q}.",
            "{n} gave {m} the {c} {t}.",
            "~{m} laughed and clapped.",
            "~They danced a little.",
            "~It was a good day.",
        ],
        one: &["{n} gave {m} a {c} {t} on {d}.", "On {d} {m} got a {c} {t} from {n}."],
        three: &[
            "{m} had a birthday on {d}.",
            "{n} bought a {c} {t} in the {p}.",
            "{n} gave it to {m} in the {q}.",
        ],
        news: &[
            "News of the day: {m} had a birthday on {d}.",
            "{n} bought a {c} {t} in the {p}.",
            "{m} got it in the {q}.",
        ],
    },
    Plot {
        sentences: &[
            "{n} and {m} wanted to see the {q}.",
            "~They had heard much about it.",
            "They left early on {d}.",
            "~The road was long.",
            "~The sun was hot.",
            "On the way they stopped at the {p}.",
            "There a {j} gave them a {c} {t}.",
            "~They said thank you.",
            "~A bird flew over the road.",
            "In the evening they came to the {q}.",
            "~It was bigger than they thought.",
            "~They were tired but happy.",
            "~They slept well that night.",
        ],
        one: &["{n} and {m} went to the {q} on {d}.", "On {d} {n} and {m} made a trip to the {q}."],
        three: &[
            "{n} and {m} left on {d}.",
            "In the {p} a {j} gave them a {c} {t}.",
            "In the evening they came to the {q}.",
        ],
        news: &[
            "News of the day: {n} and {m} made a trip on {d}.",
            "They wanted to see the {q}.",
            "A {j} gave them a {c} {t}.",
            "They are well.",
        ],
    },
    Plot {
        sentences: &[
            "On {d} there was a race near the {p}.",
            "~Many people came to see it.",
            "{n} the {j} wanted to win.",
            "~So did {m}.",
            "~A bell rang and all began to run.",
            "~The ground was wet.",
            "{n} ran fast but fell near the {q}.",
            "~Everybody cried out.",
            "{m} came in first.",
            "The prize was a {c} {t}.",
            "~{m} held it up high.",
            "~{n} laughed about the fall.",
            "~Next year they will run again.",
        ],
        one: &["{m} won a {c} {t} in a race on {d}.", "On {d} {m} won the race near the {p}."],
        three: &[
            "On {d} there was a race near the {p}.",
            "{n} the {j} fell near the {q}.",
            "{m} came in first and won a {c} {t}.",
        ],
        news: &[
            "News of the day: there was a race on {d}.",
            "{n} the {j} fell near the {q}.",
            "{m} came in first.",
            "The prize was a {c} {t}.",
        ],
    },
];

/// A story.
#[derive(Debug, Clone)]
pub struct Story {
    /// Its text.
    pub text: String,
    plot: usize,
    slots: Slots,
}

impl Story {
    /// A story whose names and facts are of a split.
    pub fn new(draw: &mut Draw, split: Split) -> Self {
        let slots = Slots::of_split(split, draw, |draw| {
            let people = names(draw, split, 2);
            let places = draw.several(&PLACES, 2);
            Slots::new(&[
                ('n', &people[0]),
                ('m', &people[1]),
                ('p', places[0]),
                ('q', places[1]),
                ('t', draw.pick(&THINGS)),
                ('c', draw.pick(&COLOURS)),
                ('d', draw.pick(&DAYS)),
                ('j', draw.pick(&JOBS)),
            ])
        });
        let plot = draw.below(PLOTS.len());
        let text = slots.tell(PLOTS[plot].sentences, draw);
        Self { text, plot, slots }
    }

    /// A right summary.
    pub fn summary(&self, length: Length, draw: &mut Draw) -> String {
        let plot = &PLOTS[self.plot];
        match length {
            Length::One => self.slots.fill(draw.pick(plot.one)),
            Length::Three => self.join(plot.three),
            Length::News => self.join(plot.news),
        }
    }

    /// A summary with so many words the story does not hold in the place of ones it does.
    pub fn wrong_summary(&self, length: Length, count: usize, draw: &mut Draw) -> String {
        let summary = self.summary(length, draw);
        let told = super::told(&summary);
        misread(&summary, &self.text, &told, count, draw)
    }

    fn join(&self, templates: &[&str]) -> String {
        templates.iter().map(|template| self.slots.fill(template)).collect::<Vec<_>>().join(" ")
    }
}

/// A text with so many of some words exchanged for others of their sorts that its source does not hold.
pub(super) fn misread(text: &str, source: &str, told: &[&str], count: usize, draw: &mut Draw) -> String {
    let words = draw.several(told, count.min(told.len()));
    words
        .into_iter()
        .fold(text.to_owned(), |changed, word| exchange(&changed, word, &another(word, source, draw)))
}

/// A word of the same sort that a text does not hold.
fn another(word: &str, text: &str, draw: &mut Draw) -> String {
    let held: HashSet<&str> = words(text).collect();
    loop {
        let other = match sort_of(word) {
            Some(Sort::Name) => super::names::name(draw, Split::Train),
            Some(Sort::Place) => draw.pick(&PLACES).to_owned(),
            Some(Sort::Thing) => draw.pick(&THINGS).to_owned(),
            Some(Sort::Colour) => draw.pick(&COLOURS).to_owned(),
            Some(Sort::Day) => draw.pick(&DAYS).to_owned(),
            Some(Sort::Job) => draw.pick(&JOBS).to_owned(),
            Some(Sort::Event) => draw.pick(&super::words::EVENTS).to_owned(),
            _ => draw.between(1, 12).to_string(),
        };
        if !held.contains(other.as_str()) {
            return other;
        }
    }
}

/// A text with another word wherever it holds this one.
fn exchange(text: &str, word: &str, other: &str) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let letters = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let (found, after) = rest.split_at(letters);
        changed.push_str(if found == word { other } else { found });
        let next = after.find(char::is_alphanumeric).unwrap_or(after.len());
        changed.push_str(&after[..next]);
        rest = &after[next..];
    }
    changed
}

/// Whether every word of the world in a text is also in its source.
pub(super) fn faithful(source: &str, text: &str) -> bool {
    let held: HashSet<&str> = words(source).collect();
    of_world(text).all(|word| held.contains(word))
}

/// Who and what is in a plot's slots.
type Cast<'a> = HashMap<char, &'a str>;

/// The readings of a sentence by templates that put nobody else into a slot than a cast does; none where no template has
/// the sentence.
fn readings<'a>(templates: &[&str], sentence: &'a str, cast: &Cast<'_>) -> Option<Vec<Vec<(char, &'a str)>>> {
    let all: Vec<_> =
        templates.iter().filter_map(|one| read(one.trim_start_matches('~'), sentence)).collect();
    let fits = |slots: &Vec<(char, &str)>| {
        slots.iter().all(|(slot, word)| cast.get(slot).is_none_or(|it| it == word))
    };
    (!all.is_empty()).then(|| all.into_iter().filter(fits).collect())
}

/// The cast that the sentences of a text give a plot.
fn cast<'a>(plot: &Plot, text: &'a str) -> Cast<'a> {
    let mut cast = Cast::new();
    for sentence in sentences(text) {
        let fitting = readings(plot.sentences, sentence, &cast).unwrap_or_default();
        cast.extend(fitting.into_iter().next().unwrap_or_default());
    }
    cast
}

/// Whether nobody in a summary does what somebody else does in the story. A sentence that no plot has passes.
fn same_cast(source: &str, summary: &str) -> bool {
    let casts = PLOTS.iter().map(|plot| (plot, cast(plot, source)));
    let Some((plot, cast)) = casts.max_by_key(|(_, cast)| cast.len()) else { return true };
    let all = [plot.sentences, plot.one, plot.three, plot.news].concat();
    sentences(summary)
        .all(|sentence| readings(&all, sentence, &cast).is_none_or(|fitting| !fitting.is_empty()))
}

/// Whether a summary of a story of this world is right: true to the story, telling who and what, and of the length.
pub fn check_summary(source: &str, summary: &str, length: Length) -> bool {
    let most = match length {
        Length::One => 1,
        Length::Three => 3,
        Length::News => 5,
    };
    let count = sentences(summary).count();
    let sorts: HashSet<Sort> = words(summary).filter_map(sort_of).collect();
    let names: HashSet<&str> = names_in(summary).collect();
    let told = !names.is_empty() && sorts.len() >= 2;
    // One sentence may tell of one person of a race; more tell of both.
    let people = names.len() >= if length == Length::One { 1 } else { 2 };
    (1..=most).contains(&count)
        && summary.len() < source.len()
        && told
        && people
        && faithful(source, summary)
        && same_cast(source, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_summaries_pass_and_wrong_ones_do_not() {
        let mut draw = Draw::new(5, "stories");
        for _ in 0..500 {
            let story = Story::new(&mut draw, Split::Train);
            for length in [Length::One, Length::Three, Length::News] {
                let right = story.summary(length, &mut draw);
                assert!(check_summary(&story.text, &right, length), "{}\n{right}", story.text);
                let wrong = story.wrong_summary(length, 1, &mut draw);
                assert!(!check_summary(&story.text, &wrong, length), "{}\n{wrong}", story.text);
            }
            let (one, other) = (story.slots.get('n'), story.slots.get('m'));
            let turned = exchange(&story.summary(Length::Three, &mut draw), one, "~");
            let turned = exchange(&turned, other, one).replace('~', other);
            assert!(!check_summary(&story.text, &turned, Length::Three), "{}\n{turned}", story.text);
            assert!(!check_summary(&story.text, &story.text, Length::News));
            assert!(!check_summary(&story.text, "", Length::One));
        }
    }
}
