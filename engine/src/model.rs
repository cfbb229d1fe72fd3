//! The forward pass of Llama models and their relatives on the CPU.
//!
//! One call runs chunks of several sequences, of any lengths, each with its own cache; the weights are read once for
//! all of them. Shapes: T tokens of the call, C width, H query heads, K key heads, D elements of a head, F feed-forward
//! features, V vocabulary, R requested rows of logits. The stride of rows in buffers is a multiple of 16.

mod adapters;
mod layer;
mod pack;
mod positions;
mod rows;
mod scratch;
mod stride;
mod widened;

use crate::kv_cache::KvCache;
use adapters::{Adapters, Input, Place};
use checkpoint::adapter::AdapterMatrices;
use checkpoint::{Activation, Checkpoint, ModelConfig};
use kernels::{
    BLOCK_POSITIONS, CacheBlock, CacheFormat, CacheShape, Epilogue, PackedMatrix, Queries, Span,
    WeightFormat, multiply, parallel_for,
};
use layer::{Group, Layer};
use pack::{Arrangement, Holding};
use positions::Positions;
use rows::{gate, norm, norm_heads};
use scratch::Scratch;
use std::sync::{Mutex, PoisonError};
use stride::padded;
pub use widened::widened_types;

/// Maximum number of rows of logits whose memory is kept for the next step; more than the answers of a batch need.
const KEPT_ROWS: usize = 64;

/// A Llama-family model in memory.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    shape: CacheShape,
    embedding: Option<PackedMatrix>, // (V, C); `None` if tied to the head
    layers: Vec<Layer>,
    norm: Vec<f32>,     // (C)
    head: PackedMatrix, // (V, C)
    positions: Positions,
    adapters: Adapters,
    scratch: Mutex<Scratch>,
}

/// The next tokens of one sequence.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Ids to run.
    pub ids: &'a [u32],
    /// The cache of the sequence, which grows by these ids.
    pub cache: &'a mut KvCache,
    /// The positions whose logits are returned.
    pub logits: LogitPositions,
    /// If given, the last hidden states (C), after the final norm, of the chunk's positions are added to it.
    pub hidden_sum: Option<&'a mut [f32]>,
    /// The number of the adapter that changes the weights, as [`Model::add_adapter`] returned it. The cache must be filled
    /// with the same one.
    pub adapter: Option<usize>,
}

/// The positions of a chunk whose logits are returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitPositions {
    /// None, in the middle of a prompt.
    None,
    /// The last position.
    Last,
    /// Every position, for scoring.
    All,
    /// The positions from this index of the chunk on, for scoring what follows a context.
    From(usize),
}

impl Model {
    /// Packs the weights of a checkpoint into memory, in the format `weights`; `None` is the checkpoint's own, as
    /// [`Options::weights`](crate::Options::weights). In a q4_0 or q4_1 model the embedding and the head are stored in
    /// q8_0, as llama.cpp does: quantization of these loses the most accuracy.
    pub fn load(
        checkpoint: &Checkpoint,
        weights: impl Into<Option<WeightFormat>>,
        cache: CacheFormat,
    ) -> Self {
        let config = &checkpoint.config;
        let holding = Holding::new(weights.into(), &checkpoint.weights);
        let vocabulary =
            |name: &str| holding.of_vocabulary().pack(&[checkpoint.weights.rows(name)], Arrangement::Stacked);
        let embedding = vocabulary("model.embed_tokens.weight");
        let (embedding, head) = match config.tie_word_embeddings {
            true => (None, embedding),
            false => (Some(embedding), vocabulary("lm_head.weight")),
        };
        let model = Self {
            embedding,
            layers: (0..config.layers).map(|index| Layer::load(checkpoint, index, holding)).collect(),
            norm: layer::norm_weights(checkpoint, "model.norm.weight"),
            head,
            positions: Positions::new(config),
            shape: CacheShape {
                layers: config.layers,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                format: cache,
            },
            config: config.clone(),
            adapters: Adapters::default(),
            scratch: Mutex::default(),
        };
        checkpoint.weights.release();
        model
    }

    /// Adds an adapter, whose products are computed beside those of the weights, in bf16 if these are, otherwise in f32, and
    /// returns its number.
    /// `checkpoint` is the one that the model was loaded from, and `adapter` was opened for a model of its shape.
    pub fn add_adapter(&mut self, checkpoint: &Checkpoint, adapter: &AdapterMatrices) -> usize {
        let layers = &self.layers;
        let is_bf16 = |place: Place| {
            let Layer { query_key_value, output, gate_up, down, .. } = &layers[place.layer];
            let matrix = match place.group {
                Group::QueryKeyValue => query_key_value,
                Group::Output => output,
                Group::GateUp => gate_up,
                Group::Down => down,
            };
            matrix.format() == WeightFormat::Bf16
        };
        self.adapters.add(checkpoint, adapter, is_bf16)
    }

    /// Returns the configuration of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the shape of cache blocks.
    pub fn cache_shape(&self) -> &CacheShape {
        &self.shape
    }

    /// Returns how many bytes of weights a step reads, for any batch.
    pub fn bytes_per_step(&self) -> usize {
        let layer = |layer: &Layer| {
            [&layer.query_key_value, &layer.output, &layer.gate_up, &layer.down].map(PackedMatrix::bytes)
        };
        self.layers.iter().flat_map(layer).sum::<usize>() + self.head.bytes()
    }

    /// Runs the chunks together and returns the requested logits (R, V), in the order of the chunks.
    ///
    /// # Panics
    /// If a chunk ends beyond `max_positions`, or has an id beyond the vocabulary or an adapter that was not added.
    pub fn forward(&self, chunks: &mut [Chunk<'_>]) -> Vec<f32> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = &mut *scratch;
        let config = &self.config;
        scratch.resize(config, chunks.iter().map(|chunk| chunk.ids.len()).sum());
        scratch.adapters.begin(chunks.iter().map(|chunk| (chunk.ids.len(), chunk.adapter)));
        let stride = padded(config.hidden_size);
        let embedding = self.embedding.as_ref().unwrap_or(&self.head);
        let ids = chunks.iter().flat_map(|chunk| chunk.ids);
        for (row, id) in scratch.x.chunks_exact_mut(stride).zip(ids) {
            embedding.row(*id as usize, &mut row[..config.hidden_size]); // (C)
            if config.architecture.embedding_scale != 1.0 {
                row.iter_mut().for_each(|value| *value *= config.architecture.embedding_scale);
            }
        }
        for chunk in chunks.iter_mut() {
            chunk.cache.grow(&self.shape, chunk.ids.len());
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(layer, index, chunks, scratch);
            self.feed_forward(layer, index, scratch);
        }
        for chunk in chunks.iter_mut() {
            chunk.cache.length += chunk.ids.len();
        }
        self.logits(chunks, scratch)
    }

    /// Takes the logits that [`Model::forward`] returned, so that the next call can reuse their memory. The logits of a
    /// scored prompt are too large to keep.
    pub fn recycle(&self, logits: Vec<f32>) {
        if logits.capacity() <= KEPT_ROWS * padded(self.config.vocab_size) {
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).logits = logits;
        }
    }

    /// Adds the output of attention to the residual stream.
    fn attention(&self, layer: &Layer, index: usize, chunks: &mut [Chunk<'_>], scratch: &mut Scratch) {
        let config = &self.config;
        let query_width = config.heads * config.head_dim;
        let (stride, output_stride) = (padded(layer.query_key_value.rows()), padded(query_width));
        let Scratch { x, normed, qkv, attention_output, activations, adapters, .. } = scratch;
        norm(normed, x, &layer.attention_norm, config.rms_norm_eps);
        activations.fill(layer.query_key_value.format(), normed, config.hidden_size, config.hidden_size);
        multiply(qkv, stride, activations, &layer.query_key_value, Epilogue::Store); // (T, (H + 2 K) D)
        let input = Input { values: normed, stride: config.hidden_size, columns: config.hidden_size };
        let place = Place { layer: index, group: Group::QueryKeyValue };
        self.adapters.apply(qkv, stride, input, place, adapters);
        self.rotate_and_store(layer, index, chunks, qkv, stride);
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
        let queries = Queries {
            rows: qkv,
            stride,
            shape: &self.shape,
            layer: index,
            spans: &spans,
            window: config.architecture.window_of(index),
        };
        kernels::attend(attention_output, output_stride, queries); // (T, H D)
        self.add_branch(layer, Place { group: Group::Output, ..place }, scratch);
    }

    /// Adds biases, normalizes and rotates queries and keys where the family does, and writes keys and values to the
    /// caches.
    fn rotate_and_store(
        &self,
        layer: &Layer,
        index: usize,
        chunks: &mut [Chunk<'_>],
        mut qkv: &mut [f32],
        stride: usize,
    ) {
        let config = &self.config;
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        // (rows of the tokens of a block, the block, the position of the first row)
        let mut tasks: Vec<Mutex<(&mut [f32], &mut CacheBlock, usize)>> = Vec::new();
        for chunk in chunks.iter_mut() {
            let (mut position, end) = (chunk.cache.length, chunk.cache.length + chunk.ids.len());
            let (first, blocks) = chunk.cache.open_blocks();
            for (block, number) in blocks.into_iter().zip(first..) {
                let tokens = end.min((number + 1) * BLOCK_POSITIONS) - position;
                let (rows, rest) = qkv.split_at_mut(tokens * stride);
                qkv = rest;
                tasks.push(Mutex::new((rows, block, position)));
                position += tokens;
            }
        }
        parallel_for(tasks.len(), |task| {
            let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
            let (rows, block, first) = &mut *task;
            for (row, position) in rows.chunks_exact_mut(stride).zip(*first..) {
                if !layer.biases.is_empty() {
                    kernels::add(&mut row[..queries + 2 * keys], &layer.biases);
                }
                if !layer.query_norm.is_empty() {
                    norm_heads(&mut row[..queries], &layer.query_norm, config.rms_norm_eps);
                    norm_heads(&mut row[queries..queries + keys], &layer.key_norm, config.rms_norm_eps);
                }
                if let Some(table) = self.positions.table(index) {
                    let heads = config.heads + config.kv_heads;
                    kernels::rope(&mut row[..queries + keys], &[position], heads, config.head_dim, table);
                }
                let (key, value) = row[queries..queries + 2 * keys].split_at(keys);
                block.write(&self.shape, index, position % BLOCK_POSITIONS, key, value);
            }
        });
    }

    /// Adds the output of the feed-forward network to the residual stream.
    fn feed_forward(&self, layer: &Layer, index: usize, scratch: &mut Scratch) {
        let (config, activation) = (&self.config, self.config.architecture.activation);
        let (width, stride) = (config.hidden_size, padded(config.intermediate_size));
        let Scratch { x, normed, gate_up, gated, activations, adapters, .. } = scratch;
        norm(normed, x, &layer.feed_forward_norm, config.rms_norm_eps);
        activations.fill(layer.gate_up.format(), normed, width, width);
        let place = Place { layer: index, group: Group::GateUp };
        if self.adapters.change(adapters, place) {
            // What an adapter adds is added before the gate.
            gate_up.resize(2 * gated.len(), 0.0);
            multiply(gate_up, 2 * stride, activations, &layer.gate_up, Epilogue::Store); // (T, 2 F)
            let input = Input { values: normed, stride: width, columns: width };
            self.adapters.apply(gate_up, 2 * stride, input, place, adapters);
            gate(activation, gated, gate_up, stride);
        } else {
            let epilogue = match activation {
                Activation::Silu => Epilogue::Gate,
                Activation::GeluTanh => Epilogue::GeluGate,
            };
            multiply(gated, stride, activations, &layer.gate_up, epilogue); // (T, F)
        }
        self.add_branch(layer, Place { group: Group::Down, ..place }, scratch);
    }

    /// Adds the product of a branch's last matrix, which `place` names, to the residual stream (T, C); after its norm, if it
    /// has one.
    fn add_branch(&self, layer: &Layer, place: Place, scratch: &mut Scratch) {
        let config = &self.config;
        let Scratch { x, normed, attention_output, gated, branch, activations, adapters, .. } = scratch;
        let (matrix, post_norm, values, columns) = match place.group {
            Group::Output => {
                let width = config.heads * config.head_dim;
                (&layer.output, &layer.post_attention_norm, attention_output, width)
            }
            _ => (&layer.down, &layer.post_feed_forward_norm, gated, config.intermediate_size),
        };
        let input = Input { values, stride: padded(columns), columns };
        activations.fill(matrix.format(), input.values, input.stride, columns);
        let (width, stride) = (config.hidden_size, padded(config.hidden_size));
        let (out, epilogue) =
            if post_norm.is_empty() { (&mut *x, Epilogue::Add) } else { (&mut *branch, Epilogue::Store) };
        multiply(out, stride, activations, matrix, epilogue);
        self.adapters.apply(out, stride, input, place, adapters);
        if post_norm.is_empty() {
            return;
        }
        norm(normed, branch, post_norm, config.rms_norm_eps);
        for (x, normed) in x.chunks_exact_mut(stride).zip(normed.chunks_exact(width)) {
            kernels::add(&mut x[..width], normed);
        }
    }

    /// Returns the requested logits (R, V) and adds the hidden states up where requested.
    fn logits(&self, chunks: &mut [Chunk<'_>], scratch: &mut Scratch) -> Vec<f32> {
        let (width, vocab_size) = (self.config.hidden_size, self.config.vocab_size);
        let stride = padded(width);
        let Scratch { x, activations, logits, .. } = scratch;
        let mut hidden: Vec<f32> = Vec::new(); // (R, C)
        let mut start = 0;
        for chunk in chunks {
            let end = start + chunk.ids.len();
            let mut normed = vec![0.0; width];
            let norm_row = |row: usize, out: &mut [f32]| {
                kernels::rms_norm(out, &x[row * stride..][..width], &self.norm, self.config.rms_norm_eps);
            };
            if let Some(sum) = &mut chunk.hidden_sum {
                for row in start..end {
                    norm_row(row, &mut normed);
                    kernels::add(sum, &normed);
                }
            }
            let first = match chunk.logits {
                LogitPositions::None => end,
                LogitPositions::Last => end - 1,
                LogitPositions::All => start,
                LogitPositions::From(index) => (start + index).min(end),
            };
            for row in first..end {
                norm_row(row, &mut normed);
                hidden.extend_from_slice(&normed);
            }
            start = end;
        }
        let rows = hidden.len() / width;
        activations.fill(self.head.format(), &hidden, width, width);
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
