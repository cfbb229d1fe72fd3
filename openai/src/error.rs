//! The body of an error, alone or in a stream.

use schemars::JsonSchema;
use serde::Serialize;

/// OpenAI's error body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorDetail {
    /// What is wrong, for people.
    pub message: String,
    /// The kind of error, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// The error for programs, such as `context_length_exceeded`.
    pub code: Option<String>,
}
