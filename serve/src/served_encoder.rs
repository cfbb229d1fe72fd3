//! A sentence encoder (BERT family) that answers `/v1/embeddings` beside the models that generate.
//!
//! It has no queue of its own: a request's texts are computed a few at a time, requests take turns between these, and one
//! whose client has left computes no more.

use crate::error::ApiError;
use crate::model_source::ModelSource;
use crate::valid::Prompt;
use anyhow::{Context, Result};
use encoder::Encoder;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Texts that are computed before another request has its turn: at most 8,192 tokens of most encoders.
const TEXTS: usize = 16;
/// Bytes of texts that are computed together. Beyond its context, a text only costs the time to find that out.
const BYTES: usize = 1 << 20;

/// A loaded sentence encoder.
#[derive(Debug)]
pub(crate) struct ServedEncoder {
    /// Its name in requests.
    pub(crate) name: String,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
    encoder: Encoder,
    /// Who computes now; requests wait for it in order.
    turn: Arc<Semaphore>,
}

/// The vectors of a request's texts.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, special ones included.
    pub(crate) tokens: u64,
}

impl ServedEncoder {
    /// Loads a checkpoint folder.
    ///
    /// # Errors
    /// Names the file and what of it cannot be computed.
    pub(crate) fn open(source: &ModelSource) -> Result<Self> {
        let cannot = || format!("cannot serve the encoder {} from {}", source.name, source.location);
        let encoder = Encoder::open(Path::new(&source.location)).with_context(cannot)?;
        Ok(Self {
            name: source.name.clone(),
            created: crate::ids::now(),
            encoder,
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// Tokens of a text that it reads, special ones included.
    pub(crate) fn context(&self) -> usize {
        self.encoder.max_tokens()
    }

    /// Computes the vector of one text, so that faults show before a client asks.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub(crate) fn check(&self) -> Result<usize> {
        Ok(self.encoder.encode(&["Hello"])?.len())
    }

    /// Computes the vectors of texts, in their order.
    ///
    /// # Errors
    /// When a prompt is not a text, or is longer than what the encoder reads.
    pub(crate) async fn encode(self: &Arc<Self>, input: Vec<Prompt>) -> Result<Encoded, ApiError> {
        let mut encoded = Encoded::default();
        let mut left = texts(input)?.into_iter().enumerate().peekable();
        while left.peek().is_some() {
            let mut bytes = 0;
            let mut batch = Vec::new();
            while batch.len() < TEXTS && bytes < BYTES {
                let Some((index, text)) = left.next() else { break };
                bytes += text.len();
                batch.push((index, text));
            }
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let turn = turn.map_err(|closed| ApiError::internal(closed.to_string()))?;
            let served = Arc::clone(self);
            let computed = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                served.encode_batch(&batch)
            });
            let part = computed.await.map_err(|error| ApiError::internal(error.to_string()))??;
            encoded.vectors.extend(part.vectors);
            encoded.tokens += part.tokens;
        }
        Ok(encoded)
    }

    fn encode_batch(&self, batch: &[(usize, String)]) -> Result<Encoded, ApiError> {
        let failed = |error: anyhow::Error| ApiError::internal(format!("{error:#}"));
        let mut tokens = 0;
        for (index, text) in batch {
            let count = self.encoder.count(text).map_err(failed)?;
            if count.is_cut {
                let message = format!(
                    "`input[{index}]` has more than the {} tokens that {} reads; shorten the text or split it",
                    self.context(),
                    self.name
                );
                return Err(ApiError::invalid("input", message).with_code("context_length_exceeded"));
            }
            tokens += count.read as u64;
        }
        let texts: Vec<&str> = batch.iter().map(|(_, text)| text.as_str()).collect();
        let vectors = self.encoder.encode(&texts).map_err(failed)?;
        Ok(Encoded {
            vectors: vectors.chunks_exact(self.encoder.dim()).map(<[f32]>::to_vec).collect(),
            tokens,
        })
    }
}

/// The texts of prompts; token ids are those of another tokenizer in most clients, and their vectors would mean nothing.
fn texts(input: Vec<Prompt>) -> Result<Vec<String>, ApiError> {
    let text = |prompt| match prompt {
        Prompt::Text(text) => Ok(text),
        Prompt::Ids(_) => Err(ApiError::invalid(
            "input",
            "`input` is token ids; this model is a sentence encoder and takes texts (LangChain's OpenAIEmbeddings: \
             `check_embedding_ctx_length=False`)",
        )),
    };
    input.into_iter().map(text).collect()
}
