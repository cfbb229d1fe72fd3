//! What an endpoint's response means: an answer, a passing failure, or a refusal.

use super::call::CallError;
use crate::endpoint::cause;
use crate::store::Reply;
use anyhow::anyhow;
use datasets::logprobs::TokenLogprobs;
use flate2::read::GzDecoder;
use openai::reply::{CompletionReply, ErrorReply, ReplyEnd, ReplyFault, ReplyUsage, parse, unreadable};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::io::Read;

/// Bytes per token in the estimate for servers that count no tokens.
pub(super) const BYTES_PER_TOKEN: u64 = 4;
/// Maximum size of a response's body, in bytes: an endless response must not fill the memory.
pub(super) const MAX_BODY: usize = 16 << 20;
/// Maximum number of characters of a server's message that are kept.
pub(super) const MAX_MESSAGE: usize = 1000;
/// Maximum number of tokens of one call that is believed, so that the store's sums cannot overflow.
const MAX_TOKENS: u64 = u32::MAX as u64;

/// Why a response of success has no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It is an error in spite of its status; it was not billed.
    Error(Box<Refusal>),
    /// It may have been billed: with these counts, or with its worst case.
    Unanswered(String, Option<ReplyUsage>),
}

/// A refusal: what it means for the call, and the provider's words.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) meaning: CallError,
    pub(super) status: u16,
    pub(super) words: ErrorReply,
}

/// Reads a body of at most [`MAX_BODY`] bytes.
pub(super) async fn whole(response: Response) -> Result<Vec<u8>, String> {
    let (body, end) = as_far_as_it_came(response).await;
    end.map(|()| body)
}

/// Reads a body of at most [`MAX_BODY`] bytes, and why it ended too early.
pub(super) async fn as_far_as_it_came(mut response: Response) -> (Vec<u8>, Result<(), String>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() > MAX_BODY => {
                return (body, Err(format!("the response has more than {MAX_BODY} bytes")));
            }
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(cause(&error))),
        }
    }
}

/// The text of a body: unpacked if it is gzip, which nobody asked for, and in the encoding that its type names.
fn text_of(body: &[u8], content_type: &str) -> Result<String, String> {
    let mut unpacked = Vec::new();
    let body = if body.starts_with(&[0x1f, 0x8b]) {
        let read = GzDecoder::new(body).take(MAX_BODY as u64).read_to_end(&mut unpacked);
        read.map_err(|error| format!("the response is damaged gzip ({error})"))?;
        unpacked.as_slice()
    } else {
        body
    };
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) if ["iso-8859-1", "latin1", "windows-1252"].iter().any(|name| content_type.contains(name)) => {
            Ok(body.iter().map(|byte| char::from(*byte)).collect())
        }
        Err(error) => {
            let fault = format!("the response is not UTF-8 at byte {}", error.valid_up_to());
            Err(unreadable(&fault, &String::from_utf8_lossy(body)))
        }
    }
}

/// Reads a completion's body, with the content type of its response.
pub(super) fn completion(body: &[u8], content_type: &str) -> Result<Reply, NoAnswer> {
    let unanswered = |reason| NoAnswer::Unanswered(reason, None);
    let text = text_of(body, &content_type.to_lowercase()).map_err(unanswered)?;
    let value = parse(&text).map_err(unanswered)?;
    let reply = match CompletionReply::read(&value) {
        Ok(reply) => reply,
        Err(ReplyFault::NoAnswer(fault)) => return Err(unanswered(unreadable(&fault, &text))),
        Err(ReplyFault::Error(words)) => {
            // An error without a status is the gateway's, and passes.
            let status = words.status().and_then(|status| StatusCode::from_u16(status).ok());
            let refusal = meaning(status.unwrap_or(StatusCode::BAD_GATEWAY), words);
            // What was counted before the error is billed.
            let usage = ReplyUsage::read(&value["usage"]);
            return Err(match &refusal.meaning {
                CallError::Failed(reason) if usage.completion_tokens > 0 => {
                    NoAnswer::Unanswered(format!("an error in place of the answer: {reason}"), Some(usage))
                }
                _ => NoAnswer::Error(Box::new(refusal)),
            });
        }
    };
    let usage = believed(&reply);
    let ended = |word: &str| format!("the answer ended with `{word}`, which is no natural end");
    match &reply.end {
        ReplyEnd::Error(word) | ReplyEnd::Unknown(word) => {
            return Err(NoAnswer::Unanswered(
                ended(word),
                Some(usage).filter(|usage| usage.prompt_tokens > 0),
            ));
        }
        ReplyEnd::Natural | ReplyEnd::Cut | ReplyEnd::Filtered => {}
    }
    Ok(Reply {
        text: reply.text,
        reasoning: Some(reply.reasoning).filter(|reasoning| !reasoning.is_empty()),
        cut: reply.end == ReplyEnd::Cut,
        filtered: reply.end == ReplyEnd::Filtered,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        logprobs: logprobs(reply.logprobs),
    })
}

/// Log-probabilities as they are stored; none where they are not in OpenAI's shape.
fn logprobs(sent: Value) -> Vec<TokenLogprobs> {
    let mut tokens: Vec<TokenLogprobs> = serde_json::from_value(sent).unwrap_or_default();
    TokenLogprobs::shorten(&mut tokens);
    tokens
}

/// The counts of an answer, estimated where the server reports none.
fn believed(reply: &CompletionReply) -> ReplyUsage {
    let bytes = (reply.text.len() + reply.reasoning.len()) as u64;
    let completion_tokens = match reply.usage.completion_tokens {
        0 => bytes.div_ceil(BYTES_PER_TOKEN),
        counted => counted,
    };
    ReplyUsage {
        prompt_tokens: reply.usage.prompt_tokens.min(MAX_TOKENS),
        completion_tokens: completion_tokens.min(MAX_TOKENS),
    }
}

/// What a status without success means: whether it concerns this call, is temporary, or ends the run.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let text = text_of(body, "").unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    let words = parse(&text).ok().and_then(|body| ErrorReply::read(&body));
    meaning(status, words.unwrap_or_else(|| ErrorReply { message: text, ..ErrorReply::default() }))
}

fn meaning(status: StatusCode, words: ErrorReply) -> Refusal {
    let message: String = words.message.trim().chars().take(MAX_MESSAGE).collect();
    Refusal { meaning: call_error(status, &message, &words), status: status.as_u16(), words }
}

fn call_error(status: StatusCode, message: &str, error: &ErrorReply) -> CallError {
    let words = format!("{message} {} {}", error.kind, error.code).to_lowercase();
    let has_any = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let unusable = || CallError::Unusable(anyhow!("the teacher returns {status}: {message}"));
    let rejected = || CallError::Rejected(Some(status.as_u16()), format!("{status}: {message}"));
    // An account without money reports it with 402, 429 or 400, and does not recover.
    let no_money = [
        "insufficient_quota",
        "billing_hard_limit",
        "credit balance",
        "insufficient balance",
        "insufficient credit",
        "insufficient funds",
    ];
    if has_any(&no_money) {
        return unusable();
    }
    let too_long =
        ["context_length", "exceed_context", "context size", "maximum context", "request too large"];
    if !status.is_server_error() && has_any(&too_long) {
        return CallError::TooLong(message.to_owned());
    }
    match status.as_u16() {
        // A moderator before the model rejects this prompt, not this key.
        403 if has_any(&["flagged", "moderation"]) => rejected(),
        300..=399 | 401..=405 => unusable(),
        code if is_temporary(status) || code >= 600 => CallError::Failed(match message {
            "" => format!("status {status}"),
            message => format!("status {status}: {message}"),
        }),
        _ => rejected(),
    }
}

/// Whether the same request may be answered later.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

#[cfg(test)]
mod tests;
