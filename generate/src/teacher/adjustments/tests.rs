//! What providers refuse, in their words, and what is sent then.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::recipe::Sampling;
use crate::teacher::call::Prompt;

fn call() -> Call {
    Call::new(Prompt::Assistant(Vec::new()), Sampling { temperature: 0.5, top_p: 1.0, max_tokens: 1024 }, 7)
}

fn body() -> Value {
    let schema = json!({"type": "object", "properties": {"pattern": {"type": "string", "minLength": 1}}, "required": ["pattern"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    json!({"model": "m", "messages": [], "max_tokens": 1024, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["a"], "response_format": format})
}

/// The body that is sent after refusals with these messages.
fn sent_after(refusals: &[(&str, Option<&str>)]) -> Value {
    let mut adjustments = Adjustments::default();
    let mut sent = body();
    for (message, param) in refusals {
        let refusal = ErrorReply {
            message: (*message).to_owned(),
            param: param.map(str::to_owned),
            ..ErrorReply::default()
        };
        let next = adjustments.after(400, &refusal, &call(), &sent);
        let Some(NextTry::Adjusted(next, _)) = next else { panic!("{message}: {next:?}") };
        adjustments = next;
        sent = body();
        adjustments.apply(&mut sent);
    }
    sent
}

#[test]
fn a_parameter_that_is_named_is_left_out_or_renamed() {
    let sent = sent_after(&[
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            Some("max_tokens"),
        ),
        ("Unsupported value: 'temperature' does not support 0.5 with this model.", Some("temperature")),
        ("Invalid JSON payload received. Unknown name \"seed\": Cannot find field.", None),
        ("stop: at most 2 sequences", None),
    ]);
    assert_eq!(sent["max_completion_tokens"], 1024);
    for name in ["max_tokens", "temperature", "seed", "stop"] {
        assert!(sent.get(name).is_none(), "{name}: {sent}");
    }
    assert_eq!(sent["top_p"], 0.9);
    let both = "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
    let sent = sent_after(&[(both, None)]);
    assert!(sent.get("top_p").is_none() && sent["temperature"] == 0.5);
}

#[test]
fn json_is_asked_for_as_the_endpoint_takes_it() {
    let keyword = "Invalid schema for response_format 'answer': In context=(), 'minLength' is not permitted.";
    let sent = sent_after(&[(keyword, Some("response_format"))]);
    let schema = &sent["response_format"]["json_schema"]["schema"];
    // A property may have the name of a keyword.
    assert_eq!(schema["properties"], json!({"pattern": {"type": "string"}}));
    assert_eq!(schema["required"], json!(["pattern"]));
    let other = "This response_format type is unavailable now";
    assert_eq!(sent_after(&[(other, None)])["response_format"], json!({"type": "json_object"}));
    assert!(sent_after(&[(other, None), (other, None)]).get("response_format").is_none());
    assert!(sent_after(&[(keyword, None), (keyword, None), (other, None)]).get("response_format").is_none());
}

#[test]
fn a_refusal_that_names_nothing_of_the_request_changes_nothing() {
    let after = |status: u16, message: &str| {
        let refusal = ErrorReply { message: message.to_owned(), ..ErrorReply::default() };
        Adjustments::default().after(status, &refusal, &call(), &body())
    };
    for message in ["your prompt was flagged", "unseeded stopwords", "messages: field required"] {
        assert_eq!(after(400, message), None, "{message}");
    }
    assert_eq!(after(401, "seed is not permitted"), None);
    let long = "maximum context length is 1024 tokens. However, you requested 1101 tokens (77 in the messages, 1024 in the completion)";
    assert_eq!(after(400, long), Some(NextTry::Shorter(947)));
    let cap = "max_tokens is too large: 1024. This model supports at most 512 completion tokens";
    let Some(NextTry::Adjusted(next, _)) = after(400, cap) else { panic!("it is a limit of all calls") };
    let mut sent = body();
    next.apply(&mut sent);
    assert_eq!(sent["max_tokens"], 512);
}

#[test]
fn a_value_that_is_refused_does_not_rename_its_parameter() {
    let after = |message: &str| {
        let refusal = ErrorReply { message: message.to_owned(), ..ErrorReply::default() };
        Adjustments::default().after(400, &refusal, &call(), &body())
    };
    assert_eq!(after("max_tokens is not a number that this model likes"), None);
    let Some(NextTry::Adjusted(next, _)) = after("Range of max_tokens should be [1, 512]") else {
        panic!("it is a limit of all calls")
    };
    let mut sent = body();
    next.apply(&mut sent);
    assert_eq!((sent["max_tokens"].as_u64(), sent.get("max_completion_tokens")), (Some(512), None));
}
