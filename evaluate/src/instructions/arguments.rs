//! IFEval's `kwargs`, read one by one; whatever is missing, wrong or left over is an error that names it.

use serde_json::{Map, Value};

/// Why an id and its arguments are no instruction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InstructionError {
    /// None of IFEval's 25 ids.
    #[error("{0:?} is no instruction of IFEval; see evaluate::INSTRUCTION_IDS")]
    UnknownId(String),
    /// The reference would draw such an argument at random.
    #[error("{id}: the argument {argument} is missing, null, zero or empty; give {expected}")]
    Missing {
        /// The instruction.
        id: String,
        /// Which of its arguments.
        argument: &'static str,
        /// What it takes.
        expected: String,
    },
    /// An argument that cannot be judged by.
    #[error("{id}: the argument {argument} is {value}; give {expected}")]
    Wrong {
        /// The instruction.
        id: String,
        /// Which of its arguments.
        argument: &'static str,
        /// As given, in JSON.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// An argument of another instruction.
    #[error("{id} takes no argument {argument}; leave it out or null")]
    Unexpected {
        /// The instruction.
        id: String,
        /// What was given too much.
        argument: String,
    },
}

/// How a count is compared with what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Relation {
    LessThan,
    AtLeast,
}

/// The arguments given, and which of them were asked for.
pub(super) struct Arguments<'a> {
    id: &'a str,
    given: Vec<(&'a str, &'a Value)>,
    used: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    /// Leaves out what Python holds for false, as the reference does.
    pub(super) fn new(id: &'a str, kwargs: &'a Map<String, Value>) -> Arguments<'a> {
        let is_true = |value: &Value| match value {
            Value::Null => false,
            Value::Bool(is) => *is,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
        };
        let given = kwargs.iter().filter(|(_, value)| is_true(value));
        Arguments { id, given: given.map(|(name, value)| (name.as_str(), value)).collect(), used: Vec::new() }
    }

    /// A whole number of at least one.
    pub(super) fn count(&mut self, argument: &'static str) -> Result<usize, InstructionError> {
        self.read(argument, "a whole number, 1 or more", whole)
    }

    /// The same, at most `most`.
    pub(super) fn count_up_to(
        &mut self,
        argument: &'static str,
        most: usize,
    ) -> Result<usize, InstructionError> {
        let expected = format!("a whole number from 1 to {most}");
        self.read(argument, &expected, |value| whole(value).filter(|count| *count <= most))
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, argument: &'static str) -> Result<String, InstructionError> {
        self.read(argument, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// What `read` makes of a text, or an error that says what was `expected`.
    pub(super) fn made<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, InstructionError> {
        self.read(argument, expected, |value| read(value.as_str()?))
    }

    /// What `read` makes of each text of a list.
    pub(super) fn each<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, InstructionError> {
        self.read(argument, expected, |value| {
            value.as_array()?.iter().map(|item| read(item.as_str()?)).collect()
        })
    }

    /// "less than" or "at least".
    pub(super) fn relation(&mut self, argument: &'static str) -> Result<Relation, InstructionError> {
        self.made(argument, "\"less than\" or \"at least\"", |text| match text {
            "less than" => Some(Relation::LessThan),
            "at least" => Some(Relation::AtLeast),
            _ => None,
        })
    }

    /// An error where an argument was given that nothing asked for.
    pub(super) fn finish(self) -> Result<(), InstructionError> {
        match self.given.iter().find(|(name, _)| !self.used.contains(name)) {
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
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, InstructionError> {
        self.used.push(argument);
        let (id, expected) = (self.id.to_owned(), expected.to_owned());
        let Some((_, value)) = self.given.iter().find(|(name, _)| *name == argument) else {
            return Err(InstructionError::Missing { id, argument, expected });
        };
        read(value).ok_or_else(|| InstructionError::Wrong {
            id,
            argument,
            value: value.to_string(),
            expected,
        })
    }
}

/// `100` and `100.0`: tables with missing numbers keep all of them as floats.
fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..1e15).contains(number))?;
    Some(number as usize)
}
