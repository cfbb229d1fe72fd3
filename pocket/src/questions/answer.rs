//! The answer that follows from facts; none if there is no answer or more than one.

use super::query::{Form, Query};
use crate::facts::{Fact, Relation};
use crate::vocabulary::{Sort, sort_of};

/// The right answer: one word, or the words of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The sort of its words.
    pub(super) sort: Sort,
    pub(super) words: Vec<String>,
}

impl Answer {
    /// An answer of one word.
    pub(super) fn word(sort: Sort, word: impl Into<String>) -> Self {
        Self { sort, words: vec![word.into()] }
    }
}

/// The only fact that satisfies a condition, even if it is stated several times; none if there are several different
/// ones.
fn unique_fact(facts: &[Fact], condition: impl Fn(&Fact) -> bool) -> Option<&Fact> {
    let mut matching = facts.iter().filter(|fact| condition(fact));
    let first = matching.next()?;
    matching.all(|other| other.implies(first)).then_some(first)
}

/// The person with the highest or lowest number; none if there is a tie, or only one person.
fn extreme(facts: &[Fact], relation: Relation, thing: &str, is_highest: bool) -> Option<Answer> {
    let is_compared = |fact: &&Fact| fact.relation == relation && fact.get('t') == thing;
    let mut list: Vec<&Fact> = facts.iter().filter(is_compared).collect();
    list.sort_by_key(|fact| if is_highest { -fact.number() } else { fact.number() });
    let [first, second, ..] = list.as_slice() else { return None };
    (first.number() != second.number()).then(|| Answer::word(Sort::Name, first.get('n')))
}

/// How many of a thing somebody has after each gain and loss; none if a number is negative.
pub(super) fn running_counts(facts: &[Fact], name: &str, thing: &str) -> Option<Vec<i64>> {
    let start = unique_fact(facts, |fact| {
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

/// The values of x after each step of a procedure; none if a value is negative.
pub(super) fn running_values(facts: &[Fact]) -> Option<Vec<i64>> {
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

/// The relations that a question of this form can be about, and the slots that identify the fact.
pub(super) fn subject(form: Form) -> (&'static [Relation], &'static [char]) {
    match form {
        Form::Where => (&[Relation::At, Relation::Went], &['n']),
        Form::Owner => (&[Relation::Has], &['c', 't']),
        Form::Color => (&[Relation::Has], &['n', 't']),
        Form::WhoWorks => (&[Relation::Job], &['j']),
        Form::Work => (&[Relation::Job], &['n']),
        Form::PlaceOfDay => (&[Relation::Visit], &['n', 'd']),
        Form::DayOfPlace => (&[Relation::Visit], &['n', 'p']),
        Form::HowMany => (&[Relation::Count], &['n', 't']),
        Form::Most | Form::Fewest => (&[Relation::Count], &['t']),
        Form::Oldest | Form::Youngest => (&[Relation::Age], &[]),
        Form::After | Form::Before | Form::Backwards | Form::Length => (&[Relation::List], &[]),
        Form::Prints => (&[Relation::Set], &[]),
    }
}

/// Pairs of words, one stated by a fact and one asked for. Each fact that the question can be about is a list of pairs
/// up to the first that differs, as in `[(Mara, Mara), (lamp, hat)]`. A fact without identifying words has its sort
/// twice.
pub(super) fn compare_with_facts(facts: &[Fact], query: &Query) -> Vec<Vec<(String, String)>> {
    let (relations, slots) = subject(query.form);
    let candidates = facts.iter().filter(|fact| relations.contains(&fact.relation));
    if matches!(query.form, Form::After | Form::Before) {
        let mut items: Vec<&String> = candidates.flat_map(|fact| &fact.items).collect();
        // Nothing comes after the last item, and nothing before the first one.
        if !items.is_empty() {
            items.remove(if query.form == Form::After { items.len() - 1 } else { 0 });
        }
        return items.into_iter().map(|item| vec![(item.clone(), query.get('t').to_owned())]).collect();
    }
    let sort = match query.form {
        Form::Oldest | Form::Youngest => "age",
        Form::Prints => "x",
        _ => "list",
    };
    // Texts have things that are counted in the plural, even if there is only one.
    let is_counted = relations.contains(&Relation::Count);
    let inflected =
        |slot: char, word: &str| format!("{word}{}", if is_counted && slot == 't' { "s" } else { "" });
    let compare = |fact: &Fact| match slots {
        [] => vec![(sort.to_owned(), sort.to_owned())],
        slots => {
            let words = |slot: &char| (inflected(*slot, fact.get(*slot)), inflected(*slot, query.get(*slot)));
            let mut pairs: Vec<_> = slots.iter().map(words).collect();
            if let Some(different) = pairs.iter().position(|(stated, asked)| stated != asked) {
                pairs.truncate(different + 1);
            }
            pairs
        }
    };
    candidates.map(compare).collect()
}

/// The answer that follows from the facts; none if there is no answer or more than one.
pub(super) fn answer(facts: &[Fact], query: &Query) -> Option<Answer> {
    let (name, thing) = (query.get('n'), query.get('t'));
    let list = || unique_fact(facts, |fact| fact.relation == Relation::List).map(|fact| &fact.items);
    let (relations, slots) = subject(query.form);
    let is_subject = |fact: &Fact| {
        relations.contains(&fact.relation) && slots.iter().all(|slot| fact.get(*slot) == query.get(*slot))
    };
    let word = |sort: Sort, slot: char| {
        unique_fact(facts, is_subject).map(|fact| Answer::word(sort, fact.get(slot)))
    };
    let last = |numbers: Vec<i64>| Answer::word(Sort::Number, numbers[numbers.len() - 1].to_string());
    match query.form {
        // People move, so the last fact counts.
        Form::Where => {
            facts.iter().rfind(|fact| is_subject(fact)).map(|fact| Answer::word(Sort::Place, fact.get('p')))
        }
        Form::Owner | Form::WhoWorks => word(Sort::Name, 'n'),
        Form::Color => word(Sort::Color, 'c'),
        Form::Work => word(Sort::Job, 'j'),
        Form::PlaceOfDay => word(Sort::Place, 'p'),
        Form::DayOfPlace => word(Sort::Day, 'd'),
        Form::Oldest => extreme(facts, Relation::Age, "", true),
        Form::Youngest => extreme(facts, Relation::Age, "", false),
        Form::After => neighbor(list()?, thing, 1),
        Form::Before => neighbor(list()?, thing, -1),
        Form::Backwards => {
            list().map(|items| Answer { sort: Sort::Thing, words: items.iter().rev().cloned().collect() })
        }
        Form::Length => list().map(|items| Answer::word(Sort::Number, items.len().to_string())),
        Form::HowMany => running_counts(facts, name, thing).map(last),
        Form::Most => extreme(facts, Relation::Count, thing, true),
        Form::Fewest => extreme(facts, Relation::Count, thing, false),
        Form::Prints => running_values(facts).map(last),
    }
}

/// The item of a list that is `step` places after a thing; none if the thing is in the list twice, because it then has
/// two neighbors.
fn neighbor(items: &[String], thing: &str, step: isize) -> Option<Answer> {
    let mut places = items.iter().enumerate().filter(|(_, item)| *item == thing);
    let (place, _) = places.next().filter(|_| places.clone().next().is_none())?;
    let word = items.get(place.checked_add_signed(step)?)?;
    Some(Answer::word(sort_of(word)?, word))
}
