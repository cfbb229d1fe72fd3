//! Sentence encoders of the BERT family (MiniLM, BGE, Arctic Embed, E5, StarEncoder): a checkpoint folder is opened once, then
//! texts become vectors. Nothing is trained here: a classifier learns one linear layer on the vectors.
//!
//! The model is written out over the CPU kernels in f32. A batch has no padding: texts of about the same length are computed
//! one after the other as one matrix, and a text's vector has the same bits in every batch.

mod config;
mod model;
mod pooling;
mod tokens;
mod weights;

pub use pooling::Pooling;

use anyhow::{Context, Result};
use config::Config;
use model::Model;
use std::path::Path;
use tokens::Tokens;
use weights::Weights;

/// Tokens that are computed together: the activations of a BERT-base-sized model then take about 100 MB.
const BATCH_TOKENS: usize = 8192;

/// A sentence encoder.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    tokens: Tokens,
    pooling: Pooling,
    is_normalized: bool,
    fingerprint: String,
}

/// The linear layer of a checkpoint that was published as a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// (labels, dim)
    pub weights: Vec<f32>,
    /// One for each label.
    pub bias: Vec<f32>,
}

/// The tokens of a text, special ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// Those that are read.
    pub read: usize,
    /// Whether the text has more of them.
    pub is_cut: bool,
}

impl Encoder {
    /// Opens a checkpoint folder: `config.json`, `model.safetensors`, `tokenizer.json`. How vectors are pooled and whether
    /// they are normalized is read from the files of sentence-transformers; without these, tokens are averaged.
    ///
    /// # Errors
    /// Names the file and what of it this program cannot compute.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = Config::read(&folder.join("config.json"))?;
        let weights = Weights::read(&folder.join("model.safetensors"))?;
        let (mut pooling, is_normalized) = pooling::read(folder)?;
        let fingerprint = weights.fingerprint().to_owned();
        let tokens = Tokens::open(folder, &config)?;
        let model = Model::new(config, &weights)
            .with_context(|| format!("{}", folder.join("model.safetensors").display()))?;
        if model.head().is_some() {
            // transformers' sequence classifier reads the pooler's output.
            pooling = if model.has_pooler() { Pooling::Pooler } else { Pooling::First };
        }
        Ok(Self { model, tokens, pooling, is_normalized, fingerprint })
    }

    /// Pools in another way than the folder says, and leaves vectors as they are pooled.
    ///
    /// # Errors
    /// When the model has no pooler and `Pooler` is asked for.
    pub fn with_pooling(mut self, pooling: Pooling) -> Result<Self> {
        anyhow::ensure!(
            pooling != Pooling::Pooler || self.model.has_pooler(),
            "the encoder has no pooler; choose mean or first"
        );
        (self.pooling, self.is_normalized) = (pooling, false);
        Ok(self)
    }

    /// The numbers of a vector.
    pub fn dim(&self) -> usize {
        self.model.channels()
    }

    /// Tokens of a text that are read, special ones included; what follows is cut off.
    pub fn max_tokens(&self) -> usize {
        self.tokens.most()
    }

    /// What its weights are known by: XXH3 in 128 bits of the file, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The linear layer, of a checkpoint that was published as a classifier (`BertForSequenceClassification`).
    pub fn head(&self) -> Option<Head> {
        self.model.head().map(|(weights, bias)| Head { weights: weights.to_vec(), bias: bias.to_vec() })
    }

    /// Counts the tokens of a text.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn count(&self, text: &str) -> Result<TokenCount> {
        let (ids, cut) = self.tokens.encode_one(text)?;
        Ok(TokenCount { read: ids.len(), is_cut: cut > 0 })
    }

    /// The vectors of texts (texts, dim), in their order.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let tokens = self.tokens.encode(texts)?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        // Sequences of one length keep all threads busy until the end.
        order.sort_by_key(|at| std::cmp::Reverse(tokens[*at].len()));
        let dim = self.dim();
        let mut vectors = vec![0.0; texts.len() * dim];
        let mut left = &order[..];
        while !left.is_empty() {
            let batch = &left[..batch_length(left.iter().map(|at| tokens[*at].len()))];
            left = &left[batch.len()..];
            let sequences: Vec<&[u32]> = batch.iter().map(|at| &tokens[*at][..]).collect();
            let (hidden, starts) = self.model.forward(&sequences);
            for (at, bounds) in batch.iter().zip(starts.windows(2)) {
                let hidden = &hidden[bounds[0] * dim..bounds[1] * dim];
                let mut vector = match self.pooling {
                    Pooling::Mean => pooling::mean(hidden, dim),
                    Pooling::First => hidden[..dim].to_vec(),
                    Pooling::Pooler => self.model.pool(&hidden[..dim]),
                };
                if self.is_normalized {
                    pooling::normalize(&mut vector);
                }
                vectors[at * dim..(at + 1) * dim].copy_from_slice(&vector);
            }
        }
        Ok(vectors)
    }
}

/// How many of the next sequences are computed together; at least one.
fn batch_length(lengths: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fits = lengths.take_while(|length| {
        sum += length;
        sum <= BATCH_TOKENS
    });
    fits.count().max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
