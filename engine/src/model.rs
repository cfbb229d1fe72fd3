//! The Llama forward pass on the CPU in f32: SmolLM2's arithmetic over `kernels`.
//!
//! One call takes chunks of several sequences, of any lengths, each with its own cache; the weights are
//! read once for all of them. Shapes: T tokens of the call, C width, H heads, K kv heads, D head width,
//! F feed-forward, V vocabulary, R rows of logits asked for.

use kernels::{AttentionShape, RopeTable};
use smollm::{Checkpoint, ModelConfig};

/// A Llama-family model in memory.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    embedding: Vec<f32>, // (V, C)
    layers: Vec<Layer>,
    norm: Vec<f32>,         // (C)
    head: Option<Vec<f32>>, // (V, C); the embedding where tied
    rope: RopeTable,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,    // (C)
    query: Vec<f32>,             // (H D, C)
    key: Vec<f32>,               // (K D, C)
    value: Vec<f32>,             // (K D, C)
    output: Vec<f32>,            // (C, H D)
    feed_forward_norm: Vec<f32>, // (C)
    gate: Vec<f32>,              // (F, C)
    up: Vec<f32>,                // (F, C)
    down: Vec<f32>,              // (C, F)
}

/// Keys and values of one sequence, every layer: (positions, K, D) each.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    length: usize,
}

/// The next tokens of one sequence.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Ids to run (T of this chunk).
    pub ids: &'a [u32],
    /// The sequence's cache, which grows by them.
    pub cache: &'a mut KvCache,
    /// Which of the chunk's positions want logits.
    pub logits: LogitsOf,
}

/// Which positions of a chunk want logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsOf {
    /// None: the prompt goes on.
    None,
    /// The last one.
    Last,
    /// Every one, for scoring.
    All,
}

impl KvCache {
    /// Positions held.
    pub fn positions(&self) -> usize {
        self.length
    }
}

impl Model {
    /// Copies a checkpoint's weights into memory as f32.
    pub fn load(checkpoint: &Checkpoint) -> Self {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let layer = |index: usize| {
            let part = |name: &str| weights.tensor(&format!("model.layers.{index}.{name}.weight"));
            Layer {
                attention_norm: part("input_layernorm"),
                query: part("self_attn.q_proj"),
                key: part("self_attn.k_proj"),
                value: part("self_attn.v_proj"),
                output: part("self_attn.o_proj"),
                feed_forward_norm: part("post_attention_layernorm"),
                gate: part("mlp.gate_proj"),
                up: part("mlp.up_proj"),
                down: part("mlp.down_proj"),
            }
        };
        Self {
            embedding: weights.tensor("model.embed_tokens.weight"),
            layers: (0..config.layers).map(layer).collect(),
            norm: weights.tensor("model.norm.weight"),
            head: (!config.tie_word_embeddings).then(|| weights.tensor("lm_head.weight")),
            rope: RopeTable::new(config.max_positions, config.head_dim, config.rope_theta),
            config: config.clone(),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of cache one position takes.
    pub fn cache_bytes_per_position(&self) -> usize {
        2 * self.config.layers * self.config.kv_heads * self.config.head_dim * size_of::<f32>()
    }

    /// An empty cache with room for `positions`.
    pub fn cache(&self, positions: usize) -> KvCache {
        let row = self.config.kv_heads * self.config.head_dim;
        let part = || Vec::with_capacity(positions * row);
        KvCache { layers: (0..self.config.layers).map(|_| (part(), part())).collect(), length: 0 }
    }

    /// Runs the chunks together and returns the logits asked for, (R, V), in the chunks' order.
    ///
    /// # Panics
    /// When a chunk goes beyond `max_positions` or names an id beyond the vocabulary.
    pub fn forward(&self, chunks: &mut [Chunk<'_>]) -> Vec<f32> {
        let config = &self.config;
        let width = config.hidden_size;
        let positions: Vec<usize> = chunks
            .iter()
            .flat_map(|chunk| chunk.cache.length..chunk.cache.length + chunk.ids.len())
            .collect();
        let mut x: Vec<f32> = Vec::with_capacity(positions.len() * width); // (T, C)
        for id in chunks.iter().flat_map(|chunk| chunk.ids) {
            x.extend_from_slice(&self.embedding[*id as usize * width..][..width]);
        }
        let mut scratch = Scratch::new(config, positions.len());
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(layer, index, &mut x, chunks, &positions, &mut scratch);
            feed_forward(layer, config, &mut x, &mut scratch);
        }
        for chunk in chunks.iter_mut() {
            chunk.cache.length += chunk.ids.len();
        }
        self.logits(&x, chunks)
    }

    fn attention(
        &self,
        layer: &Layer,
        index: usize,
        x: &mut [f32],
        chunks: &mut [Chunk<'_>],
        positions: &[usize],
        scratch: &mut Scratch,
    ) {
        let config = &self.config;
        let (width, head_dim) = (config.hidden_size, config.head_dim);
        let (query_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let Scratch { normed, query, key, value, mixed, added, .. } = scratch;
        kernels::rms_norm(normed, x, &layer.attention_norm, config.rms_norm_eps);
        kernels::matmul(query, normed, &layer.query, width, query_width); // (T, H D)
        kernels::matmul(key, normed, &layer.key, width, kv_width); // (T, K D)
        kernels::matmul(value, normed, &layer.value, width, kv_width); // (T, K D)
        kernels::rope(query, positions, config.heads, head_dim, &self.rope);
        kernels::rope(key, positions, config.kv_heads, head_dim, &self.rope);
        let shape = AttentionShape { heads: config.heads, kv_heads: config.kv_heads, head_dim };
        let mut start = 0;
        for chunk in chunks.iter_mut() {
            let end = start + chunk.ids.len();
            let (keys, values) = &mut chunk.cache.layers[index];
            keys.extend_from_slice(&key[start * kv_width..end * kv_width]);
            values.extend_from_slice(&value[start * kv_width..end * kv_width]);
            let rows = start * query_width..end * query_width;
            kernels::attend(&mut mixed[rows.clone()], &query[rows], keys, values, shape, chunk.cache.length);
            start = end;
        }
        kernels::matmul(added, mixed, &layer.output, query_width, width); // (T, C)
        kernels::add(x, added);
    }

    fn logits(&self, x: &[f32], chunks: &[Chunk<'_>]) -> Vec<f32> {
        let width = self.config.hidden_size;
        let mut wanted: Vec<f32> = Vec::new(); // (R, C)
        let mut start = 0;
        for chunk in chunks {
            let end = start + chunk.ids.len();
            let first = match chunk.logits {
                LogitsOf::None => end,
                LogitsOf::Last => end - 1,
                LogitsOf::All => start,
            };
            wanted.extend_from_slice(&x[first * width..end * width]);
            start = end;
        }
        let mut normed = vec![0.0; wanted.len()];
        kernels::rms_norm(&mut normed, &wanted, &self.norm, self.config.rms_norm_eps);
        let mut logits = vec![0.0; wanted.len() / width * self.config.vocab_size]; // (R, V)
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        kernels::matmul(&mut logits, &normed, head, width, self.config.vocab_size);
        logits
    }
}

fn feed_forward(layer: &Layer, config: &ModelConfig, x: &mut [f32], scratch: &mut Scratch) {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let Scratch { normed, gate, up, added, .. } = scratch;
    kernels::rms_norm(normed, x, &layer.feed_forward_norm, config.rms_norm_eps);
    kernels::matmul(gate, normed, &layer.gate, width, inner); // (T, F)
    kernels::matmul(up, normed, &layer.up, width, inner); // (T, F)
    kernels::swiglu(gate, up);
    kernels::matmul(added, gate, &layer.down, inner, width); // (T, C)
    kernels::add(x, added);
}

/// What one layer computes on, shared by all layers of a call.
struct Scratch {
    normed: Vec<f32>, // (T, C)
    query: Vec<f32>,  // (T, H D)
    key: Vec<f32>,    // (T, K D)
    value: Vec<f32>,  // (T, K D)
    mixed: Vec<f32>,  // (T, H D)
    gate: Vec<f32>,   // (T, F)
    up: Vec<f32>,     // (T, F)
    added: Vec<f32>,  // (T, C)
}

impl Scratch {
    fn new(config: &ModelConfig, tokens: usize) -> Self {
        let part = |width: usize| vec![0.0; tokens * width];
        Self {
            normed: part(config.hidden_size),
            query: part(config.heads * config.head_dim),
            key: part(config.kv_heads * config.head_dim),
            value: part(config.kv_heads * config.head_dim),
            mixed: part(config.heads * config.head_dim),
            gate: part(config.intermediate_size),
            up: part(config.intermediate_size),
            added: part(config.hidden_size),
        }
    }
}
