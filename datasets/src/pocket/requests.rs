//! Requests for a few sentences under conditions that a program can check: IFEval's, in plain words, with replies that
//! meet them.

use super::scenes::{Subject, scene};
use super::words::{ANIMALS, FRUITS};
use super::{Draw, Split};
use serde_json::{Value, json};

/// A request, what it asks for in IFEval's terms, and a reply.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request's words.
    pub user: String,
    /// The ids and arguments of its conditions.
    pub conditions: Vec<(&'static str, Value)>,
    /// A reply that meets them.
    pub reply: String,
    /// A reply that breaks the first of them.
    pub wrong: String,
}

/// A condition as it is asked for, and what it makes of a reply.
struct Condition {
    id: &'static str,
    arguments: Value,
    words: String,
    apply: Change,
    break_: Change,
}

type Change = Box<dyn Fn(&mut Reply)>;

/// A reply on its way: its sentences, and what goes around them.
#[derive(Clone, Default)]
struct Reply {
    sentences: Vec<String>,
    bullets: bool,
    title: Option<String>,
    end: Option<String>,
    quoted: bool,
    capital: Option<bool>,
}

impl Reply {
    fn text(&self) -> String {
        let body = if self.bullets {
            self.sentences.iter().map(|one| format!("* {one}")).collect::<Vec<_>>().join("\n")
        } else {
            self.sentences.join(" ")
        };
        let mut text = body;
        if let Some(title) = &self.title {
            text = format!("<<{title}>>\n{text}");
        }
        if let Some(end) = &self.end {
            text = format!("{text}{}{end}", if self.bullets { "\n" } else { " " });
        }
        match self.capital {
            Some(true) => text = text.to_uppercase(),
            Some(false) => text = text.to_lowercase(),
            None => {}
        }
        if self.quoted { format!("\"{text}\"") } else { text }
    }
}

const NUMBERS: [&str; 7] = ["no", "one", "two", "three", "four", "five", "six"];
const ENDS: [&str; 5] =
    ["That is all.", "This is the end.", "Thank you for reading.", "Good night to all.", "So it was."];

/// What can be asked for; the order decides what is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
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
    const ALL: [Self; 14] = [
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
    fn goes_with(self, other: Self) -> bool {
        let holds = |rule| matches!(rule, Self::NoComma | Self::Existence | Self::Forbidden);
        let form =
            |rule| matches!(rule, Self::Small | Self::Capitals | Self::End | Self::Quotation | Self::Title);
        (holds(self) && form(other)) || (form(self) && holds(other))
    }
}

/// Conditions without words or numbers of their own: how they are put, and IFEval's id.
const PLAIN: [(Rule, &str, &str); 6] = [
    (Rule::NoComma, "Do not use commas.", "punctuation:no_comma"),
    (Rule::Small, "Use only small letters.", "change_case:english_lowercase"),
    (Rule::Capitals, "Use only capital letters.", "change_case:english_capital"),
    (Rule::Quotation, "Put all of it in quotation marks.", "startend:quotation"),
    (Rule::Title, "Give it a title in double angle brackets.", "detectable_format:title"),
    (Rule::Postscript, "Add a P.S. at the end.", "detectable_content:postscript"),
];

/// The arguments of a plain condition.
fn plain_arguments(rule: Rule) -> Value {
    if rule == Rule::Postscript { json!({"postscript_marker": "P.S."}) } else { json!({}) }
}

impl Request {
    /// A request about people and things of a split, with one condition, sometimes two.
    pub fn new(draw: &mut Draw, split: Split) -> Self {
        let subject = Subject::new(draw, split);
        let count = draw.between(1, 3);
        let mut reply = Reply { sentences: scene(&subject, count, draw), ..Reply::default() };
        let first = draw.pick(&Rule::ALL);
        let mut conditions = vec![condition(first, &subject, draw)];
        if draw.chance(20) {
            let second = draw.pick(&Rule::ALL);
            if first.goes_with(second) {
                conditions.push(condition(second, &subject, draw));
            }
        }
        for condition in &conditions {
            while reply.sentences.len() < least_sentences(condition) {
                reply.sentences = scene(&subject, reply.sentences.len() + 1, draw);
            }
        }
        let mut wrong = reply.clone();
        conditions.iter().for_each(|condition| (condition.apply)(&mut reply));
        (conditions[0].break_)(&mut wrong);
        let words: Vec<&str> = conditions.iter().map(|condition| condition.words.as_str()).collect();
        let about = about(&subject, draw);
        Self {
            user: format!("{about} {}", words.join(" ")),
            conditions: conditions
                .iter()
                .map(|condition| (condition.id, condition.arguments.clone()))
                .collect(),
            reply: reply.text(),
            wrong: wrong.text(),
        }
    }

    /// The conditions' words without what is to be written about.
    pub(super) fn rule(&self) -> &str {
        self.user.split_once(". ").map_or("", |(_, rule)| rule)
    }
}

/// The conditions that a request of this world states, read from its words; none where it is no such request.
pub fn conditions(user: &str) -> Option<Vec<(&'static str, Value)>> {
    let (about, mut rest) = user.split_once(". ")?;
    let openings = [
        "Write about ",
        "Tell me something about ",
        "I want a short text about ",
        "Write a few words about ",
    ];
    if !openings.iter().any(|opening| about.starts_with(opening)) {
        return None;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (condition, left) = first_condition(rest)?;
        found.push(condition);
        rest = left.trim_start();
    }
    (!found.is_empty()).then_some(found)
}

/// The condition that a text begins with, and what comes after it.
fn first_condition(text: &str) -> Option<((&'static str, Value), &str)> {
    if let Some((rule, words, id)) = PLAIN.iter().find(|(_, words, _)| text.starts_with(words)) {
        return Some(((*id, plain_arguments(*rule)), &text[words.len()..]));
    }
    if let Some(after) = text.strip_prefix("End with the words: ") {
        let end = ENDS.into_iter().find(|end| after.starts_with(end))?;
        return Some((("startend:end_checker", json!({"end_phrase": end})), &after[end.len()..]));
    }
    let (sentence, left) = text.split_at(text.find('.')? + 1);
    let words: Vec<&str> = sentence.trim_end_matches('.').split(' ').collect();
    let count = |word: &str| NUMBERS.iter().position(|number| *number == word);
    let condition = match words.as_slice() {
        ["Use", "exactly", number, "bullet", "points"] => {
            ("detectable_format:number_bullet_lists", json!({"num_bullets": count(number)?}))
        }
        ["Use", "the", "word", word] => ("keywords:existence", json!({"keywords": [word]})),
        ["Use", "the", "words", one, "and", other] => {
            ("keywords:existence", json!({"keywords": [one, other]}))
        }
        ["Do", "not", "use", "the", "word", word] => {
            ("keywords:forbidden_words", json!({"forbidden_words": [word]}))
        }
        ["Use", "at", "least", number, "sentences"] => (
            "length_constraints:number_sentences",
            json!({"num_sentences": count(number)?, "relation": "at least"}),
        ),
        ["Use", "less", "than", number, "sentences"] => (
            "length_constraints:number_sentences",
            json!({"num_sentences": count(number)?, "relation": "less than"}),
        ),
        ["Use", "the", "word", word, "at", "least", number, "times"] => (
            "keywords:frequency",
            json!({"keyword": word, "frequency": count(number)?, "relation": "at least"}),
        ),
        ["Leave", number, "placeholder" | "placeholders", "in", "square", "brackets"] => {
            ("detectable_content:number_placeholders", json!({"num_placeholders": count(number)?}))
        }
        ["Highlight", number, "word" | "words", "with", "stars"] => {
            ("detectable_format:number_highlighted_sections", json!({"num_highlights": count(number)?}))
        }
        _ => return None,
    };
    Some((condition, left))
}

fn about(subject: &Subject, draw: &mut Draw) -> String {
    let Subject { name, thing, place, colour } = subject;
    match draw.below(4) {
        0 => format!("Write about {name} and a {colour} {thing} in the {place}."),
        1 => format!("Tell me something about a {colour} {thing} and {name} in the {place}."),
        2 => format!("I want a short text about {name} with a {colour} {thing} in the {place}."),
        _ => format!("Write a few words about {name} in the {place} with a {colour} {thing}."),
    }
}

/// Sentences without which a condition cannot be met.
fn least_sentences(condition: &Condition) -> usize {
    match condition.id {
        "detectable_format:number_bullet_lists" => number(&condition.arguments, "num_bullets"),
        "length_constraints:number_sentences" if condition.arguments["relation"] == "at least" => {
            number(&condition.arguments, "num_sentences")
        }
        // A text of capitals or of small letters is to be told for English: a few words are not enough.
        "change_case:english_lowercase" | "change_case:english_capital" => 3,
        _ => 1,
    }
}

fn number(arguments: &Value, name: &str) -> usize {
    arguments[name].as_u64().unwrap_or(1) as usize
}

fn condition(rule: Rule, subject: &Subject, draw: &mut Draw) -> Condition {
    if let Some((_, words, id)) = PLAIN.iter().find(|(plain, ..)| *plain == rule) {
        let (apply, break_) = of_form(rule, subject);
        return Condition::new(id, plain_arguments(rule), words, apply, break_);
    }
    match rule {
        Rule::Existence | Rule::Forbidden | Rule::End | Rule::Frequency => {
            of_words(rule, subject.thing, draw)
        }
        _ => of_numbers(rule, draw),
    }
}

impl Condition {
    fn new(id: &'static str, arguments: Value, words: &str, apply: Change, break_: Change) -> Self {
        Self { id, arguments, words: words.to_owned(), apply, break_ }
    }
}

/// Adds a sentence.
fn says(text: String) -> Change {
    Box::new(move |reply| reply.sentences.push(text.clone()))
}

/// What a plain condition makes of a reply, and what breaks it.
fn of_form(rule: Rule, subject: &Subject) -> (Change, Change) {
    let nothing = || -> Change { Box::new(|_| {}) };
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

/// Which words a reply holds.
fn of_words(rule: Rule, thing: &'static str, draw: &mut Draw) -> Condition {
    match rule {
        Rule::Existence => {
            let (animal, fruit) = (draw.pick(&ANIMALS), draw.pick(&FRUITS));
            let both = draw.chance(50);
            let keywords = if both { vec![animal, fruit] } else { vec![animal] };
            let said =
                if both { format!("A {animal} ate a {fruit}.") } else { format!("A {animal} came by.") };
            Condition::new(
                "keywords:existence",
                json!({"keywords": keywords}),
                &(if both {
                    format!("Use the words {animal} and {fruit}.")
                } else {
                    format!("Use the word {animal}.")
                }),
                says(said),
                // "kitchen" holds a hen.
                Box::new(|reply| reply.sentences = vec!["It was a quiet day.".to_owned()]),
            )
        }
        Rule::Forbidden => {
            let word = draw.pick(&FRUITS);
            Condition::new(
                "keywords:forbidden_words",
                json!({"forbidden_words": [word]}),
                &format!("Do not use the word {word}."),
                Box::new(|_| {}),
                says(format!("There was a {word} on the table.")),
            )
        }
        Rule::End => {
            let end = draw.pick(&ENDS);
            Condition::new(
                "startend:end_checker",
                json!({"end_phrase": end}),
                &format!("End with the words: {end}"),
                Box::new(move |reply| reply.end = Some(end.to_owned())),
                Box::new(|_| {}),
            )
        }
        _ => {
            let count = draw.between(2, 3);
            let said: Vec<String> = ["The {t} was good.", "Everybody saw the {t}.", "It was a fine {t}."]
                .iter()
                .map(|text| text.replace("{t}", thing))
                .collect();
            Condition::new(
                "keywords:frequency",
                json!({"keyword": thing, "frequency": count, "relation": "at least"}),
                &format!("Use the word {thing} at least {} times.", NUMBERS[count]),
                Box::new(move |reply| reply.sentences.extend(said[..count].iter().cloned())),
                Box::new(|reply| reply.sentences = vec!["It was a quiet day.".to_owned()]),
            )
        }
    }
}

/// How many of something a reply has.
fn of_numbers(rule: Rule, draw: &mut Draw) -> Condition {
    match rule {
        Rule::Bullets => {
            let count = draw.between(2, 4);
            Condition::new(
                "detectable_format:number_bullet_lists",
                json!({"num_bullets": count}),
                &format!("Use exactly {} bullet points.", NUMBERS[count]),
                Box::new(move |reply| {
                    reply.bullets = true;
                    reply.sentences.truncate(count);
                }),
                Box::new(|_| {}),
            )
        }
        Rule::Sentences => {
            let (count, least) = (draw.between(2, 4), draw.chance(60));
            let (relation, words) = if least {
                ("at least", format!("Use at least {} sentences.", NUMBERS[count]))
            } else {
                ("less than", format!("Use less than {} sentences.", NUMBERS[count]))
            };
            Condition::new(
                "length_constraints:number_sentences",
                json!({"num_sentences": count, "relation": relation}),
                &words,
                Box::new(move |reply| {
                    if !least {
                        reply.sentences.truncate(count - 1);
                    }
                }),
                Box::new(move |reply| {
                    if least {
                        reply.sentences.truncate(1);
                    } else {
                        (0..count).for_each(|_| reply.sentences.push("It was so.".to_owned()));
                    }
                }),
            )
        }
        Rule::Placeholders => {
            let count = draw.between(1, 2);
            let said = ["Please write to [name].", "Come on [day]."];
            Condition::new(
                "detectable_content:number_placeholders",
                json!({"num_placeholders": count}),
                &format!(
                    "Leave {} placeholder{} in square brackets.",
                    NUMBERS[count],
                    if count > 1 { "s" } else { "" }
                ),
                Box::new(move |reply| {
                    reply.sentences.extend(said[..count].iter().map(|text| (*text).to_owned()));
                }),
                Box::new(|_| {}),
            )
        }
        _ => {
            let count = draw.between(1, 2);
            let said = ["It was a *good* day.", "It was *quite* still."];
            Condition::new(
                "detectable_format:number_highlighted_sections",
                json!({"num_highlights": count}),
                &format!("Highlight {} word{} with stars.", NUMBERS[count], if count > 1 { "s" } else { "" }),
                Box::new(move |reply| {
                    reply.sentences.extend(said[..count].iter().map(|text| (*text).to_owned()));
                }),
                Box::new(|_| {}),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_back_from_the_requests_words() {
        let mut draw = Draw::new(8, "requests");
        for _ in 0..2000 {
            let request = Request::new(&mut draw, Split::Train);
            assert_eq!(conditions(&request.user).as_ref(), Some(&request.conditions), "{}", request.user);
        }
        assert_eq!(conditions("Write about Mara. Be kind."), None);
    }
}
