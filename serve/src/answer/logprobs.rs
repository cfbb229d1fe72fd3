//! Log-probabilities as chat completions and completions spell them.
//!
//! Tokens are bytes and need not be text. Chat completions give the bytes beside a text with replacement characters;
//! completions have no field for bytes and spell such a token `bytes:\xe2\x82`, which also keeps tokens distinct.

use super::chunks::ScoredToken;
use checkpoint::Tokenizer;
use engine::Logprobs;
use openai::logprobs::{CompletionLogprobs, PromptLogprob, PromptLogprobs, TokenLogprob, TopLogprob};
use serde_json::{Map, Value};

/// Stands for the logarithm of zero, which JSON cannot express.
const LOG_OF_ZERO: f64 = -9999.0;

/// One entry per token that has scores.
pub(super) fn chat_logprobs(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> Vec<TokenLogprob> {
    let entry = |token: &ScoredToken| {
        let scores = token.scores.as_ref()?;
        let TopLogprob { token, logprob, bytes } = chat_token(tokenizer, token.id, scores.logprob);
        let top = scores.top.iter().map(|(id, logprob)| chat_token(tokenizer, *id, *logprob));
        Some(TokenLogprob { token, logprob, bytes, top_logprobs: top.collect() })
    };
    tokens.iter().filter_map(entry).collect()
}

fn chat_token(tokenizer: &Tokenizer, id: u32, logprob: f32) -> TopLogprob {
    let bytes = bytes(tokenizer, id);
    TopLogprob {
        token: String::from_utf8_lossy(bytes).into_owned(),
        logprob: finite(logprob),
        bytes: bytes.to_vec(),
    }
}

/// The tokens of a prompt in vLLM's shape: the most likely ones in each place and the prompt's own, by id.
pub(super) fn prompt_logprobs(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> PromptLogprobs {
    let entry = |id: u32, logprob: f32, rank: Option<usize>| {
        let decoded_token = String::from_utf8_lossy(bytes(tokenizer, id)).into_owned();
        (id.to_string(), PromptLogprob { logprob: finite(logprob), rank, decoded_token })
    };
    let place = |token: &ScoredToken| {
        let scores = token.scores.as_ref()?;
        let top = scores.top.iter().zip(1..).map(|((id, logprob), rank)| entry(*id, *logprob, Some(rank)));
        // What is among the most likely ones has its rank.
        let own = [entry(token.id, scores.logprob, None)];
        Some(own.into_iter().chain(top).collect())
    };
    tokens.iter().map(place).collect()
}

/// Four lists of equal length.
pub(super) fn completion_logprobs(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> CompletionLogprobs {
    let logprob = |token: &ScoredToken| token.scores.as_ref().map(|scores| finite(scores.logprob));
    let top = |token: &ScoredToken| token.scores.as_ref().map(|scores| top_map(tokenizer, token.id, scores));
    CompletionLogprobs {
        tokens: tokens.iter().map(|token| spelling(tokenizer, token.id)).collect(),
        token_logprobs: tokens.iter().map(logprob).collect(),
        top_logprobs: tokens.iter().map(top).collect(),
        text_offset: tokens.iter().map(|token| token.offset).collect(),
    }
}

/// The most likely tokens, and the token in this position if it is not among them.
fn top_map(tokenizer: &Tokenizer, id: u32, scores: &Logprobs) -> Map<String, Value> {
    let mut map = Map::new();
    for (id, logprob) in scores.top.iter().chain([&(id, scores.logprob)]) {
        // Of several ids with one spelling, the most likely one comes first and stays.
        map.entry(spelling(tokenizer, *id)).or_insert_with(|| finite(*logprob).into());
    }
    map
}

fn spelling(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = bytes(tokenizer, id);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}")),
    }
}

fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes().get(id as usize).map_or(&[], Vec::as_slice)
}

fn finite(logprob: f32) -> f64 {
    if logprob.is_finite() { f64::from(logprob) } else { LOG_OF_ZERO }
}
