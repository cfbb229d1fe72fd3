//! The model, forward and backward written out: a Llama of any shape over flat buffers that are made once
//! and used by every step.
//!
//! `forward` leaves what `backward` needs; `head` goes between them and is the only place where logits
//! exist, a chunk of rows at a time. Activations are f32 or bf16 (`E`); weights, their gradients, the
//! residual stream and all sums are f32, so `E = bf16` is mixed precision with fp32 master weights.
//! Shapes: T tokens, C channels, F feed-forward, H heads, K key heads, D head dimension, V vocabulary,
//! N trained tokens.

mod batch;
mod parameters;

pub use batch::{Batch, Sequence};
pub(crate) use parameters::LayerLayout;
pub use parameters::{Layout, Parameters};

use kernels::training::{
    Direction, TokenLoss, attention_backward, attention_forward, cross_entropy_backward,
    cross_entropy_forward, embedding_backward, embedding_forward, rms_norm_backward, rms_norm_forward,
    rotate, swiglu_backward, swiglu_forward,
};
use kernels::{AttentionShape, Element, Into, Matrix, RopeTable, gemm};
use smollm::ModelConfig;

/// Rows of logits that exist at once.
const HEAD_ROWS: usize = 1024;

/// A model's arithmetic and its buffers; the weights are the caller's.
#[derive(Debug)]
pub struct Model<E> {
    config: ModelConfig,
    layout: Layout,
    rope: RopeTable,
    /// Whether layers are computed again in the backward pass instead of kept.
    checkpoint_layers: bool,
    /// The residual stream before every layer and after the last: (layers + 1) x (T, C).
    inputs: Vec<Vec<f32>>,
    /// What each layer leaves for its backward pass; one for all where layers are checkpointed.
    layers: Vec<LayerActivations<E>>,
    scratch: Scratch<E>,
    /// Final norm of the rows that predict trained tokens (N, C).
    hidden: Vec<E>,
    /// Gradient of those rows (N, C).
    dhidden: Vec<f32>,
    /// Whether `dhidden` is of the batch that was forwarded last.
    head_gradient: bool,
    /// A chunk of logits, then of their gradient (HEAD_ROWS, V).
    logits: Vec<f32>,
}

#[derive(Debug, Default)]
struct LayerActivations<E> {
    /// After the rotation (T, (H + 2K) D).
    qkv: Vec<E>,
    /// Attention's answer (T, H D).
    mixed: Vec<E>,
    /// Log sums of the scores (H, T).
    log_sums: Vec<f32>,
    /// The residual stream between attention and feed-forward (T, C).
    middle: Vec<f32>,
    /// Before the gate; its own gradient in the backward pass (T, 2F).
    gate_up: Vec<E>,
}

/// Buffers that no layer needs to keep.
#[derive(Debug, Default)]
struct Scratch<E> {
    /// (T, C)
    normed: Vec<E>,
    /// (T, F)
    gated: Vec<E>,
    /// (T, C)
    dnormed: Vec<f32>,
    /// (T, F)
    dgated: Vec<E>,
    /// (T, H D)
    dmixed: Vec<E>,
    /// (T, (H + 2K) D)
    dqkv: Vec<E>,
    /// Gradient of the residual stream (T, C).
    dx: Vec<f32>,
}

impl<E: Element> Model<E> {
    /// A model of this shape for sequences of up to `positions` tokens.
    pub fn new(config: &ModelConfig, positions: usize, checkpoint_layers: bool) -> Self {
        let count = if checkpoint_layers { 1 } else { config.layers };
        Self {
            config: config.clone(),
            layout: Layout::new(config),
            rope: RopeTable::new(positions, config.head_dim, config.rope_theta),
            checkpoint_layers,
            inputs: vec![Vec::new(); config.layers + 1],
            layers: (0..count).map(|_| LayerActivations::default()).collect(),
            scratch: Scratch::default(),
            hidden: Vec::new(),
            dhidden: Vec::new(),
            head_gradient: false,
            logits: Vec::new(),
        }
    }

    /// Another base of the rotary angles, or more positions.
    pub fn set_rope(&mut self, theta: f32, positions: usize) {
        self.config.rope_theta = theta;
        self.rope = RopeTable::new(positions, self.config.head_dim, theta);
    }

    /// Runs the layers over a batch and keeps what `head` and `backward` need.
    pub fn forward(&mut self, weights: &[f32], batch: &Batch) {
        self.resize(batch.tokens());
        self.head_gradient = false;
        let (config, layout) = (&self.config, &self.layout);
        let table = &weights[layout.embedding.clone()];
        embedding_forward(&mut self.inputs[0], table, &batch.ids, config.hidden_size);
        for index in 0..config.layers {
            let (before, after) = self.inputs.split_at_mut(index + 1);
            let layer = &mut self.layers[if self.checkpoint_layers { 0 } else { index }];
            let step = Step { config, layout: &layout.layers[index], weights, batch, rope: &self.rope };
            layer.forward(step, &before[index], Some(&mut after[0]), &mut self.scratch);
        }
        gather(&mut self.scratch.dnormed, &self.inputs[config.layers], &batch.rows, config.hidden_size);
        self.hidden.resize(batch.rows.len() * config.hidden_size, E::default());
        let norm = &weights[layout.norm.clone()];
        let rows = &self.scratch.dnormed[..self.hidden.len()];
        rms_norm_forward(&mut self.hidden, rows, norm, config.rms_norm_eps);
    }

    /// Log-probabilities of the batch's targets (N).
    pub fn losses(&mut self, weights: &[f32], batch: &Batch) -> Vec<TokenLoss> {
        let mut results = vec![TokenLoss::default(); batch.targets.len()];
        self.head(weights, None, batch, &mut results, |_, _| 0.0);
        results
    }

    /// As `losses`, and takes the gradient of -Σ weight_of(n, token n) · log probability of token n, the
    /// weights being constants: that of the head is added to `gradients`, that of the layers' answer is
    /// kept for `backward`.
    pub fn losses_and_gradient(
        &mut self,
        weights: &[f32],
        gradients: &mut [f32],
        batch: &Batch,
        weight_of: impl Fn(usize, &TokenLoss) -> f32,
    ) -> Vec<TokenLoss> {
        let mut results = vec![TokenLoss::default(); batch.targets.len()];
        self.head(weights, Some(gradients), batch, &mut results, weight_of);
        self.head_gradient = true;
        results
    }

    fn head(
        &mut self,
        weights: &[f32],
        mut gradients: Option<&mut [f32]>,
        batch: &Batch,
        results: &mut [TokenLoss],
        weight_of: impl Fn(usize, &TokenLoss) -> f32,
    ) {
        let (c, v) = (self.config.hidden_size, self.config.vocab_size);
        let head = &self.layout.head;
        let table = Matrix::new(&weights[head.clone()], v, c);
        if gradients.is_some() {
            self.dhidden.resize(batch.targets.len() * c, 0.0);
        }
        for first in (0..batch.targets.len()).step_by(HEAD_ROWS) {
            let rows = HEAD_ROWS.min(batch.targets.len() - first);
            self.logits.resize(rows * v, 0.0);
            let hidden = Matrix::new(&self.hidden[first * c..][..rows * c], rows, c);
            let targets = &batch.targets[first..][..rows];
            let results = &mut results[first..][..rows];
            gemm::<E, _, _, _>(&mut self.logits, hidden, table.transposed(), Into::Replace);
            cross_entropy_forward(results, &self.logits, targets);
            let Some(gradients) = gradients.as_deref_mut() else { continue };
            let tokens = results.iter().enumerate();
            let token_weights: Vec<f32> = tokens.map(|(row, token)| weight_of(first + row, token)).collect();
            cross_entropy_backward(&mut self.logits, targets, results, &token_weights);
            let dlogits = Matrix::new(&self.logits, rows, v);
            let dhidden = &mut self.dhidden[first * c..][..rows * c];
            gemm::<E, _, _, _>(dhidden, dlogits, table, Into::Replace);
            gemm::<E, _, _, _>(&mut gradients[head.clone()], dlogits.transposed(), hidden, Into::Add);
        }
    }

    /// Adds the gradients of everything below the head to `gradients`.
    ///
    /// # Panics
    /// If `losses_and_gradient` was not called since `forward` on this batch.
    pub fn backward(&mut self, weights: &[f32], gradients: &mut [f32], batch: &Batch) {
        assert!(self.head_gradient, "backward: losses_and_gradient goes before it, once");
        self.head_gradient = false;
        let (config, layout, c) = (&self.config, &self.layout, self.config.hidden_size);
        let last = &self.inputs[config.layers];
        let count = batch.rows.len() * c;
        assert_eq!(self.dhidden.len(), count, "backward: the head's gradient is of another batch");
        // The final norm, on the rows that were used; all others have no gradient.
        let mut rows = vec![0.0; count];
        gather(&mut rows, last, &batch.rows, c);
        let mut drows = vec![0.0; count];
        let (norm, dnorm) = (&weights[layout.norm.clone()], &mut gradients[layout.norm.clone()]);
        rms_norm_backward(&mut drows, dnorm, &self.dhidden, &rows, norm, config.rms_norm_eps);
        self.scratch.dx.fill(0.0);
        for (drow, row) in drows.chunks_exact(c).zip(&batch.rows) {
            self.scratch.dx[*row as usize * c..][..c].copy_from_slice(drow);
        }
        for index in (0..config.layers).rev() {
            let input = &self.inputs[index];
            let layer = &mut self.layers[if self.checkpoint_layers { 0 } else { index }];
            let step = Step { config, layout: &layout.layers[index], weights, batch, rope: &self.rope };
            if self.checkpoint_layers {
                layer.forward(step, input, None, &mut self.scratch);
            }
            layer.backward(step, gradients, input, &mut self.scratch);
        }
        embedding_backward(&mut gradients[layout.embedding.clone()], &self.scratch.dx, &batch.ids, c);
    }

    fn resize(&mut self, tokens: usize) {
        let config = &self.config;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let mixed = config.heads * config.head_dim;
        let qkv = mixed + 2 * config.kv_heads * config.head_dim;
        self.inputs.iter_mut().for_each(|input| input.resize(tokens * c, 0.0));
        for layer in &mut self.layers {
            layer.qkv.resize(tokens * qkv, E::default());
            layer.mixed.resize(tokens * mixed, E::default());
            layer.log_sums.resize(tokens * config.heads, 0.0);
            layer.middle.resize(tokens * c, 0.0);
            layer.gate_up.resize(tokens * 2 * f, E::default());
        }
        let scratch = &mut self.scratch;
        scratch.normed.resize(tokens * c, E::default());
        scratch.gated.resize(tokens * f, E::default());
        scratch.dnormed.resize(tokens * c, 0.0);
        scratch.dgated.resize(tokens * f, E::default());
        scratch.dmixed.resize(tokens * mixed, E::default());
        scratch.dqkv.resize(tokens * qkv, E::default());
        scratch.dx.resize(tokens * c, 0.0);
    }
}

/// What one layer's passes read.
#[derive(Clone, Copy)]
struct Step<'a> {
    config: &'a ModelConfig,
    layout: &'a LayerLayout,
    weights: &'a [f32],
    batch: &'a Batch,
    rope: &'a RopeTable,
}

impl Step<'_> {
    fn shape(&self) -> AttentionShape {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        AttentionShape { heads, kv_heads, head_dim }
    }

    /// Turns queries and keys in place.
    fn rotate<E: Element>(&self, qkv: &mut [E], direction: Direction) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape();
        let row = (heads + 2 * kv_heads) * head_dim;
        rotate(qkv, row, heads + kv_heads, &self.batch.positions, self.rope, direction);
    }
}

impl<E: Element> LayerActivations<E> {
    /// x (T, C) to the next residual stream, which a recomputation does not need.
    fn forward(&mut self, step: Step<'_>, x: &[f32], next: Option<&mut Vec<f32>>, scratch: &mut Scratch<E>) {
        let Step { config, layout, weights, batch, .. } = step;
        let (c, f, t, epsilon) =
            (config.hidden_size, config.intermediate_size, batch.tokens(), config.rms_norm_eps);
        let hd = config.heads * config.head_dim;
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let weight = |range: &std::ops::Range<usize>, rows, columns| {
            Matrix::new(&weights[range.clone()], rows, columns).transposed()
        };
        rms_norm_forward(&mut scratch.normed, x, &weights[layout.attention_norm.clone()], epsilon); // (T, C)
        let normed = Matrix::new(&scratch.normed, t, c);
        gemm::<E, _, _, _>(&mut self.qkv, normed, weight(&layout.qkv, qkv, c), Into::Replace); // (T, (H + 2K) D)
        step.rotate(&mut self.qkv, Direction::Forward);
        attention_forward(&mut self.mixed, &mut self.log_sums, &self.qkv, step.shape(), &batch.starts); // (T, H D)
        self.middle.copy_from_slice(x);
        let mixed = Matrix::new(&self.mixed, t, hd);
        gemm::<E, _, _, _>(&mut self.middle, mixed, weight(&layout.out, c, hd), Into::Add); // (T, C)
        let norm = &weights[layout.feed_forward_norm.clone()];
        rms_norm_forward(&mut scratch.normed, &self.middle, norm, epsilon); // (T, C)
        let normed = Matrix::new(&scratch.normed, t, c);
        gemm::<E, _, _, _>(&mut self.gate_up, normed, weight(&layout.gate_up, 2 * f, c), Into::Replace); // (T, 2F)
        let Some(next) = next else { return };
        swiglu_forward(&mut scratch.gated, &self.gate_up, f); // (T, F)
        next.copy_from_slice(&self.middle);
        let gated = Matrix::new(&scratch.gated, t, f);
        gemm::<E, _, _, _>(next, gated, weight(&layout.down, c, f), Into::Add); // (T, C)
    }

    /// Turns `scratch.dx`, the gradient after the layer, into that before it.
    fn backward(&mut self, step: Step<'_>, gradients: &mut [f32], x: &[f32], scratch: &mut Scratch<E>) {
        let Step { config, layout, weights, batch, .. } = step;
        let (c, f, t, epsilon) =
            (config.hidden_size, config.intermediate_size, batch.tokens(), config.rms_norm_eps);
        let hd = config.heads * config.head_dim;
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let weight = |range: &std::ops::Range<usize>, rows, columns| {
            Matrix::new(&weights[range.clone()], rows, columns)
        };
        let Scratch { normed, gated, dnormed, dgated, dmixed, dqkv, dx } = scratch;

        // Feed-forward.
        swiglu_forward(gated, &self.gate_up, f); // (T, F)
        let dout = Matrix::new(dx.as_slice(), t, c);
        let ddown = &mut gradients[layout.down.clone()];
        gemm::<E, _, _, _>(ddown, dout.transposed(), Matrix::new(gated, t, f), Into::Add); // (C, F)
        gemm::<E, _, _, _>(dgated, dout, weight(&layout.down, c, f), Into::Replace); // (T, F)
        swiglu_backward(&mut self.gate_up, dgated, f); // (T, 2F)
        let norm = &weights[layout.feed_forward_norm.clone()];
        rms_norm_forward(normed, &self.middle, norm, epsilon); // (T, C)
        let dgate_up = Matrix::new(&self.gate_up, t, 2 * f);
        let dweight = &mut gradients[layout.gate_up.clone()];
        gemm::<E, _, _, _>(dweight, dgate_up.transposed(), Matrix::new(normed, t, c), Into::Add); // (2F, C)
        gemm::<E, _, _, _>(dnormed, dgate_up, weight(&layout.gate_up, 2 * f, c), Into::Replace); // (T, C)
        let dnorm = &mut gradients[layout.feed_forward_norm.clone()];
        rms_norm_backward(dx, dnorm, dnormed, &self.middle, norm, epsilon);

        // Attention.
        let dout = Matrix::new(dx.as_slice(), t, c);
        let dweight = &mut gradients[layout.out.clone()];
        gemm::<E, _, _, _>(dweight, dout.transposed(), Matrix::new(&self.mixed, t, hd), Into::Add); // (C, H D)
        gemm::<E, _, _, _>(dmixed, dout, weight(&layout.out, c, hd), Into::Replace); // (T, H D)
        let (shape, starts) = (step.shape(), &batch.starts);
        attention_backward(dqkv, dmixed, &self.mixed, &self.log_sums, &self.qkv, shape, starts);
        step.rotate(dqkv, Direction::Backward); // (T, (H + 2K) D)
        let norm = &weights[layout.attention_norm.clone()];
        rms_norm_forward(normed, x, norm, epsilon); // (T, C)
        let dqkv = Matrix::new(dqkv.as_slice(), t, qkv);
        let dweight = &mut gradients[layout.qkv.clone()];
        gemm::<E, _, _, _>(dweight, dqkv.transposed(), Matrix::new(normed, t, c), Into::Add); // ((H + 2K) D, C)
        gemm::<E, _, _, _>(dnormed, dqkv, weight(&layout.qkv, qkv, c), Into::Replace); // (T, C)
        let dnorm = &mut gradients[layout.attention_norm.clone()];
        rms_norm_backward(dx, dnorm, dnormed, x, norm, epsilon);
    }
}

/// out (N, C) = the rows of x (T, C).
fn gather(out: &mut [f32], x: &[f32], rows: &[u32], channels: usize) {
    for (out, row) in out.chunks_exact_mut(channels).zip(rows) {
        out.copy_from_slice(&x[*row as usize * channels..][..channels]);
    }
}
