//! What the teacher thought before the replies of a row, if it is kept. Prompts of later turns do not repeat it; it is added
//! to the row's messages at its end.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The thoughts of one row by the reply that followed them; `None` if they are not kept.
#[derive(Debug, Default)]
pub(crate) struct Thoughts(Option<Mutex<HashMap<String, String>>>);

impl Thoughts {
    /// No thoughts yet; they are kept if `are_kept` is set.
    pub(crate) fn new(are_kept: bool) -> Self {
        Self(are_kept.then(Mutex::default))
    }

    /// Keeps the thoughts before a reply.
    pub(crate) fn keep(&self, reply: &str, thoughts: Option<&str>) {
        if let (Some(kept), Some(thoughts)) = (&self.0, thoughts) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(reply.to_owned(), thoughts.trim().to_owned());
        }
    }

    /// Adds `reasoning_content` to the messages of a row that are these replies.
    pub(crate) fn add_to(&self, row: &mut Map<String, Value>) {
        let Some(kept) = &self.0 else { return };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for message in row.values_mut().filter_map(Value::as_array_mut).flatten() {
            if message.is_object()
                && message["role"] == "assistant"
                && let Some(thoughts) = message["content"].as_str().and_then(|content| kept.get(content))
            {
                message["reasoning_content"] = json!(thoughts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_added_to_their_reply_alone() {
        let row = || match json!({
            "messages": [{"role": "user", "content": "Yes."}, {"role": "assistant", "content": "Yes."}], "score": 3,
            "tags": ["Yes."]
        }) {
            Value::Object(row) => row,
            other => panic!("{other}"),
        };
        for (are_kept, expected) in [(true, json!("Hm.")), (false, Value::Null)] {
            let (thoughts, mut row) = (Thoughts::new(are_kept), row());
            thoughts.keep("Yes.", Some(" Hm.\n"));
            thoughts.keep("No.", None);
            thoughts.add_to(&mut row);
            assert_eq!(
                (&row["messages"][0]["reasoning_content"], &row["messages"][1]["reasoning_content"]),
                (&Value::Null, &expected)
            );
            assert_eq!(row["tags"], json!(["Yes."]));
        }
    }
}
