//! What each of the 25 instructions asks of a text.

use super::arguments::{Arguments, InstructionError, Relation};
use crate::nltk;
use crate::python::{self, Flag};
use fancy_regex::Regex;
use langdetect::{DetectorFactory, Seed};
use std::sync::LazyLock;

/// A bound on a count, and on which side of it.
#[derive(Debug)]
pub(super) struct Bound {
    count: usize,
    relation: Relation,
}

/// An instruction, its arguments read and its patterns compiled.
#[derive(Debug)]
pub(super) enum Check {
    Keywords(Vec<Regex>),
    Forbidden(Vec<Regex>),
    KeywordFrequency(Regex, Bound),
    LetterFrequency(String, Bound),
    Language(String),
    Sentences(Bound),
    Paragraphs(usize),
    Words(Bound),
    FirstWord { paragraphs: usize, nth: usize, word: String },
    Placeholders(usize),
    Postscript(Regex),
    Bullets(usize),
    ConstrainedResponse,
    Highlights(usize),
    Sections(Regex, usize),
    Json,
    Title,
    TwoResponses,
    RepeatsPrompt(String),
    EndsWith(String),
    Quotation,
    CapitalWords(Bound),
    EnglishCapital,
    EnglishLowercase,
    NoComma,
}

impl Check {
    pub(super) fn new(id: &str, arguments: &mut Arguments<'_>) -> Result<Check, InstructionError> {
        Ok(match id {
            "keywords:existence" => Check::Keywords(arguments.each("keywords", PATTERNS, any_case)?),
            "keywords:forbidden_words" => {
                Check::Forbidden(
                    arguments.each("forbidden_words", PATTERNS, |word| any_case(&format!(r"\b{word}\b")))?,
                )
            }
            "keywords:frequency" => Check::KeywordFrequency(
                arguments.made("keyword", PATTERN, |word| any_case(python::strip(word)))?,
                bound(arguments, "frequency", "relation")?,
            ),
            "keywords:letter_frequency" => Check::LetterFrequency(
                arguments.made("letter", "a single character", |letter| {
                    (letter.chars().count() == 1).then(|| letter.to_lowercase())
                })?,
                bound(arguments, "let_frequency", "let_relation")?,
            ),
            "language:response_language" => {
                let known = |code: &str| LANGUAGES.contains(&code).then(|| code.to_owned());
                Check::Language(arguments.made("language", &format!("one of {LANGUAGES:?}"), known)?)
            }
            "length_constraints:number_sentences" => {
                Check::Sentences(bound(arguments, "num_sentences", "relation")?)
            }
            "length_constraints:number_paragraphs" => Check::Paragraphs(arguments.count("num_paragraphs")?),
            "length_constraints:number_words" => Check::Words(bound(arguments, "num_words", "relation")?),
            "length_constraints:nth_paragraph_first_word" => first_word(arguments)?,
            "detectable_content:number_placeholders" => {
                Check::Placeholders(arguments.count("num_placeholders")?)
            }
            "detectable_content:postscript" => {
                Check::Postscript(arguments.made("postscript_marker", PATTERN, postscript)?)
            }
            "detectable_format:number_bullet_lists" => Check::Bullets(arguments.count("num_bullets")?),
            "detectable_format:constrained_response" => Check::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Check::Highlights(arguments.count("num_highlights")?)
            }
            "detectable_format:multiple_sections" => Check::Sections(
                arguments.made("section_spliter", PATTERN, section)?,
                arguments.count("num_sections")?,
            ),
            "detectable_format:json_format" => Check::Json,
            "detectable_format:title" => Check::Title,
            "combination:two_responses" => Check::TwoResponses,
            "combination:repeat_prompt" => {
                Check::RepeatsPrompt(python::strip(&arguments.text("prompt_to_repeat")?).to_lowercase())
            }
            "startend:end_checker" => {
                Check::EndsWith(python::strip(&arguments.text("end_phrase")?).to_lowercase())
            }
            "startend:quotation" => Check::Quotation,
            "change_case:capital_word_frequency" => {
                Check::CapitalWords(bound(arguments, "capital_frequency", "capital_relation")?)
            }
            "change_case:english_capital" => Check::EnglishCapital,
            "change_case:english_lowercase" => Check::EnglishLowercase,
            "punctuation:no_comma" => Check::NoComma,
            unknown => return Err(InstructionError::UnknownId(unknown.to_owned())),
        })
    }

    /// Whether `text` is as asked.
    pub(super) fn holds(&self, text: &str) -> bool {
        match self {
            Check::Keywords(words) => words.iter().all(|word| is_in(word, text)),
            Check::Forbidden(words) => !words.iter().any(|word| is_in(word, text)),
            Check::KeywordFrequency(word, bound) => bound.holds(count(word, text)),
            Check::LetterFrequency(letter, bound) => {
                bound.holds(text.to_lowercase().matches(letter.as_str()).count())
            }
            Check::Language(language) => is_language(text, language),
            Check::Sentences(bound) => bound.holds(nltk::count_sentences(text)),
            Check::Paragraphs(wanted) => divided(text) == Some(*wanted),
            Check::Words(bound) => bound.holds(nltk::count_words(text)),
            Check::FirstWord { paragraphs, nth, word } => begins_nth(text, *paragraphs, *nth, word),
            Check::Placeholders(least) => count(&PLACEHOLDER, text) >= *least,
            Check::Postscript(marker) => is_in(marker, &text.to_lowercase()),
            Check::Bullets(wanted) => count(&STAR, text) + count(&DASH, text) == *wanted,
            Check::ConstrainedResponse => ["My answer is yes.", "My answer is no.", "My answer is maybe."]
                .iter()
                .any(|answer| text.contains(answer)),
            Check::Highlights(least) => highlights(text) >= *least,
            // The reference splits by the pattern, and Python's split gives its groups, too.
            Check::Sections(mark, least) => count(mark, text) * mark.captures_len() >= *least,
            Check::Json => is_json(text),
            Check::Title => has_title(text),
            Check::TwoResponses => are_two_responses(text),
            Check::RepeatsPrompt(prompt) => python::strip(text).to_lowercase().starts_with(prompt),
            Check::EndsWith(phrase) => python::strip(text).trim_matches('"').to_lowercase().ends_with(phrase),
            Check::Quotation => {
                let inside = python::strip(text).strip_prefix('"');
                inside.is_some_and(|inside| inside.ends_with('"'))
            }
            Check::CapitalWords(bound) => {
                bound.holds(nltk::word_tokenize(text).iter().filter(|word| python::is_upper(word)).count())
            }
            Check::EnglishCapital => python::is_upper(text) && is_language(text, "en"),
            Check::EnglishLowercase => python::is_lower(text) && is_language(text, "en"),
            Check::NoComma => !text.contains(','),
        }
    }
}

impl Bound {
    fn holds(&self, count: usize) -> bool {
        match self.relation {
            Relation::LessThan => count < self.count,
            Relation::AtLeast => count >= self.count,
        }
    }
}

const PATTERN: &str = "a text that is a regular expression of Python";
const PATTERNS: &str = "a list of texts, each a regular expression of Python";

/// The languages IFEval asks for.
const LANGUAGES: [&str; 30] = [
    "en", "es", "pt", "ar", "hi", "fr", "ru", "de", "ja", "it", "bn", "uk", "th", "ur", "ta", "te", "bg",
    "ko", "pl", "he", "fa", "vi", "ne", "sw", "kn", "mr", "gu", "pa", "ml", "fi",
];

fn bound(
    arguments: &mut Arguments<'_>,
    count: &'static str,
    relation: &'static str,
) -> Result<Bound, InstructionError> {
    Ok(Bound { count: arguments.count(count)?, relation: arguments.relation(relation)? })
}

fn first_word(arguments: &mut Arguments<'_>) -> Result<Check, InstructionError> {
    let paragraphs = arguments.count("num_paragraphs")?;
    let nth = arguments.count_up_to("nth_paragraph", paragraphs)?;
    let word = arguments.text("first_word")?.to_lowercase();
    Ok(Check::FirstWord { paragraphs, nth, word })
}

fn any_case(pattern: &str) -> Option<Regex> {
    python::regex(pattern, Flag::IgnoreCase).ok()
}

fn postscript(marker: &str) -> Option<Regex> {
    let marker = match python::strip(marker) {
        "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
        "P.S." => r"p\.\s?s\.".to_owned(),
        other => other.to_lowercase(),
    };
    python::regex(&format!(r"\s*{marker}.*$"), Flag::MultiLine).ok()
}

fn section(splitter: &str) -> Option<Regex> {
    python::regex(&format!(r"\s?{}\s?\d+\s?", python::strip(splitter)), Flag::None).ok()
}

fn fixed(pattern: &str) -> Regex {
    python::regex(pattern, Flag::MultiLine).expect("a fixed pattern")
}

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| fixed(r"\[.*?\]"));
static STAR: LazyLock<Regex> = LazyLock::new(|| fixed(r"^\s*\*[^\*].*$"));
static DASH: LazyLock<Regex> = LazyLock::new(|| fixed(r"^\s*-.*$"));
static DIVIDER: LazyLock<Regex> = LazyLock::new(|| fixed(r"\s?\*\*\*\s?"));
static HIGHLIGHT: LazyLock<Regex> = LazyLock::new(|| fixed(r"\*[^\n\*]*\*"));
static BOLD: LazyLock<Regex> = LazyLock::new(|| fixed(r"\*\*[^\n\*]*\*\*"));
static TITLE: LazyLock<Regex> = LazyLock::new(|| fixed(r"<<[^\n]+>>"));

/// A pattern that runs out of steps is not found.
fn is_in(pattern: &Regex, text: &str) -> bool {
    pattern.is_match(text).unwrap_or(false)
}

fn count(pattern: &Regex, text: &str) -> usize {
    found(pattern, text).count()
}

fn found<'t>(pattern: &Regex, text: &'t str) -> impl Iterator<Item = &'t str> {
    pattern.find_iter(text).map_while(Result::ok).map(|found| found.as_str())
}

/// Whether langdetect, seeded with 0, names `language`. A text in which it finds nothing to go by counts as followed.
fn is_language(text: &str, language: &str) -> bool {
    static DETECTOR: LazyLock<DetectorFactory> = LazyLock::new(|| {
        let mut factory = DetectorFactory::builtin().clone();
        factory.seed = Seed::Int(0);
        factory
    });
    DETECTOR.detect(text).map_or(true, |detected| detected == language)
}

/// The number of paragraphs between `***`; none where one within is blank.
fn divided(text: &str) -> Option<usize> {
    let mut starts = vec![0];
    let mut ends = Vec::new();
    for divider in DIVIDER.find_iter(text).map_while(Result::ok) {
        ends.push(divider.start());
        starts.push(divider.end());
    }
    ends.push(text.len());
    let blank: Vec<bool> =
        starts.iter().zip(&ends).map(|(start, end)| python::strip(&text[*start..*end]).is_empty()).collect();
    let last = blank.len() - 1;
    let within = blank.iter().enumerate().any(|(index, blank)| *blank && index != 0 && index != last);
    (!within).then(|| blank.iter().filter(|blank| !**blank).count())
}

/// Whether there are `wanted` paragraphs, and the `nth` (from 1) begins with `word`. As in the reference, blank
/// paragraphs are not counted, but the nth is the nth with them.
fn begins_nth(text: &str, wanted: usize, nth: usize, word: &str) -> bool {
    let paragraphs: Vec<&str> = text.split("\n\n").map(python::strip).collect();
    let written = paragraphs.iter().filter(|paragraph| !paragraph.is_empty()).count();
    if nth > written || written != wanted {
        return false;
    }
    let Some(first) = python::words(paragraphs[nth - 1]).next() else { return false };
    let first = first.trim_start_matches('\'').trim_start_matches('"');
    let bare = first.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or("");
    bare.chars().flat_map(char::to_lowercase).eq(word.chars())
}

/// `*so*` and `**so**`, where there is something between; a bold one counts in both patterns where they see it.
fn highlights(text: &str) -> usize {
    let single = found(&HIGHLIGHT, text).filter(|found| !python::strip(found.trim_matches('*')).is_empty());
    let bold = found(&BOLD, text).filter(|found| !python::strip(&found[2..found.len() - 2]).is_empty());
    single.count() + bold.count()
}

fn has_title(text: &str) -> bool {
    found(&TITLE, text)
        .any(|title| !python::strip(title.trim_start_matches('<').trim_end_matches('>')).is_empty())
}

/// Two different answers with `******` between them, and none that is blank within.
fn are_two_responses(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(python::strip).collect();
    let last = parts.len() - 1;
    let within = parts.iter().enumerate().any(|(index, part)| part.is_empty() && index != 0 && index != last);
    let answers: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
    !within && answers.len() == 2 && answers[0] != answers[1]
}

/// Whether the text, out of its code fence, is JSON.
fn is_json(text: &str) -> bool {
    let mut text = python::strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    python::is_json(python::strip(text.strip_suffix("```").unwrap_or(text)))
}
