//! What the store holds of calls and rows.

use datasets::logprobs::TokenLogprobs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The key of a call (`Teacher::key`): its row, and a hash of the teacher's identity and the whole call.
pub(crate) type CallKey = [u8; 16];

/// A key in hexadecimal, as files have it.
pub(crate) fn hex(key: &CallKey) -> String {
    format!("{:032x}", u128::from_be_bytes(*key))
}

/// A teacher's answer.
#[derive(Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// What the model thought before the text, where the endpoint separates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<String>,
    /// Whether it was cut off at its token limit.
    pub(crate) cut: bool,
    /// Whether the provider's content filter removed it or its end.
    #[serde(default)]
    pub(crate) filtered: bool,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// The log-probabilities of its tokens, if it was asked with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) logprobs: Vec<TokenLogprobs>,
}

/// Why a row is not in the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DroppedRow {
    /// A short name, which is counted.
    pub(crate) reason: String,
    /// The step that dropped the row.
    pub(crate) step: String,
    /// The evidence, for people.
    pub(crate) detail: String,
}

/// The outcome of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Kept(Map<String, Value>),
    Dropped(DroppedRow),
}

/// A row with its outcome.
pub(crate) struct DecidedRow {
    pub(crate) position: usize,
    pub(crate) id: String,
    pub(crate) verdict: Verdict,
}
