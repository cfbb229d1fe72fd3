//! The rows that all programs exchange: generation writes them, training and evaluation read them.

use crate::weight::weight;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The columns of images, videos and sounds.
pub(crate) const MEDIA: [&str; 6] = ["image", "images", "video", "videos", "audio", "audios"];

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// The tool calls of an assistant, in OpenAI's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// All other fields: `reasoning_content`, `tool_call_id`, `name`, a loss weight.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of text alone.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), tool_calls: None, extra: Map::new() }
    }

    /// How much it adds to the loss, from 0 to 1; `None` if it does not say.
    pub fn weight(&self) -> Option<f64> {
        weight(&self.extra).ok().flatten()
    }

    /// Whether it says and calls nothing.
    pub fn is_empty(&self) -> bool {
        let has_calls =
            self.tool_calls.as_ref().and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        self.content.trim().is_empty() && !has_calls
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatRow {
    /// In order; at least one.
    pub messages: Vec<Message>,
    /// All other columns, such as `source`.
    #[serde(flatten)]
    pub metadata: Map<String, Value>,
}

/// Two replies to one prompt, the first one preferred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceRow {
    /// The conversation before both replies.
    pub prompt: Vec<Message>,
    /// The preferred reply.
    pub chosen: Vec<Message>,
    /// The other reply.
    pub rejected: Vec<Message>,
    /// All other columns.
    #[serde(flatten)]
    pub metadata: Map<String, Value>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRow {
    /// The document.
    pub text: String,
    /// All other columns, such as `id`.
    #[serde(flatten)]
    pub metadata: Map<String, Value>,
}

/// A row of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A conversation.
    Chat(ChatRow),
    /// Two replies to one prompt.
    Preference(PreferenceRow),
    /// A document.
    Text(TextRow),
}

impl Row {
    /// The text that a rewriting or summarizing task takes: the document, the last message of the assistant, or the
    /// preferred reply.
    pub fn source_text(&self) -> Option<&str> {
        let last_reply =
            |messages: &'_ [Message]| messages.iter().rposition(|message| message.role == "assistant");
        match self {
            Self::Text(row) => Some(&row.text),
            Self::Chat(row) => last_reply(&row.messages).map(|index| row.messages[index].content.as_str()),
            Self::Preference(row) => last_reply(&row.chosen).map(|index| row.chosen[index].content.as_str()),
        }
    }

    /// All columns that are no part of the conversation, the pair or the document.
    pub fn metadata(&self) -> &Map<String, Value> {
        match self {
            Self::Chat(row) => &row.metadata,
            Self::Preference(row) => &row.metadata,
            Self::Text(row) => &row.metadata,
        }
    }

    /// How much the row adds to the loss, from 0 to 1; `None` if it does not say.
    pub fn weight(&self) -> Option<f64> {
        weight(self.metadata()).ok().flatten()
    }

    /// Why the row is no example of what an assistant should say: its reply is labeled as a bad one (KTO), or it has
    /// images, videos or sounds, of which only the text would remain. `None` for any other row.
    pub fn unfit(&self) -> Option<&'static str> {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let metadata = self.metadata();
        let is_bad = ["label", "kto_tag"].iter().any(|name| metadata.get(*name) == Some(&Value::Bool(false)));
        match self {
            Self::Text(_) => None,
            Self::Chat(_) if is_bad => Some("rejected_reply"),
            _ if MEDIA.iter().any(|name| metadata.get(*name).is_some_and(|value| !is_empty(value))) => {
                Some("has_media")
            }
            _ => None,
        }
    }

    /// The first message of the user.
    pub fn first_user_text(&self) -> Option<&str> {
        let messages = match self {
            Self::Chat(row) => &row.messages,
            Self::Preference(row) => &row.prompt,
            Self::Text(_) => return None,
        };
        messages.iter().find(|message| message.role == "user").map(|message| message.content.as_str())
    }
}
