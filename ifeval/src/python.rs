//! Python's definitions where Rust's differ, because the reference is written in Python: white space, upper and lower
//! case, JSON, and regular expressions in the dialect of the module `re`.

use fancy_regex::Regex;
use serde::de::IgnoredAny;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// `str.isspace` of one character: Unicode white space and the four ASCII separators.
pub(crate) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\x1c'..='\x1f')
}

/// `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.isupper()`: has a cased character, and none in lower or title case.
pub(crate) fn is_upper(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_lowercase() || is_title(letter))
        && text.contains(char::is_uppercase)
}

/// `str.islower()`: has a cased character, and none in upper or title case.
pub(crate) fn is_lower(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_uppercase() || is_title(letter))
        && text.contains(char::is_lowercase)
}

/// `str.isalpha()` of one character.
pub(crate) fn is_alpha(letter: char) -> bool {
    letter.general_category_group() == GeneralCategoryGroup::Letter
}

/// `str.isalnum()` of one character.
pub(crate) fn is_alphanumeric(letter: char) -> bool {
    is_alpha(letter) || letter.general_category_group() == GeneralCategoryGroup::Number
}

/// `str.isdigit()` of one character: also superscripts and digits in circles, but not `½` and `⑩`.
pub(crate) fn is_digit(letter: char) -> bool {
    is_decimal(letter)
        || matches!(
            letter,
            '²' | '³' | '¹' | '\u{1369}'..='\u{1371}' | '\u{19da}' | '⁰' | '⁴'..='⁹' | '₀'..='₉'
                | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐' | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈'
                | '➊'..='➒' | '\u{10a40}'..='\u{10a43}' | '\u{10e60}'..='\u{10e68}' | '\u{11052}'..='\u{1105a}'
                | '\u{1f100}'..='\u{1f10a}'
        )
}

/// The value of a decimal digit of any script, as `int` reads it. Scripts have their ten digits in a row, from 0 on.
pub(crate) fn digit_value(digit: char) -> Option<u32> {
    let is_digit_before =
        |steps: u32| char::from_u32((digit as u32).wrapping_sub(steps)).is_some_and(is_decimal);
    is_decimal(digit).then(|| (1..).take_while(|steps| is_digit_before(*steps)).count() as u32 % 10)
}

/// Unicode's category Nd: `\d`.
fn is_decimal(letter: char) -> bool {
    letter.general_category() == GeneralCategory::DecimalNumber
}

/// Unicode's category Lt, for which the standard library has no test.
fn is_title(letter: char) -> bool {
    matches!(
        letter,
        '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
            | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}'
    )
}

/// Whether `json.loads` accepts the text: JSON, and also NaN, infinities and lone surrogates.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(&without_constants(text)).is_ok()
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside of strings by `null`.
fn without_constants(text: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let (outside, string) = rest.split_at(quote);
        // The opening quote is treated as escaped, so that it does not close the string.
        let mut is_escaped = true;
        let end = string.find(|letter| {
            let closes = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            closes
        });
        let (string, after) = string.split_at(end.map_or(string.len(), |end| end + 1));
        parts.extend([constants_to_null(outside), string.to_owned()]);
        rest = after;
    }
    parts.push(constants_to_null(rest));
    parts.concat()
}

fn constants_to_null(text: &str) -> String {
    text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

/// The flag a pattern is compiled with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    None,
    IgnoreCase,
    MultiLine,
}

/// Compiles `pattern` with the meaning it has in the module `re`; the error says why it is not a regular expression.
///
/// There, `\w` excludes combining marks, `\s` includes the ASCII separators, and `\b` changes with them. `$` also
/// matches before a line feed at the end. Braces that are not a quantifier and brackets in a class are literal. Where
/// case is ignored, the four letters i are equal.
pub(crate) fn regex(pattern: &str, flag: Flag) -> Result<Regex, String> {
    let prefix = if flag == Flag::IgnoreCase { "(?i)" } else { "" };
    Regex::new(&format!("{prefix}{}", translate(pattern, flag)?)).map_err(|error| error.to_string())
}

/// Whether a pattern is matched in bounded time: it is short, has no group that looks around and no reference to a group,
/// repeats no group, and has few repeats; only one beside `\b`, `\B` or `$`, which [`translate`] makes looks around.
pub(crate) fn is_linear(pattern: &str) -> bool {
    const LONGEST: usize = 200;
    const MOST_REPEATS: usize = 100;
    let letters: Vec<char> = pattern.chars().collect();
    let refers = letters
        .windows(2)
        .any(|pair| (pair[0] == '\\' && matches!(pair[1], '1'..='9')) || (pair[0] == '(' && pair[1] == '?'));
    let repeats_group =
        letters.windows(2).any(|pair| pair[0] == ')' && matches!(pair[1], '*' | '+' | '{' | '?'));
    let repeats = letters.iter().filter(|letter| matches!(letter, '*' | '+' | '?')).count();
    let counts =
        pattern.split(|letter: char| !letter.is_ascii_digit()).filter_map(|text| text.parse::<usize>().ok());
    let has_braces = letters.contains(&'{');
    // `\b` and `$` become looks around in [`translate`], which are matched by backtracking.
    let looks_around = letters.contains(&'$') || pattern.contains(r"\b") || pattern.contains(r"\B");
    letters.len() <= LONGEST
        && !refers
        && !repeats_group
        && repeats <= if looks_around { 1 } else { 10 }
        && (!has_braces || counts.sum::<usize>() <= MOST_REPEATS)
}

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x1c-\x1f";

fn translate(pattern: &str, flag: Flag) -> Result<String, String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut translation = String::new();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        at += 1;
        match letter {
            '\\' => {
                let escaped = *letters.get(at).ok_or("it ends with a backslash")?;
                at += 1;
                translation += &escape(escaped)?;
            }
            '[' => at = class(&letters, at, &mut translation)?,
            '{' => match quantifier(&letters[at..]) {
                Some((text, length)) => {
                    translation += &text;
                    at += length;
                }
                None => translation += r"\{",
            },
            '}' => translation += r"\}",
            // The flags or the name of a group.
            '(' if letters.get(at) == Some(&'?') => {
                let length = letters[at..].iter().position(|letter| ":)=!>".contains(*letter));
                let end = at + length.ok_or("a group is not closed")? + 1;
                translation.push('(');
                translation.extend(&letters[at..end]);
                at = end;
            }
            'i' | 'I' | 'İ' | 'ı' if flag == Flag::IgnoreCase => translation += "[iIİı]",
            '$' if flag == Flag::MultiLine => translation += "(?m:$)",
            '$' => translation += r"(?=\n?\z)",
            '^' if flag == Flag::MultiLine => translation += "(?m:^)",
            other => translation.push(other),
        }
    }
    Ok(translation)
}

fn escape(letter: char) -> Result<String, String> {
    Ok(match letter {
        'w' => format!("[{WORD}]"),
        'W' => format!("[^{WORD}]"),
        's' => format!("[{SPACE}]"),
        'S' => format!("[^{SPACE}]"),
        'b' => format!("(?:(?<![{WORD}])(?=[{WORD}])|(?<=[{WORD}])(?![{WORD}]))"),
        'B' => format!("(?:(?<![{WORD}])(?![{WORD}])|(?<=[{WORD}])(?=[{WORD}]))"),
        'Z' => r"\z".to_owned(),
        '0'..='9' | 'A' | 'd' | 'D' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'u' | 'U' => {
            format!(r"\{letter}")
        }
        other if other.is_ascii_alphabetic() => return Err(format!(r"Python's re has no escape \{other}")),
        other => fancy_regex::escape(&other.to_string()).into_owned(),
    })
}

/// Translates the class whose `[` is before `at`; returns the position after its `]`.
fn class(letters: &[char], mut at: usize, translation: &mut String) -> Result<usize, String> {
    translation.push('[');
    if letters.get(at) == Some(&'^') {
        translation.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let letter = *letters.get(at).ok_or("a class is not closed")?;
        at += 1;
        match letter {
            ']' if at - 1 > first => break,
            '\\' => {
                let escaped = *letters.get(at).ok_or("it ends with a backslash")?;
                at += 1;
                match escaped {
                    'w' => *translation += WORD,
                    's' => *translation += SPACE,
                    'b' => *translation += r"\x08",
                    other if other.is_ascii_alphanumeric() => *translation += &format!(r"\{other}"),
                    other => *translation += &fancy_regex::escape(&other.to_string()),
                }
            }
            '[' | ']' | '&' | '~' => *translation += &format!(r"\{letter}"),
            other => translation.push(other),
        }
    }
    translation.push(']');
    Ok(at)
}

/// Translates `{2}`, `{2,}`, `{,3}` or `{2,3}`; `rest` begins after the `{`. Also returns how many characters it took.
fn quantifier(rest: &[char]) -> Option<(String, usize)> {
    let end = rest.iter().position(|letter| *letter == '}')?;
    let inside: String = rest[..end].iter().collect();
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let (low, high) = inside.split_once(',').unwrap_or((&inside, "0"));
    let is_quantifier = digits(low) && digits(high) && (inside.contains(',') || !low.is_empty());
    let zero = if low.is_empty() { "0" } else { "" };
    is_quantifier.then(|| (format!("{{{zero}{inside}}}"), end + 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// The expected values are those of Python 3.11.
    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        let match_count =
            |pattern, text| regex(pattern, Flag::None).unwrap().find_iter(text).flatten().count();
        assert_eq!(match_count(r"\bनमस\b", "नमस्ते"), 1, "a virama ends a word in Python");
        assert_eq!(match_count("[a[b]", "a[b"), 3);
        assert_eq!(match_count("a{,2}b", "aab"), 1);
        assert_eq!(match_count("{x}", "{x}"), 1);
        assert_eq!(match_count("end$", "end\n"), 1);
        assert_eq!(match_count(r"a\sb", "a\x1cb"), 1);
        assert_eq!(match_count("C++", "C++ and C"), 2, "a possessive quantifier since Python 3.11");
        let any_case = regex("(?:in|ſo)", Flag::IgnoreCase).unwrap();
        assert_eq!(any_case.find_iter("İN ın In SO").flatten().count(), 4);
        for bad in ["?", "(", "[a", "\\", r"\q", "*a"] {
            assert!(regex(bad, Flag::None).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_and_white_space_are_those_of_python() {
        assert!(is_upper("Ⅷ A1!") && !is_upper("12") && !is_upper("ǅ") && !is_upper("Aa"));
        assert!(is_lower("ß 1") && !is_lower("") && !is_lower("aǅ"));
        assert_eq!(strip("\x1f a \u{2003}"), "a");
        assert_eq!(words("a\x1cb\u{a0} c").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn digits_are_those_of_python() {
        for (digit, value) in
            [('0', 0), ('7', 7), ('٣', 3), ('９', 9), ('𝟘', 0), ('𝟡', 9), ('𝟬', 0), ('𞥙', 9)]
        {
            assert_eq!(digit_value(digit), Some(value), "{digit}");
        }
        assert!(
            digit_value('²').is_none() && is_digit('²') && is_digit('⑨') && !is_digit('½') && !is_digit('⑩')
        );
        assert!(
            is_alpha('é')
                && is_alpha('日')
                && !is_alpha('Ⅷ')
                && is_alphanumeric('Ⅷ')
                && !is_alphanumeric('_')
        );
    }

    #[test]
    fn json_is_what_python_accepts() {
        for text in
            ["NaN", "[-Infinity, {\"a\": Infinity}]", r#""\ud800""#, r#"["\\", NaN, "NaN\""]"#, "1e999"]
        {
            assert!(is_json(text), "{text}");
        }
        for text in ["-NaN", "1NaN", "nan", "{NaN: 1}", r#""NaN"#, "01", "[1,]", "\"a\tb\"", "\u{feff}1", ""]
        {
            assert!(!is_json(text), "{text}");
        }
    }
}
