//! The rows that all programs exchange: generation writes them, training and evaluation read them.

use crate::weight::weight;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The columns of images, videos and sounds.
pub(crate) const MEDIA: [&str; 6] = ["image", "images", "video", "videos", "audio", "audios"];

/// The columns that say whether a reply is a good one, as for KTO.
const LABELS: [&str; 2] = ["label", "kto_tag"];

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

    /// Whether the row's reply is labeled as a good one, as for KTO: true, false, 1, 0, or a text that says so, as in CSV.
    /// `None` if it has no label.
    ///
    /// # Errors
    /// Names a label that says neither.
    pub fn label(&self) -> Result<Option<bool>, String> {
        for name in LABELS {
            match self.metadata().get(name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.trim().is_empty() => {}
                Some(value) => {
                    let label = truth(value);
                    return label.map(Some).ok_or_else(|| {
                        format!("`{name}` is {value}; a label of a reply is true, false, 1 or 0")
                    });
                }
            }
        }
        Ok(None)
    }

    /// Why the row is no example of what an assistant should say: its reply is labeled as a bad one (KTO) or by what is neither
    /// good nor bad, or it has images, videos or sounds, of which only the text would remain. `None` for any other row.
    pub fn unfit(&self) -> Option<&'static str> {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let metadata = self.metadata();
        match (self, self.label()) {
            (Self::Text(_), _) => None,
            (Self::Chat(_), Ok(Some(false))) => Some("rejected_reply"),
            (Self::Chat(_), Err(_)) => Some("unknown_label"),
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

/// What a value says that stands for a Boolean.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Nothing that is called a label is a good reply by being no Boolean.
    #[test]
    fn labels_are_read_in_the_forms_of_json_and_csv() {
        let labeled = |name: &str, value: &Value| {
            let mut metadata = Map::new();
            metadata.insert(name.to_owned(), value.clone());
            Row::Chat(ChatRow { messages: vec![Message::new("assistant", "Go away.")], metadata })
        };
        for name in LABELS {
            for good in [json!(true), json!(1), json!(1.0), json!("True"), json!("1")] {
                assert_eq!(labeled(name, &good).label(), Ok(Some(true)), "{good}");
                assert_eq!(labeled(name, &good).unfit(), None, "{good}");
            }
            for bad in [json!(false), json!(0), json!(0.0), json!("False"), json!(" false"), json!("0")] {
                assert_eq!(labeled(name, &bad).label(), Ok(Some(false)), "{bad}");
                assert_eq!(labeled(name, &bad).unfit(), Some("rejected_reply"), "{bad}");
            }
            for other in [json!("rejected"), json!(-1), json!(0.5), json!([false]), json!({"label": true})] {
                let expected = format!("`{name}` is {other}");
                assert!(labeled(name, &other).label().is_err_and(|reason| reason.contains(&expected)));
                assert_eq!(labeled(name, &other).unfit(), Some("unknown_label"), "{other}");
            }
            for none in [json!(null), json!("")] {
                assert_eq!(labeled(name, &none).label(), Ok(None));
                assert_eq!(labeled(name, &none).unfit(), None);
            }
        }
        let text = Row::Text(TextRow {
            text: "a".to_owned(),
            metadata: json!({"label": "x"}).as_object().cloned().unwrap_or_default(),
        });
        assert_eq!(text.unfit(), None);
    }
}
