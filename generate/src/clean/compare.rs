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
        match row {
            Row::Text(row) => row.text.clone(),
            row => self.text_of(&messages(row)),
        }
    }

    /// Returns the text of a conversation, given by roles and contents.
    pub(super) fn text_of(self, messages: &[(&str, &str)]) -> String {
        let first = messages.iter().find(|(role, _)| *role == "user");
        match (self, first) {
            (Self::Prompt, Some((_, content))) => (*content).to_owned(),
            _ => joined(messages.iter().filter(|(role, _)| *role != "system")),
        }
    }
}

/// Returns everything in a row that could be a question of an evaluation set.
pub(super) fn whole_text(row: &Row) -> String {
    match row {
        Row::Text(row) => row.text.clone(),
        row => whole_text_of(&messages(row)),
    }
}

/// As [`whole_text`], of a conversation given by roles and contents.
pub(super) fn whole_text_of(messages: &[(&str, &str)]) -> String {
    joined(messages.iter())
}

/// The role and the content of each message of a conversation or a pair.
fn messages(row: &Row) -> Vec<(&str, &str)> {
    let lists: [&[Message]; 3] = match row {
        Row::Text(_) => [&[], &[], &[]],
        Row::Chat(row) => [&row.messages, &[], &[]],
        Row::Preference(row) => [&row.prompt, &row.chosen, &row.rejected],
    };
    let messages = lists.into_iter().flatten();
    messages.map(|message| (message.role.as_str(), message.content.as_str())).collect()
}

fn joined<'a>(messages: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    messages.map(|(_, content)| *content).collect::<Vec<_>>().join("\n")
}
