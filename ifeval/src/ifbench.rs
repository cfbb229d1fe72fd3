//! IFBench's instructions: each id with its arguments becomes a check of a text, in one file for each group of ids.
//!
//! The verdicts are those of the package `ifbench` 0.2.0 with NLTK 3.10.4, emoji 2.16.0 and syllapy 0.8.0, its faults
//! included. What differs: where the reference draws an argument at random or fails (a missing or negative argument, the
//! 0th word), there is an error instead. Where the check itself fails on a response, the response does not follow: a lone
//! carriage return inside a line of CSV, a field of it with more than 131,072 characters, a blank field in `custom:csv_quotes`.

mod count;
mod csv;
mod custom;
mod first_tag;
mod format;
mod ids;
mod ratio;
mod repeat;
mod sentence;
mod syllables;
mod text;
mod words;

use crate::instructions::{Arguments, InstructionError};
pub use ids::IFBENCH_IDS;
use std::fmt;

/// An instruction with its arguments.
pub(crate) struct Check(Box<dyn Fn(&str) -> bool + Send + Sync>);

impl Check {
    pub(crate) fn new(id: &str, arguments: &mut Arguments<'_>) -> Result<Check, InstructionError> {
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

    fn of(is_met: impl Fn(&str) -> bool + Send + Sync + 'static) -> Check {
        Check(Box::new(is_met))
    }

    /// Whether the text follows the instruction.
    pub(crate) fn is_met_by(&self, text: &str) -> bool {
        (self.0)(text)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Check")
    }
}
