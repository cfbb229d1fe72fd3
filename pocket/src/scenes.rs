//! Scenes: short plain sentences about a person, a thing and a place. The pocket models write them when they are asked
//! for a few words about something.

use crate::draw::Draw;
use crate::names::name;
use crate::split::Split;
use crate::templates::Slots;
use crate::vocabulary::{COLORS, PLACES, Sort, THINGS, sort_of, world_words};

const OPENINGS: [&str; 6] = [
    "{n} found a {c} {t} in the {p}.",
    "One morning {n} went to the {p} with a {c} {t}.",
    "There was a {c} {t} in the {p}.",
    "{n} carried a {c} {t} to the {p}.",
    "A {c} {t} lay in the {p} for many years.",
    "{n} keeps a {c} {t} in the {p}.",
];
const MIDDLES: [&str; 10] = [
    "The {t} was old and heavy.",
    "{n} looked at the {t} for a long time.",
    "The {p} was quiet and cool.",
    "Nobody knew where the {t} came from.",
    "{n} cleaned the {t} and put it on a shelf.",
    "The {t} was very useful.",
    "A dog came in and sat near the {t}.",
    "{n} sang a little song in the {p}.",
    "It rained all day near the {p}.",
    "The {c} {t} looked good in the sun.",
];
const ENDINGS: [&str; 5] = [
    "In the evening {n} went home.",
    "{n} was glad about the {t}.",
    "Everybody liked the {c} {t}.",
    "At night the {p} was dark again.",
    "{n} still thinks of that day.",
];

/// What a scene is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) thing: &'static str,
    pub(crate) place: &'static str,
    pub(crate) color: &'static str,
}

impl Subject {
    /// A random subject whose name belongs to a split.
    pub(crate) fn new(draw: &mut Draw, split: Split) -> Self {
        Self {
            name: name(draw, split),
            thing: draw.pick(&THINGS),
            place: draw.pick(&PLACES),
            color: draw.pick(&COLORS),
        }
    }

    /// What a text is about; none if it does not contain a word of each sort.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let word = |sort| world_words(text).find(|word| sort_of(word) == Some(sort));
        let known = |list: &[&'static str], sort| list.iter().copied().find(|one| Some(*one) == word(sort));
        Some(Self {
            name: word(Sort::Name)?.to_owned(),
            thing: known(&THINGS, Sort::Thing)?,
            place: known(&PLACES, Sort::Place)?,
            color: known(&COLORS, Sort::Color)?,
        })
    }

    fn slots(&self) -> Slots {
        Slots::new(&[('n', &self.name), ('t', self.thing), ('p', self.place), ('c', self.color)])
    }
}

/// `count` different sentences about a subject, as far as there are so many. None contains a comma.
pub(crate) fn scene(subject: &Subject, count: usize, draw: &mut Draw) -> Vec<String> {
    let slots = subject.slots();
    let mut list = vec![slots.fill(draw.pick(&OPENINGS))];
    let middles = draw.several(&MIDDLES, count.saturating_sub(2).min(MIDDLES.len()));
    list.extend(middles.iter().map(|template| slots.fill(template)));
    if count > 1 {
        list.push(slots.fill(draw.pick(&ENDINGS)));
    }
    list
}
