//! BIG-Bench Hard without solved examples, with and without a chain of thought: the answer is searched for in the reply, in
//! a way that depends on the task.
//!
//! Descriptions are read from `fewshot/bbh.json`, which the tasks with examples use, too.

use super::bbh::{ABOUT, data, examples, names};
use crate::task::{
    Document, ExactMatch, Generation, Group, GroupMean, MetricValue, Metrics, Row, Scorer, ShotSource, Task,
    find_all,
};
use crate::words_to_number::{find_number_words, words_to_number};
use anyhow::{Context, Result};
use fancy_regex::Regex;
use serde_json::{Value, json};
use std::sync::LazyLock;

const STOPS: [&str; 3] = ["</s>", "Q:", "<|im_end|>"];
/// Python's `$` also matches before a line break at the end.
const MATCH: ExactMatch =
    ExactMatch { ignored: &[r"\.(?=\n?\z)", ",", "\n", r"\\", "\""], case: true, punctuation: false };
/// The sentence that ends a chain of thought. The last character of its line is dropped.
const SENTENCE: &str = "((?<=The answer is )(.*)(?=.)|(?<=the answer is )(.*)(?=.)|(?<=The answer: )(.*)(?=.)|\
                        (?<=The final answer: )(.*)(?=.))";
const NOTHING: &str = "[invalid]";

/// How the answer of a task is found in a reply.
#[derive(Clone, Copy)]
enum Kind {
    /// The first or the last match of a pattern.
    Pattern(&'static str),
    /// One of several patterns, each with the answer that it stands for.
    Meaning([(&'static str, &'static str); 2]),
    /// A letter in parentheses, or the text of a choice, or a letter after a colon.
    Choice,
    /// Digits, or a number in words.
    Number,
    /// The words of the question, in the order of the reply.
    Words,
}

const TRUTH: Kind = Kind::Pattern(r"\b(True|False)\b");
const YES_OR_NO: Kind = Kind::Pattern(r"\b(Yes|No|yes|no)\b");
const BRACKETS: Kind = Kind::Pattern(r#"(?<= )([" \[\(<{}>\)\]]+)|([" \[\(<{}>\)\]]+)"#);
const VALIDITY: Kind = Kind::Pattern(r"\b(valid|invalid)\b");
const PLAUSIBILITY: Kind =
    Kind::Meaning([(r"\b(no|not plausible)\b", "no"), (r"\b(yes|plausible)\b", "yes")]);
const HONESTY: Kind = Kind::Meaning([
    (r"\b(no|does not tell the truth|is not telling the truth)\b", "no"),
    (r"\b(yes|tells the truth|is telling the truth)\b", "yes"),
]);

type ScoreFunction = fn(&Value, &str) -> Result<Metrics>;

/// The scorers of a task: of a direct answer, and of a chain of thought.
fn scorers(name: &str) -> [ScoreFunction; 2] {
    macro_rules! both {
        ($kind:expr) => {
            [|gold, reply| score_direct($kind, gold, reply), |gold, reply| score_thought($kind, gold, reply)]
        };
    }
    match name {
        "boolean_expressions" => both!(TRUTH),
        "causal_judgement" | "navigate" => both!(YES_OR_NO),
        "dyck_languages" => both!(BRACKETS),
        "formal_fallacies" => both!(VALIDITY),
        "multistep_arithmetic_two" | "object_counting" => both!(Kind::Number),
        "sports_understanding" => both!(PLAUSIBILITY),
        "web_of_lies" => both!(HONESTY),
        "word_sorting" => both!(Kind::Words),
        _ => both!(Kind::Choice),
    }
}

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let (mut tasks, mut groups) = (Vec::new(), Vec::new());
    let forms = [("bbh_zeroshot", direct_document as fn(&Row) -> _), ("bbh_cot_zeroshot", thought_document)];
    for (index, (form, document)) in forms.into_iter().enumerate() {
        let of_task = |name: &'static str| Task {
            shot_source: ShotSource::Listed(examples(), format!("{name}.fewshot")),
            scorer: Scorer::Text(scorers(name)[index]),
            ..Task::new(format!("{form}_{name}"), ABOUT, data(name, "test"), document)
        };
        tasks.extend(names().map(of_task));
        groups.push(Group {
            name: form.to_owned(),
            about: ABOUT,
            tasks: names().map(|name| format!("{form}_{name}")).collect(),
            mean: GroupMean::OfDocuments,
        });
    }
    (tasks, groups)
}

fn direct_document(row: &Row) -> Result<Document> {
    document(row, "\nA:")
}

fn thought_document(row: &Row) -> Result<Document> {
    document(row, "\nA: Let's think step by step.")
}

fn document(row: &Row, end: &str) -> Result<Document> {
    let (input, target) = (row.text("input")?, row.text("target")?);
    let gold = json!({"input": input, "target": target});
    Ok(Document::text(format!("Q: {input}{end}"), target, Generation::new(&STOPS, 256, gold)))
}

fn score_direct(kind: Kind, gold: &Value, reply: &str) -> Result<Metrics> {
    metrics(gold, reply, kind.find(gold, reply, first)?.as_deref())
}

fn score_thought(kind: Kind, gold: &Value, reply: &str) -> Result<Metrics> {
    let sentence = first(find_all(SENTENCE, reply)).unwrap_or_else(|| NOTHING.to_owned());
    metrics(gold, &sentence, kind.find(gold, reply, last)?.as_deref())
}

fn metrics(gold: &Value, strict: &str, flexible: Option<&str>) -> Result<Metrics> {
    let target = gold["target"].as_str().context("`gold` has no `target`")?;
    let right = |answer: &str| MetricValue::Number(f64::from(MATCH.matches(answer, [target])));
    Ok(vec![
        ("exact_match,strict-match".to_owned(), right(strict)),
        ("exact_match,flexible-extract".to_owned(), right(flexible.unwrap_or(NOTHING))),
    ])
}

/// Takes one of several matches.
type Select = fn(Vec<Option<String>>) -> Option<String>;

fn first(matches: Vec<Option<String>>) -> Option<String> {
    matches.into_iter().next().flatten()
}

fn last(matches: Vec<Option<String>>) -> Option<String> {
    matches.into_iter().next_back().flatten()
}

impl Kind {
    /// The answer in a reply.
    fn find(self, gold: &Value, reply: &str, select: Select) -> Result<Option<String>> {
        let input = || gold["input"].as_str().context("`gold` has no `input`");
        Ok(match self {
            Self::Pattern(pattern) => select(find_all(pattern, reply)),
            Self::Meaning(meanings) => {
                let any = meanings.map(|(pattern, _)| pattern).join("|");
                let part = select(find_all(&any, &reply.to_lowercase())).unwrap_or_default();
                let meaning = meanings.into_iter().find(|(pattern, _)| !find_all(pattern, &part).is_empty());
                meaning.map(|(_, answer)| answer.to_owned())
            }
            Self::Choice => choice(input()?, reply, select),
            Self::Number => select(find_all("([-0-9]+)", reply)).or_else(|| {
                words_to_number(&select(find_number_words(reply))?).map(|number| number.to_string())
            }),
            Self::Words => Some(sorted_words(input()?, reply)),
        })
    }
}

/// A letter in parentheses; else the text of one of the question's choices, or a letter after a colon, as the letter of
/// that choice.
fn choice(input: &str, reply: &str, select: Select) -> Option<String> {
    if let Some(letter) = select(find_all(r"(\([A-Z]\))", reply)) {
        return Some(letter);
    }
    let texts: Vec<String> = find_all(r"\([A-Z]\)([^\n^(]*)", input)
        .into_iter()
        .map(|text| without_punctuation(&text.unwrap_or_default()))
        .collect();
    let letters: Vec<String> = ('A'..='Z').take(texts.len()).map(String::from).collect();
    // The longest first, so that none hides a longer one.
    let mut longest_first: Vec<&String> = texts.iter().collect();
    longest_first.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
    let found =
        select(find_literals(&longest_first, &without_punctuation(reply))).filter(|text| !text.is_empty());
    if let Some(text) = found {
        // Of several choices with one text, the last.
        let index = texts.iter().rposition(|other| *other == text);
        let letter = index.and_then(|index| letters.get(index));
        return Some(letter.map_or(text, |letter| format!("({letter})")));
    }
    let pattern = format!(r":[\s\x1c-\x1f]*({})", letters.join("|"));
    select(find_all(&pattern, reply)).filter(|letter| !letter.is_empty()).map(|letter| format!("({letter})"))
}

/// Lower case, without Unicode's punctuation.
fn without_punctuation(text: &str) -> String {
    static PUNCTUATION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\p{P}").expect("a pattern of this file"));
    PUNCTUATION.replace_all(&text.to_lowercase(), "").into_owned()
}

/// Python's `re.findall` of literals, the first that fits at each place: an empty one matches at every place, also right
/// behind a longer match.
fn find_literals(literals: &[&String], text: &str) -> Vec<Option<String>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at <= text.len() {
        let literal = literals.iter().find(|literal| text[at..].starts_with(literal.as_str()));
        found.extend(literal.map(|literal| Some(crate::task::python::strip(literal).to_owned())));
        at += match literal.map_or(0, |literal| literal.len()) {
            0 => text[at..].chars().next().map_or(1, char::len_utf8),
            length => length,
        };
    }
    // No choice at all is the empty pattern.
    if literals.is_empty() { vec![Some(String::new())] } else { found }
}

/// The words of the question in the order of their last places in the reply.
fn sorted_words(input: &str, reply: &str) -> String {
    let words: Vec<String> = input
        .split("List:")
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .map(|word| format!(r"\b{}\b", fancy_regex::escape(word)))
        .collect();
    if words.is_empty() {
        return String::new();
    }
    let mut order: Vec<String> = Vec::new();
    for word in find_all(&words.join("|"), reply).into_iter().flatten().rev() {
        if !order.contains(&word) {
            order.push(word);
        }
    }
    order.reverse();
    order.join(" ")
}
