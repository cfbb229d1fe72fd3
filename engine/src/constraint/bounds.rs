//! How large a constraint may be. The bounds are far above what applications send; beyond them compiling takes minutes, or
//! recursion deeper than any stack.

use crate::request::{Constraint, RequestError};
use serde_json::Value;

/// Maximum bytes of a JSON schema, as JSON text, and of a grammar. A grammar of tools contains their schemas.
const MAX_BYTES: usize = 512 << 10;
/// Maximum number of rules and terminals of a grammar, and of references in a schema: each may be one level of recursion.
const MAX_RULES: usize = 4096;
/// Maximum bytes of a regular expression.
const MAX_REGEX_BYTES: usize = 16 << 10;
/// Maximum number of strings of a choice, and of their bytes together.
const MAX_CHOICES: usize = 4096;
const MAX_CHOICE_BYTES: usize = 256 << 10;
/// Maximum depth of brackets in a grammar or a regular expression, and of values in a schema.
const MAX_DEPTH: usize = 128;

/// Refuses a constraint that is larger than the compiler can handle.
pub(super) fn check(constraint: &Constraint) -> Result<(), RequestError> {
    match constraint {
        Constraint::JsonSchema(schema) => {
            let size = Size::of(schema);
            within("depth of the schema", size.depth, MAX_DEPTH)?;
            within("number of references in the schema", size.references, MAX_RULES)?;
            within("size of the schema in bytes", schema.to_string().len(), MAX_BYTES)
        }
        Constraint::Regex(pattern) => {
            within("size of the regular expression in bytes", pattern.len(), MAX_REGEX_BYTES)?;
            within("depth of brackets in the regular expression", depth(pattern), MAX_DEPTH)
        }
        Constraint::Choice(choices) => {
            within("number of choices", choices.len(), MAX_CHOICES)?;
            within("size of the choices in bytes", choices.iter().map(String::len).sum(), MAX_CHOICE_BYTES)
        }
        Constraint::Lark(source) => {
            within("size of the grammar in bytes", source.len(), MAX_BYTES)?;
            within("number of rules of the grammar", rules(source), MAX_RULES)?;
            within("depth of brackets in the grammar", depth(source), 2 * MAX_DEPTH)
        }
    }
}

fn within(what: &str, value: usize, most: usize) -> Result<(), RequestError> {
    if value <= most {
        return Ok(());
    }
    Err(RequestError::Constraint(format!("the {what} is {value}; expected at most {most}")))
}

/// What of a schema may become recursion.
struct Size {
    depth: usize,
    references: usize,
}

impl Size {
    fn of(schema: &Value) -> Self {
        let (mut size, mut rest) = (Self { depth: 0, references: 0 }, vec![(schema, 1)]);
        while let Some((value, depth)) = rest.pop() {
            size.depth = size.depth.max(depth);
            match value {
                Value::Object(fields) => {
                    size.references += usize::from(fields.contains_key("$ref"));
                    rest.extend(fields.values().map(|value| (value, depth + 1)));
                }
                Value::Array(items) => rest.extend(items.iter().map(|value| (value, depth + 1))),
                _ => {}
            }
        }
        size
    }
}

/// The lines that define a rule or a terminal: a name, and what may stand before its colon.
fn rules(source: &str) -> usize {
    source.lines().filter(|line| line.contains(':')).count()
}

/// An upper bound of the nesting: brackets within strings count, too.
fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}
