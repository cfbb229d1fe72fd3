//! IFBench's group `format`: brackets, quotes, lists, lines and case.

use super::check::Check;
use super::text;
use crate::arguments::{Arguments, InstructionError};
use crate::nltk;
use crate::python::{self, Flag};
use fancy_regex::Regex;
use std::sync::LazyLock;

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "parentheses" => Check::of(has_five_levels_of_brackets),
        "quotes" => Check::of(has_three_levels_of_quotes),
        "options" => options(&arguments.filled_text("options")?),
        "newline" => Check::of(has_a_word_on_each_line),
        "emoji" => Check::of(has_an_emoji_after_each_sentence),
        "line_indent" => Check::of(is_indented_like_stairs),
        "quote_unquote" => Check::of(explains_quotes),
        "list" => {
            let separator = arguments.filled_text("sep")?;
            Check::of(move |text| text.matches(separator.as_str()).count() >= 2)
        }
        "thesis" => Check::of(|text| has_thesis(text).unwrap_or(false)),
        // The reference splits at every asterisk, so that a text without one passes.
        "sub-bullets" => Check::of(|text| text.split('*').skip(1).all(|bullet| bullet.contains('-'))),
        "no_bullets_bullets" => Check::of(has_sentences_then_bullets),
        "title_case" => Check::of(|text| nltk::word_tokenize(text).iter().all(|word| is_title_case(word))),
        "output_template" => Check::of(|text| {
            ["My Answer:", "My Conclusion:", "Future Outlook:"].iter().all(|part| text.contains(part))
        }),
        "no_whitespace" => Check::of(|text| !text.contains(python::is_space)),
        _ => return Ok(None),
    }))
}

/// Whether a bracket closes when five or more have been open at once, without a mismatch since.
fn has_five_levels_of_brackets(text: &str) -> bool {
    let mut open = Vec::new();
    let mut deepest = 0;
    for letter in text.chars() {
        match letter {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' => {
                if open.pop() != Some(letter) {
                    open.clear();
                    deepest = 0;
                } else if deepest >= 5 {
                    return true;
                }
            }
            _ => {}
        }
        deepest = deepest.max(open.len());
    }
    false
}

/// Whether quotes, each closed by its own kind, go back by three from the most that were open at once.
fn has_three_levels_of_quotes(text: &str) -> bool {
    let mut open = Vec::new();
    let mut deepest = 0;
    for letter in text.chars().filter(|letter| matches!(letter, '"' | '\'')) {
        if open.last() == Some(&letter) {
            open.pop();
            if deepest - open.len() >= 3 {
                return true;
            }
        } else {
            open.push(letter);
            deepest = deepest.max(open.len());
        }
    }
    false
}

/// One of the options, which are separated by `/`, by `or` or by commas. Letters such as `a), b), c)` must be as they are;
/// other options may have another case and other marks around them.
fn options(options: &str) -> Check {
    static LETTERS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\A\W*[aA]\W*[bB]\W*[cC]\W*"));
    let are_letters = LETTERS.is_match(options).unwrap_or(false);
    let separator = ["/", "or"].into_iter().find(|separator| options.contains(separator)).unwrap_or(",");
    let options: Vec<String> =
        options.split(separator).map(|option| python::strip(option).to_owned()).collect();
    if are_letters {
        return Check::of(move |text| options.iter().any(|option| option == text));
    }
    let bare = |text: &str| text::trim(text).to_lowercase();
    let options: Vec<String> = options.iter().map(|option| bare(option)).collect();
    Check::of(move |text| options.contains(&bare(text)))
}

/// Whether there are as many lines as words, without the empty ones.
fn has_a_word_on_each_line(text: &str) -> bool {
    let text = text::without_punctuation(text);
    let lines = python::strip(&text).split('\n').filter(|line| !line.is_empty()).count();
    lines == python::words(&text).count()
}

/// Whether each sentence ends in an emoji or one character before its end, or the next one begins with one. Punctuation
/// marks are left out first.
fn has_an_emoji_after_each_sentence(text: &str) -> bool {
    let sentences: Vec<Vec<char>> = nltk::sentences(text)
        .into_iter()
        .map(|sentence| python::strip(&text::without_punctuation(sentence)).chars().collect())
        .collect();
    (0..sentences.len()).all(|at| {
        let ends_in_emoji = sentences[at].iter().rev().take(2).any(|letter| is_emoji(*letter));
        let next = sentences.get(at + 1).and_then(|next| next.first());
        !sentences[at].is_empty() && (ends_in_emoji || next.is_some_and(|letter| is_emoji(*letter)))
    })
}

/// Whether the package emoji knows the character as an emoji of its own: Unicode's property Emoji without what is only a
/// part of one. The characters of Unicode 17 and 18 are listed because the tables of `regex` are those of Unicode 16.
fn is_emoji(letter: char) -> bool {
    static EMOJI: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"[\p{Emoji}--[\#*0-9\x{1F1E6}-\x{1F1FF}]]";
        Regex::new(pattern).expect("a fixed pattern")
    });
    let is_new = matches!(
        letter as u32,
        0x1f6d8 | 0x1f6d9 | 0x1fa8a
            ..=0x1fa8e
                | 0x1fac8
                | 0x1facc
                | 0x1facd
                | 0x1fadd
                | 0x1faea
                | 0x1faeb
                | 0x1faef
                | 0x1faf9
                | 0x1fafa
    );
    is_new || EMOJI.is_match(letter.encode_utf8(&mut [0; 4])).unwrap_or(false)
}

/// Whether each line is indented by more spaces than the one before it. The reference means to leave out blank lines; since
/// it removes them from the list it walks through, it skips the line after each.
fn is_indented_like_stairs(text: &str) -> bool {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let mut at = 0;
    while let Some(line) = lines.get(at).copied() {
        if python::strip(line).is_empty() {
            // The first line that is equal, as Python's `remove` does.
            let equal = lines.iter().position(|other| *other == line).unwrap_or(at);
            lines.remove(equal);
        }
        at += 1;
    }
    let indents: Vec<usize> =
        lines.iter().map(|line| line.len() - line.trim_start_matches(' ').len()).collect();
    indents.windows(2).all(|pair| pair[0] < pair[1])
}

/// Whether no double quote follows another one, and none is at the end before digits and marks.
fn explains_quotes(text: &str) -> bool {
    let text: String = text.replace("'\"'", "").chars().filter(|letter| !python::is_space(*letter)).collect();
    let is_mark = |letter: char| letter.is_ascii_digit() || (letter.is_ascii_punctuation() && letter != '"');
    !text.contains("\"\"") && !text.trim_matches(is_mark).ends_with('"')
}

/// Whether there is text in italics and text after it; none without a beginning and an end of italics. As in the reference,
/// what is left of an `<em>` or `</em>` counts as text.
fn has_thesis(text: &str) -> Option<bool> {
    let from = &text[text.find("<i>").or_else(|| text.find("<em>"))?..];
    let end = from.find("</i>").or_else(|| from.find("</em>"))?;
    let is_blank = |text: &str| python::strip(text).is_empty();
    Some(!is_blank(&from[3..end]) && !is_blank(&from[end + 4..]))
}

/// Whether two or more lines with `*` are at the end, and two or more sentences before them. As in the reference, a blank
/// line ends the sentences.
fn has_sentences_then_bullets(text: &str) -> bool {
    let (mut sentences, mut bullets) = (0, 0);
    let mut may_be_sentence = true;
    for line in text.split('\n').map(python::strip) {
        if line.starts_with('*') {
            may_be_sentence = false;
            bullets += 1;
            if sentences < 2 {
                return false;
            }
        } else if may_be_sentence {
            let more = nltk::sentences(line).len();
            may_be_sentence = more > 0;
            sentences += more;
        } else {
            return false;
        }
    }
    bullets >= 2
}

/// Whether a token does not begin with a lower-case letter; one of mixed case does not matter.
fn is_title_case(word: &str) -> bool {
    let Some(first) = word.chars().next().filter(|letter| python::is_alpha(*letter)) else { return true };
    let (first, rest) = word.split_at(first.len_utf8());
    !python::is_lower(first) || !(rest.is_empty() || python::is_lower(rest) || python::is_upper(rest))
}

fn pattern(pattern: &str) -> Regex {
    python::regex(pattern, Flag::None).expect("a fixed pattern")
}

#[cfg(test)]
mod tests {
    /// The number is that of the package emoji 2.16.0.
    #[test]
    fn emoji_are_those_of_the_package() {
        let emoji = ('\0'..=char::MAX).filter(|letter| super::is_emoji(*letter)).count();
        assert_eq!(emoji, 1409);
    }
}
