//! Python's view of text where Rust's differs, because the reference is Python: what counts as white space and as
//! upper or lower case, what JSON is, and regular expressions in the dialect of its `re` module.

use fancy_regex::Regex;
use serde::de::IgnoredAny;

/// `str.isspace` of one character: Unicode's white space and the four ASCII separators.
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

/// `str.isupper()`: a cased character, and none of them lower or title case.
pub(crate) fn is_upper(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_lowercase() || is_title(letter))
        && text.contains(char::is_uppercase)
}

/// `str.islower()`: a cased character, and none of them upper or title case.
pub(crate) fn is_lower(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_uppercase() || is_title(letter))
        && text.contains(char::is_lowercase)
}

/// Unicode's category Lt, which the standard library does not tell apart.
fn is_title(letter: char) -> bool {
    matches!(
        letter,
        '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
            | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}'
    )
}

/// Whether `json.loads` takes the text: JSON, and with it NaN, infinities and lone surrogates.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(&without_constants(text)).is_ok()
}

/// `NaN`, `Infinity` and `-Infinity` outside of strings become `null`.
fn without_constants(text: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let (outside, string) = rest.split_at(quote);
        // As if its opening quote were escaped.
        let mut escaped = true;
        let end = string.find(|letter| {
            let closes = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            closes
        });
        let (string, after) = string.split_at(end.map_or(string.len(), |end| end + 1));
        parts.extend([nulled(outside), string.to_owned()]);
        rest = after;
    }
    parts.push(nulled(rest));
    parts.concat()
}

fn nulled(outside: &str) -> String {
    outside.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

/// What a pattern is matched with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    None,
    IgnoreCase,
    MultiLine,
}

/// The regular expression that the `re` module understands by `pattern`, or why it is none.
///
/// Classes differ (combining marks are no `\w` there, the ASCII separators are `\s`), so does what follows from them
/// (`\b`), `$` also stands before a last line's end, lone braces and brackets in classes are themselves, and where case
/// is ignored the four letters i are one.
pub(crate) fn regex(pattern: &str, flag: Flag) -> Result<Regex, String> {
    let prefix = if flag == Flag::IgnoreCase { "(?i)" } else { "" };
    Regex::new(&format!("{prefix}{}", translated(pattern, flag)?)).map_err(|error| error.to_string())
}

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x1c-\x1f";

fn translated(pattern: &str, flag: Flag) -> Result<String, String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut translation = String::new();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        at += 1;
        match letter {
            '\\' => {
                let escaped = *letters.get(at).ok_or("it ends in a backslash")?;
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
            // A group's own flags or name.
            '(' if letters.get(at) == Some(&'?') => {
                let length = letters[at..].iter().position(|letter| ":)=!>".contains(*letter));
                let end = at + length.ok_or("a group has no end")? + 1;
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
        other if other.is_ascii_alphabetic() => return Err(format!(r"\{other} is no escape of Python's re")),
        other => fancy_regex::escape(&other.to_string()).into_owned(),
    })
}

/// Copies the class that begins before `at`; where it ends.
fn class(letters: &[char], mut at: usize, translation: &mut String) -> Result<usize, String> {
    translation.push('[');
    if letters.get(at) == Some(&'^') {
        translation.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let letter = *letters.get(at).ok_or("a set has no end")?;
        at += 1;
        match letter {
            ']' if at - 1 > first => break,
            '\\' => {
                let escaped = *letters.get(at).ok_or("it ends in a backslash")?;
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

/// `{2}`, `{2,}`, `{,3}` or `{2,3}`, and how many characters it took after its `{`.
fn quantifier(rest: &[char]) -> Option<(String, usize)> {
    let end = rest.iter().position(|letter| *letter == '}')?;
    let inside: String = rest[..end].iter().collect();
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let (low, high) = inside.split_once(',').unwrap_or((&inside, "0"));
    let counts = digits(low) && digits(high) && (inside.contains(',') || !low.is_empty());
    let zero = if low.is_empty() { "0" } else { "" };
    counts.then(|| (format!("{{{zero}{inside}}}"), end + 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// Each answer is what Python 3.11 gives.
    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        let found = |pattern, text| regex(pattern, Flag::None).unwrap().find_iter(text).flatten().count();
        assert_eq!(found(r"\bनमस\b", "नमस्ते"), 1, "a virama ends a word there");
        assert_eq!(found("[a[b]", "a[b"), 3);
        assert_eq!(found("a{,2}b", "aab"), 1);
        assert_eq!(found("{x}", "{x}"), 1);
        assert_eq!(found("end$", "end\n"), 1);
        assert_eq!(found(r"a\sb", "a\x1cb"), 1);
        assert_eq!(found("C++", "C++ and C"), 2, "a possessive repeat since Python 3.11");
        let any_case = regex("(?:in|ſo)", Flag::IgnoreCase).unwrap();
        assert_eq!(any_case.find_iter("İN ın In SO").flatten().count(), 4);
        for bad in ["?", "(", "[a", "\\", r"\q", "*a"] {
            assert!(regex(bad, Flag::None).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_and_space_are_pythons() {
        assert!(is_upper("Ⅷ A1!") && !is_upper("12") && !is_upper("ǅ") && !is_upper("Aa"));
        assert!(is_lower("ß 1") && !is_lower("") && !is_lower("aǅ"));
        assert_eq!(strip("\x1f a \u{2003}"), "a");
        assert_eq!(words("a\x1cb\u{a0} c").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn json_is_pythons() {
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
