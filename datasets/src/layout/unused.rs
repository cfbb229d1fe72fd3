//! Columns that look like a reply and that a layout does not use: a reply that is left out silently would be a model that
//! never learned it.

use super::message::{Object, short};
use crate::row::{MEDIA, Row};
use crate::weight;
use serde_json::Value;

const NAMES: [&str; 21] = [
    "answer",
    "answers",
    "chosen",
    "completion",
    "completions",
    "generation",
    "generations",
    "output",
    "outputs",
    "reply",
    "replies",
    "rejected",
    "rejected_response",
    "response",
    "responses",
    "solution",
    "solutions",
    "target",
    "targets",
    "preferred_output",
    "non_preferred_output",
];

/// Refuses a row with a reply that it does not use.
pub(super) fn refuse(row: &Row) -> Result<(), String> {
    let (metadata, texts): (&Object, Vec<&str>) = match row {
        // Of several replies a pair shows two.
        Row::Preference(_) => return Ok(()),
        Row::Text(row) => (&row.metadata, vec![&row.text]),
        Row::Chat(row) => {
            (&row.metadata, row.messages.iter().map(|message| message.content.as_str()).collect())
        }
    };
    let candidates = metadata.iter().filter(|(name, _)| is_reply(name));
    let mut unused = candidates.filter(|(_, value)| is_elsewhere(value, &texts) == Some(false));
    match unused.next() {
        None => Ok(()),
        Some((name, value)) => Err(format!(
            "`{name}` ({}) looks like a reply and is not used; name the columns, as in `--columns \
             prompt=COLUMN,reply={name}`, or leave it with `--columns ignore={name}`",
            short(value)
        )),
    }
}

/// Whether a column beside `messages` can change what a conversation is, or whether it is one: a row without such columns
/// is its messages.
pub(crate) fn changes_conversations(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "messages",
        "conversations",
        "conversation",
        "system",
        "system_prompt",
        "tools",
        "label",
        "kto_tag",
        "better_response_id",
        "conversation_a",
        "conversation_b",
        "message_tree_id",
        "rejected_messages",
    ];
    NAMES.contains(&name)
        || is_reply(name)
        || name.starts_with("chosen")
        || MEDIA.contains(&name)
        || weight::NAMES.contains(&name)
}

/// What the names of replies end in: `generated_answer`, `model_response`.
const ENDINGS: [&str; 5] = ["_answer", "_response", "_reply", "_completion", "_target"];

fn is_reply(name: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    if ENDINGS.iter().any(|ending| folded.ends_with(ending)) {
        return true;
    }
    let numbered = |(before, after): (&str, &str)| {
        NAMES.contains(&before) && matches!(after, "a" | "b" | "0" | "1" | "2" | "3" | "4")
    };
    NAMES.contains(&folded.as_str()) || folded.rsplit_once('_').is_some_and(numbered)
}

/// Whether a text, or one of several, is in the messages too; `None` for what is no text.
fn is_elsewhere(value: &Value, texts: &[&str]) -> Option<bool> {
    let is_in = |text: &str| texts.iter().any(|content| content.contains(text.trim()));
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(is_in(text)),
        Value::Array(items) if !items.is_empty() => {
            let known: Vec<bool> = items
                .iter()
                .filter_map(|item| match item {
                    Value::Object(fields) => {
                        let any = fields
                            .values()
                            .filter_map(Value::as_str)
                            .any(|text| !text.trim().is_empty() && is_in(text));
                        Some(any)
                    }
                    item => is_elsewhere(item, texts),
                })
                .collect();
            if known.is_empty() { None } else { Some(known.contains(&true)) }
        }
        _ => None,
    }
}
