//! The text of a question, and the replies to it, right or wrong.

use super::answer::{Answer, running_counts, running_values};
use super::query::{Form, Query};
use crate::draw::Draw;
use crate::facts::{Fact, Relation, aside};
use crate::names::name;
use crate::split::Split;
use crate::vocabulary::{COLORS, DAYS, JOBS, PLACES, Sort, THINGS, sort_of};

/// The text of a question, in most cases with the facts first.
pub(super) fn question_text(facts: &[Fact], query: &Query, draw: &mut Draw) -> String {
    if query.form == Form::Prints {
        let lines: Vec<String> = facts.iter().map(|fact| fact.sentence(draw)).collect();
        let separator = if draw.chance(50) { "\n" } else { "; " };
        return format!("{} {}{separator}print x", query.sentence(draw), lines.join(separator));
    }
    let mut text: Vec<String> = facts.iter().map(|fact| fact.sentence(draw)).collect();
    if draw.chance(15) {
        text.insert(0, aside(draw).to_owned());
    }
    let question = query.sentence(draw);
    if draw.chance(80) {
        text.push(question);
    } else {
        text.insert(0, question);
    }
    text.join(" ")
}

/// A sentence with its end; lines of procedures have none of their own.
pub(super) fn with_end(sentence: &str) -> String {
    if sentence.ends_with('.') { sentence.to_owned() } else { format!("{sentence};") }
}

/// Every person's number, then the number that decides: `12 Mara, 30 Tolin. The oldest: 30`. The number comes before
/// the name, because models find what follows a word more easily: with the names first, a quarter of them was wrong.
fn comparison(facts: &[Fact], relation: Relation, which: &str, name: &str) -> String {
    let list: Vec<&Fact> = facts.iter().filter(|fact| fact.relation == relation).collect();
    let entries: Vec<String> =
        list.iter().map(|fact| format!("{} {}", fact.get('k'), fact.get('n'))).collect();
    let entries = entries.join(", ");
    match list.iter().find(|fact| fact.get('n') == name) {
        Some(fact) => format!("{entries}. The {which}: {}", fact.get('k')),
        None => format!("{entries}. The {which}:"), // a wrong answer
    }
}

/// A reply that gives an answer, right or wrong, with steps where people would write some. The subject comes before the
/// answer, because models find what follows a word more easily than what precedes it.
pub(super) fn reply_text(facts: &[Fact], query: &Query, answer: &Answer, draw: &mut Draw) -> String {
    let word = answer.words[0].as_str();
    let mut one_of = |templates: &[&str]| query.fill(draw.pick(templates)).replace("{a}", word);
    match query.form {
        Form::Where if facts.iter().any(|fact| fact.relation == Relation::Went) => {
            moves_text(facts, query, word)
        }
        Form::Where => one_of(&["{n} is in the {a}.", "You can find {n} in the {a}."]),
        Form::Owner => one_of(&["The {c} {t} belongs to {a}."]),
        Form::Color => one_of(&["{n}'s {t} is {a}."]),
        Form::Oldest => format!("{} {word}.", comparison(facts, Relation::Age, "oldest", word)),
        Form::Youngest => format!("{} {word}.", comparison(facts, Relation::Age, "youngest", word)),
        Form::WhoWorks => one_of(&["The {j} is {a}."]),
        Form::Work => one_of(&["{n} is a {a}.", "{n} works as a {a}."]),
        Form::PlaceOfDay => one_of(&["On {d} {n} goes to the {a}."]),
        Form::DayOfPlace => one_of(&["{n} goes to the {p} on {a}."]),
        Form::After => one_of(&["After the {t} comes the {a}."]),
        Form::Before => one_of(&["Before the {t} comes the {a}."]),
        Form::Backwards => format!("Backwards: {}.", answer.words.join(", ")),
        Form::Length => {
            let items = facts.iter().flat_map(|fact| &fact.items).enumerate();
            let counted: Vec<String> = items.map(|(index, item)| format!("{} {item}", index + 1)).collect();
            format!("{}. There are {word} things on the list.", counted.join(", "))
        }
        Form::HowMany => sum_text(facts, query, word),
        Form::Most | Form::Fewest => {
            let which = if query.form == Form::Most { "most" } else { "fewest" };
            let which = format!("{which} {}s", query.get('t'));
            format!("{} {word}.", comparison(facts, Relation::Count, &which, word))
        }
        Form::Prints => {
            let values = running_values(facts).unwrap_or_default();
            let values: Vec<String> = values.iter().map(i64::to_string).collect();
            format!("x is {}. It prints {word}.", values.join(", then "))
        }
    }
}

/// The moves of a person up to the place that answers.
fn moves_text(facts: &[Fact], query: &Query, place: &str) -> String {
    let moves =
        facts.iter().filter(|fact| fact.relation == Relation::Went && fact.get('n') == query.get('n'));
    let mut places: Vec<&str> = moves.map(|fact| fact.get('p')).collect();
    // A wrong reply stops at an earlier place, as the replies of small models do: preference pairs teach them to
    // continue.
    if let Some(last) = places.iter().rposition(|other| *other == place) {
        places.truncate(last + 1);
    }
    let places: Vec<String> = places.into_iter().map(|place| format!("the {place}")).collect();
    query
        .fill("{n} went to {a}. Now {n} is in the {b}.")
        .replace("{a}", &places.join(", then "))
        .replace("{b}", place)
}

/// The gains and losses as sums, then the number that answers.
fn sum_text(facts: &[Fact], query: &Query, number: &str) -> String {
    let counts = running_counts(facts, query.get('n'), query.get('t')).unwrap_or_default();
    let step = |pair: &[i64]| {
        let (sign, change) =
            if pair[1] >= pair[0] { ('+', pair[1] - pair[0]) } else { ('-', pair[0] - pair[1]) };
        format!("{} {sign} {change} = {}. ", pair[0], pair[1])
    };
    let steps: String = counts.windows(2).map(step).collect();
    format!("{steps}{}", query.fill("{n} has {a} {t}s now.").replace("{a}", number))
}

/// A wrong answer: a word of the text if there is one of the same sort, otherwise a word of the world.
pub(super) fn other_answer(
    facts: &[Fact],
    query: &Query,
    right: &Answer,
    draw: &mut Draw,
    split: Split,
) -> Answer {
    if query.form == Form::Backwards {
        let mut words = right.words.clone();
        if draw.chance(50) {
            words.pop();
        } else {
            draw.shuffle(&mut words);
        }
        return Answer { words, ..right.clone() };
    }
    if right.sort == Sort::Number {
        let number: i64 = right.words[0].parse().unwrap_or(0);
        let step = draw.between(1, 3) as i64;
        let near = if draw.chance(50) { number + step } else { (number - step).max(0) };
        return Answer::word(Sort::Number, near.to_string());
    }
    let fact_words =
        facts.iter().flat_map(|fact| ['n', 'p', 'c', 'j', 'd'].map(|slot| fact.get(slot).to_owned()));
    let items = facts.iter().flat_map(|fact| fact.items.clone());
    let mut words: Vec<String> = fact_words.chain(items).collect();
    words.retain(|word| {
        let sort = sort_of(word);
        let is_item = matches!(sort, Some(Sort::Thing | Sort::Animal))
            && matches!(query.form, Form::After | Form::Before);
        (sort == Some(right.sort) || is_item) && *word != right.words[0] && word != query.get('t')
    });
    if words.is_empty() {
        words = match right.sort {
            Sort::Name => vec![name(draw, split)],
            Sort::Place => PLACES.map(str::to_owned).to_vec(),
            Sort::Color => COLORS.map(str::to_owned).to_vec(),
            Sort::Job => JOBS.map(str::to_owned).to_vec(),
            Sort::Day => DAYS.map(str::to_owned).to_vec(),
            _ => THINGS.map(str::to_owned).to_vec(),
        };
    }
    let word = draw.pick(&words);
    Answer::word(right.sort, word)
}
