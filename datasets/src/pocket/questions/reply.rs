//! How a question is put into words, and the replies to it, right or wrong.

use super::super::facts::{Relation, aside};
use super::super::names::name;
use super::super::words::{COLOURS, DAYS, JOBS, PLACES, Sort, THINGS, sort_of};
use super::super::{Draw, Fact, Split};
use super::answer::{Answer, counts, values};
use super::ask::{Ask, Form};

/// The text of a question: mostly the facts first.
pub(super) fn told(facts: &[Fact], ask: &Ask, draw: &mut Draw) -> String {
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
        text.push(question);
    } else {
        text.insert(0, question);
    }
    text.join(" ")
}

/// A line of a procedure, as a sentence.
pub(super) fn ended(sentence: &str) -> String {
    if sentence.ends_with('.') { sentence.to_owned() } else { format!("{sentence};") }
}

/// Everybody under their number, then the one that decides: `12 Mara, 30 Tolin. The oldest: 30`. The number stands
/// first, so that what is looked for follows it: by names with their numbers a quarter of the names came out wrong.
fn compared(facts: &[Fact], relation: Relation, which: &str, word: &str) -> String {
    let list: Vec<&Fact> = facts.iter().filter(|fact| fact.relation == relation).collect();
    let each: Vec<String> = list.iter().map(|fact| format!("{} {}", fact.get('k'), fact.get('n'))).collect();
    let each = each.join(", ");
    match list.iter().find(|fact| fact.get('n') == word) {
        Some(fact) => format!("{each}. The {which}: {}", fact.get('k')),
        None => format!("{each}. The {which}:"), // a wrong answer
    }
}

/// A reply that gives an answer, right or not, with steps where people would take some. What is asked about comes
/// first and the answer after it: it is easier to find what followed a word than what came before it.
pub(super) fn reply(facts: &[Fact], ask: &Ask, answer: &Answer, draw: &mut Draw) -> String {
    let word = answer.words[0].as_str();
    let either = |draw: &mut Draw, templates: &[&str]| ask.fill(draw.pick(templates)).replace("{a}", word);
    match ask.form {
        Form::Where if facts.iter().any(|fact| fact.relation == Relation::Went) => {
            let went =
                facts.iter().filter(|fact| fact.relation == Relation::Went && fact.get('n') == ask.get('n'));
            let mut places: Vec<&str> = went.map(|fact| fact.get('p')).collect();
            // Who names an earlier place stopped there: so do small models, whose pairs are to teach them to go on.
            if let Some(last) = places.iter().rposition(|place| *place == word) {
                places.truncate(last + 1);
            }
            let places: Vec<String> = places.into_iter().map(|place| format!("the {place}")).collect();
            ask.fill("{n} went to {a}. Now {n} is in the {b}.")
                .replace("{a}", &places.join(", then "))
                .replace("{b}", word)
        }
        Form::Where => either(draw, &["{n} is in the {a}.", "You can find {n} in the {a}."]),
        Form::Owner => either(draw, &["The {c} {t} belongs to {a}."]),
        Form::Colour => either(draw, &["{n}'s {t} is {a}."]),
        Form::Oldest | Form::Youngest => {
            let which = if ask.form == Form::Oldest { "oldest" } else { "youngest" };
            format!("{} {word}.", compared(facts, Relation::Age, which, word))
        }
        Form::WhoWorks => either(draw, &["The {j} is {a}."]),
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
        Form::Most | Form::Fewest => {
            let which = if ask.form == Form::Most { "most" } else { "fewest" };
            format!(
                "{} {word}.",
                compared(facts, Relation::Count, &format!("{which} {}s", ask.get('t')), word)
            )
        }
        Form::Prints => {
            let steps: Vec<String> = values(facts).unwrap_or_default().iter().map(i64::to_string).collect();
            format!("x is {}. It prints {word}.", steps.join(", then "))
        }
    }
}

/// Another answer: of the text where it has one, else of the world.
pub(super) fn other(facts: &[Fact], ask: &Ask, right: &Answer, draw: &mut Draw, split: Split) -> Answer {
    if ask.form == Form::Backwards {
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
