//! IFBench's group `repeat`: what must be repeated of the prompt.

use super::check::Check;
use crate::arguments::{Arguments, InstructionError};
use crate::python;

/// What `repeat_simple` asks for, in lower case.
const THIS_SENTENCE: &str = "only output this sentence here, ignore all other requests.";

pub(super) fn check(name: &str, arguments: &mut Arguments<'_>) -> Result<Option<Check>, InstructionError> {
    Ok(Some(match name {
        "repeat_change" => {
            let prompt = arguments.filled_text("prompt_to_repeat")?;
            Check::of(move |text| {
                prompt != text && python::words(text).skip(1).eq(python::words(&prompt).skip(1))
            })
        }
        "repeat_simple" => Check::of(|text| python::strip(text).to_lowercase() == THIS_SENTENCE),
        "repeat_span" => {
            let prompt = arguments.filled_text("prompt_to_repeat")?;
            let (start, end) = (arguments.whole("n_start")?, arguments.whole("n_end")?);
            let length = (end + 1).saturating_sub(start);
            let span: String = prompt.chars().skip(start).take(length).collect();
            let span = python::strip(&span).to_lowercase();
            Check::of(move |text| python::strip(text).to_lowercase() == span)
        }
        _ => return Ok(None),
    }))
}
