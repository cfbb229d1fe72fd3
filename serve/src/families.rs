//! How families of models write tool calls: one file and one line in [`FAMILIES`] each.
//!
//! The family of a model is found by what its chat template contains, and its calls are read by its function. The tags that
//! this project's own instruction asks for (`<tool_call>` with JSON) are read in the answers of every family.

mod apertus;
mod cohere;
mod cursor;
mod deepseek;
mod deepseek_tags;
mod family;
mod functions;
mod gemma;
mod glm;
mod granite;
mod hermes;
mod invocations;
mod json_calls;
mod kimi;
mod lfm;
mod llama;
mod minicpm;
mod minimax;
mod mistral;
mod nemotron;
mod olmo;
mod phi;
mod python_calls;
mod qwen_coder;
mod tool_calls_tag;

pub(crate) use cursor::Tools;
pub(crate) use family::Family;
pub(crate) use hermes::TAG;

use cursor::{Cursor, Stop};
use family::Reader;

/// The families, each before those whose templates may contain what its own do.
pub(crate) static FAMILIES: [&Family; 19] = [
    &deepseek_tags::FAMILY,
    &deepseek::FAMILY,
    &mistral::FAMILY,
    &gemma::FAMILY,
    &qwen_coder::FAMILY,
    &glm::FAMILY,
    &kimi::FAMILY,
    &lfm::FAMILY,
    &minimax::FAMILY,
    &minicpm::FAMILY,
    &nemotron::FAMILY,
    &cohere::FAMILY,
    &apertus::FAMILY,
    &olmo::FAMILY,
    &phi::FAMILY,
    &granite::FAMILY,
    &tool_calls_tag::FAMILY,
    &llama::FAMILY,
    &hermes::FAMILY,
];

/// The family of the models that have this chat template.
pub(crate) fn of_template(source: &str) -> &'static Family {
    let is_of = |family: &&&Family| family.template_has.iter().any(|text| source.contains(text));
    FAMILIES.iter().find(is_of).copied().unwrap_or(&hermes::FAMILY)
}

/// What a text begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More text is needed.
    Incomplete,
    /// No call: so many bytes are text.
    Text(usize),
    /// Calls, as names and arguments, in so many bytes.
    Calls { calls: Vec<(String, String)>, length: usize },
}

/// Reads what a held text begins with. At the end of an answer, a closing tag may be missing.
pub(crate) fn parse(family: &Family, text: &str, tools: &Tools, has_ended: bool) -> Parsed {
    let start = Cursor { text, position: 0, has_ended };
    // GLM has the same tag for calls of another kind.
    let is_own = !text.starts_with(TAG) || family.markers.contains(&TAG);
    let tagged: Reader = functions::tagged;
    let mut stop = Stop::NoCall;
    for read in [Some(tagged), is_own.then_some(family.read)].into_iter().flatten() {
        let mut cursor = start.clone();
        match read(&mut cursor, tools) {
            Ok(calls) => return Parsed::Calls { calls, length: cursor.position },
            Err(Stop::Incomplete) => stop = Stop::Incomplete,
            Err(Stop::NoCall) => {}
        }
    }
    match stop {
        Stop::Incomplete if !has_ended => Parsed::Incomplete,
        // The marker is text; what follows may still have a call.
        _ => Parsed::Text(text.chars().next().map_or(0, char::len_utf8)),
    }
}

#[cfg(test)]
/// The family of a name.
pub(crate) fn named(name: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.name == name).copied().expect("a family of this name")
}
