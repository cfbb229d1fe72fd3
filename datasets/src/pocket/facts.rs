//! What a text of the world states, one sentence a fact, written and read by the same templates.

use super::Draw;
use super::sentence::{Slots, read, sentences};
use super::words::{Sort, sort_of};

/// What a sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// A person is in a place.
    At,
    /// A person has a thing of a colour.
    Has,
    /// A person changes places.
    Went,
    /// A person's years.
    Age,
    /// A person's work.
    Job,
    /// Where a person goes on a day.
    Visit,
    /// How many of a thing a person has.
    Count,
    /// More of it.
    Gain,
    /// Less of it.
    Lose,
    /// x becomes a number.
    Set,
    /// A number is added to x.
    Add,
    /// A number is taken from x.
    Take,
    /// x becomes twice itself.
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
/// Sentences that say nothing a question asks for.
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

/// A relation and the words it holds of, by their slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What is said.
    pub relation: Relation,
    words: Slots,
    /// Things in an order, of a list.
    pub items: Vec<String>,
}

impl Fact {
    pub(super) fn new(relation: Relation, words: &[(char, &str)]) -> Self {
        Self { relation, words: Slots::new(words), items: Vec::new() }
    }

    /// Whether it tells all that another does, in whatever words.
    pub(super) fn tells(&self, other: &Self) -> bool {
        let all = other.words.iter().all(|(slot, word)| self.get(slot) == word);
        all && self.relation == other.relation && self.items == other.items
    }

    pub(super) fn list(items: Vec<String>) -> Self {
        Self { relation: Relation::List, words: Slots::new(&[]), items }
    }

    /// The same with other words in some slots.
    pub(super) fn with<'a>(&'a self, words: impl Fn(char) -> Option<&'a str>) -> Self {
        let filled: Vec<(char, &str)> =
            self.words.iter().map(|(slot, word)| (slot, words(slot).unwrap_or(word))).collect();
        Self { words: Slots::new(&filled), ..self.clone() }
    }

    /// The word of a slot, empty where there is none.
    pub(super) fn get(&self, slot: char) -> &str {
        self.words.get(slot)
    }

    /// Its words by the names of what they are.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, serde_json::Value)> + '_ {
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
            let number = word.parse::<i64>().map(serde_json::Value::from);
            (name.to_owned(), number.unwrap_or_else(|_| word.into()))
        })
    }

    pub(super) fn number(&self) -> i64 {
        self.get('k').parse().unwrap_or(0)
    }

    /// One of the ways to say it.
    pub(super) fn sentence(&self, draw: &mut Draw) -> String {
        if self.relation == Relation::List {
            return format!("{}{}.", draw.pick(&LISTS), self.items.join(", "));
        }
        let templates = TEMPLATES.iter().find(|(relation, _)| *relation == self.relation);
        templates.map_or(String::new(), |(_, templates)| self.words.fill(draw.pick(templates)))
    }

    /// What a sentence says.
    pub(super) fn read(sentence: &str) -> Option<Self> {
        let list = LISTS.iter().find_map(|opening| sentence.strip_prefix(opening)?.strip_suffix('.'));
        if let Some(list) = list {
            let items: Vec<String> = list.split(", ").map(str::to_owned).collect();
            let things = items.iter().all(|item| matches!(sort_of(item), Some(Sort::Thing | Sort::Animal)));
            return things.then(|| Self::list(items));
        }
        TEMPLATES.iter().find_map(|(relation, templates)| {
            templates.iter().find_map(|template| Some(Self::new(*relation, &read(template, sentence)?)))
        })
    }

    /// What decides whether it is held out: all but the names.
    fn tuple(&self) -> String {
        self.words.facts().chain(self.items.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }
}

/// What decides whether facts are held out together.
pub(super) fn tuple(facts: &[Fact]) -> String {
    facts.iter().map(Fact::tuple).collect::<Vec<_>>().join(", ")
}

/// Whether a sentence says nothing.
pub(super) fn is_aside(sentence: &str) -> bool {
    ASIDES.contains(&sentence)
}

pub(super) fn aside(draw: &mut Draw) -> &'static str {
    draw.pick(&ASIDES)
}

/// All facts of a text, and the sentences that are none.
pub(super) fn read_all(text: &str) -> (Vec<Fact>, Vec<&str>) {
    let (mut facts, mut others) = (Vec::new(), Vec::new());
    for sentence in sentences(text) {
        match Fact::read(sentence) {
            Some(fact) => facts.push(fact),
            None if is_aside(sentence) => {}
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
                let said = fact.sentence(&mut draw);
                let heard = Fact::read(&said).unwrap_or_else(|| panic!("{said}"));
                assert_eq!(heard.relation, relation, "{said}");
                assert!(used.iter().all(|(slot, word)| heard.get(*slot) == *word), "{said}");
            }
        }
        let list = Fact::list(vec!["lamp".into(), "dog".into()]);
        assert_eq!(Fact::read(&list.sentence(&mut draw)).unwrap(), list);
    }
}
