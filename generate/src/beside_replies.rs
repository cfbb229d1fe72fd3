//! What comes beside the replies of a row and is kept if asked: what the teacher thought, and the log-probabilities of its
//! tokens. Prompts of later turns do not repeat it; it is added to the row's messages at its end.

use datasets::logprobs::{LOGPROBS, TokenLogprobs};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// Thoughts, as `reasoning_content`.
    pub(crate) reasoning: bool,
    /// How many of the likeliest tokens in the place of each.
    pub(crate) logprobs: Option<u8>,
}

/// What came beside one row's replies, by reply.
#[derive(Debug, Default)]
pub(crate) struct BesideReplies {
    keeping: Keeping,
    kept: Mutex<HashMap<String, Beside>>,
}

#[derive(Debug)]
struct Beside {
    reasoning: Option<String>,
    logprobs: Option<Vec<TokenLogprobs>>,
}

impl BesideReplies {
    /// Nothing yet.
    pub(crate) fn new(keeping: Keeping) -> Self {
        Self { keeping, kept: Mutex::default() }
    }

    /// The number of alternatives to each token that replies are asked with.
    pub(crate) fn alternatives(&self) -> Option<u8> {
        self.keeping.logprobs
    }

    /// Keeps what came beside a reply. Returns whether it has what is to be kept of every reply: log-probabilities of the
    /// tokens that spell it.
    pub(crate) fn keep(&self, reply: &str, reasoning: Option<&str>, logprobs: &[TokenLogprobs]) -> bool {
        let logprobs = self.keeping.logprobs.and_then(|_| TokenLogprobs::covering(logprobs, reply));
        let is_whole = logprobs.is_some() || self.keeping.logprobs.is_none();
        let reasoning = reasoning.filter(|_| self.keeping.reasoning).map(|text| text.trim().to_owned());
        if reasoning.is_some() || logprobs.is_some() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(reply.to_owned(), Beside { reasoning, logprobs });
        }
        is_whole
    }

    /// Adds `reasoning_content` and `logprobs` to the messages of a row that are these replies.
    pub(crate) fn add_to(&self, row: &mut Map<String, Value>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for message in row.values_mut().filter_map(Value::as_array_mut).flatten() {
            if message.is_object()
                && message["role"] == "assistant"
                && let Some(beside) = message["content"].as_str().and_then(|content| kept.get(content))
            {
                if let Some(reasoning) = &beside.reasoning {
                    message["reasoning_content"] = json!(reasoning);
                }
                if let Some(logprobs) = &beside.logprobs {
                    message[LOGPROBS] = json!(logprobs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datasets::logprobs::ScoredToken;

    fn row() -> Map<String, Value> {
        match json!({
            "messages": [{"role": "user", "content": "Yes."}, {"role": "assistant", "content": "Yes."}], "score": 3,
            "tags": ["Yes."]
        }) {
            Value::Object(row) => row,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn thoughts_are_added_to_their_reply_alone() {
        for (reasoning, expected) in [(true, json!("Hm.")), (false, Value::Null)] {
            let (beside, mut row) = (BesideReplies::new(Keeping { reasoning, logprobs: None }), row());
            assert!(beside.keep("Yes.", Some(" Hm.\n"), &[]) && beside.keep("No.", None, &[]));
            beside.add_to(&mut row);
            assert_eq!(
                (&row["messages"][0]["reasoning_content"], &row["messages"][1]["reasoning_content"]),
                (&Value::Null, &expected)
            );
            assert_eq!(row["tags"], json!(["Yes."]));
        }
    }

    #[test]
    fn log_probabilities_are_kept_where_they_spell_the_reply() {
        let token = |text: &str| {
            let chosen = ScoredToken::new(text.as_bytes(), -0.5);
            TokenLogprobs { top_logprobs: vec![chosen.clone()], chosen }
        };
        let beside = BesideReplies::new(Keeping { reasoning: false, logprobs: Some(1) });
        assert!(beside.keep("Yes.", None, &[token("\n"), token("Yes"), token("."), token("<|im_end|>")]));
        assert!(!beside.keep("No.", None, &[token("Yes")]) && !beside.keep("No.", None, &[]));
        let mut row = row();
        beside.add_to(&mut row);
        let kept = row["messages"][1][LOGPROBS].as_array();
        let texts: Option<Vec<&Value>> = kept.map(|kept| kept.iter().map(|token| &token["token"]).collect());
        assert_eq!(texts, Some(vec![&json!("Yes"), &json!("."), &json!("<|im_end|>")]));
        assert_eq!(row["messages"][0][LOGPROBS], Value::Null);
    }
}
