//! Verifiable instructions of IFEval and IFBench: an id with its arguments becomes an [`Instruction`], which checks
//! responses either strictly, as they are, or loosely, without what models like to put around an answer.
//!
//! Of IFEval, the verdicts and the arguments are those of lm-evaluation-harness's `tasks/ifeval` (0.4.13), which are Google's. Two
//! things differ. Where the reference draws a missing argument at random, there is an error instead. A "letter" that is
//! not a letter (two of IFEval's prompts ask for `#` and `!`) is counted as it is, where the reference counts a random
//! letter. Of IFBench, they are its own package's; [`crate::ifbench`] says what differs.

mod check;
mod text;

use crate::arguments::{Arguments, InstructionError};
use crate::{ifbench, python};
use check::Check;
use serde_json::{Map, Value};

/// One verifiable instruction with its arguments.
#[derive(Debug)]
pub struct Instruction {
    id: String,
    check: AnyCheck,
}

#[derive(Debug)]
enum AnyCheck {
    Ifeval(Check),
    Ifbench(ifbench::Check),
}

impl Instruction {
    /// The instruction `id` (such as "length_constraints:number_words") with IFEval's arguments `kwargs`. Arguments
    /// that are null, zero or empty count as absent.
    ///
    /// # Errors
    /// Names the id if it is unknown, or the argument that is missing, unusable or not one of the instruction's.
    pub fn new(id: &str, kwargs: &Map<String, Value>) -> Result<Instruction, InstructionError> {
        let mut arguments = Arguments::new(id, kwargs);
        let check = Check::new(id, &mut arguments)?;
        arguments.refuse_unused()?;
        Ok(Instruction { id: id.to_owned(), check: AnyCheck::Ifeval(check) })
    }

    /// IFBench's instruction `id` (such as "count:unique_word_count") with its arguments `kwargs`. Arguments that are null
    /// count as absent. It is a function of its own because IFBench asks for what a model was not trained on: what
    /// [`Instruction::new`] knows is also asked for in training data.
    ///
    /// # Errors
    /// Names the id if it is unknown, or the argument that is missing, unusable or not one of the instruction's.
    pub fn ifbench(id: &str, kwargs: &Map<String, Value>) -> Result<Instruction, InstructionError> {
        let mut arguments = Arguments::without_null(id, kwargs);
        let check = ifbench::check(id, &mut arguments)?;
        arguments.refuse_unused()?;
        Ok(Instruction { id: id.to_owned(), check: AnyCheck::Ifbench(check) })
    }

    /// Whether checking takes bounded time, whatever the response is: every pattern is short, with few repeats. Those of
    /// IFEval are short words; a stranger's pattern can be made to take hours.
    pub fn is_linear(kwargs: &Map<String, Value>) -> bool {
        let texts = kwargs.values().flat_map(|value| match value {
            Value::String(text) => vec![text.as_str()],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        });
        texts.into_iter().all(python::is_linear)
    }

    /// IFEval's or IFBench's name of the instruction.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the response, as it is, follows the instruction. A blank response follows none.
    pub fn strict(&self, response: &str) -> bool {
        !python::strip(response).is_empty()
            && match &self.check {
                AnyCheck::Ifeval(check) => check.is_met_by(response),
                AnyCheck::Ifbench(check) => check.is_met_by(response),
            }
    }

    /// Whether any of the response's eight loosened forms follows the instruction: with or without its first line, its
    /// last line and its asterisks.
    pub fn loose(&self, response: &str) -> bool {
        let forms = loosened_forms(response);
        // Without asterisks, half of the forms are equal to earlier ones.
        (0..forms.len()).any(|at| !forms[..at].contains(&forms[at]) && self.strict(&forms[at]))
    }
}

/// The response itself, without its first line, without its last one, without both; then the same without asterisks.
fn loosened_forms(response: &str) -> Vec<String> {
    let without_first = response.split_once('\n').map_or("", |(_, rest)| rest);
    let without_last = |text: &str| text.rsplit_once('\n').map_or("", |(start, _)| start).to_owned();
    let cut = [without_first.to_owned(), without_last(response), without_last(without_first)];
    let mut forms = vec![response.to_owned()];
    forms.extend(cut.iter().map(|form| python::strip(form).to_owned()));
    let plain: Vec<String> = forms.iter().map(|form| form.replace('*', "")).collect();
    forms.extend(plain);
    forms
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    fn instruction(id: &str, kwargs: &Value) -> Instruction {
        Instruction::new(id, kwargs.as_object().unwrap()).unwrap()
    }

    #[test]
    fn loosened_forms_are_those_of_the_reference() {
        let forms = loosened_forms("Sure:\n*a*\n\nBye");
        assert_eq!(forms[..4], ["Sure:\n*a*\n\nBye", "*a*\n\nBye", "Sure:\n*a*", "*a*"]);
        assert_eq!(forms[4..], ["Sure:\na\n\nBye", "a\n\nBye", "Sure:\na", "a"]);
        assert_eq!(loosened_forms("one*"), ["one*", "", "", "", "one", "", "", ""]);
    }

    #[test]
    fn only_the_loose_check_forgives_an_introduction() {
        let quotation = instruction("startend:quotation", &json!({}));
        assert!(quotation.strict("\"all of it\"") && !quotation.strict("Here:\n\"all of it\""));
        assert!(quotation.loose("Here:\n\"all of it\"") && !quotation.loose("Here: \"all of it\""));
    }

    #[test]
    fn patterns_that_backtrack_or_multiply_are_not_linear() {
        let is_linear =
            |pattern: &str| Instruction::is_linear(json!({"keywords": [pattern]}).as_object().unwrap());
        for plain in ["word", "two words", "c++", "a(b", "50%", "[a-z]+ing", "\\bword\\b", "P.S."] {
            assert!(is_linear(plain), "{plain}");
        }
        for costly in [
            "(?=(a+))\\1*b",
            "(?<=a{1,200})(a+)+b",
            "(a)\\1",
            "(?>a+)b",
            "a{1000}{1000}",
            "(x{100}){100}",
            "((a*)*)*b",
        ] {
            assert!(!is_linear(costly), "{costly}");
        }
        assert!(!is_linear(&"a?".repeat(300)));
    }

    #[test]
    fn a_blank_response_follows_nothing() {
        let no_comma = instruction("punctuation:no_comma", &json!({}));
        assert!(!no_comma.strict(" \n ") && !no_comma.loose(" \n "));
    }

    #[test]
    fn an_error_names_the_argument_and_its_value() {
        let error = |id, kwargs: Value| {
            Instruction::new(id, kwargs.as_object().unwrap()).map(|_| ()).unwrap_err().to_string()
        };
        let words = "length_constraints:number_words";
        let assert_names =
            |text: String, parts: &[&str]| assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_names(error("length_constraints:words", json!({})), &["length_constraints:words"]);
        assert_names(error(words, json!({"num_words": 100})), &[words, "relation"]);
        assert_names(error(words, json!({"num_words": null, "relation": "at least"})), &["num_words"]);
        assert_names(error(words, json!({"num_words": 0, "relation": "at least"})), &["num_words"]);
        let many = json!({"num_words": "many", "relation": "at least"});
        assert_names(error(words, many), &["num_words", "many"]);
        assert_names(error(words, json!({"num_words": 2.5, "relation": "at least"})), &["num_words", "2.5"]);
        assert_names(error(words, json!({"num_words": 9, "relation": "at most"})), &["relation", "at most"]);
        let letter = json!({"num_words": 9, "relation": "at least", "letter": "a"});
        assert_names(error(words, letter), &["letter"]);
        assert_names(error("keywords:existence", json!({"keywords": ["a(b"]})), &["keywords", "a(b"]);
        assert_names(error("keywords:letter_frequency", json!({"letter": "ab"})), &["letter", "ab"]);
        assert_names(error("language:response_language", json!({"language": "zh"})), &["language", "zh"]);
        let absent = json!({"num_words": 9.0, "relation": "less than", "letter": null, "keywords": []});
        assert!(instruction(words, &absent).strict("eight is one"));
    }
}
