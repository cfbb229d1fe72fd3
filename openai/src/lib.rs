//! OpenAI's HTTP interface as types: requests, answers, stream chunks, errors.
//!
//! One definition serves three users: the server writes the answers, the teacher's client sends the requests, and the
//! server's OpenAPI document is generated from both. Absent fields stay absent on the wire; what a client reads of
//! foreign servers is in [`reply`], which requires as little as possible.

mod constant;

pub mod batch;
pub mod chat;
pub mod completion;
pub mod embedding;
pub mod error;
pub mod format;
pub mod logprobs;
pub mod message;
pub mod model;
pub mod reply;
pub mod request;
pub mod response;
pub mod response_event;
pub mod response_request;
pub mod schema;
pub mod tokenize;
pub mod tool;
pub mod usage;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value of a field that is only accepted as `null` or absent.
pub type Unsupported = ();

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop token, a stop string, or the end of the constraint.
    Stop,
    /// The maximum number of tokens was generated.
    Length,
    /// The model called tools.
    ToolCalls,
}
