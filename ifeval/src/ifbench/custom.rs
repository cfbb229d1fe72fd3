//! IFBench's group `custom`: instructions that are a whole task of one prompt, without arguments.

use super::check::Check;
use super::{csv, text};
use crate::nltk;
use crate::python::{self, Flag};
use fancy_regex::Regex;
use std::sync::LazyLock;

pub(super) fn check(name: &str) -> Option<Check> {
    let is_met = match name {
        "multiples" => counts_by_seven,
        "mcq_count_length" => has_four_longer_questions,
        "reverse_newline" => lists_countries_backward,
        "word_reverse" => is_a_sentence_backward,
        "character_reverse" => |text: &str| text.to_lowercase().contains("elgae dlab"),
        "sentence_alphabet" => has_a_sentence_for_each_letter,
        "european_capitals_sort" => lists_capitals,
        "csv_city" => is_table_of_cities,
        "csv_special_character" => is_table_of_products,
        "csv_quotes" => is_table_of_students,
        "date_format_list" => |text: &str| python::strip(text).split(',').all(is_date_of_napoleon),
        _ => return None,
    };
    Some(Check::of(is_met))
}

/// Whether the numbers of the text are the multiples of 7 from 14 to 49.
fn counts_by_seven(text: &str) -> bool {
    let is_digit = |letter: char| python::digit_value(letter).is_some();
    let numbers = text.split(|letter| !is_digit(letter)).filter(|run| !run.is_empty());
    numbers.eq(["14", "21", "28", "35", "42", "49"])
}

/// Whether the text is four questions with five options each, each question longer than the one before.
fn has_four_longer_questions(text: &str) -> bool {
    static HEAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\n*(?:Question \d+[\.|\):;]?\s*)"));
    static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Ea-e][\.|\)]\s*\w+"));
    if !text.starts_with("Question") {
        return false;
    }
    let questions: Vec<&str> = HEAD
        .split(text)
        .map_while(Result::ok)
        .map(python::strip)
        .filter(|question| !question.is_empty())
        .collect();
    let is_option = |line: &&str| OPTION.is_match(line).unwrap_or(false);
    let lengths: Option<Vec<usize>> = questions
        .iter()
        .map(|question| {
            let lines: Vec<&str> = question.split('\n').map(python::strip).collect();
            let asked: Vec<&str> = lines.iter().take_while(|line| !is_option(line)).copied().collect();
            let is_complete = lines.iter().filter(|line| is_option(line)).count() == 5;
            is_complete.then(|| python::strip(&asked.join(" ")).chars().count())
        })
        .collect();
    lengths.is_some_and(|lengths| lengths.len() == 4 && lengths.windows(2).all(|pair| pair[0] < pair[1]))
}

/// Whether from the line with Zimbabwe on there are 52 lines or more, in reverse alphabetical order.
fn lists_countries_backward(text: &str) -> bool {
    let lines = text.split('\n').map(text::trim).filter(|line| !line.is_empty());
    let countries: Vec<String> =
        lines.skip_while(|line| !line.contains("Zimbabwe")).map(text::ascii).collect();
    countries.len() >= 52 && countries.windows(2).all(|pair| pair[0] >= pair[1])
}

/// Whether the words backward name the bald eagle and are one sentence.
fn is_a_sentence_backward(text: &str) -> bool {
    let text = text::without_punctuation(python::strip(&text.to_lowercase()));
    let mut words: Vec<&str> = python::words(&text).collect();
    words.reverse();
    let backward = words.join(" ");
    backward.contains("bald eagle") && nltk::sentences(&backward).contains(&backward.as_str())
}

/// Whether there are 26 sentences that begin with the letters of the alphabet in order.
fn has_a_sentence_for_each_letter(text: &str) -> bool {
    let initials: Vec<Option<char>> = nltk::sentences(text)
        .into_iter()
        .map(|sentence| python::words(sentence).next()?.to_lowercase().chars().next())
        .collect();
    initials.into_iter().eq(('a'..='z').map(Some))
}

/// Whether the text is the list of capitals north of 45 degrees that the reference has, in its order.
fn lists_capitals(text: &str) -> bool {
    let text = text::ascii(text);
    text.split(',').map(python::strip).filter(|capital| !capital.is_empty()).eq(CAPITALS)
}

const CAPITALS: [&str; 27] = [
    "Reykjavik",
    "Helsinki",
    "Oslo",
    "Tallinn",
    "Stockholm",
    "Riga",
    "Moscow",
    "Copenhagen",
    "Vilnius",
    "Minsk",
    "Dublin",
    "Berlin",
    "Amsterdam",
    "Warsaw",
    "London",
    "Brussels",
    "Prague",
    "Luxembourg",
    "Paris",
    "Vienna",
    "Bratislava",
    "Budapest",
    "Vaduz",
    "Chisinau",
    "Bern",
    "Ljubljana",
    "Zagreb",
];

fn is_table_of_cities(text: &str) -> bool {
    let Some(rows) = csv::rows(text, ',') else { return false };
    let has_header = rows.first().is_some_and(|header| *header == ["ID", "Country", "City", "Year", "Count"]);
    has_header && rows.len() == 8 && rows.iter().all(|row| row.len() == 5)
}

/// A header and 14 rows, one with a quoted field that has a special character. As in the reference, rows after that one may
/// have any number of fields.
fn is_table_of_products(text: &str) -> bool {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        let names = ["ProductID", "Category", "Brand", "Price", "Stock"];
        header(&names, r",[ \t]*")
    });
    static SPECIAL: LazyLock<Regex> = LazyLock::new(|| pattern(r#"\A".*[^\d\w\s].*""#));
    let Some(rows) = table_in_quotes(text, &HEADER, ',') else { return false };
    let is_special = |field: &String| SPECIAL.is_match(field).unwrap_or(false);
    let mut until_special = rows.iter().skip(1).take_while(|row| row.len() == 5);
    rows.len() == 15 && until_special.any(|row| row.iter().any(is_special))
}

/// A header and 3 rows, separated by tabs, each field in double quotes.
fn is_table_of_students(text: &str) -> bool {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        let names = ["StudentID", "Subject", "Grade", "Semester", "Score"];
        header(&names, r"\t *")
    });
    let Some(rows) = table_in_quotes(text, &HEADER, '\t') else { return false };
    let is_quoted = |field: &String| {
        let field = python::strip(field);
        field.starts_with('"') && field.ends_with('"')
    };
    rows.len() == 4 && rows.iter().all(|row| row.len() == 5 && row.iter().all(is_quoted))
}

/// The pattern of a header whose names may each be quoted.
fn header(names: &[&str], separator: &str) -> Regex {
    let names: Vec<String> = names.iter().map(|name| format!("({name}|\"{name}\")")).collect();
    pattern(&format!("^{}$", names.join(separator)))
}

/// The rows with the quotes that they have in the text; none if the first line is not the header.
fn table_in_quotes(text: &str, header: &Regex, delimiter: char) -> Option<Vec<Vec<String>>> {
    let first = python::strip(text.split('\n').next()?);
    let has_header = header.is_match(first).unwrap_or(false);
    // Three quotes are read as one that belongs to the field.
    has_header.then(|| csv::rows(&text.replace('"', "\"\"\""), delimiter))?
}

/// `YYYY-MM-DD` in Napoleon's years. As in the reference, month and day may be 0.
fn is_date_of_napoleon(date: &str) -> bool {
    let parts: Vec<&str> = python::strip(date).split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        0 => u32::MAX,
        _ => 31,
    };
    (1769..=1821).contains(&year) && month <= 12 && day <= days
}

/// The number of `length` digits, of any script.
fn number(digits: &str, length: usize) -> Option<u32> {
    let value = digits
        .chars()
        .try_fold(0_u32, |value, digit| value.checked_mul(10)?.checked_add(python::digit_value(digit)?))?;
    (digits.chars().count() == length).then_some(value)
}

fn pattern(pattern: &str) -> Regex {
    python::regex(pattern, Flag::None).expect("a fixed pattern")
}

#[cfg(test)]
mod tests {
    /// The expected values are those of ifbench 0.2.0.
    #[test]
    fn dates_are_those_of_the_reference() {
        let is_met = |text| super::check("date_format_list").is_some_and(|check| check.is_met_by(text));
        for dates in ["1805-12-02", "1769-00-99,\n1821-02-29 ", "１８０５-08-31", "1805-04-00"] {
            assert!(is_met(dates), "{dates}");
        }
        for dates in
            ["1805-04-31", "1805-02-30", "1805-13-01", "1822-01-01", "1805-1-02", "1805-12-02,", "²805-12-02"]
        {
            assert!(!is_met(dates), "{dates}");
        }
    }
}
