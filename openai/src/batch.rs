//! Files and batches of calls, as far as a client of a provider needs them: it uploads a file of requests, makes a
//! batch of it, looks at the batch, and reads a file of answers. Answers are read with as few demands as possible.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a batch's input file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchCall<'a> {
    /// Identifies the call in the files of answers.
    pub custom_id: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, such as `/v1/chat/completions`.
    pub url: &'a str,
    /// The request's body.
    pub body: &'a Value,
}

/// Body of `POST /v1/batches`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchRequest<'a> {
    /// The uploaded file.
    pub input_file_id: &'a str,
    /// The path of all its calls.
    pub endpoint: &'a str,
    /// Time within which the calls are answered, such as `24h`.
    pub completion_window: &'a str,
}

/// An uploaded file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct File {
    /// Identifies it.
    #[serde(default)]
    pub id: Option<String>,
}

/// A batch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// Identifies it.
    pub id: Option<String>,
    /// `completed`, `expired`, `cancelled` and `failed` are final.
    pub status: Option<String>,
    /// The file it was made of.
    pub input_file_id: Option<String>,
    /// The file of answers.
    pub output_file_id: Option<String>,
    /// The file of calls that failed.
    pub error_file_id: Option<String>,
    /// Why the batch failed.
    pub errors: Value,
}

/// A page of the list of batches.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BatchList {
    /// The batches, newest first.
    pub data: Vec<Batch>,
    /// Whether there is another page.
    pub has_more: Option<bool>,
}

/// One line of a file of answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BatchAnswer {
    /// The call.
    pub custom_id: String,
    /// The answer; null where none was given.
    #[serde(default)]
    pub response: Option<BatchResponse>,
    /// Why there is no answer.
    #[serde(default)]
    pub error: Value,
}

/// The answer to one call of a batch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BatchResponse {
    /// The HTTP status.
    pub status_code: Option<u64>,
    /// The answer's body.
    pub body: Value,
}
