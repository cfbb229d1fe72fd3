//! What the reference takes from NLTK: words, sentences and Treebank tokens.
//!
//! NLTK 3.10 finds words and white space with the `regex` package, whose classes are Unicode's own (UTS 18) and so
//! Rust's; up to 3.9 it used `re`, to which combining marks are no part of a word.

mod punkt;
mod treebank;

use fancy_regex::Regex;
use std::sync::LazyLock;

/// How many words there are: runs of `\w`, as `RegexpTokenizer` finds them.
pub(crate) fn count_words(text: &str) -> usize {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+").expect("a fixed pattern"));
    WORD.find_iter(text).flatten().count()
}

/// How many sentences English Punkt sees.
pub(crate) fn count_sentences(text: &str) -> usize {
    punkt::sentences(text).len()
}

/// `nltk.word_tokenize`: the Treebank tokens of each sentence.
pub(crate) fn word_tokenize(text: &str) -> Vec<String> {
    punkt::sentences(text).into_iter().flat_map(treebank::tokens).collect()
}
