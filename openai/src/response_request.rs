//! Body of `POST /v1/responses`. The server keeps no state: the request brings the whole conversation.

use crate::Unsupported;
use crate::constant::constant;
use crate::format::{Guided, JsonSchemaType, PlainFormat};
use crate::message::Content;
use crate::request::{CallerInfo, EngineDefaults, NeutralParameters, Sampling};
use crate::tool::{FunctionType, ToolChoice};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

constant! {
    /// The kind of a message in the input.
    InputMessageType = "message"
}
constant! {
    /// The kind of a call in the input.
    InputCallType = "function_call"
}
constant! {
    /// The kind of a tool's result in the input.
    InputCallOutputType = "function_call_output"
}

/// Body of `POST /v1/responses`.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ResponseRequest {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// The conversation.
    pub input: ResponseInput,
    /// A system message before the input.
    pub instructions: Option<String>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Maximum number of tokens of the answer.
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// What the answer includes.
    pub include: Option<Vec<Included>>,
    /// Number of most likely tokens to report in each position.
    #[schemars(range(min = 0, max = 20))]
    pub top_logprobs: Option<u64>,
    /// The text of the answer.
    pub text: Option<TextOptions>,
    /// Constraints in vLLM's spelling.
    #[serde(flatten)]
    pub guided: Guided,
    /// Tools that the model may call.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<ResponseTool>>,
    /// Whether tools are called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether one answer may have several calls.
    #[schemars(extend("default" = true))]
    pub parallel_tool_calls: Option<bool>,
    /// Send the answer as server-sent events.
    #[schemars(extend("default" = false))]
    pub stream: Option<bool>,
    /// How the answer is streamed; only with `stream`.
    pub stream_options: Option<ResponseStreamOptions>,
    /// Information about the caller.
    #[serde(flatten)]
    pub caller: CallerInfo,
    /// Parameters without an effect.
    #[serde(flatten)]
    pub neutral: NeutralParameters,
    /// Not supported: responses have no place for ids.
    #[schemars(extend("enum" = [false, null]))]
    pub return_token_ids: Option<bool>,
    /// Parameters of other servers without an effect.
    #[serde(flatten)]
    pub engine_defaults: EngineDefaults,
    /// Parameters without an effect that only this endpoint has.
    #[serde(flatten)]
    pub stateless: StatelessParameters,
}

/// Parameters of this endpoint alone, most of which are accepted only in a value that changes nothing.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StatelessParameters {
    /// The stored response that this one continues: its conversation goes before the input, without its instructions.
    pub previous_response_id: Option<String>,
    /// Send the whole conversation as `input`, or continue a response.
    pub conversation: Option<Unsupported>,
    /// Prompts are not stored; send the text as `input`.
    pub prompt: Option<Unsupported>,
    /// The answer is given on the connection of the request.
    #[schemars(extend("enum" = [false, null]))]
    pub background: Option<bool>,
    /// Nothing is left out of a conversation.
    #[schemars(extend("enum" = ["disabled", null]))]
    pub truncation: Option<String>,
    /// How much the model is to reason.
    pub reasoning: Option<ReasoningOptions>,
    /// There are no built-in tools.
    pub max_tool_calls: Option<Unsupported>,
    /// Nothing is left out of a conversation.
    #[schemars(length(max = 0))]
    pub context_management: Option<Vec<Value>>,
    /// A response is one answer.
    #[schemars(extend("enum" = [1, null]))]
    pub n: Option<u64>,
    /// Not supported; use `text.format`.
    pub response_format: Option<Unsupported>,
    /// Only 1.
    #[schemars(extend("enum" = [1, null]))]
    pub best_of: Option<u64>,
}

/// What `include` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Included {
    /// Log-probabilities.
    #[serde(rename = "message.output_text.logprobs")]
    Logprobs,
    /// Ignored: reasoning is text.
    #[serde(rename = "reasoning.encrypted_content")]
    Reasoning,
}

/// How a model reasons.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasoningOptions {
    /// How much.
    #[schemars(extend("enum" = ["none", "minimal", "low", "medium", "high", "xhigh", null]))]
    pub effort: Option<String>,
    /// Ignored: summaries are not made.
    pub summary: Option<String>,
    /// Ignored: the older name of `summary`.
    pub generate_summary: Option<String>,
}

/// A user's text, or items.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ResponseInput {
    /// The user's text.
    Text(String),
    /// Messages, calls and what the tools returned.
    Items(#[schemars(length(min = 1))] Vec<InputItem>),
}

/// One item of the input.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ResponseInputItem")]
pub enum InputItem {
    /// A message.
    Message(InputMessage),
    /// A call that the model made.
    Call(InputCall),
    /// What the tool returned.
    CallOutput(InputCallOutput),
    /// What the model thought earlier.
    Reasoning(InputReasoning),
    /// An earlier call of a tool that is no function, or what it returned.
    Foreign(InputForeignCall),
}

/// Kinds of earlier calls of tools that are no functions, and of what they returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputForeignCallType {
    /// A call with a text; the model sees a call with the argument `input`.
    CustomToolCall,
    /// What such a call returned.
    CustomToolCallOutput,
    /// A command; the model sees a call of `local_shell`.
    LocalShellCall,
    /// What the command printed.
    LocalShellCallOutput,
    /// A search that a provider ran; the model does not see it.
    WebSearchCall,
}

/// An earlier call of a tool that is no function, or what it returned, as coding agents have it in their history.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InputForeignCall {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: InputForeignCallType,
    /// Of an earlier answer; ignored.
    pub id: Option<String>,
    /// Of an earlier answer; ignored.
    pub status: Option<String>,
    /// Identifies the call in its output; only a search has none.
    pub call_id: Option<String>,
    /// The tool's name, of a call with a text.
    pub name: Option<String>,
    /// Ignored.
    pub namespace: Option<String>,
    /// The text of a call.
    pub input: Option<String>,
    /// The command, or what was searched for.
    pub action: Option<Value>,
    /// What the tool returned.
    pub output: Option<Content>,
}

constant! {
    /// The kind of earlier reasoning in the input.
    InputReasoningType = "reasoning"
}

/// What the model thought earlier; it is not shown to the model again.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InputReasoning {
    /// Always `reasoning`.
    #[serde(rename = "type")]
    pub kind: InputReasoningType,
    /// Ignored.
    pub id: Option<String>,
    /// Ignored.
    pub status: Option<String>,
    /// Ignored.
    pub summary: Option<Value>,
    /// Ignored.
    pub content: Option<Value>,
    /// Ignored.
    pub encrypted_content: Option<Value>,
}

/// A message of the input.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InputMessage {
    /// `message`, if given.
    #[serde(rename = "type")]
    pub kind: Option<InputMessageType>,
    /// Of an earlier answer; ignored.
    pub id: Option<String>,
    /// Of an earlier answer; ignored.
    pub status: Option<String>,
    /// Who speaks.
    #[schemars(extend("enum" = ["user", "assistant", "system", "developer"]))]
    pub role: String,
    /// What the message says.
    pub content: Content,
    /// Ignored.
    pub phase: Option<Value>,
}

/// A call that the model made.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputCall {
    /// Always `function_call`.
    #[serde(rename = "type")]
    pub kind: InputCallType,
    /// Of an earlier answer; ignored.
    pub id: Option<String>,
    /// Of an earlier answer; ignored.
    pub status: Option<String>,
    /// Identifies the call in its output.
    pub call_id: String,
    /// The function's name.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// What a tool returned.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InputCallOutput {
    /// Always `function_call_output`.
    #[serde(rename = "type")]
    pub kind: InputCallOutputType,
    /// Ignored.
    pub id: Option<String>,
    /// Ignored.
    pub status: Option<String>,
    /// The call.
    pub call_id: String,
    /// What the tool returned.
    pub output: Content,
}

/// The text of a response.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct TextOptions {
    /// The format of the text.
    pub format: Option<TextFormat>,
    /// Not supported.
    #[schemars(extend("enum" = ["medium", null]))]
    pub verbosity: Option<String>,
}

/// The format of a response's text. A schema with a keyword that cannot be enforced is refused.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TextFormat {
    /// Text or any JSON object.
    Plain(PlainFormat),
    /// JSON that fits a schema.
    Schema(TextSchemaFormat),
}

/// A format with a schema.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TextSchemaFormat {
    /// Always `json_schema`.
    #[serde(rename = "type")]
    pub kind: JsonSchemaType,
    /// The schema's name.
    pub name: String,
    /// Whether the schema is enforced; it always is.
    pub strict: Option<bool>,
    /// What it describes.
    pub description: Option<String>,
    /// The schema.
    pub schema: Map<String, Value>,
}

/// A tool of a response request.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ResponseTool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: FunctionType,
    /// The function's name.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.:/-]{1,128}$"))]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments, which are an object.
    pub parameters: Option<Map<String, Value>>,
    /// Enforce the schema for calls under `tool_choice: auto` as well; a forced call always fits it.
    pub strict: Option<bool>,
}

/// How a response is streamed.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResponseStreamOptions {
    /// Not supported: events have no padding.
    #[schemars(extend("enum" = [false, null]))]
    pub include_obfuscation: Option<bool>,
}
