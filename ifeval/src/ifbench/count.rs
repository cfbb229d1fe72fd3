//! IFBench's group `count`: how many words, names, numbers, marks or keywords there are.

use super::check::Check;
use super::text;
use crate::arguments::{Arguments, InstructionError};
use crate::{nltk, python};
use std::collections::HashSet;
use std::sync::LazyLock;

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "word_count_range" => {
            let range = arguments.whole("min_words")?..=arguments.whole("max_words")?;
            Check::of(move |text| range.contains(&nltk::count_words(text)))
        }
        "unique_word_count" => {
            let minimum = arguments.whole("N")?;
            Check::of(move |text| unique_words(text) >= minimum)
        }
        "conjunctions" => {
            let minimum = arguments.whole("small_n")?;
            Check::of(move |text| conjunctions(text) >= minimum)
        }
        "person_names" => {
            let minimum = arguments.whole("N")?;
            Check::of(move |text| NAMES.split(' ').filter(|name| has_word(text, name)).count() >= minimum)
        }
        "numbers" => {
            let count = arguments.whole("N")?;
            Check::of(move |text| numbers(text) == count)
        }
        "punctuation" => Check::of(has_every_mark),
        "words_japanese" => {
            let cycle = arguments.count("N")?;
            Check::of(move |text| is_every_nth_japanese(text, cycle))
        }
        "pronouns" => {
            let minimum = arguments.whole("N")?;
            Check::of(move |text| pronouns(text) >= minimum)
        }
        "keywords_multiple" => keywords(arguments)?,
        _ => return Ok(None),
    }))
}

/// Different words in lower case without marks around them. What is marks only counts as one more word.
fn unique_words(text: &str) -> usize {
    let text = text.to_lowercase();
    python::words(&text).map(text::trim).collect::<HashSet<_>>().len()
}

/// Different coordinating conjunctions. As in the reference, `and`, `And` and `and,` are three.
fn conjunctions(text: &str) -> usize {
    let is_conjunction = |word: &&str| {
        let bare = text::trim(word).to_lowercase();
        ["and", "but", "for", "nor", "or", "so", "yet"].contains(&bare.as_str())
    };
    python::words(text).filter(is_conjunction).collect::<HashSet<_>>().len()
}

/// Whether `word` is in the text with no letter, digit or underscore beside it.
fn has_word(text: &str, word: &str) -> bool {
    let is_word = |letter: char| python::is_alphanumeric(letter) || letter == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

/// Runs of digits once the punctuation is left out, so that `1,200.5` is one number.
fn numbers(text: &str) -> usize {
    let text = text::without_punctuation(text);
    let is_digit = |letter: char| python::digit_value(letter).is_some();
    text.split(|letter| !is_digit(letter)).filter(|run| !run.is_empty()).count()
}

/// Whether there is an interrobang, and each of the six marks, too, once its first `?!` (or else `!?`) is left out.
fn has_every_mark(text: &str) -> bool {
    if !["!?", "?!", "‽"].iter().any(|mark| text.contains(mark)) {
        return false;
    }
    let pair = if text.contains("?!") { "?!" } else { "!?" };
    let rest = text.replacen(pair, "", 1);
    ['.', ',', '!', '?', ';', ':'].iter().all(|mark| rest.contains(*mark))
}

/// Whether every `cycle`-th word contains a Japanese character, is a number or has punctuation only.
fn is_every_nth_japanese(text: &str, cycle: usize) -> bool {
    let is_japanese = |letter: char| matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}');
    python::words(text).skip(cycle - 1).step_by(cycle).all(|word| {
        let word = text::trim(word);
        word.chars().all(python::is_digit) || word.contains(is_japanese)
    })
}

fn pronouns(text: &str) -> usize {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| PRONOUNS.split(' ').collect());
    let words = nltk::word_tokenize(&text.replace('/', " ").to_lowercase());
    words.iter().filter(|word| WORDS.contains(word.as_str())).count()
}

/// Five keywords, once, twice, three, five and seven times, in upper or lower case and also inside of words.
fn keywords(arguments: &mut Arguments<'_>) -> Result<Check, InstructionError> {
    let mut keywords = Vec::new();
    for (argument, count) in
        [("keyword1", 1), ("keyword2", 2), ("keyword3", 3), ("keyword4", 5), ("keyword5", 7)]
    {
        keywords.push((python::strip(&arguments.filled_text(argument)?).to_lowercase(), count));
    }
    Ok(Check::of(move |text| {
        let text = text.to_lowercase();
        keywords.iter().all(|(keyword, count)| text.matches(keyword.as_str()).count() == *count)
    }))
}

/// The names that the instruction lists.
const NAMES: &str = "\
    Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia \
    Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob \
    Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora \
    Andrew Aria Joseph Claire Ryan Stella Jonathan";

/// The words that the reference counts as pronouns: personal, possessive, reflexive, demonstrative, interrogative, relative
/// and indefinite ones.
const PRONOUNS: &str = "\
    i me we us you he him she her it they them my mine our ours your yours his hers its their theirs \
    myself ourselves yourself yourselves himself herself itself themselves this that these those who \
    whom whose which what whoever whomever whatever whichever anybody anyone anything everybody everyone \
    everything nobody nothing somebody someone something each either neither both all some any none";
