//! IFBench's group `ratio`: shares of words, of kinds of sentences and of what a text has in common with another.

use super::check::Check;
use crate::arguments::{Arguments, InstructionError};
use crate::{nltk, python};
use std::collections::HashSet;
use std::sync::LazyLock;

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "stop_words" => {
            let most = arguments.number("percentage")?;
            Check::of(move |text| stop_word_percentage(text).is_some_and(|percentage| percentage <= most))
        }
        "sentence_type" => Check::of(|text| {
            let sentences = nltk::sentences(text);
            ending_in(&sentences, '.') == 2 * ending_in(&sentences, '?')
        }),
        "sentence_balance" => Check::of(|text| {
            let sentences = nltk::sentences(text);
            let questions = ending_in(&sentences, '?');
            ending_in(&sentences, '.') == questions && ending_in(&sentences, '!') == questions
        }),
        "overlap" => {
            let of_reference = trigrams(&arguments.filled_text("reference_text")?);
            let percentage = arguments.number("percentage")?;
            Check::of(move |text| {
                let own = trigrams(text);
                let shared = own.intersection(&of_reference).count() as f64 / own.len() as f64 * 100.0;
                (percentage - 2.0..=percentage + 2.0).contains(&shared)
            })
        }
        "sentence_words" => Check::of(are_three_of_one_length),
        _ => return Ok(None),
    }))
}

fn ending_in(sentences: &[&str], mark: char) -> usize {
    sentences.iter().filter(|sentence| sentence.ends_with(mark)).count()
}

/// The stop words among a hundred words; none if there is no word.
fn stop_word_percentage(text: &str) -> Option<f64> {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| STOP_WORDS.split(' ').collect());
    let words = nltk::count_words(text);
    let is_stop_word = |word: &&str| WORDS.contains(word.to_lowercase().as_str());
    let stop_words = nltk::words(text).filter(is_stop_word).count();
    (words > 0).then(|| stop_words as f64 / words as f64 * 100.0)
}

/// The different runs of three characters: the reference takes trigrams of the string, not of its words.
fn trigrams(text: &str) -> HashSet<[char; 3]> {
    let letters: Vec<char> = text.chars().collect();
    letters.windows(3).map(|three| [three[0], three[1], three[2]]).collect()
}

/// Three sentences with the same number of characters. The reference does not ask whether their words differ.
fn are_three_of_one_length(text: &str) -> bool {
    let lengths: Vec<usize> =
        nltk::sentences(text).iter().map(|sentence| python::strip(sentence).chars().count()).collect();
    lengths.len() == 3 && lengths.iter().all(|length| *length == lengths[0])
}

/// NLTK's English stop words, which extend the list of Snowball (<https://snowballstem.org>, BSD-3-Clause), without those
/// that have an apostrophe and so are no run of letters.
const STOP_WORDS: &str = "\
    a about above after again against ain all am an and any are aren as at be because been before being \
    below between both but by can couldn d did didn do does doesn doing don down during each few for \
    from further had hadn has hasn have haven having he her here hers herself him himself his how i if \
    in into is isn it its itself just ll m ma me mightn more most mustn my myself needn no nor not now o \
    of off on once only or other our ours ourselves out over own re s same shan she should shouldn so \
    some such t than that the their theirs them themselves then there these they this those through to \
    too under until up ve very was wasn we were weren what when where which while who whom why will with \
    won wouldn y you your yours yourself yourselves";
