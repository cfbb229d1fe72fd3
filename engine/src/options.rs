//! The configuration of the native engine.

use kernels::{CacheFormat, WeightFormat};

/// How the native engine uses memory and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Maximum number of sequences in the batch.
    pub max_sequences: usize,
    /// Maximum number of prompt tokens in one step, over all sequences.
    pub prompt_tokens_per_step: usize,
    /// Memory for keys and values, in bytes. A sequence that needs more than that runs alone.
    pub cache_bytes: usize,
    /// Maximum number of requests in the queue; the engine refuses further ones.
    pub max_waiting: usize,
    /// Storage format of the weights; `None` is the checkpoint's own: of a folder bf16 or f32, of a GGUF file the
    /// quantized blocks themselves, f32 for what `widened_types` names.
    pub weights: Option<WeightFormat>,
    /// Storage format of keys and values.
    pub cache: CacheFormat,
    /// Whether keys and values of finished requests are kept for prompts with the same prefix.
    pub reuse_prefixes: bool,
    /// Maximum number of tokens of an answer that are guessed in a step, from what the prompt and the answer repeat and from
    /// what a constraint leaves no choice of; 0 guesses none. Answers are the same, only faster.
    pub guessed_tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_sequences: 32,
            prompt_tokens_per_step: 512,
            cache_bytes: 4 << 30,
            max_waiting: usize::MAX,
            weights: Some(WeightFormat::F32),
            cache: CacheFormat::F32,
            reuse_prefixes: true,
            guessed_tokens: 15,
        }
    }
}
