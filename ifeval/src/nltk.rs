//! What the reference uses of NLTK: words, sentences and Treebank tokens.
//!
//! NLTK 3.10 finds words and white space with the `regex` package, whose character classes are Unicode's (UTS 18), as
//! Rust's are. Up to 3.9 it used `re`, for which a combining mark is not part of a word.

mod punkt;
mod treebank;

use fancy_regex::Regex;
use std::sync::LazyLock;

/// The words: runs of `\w`, as `RegexpTokenizer` finds them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+").expect("a fixed pattern"));
    WORD.find_iter(text).flatten().map(|word| word.as_str())
}

/// The number of [`words`].
pub(crate) fn count_words(text: &str) -> usize {
    words(text).count()
}

/// `nltk.sent_tokenize`: the sentences by the English Punkt model, without the white space between them.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    punkt::sentences(text)
}

/// The number of sentences by the English Punkt model.
pub(crate) fn count_sentences(text: &str) -> usize {
    sentences(text).len()
}

/// `nltk.word_tokenize`: the Treebank tokens of each sentence.
pub(crate) fn word_tokenize(text: &str) -> Vec<String> {
    sentences(text).into_iter().flat_map(treebank::tokens).collect()
}
