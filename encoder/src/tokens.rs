//! Texts to ids by the checkpoint's `tokenizer.json`, cut to what the model reads.

use crate::config::Config;
use anyhow::{Result, anyhow, ensure};
use files::fenced;
use rayon::prelude::*;
use serde_json::Value;
use std::path::Path;
use tokenizers::{Tokenizer, TruncationParams};

/// Characters of a text per token that are tokenized at first. Most tokens have four; a text with so many characters a token
/// that its beginning is not enough is tokenized whole.
const CHARACTERS_PER_TOKEN: usize = 24;
/// Tokens beyond the limit that the beginning of a text must have: the last word of it may be cut in two, and a word of more
/// than 100 characters is one token.
const MARGIN: usize = 128;

/// The tokenizer of an encoder.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Cuts off, with the special tokens.
    cutting: Tokenizer,
    most: usize,
}

impl Tokens {
    pub(crate) fn open(folder: &Path, config: &Config) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let place = path.display();
        let bytes = std::fs::read(&path).map_err(|error| anyhow!("cannot read {place}: {error}"))?;
        let read = fenced(|| Tokenizer::from_bytes(&bytes)).map_err(|reason| anyhow!("{place}: {reason}"))?;
        let mut cutting = read.map_err(|error| anyhow!("{place} is no tokenizer: {error}"))?;
        let highest = cutting.get_vocab(true).into_values().max().unwrap_or_default() as usize;
        ensure!(
            highest < config.vocab_size,
            "{place} has the token id {highest}, the model embeddings of {}; it belongs to another model",
            config.vocab_size
        );
        let most = most(folder).unwrap_or(usize::MAX).min(config.max_position_embeddings);
        // What the file says is a setting of its author's batches.
        cutting.with_padding(None);
        let truncation = TruncationParams { max_length: most, ..TruncationParams::default() };
        cutting.with_truncation(Some(truncation)).map_err(|error| anyhow!("{place}: {error}"))?;
        Ok(Self { cutting, most })
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// The ids of each text; at least one, where the tokenizer adds special tokens.
    pub(crate) fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| Ok(self.encode_one(text)?.0)).collect()
    }

    /// The ids of a text that are read, and how many are cut off at least.
    pub(crate) fn encode_one(&self, text: &str) -> Result<(Vec<u32>, usize)> {
        let characters = CHARACTERS_PER_TOKEN * (self.most + MARGIN);
        let end = text.char_indices().nth(characters).map(|(end, _)| end);
        if let Some(end) = end {
            let beginning = self.ids(&text[..end])?;
            // The rest of a long text is counted in what was cut off.
            if beginning.1 >= MARGIN {
                return Ok(beginning);
            }
        }
        self.ids(text)
    }

    /// The ids that are read, and how many are cut off.
    fn ids(&self, text: &str) -> Result<(Vec<u32>, usize)> {
        let encoded = fenced(|| self.cutting.encode_fast(text, true))
            .map_err(|reason| anyhow!("tokenizer: {reason}"))?;
        let encoded = encoded.map_err(|error| anyhow!("tokenizer: {error}"))?;
        let cut = encoded.get_overflowing().iter().map(|rest| rest.get_ids().len()).sum();
        let mut ids = encoded.get_ids().to_vec();
        if ids.is_empty() {
            // A tokenizer without special tokens has nothing for an empty text; the model needs something.
            ids.push(0);
        }
        Ok((ids, cut))
    }
}

/// The limit that sentence-transformers keeps.
fn most(folder: &Path) -> Option<usize> {
    let text = std::fs::read(folder.join("sentence_bert_config.json")).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    value["max_seq_length"].as_u64().map(|most| most as usize)
}
