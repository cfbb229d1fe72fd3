//! NLTK's word tokenizer: the Penn Treebank rules, each a replacement that puts spaces around a token. The order
//! matters. The rules are those of `NLTKWordTokenizer` in NLTK 3.10.

use crate::python;
use fancy_regex::Regex;
use std::sync::LazyLock;

/// Pattern and replacement of the rules that apply before the text is padded with spaces.
const BEFORE: &[(&str, &str)] = &[
    // Opening quotes.
    ("([«“‘„]|[`]+)", " ${1} "),
    ("^\"", "``"),
    ("(``)", " ${1} "),
    (r#"([ (\[{<])("|'{2})"#, "${1} `` "),
    (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", "${1} "),
    // Punctuation; a period only at the end of the text.
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

/// The rules that apply after it: closing quotes, clitics with an apostrophe, contractions written as one word.
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
    let compile = |rules: &[(&str, &'static str)]| {
        let rule = |(pattern, replacement): &(&str, &'static str)| {
            (Regex::new(pattern).expect("a fixed pattern"), *replacement)
        };
        rules.iter().map(rule).collect()
    };
    (compile(BEFORE), compile(AFTER))
});

/// Returns the tokens of one sentence.
pub(super) fn tokens(sentence: &str) -> Vec<String> {
    let (before, after) = &*COMPILED;
    let padded = format!(" {} ", apply(before, sentence.to_owned()));
    python::words(&apply(after, padded)).map(str::to_owned).collect()
}

/// Applies the rules in their order. A rule that exceeds the limit of backtracking leaves the text unchanged.
fn apply(rules: &Rules, mut text: String) -> String {
    for (pattern, replacement) in rules {
        if let Ok(std::borrow::Cow::Owned(replaced)) = pattern.try_replacen(&text, 0, *replacement) {
            text = replaced;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    /// The expected values are those of NLTK 3.10.4.
    #[test]
    fn tokens_are_those_of_nltk() {
        let tokens = |text| super::tokens(text).join("|");
        assert_eq!(tokens("\"I can't,\" she said."), "``|I|ca|n't|,|''|she|said|.");
        assert_eq!(tokens("Mr. O'Neil's $3.88 (approx.)..."), "Mr.|O'Neil|'s|$|3.88|(|approx.|)|...");
        assert_eq!(tokens("'Tis well-known — we cannot: NO!"), "'|Tis|well-known|—|we|can|not|:|NO|!");
        assert_eq!(tokens(""), "");
    }
}
