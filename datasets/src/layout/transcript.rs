//! Conversations that are one text with marks between the messages: Anthropic's and Glaive's.

use super::message::parse_calls;
use crate::row::Message;
use serde_json::Value;

/// A mark in a text and the role of what follows.
type Mark = (&'static str, &'static str);

const ANTHROPIC: [Mark; 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
const GLAIVE: [Mark; 3] = [("USER:", "user"), ("ASSISTANT:", "assistant"), ("FUNCTION RESPONSE:", "tool")];
/// What ends a message of Glaive's.
const GLAIVE_END: &str = "<|endoftext|>";
const GLAIVE_CALL: &str = "<functioncall>";

/// Anthropic's transcripts: messages that start with a blank line and "Human:" or "Assistant:".
pub(super) fn anthropic(text: &str) -> Option<Vec<Message>> {
    text.starts_with(ANTHROPIC[0].0).then(|| split(text, &ANTHROPIC))
}

/// Glaive's chats: "USER:", "ASSISTANT:" and "FUNCTION RESPONSE:", each at the start of a line; calls as
/// `<functioncall> {"name": ..., "arguments": '...'}`.
pub(super) fn glaive(text: &str) -> Option<Vec<Message>> {
    let text = format!("\n{}", text.trim_start());
    if !text[1..].starts_with(GLAIVE[0].0) {
        return None;
    }
    let marks = GLAIVE.map(|(mark, role)| (format!("\n{mark}"), role));
    let marks: Vec<(&str, &str)> = marks.iter().map(|(mark, role)| (mark.as_str(), *role)).collect();
    let mut list = split(&text, &marks);
    for message in &mut list {
        let content = message.content.trim_end().trim_end_matches(GLAIVE_END).trim();
        let call = content.strip_prefix(GLAIVE_CALL).and_then(glaive_call);
        message.content = if call.is_some() { String::new() } else { content.to_owned() };
        message.tool_calls = call;
    }
    Some(list)
}

/// A call whose arguments are JSON between single quotes.
fn glaive_call(text: &str) -> Option<Value> {
    let text = text.trim();
    parse_calls(text).or_else(|| {
        let (before, rest) = text.split_once("'{")?;
        let (arguments, after) = rest.rsplit_once("}'")?;
        parse_calls(&format!("{before}{{{arguments}}}{after}"))
    })
}

/// The messages between the marks; the text starts with one.
fn split(text: &str, marks: &[(&str, &str)]) -> Vec<Message> {
    let next = |from: &str| {
        let found = marks.iter().filter_map(|(mark, role)| from.find(mark).map(|at| (at, *mark, *role)));
        found.min_by_key(|(at, ..)| *at)
    };
    let mut list = Vec::new();
    let mut rest = text;
    let mut role = None;
    while let Some((at, mark, next_role)) = next(rest) {
        list.extend(role.map(|role| Message::new(role, rest[..at].trim())));
        rest = &rest[at + mark.len()..];
        role = Some(next_role);
    }
    list.extend(role.map(|role| Message::new(role, rest.trim())));
    list
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn glaives_calls_and_results_are_found() {
        let text = "USER: Rain in Bern?\n\n\nASSISTANT: <functioncall> {\"name\": \"rain\", \"arguments\": '{\"city\": \"Bern\"}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"rain\": false}\n\n\nASSISTANT: It's dry. <|endoftext|>";
        let list = glaive(text).unwrap();
        let roles: Vec<&str> = list.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
        assert_eq!(list[1].tool_calls.as_ref().unwrap()[0]["function"]["arguments"]["city"], "Bern");
        assert_eq!((list[1].content.as_str(), list[3].content.as_str()), ("", "It's dry."));
        assert!(glaive("no chat").is_none());
    }
}
