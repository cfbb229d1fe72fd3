//! Numbers in English words, as lm-evaluation-harness finds them (`lm_eval/tasks/bbh/zeroshot/utils.py`) and as the package
//! word2number 1.1 reads them, with what it gets wrong: verdicts depend on it.

use crate::task::find_all;

const SIMPLE: &str = "zero|one|two|three|four|five";
const STEMS: &str = "twen|thir|for|fif|six|seven|nine";
const REST: &str = "ten|eleven|twelve|fourteen|hundred|thousand|(?:m|b|tr)illion";

/// The numbers in words in a text, in lower case. `six` alone is none: after a stem there must be an ending.
pub(crate) fn find_number_words(text: &str) -> Vec<Option<String>> {
    let word =
        |endings: &str, eight: &str| format!("{SIMPLE}|(?:{STEMS})(?:{endings})|eight(?:{eight})|{REST}");
    let first = word("teen|ty", "|een|y");
    let middle = word("|teen|ty", "een|y");
    let last = word("teen|ty", "een|y");
    find_all(&format!(r"((?:(?:{first})(?:{middle}|[^\S\r\n]|,|and|&)+)?(?:{last}))"), &text.to_lowercase())
}

/// The number that words stand for; `None` where word2number raises an error.
pub(crate) fn words_to_number(text: &str) -> Option<i64> {
    let text = text.replace('-', " ").to_lowercase();
    let words: Vec<i64> = text.split_whitespace().filter_map(value).collect();
    let place = |power: i64| words.iter().position(|word| *word == power);
    let (billion, million, thousand) = (place(BILLION), place(MILLION), place(THOUSAND));
    let is_twice = |power: i64| words.iter().filter(|word| **word == power).count() > 1;
    // A missing power is before all others.
    let is_before = |one: Option<usize>, other: Option<usize>| one.is_some() && one < other;
    if words.is_empty()
        || [BILLION, MILLION, THOUSAND].into_iter().any(is_twice)
        || is_before(thousand, million)
        || is_before(thousand, billion)
        || is_before(million, billion)
    {
        return None;
    }
    if let [only] = words[..] {
        return Some(only);
    }
    let (mut sum, mut start) = (0, 0);
    for (index, power) in [(billion, BILLION), (million, MILLION), (thousand, THOUSAND)] {
        let Some(index) = index else { continue };
        sum += group(&words[start..index])?.checked_mul(power)?;
        start = index + 1;
    }
    // Where nothing is behind the last power, what is behind the one before it counts twice.
    let rest = [thousand, million, billion].into_iter().flatten().find(|index| index + 1 < words.len());
    match rest {
        Some(index) => Some(sum + group(&words[index + 1..])?),
        None if start == 0 => group(&words),
        None => Some(sum),
    }
}

const THOUSAND: i64 = 1_000;
const MILLION: i64 = 1_000_000;
const BILLION: i64 = 1_000_000_000;

/// Words between two powers of a thousand. Of more than four, word2number takes the first one alone.
fn group(words: &[i64]) -> Option<i64> {
    Some(match *words {
        [a, b, c, d] => a * b + c + d,
        [a, b, c] => a * b + c,
        [a, b] if a == 100 || b == 100 => a * b,
        [a, b] => a + b,
        [a, ..] => a,
        [] => return None,
    })
}

fn value(word: &str) -> Option<i64> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let small = SMALL.iter().position(|other| *other == word).map(|index| index as i64);
    let tens = || TENS.iter().position(|other| *other == word).map(|index| 10 * (index as i64 + 2));
    let power = || match word {
        "hundred" => Some(100),
        "thousand" => Some(THOUSAND),
        "million" => Some(MILLION),
        "billion" => Some(BILLION),
        _ => None,
    };
    small.or_else(tens).or_else(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words_are_word2numbers() {
        // from word2number import w2n; w2n.word_to_num(text), None for a ValueError or IndexError
        for (text, number) in [
            ("twenty-one", Some(21)),
            ("one hundred and five", Some(105)),
            ("two million twenty three thousand and forty nine", Some(2_023_049)),
            ("two million three thousand", Some(2_004_003)),
            ("one two three four five", Some(1)),
            ("thousand", Some(1000)),
            ("thousand one", None),
            ("thousand million", None),
            ("two thousand thousand", None),
            ("apples", None),
        ] {
            assert_eq!(words_to_number(text), number, "{text}");
        }
    }

    #[test]
    fn a_stem_alone_is_no_number() {
        let found = |text: &str| find_number_words(text).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(found("six apples and Ten pears"), ["ten"]);
        assert_eq!(found("twenty one"), ["twenty one"]);
    }
}
