//! IFBench's group `words`: what each word, or each pair of neighbors, must be like.

use super::check::Check;
use super::{first_tag, syllables, text};
use crate::arguments::{Arguments, InstructionError};
use crate::{nltk, python};
use std::collections::HashMap;

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "alphabet" => Check::of(follows_the_alphabet),
        "vowel" => Check::of(has_three_vowels),
        "consonants" => Check::of(|text| python::words(&text.to_lowercase()).all(has_consonant_cluster)),
        "palindrome" => Check::of(|text| palindromes(text) >= 10),
        "prime_lengths" => Check::of(|text| {
            let text = text::without_punctuation(text);
            python::words(&text).all(|word| PRIMES.contains(&word.chars().count()))
        }),
        "start_verb" => {
            Check::of(|text| first_tag::of(&nltk::word_tokenize(text)).is_some_and(|tag| tag.contains("VB")))
        }
        "repeats" => {
            let most = arguments.whole("small_n")?;
            Check::of(move |text| most_repeats(text) <= most)
        }
        "odd_even_syllables" => Check::of(|text| {
            let text = text::without_punctuation(text).to_lowercase();
            let odd: Vec<bool> = python::words(&text).map(syllables::is_odd).collect();
            odd.windows(2).all(|pair| pair[0] != pair[1])
        }),
        "last_first" => Check::of(last_words_begin_next),
        "paragraph_last_first" => Check::of(|text| text.split('\n').all(ends_as_it_begins)),
        "no_consecutive" => Check::of(|text| {
            let text = text::without_punctuation(&text.to_lowercase());
            let initials: Vec<Option<char>> = python::words(&text).map(|word| word.chars().next()).collect();
            initials.windows(2).all(|pair| pair[0] != pair[1])
        }),
        "keywords_specific_position" => {
            let keyword = python::strip(&arguments.filled_text("keyword")?).to_lowercase();
            let (sentence, word) = (arguments.count("n")?, arguments.count("m")?);
            Check::of(move |text| word_at(text, sentence, word).is_some_and(|word| word == keyword))
        }
        "words_position" => {
            let keyword = python::strip(&arguments.filled_text("keyword")?).to_lowercase();
            Check::of(move |text| is_second_and_second_to_last(text, &keyword))
        }
        _ => return Ok(None),
    }))
}

/// The primes below 100: the reference knows no longer words.
const PRIMES: [usize; 25] =
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97];

/// Whether each word begins with the letter after the one before, `a` after `z`.
fn follows_the_alphabet(text: &str) -> bool {
    let text = text::without_punctuation(text);
    let initial = |word: &str| word.to_lowercase().bytes().next().filter(u8::is_ascii_lowercase);
    let mut words = python::words(&text);
    // The reference lowers the first letter alone: one that becomes two (`İ`) is none of the alphabet.
    let first = words.next().and_then(|word| word.chars().next()).map(|letter| letter.to_lowercase());
    let Some(mut letter) = first.filter(|lower| lower.len() == 1).and_then(|mut lower| lower.next()) else {
        return false;
    };
    if !letter.is_ascii_lowercase() {
        return false;
    }
    words.all(|word| {
        letter = if letter == 'z' { 'a' } else { char::from(letter as u8 + 1) };
        initial(word) == Some(letter as u8)
    })
}

/// Whether the text is one line with at most three of the five vowels.
fn has_three_vowels(text: &str) -> bool {
    let text = python::strip(text);
    let lower = text.to_lowercase();
    !text.contains('\n') && "aeiou".chars().filter(|vowel| lower.contains(*vowel)).count() <= 3
}

fn has_consonant_cluster(word: &str) -> bool {
    let is_consonant = |byte: &u8| byte.is_ascii_lowercase() && !b"aeiou".contains(byte);
    word.as_bytes().windows(2).any(|pair| pair.iter().all(is_consonant))
}

/// Words of at least five characters that read the same backward.
fn palindromes(text: &str) -> usize {
    let text = text::without_punctuation(text).to_lowercase();
    let is_palindrome = |word: &&str| word.chars().eq(word.chars().rev()) && word.chars().count() >= 5;
    python::words(&text).filter(is_palindrome).count()
}

/// How often the most frequent word occurs.
fn most_repeats(text: &str) -> usize {
    let text = text::without_punctuation(&text.to_lowercase());
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in python::words(&text) {
        *counts.entry(word).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// Whether the last word of each sentence is the first one of the next.
fn last_words_begin_next(text: &str) -> bool {
    nltk::sentences(text).windows(2).all(|pair| {
        let last = python::words(text::trim_end(pair[0])).last();
        let first = python::words(text::trim_start(pair[1])).next();
        last.zip(first).is_some_and(|(last, first)| last.to_lowercase() == first.to_lowercase())
    })
}

/// Whether the last word of a line is its first one, too. A line without words passes.
fn ends_as_it_begins(line: &str) -> bool {
    let line = python::strip(line).to_lowercase();
    let words: Vec<&str> = python::words(text::trim(&line)).collect();
    words.first() == words.last()
}

/// The word number `word` of the sentence number `sentence`, from 1 on and in lower case. Tokens without a letter or digit
/// are not counted.
fn word_at(text: &str, sentence: usize, word: usize) -> Option<String> {
    let tokens = nltk::word_tokenize(nltk::sentences(text).get(sentence - 1)?);
    let mut words = tokens.iter().filter(|token| token.contains(python::is_alphanumeric));
    words.nth(word - 1).map(|word| word.to_lowercase())
}

/// Whether the second token and the second to last one are the keyword. A mark at the end is not counted.
fn is_second_and_second_to_last(text: &str, keyword: &str) -> bool {
    const MARKS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let tokens = nltk::word_tokenize(text);
    let ends_in_mark = tokens.last().is_some_and(|token| MARKS.contains(token.as_str()));
    let from_end = if ends_in_mark { 3 } else { 2 };
    let second_to_last = tokens.len().checked_sub(from_end).and_then(|at| tokens.get(at));
    let is_keyword = |token: Option<&String>| token.is_some_and(|token| token.to_lowercase() == keyword);
    is_keyword(tokens.get(1)) && is_keyword(second_to_last)
}
