//! Token counts of a request.

use schemars::JsonSchema;
use serde::Serialize;

/// Token counts of a chat completion or a completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// The sum of both.
    pub total_tokens: u64,
    /// Details of the prompts.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Details of the prompts' tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PromptTokensDetails {
    /// Prompt tokens whose keys and values an earlier request left in the cache.
    pub cached_tokens: u64,
}
