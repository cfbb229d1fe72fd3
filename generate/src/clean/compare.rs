//! The texts of a row that are compared with other rows and with evaluation sets.

use datasets::{Message, Row};

/// The text of a row that is compared with other rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compare {
    /// All messages except the system prompt
    Conversation,
    /// The first message of the user
    Prompt,
}

impl Compare {
    /// Its name in `clean.json`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Prompt => "prompt",
        }
    }

    /// Returns the text that is compared.
    pub(super) fn text(self, row: &Row) -> String {
        let messages: Vec<&Message> = match row {
            Row::Text(row) => return row.text.clone(),
            Row::Chat(row) => row.messages.iter().collect(),
            Row::Preference(row) => row.prompt.iter().chain(&row.chosen).chain(&row.rejected).collect(),
        };
        let first = messages.iter().find(|message| message.role == "user");
        match (self, first) {
            (Self::Prompt, Some(first)) => first.content.clone(),
            _ => joined(messages.into_iter().filter(|message| message.role != "system")),
        }
    }
}

/// Returns everything in a row that could be a question of an evaluation set.
pub(super) fn whole_text(row: &Row) -> String {
    match row {
        Row::Text(row) => row.text.clone(),
        Row::Chat(row) => joined(row.messages.iter()),
        Row::Preference(row) => joined(row.prompt.iter().chain(&row.chosen).chain(&row.rejected)),
    }
}

fn joined<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    messages.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
}
