//! Open-Assistant's trees: the conversation along their best replies.

use super::message::Object;
use crate::row::{ChatRow, Message, Row};
use serde_json::Value;

/// The conversation along the best reply to each message: the lowest rank, of those that were neither deleted nor
/// rejected by reviewers; the first of equal ones.
pub(super) fn row(mut object: Object) -> Result<Row, String> {
    let root = object.remove("prompt").unwrap_or_default();
    let mut messages = Vec::new();
    let mut node = &root;
    loop {
        let role = if node["role"] == "assistant" { "assistant" } else { "user" };
        let text = node["text"].as_str().ok_or("a message of the tree has no text")?;
        messages.push(Message::new(role, text));
        match best(&node["replies"]) {
            Some(reply) => node = reply,
            None => return Ok(Row::Chat(ChatRow { messages, metadata: object })),
        }
    }
}

fn best(replies: &Value) -> Option<&Value> {
    let is_kept = |reply: &&Value| reply["deleted"] != true && reply["review_result"] != false;
    let rank = |reply: &&Value| reply["rank"].as_f64().unwrap_or(f64::INFINITY);
    replies.as_array()?.iter().filter(is_kept).min_by(|one, other| rank(one).total_cmp(&rank(other)))
}
