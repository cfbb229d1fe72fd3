//! IFEval's and IFBench's `kwargs`, read one by one. An argument that is missing, unusable or not read at all is an error
//! that names it.

use crate::ids::{IFBENCH_IDS, INSTRUCTION_IDS};
use serde_json::{Map, Value};

/// Why an id and its arguments are not an instruction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InstructionError {
    /// None of IFEval's 25 ids.
    #[error("IFEval has no instruction `{0}`; give one of {ids}", ids = INSTRUCTION_IDS.join(", "))]
    UnknownId(String),
    /// None of IFBench's 58 ids.
    #[error("IFBench has no instruction `{0}`; give one of {ids}", ids = IFBENCH_IDS.join(", "))]
    UnknownIfbenchId(String),
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
pub(crate) enum Relation {
    LessThan,
    AtLeast,
}

/// The arguments of an instruction, and which of them were read.
pub(crate) struct Arguments<'a> {
    id: &'a str,
    values: Vec<(&'a str, &'a Value)>,
    names_read: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    /// The arguments without those whose value is false in Python, as in the reference.
    pub(crate) fn new(id: &'a str, kwargs: &'a Map<String, Value>) -> Arguments<'a> {
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

    /// The arguments without those that are null, as in IFBench's reference.
    pub(crate) fn without_null(id: &'a str, kwargs: &'a Map<String, Value>) -> Arguments<'a> {
        let values = kwargs.iter().filter(|(_, value)| !value.is_null());
        let values = values.map(|(name, value)| (name.as_str(), value)).collect();
        Arguments { id, values, names_read: Vec::new() }
    }

    /// An integer of at least 0.
    pub(crate) fn whole(&mut self, argument: &'static str) -> Result<usize, InstructionError> {
        self.read(argument, "an integer from 0 on", whole_number)
    }

    /// A finite number of at least 0.
    pub(crate) fn number(&mut self, argument: &'static str) -> Result<f64, InstructionError> {
        let number = |value: &Value| value.as_f64().filter(|number| *number >= 0.0);
        self.read(argument, "a number from 0 on", number)
    }

    /// A string with a character.
    pub(crate) fn filled_text(&mut self, argument: &'static str) -> Result<String, InstructionError> {
        self.parse(argument, "a string that is not empty", |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// An integer of at least 1.
    pub(crate) fn count(&mut self, argument: &'static str) -> Result<usize, InstructionError> {
        self.read(argument, "an integer from 1 on", positive_integer)
    }

    /// An integer from 1 to `maximum`.
    pub(crate) fn count_up_to(
        &mut self,
        argument: &'static str,
        maximum: usize,
    ) -> Result<usize, InstructionError> {
        let expected = format!("an integer from 1 to {maximum}");
        self.read(argument, &expected, |value| positive_integer(value).filter(|count| *count <= maximum))
    }

    /// A string that is not empty.
    pub(crate) fn text(&mut self, argument: &'static str) -> Result<String, InstructionError> {
        self.read(argument, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string that `parse` accepts.
    pub(crate) fn parse<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, InstructionError> {
        self.read(argument, expected, |value| parse(value.as_str()?))
    }

    /// A list of strings that `parse` accepts.
    pub(crate) fn parse_list<T>(
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
    pub(crate) fn relation(&mut self, argument: &'static str) -> Result<Relation, InstructionError> {
        self.parse(argument, "\"less than\" or \"at least\"", |text| match text {
            "less than" => Some(Relation::LessThan),
            "at least" => Some(Relation::AtLeast),
            _ => None,
        })
    }

    /// An error if there is an argument that was not read.
    pub(crate) fn refuse_unused(self) -> Result<(), InstructionError> {
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

fn positive_integer(value: &Value) -> Option<usize> {
    whole_number(value).filter(|number| *number > 0)
}

/// `100`, or `100.0`: tables with missing values store integers as floats.
fn whole_number(value: &Value) -> Option<usize> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
    Some(number as usize)
}
