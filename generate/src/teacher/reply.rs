//! What an endpoint's response means: an answer, a passing failure, or a refusal.

use super::call::CallError;
use crate::endpoint::cause;
use crate::store::Reply;
use anyhow::anyhow;
use openai::reply::{CompletionReply, ErrorReply, ReplyUsage};
use reqwest::{Response, StatusCode};

/// Bytes per token in the estimate for servers that count no tokens.
pub(super) const BYTES_PER_TOKEN: u64 = 4;
/// Maximum size of a response's body, in bytes: an endless response must not fill the memory.
pub(super) const MAX_BODY: usize = 16 << 20;
/// Maximum number of characters of a server's message that are kept.
pub(super) const MAX_MESSAGE: usize = 1000;
/// Maximum number of tokens of one call that is believed, so that the store's sums cannot overflow.
const MAX_TOKENS: u64 = u32::MAX as u64;

/// Reads a body of at most [`MAX_BODY`] bytes.
pub(super) async fn whole(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + piece.len() > MAX_BODY {
            return Err(format!("the response has more than {MAX_BODY} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Reads a completion's body; the error is why it cannot be used.
pub(super) fn completion(body: &[u8]) -> Result<Reply, String> {
    let reply: CompletionReply = serde_json::from_slice(body)
        .map_err(|error| format!("the response is not a completion ({error})"))?;
    let choice = reply.choices.into_iter().next().ok_or("the response has no choices")?;
    let finish = choice.finish_reason.clone();
    let text = choice.into_text();
    let estimate =
        ReplyUsage { prompt_tokens: 0, completion_tokens: (text.len() as u64).div_ceil(BYTES_PER_TOKEN) };
    let usage = reply.usage.unwrap_or(estimate);
    Ok(Reply {
        text,
        cut: finish.as_deref() == Some("length"),
        filtered: finish.as_deref() == Some("content_filter"),
        prompt_tokens: usage.prompt_tokens.min(MAX_TOKENS),
        completion_tokens: usage.completion_tokens.min(MAX_TOKENS),
    })
}

/// What a status without success means: whether it concerns this call, is temporary, or ends the run.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> CallError {
    let error = serde_json::from_slice::<ErrorReply>(body).map(|body| body.error).unwrap_or_default();
    let message =
        if error.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { error.message };
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    let words = format!("{message} {} {}", error.kind.unwrap_or_default(), error.code.unwrap_or_default());
    let words = words.to_lowercase();
    let has_any = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let unusable = || CallError::Unusable(anyhow!("the teacher returns {status}: {message}"));
    let rejected = || CallError::Rejected(Some(status.as_u16()), format!("{status}: {message}"));
    // An account without money reports it with 402, 429 or 400, and does not recover.
    if has_any(&["insufficient_quota", "billing_hard_limit", "credit balance", "insufficient balance"]) {
        return unusable();
    }
    let too_long =
        ["context_length", "exceed_context", "context size", "maximum context", "request too large"];
    if !status.is_server_error() && has_any(&too_long) {
        return CallError::TooLong(message);
    }
    match status.as_u16() {
        // A moderator before the model rejects this prompt, not this key.
        403 if has_any(&["flagged", "moderation"]) => rejected(),
        300..=399 | 401..=405 => unusable(),
        code if is_temporary(status) || code >= 600 => CallError::Failed(format!("status {status}")),
        _ => rejected(),
    }
}

/// Whether the same request may be answered later.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(status: u16, body: &str) -> &'static str {
        match refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            CallError::TooLong(_) => "too long",
            CallError::Rejected(..) => "rejected",
            CallError::RejectedEarly(_) => "rejected early",
            CallError::Failed(_) => "failed",
            CallError::Unusable(_) => "unusable",
            CallError::Stopped => "stopped",
        }
    }

    #[test]
    fn errors_of_the_account_and_temporary_errors_are_not_rejections() {
        let error = |message: &str, code: &str| {
            json!({"error": {"message": message, "type": "t", "code": code}}).to_string()
        };
        for (status, body, expected) in [
            (400, error("no good", "x"), "rejected"),
            (422, error("no good", "x"), "rejected"),
            (400, error("m", "context_length_exceeded"), "too long"),
            (429, error("Request too large for m on tokens per min", "rate_limit_exceeded"), "too long"),
            (402, error("Insufficient Balance", "invalid_request_error"), "unusable"),
            (402, String::new(), "unusable"),
            (400, error("Your credit balance is too low", "x"), "unusable"),
            (429, error("You exceeded your current quota", "insufficient_quota"), "unusable"),
            (401, error("no key", "x"), "unusable"),
            (403, error("no key", "x"), "unusable"),
            (403, error("your input was flagged", "x"), "rejected"),
            (307, String::new(), "unusable"),
            (408, String::new(), "failed"),
            (409, String::new(), "failed"),
            (429, String::new(), "failed"),
            (500, error("the maximum context worker died", "x"), "failed"),
            (503, String::new(), "failed"),
        ] {
            assert_eq!(kind(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn messages_and_counts_of_a_server_are_limited() {
        let CallError::Rejected(_, words) = refusal(StatusCode::BAD_REQUEST, &vec![b'x'; 1 << 20]) else {
            panic!("a 400 is a rejection")
        };
        assert!(words.len() < 1100);
        let body =
            json!({"choices": [{"text": "a"}], "usage": {"prompt_tokens": u64::MAX, "completion_tokens": 1}});
        assert_eq!(completion(body.to_string().as_bytes()).unwrap().prompt_tokens, MAX_TOKENS);
        let body = json!({"choices": [{"text": "Half an ans", "finish_reason": "content_filter"}]});
        assert!(completion(body.to_string().as_bytes()).unwrap().filtered);
    }
}
