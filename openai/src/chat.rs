//! `POST /v1/chat/completions`: the request, the whole answer and the chunks of a stream.

use crate::constant::constant;
use crate::format::{Guided, ResponseFormat};
use crate::logprobs::{ChatLogprobs, PromptLogprobs};
use crate::message::Message;
use crate::request::{CallerInfo, EngineDefaults, NeutralParameters, Sampling, StreamOptions};
use crate::tool::{Tool, ToolCall, ToolCallDelta, ToolChoice};
use crate::usage::Usage;
use crate::{FinishReason, Unsupported};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

constant! {
    /// The kind of a whole answer.
    ChatCompletionObject = "chat.completion"
}
constant! {
    /// The kind of a chunk.
    ChatCompletionChunkObject = "chat.completion.chunk"
}
constant! {
    /// The role of an answer.
    AssistantRole = "assistant"
}

/// Body of `POST /v1/chat/completions`.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChatRequest {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// The conversation so far.
    #[schemars(length(min = 1))]
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Maximum number of tokens of each answer; cut to what the context has room for. -1 is no maximum.
    #[schemars(range(min = -1))]
    pub max_completion_tokens: Option<u64>,
    /// The older name of `max_completion_tokens`.
    #[schemars(range(min = -1))]
    pub max_tokens: Option<u64>,
    /// Number of answers.
    #[schemars(range(min = 1, max = 128), extend("default" = 1))]
    pub n: Option<u64>,
    /// Only 1; use `n`.
    #[schemars(extend("enum" = [1, null]))]
    pub best_of: Option<u64>,
    /// Report log-probabilities.
    #[schemars(extend("default" = false))]
    pub logprobs: Option<bool>,
    /// Number of most likely tokens to report in each position.
    #[schemars(range(min = 0, max = 20))]
    pub top_logprobs: Option<u64>,
    /// Report the log-probabilities of the prompt's tokens, and of this number of most likely ones in each place; not with
    /// `stream`.
    #[schemars(range(min = 0, max = 20))]
    pub prompt_logprobs: Option<u64>,
    /// Return the ids of the prompt (`prompt_token_ids`) and of what was chosen (`token_ids`).
    #[schemars(extend("default" = false))]
    pub return_token_ids: Option<bool>,
    /// The format of the text.
    pub response_format: Option<ResponseFormat>,
    /// Constraints in vLLM's spelling.
    #[serde(flatten)]
    pub guided: Guided,
    /// Tools that the model may call. With a JSON schema as the format, the answer is calls or JSON that fits it.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<Tool>>,
    /// Whether tools are called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether one answer may have several calls.
    #[schemars(extend("default" = true))]
    pub parallel_tool_calls: Option<bool>,
    /// End the prompt where the assistant starts to speak.
    #[schemars(extend("default" = true))]
    pub add_generation_prompt: Option<bool>,
    /// Continue the last message, which must be an assistant's.
    #[schemars(extend("default" = false))]
    pub continue_final_message: Option<bool>,
    /// `none` leaves reasoning in the content.
    #[schemars(extend("enum" = ["auto", "deepseek", "none", null]))]
    pub reasoning_format: Option<String>,
    /// Only true.
    #[schemars(extend("enum" = [true, null]))]
    pub include_reasoning: Option<bool>,
    /// Only false; `/v1/completions` has it.
    #[schemars(extend("enum" = [false, null]))]
    pub echo: Option<bool>,
    /// Only false: the template prints the special tokens.
    #[schemars(extend("enum" = [false, null]))]
    pub add_special_tokens: Option<bool>,
    /// Send the answer as server-sent events.
    #[schemars(extend("default" = false))]
    pub stream: Option<bool>,
    /// How the answer is streamed; only with `stream`.
    pub stream_options: Option<StreamOptions>,
    /// Information about the caller.
    #[serde(flatten)]
    pub caller: CallerInfo,
    /// Parameters without an effect.
    #[serde(flatten)]
    pub neutral: NeutralParameters,
    /// Parameters of other servers without an effect.
    #[serde(flatten)]
    pub engine_defaults: EngineDefaults,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatCompletion {
    /// Identifies the answer.
    pub id: String,
    /// Always `chat.completion`.
    pub object: ChatCompletionObject,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// The server and its version.
    pub system_fingerprint: String,
    /// One entry per answer.
    pub choices: Vec<ChatChoice>,
    /// The ids of the prompt, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Log-probabilities of the prompt, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// Token counts of all answers.
    pub usage: Usage,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChoice {
    /// Which answer, from 0.
    pub index: usize,
    /// The assistant's message.
    pub message: AssistantMessage,
    /// Log-probabilities, if the request asked for them.
    pub logprobs: Option<ChatLogprobs>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
    /// The ids that were chosen, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// The message of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: AssistantRole,
    /// The text; null for calls without a text.
    pub content: Option<String>,
    /// What the model thought before the text, if its template separates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Always null: refusals are not separated from the text.
    pub refusal: Option<Unsupported>,
    /// Calls that the model made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// An event of a stream; the last one is `[DONE]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatCompletionChunk {
    /// Identifies the answer.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: ChatCompletionChunkObject,
    /// When the answer began, in seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// The server and its version.
    pub system_fingerprint: String,
    /// At most one entry.
    pub choices: Vec<ChatChunkChoice>,
    /// The ids of the prompt, in the first event, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Only with `include_usage`: null until the last chunk, which has no choices; with `continuous_usage_stats`, so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// What one answer grows by.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunkChoice {
    /// Which answer, from 0.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Log-probabilities of the new tokens, if the request asked for them.
    pub logprobs: Option<ChatLogprobs>,
    /// Why the answer ended; null before its end.
    pub finish_reason: Option<FinishReason>,
    /// The ids that were chosen since the event before, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// New parts of a message.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Delta {
    /// Only in the first chunk of an answer.
    pub role: Option<AssistantRole>,
    /// The next part of the text.
    pub content: Option<String>,
    /// The next part of what the model thinks.
    pub reasoning_content: Option<String>,
    /// The next part of a call.
    pub tool_calls: Option<Vec<ToolCallDelta>>,
}
