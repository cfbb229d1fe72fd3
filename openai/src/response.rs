//! The answer of `POST /v1/responses`.

use crate::Unsupported;
use crate::chat::AssistantRole;
use crate::constant::constant;
use crate::logprobs::TokenLogprob;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

constant! {
    /// The kind of a response.
    ResponseObject = "response"
}
constant! {
    /// The only service tier.
    DefaultTier = "default"
}
constant! {
    /// How conversations are truncated: they are not.
    DisabledTruncation = "disabled"
}
constant! {
    /// The kind of a message.
    MessageType = "message"
}
constant! {
    /// The kind of a text.
    OutputTextType = "output_text"
}
constant! {
    /// The kind of a call.
    FunctionCallType = "function_call"
}
constant! {
    /// Why an answer is incomplete.
    MaxOutputTokens = "max_output_tokens"
}

/// A response, whole or in progress.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Response {
    /// Identifies it.
    pub id: String,
    /// Always `response`.
    pub object: ResponseObject,
    /// When it began, in seconds since 1970.
    pub created_at: u64,
    /// When it was completed, in seconds since 1970.
    pub completed_at: Option<u64>,
    /// How far it is.
    pub status: Status,
    /// Always false.
    pub background: bool,
    /// Why it failed.
    pub error: Option<ResponseError>,
    /// Why it is incomplete.
    pub incomplete_details: Option<IncompleteDetails>,
    /// Always null.
    pub max_tool_calls: Option<Unsupported>,
    /// The model's name.
    pub model: String,
    /// Messages and calls.
    pub output: Vec<OutputItem>,
    /// Always empty.
    pub reasoning: Reasoning,
    /// Always `default`.
    pub service_tier: DefaultTier,
    /// Always `disabled`.
    pub truncation: DisabledTruncation,
    /// Token counts, once the response has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ResponseUsage>,
    /// What the response repeats of the request.
    #[serde(flatten)]
    pub echo: RequestEcho,
}

/// How far a response or an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is being written.
    InProgress,
    /// It is whole.
    Completed,
    /// The maximum number of tokens ended it.
    Incomplete,
    /// The engine failed.
    Failed,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseError {
    /// The error for programs.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IncompleteDetails {
    /// The reason.
    pub reason: MaxOutputTokens,
}

/// How a model reasons; it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reasoning {
    /// Always null.
    pub effort: Option<Unsupported>,
    /// Always null.
    pub summary: Option<Unsupported>,
}

/// What a response repeats of its request.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RequestEcho {
    /// The system message before the input.
    pub instructions: Option<String>,
    /// The metadata.
    pub metadata: Value,
    /// The temperature.
    #[schemars(with = "f64")]
    pub temperature: Value,
    /// The probability mass that was kept.
    #[schemars(with = "f64")]
    pub top_p: Value,
    /// As the request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Value>,
    /// As the request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_identifier: Option<Value>,
    /// As the request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_key: Option<Value>,
    /// The format of the text.
    pub text: TextEcho,
    /// Whether tools are called.
    pub tool_choice: Value,
    /// Whether one answer may have several calls.
    pub parallel_tool_calls: bool,
    /// The tools, with `parameters` and `strict` filled in.
    pub tools: Vec<Value>,
    /// The response that this one continues.
    pub previous_response_id: Option<String>,
    /// Whether it can be continued.
    pub store: bool,
    /// Maximum number of tokens of the answer.
    pub max_output_tokens: Option<u64>,
    /// Number of most likely tokens reported in each position.
    pub top_logprobs: u64,
}

/// The text options that a response repeats.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TextEcho {
    /// The format.
    pub format: Value,
}

/// Token counts of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Details of the prompt.
    pub input_tokens_details: InputTokensDetails,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Details of the answer.
    pub output_tokens_details: OutputTokensDetails,
    /// The sum of both.
    pub total_tokens: u64,
}

/// Details of the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputTokensDetails {
    /// Prompt tokens whose keys and values an earlier request left in the cache.
    pub cached_tokens: u64,
    /// Always 0.
    pub cache_write_tokens: u64,
}

/// Details of the answer's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutputTokensDetails {
    /// Always 0.
    pub reasoning_tokens: u64,
}

/// An item of a response's output.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OutputItem {
    /// A message.
    Message(OutputMessage),
    /// A call.
    Call(OutputCall),
    /// What the model thought.
    Reasoning(OutputReasoning),
}

constant! {
    /// The kind of reasoning.
    ReasoningType = "reasoning"
}
constant! {
    /// The kind of a text of reasoning.
    ReasoningTextType = "reasoning_text"
}

/// What the model thought before its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutputReasoning {
    /// Identifies it.
    pub id: String,
    /// Always `reasoning`.
    #[serde(rename = "type")]
    pub kind: ReasoningType,
    /// How far it is.
    pub status: Status,
    /// Always empty: summaries are not made.
    pub summary: Vec<Map<String, Value>>,
    /// One text; empty while it is in progress.
    pub content: Vec<ReasoningText>,
}

/// A text of reasoning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasoningText {
    /// Always `reasoning_text`.
    #[serde(rename = "type")]
    pub kind: ReasoningTextType,
    /// The text.
    pub text: String,
}

/// A message of a response.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OutputMessage {
    /// Identifies it.
    pub id: String,
    /// Always `message`.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// Always `assistant`.
    pub role: AssistantRole,
    /// How far it is.
    pub status: Status,
    /// One text; empty while it is in progress.
    pub content: Vec<OutputText>,
}

/// A text of a response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct OutputText {
    /// Always `output_text`.
    #[serde(rename = "type")]
    pub kind: OutputTextType,
    /// The text.
    pub text: String,
    /// Always empty.
    pub annotations: Vec<Map<String, Value>>,
    /// Log-probabilities, if the request asked for them.
    pub logprobs: Vec<TokenLogprob>,
}

/// A call of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutputCall {
    /// Identifies the item.
    pub id: String,
    /// Always `function_call`.
    #[serde(rename = "type")]
    pub kind: FunctionCallType,
    /// How far it is.
    pub status: Status,
    /// Identifies the call in its output.
    pub call_id: String,
    /// The function's name.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}
