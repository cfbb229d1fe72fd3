//! NLTK's word tokenizer: Penn Treebank's rules, each a replacement that puts spaces around what becomes a token.
//! The order matters; the rules are `NLTKWordTokenizer`'s of NLTK 3.10.

use crate::python;
use fancy_regex::Regex;
use std::sync::LazyLock;

/// Pattern and replacement of everything before the text is padded.
const BEFORE: &[(&str, &str)] = &[
    // Opening quotes.
    ("([«“‘„]|[`]+)", " ${1} "),
    ("^\"", "``"),
    ("(``)", " ${1} "),
    (r#"([ (\[{<])("|'{2})"#, "${1} `` "),
    (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", "${1} "),
    // Punctuation; a period only where the text ends.
    (r#"([^.])(\.)([\])}>"'»”’ ]*+)\s*(?=\n?\z)"#, "${1} ${2} ${3} "),
    (r"([:,])([^\d])", " ${1} ${2}"),
    (r"([:,])(?=\n?\z)", " ${1} "),
    (r"\.{2,}", " ${0} "),
    ("[;@#$%&]", " ${0} "),
    (r"[\u{2012}-\u{2015}]", " ${0} "),
    (r#"([^.])(\.)([\])}>"']*)\s*(?=\n?\z)"#, "${1} ${2}${3} "),
    ("[?!]", " ${0} "),
    ("([^'])' ", "${1} ' "),
    ("[*]", " ${0} "),
    (r"[\]\[(){}<>]", " ${0} "),
    ("--", " -- "),
];

/// The same after it: closing quotes, what an apostrophe joins, contractions written as one word.
const AFTER: &[(&str, &str)] = &[
    ("([»”’])", " ${1} "),
    ("''", " '' "),
    ("\"", " '' "),
    (r"\s+", " "),
    ("([^' ])('[sS]|'[mM]|'[dD]|') ", "${1} ${2} "),
    ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "${1} ${2} "),
    (r"(?i)\b(can)(not)\b", " ${1} ${2} "),
    (r"(?i)\b(d)('ye)\b", " ${1} ${2} "),
    (r"(?i)\b(gim)(me)\b", " ${1} ${2} "),
    (r"(?i)\b(gon)(na)\b", " ${1} ${2} "),
    (r"(?i)\b(got)(ta)\b", " ${1} ${2} "),
    (r"(?i)\b(lem)(me)\b", " ${1} ${2} "),
    (r"(?i)\b(more)('n)\b", " ${1} ${2} "),
    (r"(?i)\b(wan)(na)(?=\s)", " ${1} ${2} "),
    (r"(?i) ('t)(is)\b", " ${1} ${2} "),
    (r"(?i) ('t)(was)\b", " ${1} ${2} "),
];

type Rules = Vec<(Regex, &'static str)>;

static COMPILED: LazyLock<(Rules, Rules)> = LazyLock::new(|| {
    let compiled = |rules: &[(&str, &'static str)]| {
        rules.iter().map(|(pattern, by)| (Regex::new(pattern).expect("a fixed pattern"), *by)).collect()
    };
    (compiled(BEFORE), compiled(AFTER))
});

/// The tokens of one sentence.
pub(super) fn tokens(sentence: &str) -> Vec<String> {
    let (before, after) = &*COMPILED;
    let spaced = format!(" {} ", applied(before, sentence.to_owned()));
    python::words(&applied(after, spaced)).map(str::to_owned).collect()
}

/// A rule that ran out of steps on a pathological text leaves it as it was.
fn applied(rules: &Rules, mut text: String) -> String {
    for (pattern, by) in rules {
        if let Ok(std::borrow::Cow::Owned(replaced)) = pattern.try_replacen(&text, 0, *by) {
            text = replaced;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    /// The tokens NLTK 3.10.4 gives.
    #[test]
    fn tokens_are_nltks() {
        let tokens = |text| super::tokens(text).join("|");
        assert_eq!(tokens("\"I can't,\" she said."), "``|I|ca|n't|,|''|she|said|.");
        assert_eq!(tokens("Mr. O'Neil's $3.88 (approx.)..."), "Mr.|O'Neil|'s|$|3.88|(|approx.|)|...");
        assert_eq!(tokens("'Tis well-known — we cannot: NO!"), "'|Tis|well-known|—|we|can|not|:|NO|!");
        assert_eq!(tokens(""), "");
    }
}
