//! Log-probabilities of generated tokens. They are natural logarithms of the model's own distribution, before
//! temperature, penalties and constraints.

use crate::Unsupported;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Log-probabilities of a chat completion.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// One entry per token.
    pub content: Vec<TokenLogprob>,
    /// Always null: refusals are not separated from the text.
    pub refusal: Option<Unsupported>,
}

/// The log-probability of one token and of the most likely alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TokenLogprob {
    /// The token's text; bytes that are not UTF-8 are replaced.
    pub token: String,
    /// Its natural logarithm; -9999 for a probability of zero.
    pub logprob: f64,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// The most likely tokens in this position, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// The log-probability of one alternative.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TopLogprob {
    /// The token's text; bytes that are not UTF-8 are replaced.
    pub token: String,
    /// Its natural logarithm; -9999 for a probability of zero.
    pub logprob: f64,
    /// The token's bytes.
    pub bytes: Vec<u8>,
}

/// Log-probabilities of a prompt in vLLM's shape: for each token, the token and the most likely ones in its place, by id;
/// null for the first one.
pub type PromptLogprobs = Vec<Option<BTreeMap<String, PromptLogprob>>>;

/// The log-probability of one token of a prompt, or of one in its place.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PromptLogprob {
    /// Its natural logarithm; -9999 for a probability of zero.
    pub logprob: f64,
    /// Its place among all tokens, from 1; null for a token of the prompt that is not among those that are reported.
    pub rank: Option<usize>,
    /// The token's text; bytes that are not UTF-8 are replaced.
    pub decoded_token: String,
}

/// Log-probabilities of a completion: four lists of equal length.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CompletionLogprobs {
    /// The tokens' texts; `bytes:\xe2\x82` where the bytes are not UTF-8.
    pub tokens: Vec<String>,
    /// Their natural logarithms; null for the first token of a prompt.
    pub token_logprobs: Vec<Option<f64>>,
    /// The most likely tokens in each position with their logarithms, best first.
    #[schemars(with = "Vec<Option<BTreeMap<String, f64>>>")]
    pub top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Characters of the text before each token.
    pub text_offset: Vec<usize>,
}
