//! Tools in a request: which there are, whether one must be called, and how calls are found in the answer.
//!
//! [`ToolPlan::new`] is the one edge: it names what is wrong with `tools` and `tool_choice`. Where a call must be
//! made, a grammar leaves the model no other way; where it may, the answer is read as it comes. A tool that is `strict`
//! brings a grammar, too: what is said is free, and its calls fit its schema.

mod calls;
mod grammar;
mod json;
mod reader;

pub(crate) use reader::{CallReader, Piece};

use crate::error::ApiError;
use crate::valid::{Fields, wrong};
use engine::Constraint;
use grammar::{Instead, Shape};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Whether tools are to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// No tool may be called.
    None,
    /// The model decides.
    Auto,
    /// At least one tool must be called.
    Required,
    /// This tool must be called.
    Named(String),
}

/// The most tools of one request, as OpenAI has it.
const MOST_TOOLS: usize = 128;

/// What a request's tools ask for.
#[derive(Debug, Clone)]
pub(crate) struct ToolPlan {
    tools: Value,
    shapes: Vec<Shape>,
    choice: ToolChoice,
    parallel: bool,
}

impl ToolPlan {
    /// `None` when the request has no tools or `tool_choice` is none. Every fault names its parameter
    /// (`tools[1].function.name`).
    pub(crate) fn new(
        tools: Option<&Value>,
        choice: Option<&Value>,
        parallel: bool,
        lenient: bool,
    ) -> Result<Option<Self>, ApiError> {
        let list = match tools.filter(|tools| !tools.is_null()) {
            None => &Vec::new(),
            Some(Value::Array(list)) if list.len() <= MOST_TOOLS => list,
            Some(Value::Array(list)) => {
                let message = format!("tools holds {} tools; expected at most {MOST_TOOLS}", list.len());
                return Err(ApiError::invalid("tools", message));
            }
            Some(other) => return Err(wrong("tools", other, "an array of tools")),
        };
        let (mut shapes, mut names) = (Vec::with_capacity(list.len()), HashSet::new());
        for (index, tool) in list.iter().enumerate() {
            let shape = checked_tool(tool, index, lenient)?;
            if !names.insert(shape.name.clone()) {
                let message = format!("two tools are named {}; each needs its own name", shape.name);
                return Err(ApiError::invalid(format!("tools[{index}].function.name"), message));
            }
            shapes.push(shape);
        }
        let choice = ToolChoice::new(choice, &names)?;
        if shapes.is_empty() || choice == ToolChoice::None {
            return Ok(None);
        }
        let plan = Self { tools: list.clone().into(), shapes, choice, parallel };
        plan.check_schemas()?;
        Ok(Some(plan))
    }

    /// The tools as the template is given them (OpenAI's array).
    pub(crate) fn tools(&self) -> &Value {
        &self.tools
    }

    /// Whether a call must be made.
    pub(crate) fn is_forced(&self) -> bool {
        self.choice != ToolChoice::Auto
    }

    /// What the answer is held to: calls where one must be made; else calls or JSON of the schema, if there is one;
    /// else, where a tool is strict, anything but calls that do not fit. `None` leaves the answer free.
    pub(crate) fn constraint(&self, schema: Option<&Map<String, Value>>) -> Option<Constraint> {
        let instead = match schema {
            _ if self.is_forced() => Instead::Nothing,
            Some(schema) => Instead::Json(schema),
            None if self.shapes.iter().any(|shape| shape.strict) => Instead::Text,
            None => return None,
        };
        let callable = |shape: &&Shape| match &self.choice {
            ToolChoice::Named(name) => shape.name == *name,
            _ => true,
        };
        let shapes: Vec<(&Shape, bool)> =
            self.shapes.iter().filter(callable).map(|shape| (shape, self.holds(shape))).collect();
        // A named choice asks for that one call.
        let several = self.parallel && !matches!(self.choice, ToolChoice::Named(_));
        Some(Constraint::Lark(grammar::calls(&shapes, several, instead)))
    }

    /// Finds the calls in one answer.
    pub(crate) fn reader(&self) -> CallReader {
        let names = self.shapes.iter().map(|shape| shape.name.clone());
        CallReader::new(names, if self.parallel { usize::MAX } else { 1 })
    }

    /// Whether a call's arguments are held to the tool's schema.
    fn holds(&self, shape: &Shape) -> bool {
        match &self.choice {
            ToolChoice::None => false,
            ToolChoice::Auto => shape.strict,
            ToolChoice::Required => true,
            ToolChoice::Named(name) => shape.name == *name,
        }
    }

    /// Refuses arguments that the grammar could not hold to their schema.
    fn check_schemas(&self) -> Result<(), ApiError> {
        for (index, shape) in self.shapes.iter().enumerate().filter(|(_, shape)| self.holds(shape)) {
            let Some(parameters) = &shape.parameters else { continue };
            let parameter = || format!("tools[{index}].function.parameters");
            if parameters.get("type").is_some_and(|kind| kind != "object") {
                return Err(ApiError::invalid(
                    parameter(),
                    "arguments are an object: the schema's type must be \"object\"",
                ));
            }
            engine::enforceable(&Value::Object(parameters.clone()))
                .map_err(|refused| ApiError { param: Some(parameter()), ..ApiError::from(refused) })?;
        }
        Ok(())
    }
}

impl ToolChoice {
    fn new(choice: Option<&Value>, names: &HashSet<String>) -> Result<Self, ApiError> {
        let refuse = |message: String| Err(ApiError::invalid("tool_choice", message));
        let chosen = match choice {
            None | Some(Value::Null) => return Ok(Self::Auto),
            Some(Value::String(word)) => match word.as_str() {
                "none" => Self::None,
                "auto" => Self::Auto,
                "required" => Self::Required,
                _ => {
                    return refuse(format!(
                        "tool_choice is \"{word}\"; expected none, auto, required or a function"
                    ));
                }
            },
            Some(choice) => {
                // The responses endpoint has the name one level higher than chat has it.
                let name = choice["function"]["name"].as_str().or(choice["name"].as_str());
                match name.filter(|_| choice["type"] == "function") {
                    Some(name) => Self::Named(name.to_owned()),
                    None => {
                        return refuse(
                            "tool_choice as an object is {\"type\": \"function\", \"function\": {\"name\": ..}}".to_owned(),
                        );
                    }
                }
            }
        };
        match &chosen {
            Self::Named(name) if !names.contains(name) => refuse(format!("no tool is named {name}")),
            Self::Required if names.is_empty() => {
                refuse("tool_choice is \"required\", but there are no tools".to_owned())
            }
            _ => Ok(chosen),
        }
    }
}

/// What a tool's calls look like, after all of it was looked at.
fn checked_tool(tool: &Value, index: usize, lenient: bool) -> Result<Shape, ApiError> {
    let mut tool = Fields::inside(format!("tools[{index}]"), tool.clone())?;
    match tool.need_text("type")?.as_str() {
        "function" => {}
        kind => {
            return Err(wrong(&tool.name("type"), &kind.into(), "function: no other tools are supported"));
        }
    }
    let mut function = Fields::inside(tool.name("function"), tool.need("function")?)?;
    tool.finish(lenient)?;
    let name = function.need_text("name")?;
    if !is_name(&name) {
        let expected = "1 to 64 letters, digits, underscores or dashes";
        return Err(wrong(&function.name("name"), &name.into(), expected));
    }
    function.text("description")?;
    let parameters = match function.take("parameters") {
        None => None,
        Some(Value::Object(parameters)) => Some(parameters),
        Some(other) => return Err(wrong(&function.name("parameters"), &other, "a JSON schema, an object")),
    };
    let strict = function.boolean("strict")?.unwrap_or(false);
    function.finish(lenient)?;
    Ok(Shape { name, parameters, strict })
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests;
