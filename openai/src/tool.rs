//! Tools that a model may call, and its calls.

use crate::constant::constant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

constant! {
    /// The kind of a tool.
    FunctionType = "function"
}

/// A tool of a chat request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: FunctionType,
    /// The function.
    pub function: Function,
}

/// A function that a model may call.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// Its name.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.:/-]{1,128}$"))]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments, which are an object.
    pub parameters: Option<Map<String, Value>>,
    /// Enforce the schema for calls under `tool_choice: auto` as well; a forced call always fits it.
    pub strict: Option<bool>,
}

/// Whether tools are called: `auto` lets the model decide; `required` and a function force a call by a grammar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// One of three modes.
    Mode(ToolMode),
    /// This function is called.
    Function(NamedTool),
}

/// Whether tools are called, without naming one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    /// No tool is called.
    None,
    /// The model decides.
    Auto,
    /// At least one tool is called.
    Required,
}

/// The function that must be called. Chat requests give its name in `function`, responses give it in `name`; both
/// spellings are accepted everywhere.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedTool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: FunctionType,
    /// The function, as chat requests spell it.
    pub function: Option<FunctionName>,
    /// The function's name, as responses spell it.
    pub name: Option<String>,
}

/// The name of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionName {
    /// The name.
    pub name: String,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Identifies the call in the tool's message.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: FunctionType,
    /// The called function.
    pub function: FunctionCall,
}

/// The function and the arguments of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// A call in a message of a request, as clients collect it from an answer or a stream.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageToolCall {
    /// Identifies the call in the tool's message.
    pub id: String,
    /// `function`, if given.
    #[serde(rename = "type")]
    pub kind: Option<FunctionType>,
    /// The called function.
    pub function: FunctionCall,
    /// Its position in the stream it was collected from; ignored.
    pub index: Option<u64>,
}

/// A part of a call in a stream. The first part has the id and the name, further parts add to the arguments.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolCallDelta {
    /// Which call of the answer, from 0.
    pub index: usize,
    /// Identifies the call in the tool's message.
    pub id: Option<String>,
    /// `function` in the first part.
    #[serde(rename = "type")]
    pub kind: Option<FunctionType>,
    /// The called function.
    pub function: FunctionCallDelta,
}

/// A part of a function call in a stream.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FunctionCallDelta {
    /// The function's name.
    pub name: Option<String>,
    /// The next part of the arguments.
    pub arguments: String,
}
