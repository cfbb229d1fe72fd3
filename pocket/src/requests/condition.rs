//! The conditions that can be asked for: the text of each, its id and arguments in IFEval, and the changes to a reply
//! that meet it and that break it.

use super::draft::{Case, Draft};
use crate::draw::Draw;
use crate::scenes::Subject;
use crate::vocabulary::{ANIMALS, FRUITS};
use serde_json::{Value, json};

/// A condition.
pub(super) struct Condition {
    pub(super) id: &'static str,
    pub(super) arguments: Value,
    /// The sentence that asks for it.
    pub(super) text: String,
    /// Changes a reply so that it meets the condition.
    pub(super) meet: Change,
    /// Changes a reply so that it breaks the condition.
    pub(super) violate: Change,
}

type Change = Box<dyn Fn(&mut Draft)>;

/// Numbers as words, by their value.
pub(super) const NUMBERS: [&str; 7] = ["no", "one", "two", "three", "four", "five", "six"];
/// Sentences that a reply can be asked to end with.
pub(super) const ENDS: [&str; 5] =
    ["That is all.", "This is the end.", "Thank you for reading.", "Good night to all.", "So it was."];

/// What can be asked for. Draws depend on the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    NoComma,
    Lowercase,
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
        Self::Lowercase,
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

    /// Whether two rules can be combined: one about the content and one about the form.
    pub(super) fn goes_with(self, other: Self) -> bool {
        let is_content = |rule| matches!(rule, Self::NoComma | Self::Existence | Self::Forbidden);
        let is_form = |rule| {
            matches!(rule, Self::Lowercase | Self::Capitals | Self::End | Self::Quotation | Self::Title)
        };
        (is_content(self) && is_form(other)) || (is_form(self) && is_content(other))
    }
}

/// Conditions whose text is always the same: the text, and IFEval's id.
pub(super) const PLAIN: [(Rule, &str, &str); 6] = [
    (Rule::NoComma, "Do not use commas.", "punctuation:no_comma"),
    (Rule::Lowercase, "Use only small letters.", "change_case:english_lowercase"),
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
    /// Draws a condition of this rule.
    pub(super) fn new(rule: Rule, subject: &Subject, draw: &mut Draw) -> Self {
        if let Some((_, text, id)) = PLAIN.iter().find(|(plain, ..)| *plain == rule) {
            let (meet, violate) = plain_changes(rule, subject);
            let text = (*text).to_owned();
            return Self { id, arguments: plain_arguments(rule), text, meet, violate };
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

    /// The number of sentences that a reply needs to meet it.
    pub(super) fn min_sentences(&self) -> usize {
        match self.id {
            "detectable_format:number_bullet_lists" => number(&self.arguments, "num_bullets"),
            "length_constraints:number_sentences" if self.arguments["relation"] == "at least" => {
                number(&self.arguments, "num_sentences")
            }
            // The language of a text in one case must be recognized as English, which needs more than a few words.
            "change_case:english_lowercase" | "change_case:english_capital" => 3,
            _ => 1,
        }
    }
}

/// The value of a numeric argument.
fn number(arguments: &Value, name: &str) -> usize {
    arguments[name].as_u64().unwrap_or(1) as usize
}

/// Adds a sentence.
fn add_sentence(text: String) -> Change {
    Box::new(move |draft| draft.sentences.push(text.clone()))
}

/// Changes nothing.
fn keep() -> Change {
    Box::new(|_| {})
}

/// Replaces all sentences.
fn replace_all() -> Change {
    // Another scene would not do: "kitchen" contains "hen", which may be a keyword.
    Box::new(|draft| draft.sentences = vec!["It was a quiet day.".to_owned()])
}

/// The changes that meet and that break a plain condition.
fn plain_changes(rule: Rule, subject: &Subject) -> (Change, Change) {
    let thing = subject.thing;
    match rule {
        Rule::NoComma => (keep(), add_sentence(format!("There was bread, milk, and a {thing}."))),
        Rule::Lowercase => (Box::new(|draft| draft.case = Some(Case::Lower)), keep()),
        Rule::Capitals => (Box::new(|draft| draft.case = Some(Case::Upper)), keep()),
        Rule::Quotation => (Box::new(|draft| draft.is_quoted = true), keep()),
        Rule::Title => {
            let title = format!("The {} {thing}", subject.color);
            (Box::new(move |draft| draft.title = Some(title.clone())), keep())
        }
        _ => (Box::new(|draft| draft.end = Some("P.S. All is well here.".to_owned())), keep()),
    }
}

fn existence(draw: &mut Draw) -> Condition {
    let (animal, fruit) = (draw.pick(&ANIMALS), draw.pick(&FRUITS));
    let (keywords, text, sentence) = if draw.chance(50) {
        let text = format!("Use the words {animal} and {fruit}.");
        (vec![animal, fruit], text, format!("A {animal} ate a {fruit}."))
    } else {
        (vec![animal], format!("Use the word {animal}."), format!("A {animal} came by."))
    };
    Condition {
        id: "keywords:existence",
        arguments: json!({"keywords": keywords}),
        text,
        meet: add_sentence(sentence),
        violate: replace_all(),
    }
}

fn forbidden(draw: &mut Draw) -> Condition {
    let word = draw.pick(&FRUITS);
    Condition {
        id: "keywords:forbidden_words",
        arguments: json!({"forbidden_words": [word]}),
        text: format!("Do not use the word {word}."),
        meet: keep(),
        violate: add_sentence(format!("There was a {word} on the table.")),
    }
}

fn end(draw: &mut Draw) -> Condition {
    let end = draw.pick(&ENDS);
    Condition {
        id: "startend:end_checker",
        arguments: json!({"end_phrase": end}),
        text: format!("End with the words: {end}"),
        meet: Box::new(move |draft| draft.end = Some(end.to_owned())),
        violate: keep(),
    }
}

fn frequency(thing: &str, draw: &mut Draw) -> Condition {
    let count = draw.between(2, 3);
    let sentences: Vec<String> = ["The {t} was good.", "Everybody saw the {t}.", "It was a fine {t}."]
        .iter()
        .map(|text| text.replace("{t}", thing))
        .collect();
    Condition {
        id: "keywords:frequency",
        arguments: json!({"keyword": thing, "frequency": count, "relation": "at least"}),
        text: format!("Use the word {thing} at least {} times.", NUMBERS[count]),
        meet: Box::new(move |draft| draft.sentences.extend(sentences[..count].iter().cloned())),
        violate: replace_all(),
    }
}

fn bullets(draw: &mut Draw) -> Condition {
    let count = draw.between(2, 4);
    Condition {
        id: "detectable_format:number_bullet_lists",
        arguments: json!({"num_bullets": count}),
        text: format!("Use exactly {} bullet points.", NUMBERS[count]),
        meet: Box::new(move |draft| {
            draft.has_bullets = true;
            draft.sentences.truncate(count);
        }),
        violate: keep(),
    }
}

fn sentences(draw: &mut Draw) -> Condition {
    let count = draw.between(2, 4);
    let number = NUMBERS[count];
    let (relation, meet, violate): (_, Change, Change) = if draw.chance(60) {
        ("at least", keep(), Box::new(|draft| draft.sentences.truncate(1)))
    } else {
        let more =
            move |draft: &mut Draft| (0..count).for_each(|_| draft.sentences.push("It was so.".to_owned()));
        ("less than", Box::new(move |draft| draft.sentences.truncate(count - 1)), Box::new(more))
    };
    Condition {
        id: "length_constraints:number_sentences",
        arguments: json!({"num_sentences": count, "relation": relation}),
        text: format!("Use {relation} {number} sentences."),
        meet,
        violate,
    }
}

fn placeholders(draw: &mut Draw) -> Condition {
    let count = draw.between(1, 2);
    Condition {
        id: "detectable_content:number_placeholders",
        arguments: json!({"num_placeholders": count}),
        text: format!("Leave {} in square brackets.", count_text(count, "placeholder")),
        meet: add_first(["Please write to [name].", "Come on [day]."], count),
        violate: keep(),
    }
}

fn highlights(draw: &mut Draw) -> Condition {
    let count = draw.between(1, 2);
    Condition {
        id: "detectable_format:number_highlighted_sections",
        arguments: json!({"num_highlights": count}),
        text: format!("Highlight {} with stars.", count_text(count, "word")),
        meet: add_first(["It was a *good* day.", "It was *quite* still."], count),
        violate: keep(),
    }
}

/// Such as "two words".
fn count_text(count: usize, unit: &str) -> String {
    format!("{} {unit}{}", NUMBERS[count], if count > 1 { "s" } else { "" })
}

/// Adds the first `count` sentences.
fn add_first(sentences: [&'static str; 2], count: usize) -> Change {
    Box::new(move |draft| draft.sentences.extend(sentences[..count].iter().map(|text| (*text).to_owned())))
}
