//! What a model replied and how it was judged: one row per question, request, pair and document. All figures, in the
//! table and in the report, follow from these rows.

use serde::{Deserialize, Serialize};

/// One row of `NAME.replies.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The reply to a question.
    Question(QuestionReply),
    /// The reply to a request with conditions.
    Request(RequestReply),
    /// The log-probabilities of two replies.
    Pair(PairReply),
    /// A pair that could not be measured.
    SkippedPair(SkippedPair),
    /// The log-probability of a document.
    Document(DocumentReply),
}

/// How a question is put to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PromptMode {
    /// In the chat template.
    Chat,
    /// As plain text after five solved examples of its kind; the reply ends with its line.
    FiveShot,
}

impl PromptMode {
    /// Its name in tables.
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
    /// It reached `--max-tokens` or the end of the context.
    Cut,
    /// There is none: the prompt leaves no room for a reply in the context.
    PromptTooLong,
}

/// The reply to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuestionReply {
    pub(crate) mode: PromptMode,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) reply: String,
    pub(crate) ending: Ending,
    pub(crate) right: bool,
}

/// The reply to a request with conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestReply {
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) instruction_ids: Vec<String>,
    pub(crate) reply: String,
    pub(crate) ending: Ending,
    /// For each instruction, whether the reply follows it strictly.
    pub(crate) followed: Vec<bool>,
}

impl RequestReply {
    /// Whether the reply follows all instructions.
    pub(crate) fn follows_all(&self) -> bool {
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
    /// Whether the chosen reply is more likely than the rejected one.
    pub(crate) fn prefers_chosen(&self) -> bool {
        self.chosen.log_probability > self.rejected.log_probability
    }
}

/// One reply of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Natural logarithm, summed over the tokens of the reply and the stop token.
    pub(crate) log_probability: f64,
    /// Tokens of the reply and the stop token.
    pub(crate) tokens: usize,
}

/// A pair that could not be measured, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SkippedPair {
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// The log-probability of a held-out document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DocumentReply {
    pub(crate) source: String,
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// Predicted tokens: all but the first of each piece.
    pub(crate) tokens: usize,
    /// Bytes of the predicted tokens.
    pub(crate) bytes: usize,
    /// Their negative natural log-probability.
    pub(crate) nats: f64,
}

/// The replies to questions in one mode.
pub(crate) fn questions(replies: &[Reply], mode: PromptMode) -> impl Iterator<Item = &QuestionReply> {
    replies.iter().filter_map(move |reply| match reply {
        Reply::Question(question) if question.mode == mode => Some(question),
        _ => None,
    })
}

/// The kinds of questions, in the order in which they first occur.
pub(crate) fn kinds<'a>(questions: impl Iterator<Item = &'a QuestionReply>) -> Vec<&'a str> {
    let mut kinds: Vec<&str> = Vec::new();
    for question in questions {
        if kinds.last() != Some(&question.kind.as_str()) && !kinds.contains(&question.kind.as_str()) {
            kinds.push(&question.kind);
        }
    }
    kinds
}

/// The replies to requests.
pub(crate) fn requests(replies: &[Reply]) -> impl Iterator<Item = &RequestReply> {
    replies.iter().filter_map(|reply| match reply {
        Reply::Request(request) => Some(request),
        _ => None,
    })
}

/// The pairs that were measured.
pub(crate) fn pairs(replies: &[Reply]) -> impl Iterator<Item = &PairReply> {
    replies.iter().filter_map(|reply| match reply {
        Reply::Pair(pair) => Some(pair),
        _ => None,
    })
}
