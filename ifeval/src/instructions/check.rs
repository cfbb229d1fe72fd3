//! The check of each of the 25 instructions: its arguments are read and its patterns compiled once.

use super::text;
use crate::arguments::{Arguments, InstructionError, Relation};
use crate::nltk;
use crate::python::{self, Flag};
use fancy_regex::Regex;

/// A limit of a count, and on which side of it the count must be.
#[derive(Debug)]
pub(super) struct Bound {
    count: usize,
    relation: Relation,
}

/// An instruction with its arguments.
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
            "keywords:existence" => Check::Keywords(arguments.parse_list("keywords", PATTERNS, any_case)?),
            "keywords:forbidden_words" => {
                let whole_word = |word: &str| any_case(&format!(r"\b{word}\b"));
                Check::Forbidden(arguments.parse_list("forbidden_words", PATTERNS, whole_word)?)
            }
            "keywords:frequency" => Check::KeywordFrequency(
                arguments.parse("keyword", PATTERN, |word| any_case(python::strip(word)))?,
                bound(arguments, "frequency", "relation")?,
            ),
            "keywords:letter_frequency" => Check::LetterFrequency(
                arguments.parse("letter", "a single character", |letter| {
                    (letter.chars().count() == 1).then(|| letter.to_lowercase())
                })?,
                bound(arguments, "let_frequency", "let_relation")?,
            ),
            "language:response_language" => {
                let language = |code: &str| LANGUAGES.contains(&code).then(|| code.to_owned());
                Check::Language(arguments.parse("language", &format!("one of {LANGUAGES:?}"), language)?)
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
                Check::Postscript(arguments.parse("postscript_marker", PATTERN, postscript)?)
            }
            "detectable_format:number_bullet_lists" => Check::Bullets(arguments.count("num_bullets")?),
            "detectable_format:constrained_response" => Check::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Check::Highlights(arguments.count("num_highlights")?)
            }
            "detectable_format:multiple_sections" => Check::Sections(
                arguments.parse("section_spliter", PATTERN, section)?,
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

    /// Whether the text follows the instruction.
    pub(super) fn is_met_by(&self, text: &str) -> bool {
        match self {
            Check::Keywords(words) => words.iter().all(|word| text::has_match(word, text)),
            Check::Forbidden(words) => !words.iter().any(|word| text::has_match(word, text)),
            Check::KeywordFrequency(word, bound) => bound.is_met_by(text::match_count(word, text)),
            Check::LetterFrequency(letter, bound) => {
                bound.is_met_by(text.to_lowercase().matches(letter.as_str()).count())
            }
            Check::Language(language) => text::is_language(text, language),
            Check::Sentences(bound) => bound.is_met_by(nltk::count_sentences(text)),
            Check::Paragraphs(count) => text::paragraph_count(text) == Some(*count),
            Check::Words(bound) => bound.is_met_by(nltk::count_words(text)),
            Check::FirstWord { paragraphs, nth, word } => text::has_first_word(text, *paragraphs, *nth, word),
            Check::Placeholders(minimum) => text::placeholder_count(text) >= *minimum,
            Check::Postscript(marker) => text::has_match(marker, &text.to_lowercase()),
            Check::Bullets(count) => text::bullet_count(text) == *count,
            Check::ConstrainedResponse => ["My answer is yes.", "My answer is no.", "My answer is maybe."]
                .iter()
                .any(|answer| text.contains(answer)),
            Check::Highlights(minimum) => text::highlight_count(text) >= *minimum,
            // The reference splits by the pattern, and Python's split also returns the pattern's groups.
            Check::Sections(mark, minimum) => text::match_count(mark, text) * mark.captures_len() >= *minimum,
            Check::Json => text::is_json(text),
            Check::Title => text::has_title(text),
            Check::TwoResponses => text::are_two_responses(text),
            Check::RepeatsPrompt(prompt) => python::strip(text).to_lowercase().starts_with(prompt),
            Check::EndsWith(phrase) => python::strip(text).trim_matches('"').to_lowercase().ends_with(phrase),
            Check::Quotation => {
                let inside = python::strip(text).strip_prefix('"');
                inside.is_some_and(|inside| inside.ends_with('"'))
            }
            Check::CapitalWords(bound) => {
                let words = nltk::word_tokenize(text);
                bound.is_met_by(words.iter().filter(|word| python::is_upper(word)).count())
            }
            Check::EnglishCapital => python::is_upper(text) && text::is_language(text, "en"),
            Check::EnglishLowercase => python::is_lower(text) && text::is_language(text, "en"),
            Check::NoComma => !text.contains(','),
        }
    }
}

impl Bound {
    fn is_met_by(&self, count: usize) -> bool {
        match self.relation {
            Relation::LessThan => count < self.count,
            Relation::AtLeast => count >= self.count,
        }
    }
}

const PATTERN: &str = "a string that is a regular expression of Python";
const PATTERNS: &str = "a list of strings, each a regular expression of Python";

/// The languages that IFEval's prompts ask for.
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
