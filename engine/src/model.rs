//! The Llama forward pass on the CPU: SmolLM2's arithmetic over `kernels`.
//!
//! One call takes chunks of several sequences, of any lengths, each with its own cache; the weights are
//! read once for all of them. Shapes: T tokens of the call, C width, H heads, K kv heads, D head width,
//! F feed-forward, V vocabulary, R rows of logits asked for. Rows of buffers stand a multiple of 16 apart.

use crate::cache::KvCache;
use kernels::{
    Activations, BLOCK_POSITIONS, CacheBlock, CacheFormat, CacheShape, Epilogue, PackedMatrix, Queries,
    RopeTable, Span, WeightFormat, each, multiply,
};
use smollm::{Checkpoint, ModelConfig};
use std::sync::{Mutex, PoisonError};

/// Tokens that one thread norms at a time.
const NORM_TOKENS: usize = 16;

/// Rows of logits whose memory is kept from step to step: more than answers need that run together.
const KEPT_ROWS: usize = 64;

/// A Llama-family model in memory.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    shape: CacheShape,
    embedding: Option<PackedMatrix>, // (V, C); the head where tied
    layers: Vec<Layer>,
    norm: Vec<f32>,     // (C)
    head: PackedMatrix, // (V, C)
    rope: RopeTable,
    scratch: Mutex<Scratch>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,      // (C)
    query_key_value: PackedMatrix, // ((H + 2 K) D, C)
    output: PackedMatrix,          // (C, H D)
    feed_forward_norm: Vec<f32>,   // (C)
    gate_up: PackedMatrix,         // (2 F, C), sixteen rows of each in turn
    down: PackedMatrix,            // (C, F)
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
    /// Where the last hidden states (C), after the final norm, of the chunk's positions are added up.
    pub hidden: Option<&'a mut [f32]>,
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

impl Model {
    /// Packs a checkpoint's weights into memory. Of a model in q4_0 the embedding and the head are held in
    /// q8_0, as llama.cpp does: they are what quantizing hurts most.
    pub fn load(checkpoint: &Checkpoint, weights: WeightFormat, cache: CacheFormat) -> Self {
        let config = &checkpoint.config;
        let vector = |name: &str| checkpoint.weights.tensor(name);
        let head_format = if weights == WeightFormat::Q4_0 { WeightFormat::Q8_0 } else { weights };
        let vocabulary = |name: &str| {
            let rows = checkpoint.weights.rows(name);
            PackedMatrix::pack(head_format, config.vocab_size, config.hidden_size, |row, out| {
                rows.read(row, out);
            })
        };
        let embedding = vocabulary("model.embed_tokens.weight");
        let (embedding, head) = match config.tie_word_embeddings {
            true => (None, embedding),
            false => (Some(embedding), vocabulary("lm_head.weight")),
        };
        let model = Self {
            embedding,
            layers: (0..config.layers).map(|index| Layer::load(checkpoint, index, weights)).collect(),
            norm: vector("model.norm.weight"),
            head,
            rope: RopeTable::new(config.max_positions, config.head_dim, config.rope_theta),
            shape: CacheShape {
                layers: config.layers,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                format: cache,
            },
            config: config.clone(),
            scratch: Mutex::default(),
        };
        checkpoint.weights.release();
        model
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What a cache holds of each position.
    pub fn cache_shape(&self) -> &CacheShape {
        &self.shape
    }

    /// Bytes of weights that one step reads, whatever the batch.
    pub fn bytes_per_step(&self) -> usize {
        let layer = |layer: &Layer| {
            [&layer.query_key_value, &layer.output, &layer.gate_up, &layer.down].map(PackedMatrix::bytes)
        };
        self.layers.iter().flat_map(layer).sum::<usize>() + self.head.bytes()
    }

    /// Runs the chunks together and returns the logits asked for, (R, V), in the chunks' order.
    ///
    /// # Panics
    /// When a chunk goes beyond `max_positions` or names an id beyond the vocabulary.
    pub fn forward(&self, chunks: &mut [Chunk<'_>]) -> Vec<f32> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = &mut *scratch;
        let config = &self.config;
        scratch.size(config, chunks.iter().map(|chunk| chunk.ids.len()).sum());
        let stride = padded(config.hidden_size);
        let embedding = self.embedding.as_ref().unwrap_or(&self.head);
        let ids = chunks.iter().flat_map(|chunk| chunk.ids);
        for (row, id) in scratch.x.chunks_exact_mut(stride).zip(ids) {
            embedding.row(*id as usize, &mut row[..config.hidden_size]); // (C)
        }
        for chunk in chunks.iter_mut() {
            chunk.cache.grow(&self.shape, chunk.ids.len());
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(layer, index, chunks, scratch);
            self.feed_forward(layer, scratch);
        }
        for chunk in chunks.iter_mut() {
            chunk.cache.length += chunk.ids.len();
        }
        self.logits(chunks, scratch)
    }

    /// Takes back what [`Model::forward`] returned, so that the next call need not ask the system for as much
    /// memory and have it cleared. What a scored prompt needed is more than is worth keeping.
    pub fn give_back(&self, logits: Vec<f32>) {
        if logits.capacity() <= KEPT_ROWS * padded(self.config.vocab_size) {
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).logits = logits;
        }
    }

    fn attention(&self, layer: &Layer, index: usize, chunks: &mut [Chunk<'_>], scratch: &mut Scratch) {
        let config = &self.config;
        let query_width = config.heads * config.head_dim;
        let (stride, mixed_stride) = (padded(layer.query_key_value.rows()), padded(query_width));
        let Scratch { x, normed, fused, mixed, activations, .. } = scratch;
        norm(normed, x, &layer.attention_norm, config.rms_norm_eps);
        activations.fill(layer.query_key_value.format(), normed, config.hidden_size, config.hidden_size);
        multiply(fused, stride, activations, &layer.query_key_value, Epilogue::Store); // (T, (H + 2 K) D)
        self.rotate_and_store(index, chunks, fused, stride);
        let blocks: Vec<Vec<&CacheBlock>> =
            chunks.iter().map(|chunk| chunk.cache.blocks.iter().map(AsRef::as_ref).collect()).collect();
        let mut first_row = 0;
        let spans: Vec<Span<'_>> = chunks
            .iter()
            .zip(&blocks)
            .map(|(chunk, blocks)| {
                let rows = chunk.ids.len();
                first_row += rows;
                Span { first_row: first_row - rows, rows, first_position: chunk.cache.length, blocks }
            })
            .collect();
        let queries = Queries { rows: fused, stride, shape: &self.shape, layer: index, spans: &spans };
        kernels::attend(mixed, mixed_stride, queries); // (T, H D)
        activations.fill(layer.output.format(), mixed, mixed_stride, query_width);
        multiply(x, padded(config.hidden_size), activations, &layer.output, Epilogue::Add); // (T, C)
    }

    /// Turns queries and keys to their positions, and puts keys and values into the caches.
    fn rotate_and_store(&self, index: usize, chunks: &mut [Chunk<'_>], mut fused: &mut [f32], stride: usize) {
        let config = &self.config;
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        // (rows of a block's tokens, the block, the first one's position)
        let mut tasks: Vec<Mutex<(&mut [f32], &mut CacheBlock, usize)>> = Vec::new();
        for chunk in chunks.iter_mut() {
            let (mut position, end) = (chunk.cache.length, chunk.cache.length + chunk.ids.len());
            let (first, blocks) = chunk.cache.open_blocks();
            for (block, number) in blocks.into_iter().zip(first..) {
                let tokens = end.min((number + 1) * BLOCK_POSITIONS) - position;
                let (rows, rest) = fused.split_at_mut(tokens * stride);
                fused = rest;
                tasks.push(Mutex::new((rows, block, position)));
                position += tokens;
            }
        }
        each(tasks.len(), |task| {
            let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
            let (rows, block, first) = &mut *task;
            for (row, position) in rows.chunks_exact_mut(stride).zip(*first..) {
                let turned = &mut row[..queries + keys];
                kernels::rope(
                    turned,
                    &[position],
                    config.heads + config.kv_heads,
                    config.head_dim,
                    &self.rope,
                );
                let (key, value) = row[queries..queries + 2 * keys].split_at(keys);
                block.write(&self.shape, index, position % BLOCK_POSITIONS, key, value);
            }
        });
    }

    fn feed_forward(&self, layer: &Layer, scratch: &mut Scratch) {
        let config = &self.config;
        let gated_stride = padded(config.intermediate_size);
        let Scratch { x, normed, gated, activations, .. } = scratch;
        norm(normed, x, &layer.feed_forward_norm, config.rms_norm_eps);
        activations.fill(layer.gate_up.format(), normed, config.hidden_size, config.hidden_size);
        multiply(gated, gated_stride, activations, &layer.gate_up, Epilogue::Gate); // (T, F)
        activations.fill(layer.down.format(), gated, gated_stride, config.intermediate_size);
        multiply(x, padded(config.hidden_size), activations, &layer.down, Epilogue::Add); // (T, C)
    }

    fn logits(&self, chunks: &mut [Chunk<'_>], scratch: &mut Scratch) -> Vec<f32> {
        let (width, vocab_size) = (self.config.hidden_size, self.config.vocab_size);
        let stride = padded(width);
        let Scratch { x, activations, logits, .. } = scratch;
        let mut wanted: Vec<f32> = Vec::new(); // (R, C)
        let mut start = 0;
        for chunk in chunks {
            let end = start + chunk.ids.len();
            let mut normed = vec![0.0; width];
            let norm_row = |row: usize, out: &mut [f32]| {
                kernels::rms_norm(out, &x[row * stride..][..width], &self.norm, self.config.rms_norm_eps);
            };
            if let Some(sum) = &mut chunk.hidden {
                for row in start..end {
                    norm_row(row, &mut normed);
                    kernels::add(sum, &normed);
                }
            }
            let first = match chunk.logits {
                LogitsOf::None => end,
                LogitsOf::Last => end - 1,
                LogitsOf::All => start,
            };
            for row in first..end {
                norm_row(row, &mut normed);
                wanted.extend_from_slice(&normed);
            }
            start = end;
        }
        let rows = wanted.len() / width;
        activations.fill(self.head.format(), &wanted, width, width);
        let mut logits = std::mem::take(logits); // (R, V)
        logits.resize(rows * padded(vocab_size), 0.0);
        multiply(&mut logits, padded(vocab_size), activations, &self.head, Epilogue::Store);
        if padded(vocab_size) != vocab_size {
            for row in 1..rows {
                logits.copy_within(
                    row * padded(vocab_size)..row * padded(vocab_size) + vocab_size,
                    row * vocab_size,
                );
            }
            logits.truncate(rows * vocab_size);
        }
        logits
    }
}

impl Layer {
    fn load(checkpoint: &Checkpoint, index: usize, format: WeightFormat) -> Self {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let rows = |part: &str| weights.rows(&name(part));
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (query, key, value) =
            (rows("self_attn.q_proj"), rows("self_attn.k_proj"), rows("self_attn.v_proj"));
        let (output, gate, up, down) =
            (rows("self_attn.o_proj"), rows("mlp.gate_proj"), rows("mlp.up_proj"), rows("mlp.down_proj"));
        let fused = |row: usize, out: &mut [f32]| match row {
            row if row < queries => query.read(row, out),
            row if row < queries + keys => key.read(row - queries, out),
            row => value.read(row - queries - keys, out),
        };
        let interleaved = |row: usize, out: &mut [f32]| {
            let source = row / 32 * 16 + row % 16;
            match row / 16 % 2 {
                _ if source >= f => out.fill(0.0),
                0 => gate.read(source, out),
                _ => up.read(source, out),
            }
        };
        Self {
            attention_norm: weights.tensor(&name("input_layernorm")),
            query_key_value: PackedMatrix::pack(format, queries + 2 * keys, c, fused),
            output: PackedMatrix::pack(format, c, queries, |row, out| output.read(row, out)),
            feed_forward_norm: weights.tensor(&name("post_attention_layernorm")),
            gate_up: PackedMatrix::pack(format, 2 * padded(f), c, interleaved),
            down: PackedMatrix::pack(format, c, f, |row, out| down.read(row, out)),
        }
    }
}

/// Numbers from one row of a buffer to the next: whole vectors.
fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Norms every row of x, which stand a multiple of 16 apart, into rows of C.
fn norm(out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    let (width, stride) = (weight.len(), padded(weight.len()));
    let rows = |out: &mut [f32], x: &[f32]| {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(stride)) {
            kernels::rms_norm(out, &x[..width], weight, epsilon);
        }
    };
    if x.len() <= NORM_TOKENS * stride {
        return rows(out, x);
    }
    let parts: Vec<Mutex<(&mut [f32], &[f32])>> =
        out.chunks_mut(NORM_TOKENS * width).zip(x.chunks(NORM_TOKENS * stride)).map(Mutex::new).collect();
    each(parts.len(), |part| {
        let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let (out, x) = &mut *part;
        rows(out, x);
    });
}

/// What the layers compute on, kept from call to call.
#[derive(Debug, Default)]
struct Scratch {
    x: Vec<f32>,      // (T, C)
    normed: Vec<f32>, // (T, C), rows of C
    fused: Vec<f32>,  // (T, (H + 2 K) D)
    mixed: Vec<f32>,  // (T, H D)
    gated: Vec<f32>,  // (T, F)
    activations: Activations,
    logits: Vec<f32>, // (R, V), between a call that gave them back and the next
}

impl Scratch {
    fn size(&mut self, config: &ModelConfig, tokens: usize) {
        let heads = (config.heads + 2 * config.kv_heads) * config.head_dim;
        self.x.resize(tokens * padded(config.hidden_size), 0.0);
        self.normed.resize(tokens * config.hidden_size, 0.0);
        self.fused.resize(tokens * padded(heads), 0.0);
        self.mixed.resize(tokens * padded(config.heads * config.head_dim), 0.0);
        self.gated.resize(tokens * padded(config.intermediate_size), 0.0);
    }
}
