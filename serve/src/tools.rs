//! Tools of a request: their definitions, whether one must be called, and how calls are found in the answer.
//!
//! [`ToolPlan::new`] names what is wrong with `tools` and `tool_choice`. Where a call is forced, a grammar leaves the
//! model no other way; where it is optional, calls are found in the answer as it grows. A tool that is `strict` adds a
//! grammar too: the text is free, and calls of the tool fit its schema.

mod calls;
mod format_reader;
mod grammar;
mod json;
mod reader;

pub(crate) use reader::Piece;

use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::left_out::LeftOut;
use crate::traits::TemplateTraits;
use engine::Constraint;
use format_reader::FormatReader;
use grammar::{Alternative, Signature};
use reader::CallReader;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ToolChoice {
    /// No tool is called.
    None,
    /// The model decides.
    Auto,
    /// At least one tool is called.
    Required,
    /// This tool is called.
    Named(String),
}

/// Maximum number of tools in one request, as in OpenAI's interface.
const MAX_TOOLS: usize = 128;

/// A request's tools and how they are called.
#[derive(Debug, Clone)]
pub(crate) struct ToolPlan {
    tools: Value,
    signatures: Vec<Signature>,
    choice: ToolChoice,
    parallel: bool,
}

impl ToolPlan {
    /// Returns `None` when the request has no tools or `tool_choice` is none.
    ///
    /// # Errors
    /// Each error names its parameter, such as `tools[1].function.name`.
    pub(crate) fn new(
        tools: Option<&Value>,
        choice: Option<&Value>,
        parallel: bool,
        lenient: bool,
        left_out: &mut LeftOut,
    ) -> Result<Option<Self>, ApiError> {
        let list = match tools.filter(|tools| !tools.is_null()) {
            None => &Vec::new(),
            Some(Value::Array(list)) if list.len() <= MAX_TOOLS => list,
            Some(Value::Array(list)) => {
                let message = format!("`tools` has {} tools; expected at most {MAX_TOOLS}", list.len());
                return Err(ApiError::invalid("tools", message));
            }
            Some(other) => return Err(wrong("tools", other, "an array of tools")),
        };
        let (mut signatures, mut names) = (Vec::with_capacity(list.len()), HashSet::new());
        let mut functions = Vec::with_capacity(list.len());
        for (index, tool) in list.iter().enumerate() {
            if let Some(kind) = tool["type"].as_str().filter(|kind| is_foreign(kind)) {
                left_out.add(format!("tools[{index}]"), format!("tools of type {kind} are not run here"));
                continue;
            }
            functions.push(tool.clone());
            let signature = signature(tool, index, lenient)?;
            if !names.insert(signature.name.clone()) {
                let message = format!("two tools are named `{}`; give each its own name", signature.name);
                return Err(ApiError::invalid(format!("tools[{index}].function.name"), message));
            }
            signatures.push(signature);
        }
        let choice = ToolChoice::new(choice, &names)?;
        if signatures.is_empty() || choice == ToolChoice::None {
            return Ok(None);
        }
        let plan = Self { tools: functions.into(), signatures, choice, parallel };
        plan.check_schemas()?;
        Ok(Some(plan))
    }

    /// The tools in OpenAI's shape, for the template.
    pub(crate) fn tools(&self) -> &Value {
        &self.tools
    }

    /// Replaces the tools that the template gets.
    pub(crate) fn map_texts(&mut self, map: &dyn Fn(&Value) -> Value) {
        self.tools = map(&self.tools);
    }

    /// Whether a call is forced.
    pub(crate) fn is_forced(&self) -> bool {
        self.choice != ToolChoice::Auto
    }

    /// The constraint of the answer: calls, where one is forced; calls or JSON that fits the schema, if there is one;
    /// otherwise text and calls that fit their schemas, where a tool is strict. `None` leaves the answer free.
    pub(crate) fn constraint(&self, schema: Option<&Map<String, Value>>) -> Option<Constraint> {
        let alternative = match schema {
            _ if self.is_forced() => Alternative::Nothing,
            Some(schema) => Alternative::Json(schema),
            None if self.signatures.iter().any(|signature| signature.strict) => Alternative::Text,
            None => return None,
        };
        let is_callable = |signature: &&Signature| match &self.choice {
            ToolChoice::Named(name) => signature.name == *name,
            _ => true,
        };
        let callable = self.signatures.iter().filter(is_callable);
        let signatures: Vec<(&Signature, bool)> =
            callable.map(|signature| (signature, self.enforces(signature))).collect();
        // A named choice asks for one call.
        let several = self.parallel && !matches!(self.choice, ToolChoice::Named(_));
        Some(Constraint::Lark(grammar::calls(&signatures, several, alternative)))
    }

    /// A reader that finds the calls in one answer of a model with these traits. The arguments of calls in tags stream;
    /// calls in other formats come whole.
    pub(crate) fn reader(&self, traits: TemplateTraits) -> AnswerReader {
        let max_calls = if self.parallel { usize::MAX } else { 1 };
        let signatures = self.signatures.iter();
        if traits.calls.is_json_in_tags() && !traits.short_call_ids {
            return AnswerReader::Tags(CallReader::new(
                signatures.map(|signature| signature.name.clone()),
                max_calls,
            ));
        }
        let tools = signatures.map(|signature| (signature.name.clone(), signature.parameters.clone()));
        AnswerReader::Format(FormatReader::new(traits.calls, tools, max_calls, traits.short_call_ids))
    }

    /// Whether the tool's schema is enforced for the arguments of its calls.
    fn enforces(&self, signature: &Signature) -> bool {
        match &self.choice {
            ToolChoice::None => false,
            ToolChoice::Auto => signature.strict,
            ToolChoice::Required => true,
            ToolChoice::Named(name) => signature.name == *name,
        }
    }

    /// Refuses schemas that the grammar cannot enforce.
    fn check_schemas(&self) -> Result<(), ApiError> {
        let enforced = self.signatures.iter().enumerate().filter(|(_, signature)| self.enforces(signature));
        for (index, signature) in enforced {
            let Some(parameters) = &signature.parameters else { continue };
            let parameter = || format!("tools[{index}].function.parameters");
            if let Some(kind) = parameters.get("type").filter(|kind| *kind != "object") {
                let message = format!("`{}.type` is {kind}; expected \"object\"", parameter());
                return Err(ApiError::invalid(parameter(), message));
            }
            engine::check_schema(&Value::Object(parameters.clone()))
                .map_err(|refused| ApiError { param: Some(parameter()), ..ApiError::from(refused) })?;
        }
        Ok(())
    }
}

/// Separates text and calls of one answer.
#[derive(Debug, Clone)]
pub(crate) enum AnswerReader {
    Tags(CallReader),
    Format(FormatReader),
}

impl AnswerReader {
    /// Reads more text; returns what is certain now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        match self {
            Self::Tags(reader) => reader.push(text),
            Self::Format(reader) => reader.push(text),
        }
    }

    /// Returns what was held back when the text ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        match self {
            Self::Tags(reader) => reader.finish(),
            Self::Format(reader) => reader.finish(),
        }
    }

    /// Whether the answer has a call.
    pub(crate) fn has_calls(&self) -> bool {
        match self {
            Self::Tags(reader) => reader.has_calls(),
            Self::Format(reader) => reader.has_calls(),
        }
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
                        "`tool_choice` is \"{word}\"; expected `none`, `auto`, `required` or a function"
                    ));
                }
            },
            Some(choice) => {
                // Responses have the name one level higher than chat requests.
                let name = choice["function"]["name"].as_str().or(choice["name"].as_str());
                match name.filter(|_| choice["type"] == "function") {
                    Some(name) => Self::Named(name.to_owned()),
                    None => {
                        let expected = "{\"type\": \"function\", \"function\": {\"name\": \"NAME\"}}";
                        return refuse(format!(
                            "`tool_choice` is an object without a function; expected {expected}"
                        ));
                    }
                }
            }
        };
        match &chosen {
            Self::Named(name) if !names.contains(name) => {
                refuse(format!("`tool_choice` names `{name}`, which is not among `tools`"))
            }
            Self::Required if names.is_empty() => {
                refuse("`tool_choice` is \"required\", but there are no `tools`".to_owned())
            }
            _ => Ok(chosen),
        }
    }
}

/// Whether a tool is of a type that OpenAI has and this server does not support.
fn is_foreign(kind: &str) -> bool {
    const KINDS: [&str; 13] = [
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "custom",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "shell",
        "tool_search",
        "web_search",
    ];
    KINDS.contains(&kind) || kind.starts_with("web_search_")
}

/// Checks a tool; returns what its calls look like.
fn signature(tool: &Value, index: usize, lenient: bool) -> Result<Signature, ApiError> {
    let mut tool = Fields::nested(format!("tools[{index}]"), tool.clone())?;
    match tool.need_text("type")?.as_str() {
        "function" => {}
        kind => {
            return Err(wrong(&tool.name("type"), &kind.into(), "`function`; other tools are not supported"));
        }
    }
    let mut function = Fields::nested(tool.name("function"), tool.need("function")?)?;
    tool.finish(lenient)?;
    let name = function.need_text("name")?;
    if !is_name(&name) {
        let expected = "1 to 128 letters, digits, underscores, dashes, dots, slashes or colons";
        return Err(wrong(&function.name("name"), &name.into(), expected));
    }
    function.text("description")?;
    let parameters = match function.take("parameters") {
        None => None,
        Some(Value::Object(parameters)) => Some(parameters),
        Some(other) => return Err(wrong(&function.name("parameters"), &other, "a JSON schema")),
    };
    let strict = function.boolean("strict")?.unwrap_or(false);
    function.finish(lenient)?;
    Ok(Signature { name, parameters, strict })
}

fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':');
    (1..=128).contains(&name.len()) && name.bytes().all(is_good)
}

#[cfg(test)]
mod public_templates;
#[cfg(test)]
mod tests;
