//! Stories of four plots, their summaries at three lengths, and the checker of summaries.

mod plots;

use crate::comparison::{distinct_words, is_faithful};
use crate::draw::Draw;
use crate::exchange::exchange_words;
use crate::names::{names, names_in};
use crate::split::Split;
use crate::templates::{Slots, read};
use crate::text::{sentences, words};
use crate::vocabulary::{COLORS, DAYS, JOBS, PLACES, Sort, THINGS, sort_of};
use plots::{PLOTS, Plot};
use std::collections::{HashMap, HashSet};

/// The length of a summary, as in Smol-Summarization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// One sentence.
    One,
    /// Up to three sentences.
    Three,
    /// Up to five sentences, in the style of a newspaper.
    News,
}

impl Length {
    /// All lengths.
    pub(crate) const ALL: [Self; 3] = [Self::One, Self::Three, Self::News];

    /// The length's key in the recipe of Smol-Summarization.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::One => "one_sentence",
            Self::Three => "three_sentences",
            Self::News => "news",
        }
    }

    /// The length with a key.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|length| length.key() == key)
    }
}

/// A story.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// Its text.
    pub(crate) text: String,
    plot: usize,
    slots: Slots,
}

impl Story {
    /// A story whose names and facts belong to a split.
    pub(crate) fn new(draw: &mut Draw, split: Split) -> Self {
        let slots = Slots::of_split(split, draw, |draw| {
            let people = names(draw, split, 2);
            let places = draw.several(&PLACES, 2);
            Slots::new(&[
                ('n', &people[0]),
                ('m', &people[1]),
                ('p', places[0]),
                ('q', places[1]),
                ('t', draw.pick(&THINGS)),
                ('c', draw.pick(&COLORS)),
                ('d', draw.pick(&DAYS)),
                ('j', draw.pick(&JOBS)),
            ])
        });
        let plot = draw.below(PLOTS.len());
        let text = slots.fill_all(PLOTS[plot].sentences, draw);
        Self { text, plot, slots }
    }

    /// A right summary.
    pub(crate) fn summary(&self, length: Length, draw: &mut Draw) -> String {
        let plot = &PLOTS[self.plot];
        match length {
            Length::One => self.slots.fill(draw.pick(plot.one)),
            Length::Three => self.join(plot.three),
            Length::News => self.join(plot.news),
        }
    }

    /// A summary with `count` of its words exchanged for words that the story does not contain.
    pub(crate) fn wrong_summary(&self, length: Length, count: usize, draw: &mut Draw) -> String {
        let summary = self.summary(length, draw);
        let words = distinct_words(&summary);
        exchange_words(&summary, &self.text, &words, count, draw)
    }

    fn join(&self, templates: &[&str]) -> String {
        templates.iter().map(|template| self.slots.fill(template)).collect::<Vec<_>>().join(" ")
    }
}

/// The words in the slots of a plot.
type Cast<'a> = HashMap<char, &'a str>;

/// The readings of a sentence by templates whose words do not contradict a cast; none if no template matches the
/// sentence.
fn readings<'a>(templates: &[&str], sentence: &'a str, cast: &Cast<'_>) -> Option<Vec<Vec<(char, &'a str)>>> {
    let all: Vec<_> =
        templates.iter().filter_map(|one| read(one.trim_start_matches('~'), sentence)).collect();
    let fits = |slots: &Vec<(char, &str)>| {
        slots.iter().all(|(slot, word)| cast.get(slot).is_none_or(|own| own == word))
    };
    (!all.is_empty()).then(|| all.into_iter().filter(fits).collect())
}

/// The words that the sentences of a text put into the slots of a plot.
fn cast<'a>(plot: &Plot, text: &'a str) -> Cast<'a> {
    let mut cast = Cast::new();
    for sentence in sentences(text) {
        let fitting = readings(plot.sentences, sentence, &cast).unwrap_or_default();
        cast.extend(fitting.into_iter().next().unwrap_or_default());
    }
    cast
}

/// Whether nobody in a summary does what somebody else does in the story. A sentence that is in no plot passes.
fn has_same_cast(source: &str, summary: &str) -> bool {
    let casts = PLOTS.iter().map(|plot| (plot, cast(plot, source)));
    let Some((plot, cast)) = casts.max_by_key(|(_, cast)| cast.len()) else { return true };
    let templates = [plot.sentences, plot.one, plot.three, plot.news].concat();
    sentences(summary)
        .all(|sentence| readings(&templates, sentence, &cast).is_none_or(|fitting| !fitting.is_empty()))
}

/// Whether a summary of a story is right: it agrees with the story, says who and what, and has the length.
pub(crate) fn check_summary(source: &str, summary: &str, length: Length) -> bool {
    let max_sentences = match length {
        Length::One => 1,
        Length::Three => 3,
        Length::News => 5,
    };
    let sorts: HashSet<Sort> = words(summary).filter_map(sort_of).collect();
    let names: HashSet<&str> = names_in(summary).collect();
    // One sentence may be about one of the two people; longer summaries are about both.
    let min_names = if length == Length::One { 1 } else { 2 };
    (1..=max_sentences).contains(&sentences(summary).count())
        && summary.len() < source.len()
        && sorts.len() >= 2
        && names.len() >= min_names
        && is_faithful(source, summary)
        && has_same_cast(source, summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::replace_word;

    #[test]
    fn right_summaries_pass_and_wrong_ones_do_not() {
        let mut draw = Draw::new(5, "stories");
        for _ in 0..500 {
            let story = Story::new(&mut draw, Split::Train);
            for length in Length::ALL {
                let right = story.summary(length, &mut draw);
                assert!(check_summary(&story.text, &right, length), "{}\n{right}", story.text);
                let wrong = story.wrong_summary(length, 1, &mut draw);
                assert!(!check_summary(&story.text, &wrong, length), "{}\n{wrong}", story.text);
            }
            let (one, other) = (story.slots.get('n'), story.slots.get('m'));
            let swapped = replace_word(&story.summary(Length::Three, &mut draw), one, "~");
            let swapped = replace_word(&swapped, other, one).replace('~', other);
            assert!(!check_summary(&story.text, &swapped, Length::Three), "{}\n{swapped}", story.text);
            assert!(!check_summary(&story.text, &story.text, Length::News));
            assert!(!check_summary(&story.text, "", Length::One));
        }
    }
}
