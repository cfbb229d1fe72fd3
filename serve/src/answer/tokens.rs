//! Log-probabilities as the two older interfaces spell them.
//!
//! Tokens are bytes and need not be text. Chat completions give the bytes beside a lossy text; completions have
//! no room for them and spell such a token `bytes:\xe2\x82`, which also keeps it apart from its neighbours.

use super::ScoredToken;
use engine::Logprobs;
use serde_json::{Map, Value, json};
use smollm::Tokenizer;

/// What stands for the logarithm of zero, which JSON cannot say.
const LOG_OF_ZERO: f32 = -9999.0;

/// One entry a token: `{token, logprob, bytes, top_logprobs}`.
pub(crate) fn chat_logprobs(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> Vec<Value> {
    let entry = |token: &ScoredToken| {
        let scores = token.scores.as_ref()?;
        let mut entry = chat_token(tokenizer, token.id, scores.logprob);
        let top: Vec<Value> =
            scores.top.iter().map(|(id, logprob)| chat_token(tokenizer, *id, *logprob).into()).collect();
        entry.insert("top_logprobs".to_owned(), top.into());
        Some(Value::Object(entry))
    };
    tokens.iter().filter_map(entry).collect()
}

fn chat_token(tokenizer: &Tokenizer, id: u32, logprob: f32) -> Map<String, Value> {
    let bytes = bytes(tokenizer, id);
    let mut entry = Map::new();
    entry.insert("token".to_owned(), String::from_utf8_lossy(bytes).into());
    entry.insert("logprob".to_owned(), finite(logprob).into());
    entry.insert("bytes".to_owned(), bytes.into());
    entry
}

/// Four lists of equal length, as completions have them.
pub(crate) fn completion_logprobs(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> Value {
    let names: Vec<String> = tokens.iter().map(|token| spelled(tokenizer, token.id)).collect();
    let of = |token: &ScoredToken| token.scores.as_ref().map(|scores| finite(scores.logprob));
    let values: Vec<Option<f32>> = tokens.iter().map(of).collect();
    let likeliest = |token: &ScoredToken| match &token.scores {
        Some(scores) => top_map(tokenizer, token.id, scores),
        None => Value::Null,
    };
    let top: Vec<Value> = tokens.iter().map(likeliest).collect();
    let offsets: Vec<usize> = tokens.iter().map(|token| token.offset).collect();
    json!({"tokens": names, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets})
}

/// The likeliest tokens, and the one that stands there if it is not among them.
fn top_map(tokenizer: &Tokenizer, id: u32, scores: &Logprobs) -> Value {
    let mut map = Map::new();
    for (id, logprob) in scores.top.iter().chain([&(id, scores.logprob)]) {
        // Ids that are spelled alike: the likelier one is named.
        map.entry(spelled(tokenizer, *id)).or_insert_with(|| finite(*logprob).into());
    }
    map.into()
}

fn spelled(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = bytes(tokenizer, id);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}")),
    }
}

fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes().get(id as usize).map_or(&[], Vec::as_slice)
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { LOG_OF_ZERO }
}
