//! `POST /v1/completions`: the request, the whole answer and the chunks of a stream.

use crate::FinishReason;
use crate::constant::constant;
use crate::format::{Guided, ResponseFormat};
use crate::logprobs::{CompletionLogprobs, PromptLogprobs};
use crate::request::{CallerInfo, EngineDefaults, Input, NeutralParameters, Sampling, StreamOptions};
use crate::usage::Usage;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

constant! {
    /// The kind of an answer.
    CompletionObject = "text_completion"
}

/// Body of `POST /v1/completions`.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CompletionRequest {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// What to continue.
    pub prompt: Input,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Maximum number of tokens of each answer; 0 with `echo` scores the prompt.
    #[schemars(extend("default" = 16))]
    pub max_tokens: Option<u64>,
    /// Number of answers to each prompt.
    #[schemars(range(min = 1, max = 128), extend("default" = 1))]
    pub n: Option<u64>,
    /// Only the value of `n`.
    #[schemars(range(min = 1, max = 128))]
    pub best_of: Option<u64>,
    /// Begin each answer with its prompt; with `logprobs`, score the prompt.
    #[schemars(extend("default" = false))]
    pub echo: Option<bool>,
    /// Number of most likely tokens to report in each position; `false` reports nothing.
    pub logprobs: Option<CompletionLogprobsOption>,
    /// Report the log-probabilities of the prompt's tokens, and of this number of most likely ones in each place; not with
    /// `stream`.
    #[schemars(range(min = 0, max = 20))]
    pub prompt_logprobs: Option<u64>,
    /// Not supported.
    #[schemars(extend("enum" = ["", null]))]
    pub suffix: Option<String>,
    /// Texts are always tokenized with the tokenizer's special tokens; send token ids to choose every token.
    #[schemars(extend("enum" = [true, null]))]
    pub add_special_tokens: Option<bool>,
    /// Return the ids of the prompt (`prompt_token_ids`) and of what was chosen (`token_ids`).
    #[schemars(extend("default" = false))]
    pub return_token_ids: Option<bool>,
    /// The format of the text.
    pub response_format: Option<ResponseFormat>,
    /// Constraints in vLLM's spelling.
    #[serde(flatten)]
    pub guided: Guided,
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

/// Whether log-probabilities are reported, and how many in each position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CompletionLogprobsOption {
    /// Number of most likely tokens.
    Top(#[schemars(range(min = 0, max = 20))] u64),
    /// Only `false`, which clients of chat completions send.
    Off(#[schemars(extend("enum" = [false]))] bool),
}

/// An answer, or an event of a stream, whose last event is `[DONE]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Completion {
    /// Identifies the answer.
    pub id: String,
    /// Always `text_completion`.
    pub object: CompletionObject,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// The server and its version.
    pub system_fingerprint: String,
    /// Prompts in their order, `n` answers to each; at most one entry in an event.
    pub choices: Vec<CompletionChoice>,
    /// Token counts of all answers. In a stream only with `include_usage`: null until the last event, which has no
    /// choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// One answer, or what it grows by.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CompletionChoice {
    /// Which answer, from 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Log-probabilities, if the request asked for them.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why the answer ended; null before its end.
    pub finish_reason: Option<FinishReason>,
    /// The ids that were chosen, if the request asked for them; in a stream, those since the event before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// The ids of the prompt, if the request asked for them; in a stream, in the first event of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Log-probabilities of the prompt, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
}
