//! Facts, the statements of the world's texts: one sentence each, written and read by the same templates.

use crate::draw::Draw;
use crate::templates::{Slots, read};
use crate::text::sentences;
use crate::vocabulary::{Sort, sort_of};
use serde_json::Value;

/// What a fact states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Relation {
    /// A person is in a place.
    At,
    /// A person has a thing of a color.
    Has,
    /// A person goes to another place.
    Went,
    /// A person's age, in years.
    Age,
    /// A person's job.
    Job,
    /// Where a person goes on a day.
    Visit,
    /// How many of a thing a person has.
    Count,
    /// A person gets more of it.
    Gain,
    /// A person loses some of it.
    Lose,
    /// x becomes a number.
    Set,
    /// A number is added to x.
    Add,
    /// A number is subtracted from x.
    Take,
    /// x is doubled.
    Double,
    /// Things in an order.
    List,
}

const TEMPLATES: [(Relation, &[&str]); 13] = [
    (
        Relation::At,
        &[
            "{n} is in the {p}.",
            "{n} waits in the {p}.",
            "{n} sits in the {p}.",
            "You can find {n} in the {p}.",
        ],
    ),
    (
        Relation::Has,
        &[
            "{n} has a {c} {t}.",
            "{n} bought a {c} {t}.",
            "The {c} {t} belongs to {n}.",
            "The {c} {t} was given to {n}.",
            "The owner of the {c} {t} is {n}.",
        ],
    ),
    (
        Relation::Went,
        &[
            "{n} went to the {p}.",
            "{n} walked to the {p}.",
            "Then {n} went to the {p}.",
            "After that {n} ran to the {p}.",
            "Later {n} came to the {p}.",
        ],
    ),
    (Relation::Age, &["{n} is {k} years old.", "{n} turned {k} this year."]),
    (
        Relation::Job,
        &["{n} is a {j}.", "{n} works as a {j}.", "The {j} is called {n}.", "The {j} of the town is {n}."],
    ),
    (Relation::Visit, &["On {d} {n} goes to the {p}.", "{n} goes to the {p} on {d}."]),
    (Relation::Count, &["{n} has {k} {t}s.", "{n} owns {k} {t}s."]),
    (Relation::Gain, &["{n} finds {k} more.", "{n} buys {k} more.", "Then {n} gets {k} more."]),
    (Relation::Lose, &["{n} loses {k} of them.", "{n} gives {k} away.", "Then {n} sells {k} of them."]),
    (Relation::Set, &["set x to {k}"]),
    (Relation::Add, &["add {k} to x"]),
    (Relation::Take, &["take {k} from x"]),
    (Relation::Double, &["double x"]),
];
const LISTS: [&str; 3] = ["Here is a list: ", "On the shelf there are these: ", "The list: "];
/// Sentences that no question is about.
const ASIDES: [&str; 8] = [
    "It is a fine day.",
    "The sun is out.",
    "It rains a little.",
    "The wind is cold.",
    "All is quiet today.",
    "A dog barks far away.",
    "The bells ring at noon.",
    "Nobody is in a hurry.",
];

/// A relation between words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// What is stated.
    pub(crate) relation: Relation,
    words: Slots,
    /// The things of a list, in their order.
    pub(crate) items: Vec<String>,
}

impl Fact {
    pub(crate) fn new(relation: Relation, words: &[(char, &str)]) -> Self {
        Self { relation, words: Slots::new(words), items: Vec::new() }
    }

    pub(crate) fn list(items: Vec<String>) -> Self {
        Self { relation: Relation::List, words: Slots::new(&[]), items }
    }

    /// Whether it states everything that another fact states, in whatever words.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        let has_words = other.words.iter().all(|(slot, word)| self.get(slot) == word);
        has_words && self.relation == other.relation && self.items == other.items
    }

    /// The same fact with other words in the slots for which `words` has one.
    pub(crate) fn with<'a>(&'a self, words: impl Fn(char) -> Option<&'a str>) -> Self {
        let filled: Vec<(char, &str)> =
            self.words.iter().map(|(slot, word)| (slot, words(slot).unwrap_or(word))).collect();
        Self { words: Slots::new(&filled), ..self.clone() }
    }

    /// The word of a slot; empty if there is none.
    pub(crate) fn get(&self, slot: char) -> &str {
        self.words.get(slot)
    }

    /// Its words as the fields of a record, with their names.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        self.words.iter().map(|(slot, word)| {
            let name = match slot {
                'n' => "name",
                'p' => "place",
                't' => "thing",
                'c' => "colour",
                'k' => "number",
                'd' => "day",
                _ => "job",
            };
            let number = word.parse::<i64>().map(Value::from);
            (name.to_owned(), number.unwrap_or_else(|_| word.into()))
        })
    }

    pub(crate) fn number(&self) -> i64 {
        self.get('k').parse().unwrap_or(0)
    }

    /// One of the sentences that state it.
    pub(crate) fn sentence(&self, draw: &mut Draw) -> String {
        if self.relation == Relation::List {
            return format!("{}{}.", draw.pick(&LISTS), self.items.join(", "));
        }
        let templates = TEMPLATES.iter().find(|(relation, _)| *relation == self.relation);
        templates.map_or(String::new(), |(_, templates)| self.words.fill(draw.pick(templates)))
    }

    /// The fact that a sentence states.
    pub(crate) fn read(sentence: &str) -> Option<Self> {
        let list = LISTS.iter().find_map(|opening| sentence.strip_prefix(opening)?.strip_suffix('.'));
        if let Some(list) = list {
            let items: Vec<String> = list.split(", ").map(str::to_owned).collect();
            let is_list = items.iter().all(|item| matches!(sort_of(item), Some(Sort::Thing | Sort::Animal)));
            return is_list.then(|| Self::list(items));
        }
        TEMPLATES.iter().find_map(|(relation, templates)| {
            templates.iter().find_map(|template| Some(Self::new(*relation, &read(template, sentence)?)))
        })
    }

    fn split_key(&self) -> String {
        self.words.facts().chain(self.items.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }
}

/// The text whose hash decides the split of facts: all their words but the names.
pub(crate) fn split_key(facts: &[Fact]) -> String {
    facts.iter().map(Fact::split_key).collect::<Vec<_>>().join(", ")
}

/// A sentence that no question is about.
pub(crate) fn aside(draw: &mut Draw) -> &'static str {
    draw.pick(&ASIDES)
}

/// The facts of a text, and its sentences that are neither facts nor asides.
pub(crate) fn read_facts(text: &str) -> (Vec<Fact>, Vec<&str>) {
    let (mut facts, mut others) = (Vec::new(), Vec::new());
    for sentence in sentences(text) {
        match Fact::read(sentence) {
            Some(fact) => facts.push(fact),
            None if ASIDES.contains(&sentence) => {}
            None => others.push(sentence),
        }
    }
    (facts, others)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_read_back_from_every_sentence() {
        let words = [
            ('n', "Mara"),
            ('p', "mill"),
            ('c', "red"),
            ('t', "lamp"),
            ('k', "7"),
            ('j', "baker"),
            ('d', "Monday"),
        ];
        let mut draw = Draw::new(3, "facts");
        for (relation, templates) in TEMPLATES {
            let used: Vec<(char, &str)> =
                words.into_iter().filter(|(slot, _)| templates[0].contains(&format!("{{{slot}}}"))).collect();
            let fact = Fact::new(relation, &used);
            for _ in 0..30 {
                let sentence = fact.sentence(&mut draw);
                let read = Fact::read(&sentence).unwrap_or_else(|| panic!("{sentence}"));
                assert_eq!(read.relation, relation, "{sentence}");
                assert!(used.iter().all(|(slot, word)| read.get(*slot) == *word), "{sentence}");
            }
        }
        let list = Fact::list(vec!["lamp".into(), "dog".into()]);
        assert_eq!(Fact::read(&list.sentence(&mut draw)).unwrap(), list);
    }
}
