//! IFBench's group `sentence`: what a sentence must be like, by its number or by the one before it.

use super::check::Check;
use super::text;
use crate::arguments::{Arguments, InstructionError};
use crate::nltk;
use crate::python::{self, Flag};

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "alliteration_increment" => Check::of(|text| {
            let lengths: Vec<usize> = nltk::sentences(text).into_iter().map(alliteration).collect();
            lengths.windows(2).all(|pair| pair[0] < pair[1])
        }),
        "keyword" => {
            let expected = "a string that is not empty";
            let keyword = arguments.parse("word", expected, |word| {
                let pattern = format!(r"\b{}\b", escape(word));
                (!word.is_empty()).then(|| python::regex(&pattern, Flag::IgnoreCase).ok()).flatten()
            })?;
            let number = arguments.count("N")?;
            Check::of(move |text| {
                let sentences = nltk::sentences(text);
                sentences.get(number - 1).is_some_and(|text| keyword.is_match(text).unwrap_or(false))
            })
        }
        "increment" => {
            let more = arguments.whole("small_n")?;
            Check::of(move |text| {
                let counts: Vec<usize> = nltk::sentences(text).into_iter().map(word_count).collect();
                counts.windows(2).all(|pair| pair[0] + more == pair[1])
            })
        }
        _ => return Ok(None),
    }))
}

/// The words that begin as one beside them does; a run of them counts in full.
fn alliteration(sentence: &str) -> usize {
    let sentence = sentence.to_lowercase();
    let initials: Vec<char> =
        python::words(&sentence).filter_map(|word| text::trim_start(word).chars().next()).collect();
    initials.chunk_by(|one, next| one == next).map(<[char]>::len).filter(|length| *length > 1).sum()
}

fn word_count(sentence: &str) -> usize {
    python::words(&text::without_punctuation(sentence)).count()
}

/// The pattern that matches the text, in the dialect of the module `re`.
fn escape(text: &str) -> String {
    let is_plain = |letter: char| python::is_alphanumeric(letter) || letter == '_' || !letter.is_ascii();
    text.chars().flat_map(|letter| (!is_plain(letter)).then_some('\\').into_iter().chain([letter])).collect()
}
