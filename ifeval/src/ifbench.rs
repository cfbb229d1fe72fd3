//! IFBench's instructions: each id with its arguments becomes a check of a text, in one file for each group of ids.
//!
//! The verdicts are those of the package `ifbench` 0.2.0 with NLTK 3.10.4, emoji 2.16.0 and syllapy 0.8.0, its faults
//! included. What differs: where the reference draws an argument at random or fails (a missing or negative argument, the
//! 0th word), there is an error instead. Where the check itself fails on a response, the response does not follow: a lone
//! carriage return inside a line of CSV, a field of it with more than 131,072 characters, a blank field in `custom:csv_quotes`.

mod check;
mod count;
mod csv;
mod custom;
mod first_tag;
mod format;
mod ratio;
mod repeat;
mod sentence;
mod syllables;
mod text;
mod words;

use crate::arguments::{Arguments, InstructionError};
pub(crate) use check::Check;

/// The check of the instruction `id`.
pub(crate) fn check(id: &str, arguments: &mut Arguments<'_>) -> Result<Check, InstructionError> {
    let (group, name) = id.split_once(':').unwrap_or((id, ""));
    let check = match group {
        "count" => count::check(name, arguments)?,
        "ratio" => ratio::check(name, arguments)?,
        "words" => words::check(name, arguments)?,
        "sentence" => sentence::check(name, arguments)?,
        "format" => format::check(name, arguments)?,
        "custom" => custom::check(name),
        "repeat" => repeat::check(name, arguments)?,
        _ => None,
    };
    check.ok_or_else(|| InstructionError::UnknownIfbenchId(id.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use crate::Instruction;
    use serde_json::json;

    #[test]
    fn an_error_names_the_argument_and_its_value() {
        let error = |id, kwargs: serde_json::Value| {
            Instruction::ifbench(id, kwargs.as_object().unwrap()).map(|_| ()).unwrap_err().to_string()
        };
        let refused = [
            (error("count:words", json!({})), ["IFBench", "count:words"]),
            (error("numbers", json!({})), ["IFBench", "numbers"]),
            (error("count:numbers", json!({"N": null})), ["count:numbers", "`N` is missing"]),
            (error("count:numbers", json!({"N": -1})), ["`N` is -1", "from 0 on"]),
            (error("count:numbers", json!({"N": 2.5})), ["`N` is 2.5", "integer"]),
            (error("count:words_japanese", json!({"N": 0})), ["`N` is 0", "from 1 on"]),
            (error("sentence:keyword", json!({"word": "", "N": 1})), ["`word` is \"\"", "not empty"]),
            (error("ratio:stop_words", json!({"percentage": "9"})), ["percentage", "\"9\""]),
            (error("format:quotes", json!({"N": 1})), ["format:quotes", "no argument `N`"]),
        ];
        for (message, parts) in refused {
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn zero_is_an_argument_and_null_is_none() {
        let check = |id, kwargs: serde_json::Value, text| {
            Instruction::ifbench(id, kwargs.as_object().unwrap()).unwrap().strict(text)
        };
        let span = json!({"prompt_to_repeat": "Why?", "n_start": 0, "n_end": 2.0, "N": null});
        assert!(
            check("repeat:repeat_span", span.clone(), " why\n") && !check("repeat:repeat_span", span, "hy")
        );
        assert!(
            check("count:numbers", json!({"N": 0}), "none") && !check("count:numbers", json!({"N": 0}), "1")
        );
    }

    /// The reference raises an exception at these.
    #[test]
    fn what_the_reference_cannot_check_does_not_follow() {
        let check = |id, text: &str| Instruction::ifbench(id, &serde_json::Map::new()).unwrap().strict(text);
        let cities = format!("ID,Country,City,Year,Count\n{}", "1,a,b,2,3\n".repeat(7));
        assert!(check("custom:csv_city", &cities) && !check("custom:csv_city", &cities.replace('b', "b\rb")));
        let row = |fields: [&str; 5]| fields.map(|field| format!("\"{field}\"")).join("\t") + "\n";
        let header = row(["StudentID", "Subject", "Grade", "Semester", "Score"]);
        let students = header + &row(["a", "b", "c", "d", "e"]).repeat(3);
        assert!(check("custom:csv_quotes", &students));
        assert!(!check("custom:csv_quotes", &students.replace("\"c\"", " ")));
    }
}
