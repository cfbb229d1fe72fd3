//! The content of a question: the facts that are drawn for its kind, and what is asked about them.

use super::kind::Kind;
use super::query::{Form, Query};
use crate::draw::Draw;
use crate::facts::{Fact, Relation};
use crate::names::{name, names};
use crate::split::Split;
use crate::vocabulary::{ANIMALS, COLORS, DAYS, JOBS, PLACES, THINGS};

/// Draws facts that a question of this kind can be about.
pub(super) fn draw_facts(kind: Kind, draw: &mut Draw, split: Split) -> Vec<Fact> {
    let count = draw.between(2, 4);
    let people = names(draw, split, count);
    let mut facts = match kind {
        Kind::Place => for_each_person(&people, draw.several(&PLACES, count), |n, p| {
            Fact::new(Relation::At, &[('n', n), ('p', p)])
        }),
        Kind::Owner | Kind::Color => possessions(&people, kind == Kind::Owner && draw.chance(40), draw),
        Kind::Moves => moves(&people, draw),
        Kind::Age => {
            let ages = draw.several(&(4..70).collect::<Vec<usize>>(), count);
            for_each_person(&people, ages.iter().map(usize::to_string).collect(), |n, k| {
                Fact::new(Relation::Age, &[('n', n), ('k', k)])
            })
        }
        Kind::Job => for_each_person(&people, draw.several(&JOBS, count), |n, j| {
            Fact::new(Relation::Job, &[('n', n), ('j', j)])
        }),
        Kind::Day => visits(&people, draw),
        Kind::Sum => changes(&people[0], draw),
        Kind::Most => counts(&people, draw),
        // A list and a procedure have no facts about other people beside them.
        Kind::Next => return vec![list(3, 6, draw)],
        Kind::Backwards => return vec![list(3, 4, draw)],
        Kind::Length => return vec![list(2, 8, draw)],
        Kind::Code => return procedure(draw),
    };
    if draw.chance(30) {
        let other = other_fact(kind, draw, split);
        facts.insert(draw.below(facts.len() + 1), other);
    }
    facts
}

/// One or two people who go from place to place.
fn moves(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let people = &people[..draw.between(1, 2)];
    let places = draw.several(&PLACES, 5);
    let moves = draw.between(2, 4);
    let move_to = |(i, place): (usize, &&str)| {
        Fact::new(Relation::Went, &[('n', &people[i % people.len()]), ('p', place)])
    };
    places[..moves].iter().enumerate().map(move_to).collect()
}

/// Who goes where on which day: one person on all days, or each on another one.
fn visits(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let count = people.len();
    let (days, places) = (draw.several(&DAYS, count), draw.several(&PLACES, count));
    let is_one_person = draw.chance(50);
    let visit = |i: usize| {
        Fact::new(
            Relation::Visit,
            &[('n', &people[if is_one_person { 0 } else { i }]), ('d', days[i]), ('p', places[i])],
        )
    };
    (0..count).map(visit).collect()
}

/// A list of `low` to `high` things and animals.
fn list(low: usize, high: usize, draw: &mut Draw) -> Fact {
    let all: Vec<String> = THINGS.iter().chain(&ANIMALS).map(|word| (*word).to_owned()).collect();
    let length = draw.between(low, high);
    Fact::list(draw.several(&all, length))
}

/// How many of a thing somebody has, then gains and losses.
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

/// How many of one thing each person has.
fn counts(people: &[String], draw: &mut Draw) -> Vec<Fact> {
    let t = draw.pick(&THINGS);
    let numbers = draw.several(&(2..30).collect::<Vec<usize>>(), people.len());
    for_each_person(people, numbers.iter().map(usize::to_string).collect(), |n, k| {
        Fact::new(Relation::Count, &[('n', n), ('k', k), ('t', t)])
    })
}

/// The first value of x, then the steps of a procedure.
fn procedure(draw: &mut Draw) -> Vec<Fact> {
    let first = draw.between(1, 9).to_string();
    let mut facts = vec![Fact::new(Relation::Set, &[('k', &first)])];
    for _ in 0..draw.between(1, 3) {
        facts.push(operation(draw));
    }
    facts
}

/// A thing for each person. With `has_same_thing`, two have the same one in two colors, so that both words matter.
fn possessions(people: &[String], has_same_thing: bool, draw: &mut Draw) -> Vec<Fact> {
    let (mut things, colors) = (draw.several(&THINGS, people.len()), draw.several(&COLORS, people.len()));
    if has_same_thing {
        things[1] = things[0];
    }
    let possessions = people.iter().zip(colors).zip(things);
    possessions.map(|((n, c), t)| Fact::new(Relation::Has, &[('n', n), ('c', c), ('t', t)])).collect()
}

/// One fact per person.
fn for_each_person<W: AsRef<str>>(
    people: &[String],
    words: Vec<W>,
    fact: impl Fn(&str, &str) -> Fact,
) -> Vec<Fact> {
    people.iter().zip(words).map(|(name, word)| fact(name, word.as_ref())).collect()
}

/// A step of a procedure.
fn operation(draw: &mut Draw) -> Fact {
    let number = draw.between(1, 6).to_string();
    match draw.below(5) {
        0 | 1 => Fact::new(Relation::Add, &[('k', &number)]),
        2 | 3 => Fact::new(Relation::Take, &[('k', &number)]),
        _ => Fact::new(Relation::Double, &[]),
    }
}

/// A fact about somebody else that the question does not need.
fn other_fact(kind: Kind, draw: &mut Draw, split: Split) -> Fact {
    let n = name(draw, split);
    match kind {
        Kind::Place | Kind::Moves | Kind::Day | Kind::Sum | Kind::Most => {
            Fact::new(Relation::Job, &[('n', &n), ('j', draw.pick(&JOBS))])
        }
        _ => Fact::new(Relation::At, &[('n', &n), ('p', draw.pick(&PLACES))]),
    }
}

/// Draws what happens between a question and its follow-up; none in kinds without change.
pub(super) fn draw_change(kind: Kind, facts: &[Fact], draw: &mut Draw, split: Split) -> Option<Fact> {
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

/// Draws a query of this kind about these facts.
pub(super) fn draw_query(kind: Kind, facts: &[Fact], draw: &mut Draw) -> Query {
    let relation = match kind {
        Kind::Place => Relation::At,
        Kind::Owner | Kind::Color => Relation::Has,
        Kind::Moves => Relation::Went,
        Kind::Age => Relation::Age,
        Kind::Job => Relation::Job,
        Kind::Day => Relation::Visit,
        Kind::Next | Kind::Backwards | Kind::Length => Relation::List,
        Kind::Sum | Kind::Most => Relation::Count,
        Kind::Code => Relation::Set,
    };
    let candidates: Vec<&Fact> = facts.iter().filter(|fact| fact.relation == relation).collect();
    let fact = draw.pick(&candidates);
    let get = |slot| fact.get(slot);
    let is_first_form = draw.chance(50);
    match kind {
        Kind::Place | Kind::Moves => Query::new(Form::Where, &[('n', get('n'))]),
        Kind::Owner => Query::new(Form::Owner, &[('c', get('c')), ('t', get('t'))]),
        Kind::Color => Query::new(Form::Color, &[('n', get('n')), ('t', get('t'))]),
        Kind::Age => Query::new(if is_first_form { Form::Oldest } else { Form::Youngest }, &[]),
        Kind::Job if is_first_form => Query::new(Form::WhoWorks, &[('j', get('j'))]),
        Kind::Job => Query::new(Form::Work, &[('n', get('n'))]),
        Kind::Day if is_first_form => Query::new(Form::PlaceOfDay, &[('n', get('n')), ('d', get('d'))]),
        Kind::Day => Query::new(Form::DayOfPlace, &[('n', get('n')), ('p', get('p'))]),
        Kind::Next => {
            let item = draw.pick(&fact.items);
            Query::new(if draw.chance(70) { Form::After } else { Form::Before }, &[('t', &item)])
        }
        Kind::Backwards => Query::new(Form::Backwards, &[]),
        Kind::Length => Query::new(Form::Length, &[]),
        Kind::Sum => Query::new(Form::HowMany, &[('n', get('n')), ('t', get('t'))]),
        Kind::Most => Query::new(if is_first_form { Form::Most } else { Form::Fewest }, &[('t', get('t'))]),
        Kind::Code => Query::new(Form::Prints, &[]),
    }
}
