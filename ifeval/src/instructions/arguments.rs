//! IFEval's `kwargs`, read one by one. An argument that is missing, unusable or not read at all is an error that names
//! it.

use super::ids::INSTRUCTION_IDS;
use serde_json::{Map, Value};

/// Why an id and its arguments are not an instruction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InstructionError {
    /// None of IFEval's 25 ids.
    #[error("IFEval has no instruction `{0}`; give one of {ids}", ids = INSTRUCTION_IDS.join(", "))]
    UnknownId(String),
    /// A required argument is absent; the reference would draw it at random.
    #[error("`{id}`: the argument `{argument}` is missing, null, zero or empty; give {expected}")]
    Missing {
        /// The instruction.
        id: String,
        /// Its argument.
        argument: &'static str,
        /// What the argument must be.
        expected: String,
    },
    /// A value that the argument cannot have.
    #[error("`{id}`: the argument `{argument}` is {value}; give {expected}")]
    Wrong {
        /// The instruction.
        id: String,
        /// Its argument.
        argument: &'static str,
        /// The value that was given, in JSON.
        value: String,
        /// What the argument must be.
        expected: String,
    },
    /// An argument that the instruction does not have.
    #[error("`{id}` has no argument `{argument}`; remove it or set it to null")]
    Unexpected {
        /// The instruction.
        id: String,
        /// The argument.
        argument: String,
    },
}

/// How a count is compared with the argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Relation {
    LessThan,
    AtLeast,
}

/// The arguments of an instruction, and which of them were read.
pub(super) struct Arguments<'a> {
    id: &'a str,
    values: Vec<(&'a str, &'a Value)>,
    names_read: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    /// The arguments without those whose value is false in Python, as in the reference.
    pub(super) fn new(id: &'a str, kwargs: &'a Map<String, Value>) -> Arguments<'a> {
        let is_truthy = |value: &Value| match value {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
        };
        let values = kwargs.iter().filter(|(_, value)| is_truthy(value));
        let values = values.map(|(name, value)| (name.as_str(), value)).collect();
        Arguments { id, values, names_read: Vec::new() }
    }

    /// An integer of at least 1.
    pub(super) fn count(&mut self, argument: &'static str) -> Result<usize, InstructionError> {
        self.read(argument, "an integer from 1 on", positive_integer)
    }

    /// An integer from 1 to `maximum`.
    pub(super) fn count_up_to(
        &mut self,
        argument: &'static str,
        maximum: usize,
    ) -> Result<usize, InstructionError> {
        let expected = format!("an integer from 1 to {maximum}");
        self.read(argument, &expected, |value| positive_integer(value).filter(|count| *count <= maximum))
    }

    /// A string that is not empty.
    pub(super) fn text(&mut self, argument: &'static str) -> Result<String, InstructionError> {
        self.read(argument, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string that `parse` accepts.
    pub(super) fn parse<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, InstructionError> {
        self.read(argument, expected, |value| parse(value.as_str()?))
    }

    /// A list of strings that `parse` accepts.
    pub(super) fn parse_list<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, InstructionError> {
        self.read(argument, expected, |value| {
            value.as_array()?.iter().map(|item| parse(item.as_str()?)).collect()
        })
    }

    /// "less than" or "at least".
    pub(super) fn relation(&mut self, argument: &'static str) -> Result<Relation, InstructionError> {
        self.parse(argument, "\"less than\" or \"at least\"", |text| match text {
            "less than" => Some(Relation::LessThan),
            "at least" => Some(Relation::AtLeast),
            _ => None,
        })
    }

    /// An error if there is an argument that was not read.
    pub(super) fn refuse_unused(self) -> Result<(), InstructionError> {
        match self.values.iter().find(|(name, _)| !self.names_read.contains(name)) {
            Some((name, _)) => {
                Err(InstructionError::Unexpected { id: self.id.to_owned(), argument: (*name).to_owned() })
            }
            None => Ok(()),
        }
    }

    fn read<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, InstructionError> {
        self.names_read.push(argument);
        let (id, expected) = (self.id.to_owned(), expected.to_owned());
        let Some((_, value)) = self.values.iter().find(|(name, _)| *name == argument) else {
            return Err(InstructionError::Missing { id, argument, expected });
        };
        parse(value).ok_or_else(|| InstructionError::Wrong {
            id,
            argument,
            value: value.to_string(),
            expected,
        })
    }
}

/// `100`, or `100.0`: tables with missing values store integers as floats.
fn positive_integer(value: &Value) -> Option<usize> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..1e15).contains(number))?;
    Some(number as usize)
}
