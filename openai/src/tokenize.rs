//! `POST /tokenize`, `/detokenize` and `/apply-template`, which are not OpenAI's; the names are vLLM's.

use crate::message::Message;
use crate::tool::{Tool, ToolChoice};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

/// Body of `POST /tokenize`: a text or a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenizeRequest {
    /// A text.
    Text(TokenizeText),
    /// A conversation.
    Conversation(TokenizeConversation),
}

/// A text to tokenize.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenizeText {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// The text.
    pub prompt: String,
    /// Add the special tokens that the tokenizer puts around a text.
    #[schemars(extend("default" = true))]
    pub add_special_tokens: Option<bool>,
    /// Return the tokens' spellings too.
    #[schemars(extend("default" = false))]
    pub return_token_strs: Option<bool>,
}

/// A conversation to tokenize.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct TokenizeConversation {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// Only false: the template prints the special tokens of a conversation.
    #[schemars(extend("enum" = [false, null]))]
    pub add_special_tokens: Option<bool>,
    /// Return the tokens' spellings too.
    #[schemars(extend("default" = false))]
    pub return_token_strs: Option<bool>,
}

/// A conversation; also the body of `POST /apply-template`.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Conversation {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// The messages.
    #[schemars(length(min = 1))]
    pub messages: Vec<Message>,
    /// Tools that the template describes to the model.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<Tool>>,
    /// `none` leaves the tools out.
    pub tool_choice: Option<ToolChoice>,
    /// Has no effect on the prompt.
    pub parallel_tool_calls: Option<bool>,
    /// End the prompt where the assistant starts to speak.
    #[schemars(extend("default" = true))]
    pub add_generation_prompt: Option<bool>,
    /// Leave the last message open, which must be an assistant's.
    #[schemars(extend("default" = false))]
    pub continue_final_message: Option<bool>,
    /// Variables for the template, such as `enable_thinking`.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// Answer of `POST /tokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokens {
    /// Number of tokens.
    pub count: usize,
    /// Maximum number of tokens of prompt and answer together.
    pub max_model_len: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The tokens' spellings, if the request asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_strs: Option<Vec<String>>,
}

/// Body of `POST /detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DetokenizeRequest {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// Token ids.
    pub tokens: Vec<u32>,
}

/// Answer of `POST /detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Text {
    /// The text, with its special tokens.
    pub prompt: String,
}

/// Answer of `POST /apply-template`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RenderedPrompt {
    /// The text that the model continues.
    pub prompt: String,
    /// Its token ids.
    pub tokens: Vec<u32>,
}

/// Answer of `POST /v1/chat/completions/input_tokens` and `/v1/responses/input_tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputTokens {
    /// [`InputTokens::OBJECT`].
    pub object: String,
    /// Number of tokens of the prompt that the request becomes.
    pub input_tokens: usize,
}

impl InputTokens {
    /// The kind of object.
    pub const OBJECT: &str = "response.input_tokens";
}

/// Answer of `GET /tokenizer_info`, in the names of `tokenizer_config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenizerInfo {
    /// The class that reads such a tokenizer.
    pub tokenizer_class: String,
    /// The model's name.
    pub model: String,
    /// The token that begins a text, if the template knows one.
    pub bos_token: Option<String>,
    /// The token that ends a text, if the template knows one.
    pub eos_token: Option<String>,
    /// Always null.
    pub pad_token: Option<String>,
    /// The chat template.
    pub chat_template: String,
    /// Maximum number of tokens of prompt and answer together.
    pub model_max_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
}
