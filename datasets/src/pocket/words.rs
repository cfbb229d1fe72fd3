//! The things of the world, each a single word with a regular plural that takes "a".

pub(super) const PLACES: [&str; 24] = [
    "barn", "mill", "lake", "garden", "kitchen", "market", "school", "tower", "cellar", "forest", "harbour",
    "library", "bakery", "meadow", "bridge", "chapel", "stable", "workshop", "hall", "square", "station",
    "castle", "cave", "river",
];
pub(super) const THINGS: [&str; 32] = [
    "lamp", "key", "drum", "rope", "kite", "bell", "book", "cup", "hat", "coat", "map", "clock", "ring",
    "flute", "basket", "bottle", "blanket", "boot", "candle", "chair", "hammer", "jar", "ladder", "mirror",
    "needle", "pillow", "plate", "ribbon", "shovel", "spoon", "table", "wheel",
];
pub(super) const COLOURS: [&str; 12] = [
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "purple", "silver", "golden",
];
pub(super) const JOBS: [&str; 16] = [
    "baker", "miller", "farmer", "teacher", "singer", "painter", "hunter", "sailor", "tailor", "doctor",
    "nurse", "guard", "cook", "smith", "weaver", "potter",
];
pub(super) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(super) const EVENTS: [&str; 10] =
    ["party", "meeting", "lesson", "game", "concert", "dinner", "wedding", "fair", "race", "feast"];
pub(super) const ANIMALS: [&str; 10] =
    ["dog", "cat", "horse", "goat", "hen", "duck", "rabbit", "cow", "pig", "pony"];
pub(super) const FRUITS: [&str; 8] = ["plum", "pear", "cherry", "lemon", "melon", "peach", "fig", "berry"];

/// What one word of a text says, where it is a word of the world.
pub(super) fn sort_of(word: &str) -> Option<Sort> {
    let lists: [(Sort, &[&str]); 7] = [
        (Sort::Place, &PLACES),
        (Sort::Thing, &THINGS),
        (Sort::Colour, &COLOURS),
        (Sort::Job, &JOBS),
        (Sort::Day, &DAYS),
        (Sort::Event, &EVENTS),
        (Sort::Animal, &ANIMALS),
    ];
    let singular = word.strip_suffix('s').unwrap_or(word);
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Sort::Number);
    }
    if super::names::is_name(word) {
        return Some(Sort::Name);
    }
    let found = lists.iter().find(|(_, list)| list.contains(&word));
    // A plural is only of what is counted.
    let plural = || lists[1..2].iter().chain(&lists[6..]).find(|(_, list)| list.contains(&singular));
    found.or_else(plural).map(|(sort, _)| *sort)
}

/// Sorts of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    Name,
    Place,
    Thing,
    Colour,
    Job,
    Day,
    Event,
    Animal,
    Number,
}

/// The words of a text that are the world's.
pub(super) fn of_world(text: &str) -> impl Iterator<Item = &str> {
    words(text).filter(|word| sort_of(word).is_some())
}

/// The words of a text without what surrounds them: `Mara's` gives `Mara`.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}
