//! HTTP in OpenAI's shape: the types that a client sends and a server answers with.
//!
//! Used by the generator's teacher client; the server will use the same types, so that the two cannot
//! drift apart. Fields that are absent stay absent on the wire.

use crate::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body of `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Model name.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// How to sample.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// `{"type": "json_schema", ...}` for constrained output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
}

/// Body of `POST /v1/completions`: a raw prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// Model name.
    pub model: String,
    /// The text to continue.
    pub prompt: String,
    /// How to sample.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

/// The sampling parameters both endpoints share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingFields {
    /// Softmax temperature; 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus mass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// The most tokens to generate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Same seed, same answer, where the server honours it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Strings that end the answer and are left out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// Answer of both endpoints, as much of it as the client reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionResponse {
    /// One entry an answer.
    pub choices: Vec<Choice>,
    /// Token counts, where the server gives them.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// One answer: `message` from chat, `text` from raw completions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The assistant's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<ChoiceMessage>,
    /// The raw continuation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `stop`, `length` or a server's own word.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// The message of a chat answer; some servers send a null content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceMessage {
    /// What was said.
    #[serde(default)]
    pub content: Option<String>,
}

/// Token counts of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// OpenAI's error body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// The inside of an error body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For people.
    #[serde(default)]
    pub message: String,
    /// For programs, such as `context_length_exceeded`.
    #[serde(default)]
    pub code: Option<Value>,
    /// The kind of error.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}
