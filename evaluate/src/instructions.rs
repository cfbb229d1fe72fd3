//! IFEval's verifiable instructions: an id with its arguments becomes an `Instruction`, and that judges responses,
//! strictly as they stand or loosely after taking away what models like to put around an answer.
//!
//! The verdicts are those of lm-evaluation-harness's `tasks/ifeval` (0.4.13), which are Google's; its arguments, too.
//! Where the reference draws a missing argument at random, there is an error instead, and a "letter" that is none (two
//! of IFEval's prompts ask for `#` and `!`) is counted as it is, where the reference counts a random letter.

mod arguments;
mod check;

use crate::python;
use arguments::Arguments;
pub use arguments::InstructionError;
use check::Check;
use serde_json::{Map, Value};

/// All 25 ids.
pub const INSTRUCTION_IDS: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
];

/// One verifiable instruction with its arguments.
#[derive(Debug)]
pub struct Instruction {
    id: String,
    check: Check,
}

impl Instruction {
    /// The instruction `id` (such as "length_constraints:number_words") with IFEval's arguments `kwargs`; null, zero
    /// and empty ones count as absent. An error names the id or the argument that is missing or wrong.
    pub fn new(id: &str, kwargs: &Map<String, Value>) -> Result<Instruction, InstructionError> {
        let mut arguments = Arguments::new(id, kwargs);
        let check = Check::new(id, &mut arguments)?;
        arguments.finish()?;
        Ok(Instruction { id: id.to_owned(), check })
    }

    /// IFEval's name of the instruction.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The verdict on the response as it stands. A blank response follows nothing.
    pub fn strict(&self, response: &str) -> bool {
        !python::strip(response).is_empty() && self.check.holds(response)
    }

    /// Whether any of the response's eight loosened forms passes: with or without its first line, its last line and
    /// its asterisks.
    pub fn loose(&self, response: &str) -> bool {
        loosened(response).iter().any(|form| self.strict(form))
    }
}

/// What became of each instruction of a prompt, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// On the response as it stands.
    pub strict: Vec<bool>,
    /// On its loosened forms.
    pub loose: Vec<bool>,
}

/// Judges one response by all instructions of its prompt.
pub fn follows(instructions: &[Instruction], response: &str) -> Verdict {
    Verdict {
        strict: instructions.iter().map(|instruction| instruction.strict(response)).collect(),
        loose: instructions.iter().map(|instruction| instruction.loose(response)).collect(),
    }
}

fn loosened(response: &str) -> Vec<String> {
    let rest = response.split_once('\n').map_or("", |(_, rest)| rest);
    let without_last = |text: &str| text.rsplit_once('\n').map_or("", |(start, _)| start).to_owned();
    let cut = [rest.to_owned(), without_last(response), without_last(rest)];
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
    fn loosened_forms_are_the_references() {
        let forms = loosened("Sure:\n*a*\n\nBye");
        assert_eq!(forms[..4], ["Sure:\n*a*\n\nBye", "*a*\n\nBye", "Sure:\n*a*", "*a*"]);
        assert_eq!(forms[4..], ["Sure:\na\n\nBye", "a\n\nBye", "Sure:\na", "a"]);
        assert_eq!(loosened("one*"), ["one*", "", "", "", "one", "", "", ""]);
    }

    #[test]
    fn an_introduction_is_forgiven_loosely_only() {
        let quoted = instruction("startend:quotation", &json!({}));
        assert!(quoted.strict("\"all of it\"") && !quoted.strict("Here:\n\"all of it\""));
        assert!(quoted.loose("Here:\n\"all of it\"") && !quoted.loose("Here: \"all of it\""));
    }

    #[test]
    fn a_blank_response_follows_nothing() {
        let comma = instruction("punctuation:no_comma", &json!({}));
        let verdict = follows(&[comma], " \n ");
        assert_eq!(verdict, Verdict { strict: vec![false], loose: vec![false] });
    }

    #[test]
    fn arguments_that_are_absent_null_or_of_others_are_told_apart() {
        let error = |id, kwargs: Value| {
            Instruction::new(id, kwargs.as_object().unwrap()).map(|_| ()).unwrap_err().to_string()
        };
        let words = "length_constraints:number_words";
        let named =
            |text: String, parts: &[&str]| assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        named(error("length_constraints:words", json!({})), &["length_constraints:words"]);
        named(error(words, json!({"num_words": 100})), &[words, "relation"]);
        named(error(words, json!({"num_words": null, "relation": "at least"})), &["num_words"]);
        named(error(words, json!({"num_words": 0, "relation": "at least"})), &["num_words"]);
        named(error(words, json!({"num_words": "many", "relation": "at least"})), &["num_words", "many"]);
        named(error(words, json!({"num_words": 2.5, "relation": "at least"})), &["num_words", "2.5"]);
        named(error(words, json!({"num_words": 9, "relation": "at most"})), &["relation", "at most"]);
        named(error(words, json!({"num_words": 9, "relation": "at least", "letter": "a"})), &["letter"]);
        named(error("keywords:existence", json!({"keywords": ["a(b"]})), &["keywords", "a(b"]);
        named(error("keywords:letter_frequency", json!({"letter": "ab"})), &["letter", "ab"]);
        named(error("language:response_language", json!({"language": "zh"})), &["language", "zh"]);
        let unused = json!({"num_words": 9.0, "relation": "less than", "letter": null, "keywords": []});
        assert!(instruction(words, &unused).strict("eight is one"));
    }
}
