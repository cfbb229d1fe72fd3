//! Messages of a conversation as requests carry them.

use crate::Unsupported;
use crate::tool::MessageToolCall;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

/// One message of a conversation.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Message {
    /// Who speaks.
    #[schemars(extend("enum" = ["system", "developer", "user", "assistant", "tool"]))]
    pub role: String,
    /// What the message says; only an assistant's message with calls goes without.
    pub content: Option<Content>,
    /// Name of the speaker or the tool.
    pub name: Option<String>,
    /// Calls that the assistant made.
    pub tool_calls: Option<Vec<MessageToolCall>>,
    /// What an assistant thought; the template decides whether the model sees it.
    pub reasoning_content: Option<String>,
    /// Another name of `reasoning_content`.
    pub reasoning: Option<String>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// Not supported.
    pub refusal: Option<Unsupported>,
    /// Not supported.
    pub audio: Option<Unsupported>,
    /// Notes on an earlier answer; must be empty.
    #[schemars(length(max = 0))]
    pub annotations: Option<Vec<Value>>,
    /// Not supported; use `tool_calls`.
    pub function_call: Option<Unsupported>,
}

/// A text, or text parts that are joined.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Content {
    /// The text.
    Text(String),
    /// Its parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message's content.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ContentPart {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ContentPartType,
    /// Its text.
    pub text: String,
    /// Notes on an earlier answer; ignored.
    pub annotations: Option<Vec<Value>>,
    /// Log-probabilities of an earlier answer; ignored.
    pub logprobs: Option<Vec<Value>>,
    /// Ignored: prefixes are kept without it.
    pub cache_control: Option<Map<String, Value>>,
}

/// Kinds of content parts; all of them are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentPartType {
    /// Text of a chat message.
    Text,
    /// Text in a response request.
    InputText,
    /// Text of an earlier response.
    OutputText,
}
