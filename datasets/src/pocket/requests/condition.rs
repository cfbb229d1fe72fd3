//! The conditions that can be asked for: how each is put, its id and arguments in IFEval, what meets it and what breaks
//! it.

use super::super::Draw;
use super::super::scenes::Subject;
use super::super::words::{ANIMALS, FRUITS};
use super::Reply;
use serde_json::{Value, json};

/// A condition as it is asked for, what it makes of a reply, and what breaks it.
pub(super) struct Condition {
    pub(super) id: &'static str,
    pub(super) arguments: Value,
    pub(super) words: String,
    pub(super) apply: Change,
    pub(super) spoil: Change,
}

pub(super) type Change = Box<dyn Fn(&mut Reply)>;

pub(super) const NUMBERS: [&str; 7] = ["no", "one", "two", "three", "four", "five", "six"];
pub(super) const ENDS: [&str; 5] =
    ["That is all.", "This is the end.", "Thank you for reading.", "Good night to all.", "So it was."];

/// What can be asked for; the order decides what is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    NoComma,
    Small,
    Capitals,
    Bullets,
    Existence,
    Forbidden,
    End,
    Quotation,
    Title,
    Postscript,
    Sentences,
    Frequency,
    Placeholders,
    Highlights,
}

impl Rule {
    pub(super) const ALL: [Self; 14] = [
        Self::NoComma,
        Self::Small,
        Self::Capitals,
        Self::Bullets,
        Self::Existence,
        Self::Forbidden,
        Self::End,
        Self::Quotation,
        Self::Title,
        Self::Postscript,
        Self::Sentences,
        Self::Frequency,
        Self::Placeholders,
        Self::Highlights,
    ];

    /// Whether two may stand together: one of how it is written, one of what it holds.
    pub(super) fn goes_with(self, other: Self) -> bool {
        let holds = |rule| matches!(rule, Self::NoComma | Self::Existence | Self::Forbidden);
        let form =
            |rule| matches!(rule, Self::Small | Self::Capitals | Self::End | Self::Quotation | Self::Title);
        (holds(self) && form(other)) || (form(self) && holds(other))
    }
}

/// Conditions without words or numbers of their own: how they are put, and IFEval's id.
pub(super) const PLAIN: [(Rule, &str, &str); 6] = [
    (Rule::NoComma, "Do not use commas.", "punctuation:no_comma"),
    (Rule::Small, "Use only small letters.", "change_case:english_lowercase"),
    (Rule::Capitals, "Use only capital letters.", "change_case:english_capital"),
    (Rule::Quotation, "Put all of it in quotation marks.", "startend:quotation"),
    (Rule::Title, "Give it a title in double angle brackets.", "detectable_format:title"),
    (Rule::Postscript, "Add a P.S. at the end.", "detectable_content:postscript"),
];

/// The arguments of a plain condition.
pub(super) fn plain_arguments(rule: Rule) -> Value {
    if rule == Rule::Postscript { json!({"postscript_marker": "P.S."}) } else { json!({}) }
}

impl Condition {
    /// A condition of this rule.
    pub(super) fn new(rule: Rule, subject: &Subject, draw: &mut Draw) -> Self {
        if let Some((_, words, id)) = PLAIN.iter().find(|(plain, ..)| *plain == rule) {
            let (apply, spoil) = of_form(rule, subject);
            return Self { id, arguments: plain_arguments(rule), words: (*words).to_owned(), apply, spoil };
        }
        match rule {
            Rule::Existence => existence(draw),
            Rule::Forbidden => forbidden(draw),
            Rule::End => end(draw),
            Rule::Frequency => frequency(subject.thing, draw),
            Rule::Bullets => bullets(draw),
            Rule::Sentences => sentences(draw),
            Rule::Placeholders => placeholders(draw),
            _ => highlights(draw),
        }
    }

    /// Sentences without which a condition cannot be met.
    pub(super) fn least_sentences(&self) -> usize {
        match self.id {
            "detectable_format:number_bullet_lists" => number(&self.arguments, "num_bullets"),
            "length_constraints:number_sentences" if self.arguments["relation"] == "at least" => {
                number(&self.arguments, "num_sentences")
            }
            // A text of capitals or of small letters is to be told for English: a few words are not enough.
            "change_case:english_lowercase" | "change_case:english_capital" => 3,
            _ => 1,
        }
    }
}

fn number(arguments: &Value, name: &str) -> usize {
    arguments[name].as_u64().unwrap_or(1) as usize
}

/// Adds a sentence.
fn says(text: String) -> Change {
    Box::new(move |reply| reply.sentences.push(text.clone()))
}

fn nothing() -> Change {
    Box::new(|_| {})
}

/// Leaves nothing of what was said.
fn quiet() -> Change {
    // "kitchen" holds a hen, so another scene would not do.
    Box::new(|reply| reply.sentences = vec!["It was a quiet day.".to_owned()])
}

/// What a plain condition makes of a reply, and what breaks it.
fn of_form(rule: Rule, subject: &Subject) -> (Change, Change) {
    let thing = subject.thing;
    match rule {
        Rule::NoComma => (nothing(), says(format!("There was bread, milk, and a {thing}."))),
        Rule::Small => (Box::new(|reply| reply.capital = Some(false)), nothing()),
        Rule::Capitals => (Box::new(|reply| reply.capital = Some(true)), nothing()),
        Rule::Quotation => (Box::new(|reply| reply.quoted = true), nothing()),
        Rule::Title => {
            let title = format!("The {} {thing}", subject.colour);
            (Box::new(move |reply| reply.title = Some(title.clone())), nothing())
        }
        _ => (Box::new(|reply| reply.end = Some("P.S. All is well here.".to_owned())), nothing()),
    }
}

fn existence(draw: &mut Draw) -> Condition {
    let (animal, fruit) = (draw.pick(&ANIMALS), draw.pick(&FRUITS));
    let (keywords, words, said) = if draw.chance(50) {
        let words = format!("Use the words {animal} and {fruit}.");
        (vec![animal, fruit], words, format!("A {animal} ate a {fruit}."))
    } else {
        (vec![animal], format!("Use the word {animal}."), format!("A {animal} came by."))
    };
    Condition {
        id: "keywords:existence",
        arguments: json!({"keywords": keywords}),
        words,
        apply: says(said),
        spoil: quiet(),
    }
}

fn forbidden(draw: &mut Draw) -> Condition {
    let word = draw.pick(&FRUITS);
    Condition {
        id: "keywords:forbidden_words",
        arguments: json!({"forbidden_words": [word]}),
        words: format!("Do not use the word {word}."),
        apply: nothing(),
        spoil: says(format!("There was a {word} on the table.")),
    }
}

fn end(draw: &mut Draw) -> Condition {
    let end = draw.pick(&ENDS);
    Condition {
        id: "startend:end_checker",
        arguments: json!({"end_phrase": end}),
        words: format!("End with the words: {end}"),
        apply: Box::new(move |reply| reply.end = Some(end.to_owned())),
        spoil: nothing(),
    }
}

fn frequency(thing: &str, draw: &mut Draw) -> Condition {
    let count = draw.between(2, 3);
    let said: Vec<String> = ["The {t} was good.", "Everybody saw the {t}.", "It was a fine {t}."]
        .iter()
        .map(|text| text.replace("{t}", thing))
        .collect();
    Condition {
        id: "keywords:frequency",
        arguments: json!({"keyword": thing, "frequency": count, "relation": "at least"}),
        words: format!("Use the word {thing} at least {} times.", NUMBERS[count]),
        apply: Box::new(move |reply| reply.sentences.extend(said[..count].iter().cloned())),
        spoil: quiet(),
    }
}

fn bullets(draw: &mut Draw) -> Condition {
    let count = draw.between(2, 4);
    Condition {
        id: "detectable_format:number_bullet_lists",
        arguments: json!({"num_bullets": count}),
        words: format!("Use exactly {} bullet points.", NUMBERS[count]),
        apply: Box::new(move |reply| {
            reply.bullets = true;
            reply.sentences.truncate(count);
        }),
        spoil: nothing(),
    }
}

fn sentences(draw: &mut Draw) -> Condition {
    let count = draw.between(2, 4);
    let number = NUMBERS[count];
    let (relation, apply, spoil): (_, Change, Change) = if draw.chance(60) {
        ("at least", nothing(), Box::new(|reply| reply.sentences.truncate(1)))
    } else {
        let more =
            move |reply: &mut Reply| (0..count).for_each(|_| reply.sentences.push("It was so.".to_owned()));
        ("less than", Box::new(move |reply| reply.sentences.truncate(count - 1)), Box::new(more))
    };
    Condition {
        id: "length_constraints:number_sentences",
        arguments: json!({"num_sentences": count, "relation": relation}),
        words: format!("Use {relation} {number} sentences."),
        apply,
        spoil,
    }
}

fn placeholders(draw: &mut Draw) -> Condition {
    let count = draw.between(1, 2);
    Condition {
        id: "detectable_content:number_placeholders",
        arguments: json!({"num_placeholders": count}),
        words: format!("Leave {} in square brackets.", several(count, "placeholder")),
        apply: first_of(["Please write to [name].", "Come on [day]."], count),
        spoil: nothing(),
    }
}

fn highlights(draw: &mut Draw) -> Condition {
    let count = draw.between(1, 2);
    Condition {
        id: "detectable_format:number_highlighted_sections",
        arguments: json!({"num_highlights": count}),
        words: format!("Highlight {} with stars.", several(count, "word")),
        apply: first_of(["It was a *good* day.", "It was *quite* still."], count),
        spoil: nothing(),
    }
}

/// `two words`.
fn several(count: usize, what: &str) -> String {
    format!("{} {what}{}", NUMBERS[count], if count > 1 { "s" } else { "" })
}

/// Adds the first of some sentences.
fn first_of(said: [&'static str; 2], count: usize) -> Change {
    Box::new(move |reply| reply.sentences.extend(said[..count].iter().map(|text| (*text).to_owned())))
}
