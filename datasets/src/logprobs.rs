//! Log-probabilities of a reply's tokens as a message keeps them: written by `smoltalk gen --keep-logprobs`, learned from by
//! `posttrain sft --stored-logprobs`. The shape is that of OpenAI's `logprobs.content`, with the bytes of a token only where
//! they are not those of its text.

use crate::Message;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The field of a message.
pub const LOGPROBS: &str = "logprobs";
/// What stands for the logarithm of zero, as OpenAI writes it.
const ZERO: f64 = -9999.0;

/// A token of a reply, with the likeliest ones in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The token.
    #[serde(flatten)]
    pub chosen: ScoredToken,
    /// The likeliest tokens in its place, best first.
    #[serde(default)]
    pub top_logprobs: Vec<ScoredToken>,
}

/// A token and its log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredToken {
    /// Its text; bytes that are not UTF-8 are replaced.
    pub token: String,
    /// The natural logarithm of its probability; -9999 for 0.
    pub logprob: f64,
    /// Its bytes, where they are not those of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
}

impl ScoredToken {
    /// Returns a token of these bytes.
    pub fn new(bytes: &[u8], logprob: f64) -> Self {
        let token = String::from_utf8_lossy(bytes).into_owned();
        let bytes = (token.as_bytes() != bytes).then(|| bytes.to_vec());
        Self { token, logprob: logprob.max(ZERO), bytes }
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.token.as_bytes())
    }

    fn shortened(&mut self) {
        if self.bytes.as_deref() == Some(self.token.as_bytes()) {
            self.bytes = None;
        }
    }
}

impl TokenLogprobs {
    /// Leaves out bytes that the text has already.
    pub fn shorten(tokens: &mut [Self]) {
        for token in tokens {
            token.chosen.shortened();
            token.top_logprobs.iter_mut().for_each(ScoredToken::shortened);
        }
    }

    /// Returns the tokens of an answer that cover `content`, a part of its text, and the one after them, which may be the end
    /// of the turn. `None` if the tokens do not spell it.
    pub fn covering(tokens: &[Self], content: &str) -> Option<Vec<Self>> {
        let spans = Spans::new(tokens.iter().map(|token| token.chosen.bytes()));
        let content = spans.find(content)?;
        let first = spans.ends.partition_point(|end| *end <= content.start);
        let last = spans.ends.partition_point(|end| *end < content.end);
        Some(tokens[first..tokens.len().min(last + 2)].to_vec())
    }
}

/// Where tokens lie in the bytes that they spell.
#[derive(Debug)]
pub struct Spans {
    /// What they spell.
    text: Vec<u8>,
    /// The end of each token in it.
    pub ends: Vec<usize>,
}

impl Spans {
    /// Lays tokens out one after another.
    pub fn new<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut text = Vec::new();
        let ends = tokens.map(|bytes| {
            text.extend_from_slice(bytes);
            text.len()
        });
        let ends = ends.collect();
        Self { text, ends }
    }

    /// Returns where the tokens first spell `content`.
    pub fn find(&self, content: &str) -> Option<Range<usize>> {
        let (text, content) = (&self.text, content.as_bytes());
        let last = text.len().checked_sub(content.len())?;
        let start = (0..=last).find(|start| text[*start..].starts_with(content))?;
        Some(start..start + content.len())
    }

    /// Returns the index of the token at a range of the bytes, if it is one token's.
    pub fn token_at(&self, range: Range<usize>) -> Option<usize> {
        let index = self.ends.binary_search(&range.end).ok()?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (start == range.start).then_some(index)
    }
}

/// Returns the log-probabilities of a message's tokens; `None` where it keeps none.
///
/// # Errors
/// What is wrong with them.
pub fn of_message(message: &Message) -> Result<Option<Vec<TokenLogprobs>>, String> {
    match message.extra.get(LOGPROBS) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(found) => Vec::<TokenLogprobs>::deserialize(found)
            .map(|tokens| Some(tokens).filter(|tokens| !tokens.is_empty()))
            .map_err(|error| format!("`{LOGPROBS}` of a message is not a list of tokens ({error})")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokens(texts: &[&[u8]]) -> Vec<TokenLogprobs> {
        let token = |bytes: &&[u8]| TokenLogprobs {
            chosen: ScoredToken::new(bytes, -1.0),
            top_logprobs: vec![ScoredToken::new(bytes, f64::NEG_INFINITY)],
        };
        texts.iter().map(token).collect()
    }

    #[test]
    fn tokens_that_cover_a_text_are_kept_with_the_one_after() {
        let all = tokens(&[b"<think>", b"Hm", b"</think>", b"\n", b" Caf", b"\xc3", b"\xa9", b"<end>", b"x"]);
        let kept = TokenLogprobs::covering(&all, "Café").unwrap();
        assert_eq!(kept, all[4..8]);
        assert_eq!(TokenLogprobs::covering(&all, "Cafe"), None);
        assert_eq!(TokenLogprobs::covering(&[], "Café"), None);
        let spans = Spans::new(kept.iter().map(|token| token.chosen.bytes()));
        let content = spans.find("Café").unwrap();
        assert_eq!(content, 1..6);
        assert_eq!((spans.token_at(1..4), spans.token_at(4..5), spans.token_at(4..6)), (None, Some(1), None));
    }

    #[test]
    fn bytes_are_written_where_the_text_has_others() {
        let mut found = tokens(&[b"a", b"\xc3"]);
        let written = serde_json::to_value(&found).unwrap();
        assert_eq!(
            written[0],
            json!({"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -9999.0}]})
        );
        assert_eq!((&written[1]["token"], &written[1]["bytes"]), (&json!("\u{fffd}"), &json!([0xc3])));
        found[0].chosen.bytes = Some(b"a".to_vec());
        TokenLogprobs::shorten(&mut found);
        let mut message = Message::new("assistant", "a");
        assert_eq!(of_message(&message), Ok(None));
        message.extra.insert(LOGPROBS.to_owned(), written);
        assert_eq!(of_message(&message), Ok(Some(found)));
        message.extra.insert(LOGPROBS.to_owned(), json!([{"text": "a"}]));
        assert!(of_message(&message).unwrap_err().contains("not a list of tokens"));
    }
}
