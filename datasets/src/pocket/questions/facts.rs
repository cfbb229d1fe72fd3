//! Facts that a question of a kind can be about, and what is asked about them.

use super::super::facts::Relation;
use super::super::names::{name, names};
use super::super::words::{ANIMALS, COLOURS, DAYS, JOBS, PLACES, THINGS};
use super::super::{Draw, Fact, Split};
use super::Kind;
use super::ask::{Ask, Form};

/// Facts that a question of this kind can be about.
pub(super) fn facts(kind: Kind, draw: &mut Draw, split: Split) -> Vec<Fact> {
    let count = draw.between(2, 4);
    let people = names(draw, split, count);
    let mut facts = match kind {
        Kind::Place => of_each(&people, draw.several(&PLACES, count), |n, p| {
            Fact::new(Relation::At, &[('n', n), ('p', p)])
        }),
        Kind::Owner | Kind::Colour => owned(&people, kind == Kind::Owner && draw.chance(40), draw),
        Kind::Moves => moves(&people, draw),
        Kind::Age => {
            let ages = draw.several(&(4..70).collect::<Vec<usize>>(), count);
            of_each(&people, ages.iter().map(usize::to_string).collect(), |n, k| {
                Fact::new(Relation::Age, &[('n', n), ('k', k)])
            })
        }
        Kind::Job => of_each(&people, draw.several(&JOBS, count), |n, j| {
            Fact::new(Relation::Job, &[('n', n), ('j', j)])
        }),
        Kind::Day => visits(&people, draw),
        Kind::Sum => changes(&people[0], draw),
        Kind::Most => counted(&people, draw),
        // Nobody stands beside a list or a procedure.
        Kind::Next => return vec![listed(3, 6, draw)],
        Kind::Backwards => return vec![listed(3, 4, draw)],
        Kind::Length => return vec![listed(2, 8, draw)],
        Kind::Code => return procedure(draw),
    };
    if draw.chance(30) {
        let stranger = aside_fact(kind, draw, split);
        facts.insert(draw.below(facts.len() + 1), stranger);
    }
    facts
}

/// One or two of them, from place to place.
fn moves(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let people = &people[..draw.between(1, 2)];
    let places = draw.several(&PLACES, 5);
    let moves = draw.between(2, 4);
    let walk = |(i, place): (usize, &&str)| {
        Fact::new(Relation::Went, &[('n', &people[i % people.len()]), ('p', place)])
    };
    places[..moves].iter().enumerate().map(walk).collect()
}

/// Who goes where on which day: all of them one person, or each another.
fn visits(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let count = people.len();
    let (days, places) = (draw.several(&DAYS, count), draw.several(&PLACES, count));
    let same = draw.chance(50);
    let visit = |i: usize| {
        Fact::new(
            Relation::Visit,
            &[('n', &people[if same { 0 } else { i }]), ('d', days[i]), ('p', places[i])],
        )
    };
    (0..count).map(visit).collect()
}

/// So many things and animals in an order.
fn listed(low: usize, high: usize, draw: &mut Draw) -> Fact {
    let all: Vec<String> = THINGS.iter().chain(&ANIMALS).map(|word| (*word).to_owned()).collect();
    let length = draw.between(low, high);
    Fact::list(draw.several(&all, length))
}

/// How many of a thing somebody has, then more and less of it.
fn changes(n: &str, draw: &mut Draw) -> Vec<Fact> {
    let t = draw.pick(&THINGS);
    let number = |draw: &mut Draw, low, high| draw.between(low, high).to_string();
    let mut facts = vec![Fact::new(Relation::Count, &[('n', n), ('k', &number(draw, 2, 12)), ('t', t)])];
    for _ in 0..draw.between(1, 2) {
        let relation = if draw.chance(60) { Relation::Gain } else { Relation::Lose };
        facts.push(Fact::new(relation, &[('n', n), ('k', &number(draw, 1, 8))]));
    }
    facts
}

/// How many of one thing each of them has.
fn counted(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let t = draw.pick(&THINGS);
    let numbers = draw.several(&(2..30).collect::<Vec<usize>>(), people.len());
    of_each(people, numbers.iter().map(usize::to_string).collect(), |n, k| {
        Fact::new(Relation::Count, &[('n', n), ('k', k), ('t', t)])
    })
}

/// What x is at first, then what is done to it.
fn procedure(draw: &mut Draw) -> Vec<Fact> {
    let first = draw.between(1, 9).to_string();
    let mut facts = vec![Fact::new(Relation::Set, &[('k', &first)])];
    for _ in 0..draw.between(1, 3) {
        facts.push(operation(draw));
    }
    facts
}

/// A thing for each; `twice` gives the same one in two colours, so that both words count.
fn owned(people: &[String], twice: bool, draw: &mut Draw) -> Vec<Fact> {
    let (mut things, colours) = (draw.several(&THINGS, people.len()), draw.several(&COLOURS, people.len()));
    if twice {
        things[1] = things[0];
    }
    let each = people.iter().zip(colours).zip(things);
    each.map(|((n, c), t)| Fact::new(Relation::Has, &[('n', n), ('c', c), ('t', t)])).collect()
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
pub(super) fn more(kind: Kind, facts: &[Fact], draw: &mut Draw, split: Split) -> Option<Fact> {
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
pub(super) fn ask(kind: Kind, facts: &[Fact], draw: &mut Draw) -> Ask {
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
