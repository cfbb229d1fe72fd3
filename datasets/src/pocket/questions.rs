//! Questions of thirteen kinds that hold what is needed to answer them, their answers, and the checker that reads
//! any question of the world, asked by anybody, and says whether a reply is right.

use super::facts::{Relation, aside, read_all};
use super::names::{name, names};
use super::sentence::{fill, read, sentences};
use super::words::{ANIMALS, COLOURS, DAYS, JOBS, PLACES, Sort, THINGS, sort_of, words};
use super::{Draw, Fact, Split};
use serde::{Deserialize, Serialize};

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Where somebody is.
    Place,
    /// Who has a thing.
    Owner,
    /// What colour somebody's thing has.
    Colour,
    /// Where somebody is after some moves.
    Moves,
    /// Who is the oldest or the youngest.
    Age,
    /// Who does a work, or what somebody's work is.
    Job,
    /// Where somebody goes on a day, or when somebody goes to a place.
    Day,
    /// What comes after or before a thing in a list.
    Next,
    /// A list from its end to its beginning.
    Backwards,
    /// How many things a list holds.
    Length,
    /// How many things somebody has after gains and losses.
    Sum,
    /// Who has the most or the fewest of a thing.
    Most,
    /// What a small procedure prints.
    Code,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Place,
        Self::Owner,
        Self::Colour,
        Self::Moves,
        Self::Age,
        Self::Job,
        Self::Day,
        Self::Next,
        Self::Backwards,
        Self::Length,
        Self::Sum,
        Self::Most,
        Self::Code,
    ];

    /// As it is written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Owner => "owner",
            Self::Colour => "colour",
            Self::Moves => "moves",
            Self::Age => "age",
            Self::Job => "job",
            Self::Day => "day",
            Self::Next => "next",
            Self::Backwards => "backwards",
            Self::Length => "length",
            Self::Sum => "sum",
            Self::Most => "most",
            Self::Code => "code",
        }
    }
}

/// A question's form; its words are in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Where,
    Owner,
    Colour,
    Oldest,
    Youngest,
    WhoWorks,
    Work,
    PlaceOfDay,
    DayOfPlace,
    After,
    Before,
    Backwards,
    Length,
    HowMany,
    Most,
    Fewest,
    Prints,
}

/// `{t}` in `After` and `Before` may be an animal, too, so these are read by hand.
const FORMS: [(Form, &[&str]); 17] = [
    (Form::Where, &["Where is {n}?", "Where is {n} now?", "In which place is {n}?", "Where can I find {n}?"]),
    (Form::Owner, &["Who has the {c} {t}?", "Who owns the {c} {t}?", "Whose is the {c} {t}?"]),
    (Form::Colour, &["What colour is {n}'s {t}?", "Which colour has the {t} of {n}?"]),
    (Form::Oldest, &["Who is the oldest?", "Who is the oldest of them?"]),
    (Form::Youngest, &["Who is the youngest?", "Who is the youngest of them?"]),
    (Form::WhoWorks, &["Who is the {j}?", "Who works as a {j}?"]),
    (Form::Work, &["What is the work of {n}?", "What does {n} work as?"]),
    (Form::PlaceOfDay, &["Where does {n} go on {d}?", "Which place does {n} visit on {d}?"]),
    (Form::DayOfPlace, &["When does {n} go to the {p}?", "On which day does {n} go to the {p}?"]),
    (Form::After, &["What comes after the {t}?", "What comes next after the {t}?"]),
    (Form::Before, &["What comes before the {t}?"]),
    (Form::Backwards, &["Write the list backwards.", "What is the list from the end to the start?"]),
    (Form::Length, &["How many things are on the list?", "How long is the list?"]),
    (Form::HowMany, &["How many {t}s does {n} have now?", "How many {t}s has {n} now?"]),
    (Form::Most, &["Who has the most {t}s?"]),
    (Form::Fewest, &["Who has the fewest {t}s?"]),
    (Form::Prints, &["print x", "What does this print?", "What is x at the end?"]),
];

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    form: Form,
    words: Vec<(char, String)>,
}

impl Ask {
    fn new(form: Form, words: &[(char, &str)]) -> Self {
        Self { form, words: words.iter().map(|(slot, word)| (*slot, (*word).to_owned())).collect() }
    }

    fn get(&self, slot: char) -> &str {
        self.words.iter().find(|(name, _)| *name == slot).map_or("", |(_, word)| word)
    }

    fn sentence(&self, draw: &mut Draw) -> String {
        let (_, templates) = FORMS[self.form as usize];
        // The first one ends a procedure; asked in words are the others.
        let templates = if self.form == Form::Prints { &templates[1..] } else { templates };
        self.fill(draw.pick(templates))
    }

    fn fill(&self, template: &str) -> String {
        let words: Vec<(char, &str)> = self.words.iter().map(|(slot, word)| (*slot, word.as_str())).collect();
        fill(template, &words)
    }

    fn read(sentence: &str) -> Option<Self> {
        // Follow-ups begin with "And".
        let lowered = sentence.strip_prefix("And ").map(|rest| rest[..1].to_uppercase() + &rest[1..]);
        let sentence = lowered.as_deref().unwrap_or(sentence);
        for (form, templates) in FORMS {
            for template in templates {
                if matches!(form, Form::After | Form::Before) {
                    let (start, end) = template.split_once("{t}")?;
                    let word = sentence.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
                    if let Some(word) =
                        word.filter(|word| matches!(sort_of(word), Some(Sort::Thing | Sort::Animal)))
                    {
                        return Some(Self::new(form, &[('t', word)]));
                    }
                } else if let Some(words) = read(template, sentence) {
                    return Some(Self::new(form, &words));
                }
            }
        }
        None
    }
}

/// The right answer: words of one sort, one of them but for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    sort: Sort,
    words: Vec<String>,
}

impl Answer {
    fn one(sort: Sort, word: impl Into<String>) -> Self {
        Self { sort, words: vec![word.into()] }
    }
}

/// The one entry that satisfies; none where there are none or several.
fn only<'a>(facts: &'a [Fact], holds: impl Fn(&Fact) -> bool) -> Option<&'a Fact> {
    let mut found = facts.iter().filter(|fact| holds(fact));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The one with the extreme number; none where there is a tie or nobody to compare with.
fn extreme(facts: &[Fact], relation: Relation, thing: &str, most: bool) -> Option<Answer> {
    let of = |fact: &&Fact| fact.relation == relation && fact.get('t') == thing;
    let mut list: Vec<&Fact> = facts.iter().filter(of).collect();
    list.sort_by_key(|fact| if most { -fact.number() } else { fact.number() });
    let [first, second, ..] = list.as_slice() else { return None };
    (first.number() != second.number()).then(|| Answer::one(Sort::Name, first.get('n')))
}

/// Numbers somebody has one after another; none where it goes below nothing.
fn counts(facts: &[Fact], name: &str, thing: &str) -> Option<Vec<i64>> {
    let start = only(facts, |fact| {
        fact.relation == Relation::Count && fact.get('n') == name && fact.get('t') == thing
    })?;
    let mut counts = vec![start.number()];
    for fact in facts.iter().filter(|fact| fact.get('n') == name) {
        let last = counts[counts.len() - 1];
        match fact.relation {
            Relation::Gain => counts.push(last + fact.number()),
            Relation::Lose => counts.push(last - fact.number()),
            _ => {}
        }
    }
    counts.iter().all(|count| *count >= 0).then_some(counts)
}

/// The values of x one after another.
fn values(facts: &[Fact]) -> Option<Vec<i64>> {
    let mut values: Vec<i64> = Vec::new();
    for fact in facts {
        let last = values.last().copied();
        match fact.relation {
            Relation::Set => values.push(fact.number()),
            Relation::Add => values.push(last? + fact.number()),
            Relation::Take => values.push(last? - fact.number()),
            Relation::Double => values.push(last? * 2),
            _ => {}
        }
    }
    (!values.is_empty() && values.iter().all(|value| *value >= 0)).then_some(values)
}

/// The answer that follows from the facts; none where none or several do.
fn answer(facts: &[Fact], ask: &Ask) -> Option<Answer> {
    let (name, thing) = (ask.get('n'), ask.get('t'));
    let is = |fact: &Fact, relation: Relation| fact.relation == relation;
    let list = || only(facts, |fact| is(fact, Relation::List)).map(|fact| &fact.items);
    let beside = |step: isize| -> Option<Answer> {
        let items = list()?;
        let at = items.iter().position(|item| item == thing)?;
        let word = items.get(at.checked_add_signed(step)?)?;
        Some(Answer::one(sort_of(word)?, word))
    };
    match ask.form {
        Form::Where => {
            let last = facts
                .iter()
                .rfind(|fact| (is(fact, Relation::At) || is(fact, Relation::Went)) && fact.get('n') == name);
            last.map(|fact| Answer::one(Sort::Place, fact.get('p')))
        }
        Form::Owner => {
            let owner = |fact: &Fact| {
                is(fact, Relation::Has) && fact.get('t') == thing && fact.get('c') == ask.get('c')
            };
            only(facts, owner).map(|fact| Answer::one(Sort::Name, fact.get('n')))
        }
        Form::Colour => {
            let has =
                |fact: &Fact| is(fact, Relation::Has) && fact.get('t') == thing && fact.get('n') == name;
            only(facts, has).map(|fact| Answer::one(Sort::Colour, fact.get('c')))
        }
        Form::Oldest => extreme(facts, Relation::Age, "", true),
        Form::Youngest => extreme(facts, Relation::Age, "", false),
        Form::WhoWorks => only(facts, |fact| is(fact, Relation::Job) && fact.get('j') == ask.get('j'))
            .map(|fact| Answer::one(Sort::Name, fact.get('n'))),
        Form::Work => only(facts, |fact| is(fact, Relation::Job) && fact.get('n') == name)
            .map(|fact| Answer::one(Sort::Job, fact.get('j'))),
        Form::PlaceOfDay => {
            let goes = |fact: &Fact| {
                is(fact, Relation::Visit) && fact.get('n') == name && fact.get('d') == ask.get('d')
            };
            only(facts, goes).map(|fact| Answer::one(Sort::Place, fact.get('p')))
        }
        Form::DayOfPlace => {
            let goes = |fact: &Fact| {
                is(fact, Relation::Visit) && fact.get('n') == name && fact.get('p') == ask.get('p')
            };
            only(facts, goes).map(|fact| Answer::one(Sort::Day, fact.get('d')))
        }
        Form::After => beside(1),
        Form::Before => beside(-1),
        Form::Backwards => {
            list().map(|items| Answer { sort: Sort::Thing, words: items.iter().rev().cloned().collect() })
        }
        Form::Length => list().map(|items| Answer::one(Sort::Number, items.len().to_string())),
        Form::HowMany => counts(facts, name, thing)
            .map(|counts| Answer::one(Sort::Number, counts[counts.len() - 1].to_string())),
        Form::Most => extreme(facts, Relation::Count, thing, true),
        Form::Fewest => extreme(facts, Relation::Count, thing, false),
        Form::Prints => {
            values(facts).map(|values| Answer::one(Sort::Number, values[values.len() - 1].to_string()))
        }
    }
}

/// What was found out about a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Right,
    /// It is not.
    Wrong,
    /// The question is of the world, but what it tells does not answer it.
    Unanswerable,
    /// The question is not one this world asks.
    Unreadable,
}

/// Judges a reply to the last of a user's turns; all turns tell facts.
pub fn check(turns: &[&str], reply: &str) -> Verdict {
    let Some((facts, ask)) = understand(turns) else { return Verdict::Unreadable };
    match answer(&facts, &ask) {
        None => Verdict::Unanswerable,
        Some(answer) if says(reply, &answer, &ask) => Verdict::Right,
        Some(_) => Verdict::Wrong,
    }
}

/// All facts of the turns, and what the last one asks.
fn understand(turns: &[&str]) -> Option<(Vec<Fact>, Ask)> {
    let (mut facts, mut asked) = (Vec::new(), None);
    for turn in turns {
        let (told, others) = read_all(turn);
        facts.extend(told);
        // A procedure may be asked about in words and end with `print x`: one question.
        let mut asks: Vec<Ask> = others.into_iter().map(Ask::read).collect::<Option<_>>()?;
        asks.dedup_by_key(|ask| ask.form);
        asked = match asks.len() {
            1 => asks.pop(),
            _ => return None,
        };
    }
    Some((facts, asked?))
}

/// Whether the last sentence of a reply gives this answer and no other of its sort. What comes before it are steps.
fn says(reply: &str, answer: &Answer, ask: &Ask) -> bool {
    let last = sentences(reply).last().unwrap_or("");
    if ask.form == Form::Backwards {
        let items = words(last).filter(|word| matches!(sort_of(word), Some(Sort::Thing | Sort::Animal)));
        return items.eq(answer.words.iter().map(String::as_str));
    }
    let beside = matches!(ask.form, Form::After | Form::Before);
    let fits = |word: &&str| match sort_of(word) {
        Some(Sort::Thing | Sort::Animal) if beside => *word != ask.get('t'),
        sort => sort == Some(answer.sort),
    };
    // The number that answers is the last one: others may be part of how it is said.
    let mut said: Vec<&str> = words(last).filter(fits).collect();
    if answer.sort == Sort::Number {
        said = said.split_off(said.len().saturating_sub(1));
    }
    said.dedup();
    !said.is_empty() && said.iter().all(|word| *word == answer.words[0])
}

/// A question with its answer, and a reply that gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it asks for.
    pub kind: Kind,
    /// What is told and asked.
    pub user: String,
    /// A right reply.
    pub reply: String,
    /// The answer's words.
    pub answer: String,
    facts: Vec<Fact>,
    ask: Ask,
    split: Split,
}

impl Question {
    /// A question of a kind whose names and facts are of a split.
    pub fn new(kind: Kind, draw: &mut Draw, split: Split) -> Self {
        loop {
            let facts = facts(kind, draw, split);
            let tuple = facts.iter().map(Fact::tuple).collect::<Vec<_>>().join(", ");
            let ask = ask(kind, &facts, draw);
            let Some(found) = answer(&facts, &ask).filter(|_| split.holds(&tuple)) else { continue };
            let user = told(&facts, &ask, draw);
            let reply = reply(&facts, &ask, &found, draw);
            return Self { kind, user, reply, answer: found.words.join(", "), facts, ask, split };
        }
    }

    /// Another question about the same facts, or after one more.
    pub fn follow_up(&self, draw: &mut Draw) -> Self {
        // Of a list these can be asked once only.
        let once = matches!(self.kind, Kind::Backwards | Kind::Length);
        let kind = if once { Kind::Next } else { self.kind };
        loop {
            let mut facts = self.facts.clone();
            let more = more(kind, &facts, draw, self.split);
            facts.extend(more.clone());
            let ask = ask(kind, &facts, draw);
            let Some(found) = answer(&facts, &ask) else { continue };
            if more.is_none() && ask == self.ask {
                continue;
            }
            let asked = ask.sentence(draw);
            let user = match more {
                Some(fact) => format!("{} {asked}", ended(&fact.sentence(draw))),
                None if asked.starts_with('W') && draw.chance(60) => {
                    format!("And {}{}", asked[..1].to_lowercase(), &asked[1..])
                }
                None => asked,
            };
            let reply = reply(&facts, &ask, &found, draw);
            return Self { kind, user, reply, answer: found.words.join(", "), facts, ask, split: self.split };
        }
    }

    /// A reply of the same form with another answer, of the text where it has one, and that answer.
    pub fn wrong(&self, draw: &mut Draw) -> (String, String) {
        let Some(right) = answer(&self.facts, &self.ask) else { return Default::default() };
        loop {
            let wrong = other(&self.facts, &self.ask, &right, draw, self.split);
            let text = reply(&self.facts, &self.ask, &wrong, draw);
            if wrong != right && !says(&text, &right, &self.ask) {
                return (text, wrong.words.join(", "));
            }
        }
    }

    /// The same question about somebody or something the text does not tell of.
    pub fn unanswerable(&self, draw: &mut Draw) -> Option<String> {
        for _ in 0..20 {
            let stranger = Self::new(self.kind, draw, self.split);
            if answer(&self.facts, &stranger.ask).is_none() {
                return Some(told(&self.facts, &stranger.ask, draw));
            }
        }
        None
    }

    /// The facts alone, in sentences.
    pub(super) fn told(&self, draw: &mut Draw) -> String {
        let joint = if self.kind == Kind::Code { "\n" } else { " " };
        self.facts.iter().map(|fact| fact.sentence(draw)).collect::<Vec<_>>().join(joint)
    }

    /// The facts that an earlier question did not have.
    pub(super) fn told_since(&self, earlier: &Self, draw: &mut Draw) -> Option<String> {
        let new = self.facts.get(earlier.facts.len()..)?;
        let told: Vec<String> = new.iter().map(|fact| fact.sentence(draw)).collect();
        (!told.is_empty()).then(|| told.join(" "))
    }

    /// The question alone.
    pub(super) fn asked(&self, draw: &mut Draw) -> String {
        self.ask.sentence(draw)
    }

    pub(super) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The answer in a few words, as a person would scribble it.
    pub fn short(&self) -> String {
        match self.kind {
            Kind::Place | Kind::Moves => format!("the {}", self.answer),
            Kind::Next => format!("the {}", self.answer),
            _ => self.answer.clone(),
        }
    }

    /// How many facts it takes.
    pub fn size(&self) -> usize {
        self.facts.iter().map(|fact| fact.items.len().max(1)).sum()
    }
}

/// The text of a question: mostly the facts first.
fn told(facts: &[Fact], ask: &Ask, draw: &mut Draw) -> String {
    if ask.form == Form::Prints {
        let lines: Vec<String> = facts.iter().map(|fact| fact.sentence(draw)).collect();
        let joint = if draw.chance(50) { "\n" } else { "; " };
        return format!("{} {}{joint}print x", ask.sentence(draw), lines.join(joint));
    }
    let mut text: Vec<String> = facts.iter().map(|fact| fact.sentence(draw)).collect();
    if draw.chance(15) {
        text.insert(0, aside(draw).to_owned());
    }
    let question = ask.sentence(draw);
    if draw.chance(80) {
        text.push(question)
    } else {
        text.insert(0, question)
    }
    text.join(" ")
}

/// A line of a procedure, as a sentence.
fn ended(sentence: &str) -> String {
    if sentence.ends_with('.') { sentence.to_owned() } else { format!("{sentence};") }
}

/// Facts that a question of this kind can be about.
fn facts(kind: Kind, draw: &mut Draw, split: Split) -> Vec<Fact> {
    let count = draw.between(2, 4);
    let people = names(draw, split, count);
    let number = |draw: &mut Draw, low, high| draw.between(low, high).to_string();
    let mut facts: Vec<Fact> = match kind {
        Kind::Place => of_each(&people, draw.several(&PLACES, count), |n, p| {
            Fact::new(Relation::At, &[('n', n), ('p', p)])
        }),
        Kind::Owner | Kind::Colour => {
            let things = draw.several(&THINGS, count);
            let colours = draw.several(&COLOURS, count);
            let mut facts: Vec<Fact> = (0..count)
                .map(|i| Fact::new(Relation::Has, &[('n', &people[i]), ('c', colours[i]), ('t', things[i])]))
                .collect();
            // The same thing in another colour: both words count.
            if kind == Kind::Owner && draw.chance(40) {
                facts[1] =
                    Fact::new(Relation::Has, &[('n', &people[1]), ('c', colours[1]), ('t', things[0])]);
            }
            facts
        }
        Kind::Moves => {
            let people = &people[..draw.between(1, 2)];
            let places = draw.several(&PLACES, 5);
            let walk = |i: usize, place| {
                Fact::new(Relation::Went, &[('n', &people[i % people.len()]), ('p', place)])
            };
            let moves = draw.between(2, 4);
            places[..moves].iter().enumerate().map(|(i, place)| walk(i, *place)).collect()
        }
        Kind::Age => {
            let ages = draw.several(&(4..70).collect::<Vec<usize>>(), count);
            of_each(&people, ages.iter().map(usize::to_string).collect(), |n, k| {
                Fact::new(Relation::Age, &[('n', n), ('k', k)])
            })
        }
        Kind::Job => of_each(&people, draw.several(&JOBS, count), |n, j| {
            Fact::new(Relation::Job, &[('n', n), ('j', j)])
        }),
        Kind::Day => {
            let (days, places) = (draw.several(&DAYS, count), draw.several(&PLACES, count));
            let same = draw.chance(50);
            (0..count)
                .map(|i| {
                    let n = &people[if same { 0 } else { i }];
                    Fact::new(Relation::Visit, &[('n', n), ('d', days[i]), ('p', places[i])])
                })
                .collect()
        }
        Kind::Next | Kind::Backwards | Kind::Length => {
            let (low, high) = match kind {
                Kind::Next => (3, 6),
                Kind::Backwards => (3, 4),
                _ => (2, 8),
            };
            let all: Vec<String> = THINGS.iter().chain(&ANIMALS).map(|word| (*word).to_owned()).collect();
            let length = draw.between(low, high);
            return vec![Fact::list(draw.several(&all, length))];
        }
        Kind::Sum => {
            let (n, t) = (people[0].as_str(), draw.pick(&THINGS));
            let mut facts =
                vec![Fact::new(Relation::Count, &[('n', n), ('k', &number(draw, 2, 12)), ('t', t)])];
            for _ in 0..draw.between(1, 2) {
                let relation = if draw.chance(60) { Relation::Gain } else { Relation::Lose };
                facts.push(Fact::new(relation, &[('n', n), ('k', &number(draw, 1, 8))]));
            }
            facts
        }
        Kind::Most => {
            let t = draw.pick(&THINGS);
            let numbers = draw.several(&(2..30).collect::<Vec<usize>>(), count);
            of_each(&people, numbers.iter().map(usize::to_string).collect(), |n, k| {
                Fact::new(Relation::Count, &[('n', n), ('k', k), ('t', t)])
            })
        }
        Kind::Code => {
            let mut facts = vec![Fact::new(Relation::Set, &[('k', &number(draw, 1, 9))])];
            for _ in 0..draw.between(1, 3) {
                facts.push(operation(draw));
            }
            return facts;
        }
    };
    if draw.chance(30) {
        let stranger = aside_fact(kind, draw, split);
        facts.insert(draw.below(facts.len() + 1), stranger);
    }
    facts
}

fn of_each<W: AsRef<str>>(people: &[String], words: Vec<W>, fact: impl Fn(&str, &str) -> Fact) -> Vec<Fact> {
    people.iter().zip(words).map(|(name, word)| fact(name, word.as_ref())).collect()
}

fn operation(draw: &mut Draw) -> Fact {
    let number = draw.between(1, 6).to_string();
    match draw.below(5) {
        0 | 1 => Fact::new(Relation::Add, &[('k', &number)]),
        2 | 3 => Fact::new(Relation::Take, &[('k', &number)]),
        _ => Fact::new(Relation::Double, &[]),
    }
}

/// A fact about somebody else that the question does not need.
fn aside_fact(kind: Kind, draw: &mut Draw, split: Split) -> Fact {
    let n = name(draw, split);
    match kind {
        Kind::Place | Kind::Moves | Kind::Day | Kind::Sum | Kind::Most => {
            Fact::new(Relation::Job, &[('n', &n), ('j', draw.pick(&JOBS))])
        }
        _ => Fact::new(Relation::At, &[('n', &n), ('p', draw.pick(&PLACES))]),
    }
}

/// What happens between a question and the one that follows it, in kinds that are about change.
fn more(kind: Kind, facts: &[Fact], draw: &mut Draw, split: Split) -> Option<Fact> {
    let first = facts.iter().find(|fact| !fact.get('n').is_empty() && fact.relation != Relation::Job);
    let n = first.map_or(String::new(), |fact| fact.get('n').to_owned());
    let number = draw.between(1, 8).to_string();
    match kind {
        Kind::Moves => Some(Fact::new(Relation::Went, &[('n', &n), ('p', draw.pick(&PLACES))])),
        Kind::Sum => {
            let relation = if draw.chance(60) { Relation::Gain } else { Relation::Lose };
            Some(Fact::new(relation, &[('n', &n), ('k', &number)]))
        }
        Kind::Code => Some(operation(draw)),
        Kind::Age => Some(Fact::new(
            Relation::Age,
            &[('n', &name(draw, split)), ('k', &draw.between(4, 70).to_string())],
        )),
        _ => None,
    }
}

/// A question of this kind about these facts.
fn ask(kind: Kind, facts: &[Fact], draw: &mut Draw) -> Ask {
    let relation = match kind {
        Kind::Place => Relation::At,
        Kind::Owner | Kind::Colour => Relation::Has,
        Kind::Moves => Relation::Went,
        Kind::Age => Relation::Age,
        Kind::Job => Relation::Job,
        Kind::Day => Relation::Visit,
        Kind::Next | Kind::Backwards | Kind::Length => Relation::List,
        Kind::Sum | Kind::Most => Relation::Count,
        Kind::Code => Relation::Set,
    };
    let about: Vec<&Fact> = facts.iter().filter(|fact| fact.relation == relation).collect();
    let fact = draw.pick(&about);
    let get = |slot| fact.get(slot);
    let one = draw.chance(50);
    match kind {
        Kind::Place | Kind::Moves => Ask::new(Form::Where, &[('n', get('n'))]),
        Kind::Owner => Ask::new(Form::Owner, &[('c', get('c')), ('t', get('t'))]),
        Kind::Colour => Ask::new(Form::Colour, &[('n', get('n')), ('t', get('t'))]),
        Kind::Age => Ask::new(if one { Form::Oldest } else { Form::Youngest }, &[]),
        Kind::Job if one => Ask::new(Form::WhoWorks, &[('j', get('j'))]),
        Kind::Job => Ask::new(Form::Work, &[('n', get('n'))]),
        Kind::Day if one => Ask::new(Form::PlaceOfDay, &[('n', get('n')), ('d', get('d'))]),
        Kind::Day => Ask::new(Form::DayOfPlace, &[('n', get('n')), ('p', get('p'))]),
        Kind::Next => {
            let item = draw.pick(&fact.items);
            Ask::new(if draw.chance(70) { Form::After } else { Form::Before }, &[('t', &item)])
        }
        Kind::Backwards => Ask::new(Form::Backwards, &[]),
        Kind::Length => Ask::new(Form::Length, &[]),
        Kind::Sum => Ask::new(Form::HowMany, &[('n', get('n')), ('t', get('t'))]),
        Kind::Most => Ask::new(if one { Form::Most } else { Form::Fewest }, &[('t', get('t'))]),
        Kind::Code => Ask::new(Form::Prints, &[]),
    }
}

/// A reply that gives an answer, right or not, with steps where people would take some.
fn reply(facts: &[Fact], ask: &Ask, answer: &Answer, draw: &mut Draw) -> String {
    let word = answer.words[0].as_str();
    let number_of = |relation| {
        let mut found =
            facts.iter().filter(|fact: &&Fact| fact.relation == relation && fact.get('n') == word);
        found.next().map_or(String::new(), |fact| fact.get('k').to_owned())
    };
    let either = |draw: &mut Draw, templates: &[&str]| ask.fill(draw.pick(templates)).replace("{a}", word);
    match ask.form {
        Form::Where if facts.iter().any(|fact| fact.relation == Relation::Went) => {
            let went =
                facts.iter().filter(|fact| fact.relation == Relation::Went && fact.get('n') == ask.get('n'));
            let places: Vec<String> = went.map(|fact| format!("the {}", fact.get('p'))).collect();
            ask.fill("{n} went to {a}. Now {n} is in the {b}.")
                .replace("{a}", &places.join(", then "))
                .replace("{b}", word)
        }
        Form::Where => either(draw, &["{n} is in the {a}.", "You can find {n} in the {a}."]),
        Form::Owner => either(draw, &["{a} has the {c} {t}.", "The {c} {t} belongs to {a}."]),
        Form::Colour => either(draw, &["{n}'s {t} is {a}.", "{n} has a {a} {t}."]),
        Form::Oldest => format!("{word} is the oldest, with {} years.", number_of(Relation::Age)),
        Form::Youngest => format!("{word} is the youngest, with {} years.", number_of(Relation::Age)),
        Form::WhoWorks => either(draw, &["{a} is the {j}.", "The {j} is {a}."]),
        Form::Work => either(draw, &["{n} is a {a}.", "{n} works as a {a}."]),
        Form::PlaceOfDay => either(draw, &["On {d} {n} goes to the {a}."]),
        Form::DayOfPlace => either(draw, &["{n} goes to the {p} on {a}."]),
        Form::After => either(draw, &["After the {t} comes the {a}."]),
        Form::Before => either(draw, &["Before the {t} comes the {a}."]),
        Form::Backwards => format!("Backwards: {}.", answer.words.join(", ")),
        Form::Length => {
            let items = facts.iter().flat_map(|fact| &fact.items).enumerate();
            let counted: Vec<String> = items.map(|(index, item)| format!("{} {item}", index + 1)).collect();
            format!("{}. There are {word} things on the list.", counted.join(", "))
        }
        Form::HowMany => {
            let counts = counts(facts, ask.get('n'), ask.get('t')).unwrap_or_default();
            let step = |pair: &[i64]| {
                let (sign, change) =
                    if pair[1] >= pair[0] { ('+', pair[1] - pair[0]) } else { ('-', pair[0] - pair[1]) };
                format!("{} {sign} {change} = {}. ", pair[0], pair[1])
            };
            let steps: String = counts.windows(2).map(step).collect();
            format!("{steps}{}", ask.fill("{n} has {a} {t}s now.").replace("{a}", word))
        }
        Form::Most => format!("{word} has the most {}s, {}.", ask.get('t'), number_of(Relation::Count)),
        Form::Fewest => format!("{word} has the fewest {}s, {}.", ask.get('t'), number_of(Relation::Count)),
        Form::Prints => {
            let steps: Vec<String> = values(facts).unwrap_or_default().iter().map(i64::to_string).collect();
            format!("x is {}. It prints {word}.", steps.join(", then "))
        }
    }
}

/// Another answer: of the text where it has one, else of the world.
fn other(facts: &[Fact], ask: &Ask, right: &Answer, draw: &mut Draw, split: Split) -> Answer {
    if ask.form == Form::Backwards {
        let mut words = right.words.clone();
        draw.shuffle(&mut words);
        return Answer { words, ..right.clone() };
    }
    if right.sort == Sort::Number {
        let number: i64 = right.words[0].parse().unwrap_or(0);
        let step = draw.between(1, 3) as i64;
        let near = if draw.chance(50) { number + step } else { (number - step).max(0) };
        return Answer::one(Sort::Number, near.to_string());
    }
    let told = facts.iter().flat_map(|fact| ['n', 'p', 'c', 'j', 'd'].map(|slot| fact.get(slot).to_owned()));
    let mut words: Vec<String> = told.chain(facts.iter().flat_map(|fact| fact.items.clone())).collect();
    words.retain(|word| {
        let sort = sort_of(word);
        let listed = matches!(sort, Some(Sort::Thing | Sort::Animal))
            && matches!(ask.form, Form::After | Form::Before);
        (sort == Some(right.sort) || listed) && *word != right.words[0] && word != ask.get('t')
    });
    if words.is_empty() {
        words = match right.sort {
            Sort::Name => vec![name(draw, split)],
            Sort::Place => PLACES.map(str::to_owned).to_vec(),
            Sort::Colour => COLOURS.map(str::to_owned).to_vec(),
            Sort::Job => JOBS.map(str::to_owned).to_vec(),
            Sort::Day => DAYS.map(str::to_owned).to_vec(),
            _ => THINGS.map(str::to_owned).to_vec(),
        };
    }
    let word = draw.pick(&words);
    Answer::one(right.sort, word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_checker_knows_right_from_wrong_in_every_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(7, kind.name());
            for split in [Split::Train, Split::Test] {
                for _ in 0..500 {
                    let question = Question::new(kind, &mut draw, split);
                    let user = question.user.as_str();
                    assert_eq!(check(&[user], &question.reply), Verdict::Right, "{user}\n{}", question.reply);
                    let wrong = question.wrong(&mut draw).0;
                    assert_eq!(check(&[user], &wrong), Verdict::Wrong, "{user}\n{wrong}");
                    assert_eq!(check(&[user], ""), Verdict::Wrong, "{user}");
                    let next = question.follow_up(&mut draw);
                    let turns = [user, next.user.as_str()];
                    assert_eq!(check(&turns, &next.reply), Verdict::Right, "{turns:?}\n{}", next.reply);
                    assert_eq!(check(&turns, &next.wrong(&mut draw).0), Verdict::Wrong, "{turns:?}");
                    if let Some(text) = question.unanswerable(&mut draw) {
                        assert_eq!(check(&[&text], &question.reply), Verdict::Unanswerable, "{text}");
                    }
                }
            }
        }
        assert_eq!(check(&["Why is the sky blue?"], "So."), Verdict::Unreadable);
        assert_eq!(check(&["Mara is in the barn."], "Mara is in the barn."), Verdict::Unreadable);
    }

    #[test]
    fn no_constant_answers_a_fifth_of_a_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(11, kind.name());
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..1000 {
                *seen.entry(Question::new(kind, &mut draw, Split::Test).answer).or_default() += 1;
            }
            let most = seen.values().max().unwrap();
            assert!(*most <= 200, "{}: {most} of 1000", kind.name());
        }
    }

    #[test]
    fn the_last_sentence_decides() {
        let turns = ["Mara went to the barn. Then Mara went to the mill. Where is Mara now?"];
        assert_eq!(
            check(&turns, "Mara went to the barn, then the mill. Now Mara is in the mill."),
            Verdict::Right
        );
        assert_eq!(check(&turns, "Mara is in the barn or the mill."), Verdict::Wrong);
        assert_eq!(check(&turns, "The mill."), Verdict::Right);
        assert_eq!(check(&turns, "In the mill. No, in the barn."), Verdict::Wrong);
    }
}
