//! The body of an answer as a JSON value, as it comes: after a byte order mark or comments that keep a connection alive,
//! as a stream of events although none was asked for, with `NaN` where JSON has no number, or with half an emoji.

use super::content::{reasoning, texts};
use serde_json::{Value, json};

/// Number of characters of a body that cannot be read which are shown.
const SHOWN: usize = 120;

/// Reads a body.
///
/// # Errors
/// What is wrong with it, with its first characters.
pub fn parse(body: &str) -> Result<Value, String> {
    let text = without_comments(body.trim_start_matches('\u{feff}'));
    if text.starts_with("data:") || text.starts_with("event:") || text.starts_with("id:") {
        return events(text);
    }
    value(text).map_err(|error| unreadable(&format!("the response is not JSON ({error})"), body))
}

/// A fault with the first characters of the body.
pub fn unreadable(fault: &str, body: &str) -> String {
    let mut begin: String = body.trim().chars().take(SHOWN).collect();
    if begin.is_empty() {
        begin.push_str("nothing");
    }
    format!("{fault}; it begins with: {}", begin.replace(['\n', '\r'], " "))
}

/// The text after blank lines and comments of an event stream (`: OPENROUTER PROCESSING`).
fn without_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix(':') {
            Some(comment) => text = comment.split_once('\n').map_or("", |(_, rest)| rest),
            None => return text,
        }
    }
}

/// JSON, mended where a server writes what JSON does not have.
fn value(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|error| match mended(text) {
        Some(mended) => serde_json::from_str(&mended).map_err(|_| error),
        None => Err(error),
    })
}

/// The text with `null` for `NaN` and infinities outside of strings, and U+FFFD for the half of a surrogate pair;
/// `None` if it has neither.
fn mended(text: &str) -> Option<String> {
    let (mut out, mut rest, mut is_string, mut is_mended) =
        (String::with_capacity(text.len()), text, false, false);
    while let Some(next) = rest.chars().next() {
        let numbers = ["NaN", "-Infinity", "Infinity"];
        if let Some(number) = numbers.iter().find(|number| !is_string && rest.starts_with(**number)) {
            out.push_str("null");
            (rest, is_mended) = (&rest[number.len()..], true);
            continue;
        }
        let taken = if is_string && next == '\\' {
            match (surrogate(rest), rest.get(6..).and_then(surrogate)) {
                (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
                (Some(_), _) => {
                    out.push_str("\\ufffd");
                    (rest, is_mended) = (&rest[6..], true);
                    continue;
                }
                (None, _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            }
        } else {
            is_string ^= next == '"';
            next.len_utf8()
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    is_mended.then_some(out)
}

/// The code unit of an escape `\ud800` to `\udfff` at the start of a text.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
}

/// The answer that a stream of chunks adds up to, in the shape of a whole one.
fn events(text: &str) -> Result<Value, String> {
    let (mut parts, mut has_ended) = (Parts::default(), false);
    // An event's data may have several lines; servers of completions write one.
    for line in text.lines() {
        let Some(data) = line.strip_prefix("data:").map(str::trim).filter(|data| !data.is_empty()) else {
            continue;
        };
        if data == "[DONE]" {
            has_ended = true;
            break;
        }
        let chunk = value(data)
            .map_err(|error| unreadable(&format!("an event of the response is not JSON ({error})"), data))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(chunk);
        }
        parts.add(&chunk);
    }
    if !has_ended && parts.finish.is_null() {
        return Err(unreadable("the response is a stream of events that broke off", text));
    }
    Ok(parts.into_whole())
}

/// What the chunks have said so far about the first answer.
#[derive(Default)]
struct Parts {
    text: String,
    reasoning: String,
    finish: Value,
    usage: Value,
}

impl Parts {
    fn add(&mut self, chunk: &Value) {
        let choice = &chunk["choices"][0];
        if choice["index"].as_u64().unwrap_or(0) == 0 {
            // The last chunk of some servers is the whole answer.
            let delta = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
            let (text, thoughts) = texts(&delta["content"]);
            self.text.push_str(choice["text"].as_str().unwrap_or(&text));
            self.reasoning.push_str(&thoughts);
            self.reasoning.push_str(&reasoning(delta));
            if !choice["finish_reason"].is_null() {
                self.finish = choice["finish_reason"].clone();
            }
        }
        if !chunk["usage"].is_null() {
            self.usage = chunk["usage"].clone();
        }
    }

    fn into_whole(self) -> Value {
        let message = json!({"content": self.text, "reasoning_content": self.reasoning});
        let choice = json!({"message": message, "finish_reason": self.finish});
        json!({"choices": [choice], "usage": self.usage})
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_json_is_no_obstacle() {
        let expected = json!({"a": 1});
        for text in [
            "{\"a\": 1}",
            "\u{feff}{\"a\": 1}",
            "\n\n {\"a\": 1}\n",
            ": PROCESSING\n\n: PROCESSING\n\n{\"a\": 1}",
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_json_does_not_have_is_mended_outside_of_texts_only() {
        let read = |text: &str| parse(text).unwrap();
        assert_eq!(
            read(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN"}"#),
            json!({"a": null, "b": [null, null], "c": "NaN"})
        );
        assert_eq!(
            read(r#"["x\ud83d", "\ude00", "\ud83d\ude00", "\\ud83d"]"#),
            json!(["x\u{fffd}", "\u{fffd}", "\u{1f600}", "\\ud83d"])
        );
        assert_eq!(read(r#"{"a": "\"NaN\" \ud83d é"}"#), json!({"a": "\"NaN\" \u{fffd} é"}));
        assert!(parse(r#"{"a": "\ud8"}"#).is_err());
    }

    #[test]
    fn a_stream_that_nobody_asked_for_is_put_together() {
        let chunk = |delta: Value, finish: Value| {
            format!(
                "data: {}\n\n",
                json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            )
        };
        let parts = [
            chunk(json!({"role": "assistant", "reasoning_content": "Hm."}), Value::Null),
            chunk(json!({"content": "One "}), Value::Null),
            chunk(json!({"content": "two."}), json!("stop")),
            format!(
                "data: {}\n\n",
                json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
            ),
        ]
        .concat();
        for text in [format!(": hello\n\n{parts}data: [DONE]\n\n"), parts] {
            let whole = parse(&text).unwrap();
            assert_eq!(
                whole["choices"][0]["message"],
                json!({"content": "One two.", "reasoning_content": "Hm."})
            );
            assert_eq!(
                (&whole["choices"][0]["finish_reason"], &whole["usage"]["prompt_tokens"]),
                (&json!("stop"), &json!(3))
            );
        }
        let broken = chunk(json!({"content": "One "}), Value::Null);
        assert!(parse(&broken).unwrap_err().contains("broke off"));
        let failed = format!("{broken}data: {}\n\n", json!({"error": {"message": "out of memory"}}));
        assert_eq!(parse(&failed).unwrap()["error"]["message"], "out of memory");
    }

    #[test]
    fn what_cannot_be_read_is_shown() {
        let error = parse("<!DOCTYPE html>\n<html>Sign in</html>").unwrap_err();
        assert!(error.contains("begins with: <!DOCTYPE html> <html>Sign in"), "{error}");
        assert!(parse("").unwrap_err().ends_with("begins with: nothing"));
    }
}
