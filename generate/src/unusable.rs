//! Why an answer cannot be used: the reasons and details by which rows are dropped, and JSON that is used if there is any.

use crate::answer::json_in;
use crate::store::Reply;
use serde_json::Value;

/// Returns the text up to the end of its last whole sentence; empty if there is none.
pub(crate) fn whole_sentences(text: &str) -> &str {
    let end = text.rfind(['.', '!', '?']).map_or(0, |end| end + 1);
    text[..end].trim()
}

/// What an answer that reached its limit lacks.
pub(crate) fn not_ended(reply: &Reply, max_tokens: usize) -> String {
    let thoughts = match reply.text.trim().is_empty() && reply.reasoning.is_some() {
        true => ", all of them thoughts",
        false => "",
    };
    format!("not ended after {max_tokens} tokens{thoughts}")
}

/// What the log-probabilities of a reply lack.
pub(crate) fn without_logprobs(reply: &Reply) -> &'static str {
    match reply.logprobs.is_empty() {
        true => "without log-probabilities of their tokens (`--keep-logprobs`)",
        false => "with log-probabilities of tokens that do not spell them (`--keep-logprobs`)",
    }
}

/// The error that a teacher is told of: without the answer, which it is shown beside it.
pub(crate) fn shown(detail: &str) -> String {
    detail.split(": ").next().unwrap_or(detail).chars().take(300).collect()
}

/// The reason and the detail of a drop because of a provider's content filter.
pub(crate) fn filtered() -> (&'static str, String) {
    ("filtered", "removed by the provider's content filter".to_owned())
}

/// The JSON of a reply, or the reason and the detail of a drop because there is none. Some servers send the JSON as what
/// the model thought.
pub(crate) fn json_of(
    reply: &Reply,
    max_tokens: usize,
    schema: &Value,
) -> Result<Value, (&'static str, String)> {
    let text = match &reply.reasoning {
        Some(reasoning) if reply.text.trim().is_empty() => reasoning,
        _ => &reply.text,
    };
    let whole = serde_json::from_str::<Value>(text.trim());
    match (reply, whole) {
        (Reply { filtered: true, .. }, _) => Err(filtered()),
        (_, Ok(value)) => Ok(value),
        // What was cut in the middle may have a whole value in its first half.
        (Reply { cut: true, .. }, Err(_)) => {
            Err(("cut_off", format!("not ended after {max_tokens} tokens: {text}")))
        }
        (_, Err(error)) => {
            json_in(text, schema).ok_or_else(|| ("unusable_judgement", format!("not JSON ({error}): {text}")))
        }
    }
}

/// The JSON if it fits the schema, or the reason and the detail of a drop.
pub(crate) fn fitting(schema: &Value, value: Value) -> Result<Value, (&'static str, String)> {
    match jsonschema::is_valid(schema, &value) {
        true => Ok(value),
        false => Err(("unusable_judgement", format!("does not fit the schema: {value}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn json_that_was_cut_off_has_the_reason_of_messages_that_were() {
        let reason = |cut, filtered| {
            let reply = Reply { text: "{\"score\": ".to_owned(), cut, filtered, ..Reply::default() };
            json_of(&reply, 128, &Value::Bool(true)).unwrap_err()
        };
        assert_eq!(reason(true, false), ("cut_off", "not ended after 128 tokens: {\"score\": ".to_owned()));
        assert_eq!(reason(false, true).0, "filtered");
        assert_eq!(reason(false, false).0, "unusable_judgement");
    }

    #[test]
    fn json_is_taken_out_of_thoughts_only_where_nothing_else_is() {
        let reply = |text: &str, reasoning: &str| Reply {
            text: text.to_owned(),
            reasoning: Some(reasoning.to_owned()),
            ..Reply::default()
        };
        let schema = serde_json::json!({"type": "object"});
        assert_eq!(json_of(&reply("", "{\"a\": 1}"), 9, &schema).unwrap()["a"], 1);
        assert_eq!(json_of(&reply("```\n{\"a\": 2}\n```", "{\"a\": 1}"), 9, &schema).unwrap()["a"], 2);
        assert_eq!(json_of(&reply("Fine.", "{\"a\": 1}"), 9, &schema).unwrap_err().0, "unusable_judgement");
        let half = Reply { cut: true, ..reply("[{\"a\": 1}, {\"a\": ", "") };
        assert_eq!(json_of(&half, 9, &schema).unwrap_err().0, "cut_off");
    }
}
