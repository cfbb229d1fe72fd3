//! Tools in a request: which there are, whether one must be called, and how calls are found in the answer.
//!
//! [`ToolPlan::new`] is the one edge: it names what is wrong with `tools` and `tool_choice`. Where a call must be
//! made, a grammar leaves the model no other way; where it may, the answer is read as it comes.

mod calls;
mod grammar;
mod json;
mod reader;

pub(crate) use reader::{CallReader, Piece};

use crate::error::ApiError;
use crate::valid::shown;
use engine::Constraint;
use serde_json::{Map, Value};

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

/// What a request's tools ask for.
#[derive(Debug, Clone)]
pub(crate) struct ToolPlan {
    tools: Value,
    names: Vec<String>,
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
    ) -> Result<Option<Self>, ApiError> {
        let tools = match tools.filter(|tools| !tools.is_null()) {
            None => &Value::Array(Vec::new()),
            Some(tools) => tools,
        };
        let Some(list) = tools.as_array() else {
            return Err(ApiError::invalid(
                "tools",
                format!("tools is {}; expected an array of tools", shown(tools)),
            ));
        };
        let mut names: Vec<String> = Vec::with_capacity(list.len());
        for (index, tool) in list.iter().enumerate() {
            let name = checked_tool(tool, index)?;
            if names.contains(&name) {
                let message = format!("two tools are named {name}; each needs its own name");
                return Err(ApiError::invalid(format!("tools[{index}].function.name"), message));
            }
            names.push(name);
        }
        let choice = ToolChoice::new(choice, &names)?;
        if names.is_empty() || choice == ToolChoice::None {
            return Ok(None);
        }
        let plan = Self { tools: tools.clone(), names, choice, parallel };
        plan.check_schemas()?;
        Ok(Some(plan))
    }

    /// The tools as the template is given them (OpenAI's array).
    pub(crate) fn tools(&self) -> &Value {
        &self.tools
    }

    /// The grammar for `required` and named choices; `None` for auto.
    pub(crate) fn constraint(&self) -> Option<Constraint> {
        let shapes: Vec<grammar::Shape<'_>> =
            self.forced().map(|(_, name, parameters)| grammar::Shape { name, parameters }).collect();
        // A named choice asks for that one call.
        let several = self.parallel && self.choice == ToolChoice::Required;
        (!shapes.is_empty()).then(|| Constraint::Lark(grammar::calls(&shapes, several)))
    }

    /// Finds the calls in one answer.
    pub(crate) fn reader(&self) -> CallReader {
        CallReader::new(self.names.iter().cloned(), if self.parallel { usize::MAX } else { 1 })
    }

    /// The tools of which one must be called: index, name, schema of the arguments.
    fn forced(&self) -> impl Iterator<Item = (usize, &str, Option<&Map<String, Value>>)> {
        let forced = |name: &str| match &self.choice {
            ToolChoice::None | ToolChoice::Auto => false,
            ToolChoice::Required => true,
            ToolChoice::Named(named) => name == named,
        };
        let parameters = |index: usize| self.tools[index]["function"]["parameters"].as_object();
        let all = self.names.iter().enumerate();
        all.filter(move |(_, name)| forced(name))
            .map(move |(index, name)| (index, name.as_str(), parameters(index)))
    }

    /// Refuses arguments that the grammar could not hold to their schema.
    fn check_schemas(&self) -> Result<(), ApiError> {
        for (index, _, parameters) in self.forced() {
            let Some(parameters) = parameters else { continue };
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
    fn new(choice: Option<&Value>, names: &[String]) -> Result<Self, ApiError> {
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

/// A tool's name, after all of it was looked at.
fn checked_tool(tool: &Value, index: usize) -> Result<String, ApiError> {
    let refuse =
        |field: &str, message: String| Err(ApiError::invalid(format!("tools[{index}]{field}"), message));
    match &tool["type"] {
        Value::String(kind) if kind == "function" => {}
        Value::String(kind) => {
            return refuse(".type", format!("tools of type {kind} are not supported; expected \"function\""));
        }
        _ => return refuse(".type", "a tool needs its type, \"function\"".to_owned()),
    }
    let Some(function) = tool["function"].as_object() else {
        return refuse(".function", "a tool needs its function, an object with a name".to_owned());
    };
    let name = match function.get("name").and_then(Value::as_str) {
        Some(name) if is_name(name) => name,
        Some(name) => {
            let expected = "1 to 64 letters, digits, underscores or dashes";
            return refuse(".function.name", format!("a function's name is {name:?}; expected {expected}"));
        }
        None => return refuse(".function.name", "a function needs a name, a string".to_owned()),
    };
    let field = |field: &str| &tool["function"][field];
    let (description, parameters, strict) = (field("description"), field("parameters"), field("strict"));
    let fields = [
        ("description", description, description.is_string(), "a string"),
        ("parameters", parameters, parameters.is_object(), "a JSON schema, an object"),
        ("strict", strict, strict.is_boolean(), "true or false"),
    ];
    if let Some((field, value, _, expected)) =
        fields.iter().find(|(_, value, good, _)| !good && !value.is_null())
    {
        let message = format!("the {field} of {name} is {}; expected {expected}", shown(value));
        return refuse(&format!(".function.{field}"), message);
    }
    Ok(name.to_owned())
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests;
