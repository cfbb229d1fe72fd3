//! The normalization of Lewkowycz et al. (2022), appendix D, as lm-evaluation-harness 0.4.13 applies it
//! (`lm_eval/tasks/minerva_math/utils.py`).

use crate::task::python::strip;
use fancy_regex::Regex;
use std::sync::LazyLock;

/// Replaced one after the other.
const REPLACED: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// Words that are removed, but not within the name of a LaTeX command.
const WORDS: &str = "square ways integers dollars mph inches ft hours km units sue points feet minutes digits cents \
                     degrees cm gm pounds meters meals edges students childrentickets multiples";

/// What is removed after the words, and `\ldots` among them, in the order of the published list.
const REMOVED: [&str; 14] = [
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    r"\mathrm{th}",
    r"^\circ",
    r"^{\circ}",
    r"\;",
    r",\!",
    "{,}",
    "\"",
];

/// Patterns and what their matches become.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"(.*?)(\$)(.*?)(\$)(.*)", "$$${3}$$"),
        (r"(\\text\{)(.*?)(\})", "${2}"),
        (r"(\\textbf\{)(.*?)(\})", "${2}"),
        (r"(\\overline\{)(.*?)(\})", "${2}"),
        (r"(\\boxed\{)(.*)(\})", "${2}"),
        (r"(frac)([^{])(.)", "frac{${2}}{${3}}"),
        (r"(sqrt)(\[[^\]]*\])(\w)", "${1}${2}{${3}}"),
        (r"(sqrt)(?!\[)([^{])", "sqrt{${2}}"),
    ]
    .map(|(pattern, replacement)| (regex(pattern), replacement))
    .into()
});
static FINAL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"Final Answer: The final answer is(.*?). I hope it is correct."));
static THOUSANDS: LazyLock<Regex> = LazyLock::new(|| regex(r"^-?\d{1,3}(,\d{3})+$"));
static COMMAND: LazyLock<Regex> = LazyLock::new(|| regex(r"\\[a-zA-Z]+"));
static WHOLE_WORDS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    WORDS.split_whitespace().map(|word| (word, regex(&format!(r"(?<!\\)\b{word}\b")))).collect()
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

/// The answer of the sentence that Minerva's examples end with. The sentence's end is added first, so that a text which
/// was cut still has it.
pub(crate) fn final_answer(text: &str) -> Option<String> {
    let text = format!("{text}I hope it is correct.");
    let captures = FINAL.captures(&text).ok().flatten()?;
    Some(strip(captures.get(1)?.as_str()).to_owned())
}

/// The normalized answer.
pub(crate) fn normalize(answer: &str) -> String {
    let mut answer = answer.rsplit('=').next().unwrap_or_default().to_owned();
    for (_, word) in WHOLE_WORDS.iter() {
        answer = word.replace_all(&answer, "").into_owned();
    }
    for (before, after) in REPLACED {
        answer = answer.replace(before, after);
    }
    for (word, _) in WHOLE_WORDS.iter() {
        // `\ldots` comes after the tenth word in the published list.
        if *word == "sue" {
            answer = answer.replace("\\ldots", "");
        }
        answer = without_word(&answer, word);
    }
    for removed in REMOVED {
        answer = answer.replace(removed, "");
    }
    answer = answer.replace("\\dots", "");
    for (pattern, replacement) in PATTERNS.iter() {
        answer = pattern.replace_all(&answer, *replacement).into_owned();
    }
    answer = answer.replace('$', "");
    if THOUSANDS.is_match(&answer).unwrap_or(false) {
        answer = answer.replace(',', "");
    }
    answer
}

/// Without a word, outside the names of commands.
fn without_word(text: &str, word: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for command in COMMAND.find_iter(text).flatten() {
        kept.push_str(&text[end..command.start()].replace(word, ""));
        kept.push_str(command.as_str());
        end = command.end();
    }
    kept.push_str(&text[end..].replace(word, ""));
    kept
}
