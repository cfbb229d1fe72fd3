//! Steps and draws that several tasks share.

use crate::row_context::{RowContext, RowError};
use crate::teacher::{Prompt, Teacher};
use anyhow::Result;
use checkpoint::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A kind of row and its weight among the rows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Category {
    pub(super) key: String,
    pub(super) weight: f64,
}

/// Selects a category by weight; `draw` is a uniform random number.
pub(super) fn category(categories: &[Category], draw: u64) -> &str {
    let total: f64 = categories.iter().map(|category| category.weight).sum();
    let mut remaining = random::unit(draw) * total;
    let category = categories.iter().find(|category| {
        remaining -= category.weight;
        remaining < 0.0
    });
    category.or(categories.last()).map_or("", |category| &category.key)
}

/// Appends the user's next turn and the reply to it, both written by the main teacher.
pub(super) async fn turn(
    context: &RowContext<'_>,
    number: usize,
    messages: &mut Vec<Message>,
) -> Result<(), RowError> {
    let user = context.message(&format!("user_{number}"), Prompt::User(messages.clone())).await?;
    messages.push(Message::new("user", user));
    reply(context, number, messages).await
}

/// Appends the reply to the last message of the conversation.
pub(super) async fn reply(
    context: &RowContext<'_>,
    number: usize,
    messages: &mut Vec<Message>,
) -> Result<(), RowError> {
    let text = context.message(&format!("assistant_{number}"), Prompt::Assistant(messages.clone())).await?;
    messages.push(Message::new("assistant", text));
    Ok(())
}

/// The teacher that judges: the main one unless another one is named.
pub(super) fn judge<'a>(context: &'a RowContext<'_>) -> &'a Teacher {
    context.teachers.judge.as_ref().unwrap_or(&context.teachers.main)
}

/// Selects an entry of a list by the row and a word.
pub(super) fn pick<'a, T>(context: &RowContext<'_>, word: &str, list: &'a [T]) -> &'a T {
    &list[(context.draw(word) % list.len() as u64) as usize]
}

/// Draws the number of turns: at least `minimum` (by default `turns`) and at most `turns`.
pub(super) fn turns(context: &RowContext<'_>, turns: usize, minimum: Option<usize>) -> usize {
    let minimum = minimum.unwrap_or(turns).min(turns);
    minimum + (context.draw("turns") % (turns - minimum + 1) as u64) as usize
}

/// The schema of an object with exactly these properties.
pub(super) fn object(properties: &Map<String, Value>) -> Value {
    let names: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// The text of a field; empty if it is not text.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The fields of an object.
pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
