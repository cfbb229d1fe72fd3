//! The text metadata of a GGUF file: vocabulary, special tokens, template, and where a text is split.
//!
//! mistral.rs 0.8.1 makes a tokenizer of it that differs from the model's: it ranks sentencepiece pieces as a unigram
//! model would, splits all byte-level texts in one way, marks byte tokens as special, and omits the BOS. `correct` fixes
//! that as far as the file has the information, and reports whether it could.

use anyhow::Context;
use candle_core::quantized::gguf_file::{Content, Value as Field};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// Kinds of tokens, numbered as in llama.cpp.
const NORMAL: u32 = 1;
const USER_DEFINED: u32 = 4;
const BYTE: u32 = 6;

/// How Llama 3 splits a text: words, up to three digits, punctuation, white space.
const LLAMA_3_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The metadata about text.
#[derive(Debug, Default)]
pub(super) struct GgufText {
    pub(super) template: Option<String>,
    pub(super) bos: Option<Special>,
    pub(super) eos: Option<Special>,
    /// Token ids that end an answer: end of text, and end of turn.
    pub(super) end_ids: Vec<u32>,
    adds_bos: bool,
    adds_space: bool,
    /// The kind of vocabulary: `llama` is sentencepiece, `gpt2` is byte-level.
    model: String,
    /// The name of the rule that splits a byte-level text before pieces are merged.
    split: String,
    tokens: Vec<String>,
    /// The kind of each token; empty where the file has none.
    kinds: Vec<u32>,
    /// The score of each sentencepiece token; the best is the highest.
    scores: Vec<f32>,
}

/// A special token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) id: u32,
    pub(super) spelling: String,
}

impl GgufText {
    /// Reads the metadata, not the weights.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let broken = || format!("cannot read {} as a GGUF file", path.display());
        let mut file = std::io::BufReader::new(File::open(path).with_context(broken)?);
        Ok(Self::new(&Content::read(&mut file).with_context(broken)?.metadata))
    }

    fn new(metadata: &HashMap<String, Field>) -> Self {
        let entry = |name: &str| metadata.get(&format!("tokenizer.{name}"));
        let text = |name: &str| entry(name).and_then(|field| field.to_string().ok()).cloned();
        let id = |name: &str| entry(name).and_then(|field| field.to_u32().ok());
        let flag = |name: &str| entry(name).and_then(|field| field.to_bool().ok());
        let list = |name: &str| entry(name).and_then(|field| field.to_vec().ok()).into_iter().flatten();
        let tokens: Vec<String> =
            list("ggml.tokens").map(|token| token.to_string().cloned().unwrap_or_default()).collect();
        let special = |name: &str| {
            let id = id(name)?;
            Some(Special { id, spelling: tokens.get(id as usize)?.clone() })
        };
        let model = text("ggml.model").unwrap_or_default();
        Self {
            template: text("chat_template"),
            bos: special("ggml.bos_token_id"),
            eos: special("ggml.eos_token_id"),
            end_ids: id("ggml.eos_token_id").into_iter().chain(id("ggml.eot_token_id")).collect(),
            // The defaults of llama.cpp.
            adds_bos: flag("ggml.add_bos_token").unwrap_or(model == "llama"),
            adds_space: flag("ggml.add_space_prefix").unwrap_or(true),
            split: text("ggml.pre").unwrap_or_default(),
            kinds: list("ggml.token_type").map(|kind| kind.to_i32().unwrap_or_default() as u32).collect(),
            scores: list("ggml.scores").map(|score| score.to_f32().unwrap_or_default()).collect(),
            tokens,
            model,
        }
    }

    /// Corrects the tokenizer.json that mistral.rs made of this file. False when a text may still be split differently
    /// than in training.
    pub(super) fn correct(&self, tokenizer: &mut Value) -> bool {
        self.unmark_text_tokens(tokenizer);
        if let Some(Special { id, spelling }) = self.bos.as_ref().filter(|_| self.adds_bos) {
            let bos = json!({"SpecialToken": {"id": spelling, "type_id": 0}});
            let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
            tokenizer["post_processor"] = json!({
                "type": "TemplateProcessing",
                "single": [bos, text("A")],
                "pair": [bos, text("A"), text("B")],
                "special_tokens": {spelling: {"id": spelling, "ids": [id], "tokens": [spelling]}}
            });
        }
        match self.model.as_str() {
            "llama" if self.scores.len() == self.tokens.len() => self.merge_by_score(tokenizer),
            "gpt2" => return self.split_by_rule(tokenizer),
            _ => return false,
        }
        true
    }

    /// Byte tokens and user-defined tokens are text; as special tokens they would be left out of an answer.
    fn unmark_text_tokens(&self, tokenizer: &mut Value) {
        let kind = |token: &Value| self.kinds.get(token["id"].as_u64().unwrap_or_default() as usize).copied();
        let Some(added) = tokenizer["added_tokens"].as_array_mut() else { return };
        added.retain(|token| kind(token) != Some(BYTE));
        for token in added.iter_mut().filter(|token| kind(token) == Some(USER_DEFINED)) {
            token["special"] = json!(false);
        }
    }

    /// Sentencepiece as in llama.cpp: the pair whose merged piece has the best score is merged first.
    fn merge_by_score(&self, tokenizer: &mut Value) {
        let ids: HashMap<&str, usize> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
        let mut merges = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if self.kinds.get(id).is_some_and(|kind| *kind != NORMAL) {
                continue;
            }
            for (middle, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(middle);
                if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                    merges.push((self.scores[id], id, *left_id, *right_id, json!([left, right])));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
        let unknown = self.tokens.first().filter(|_| self.kinds.first() == Some(&2));
        tokenizer["model"] = json!({
            "type": "BPE",
            "unk_token": unknown,
            "fuse_unk": true,
            "byte_fallback": true,
            "vocab": ids,
            "merges": merges.into_iter().map(|(.., pair)| pair).collect::<Vec<_>>()
        });
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
        let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
        let normalizers = if self.adds_space { vec![prefix, space] } else { vec![space] };
        tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
    }

    /// Splits a byte-level text by the rule that the file names in `pre`; false for an unknown name.
    fn split_by_rule(&self, tokenizer: &mut Value) -> bool {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let steps = match self.split.as_str() {
            "smollm" => vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)],
            "gpt-2" | "default" => vec![bytes(true)],
            "llama-bpe" => {
                tokenizer["model"]["ignore_merges"] = json!(true);
                let pattern = json!({"Regex": LLAMA_3_SPLIT});
                let split =
                    json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
                vec![split, bytes(false)]
            }
            // The rule of mistral.rs for all texts.
            "qwen2" => return true,
            _ => return false,
        };
        tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use checkpoint::Tokenizer;

    fn added(id: u32, content: &str) -> Value {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    }

    #[test]
    fn sentencepiece_merges_by_score_and_adds_the_bos() {
        let named = ["<unk>", "<s>", "<0x0A>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "<mark>"];
        let text = GgufText {
            bos: Some(Special { id: 1, spelling: "<s>".to_owned() }),
            adds_bos: true,
            adds_space: true,
            model: "llama".to_owned(),
            tokens: named.map(str::to_owned).to_vec(),
            kinds: vec![2, 3, BYTE, 1, 1, 1, 1, 1, USER_DEFINED],
            scores: vec![0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0, 0.0],
            ..GgufText::default()
        };
        let tokens = [added(0, "<unk>"), added(1, "<s>"), added(2, "<0x0A>"), added(8, "<mark>")];
        let mut made = json!({"version": "1.0", "added_tokens": tokens, "model": {}});
        assert!(text.correct(&mut made));
        let tokenizer = Tokenizer::from_json(&made.to_string()).unwrap();
        // "ab" has the better score, so "\u{2581}ab" never becomes "\u{2581}a" and "b".
        assert_eq!(tokenizer.encode_document("ab\na<mark>").unwrap(), [1, 3, 6, 2, 4, 8]);
        assert_eq!(tokenizer.special_ids(), [0, 1]);
        assert_eq!(tokenizer.token_bytes()[2], b"\n");
    }
}
