//! What a model said and how it was judged: one row a question, a request, a pair, a document. All figures follow
//! from these rows, in the report as in the scoring.

use datasets::pocket::Kind;
use serde::{Deserialize, Serialize};

/// One row of `NAME.replies.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// A question's answer.
    Question(QuestionReply),
    /// What was written under conditions.
    Request(RequestReply),
    /// Two replies' log-probabilities.
    Pair(PairReply),
    /// A pair that could not be measured.
    SkippedPair(SkippedPair),
    /// A document's log-probability.
    Document(DocumentReply),
}

/// How a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// In the chat template.
    Chat,
    /// As plain text after five solved examples of its kind; the answer ends with its line.
    FiveShot,
}

impl Mode {
    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::FiveShot => "5-shot",
        }
    }
}

/// How a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The model ended it.
    Stopped,
    /// It ran into `--max-tokens` or the context's end.
    Cut,
    /// It was never asked: the prompt leaves no room in the context.
    PromptTooLong,
}

/// A question's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuestionReply {
    pub(crate) mode: Mode,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) reply: String,
    pub(crate) ending: Ending,
    pub(crate) right: bool,
}

/// What was written under conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestReply {
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) instruction_ids: Vec<String>,
    pub(crate) reply: String,
    pub(crate) ending: Ending,
    /// For each instruction, whether the reply follows it as it stands.
    pub(crate) followed: Vec<bool>,
}

impl RequestReply {
    /// Whether it follows all of them.
    pub(crate) fn all(&self) -> bool {
        self.followed.iter().all(|followed| *followed)
    }
}

/// Two replies to one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairReply {
    pub(crate) id: String,
    pub(crate) chosen: Side,
    pub(crate) rejected: Side,
}

impl PairReply {
    /// Whether the model holds the chosen reply for likelier.
    pub(crate) fn preferred(&self) -> bool {
        self.chosen.log_probability > self.rejected.log_probability
    }
}

/// One reply of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Natural logarithm, summed over the reply's tokens with the stop token.
    pub(crate) log_probability: f64,
    /// Tokens of the reply with the stop token.
    pub(crate) tokens: usize,
}

/// A pair that could not be measured, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SkippedPair {
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// A held-out document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DocumentReply {
    pub(crate) source: String,
    /// Its line in the file, from 1.
    pub(crate) line: usize,
    /// Tokens that were predicted: all but the first of each piece.
    pub(crate) tokens: usize,
    /// Bytes of those tokens.
    pub(crate) bytes: usize,
    /// Minus their natural log-probability.
    pub(crate) nats: f64,
}
