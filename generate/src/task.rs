//! A task as data: its name, its source texts, the columns of its rows. How its rows are made is in `maker.rs`.

use datasets::write::{Column, ColumnType};
use serde_json::{Map, Value};

/// A kind of dataset that can be generated.
#[derive(Debug)]
pub struct Task {
    /// Its name, which is its folder of prompts.
    pub name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// Whether it is generated if no task is named.
    pub(crate) by_default: bool,
    pub(crate) source: SourceTexts,
    pub(crate) shape: RowShape,
    /// The columns of its rows besides those that all tasks have.
    pub(crate) columns: &'static [(&'static str, ColumnType)],
}

/// What a task takes from the rows of `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceTexts {
    /// Nothing; a source is refused.
    None,
    /// The user's first message, which replaces the one that the teacher would write.
    Prompts,
    /// The text; every row needs one.
    Texts,
    /// These columns, of rows of any layout, as a JSON object.
    Columns(&'static [&'static str]),
}

/// What a row consists of, and which of its texts near-duplicates are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowShape {
    /// A conversation, compared by the user's first message.
    Conversation,
    /// A conversation that starts with a greeting, compared by all messages of the user.
    GreetedConversation,
    /// A prompt with two replies, compared by the prompt.
    Pair,
    /// A text with what was found out about it, compared by the text.
    Text,
}

impl Task {
    /// Whether its rows are conversations.
    pub(crate) fn has_messages(&self) -> bool {
        !matches!(self.shape, RowShape::Pair | RowShape::Text)
    }

    /// Returns the text that it takes from a row of its source; `None` if that is empty.
    pub(crate) fn source_text<'a>(&self, row: &'a datasets::Row) -> Option<&'a str> {
        let text = match self.source {
            SourceTexts::None | SourceTexts::Columns(_) => None,
            SourceTexts::Prompts => row.first_user_text(),
            SourceTexts::Texts => row.source_text(),
        };
        text.filter(|text| !text.trim().is_empty())
    }

    /// Returns all columns of its rows. Every task has `id`, `source`, `nearest_id` and `nearest_similarity`.
    pub(crate) fn all_columns(&self) -> Vec<Column> {
        let content: &[(&str, ColumnType)] = match self.shape {
            RowShape::Conversation | RowShape::GreetedConversation => &[("messages", ColumnType::Messages)],
            RowShape::Pair => &[
                ("prompt", ColumnType::Messages),
                ("chosen", ColumnType::Messages),
                ("rejected", ColumnType::Messages),
            ],
            RowShape::Text => &[("text", ColumnType::Text)],
        };
        let (id, source) = ([("id", ColumnType::Text)], [("source", ColumnType::Text)]);
        let nearest = [("nearest_id", ColumnType::Text), ("nearest_similarity", ColumnType::Float)];
        let columns = id.iter().chain(content).chain(&source).chain(self.columns).chain(&nearest);
        columns.map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
    }

    /// Returns the text by which near-duplicates of a row are found.
    pub(crate) fn compared_text(&self, row: &Map<String, Value>) -> String {
        if self.shape == RowShape::Text {
            return row.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        }
        let column = if self.has_messages() { "messages" } else { "prompt" };
        let messages = row.get(column).and_then(Value::as_array);
        let user = messages.into_iter().flatten().filter(|message| message["role"] == "user");
        let texts = user.filter_map(|message| message["content"].as_str());
        let count = if self.shape == RowShape::GreetedConversation { usize::MAX } else { 1 };
        texts.take(count).collect::<Vec<_>>().join("\n")
    }
}
