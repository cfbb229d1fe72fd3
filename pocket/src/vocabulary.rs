//! The words of the world, by their sorts. Each is a single word with a regular plural that takes "a".

use crate::names::is_name;
use crate::text::words;

pub(crate) const PLACES: [&str; 24] = [
    "barn", "mill", "lake", "garden", "kitchen", "market", "school", "tower", "cellar", "forest", "harbour",
    "library", "bakery", "meadow", "bridge", "chapel", "stable", "workshop", "hall", "square", "station",
    "castle", "cave", "river",
];
pub(crate) const THINGS: [&str; 32] = [
    "lamp", "key", "drum", "rope", "kite", "bell", "book", "cup", "hat", "coat", "map", "clock", "ring",
    "flute", "basket", "bottle", "blanket", "boot", "candle", "chair", "hammer", "jar", "ladder", "mirror",
    "needle", "pillow", "plate", "ribbon", "shovel", "spoon", "table", "wheel",
];
pub(crate) const COLORS: [&str; 12] = [
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "purple", "silver", "golden",
];
pub(crate) const JOBS: [&str; 16] = [
    "baker", "miller", "farmer", "teacher", "singer", "painter", "hunter", "sailor", "tailor", "doctor",
    "nurse", "guard", "cook", "smith", "weaver", "potter",
];
pub(crate) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(crate) const EVENTS: [&str; 10] =
    ["party", "meeting", "lesson", "game", "concert", "dinner", "wedding", "fair", "race", "feast"];
pub(crate) const ANIMALS: [&str; 10] =
    ["dog", "cat", "horse", "goat", "hen", "duck", "rabbit", "cow", "pig", "pony"];
pub(crate) const FRUITS: [&str; 8] = ["plum", "pear", "cherry", "lemon", "melon", "peach", "fig", "berry"];

/// The sort of a word; names and numbers have one, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    Name,
    Place,
    Thing,
    Color,
    Job,
    Day,
    Event,
    Animal,
    Number,
}

/// The sort of a word of a text; none if it is not a word of the world.
pub(crate) fn sort_of(word: &str) -> Option<Sort> {
    let lists: [(Sort, &[&str]); 7] = [
        (Sort::Place, &PLACES),
        (Sort::Thing, &THINGS),
        (Sort::Color, &COLORS),
        (Sort::Job, &JOBS),
        (Sort::Day, &DAYS),
        (Sort::Event, &EVENTS),
        (Sort::Animal, &ANIMALS),
    ];
    let singular = word.strip_suffix('s').unwrap_or(word);
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Sort::Number);
    }
    if is_name(word) {
        return Some(Sort::Name);
    }
    let exact = lists.iter().find(|(_, list)| list.contains(&word));
    // Only things and animals are counted, so only they have a plural.
    let plural = || lists[1..2].iter().chain(&lists[6..]).find(|(_, list)| list.contains(&singular));
    exact.or_else(plural).map(|(sort, _)| *sort)
}

/// The words of a text that are words of the world.
pub(crate) fn world_words(text: &str) -> impl Iterator<Item = &str> {
    words(text).filter(|word| sort_of(word).is_some())
}
