//! The tasks: how a row of each is made, the columns it has, and what its near-duplicates are found by.

mod everyday_conversations;
mod function_calling;
mod magpie_ultra;
mod preferences;
mod smol_constraint;
mod sources;
mod system_chats;

use crate::recipe::Task;
use crate::teacher::{Prompt, Teacher};
use crate::walk::{Halt, Walk};
use anyhow::Result;
use datasets::write::{Column, Kind};
use serde_json::{Map, Value, json};
use smollm::Message;

/// Walks one row to its end.
pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    match walk.recipe.task {
        Task::MagpieUltra => Box::pin(magpie_ultra::row(walk)).await,
        Task::SmolConstraint => Box::pin(smol_constraint::row(walk)).await,
        Task::SmolRewrite | Task::SmolSummarization => Box::pin(sources::row(walk)).await,
        Task::EverydayConversations => Box::pin(everyday_conversations::row(walk)).await,
        Task::SystemChats => Box::pin(system_chats::row(walk)).await,
        Task::FunctionCalling => Box::pin(function_calling::row(walk)).await,
        Task::Preferences => Box::pin(preferences::row(walk)).await,
    }
}

/// The columns of a task's rows; `id`, `source` and the two of the nearest row are the same for all.
pub(crate) fn columns(task: Task) -> Vec<Column> {
    let own: &[(&str, Kind)] = match task {
        Task::MagpieUltra => &[
            ("category", Kind::Text),
            ("instruction", Kind::Text),
            ("intent", Kind::Text),
            ("knowledge", Kind::Text),
            ("difficulty", Kind::Text),
            ("explanation", Kind::Text),
            ("quality", Kind::Text),
            ("primary_tag", Kind::Text),
            ("other_tags", Kind::Texts),
            ("score", Kind::Integer),
            ("guard", Kind::Text),
        ],
        Task::SmolConstraint => &[
            ("prompt", Kind::Text),
            ("response", Kind::Text),
            ("instruction_id_list", Kind::Texts),
            ("kwargs", Kind::Text),
        ],
        Task::SmolRewrite | Task::SmolSummarization => &[("style", Kind::Text)],
        Task::EverydayConversations => {
            &[("topic", Kind::Text), ("subtopic", Kind::Text), ("turns", Kind::Integer)]
        }
        Task::SystemChats => &[
            ("role", Kind::Text),
            ("tone", Kind::Text),
            ("rules", Kind::Texts),
            ("adherence", Kind::Integer),
            ("explanation", Kind::Text),
        ],
        Task::FunctionCalling => {
            &[("tools", Kind::Text), ("calls", Kind::Text), ("need", Kind::Text), ("domain", Kind::Text)]
        }
        Task::Preferences => &[
            ("chosen_score", Kind::Float),
            ("rejected_score", Kind::Float),
            ("margin", Kind::Float),
            ("chosen_model", Kind::Text),
            ("rejected_model", Kind::Text),
            ("ratings", Kind::Text),
            ("request", Kind::Text),
        ],
    };
    let said: &[(&str, Kind)] = match task.has_messages() {
        true => &[("messages", Kind::Messages)],
        false => &[("prompt", Kind::Messages), ("chosen", Kind::Messages), ("rejected", Kind::Messages)],
    };
    let (id, source) = ([("id", Kind::Text)], [("source", Kind::Text)]);
    let nearest = [("nearest_id", Kind::Text), ("nearest_similarity", Kind::Float)];
    let all = id.iter().chain(said).chain(&source).chain(own).chain(&nearest);
    all.map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
}

/// What near-duplicates are found by: the user's first words, or all of them where the first ones are a greeting.
pub(crate) fn compared_text(task: Task, row: &Map<String, Value>) -> String {
    let said = row.get(if task.has_messages() { "messages" } else { "prompt" }).and_then(Value::as_array);
    let user = said.into_iter().flatten().filter(|message| message["role"] == "user");
    let texts = user.filter_map(|message| message["content"].as_str());
    let count = if task == Task::EverydayConversations { usize::MAX } else { 1 };
    texts.take(count).collect::<Vec<_>>().join("\n")
}

/// The user's next turn and the reply to it, both of the main teacher, put at the end of the conversation.
async fn turn(walk: &Walk<'_>, number: usize, messages: &mut Vec<Message>) -> Result<(), Halt> {
    let user = walk.words(&format!("user_{number}"), Prompt::User(messages.clone())).await?;
    messages.push(Message::new("user", user));
    reply(walk, number, messages).await
}

/// The reply to the last message of the conversation, put at its end.
async fn reply(walk: &Walk<'_>, number: usize, messages: &mut Vec<Message>) -> Result<(), Halt> {
    let text = walk.words(&format!("assistant_{number}"), Prompt::Assistant(messages.clone())).await?;
    messages.push(Message::new("assistant", text));
    Ok(())
}

/// Whoever judges: the teacher itself where no other one was named.
fn judge<'a>(walk: &'a Walk<'_>) -> &'a Teacher {
    walk.teachers.judge.as_ref().unwrap_or(&walk.teachers.main)
}

/// An entry of a list that follows from the row and a word.
fn pick<'a>(walk: &Walk<'_>, word: &str, list: &'a [String]) -> &'a str {
    &list[(walk.draw(word) % list.len() as u64) as usize]
}

/// How many turns this row has.
fn turns(walk: &Walk<'_>) -> usize {
    let most = walk.recipe.settings.turns;
    let least = walk.recipe.settings.minimum_turns.unwrap_or(most).min(most);
    least + (walk.draw("turns") % (most - least + 1) as u64) as usize
}

/// The schema of an object with these properties, all of them and no others.
fn object(properties: &Map<String, Value>) -> Value {
    let names: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// What a judge wrote in a field.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An object's fields.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
