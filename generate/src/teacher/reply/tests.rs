//! Responses of every kind, and what they mean.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::{Value, json};

fn kind(status: u16, body: &str) -> &'static str {
    match refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes()).meaning {
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
        (429, error("Insufficient credits. Add more", "x"), "unusable"),
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
    let refused = refusal(StatusCode::BAD_REQUEST, &vec![b'x'; 1 << 20]).meaning;
    let CallError::Rejected(_, words) = refused else { panic!("a 400 is a rejection") };
    assert!(words.len() < 1100);
    let body =
        json!({"choices": [{"text": "a"}], "usage": {"prompt_tokens": u64::MAX, "completion_tokens": 1}});
    assert_eq!(completion(body.to_string().as_bytes(), "").unwrap().prompt_tokens, MAX_TOKENS);
    let body = json!({"choices": [{"text": "Half an ans", "finish_reason": "content_filter"}]});
    assert!(completion(body.to_string().as_bytes(), "").unwrap().filtered);
}

/// What an answer that was sent with status 200 is.
fn read(body: &Value) -> String {
    match completion(body.to_string().as_bytes(), "application/json") {
        Ok(Reply { cut: true, .. }) => "cut".to_owned(),
        Ok(Reply { filtered: true, .. }) => "filtered".to_owned(),
        Ok(reply) => reply.text,
        Err(NoAnswer::Error(refusal)) => format!("{:?}", refusal.meaning),
        Err(NoAnswer::Unanswered(reason, usage)) => {
            format!("{reason} {:?}", usage.map(|usage| usage.completion_tokens))
        }
    }
}

#[test]
fn only_what_ended_by_itself_is_an_answer() {
    let ended = |word: &str| {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 3});
        read(&json!({"choices": [{"message": {"content": "Half a"}, "finish_reason": word}], "usage": usage}))
    };
    for (word, expected) in [
        ("stop", "Half a"),
        ("max_tokens", "cut"),
        ("MAX_TOKENS", "cut"),
        ("model_length", "cut"),
        ("SAFETY", "filtered"),
        (
            "insufficient_system_resource",
            "the answer ended with `insufficient_system_resource`, which is no natural end Some(3)",
        ),
        ("tool_calls", "the answer ended with `tool_calls`, which is no natural end Some(3)"),
    ] {
        assert_eq!(ended(word), expected, "{word}");
    }
}

#[test]
fn an_error_with_status_200_is_an_error_in_the_providers_words() {
    let passing = json!({"error": {"message": "Provider returned error", "code": 502}});
    assert!(
        read(&passing).starts_with("Failed(\"status 502 Bad Gateway: Provider returned error"),
        "{}",
        read(&passing)
    );
    let money = json!({"error": {"message": "Insufficient credits. Add more", "code": 402}, "user_id": "u"});
    assert!(
        read(&money).contains("Unusable") && read(&money).contains("Insufficient credits. Add more"),
        "{}",
        read(&money)
    );
    let choice = json!({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "Upstream error"}, "message": {"content": ""}}]});
    assert!(
        read(&choice).contains("Failed") && read(&choice).contains("Upstream error"),
        "{}",
        read(&choice)
    );
    let vllm = json!({"object": "error", "message": "The model m is not loaded", "code": 404});
    assert!(read(&vllm).contains("Unusable"), "{}", read(&vllm));
}

#[test]
fn bodies_are_read_in_the_encodings_that_servers_use() {
    let body =
        json!({"choices": [{"message": {"content": "a caf\u{e9}"}, "finish_reason": "stop"}]}).to_string();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, body.as_bytes()).unwrap();
    assert_eq!(completion(&packed.finish().unwrap(), "").unwrap().text, "a caf\u{e9}");
    let latin: Vec<u8> = body.chars().map(|letter| letter as u8).collect();
    assert_eq!(completion(&latin, "application/json; charset=ISO-8859-1").unwrap().text, "a caf\u{e9}");
    // Without its name, an encoding is not guessed: letters would be lost in rows.
    let NoAnswer::Unanswered(reason, None) = completion(&latin, "application/json").unwrap_err() else {
        panic!("it may have been billed")
    };
    assert!(reason.contains("not UTF-8 at byte") && reason.contains("begins with: {\"choices\""), "{reason}");
    let page = completion(b"<html>Sign in</html>", "text/html").unwrap_err();
    assert!(
        matches!(page, NoAnswer::Unanswered(reason, None) if reason.ends_with("begins with: <html>Sign in</html>"))
    );
}
