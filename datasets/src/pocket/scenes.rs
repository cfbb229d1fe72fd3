//! Short plain sentences about a person, a thing and a place: what the pocket models write when they are asked for a
//! few words about something.

use super::sentence::Slots;
use super::words::{COLOURS, PLACES, Sort, THINGS, of_world, sort_of};
use super::{Draw, Split, names};

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
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) thing: &'static str,
    pub(super) place: &'static str,
    pub(super) colour: &'static str,
}

impl Subject {
    pub(super) fn new(draw: &mut Draw, split: Split) -> Self {
        Self {
            name: names::name(draw, split),
            thing: draw.pick(&THINGS),
            place: draw.pick(&PLACES),
            colour: draw.pick(&COLOURS),
        }
    }

    /// What a text is about, where it names one of each.
    pub(super) fn told(text: &str) -> Option<Self> {
        let word = |sort| of_world(text).find(|word| sort_of(word) == Some(sort));
        let of = |list: &[&'static str], sort| list.iter().copied().find(|one| Some(*one) == word(sort));
        Some(Self {
            name: word(Sort::Name)?.to_owned(),
            thing: of(&THINGS, Sort::Thing)?,
            place: of(&PLACES, Sort::Place)?,
            colour: of(&COLOURS, Sort::Colour)?,
        })
    }

    fn slots(&self) -> Slots {
        Slots::new(&[('n', &self.name), ('t', self.thing), ('p', self.place), ('c', self.colour)])
    }
}

/// So many different sentences about a subject. None of them holds a comma.
pub(super) fn scene(subject: &Subject, count: usize, draw: &mut Draw) -> Vec<String> {
    let slots = subject.slots();
    let mut list = vec![slots.fill(draw.pick(&OPENINGS))];
    let middles = draw.several(&MIDDLES, count.saturating_sub(2).min(MIDDLES.len()));
    list.extend(middles.iter().map(|template| slots.fill(template)));
    if count > 1 {
        list.push(slots.fill(draw.pick(&ENDINGS)));
    }
    list
}
