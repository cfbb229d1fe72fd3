//! What the checks find in a text: counts of patterns and paragraphs, its language, its form.

use crate::python::{self, Flag};
use fancy_regex::Regex;
use langdetect::{DetectorFactory, Seed};
use std::sync::LazyLock;

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| multi_line(r"\[.*?\]"));
static STAR: LazyLock<Regex> = LazyLock::new(|| multi_line(r"^\s*\*[^\*].*$"));
static DASH: LazyLock<Regex> = LazyLock::new(|| multi_line(r"^\s*-.*$"));
static DIVIDER: LazyLock<Regex> = LazyLock::new(|| multi_line(r"\s?\*\*\*\s?"));
static HIGHLIGHT: LazyLock<Regex> = LazyLock::new(|| multi_line(r"\*[^\n\*]*\*"));
static BOLD: LazyLock<Regex> = LazyLock::new(|| multi_line(r"\*\*[^\n\*]*\*\*"));
static TITLE: LazyLock<Regex> = LazyLock::new(|| multi_line(r"<<[^\n]+>>"));

fn multi_line(pattern: &str) -> Regex {
    python::regex(pattern, Flag::MultiLine).expect("the patterns are those above")
}

/// Whether the pattern matches somewhere. One that exceeds the limit of backtracking does not.
pub(super) fn has_match(pattern: &Regex, text: &str) -> bool {
    pattern.is_match(text).unwrap_or(false)
}

pub(super) fn match_count(pattern: &Regex, text: &str) -> usize {
    matches(pattern, text).count()
}

fn matches<'t>(pattern: &Regex, text: &'t str) -> impl Iterator<Item = &'t str> {
    pattern.find_iter(text).map_while(Result::ok).map(|matched| matched.as_str())
}

/// Whether langdetect, seeded with 0, detects `language`. A text in which it finds no features counts as `language`.
pub(super) fn is_language(text: &str, language: &str) -> bool {
    static DETECTOR: LazyLock<DetectorFactory> = LazyLock::new(|| {
        let mut factory = DetectorFactory::builtin().clone();
        factory.seed = Seed::Int(0);
        factory
    });
    DETECTOR.detect(text).map_or(true, |detected| detected == language)
}

/// `[name]`.
pub(super) fn placeholder_count(text: &str) -> usize {
    match_count(&PLACEHOLDER, text)
}

/// Lines that begin with `*` or `-`.
pub(super) fn bullet_count(text: &str) -> usize {
    match_count(&STAR, text) + match_count(&DASH, text)
}

/// The number of paragraphs between `***`; none if one that is neither the first nor the last is blank.
pub(super) fn paragraph_count(text: &str) -> Option<usize> {
    let mut starts = vec![0];
    let mut ends = Vec::new();
    for divider in DIVIDER.find_iter(text).map_while(Result::ok) {
        ends.push(divider.start());
        starts.push(divider.end());
    }
    ends.push(text.len());
    let is_blank: Vec<bool> =
        starts.iter().zip(&ends).map(|(start, end)| python::strip(&text[*start..*end]).is_empty()).collect();
    (!is_any_inside(&is_blank)).then(|| is_blank.iter().filter(|blank| !**blank).count())
}

/// Whether any but the first and the last is true.
fn is_any_inside(list: &[bool]) -> bool {
    list.get(1..list.len().saturating_sub(1)).is_some_and(|inside| inside.contains(&true))
}

/// Whether there are `count` paragraphs and the `nth` (from 1) begins with `word`. As in the reference, blank
/// paragraphs are not counted, but they are numbered.
pub(super) fn has_first_word(text: &str, count: usize, nth: usize, word: &str) -> bool {
    let paragraphs: Vec<&str> = text.split("\n\n").map(python::strip).collect();
    let not_blank = paragraphs.iter().filter(|paragraph| !paragraph.is_empty()).count();
    if nth > not_blank || not_blank != count {
        return false;
    }
    let Some(first) = python::words(paragraphs[nth - 1]).next() else { return false };
    let first = first.trim_start_matches('\'').trim_start_matches('"');
    let bare = first.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or("");
    bare.chars().flat_map(char::to_lowercase).eq(word.chars())
}

/// `*so*` and `**so**` that are not blank inside. The two patterns count apart, so a bold text may count in both.
pub(super) fn highlight_count(text: &str) -> usize {
    let single =
        matches(&HIGHLIGHT, text).filter(|marked| !python::strip(marked.trim_matches('*')).is_empty());
    let bold = matches(&BOLD, text).filter(|marked| !python::strip(&marked[2..marked.len() - 2]).is_empty());
    single.count() + bold.count()
}

/// `<<title>>`.
pub(super) fn has_title(text: &str) -> bool {
    matches(&TITLE, text)
        .any(|title| !python::strip(title.trim_start_matches('<').trim_end_matches('>')).is_empty())
}

/// Two different answers with `******` between them, and no blank one between two others.
pub(super) fn are_two_responses(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(python::strip).collect();
    let is_blank: Vec<bool> = parts.iter().map(|part| part.is_empty()).collect();
    let answers: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
    !is_any_inside(&is_blank) && answers.len() == 2 && answers[0] != answers[1]
}

/// Whether the text without its code fence is JSON.
pub(super) fn is_json(text: &str) -> bool {
    let mut text = python::strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    python::is_json(python::strip(text.strip_suffix("```").unwrap_or(text)))
}
