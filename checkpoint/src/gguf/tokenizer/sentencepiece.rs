//! SentencePiece BPE (`llama` in GGUF): spaces are `▁`, the pair whose merged token has the best score is merged first,
//! and characters without a token become bytes.
//!
//! llama.cpp merges by scores, `tokenizer.json` by a list of pairs: the list is every split of every token into two
//! tokens, best score first (as `SpmConverter` of
//! <https://github.com/huggingface/transformers/blob/main/src/transformers/convert_slow_tokenizer.py>).

use super::vocabulary::{NORMAL, UNKNOWN, USER_DEFINED, Vocabulary};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Longest token that is taken apart, in bytes: a hostile file could otherwise ask for time in the square of its size.
const MAX_TOKEN: usize = 512;

/// The `tokenizer.json` of a SentencePiece vocabulary.
///
/// # Errors
/// If the scores are missing.
pub(super) fn tokenizer(vocabulary: &Vocabulary<'_>) -> Result<Value, String> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let scores = vocabulary.field("ggml.scores").ok_or_else(|| format!("has no metadata `{SCORES}`"))?;
    let scores: Vec<f32> = scores.floats().collect();
    if scores.len() != vocabulary.tokens.len() {
        return Err(format!(
            "`{SCORES}` has {} entries for {} tokens",
            scores.len(),
            vocabulary.tokens.len()
        ));
    }
    let adds_space = vocabulary.flag("ggml.add_space_prefix").unwrap_or(true);
    let unknown = vocabulary.kinds.iter().position(|kind| *kind == UNKNOWN).map(|id| vocabulary.tokens[id]);
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let normalizers = if adds_space { vec![prefix, space] } else { vec![space] };
    Ok(json!({
        "version": "1.0",
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": vocabulary.post_processor(true),
        "decoder": decoder(adds_space),
        "model": {
            "type": "BPE",
            "unk_token": unknown,
            "fuse_unk": true,
            "byte_fallback": true,
            "vocab": vocabulary.ids(),
            "merges": merges(vocabulary, &scores),
        },
    }))
}

fn decoder(adds_space: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if adds_space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// The pairs of tokens that join to a token, best score first.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f32]) -> Vec<Value> {
    let tokens = &vocabulary.tokens;
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut found = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let is_text = matches!(vocabulary.kinds[id], NORMAL | USER_DEFINED);
        if !is_text || token.len() > MAX_TOKEN {
            continue;
        }
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                found.push((scores[id], id, *left, *right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    found.into_iter().map(|(.., left, right)| json!([tokens[left], tokens[right]])).collect()
}
