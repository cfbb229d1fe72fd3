//! The answer that follows from facts; none where none or several do.

use super::super::Fact;
use super::super::facts::Relation;
use super::super::words::{Sort, sort_of};
use super::ask::{Ask, Form};

/// The right answer: words of one sort, one of them but for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) sort: Sort,
    pub(super) words: Vec<String>,
}

impl Answer {
    pub(super) fn one(sort: Sort, word: impl Into<String>) -> Self {
        Self { sort, words: vec![word.into()] }
    }
}

/// The one fact that satisfies, also where it is told again; none where there are none or different ones.
fn only(facts: &[Fact], holds: impl Fn(&Fact) -> bool) -> Option<&Fact> {
    let mut found = facts.iter().filter(|fact| holds(fact));
    let first = found.next()?;
    found.all(|other| other.tells(first)).then_some(first)
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
pub(super) fn counts(facts: &[Fact], name: &str, thing: &str) -> Option<Vec<i64>> {
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
pub(super) fn values(facts: &[Fact]) -> Option<Vec<i64>> {
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

/// The facts a question of this form could be about, and the slots that say which of them it is.
pub(super) fn named_by(form: Form) -> (&'static [Relation], &'static [char]) {
    match form {
        Form::Where => (&[Relation::At, Relation::Went], &['n']),
        Form::Owner => (&[Relation::Has], &['c', 't']),
        Form::Colour => (&[Relation::Has], &['n', 't']),
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

/// What is told beside what is asked for, fact by fact and word by word up to the first that differs:
/// `[(Mara, Mara), (lamp, hat)]`. Of what has no name it is the sort of fact.
pub(super) fn beside_told(facts: &[Fact], ask: &Ask) -> Vec<Vec<(String, String)>> {
    let (relations, slots) = named_by(ask.form);
    let could = facts.iter().filter(|fact| relations.contains(&fact.relation));
    if matches!(ask.form, Form::After | Form::Before) {
        let mut items: Vec<&String> = could.flat_map(|fact| &fact.items).collect();
        // Nothing comes after the last one and nothing before the first one.
        if !items.is_empty() {
            items.remove(if ask.form == Form::After { items.len() - 1 } else { 0 });
        }
        return items.into_iter().map(|item| vec![(item.clone(), ask.get('t').to_owned())]).collect();
    }
    let sort = match ask.form {
        Form::Oldest | Form::Youngest => "age",
        Form::Prints => "x",
        _ => "list",
    };
    // Things that are counted are told of as many, also where it is one.
    let counted = relations.contains(&Relation::Count);
    let as_told = |slot: char, word: &str| format!("{word}{}", if counted && slot == 't' { "s" } else { "" });
    let beside = |fact: &Fact| match slots {
        [] => vec![(sort.to_owned(), sort.to_owned())],
        slots => {
            let words = |slot: &char| (as_told(*slot, fact.get(*slot)), as_told(*slot, ask.get(*slot)));
            let mut beside: Vec<_> = slots.iter().map(words).collect();
            if let Some(differs) = beside.iter().position(|(told, asked)| told != asked) {
                beside.truncate(differs + 1);
            }
            beside
        }
    };
    could.map(beside).collect()
}

/// The answer that follows from the facts; none where none or several do.
pub(super) fn answer(facts: &[Fact], ask: &Ask) -> Option<Answer> {
    let (name, thing) = (ask.get('n'), ask.get('t'));
    let list = || only(facts, |fact| fact.relation == Relation::List).map(|fact| &fact.items);
    let beside = |step: isize| -> Option<Answer> {
        let items = list()?;
        // What is on the list twice has two neighbours.
        let mut places = items.iter().enumerate().filter(|(_, item)| *item == thing);
        let (at, _) = places.next().filter(|_| places.clone().next().is_none())?;
        let word = items.get(at.checked_add_signed(step)?)?;
        Some(Answer::one(sort_of(word)?, word))
    };
    let (relations, slots) = named_by(ask.form);
    let named = |fact: &Fact| {
        relations.contains(&fact.relation) && slots.iter().all(|slot| fact.get(*slot) == ask.get(*slot))
    };
    let told = |sort: Sort, slot: char| only(facts, named).map(|fact| Answer::one(sort, fact.get(slot)));
    match ask.form {
        // The last one counts: people move.
        Form::Where => {
            facts.iter().rfind(|fact| named(fact)).map(|fact| Answer::one(Sort::Place, fact.get('p')))
        }
        Form::Owner | Form::WhoWorks => told(Sort::Name, 'n'),
        Form::Colour => told(Sort::Colour, 'c'),
        Form::Work => told(Sort::Job, 'j'),
        Form::PlaceOfDay => told(Sort::Place, 'p'),
        Form::DayOfPlace => told(Sort::Day, 'd'),
        Form::Oldest => extreme(facts, Relation::Age, "", true),
        Form::Youngest => extreme(facts, Relation::Age, "", false),
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
