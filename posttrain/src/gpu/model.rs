//! `crate::model` on a card, operation for operation and name for name. What differs: a block's addition to the
//! residual stream is fused with the norm that follows it, the operands of products are rounded when they are made
//! and not when they are packed, and SwiGLU's answer is made again by its gradient.

use super::attention::{self, Saved, Shape};
use super::batch::Lists;
use super::buffer::{Buffer, In, Out};
use super::card::{Card, Matrix};
use super::kernels::{
    CastToBf16, CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved, EmbeddingBackward,
    EmbeddingForward, Fill, NormBackward, NormBackwardWeight, NormForward, Rotate, SwigluBackward,
    SwigluForward,
};
use super::plan::{HEAD_ROWS, NORM_ROWS, Sizes};
use crate::model::{Batch, LayerLayout, Layout};
use anyhow::{Result, ensure};
use half::bf16;
use kernels::training::TokenLoss;
use kernels::{AttentionShape, Element, Into, RopeTable};
use smollm::ModelConfig;
use std::ops::Range;
use std::sync::Arc;

/// A model's weights on the device: f32, and a bf16 copy where that is what products read.
#[derive(Debug)]
pub struct Weights {
    /// All weights in `Layout`'s order.
    pub masters: Buffer<f32>,
    /// The same, rounded; none where activations are f32.
    pub copy: Option<Buffer<bf16>>,
}

impl Weights {
    /// Copies weights to the card.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new<E: Element>(card: &Card, values: &[f32]) -> Result<Self> {
        let mut masters = card.allocate("the weights", values.len())?;
        card.upload(masters.write(), values)?;
        let mut copy = None;
        if E::BF16 {
            let mut rounded = card.allocate("the weights", values.len())?;
            let length = values.len() as u64;
            CastToBf16 { out: rounded.write(), r#in: masters.read(), length }.launch(card)?;
            copy = Some(rounded);
        }
        Ok(Self { masters, copy })
    }

    fn matrix<E: Element>(&self, range: &Range<usize>, rows: usize, columns: usize) -> Matrix<'_, E> {
        let numbers = match &self.copy {
            Some(copy) => copy.read().range(range.clone()).cast(),
            None => self.masters.read().range(range.clone()).cast(),
        };
        Matrix::new(numbers, rows, columns)
    }

    fn vector(&self, range: &Range<usize>) -> In<'_, f32> {
        self.masters.read().range(range.clone())
    }
}

/// The weight of every trained token in the gradient.
#[derive(Clone, Copy, Debug)]
pub enum TokenWeights<'a> {
    /// One for all.
    Same(f32),
    /// One each (N).
    Each(&'a [f32]),
}

/// A model's arithmetic and its buffers on a card; the weights are the caller's.
#[derive(Debug)]
pub struct Model<E> {
    card: Arc<Card>,
    config: ModelConfig,
    layout: Layout,
    checkpoint_layers: bool,
    /// Whether `backward` will be called.
    trains: bool,
    rope: Rope,
    lists: Lists,
    /// None only while larger ones are made.
    activations: Option<Activations<E>>,
    /// Whether the head's gradient is of the batch that was forwarded last.
    head_gradient: bool,
}

/// Cosines and sines of every position (P, D / 2).
#[derive(Debug)]
struct Rope {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    positions: usize,
}

/// Buffers for batches of up to `capacity` tokens.
#[derive(Debug)]
struct Activations<E> {
    capacity: usize,
    /// The residual stream before every layer and after the last: (layers + 1) x (T, C).
    inputs: Vec<Buffer<f32>>,
    /// What each layer leaves for its backward pass; one for all where layers are checkpointed.
    layers: Vec<LayerActivations<E>>,
    scratch: Scratch<E>,
    head: Head<E>,
}

#[derive(Debug)]
struct LayerActivations<E> {
    /// After the rotation (T, (H + 2K) D).
    qkv: Buffer<E>,
    /// Attention's answer (T, H D).
    mixed: Buffer<E>,
    /// Log sums of the scores (H, T).
    log_sums: Buffer<f32>,
    /// The residual stream between attention and feed-forward (T, C).
    middle: Buffer<f32>,
    /// Before the gate; its own gradient in the backward pass (T, 2F).
    gate_up: Buffer<E>,
}

/// Buffers that no layer needs to keep.
#[derive(Debug)]
struct Scratch<E> {
    /// (T, C)
    normed: Buffer<E>,
    /// What a block adds to the residual stream; in the backward pass the gradient of `normed` (T, C).
    branch: Buffer<E>,
    /// (T, F); its gradient first, in the backward pass.
    gated: Buffer<E>,
    /// (T, H D)
    dmixed: Buffer<E>,
    /// (T, (H + 2K) D)
    dqkv: Buffer<E>,
    /// Gradient of the residual stream (T, C).
    dx: Buffer<f32>,
    /// The same, rounded; none in f32.
    dx_copy: Option<Buffer<E>>,
    /// Of attention (H, T).
    delta: Buffer<f32>,
    /// Parts of the norms' gradients (⌈T / 16⌉, C).
    partial: Buffer<f32>,
}

/// The head's buffers.
#[derive(Debug)]
struct Head<E> {
    /// Final norm of the rows that predict trained tokens (N, C).
    hidden: Buffer<E>,
    /// Gradient of those rows (N, C).
    dhidden: Buffer<E>,
    /// A chunk of logits, then of their gradient (HEAD_ROWS, V).
    logits: Buffer<f32>,
    /// Log-probabilities (N), whether each is the likeliest (N, whole numbers), entropies (N).
    results: Buffer<f32>,
    /// (N)
    weights: Buffer<f32>,
}

impl<E: Element> Activations<E> {
    fn new(
        card: &Card,
        config: &ModelConfig,
        checkpoint_layers: bool,
        trains: bool,
        tokens: usize,
    ) -> Result<Self> {
        let sizes = Sizes::new(config, tokens);
        let count = if checkpoint_layers { 1 } else { config.layers };
        // What only a backward pass needs.
        let back = |size: usize| if trains { size } else { 0 };
        let (kept, working) = ("the activations", "the working buffers");
        let layer = |_| {
            Ok(LayerActivations {
                qkv: card.allocate(kept, sizes.qkv)?,
                mixed: card.allocate(kept, sizes.mixed)?,
                log_sums: card.allocate(kept, sizes.log_sums)?,
                middle: card.allocate(kept, sizes.stream)?,
                gate_up: card.allocate(kept, sizes.gate_up)?,
            })
        };
        let dx_copy = if E::BF16 { Some(card.allocate(working, back(sizes.stream))?) } else { None };
        Ok(Self {
            capacity: tokens,
            inputs: (0..=config.layers).map(|_| card.allocate(kept, sizes.stream)).collect::<Result<_>>()?,
            layers: (0..count).map(layer).collect::<Result<_>>()?,
            scratch: Scratch {
                normed: card.allocate(working, sizes.stream)?,
                branch: card.allocate(working, sizes.stream)?,
                gated: card.allocate(working, sizes.gated)?,
                dmixed: card.allocate(working, back(sizes.mixed))?,
                dqkv: card.allocate(working, back(sizes.qkv))?,
                dx: card.allocate(working, back(sizes.stream))?,
                dx_copy,
                delta: card.allocate(working, back(sizes.log_sums))?,
                partial: card.allocate(working, back(sizes.partial))?,
            },
            head: Head {
                hidden: card.allocate(working, sizes.stream)?,
                dhidden: card.allocate(working, back(sizes.stream))?,
                logits: card.allocate("the logits", sizes.logits)?,
                results: card.allocate(working, 3 * tokens)?,
                weights: card.allocate(working, back(tokens))?,
            },
        })
    }
}

/// The lengths of a batch, and what they make of buffers.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    tokens: usize,
    trained: usize,
    sizes: Sizes,
}

impl<E: Element> Model<E> {
    /// A model for sequences of up to `positions` tokens and batches of `tokens`, that grow when a larger one comes.
    ///
    /// # Errors
    /// When its buffers do not fit, or its heads have more numbers than the kernels take.
    pub fn new(
        card: Arc<Card>,
        config: &ModelConfig,
        positions: usize,
        checkpoint_layers: bool,
        trains: bool,
        tokens: usize,
    ) -> Result<Self> {
        ensure!(
            config.head_dim <= 128 && config.layers > 0,
            "the card's kernels take heads of up to 128 numbers, this model's have {}: give --device cpu",
            config.head_dim
        );
        Ok(Self {
            rope: Rope::new(&card, config, positions)?,
            lists: Lists::new(&card, tokens)?,
            activations: Some(Activations::new(&card, config, checkpoint_layers, trains, tokens)?),
            config: config.clone(),
            layout: Layout::new(config),
            checkpoint_layers,
            trains,
            head_gradient: false,
            card,
        })
    }

    /// Another base of the rotary angles, or more positions.
    ///
    /// # Errors
    /// When the table does not fit.
    pub fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.config.rope_theta = theta;
        self.rope = Rope::new(&self.card, &self.config, positions)?;
        Ok(())
    }

    fn lengths(&self, batch: &Batch) -> Lengths {
        let tokens = batch.tokens();
        Lengths { tokens, trained: batch.targets.len(), sizes: Sizes::new(&self.config, tokens) }
    }

    fn reserve(&mut self, tokens: usize) -> Result<()> {
        if self.activations.as_ref().is_none_or(|activations| activations.capacity < tokens) {
            // The smaller ones go first.
            self.activations = None;
            let Self { card, config, checkpoint_layers, trains, .. } = self;
            self.activations = Some(Activations::new(card, config, *checkpoint_layers, *trains, tokens)?);
        }
        Ok(())
    }

    /// Runs the layers over a batch and keeps what `head` and `backward` need.
    ///
    /// # Errors
    /// What the card says.
    ///
    /// # Panics
    /// If a sequence is longer than the positions.
    pub fn forward(&mut self, weights: &Weights, batch: &Batch) -> Result<()> {
        let last = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(
            last <= self.rope.positions,
            "forward: {last} positions, the table has {}",
            self.rope.positions
        );
        self.reserve(batch.tokens())?;
        self.head_gradient = false;
        self.lists.put(&self.card, batch)?;
        let lengths = self.lengths(batch);
        let Self { card, config, layout, checkpoint_layers, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, scratch, head, .. } = activations.as_mut().expect("reserved above");
        let (channels, epsilon) = (config.hidden_size as u32, config.rms_norm_eps);
        let stream = lengths.sizes.stream;
        let slot = |index: usize| if *checkpoint_layers { 0 } else { index };
        let table = weights.vector(&layout.embedding);
        let (x, ids) = (inputs[0].first_mut(stream), lists.ids.read());
        EmbeddingForward { x, table, ids, channels }.launch(card)?; // (T, C)
        for (index, layer_layout) in layout.layers.iter().enumerate() {
            let step = Step { card, config, layout: layer_layout, weights, lists, rope, lengths };
            let w = weights.vector(&layer_layout.attention_norm);
            let y = scratch.normed.first_mut(stream);
            if index == 0 {
                let x = inputs[0].first(stream);
                NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }
                    .launch(card)?;
            } else {
                // The last layer's feed-forward is added here.
                let (sum, x) =
                    (inputs[index].first_mut(stream), layers[slot(index - 1)].middle.first(stream));
                let (sum, delta) = (Some(sum), Some(scratch.branch.first(stream)));
                NormForward { y, sum, x, delta, w, rows: None, channels, epsilon }.launch(card)?;
            }
            layers[slot(index)].forward(&step, &inputs[index], true, scratch)?;
        }
        // Of the last layer's answer only the rows that predict a trained token are used.
        NormForward {
            y: head.hidden.first_mut(lengths.trained * config.hidden_size),
            sum: Some(inputs[config.layers].first_mut(stream)),
            x: layers[slot(config.layers - 1)].middle.first(stream),
            delta: Some(scratch.branch.first(stream)),
            w: weights.vector(&layout.norm),
            rows: Some(lists.rows.read()),
            channels,
            epsilon,
        }
        .launch(card) // (N, C)
    }

    /// Log-probabilities of the batch's targets (N).
    ///
    /// # Errors
    /// What the card says.
    pub fn losses(&mut self, weights: &Weights, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.head(weights, None, batch)?;
        self.results(batch)
    }

    /// Takes the gradient of -Σ weight · log-probability: that of the head is added to `gradients`, that of the
    /// layers' answer is kept for `backward`. `results` has the log-probabilities.
    ///
    /// # Errors
    /// What the card says.
    ///
    /// # Panics
    /// If there is not a weight for every token.
    pub fn head_gradient(
        &mut self,
        weights: &Weights,
        gradients: &mut Buffer<f32>,
        batch: &Batch,
        token_weights: TokenWeights<'_>,
    ) -> Result<()> {
        let head = &mut self.activations.as_mut().expect("forward reserved them").head;
        let count = batch.targets.len();
        match token_weights {
            TokenWeights::Same(value) => {
                Fill { out: head.weights.first_mut(count), value, length: count as u64 }
                    .launch(&self.card)?;
            }
            TokenWeights::Each(values) => self.card.upload(head.weights.first_mut(count), values)?,
        }
        self.head(weights, Some(gradients), batch)?;
        self.head_gradient = true;
        Ok(())
    }

    /// What the head last came to (N), read from the card: it waits for all that was asked for.
    ///
    /// # Errors
    /// What the card says.
    pub fn results(&self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        let count = batch.targets.len();
        let head = &self.activations.as_ref().expect("forward reserved them").head;
        let mut words = vec![0.0f32; 3 * count];
        self.card.download(&mut words, head.results.first(3 * count))?;
        let token = |index: usize| TokenLoss {
            log_probability: words[index],
            best: words[count + index].to_bits() != 0,
            entropy: words[2 * count + index],
        };
        Ok((0..count).map(token).collect())
    }

    fn head(
        &mut self,
        weights: &Weights,
        mut gradients: Option<&mut Buffer<f32>>,
        batch: &Batch,
    ) -> Result<()> {
        let Self { card, config, layout, lists, activations, .. } = self;
        let Head { hidden, dhidden, logits, results, weights: token_weights } =
            &mut activations.as_mut().expect("forward reserved them").head;
        let (c, v, count) = (config.hidden_size, config.vocab_size, batch.targets.len());
        let table = weights.matrix::<E>(&layout.head, v, c);
        let (mut log_probability, others) = results.first_mut(3 * count).split(count);
        let (best, mut entropy) = others.split(count);
        let mut best = best.cast::<u32>();
        for first in (0..count).step_by(HEAD_ROWS) {
            let rows = HEAD_ROWS.min(count - first);
            let chunk = first..first + rows;
            let hidden = Matrix::new(hidden.read().range(first * c..(first + rows) * c), rows, c);
            card.product(logits.first_mut(rows * v), hidden, table.transposed(), Into::Replace)?; // (rows, V)
            let log_probability = log_probability.again().range(chunk.clone());
            let (best, entropy) = (best.again().range(chunk.clone()), entropy.again().range(chunk.clone()));
            let (targets, vocabulary) = (lists.targets.read().range(chunk.clone()), v as u32);
            let Some(gradients) = gradients.as_deref_mut() else {
                let logits = logits.first(rows * v);
                CrossEntropyForward { log_probability, best, entropy, logits, targets, vocabulary }
                    .launch(card)?;
                continue;
            };
            let weights = token_weights.read().range(chunk);
            let out = logits.first_mut(rows * v);
            let dlogits: Matrix<'_, E> = if E::BF16 {
                CrossEntropyGradientHalved {
                    log_probability,
                    best,
                    entropy,
                    logits: out,
                    targets,
                    weights,
                    vocabulary,
                }
                .launch(card)?;
                Matrix::strided(logits.first(rows * v).halves(), rows, v, 2 * v)
            } else {
                let logits_of_e = out.cast::<E>();
                CrossEntropyGradient {
                    log_probability,
                    best,
                    entropy,
                    logits: logits_of_e,
                    targets,
                    weights,
                    vocabulary,
                }
                .launch(card)?;
                Matrix::new(logits.first(rows * v).cast(), rows, v)
            };
            let dhidden = dhidden.write().range(first * c..(first + rows) * c);
            card.product(dhidden, dlogits, table, Into::Replace)?; // (rows, C)
            let dtable = gradients.write().range(layout.head.clone());
            card.product(dtable, dlogits.transposed(), hidden, Into::Add)?; // (V, C)
        }
        Ok(())
    }

    /// Adds the gradients of everything below the head to `gradients`.
    ///
    /// # Errors
    /// What the card says.
    ///
    /// # Panics
    /// If `head_gradient` was not called since `forward` on this batch.
    pub fn backward(&mut self, weights: &Weights, gradients: &mut Buffer<f32>, batch: &Batch) -> Result<()> {
        assert!(self.head_gradient, "backward: head_gradient goes before it, once");
        self.head_gradient = false;
        let lengths = self.lengths(batch);
        if lengths.trained == 0 {
            // All gradients are 0.
            return Ok(());
        }
        let Self { card, config, layout, checkpoint_layers, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, scratch, head, .. } =
            activations.as_mut().expect("forward reserved them");
        let (stream, c) = (lengths.sizes.stream, config.hidden_size);
        // The final norm, on the rows that were used; all others have no gradient.
        card.zero(scratch.dx.first_mut(stream))?;
        if let Some(copy) = &mut scratch.dx_copy {
            card.zero(copy.first_mut(stream))?;
        }
        let norm = Norm {
            x: inputs[config.layers].first(stream),
            w: weights.vector(&layout.norm),
            dw: gradients.write().range(layout.norm.clone()),
            rows: Some(lists.rows.read()),
        };
        let dy = head.dhidden.first(lengths.trained * c);
        norm.backward(card, config, dy, &mut scratch.dx, &mut scratch.dx_copy, &mut scratch.partial)?;
        for (index, layer_layout) in layout.layers.iter().enumerate().rev() {
            let step = Step { card, config, layout: layer_layout, weights, lists, rope, lengths };
            let layer = &mut layers[if *checkpoint_layers { 0 } else { index }];
            if *checkpoint_layers {
                step.norm(&mut scratch.normed, inputs[index].first(stream), &layer_layout.attention_norm)?;
                layer.forward(&step, &inputs[index], false, scratch)?;
            }
            layer.backward(&step, gradients, &inputs[index], scratch)?;
        }
        EmbeddingBackward {
            dtable: gradients.write().range(layout.embedding.clone()),
            dx: scratch.dx.first(stream),
            ids: lists.ids.read(),
            order: lists.order.read(),
            segments: lists.segments.read(),
            channels: c as u32,
        }
        .launch(card)
    }
}

impl Rope {
    fn new(card: &Card, config: &ModelConfig, positions: usize) -> Result<Self> {
        let table = RopeTable::new(positions, config.head_dim, config.rope_theta);
        let put = |values: &[f32]| {
            let mut buffer = card.allocate("the rotary angles", values.len())?;
            card.upload(buffer.write(), values)?;
            Ok::<_, anyhow::Error>(buffer)
        };
        Ok(Self { cos: put(table.cosines())?, sin: put(table.sines())?, positions })
    }
}

/// A norm's backward pass.
struct Norm<'a> {
    /// What was normed (T, C).
    x: In<'a, f32>,
    /// (C)
    w: In<'a, f32>,
    /// (C)
    dw: Out<'a, f32>,
    /// The rows of x that were normed (N); none for all.
    rows: Option<In<'a, u32>>,
}

impl Norm<'_> {
    /// Adds to dx, its copy and dw, given dy (N, C).
    fn backward<E: Element>(
        self,
        card: &Card,
        config: &ModelConfig,
        dy: In<'_, E>,
        dx: &mut Buffer<f32>,
        dx_copy: &mut Option<Buffer<E>>,
        partial: &mut Buffer<f32>,
    ) -> Result<()> {
        let (c, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let count = dy.len() / c;
        let parts = count.div_ceil(NORM_ROWS);
        let Self { x, w, dw, rows } = self;
        let (stream, channels) = (x.len(), c as u32);
        NormBackward {
            dx: dx.first_mut(stream),
            dx_copy: dx_copy.as_mut().map(|copy| copy.first_mut(stream)),
            partial: partial.first_mut(parts * c),
            dy,
            x,
            w,
            rows,
            count: count as u32,
            channels,
            epsilon,
        }
        .launch(card)?;
        NormBackwardWeight { dw, partial: partial.first(parts * c), parts: parts as u32, channels }
            .launch(card)
    }
}

/// What one layer's passes read.
#[derive(Clone, Copy)]
struct Step<'a> {
    card: &'a Card,
    config: &'a ModelConfig,
    layout: &'a LayerLayout,
    weights: &'a Weights,
    lists: &'a Lists,
    rope: &'a Rope,
    lengths: Lengths,
}

impl Step<'_> {
    fn shape(&self) -> Shape {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        Shape::new(self.lengths.tokens, AttentionShape { heads, kv_heads, head_dim })
    }

    /// normed = the norm of x, nothing added.
    fn norm<E: Element>(&self, normed: &mut Buffer<E>, x: In<'_, f32>, w: &Range<usize>) -> Result<()> {
        let (channels, epsilon) = (self.config.hidden_size as u32, self.config.rms_norm_eps);
        let (y, w) = (normed.first_mut(x.len()), self.weights.vector(w));
        NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }.launch(self.card)
    }

    /// Turns queries and keys in place, forward (1) or back (-1).
    fn rotate<E: Element>(&self, x: Out<'_, E>, sign: f32) -> Result<()> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape();
        let (row, heads) = ((heads + 2 * kv_heads) * head_dim, heads + kv_heads);
        let (cos, sin) = (self.rope.cos.read(), self.rope.sin.read());
        let positions = self.lists.positions.read();
        Rotate { x, positions, cos, sin, row, heads, head_dim, sign }.launch(self.card)
    }

    /// Adds to a weight's gradient.
    fn weight_gradient<E: Element>(
        &self,
        gradients: &mut Buffer<f32>,
        range: &Range<usize>,
        dout: Matrix<'_, E>,
        input: Matrix<'_, E>,
    ) -> Result<()> {
        self.card.product(gradients.write().range(range.clone()), dout.transposed(), input, Into::Add)
    }
}

/// The gradient of the residual stream as products read it (T, C): dx, or its copy where that is rounded.
fn dout<'a, E: Element>(
    dx: &'a Buffer<f32>,
    dx_copy: &'a Option<Buffer<E>>,
    tokens: usize,
    channels: usize,
) -> Matrix<'a, E> {
    let numbers = match dx_copy {
        Some(copy) => copy.first(tokens * channels),
        None => dx.first(tokens * channels).cast(),
    };
    Matrix::new(numbers, tokens, channels)
}

impl<E: Element> LayerActivations<E> {
    /// From `scratch.normed`, the normed x, to `scratch.branch`, what the feed-forward adds to `middle`; a recomputation
    /// (not `whole`) stops before the gate.
    fn forward(
        &mut self,
        step: &Step<'_>,
        x: &Buffer<f32>,
        whole: bool,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let hd = config.heads * config.head_dim;
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let weight = |range, rows, columns| weights.matrix::<E>(range, rows, columns).transposed();
        let Scratch { normed, branch, gated, .. } = scratch;

        let input = Matrix::new(normed.first(sizes.stream), t, c);
        card.product(self.qkv.first_mut(sizes.qkv), input, weight(&layout.qkv, qkv, c), Into::Replace)?; // (T, (H + 2K) D)
        step.rotate(self.qkv.first_mut(sizes.qkv), 1.0)?;
        attention::forward(
            card,
            self.mixed.first_mut(sizes.mixed),
            self.log_sums.first_mut(sizes.log_sums),
            self.qkv.first(sizes.qkv),
            lists.by_query.read(),
            step.shape(),
        )?; // (T, H D)
        let mixed = Matrix::new(self.mixed.first(sizes.mixed), t, hd);
        card.product(branch.first_mut(sizes.stream), mixed, weight(&layout.out, c, hd), Into::Replace)?; // (T, C)
        NormForward {
            y: normed.first_mut(sizes.stream),
            sum: Some(self.middle.first_mut(sizes.stream)),
            x: x.first(sizes.stream),
            delta: Some(branch.first(sizes.stream)),
            w: weights.vector(&layout.feed_forward_norm),
            rows: None,
            channels: c as u32,
            epsilon: config.rms_norm_eps,
        }
        .launch(card)?; // (T, C)
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        let gate_up = self.gate_up.first_mut(sizes.gate_up);
        card.product(gate_up, input, weight(&layout.gate_up, 2 * f, c), Into::Replace)?; // (T, 2F)
        if !whole {
            return Ok(());
        }
        let (out, gate_up) = (gated.first_mut(sizes.gated), self.gate_up.first(sizes.gate_up));
        SwigluForward { out, gate_up, tokens: t as u32, features: f as u32 }.launch(card)?; // (T, F)
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        card.product(branch.first_mut(sizes.stream), input, weight(&layout.down, c, f), Into::Replace) // (T, C)
    }

    /// Turns `scratch.dx`, the gradient after the layer, into that before it.
    fn backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: &Buffer<f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        self.backward_feed_forward(step, gradients, scratch)?;
        self.backward_attention(step, gradients, x.first(step.lengths.sizes.stream), scratch)
    }

    fn backward_feed_forward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let Scratch { normed, branch, gated, dx, dx_copy, partial, .. } = scratch;

        let dgated = gated.first_mut(sizes.gated);
        card.product(dgated, dout(dx, dx_copy, t, c), weights.matrix(&layout.down, c, f), Into::Replace)?; // (T, F)
        SwigluBackward {
            gate_up: self.gate_up.first_mut(sizes.gate_up),
            dout: gated.first_mut(sizes.gated),
            tokens: t as u32,
            features: f as u32,
        }
        .launch(card)?; // (T, 2F); gated (T, F) is the forward pass's again
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        step.weight_gradient(gradients, &layout.down, dout(dx, dx_copy, t, c), input)?; // (C, F)
        let middle = self.middle.first(sizes.stream);
        step.norm(normed, middle, &layout.feed_forward_norm)?; // (T, C)
        let dgate_up = Matrix::new(self.gate_up.first(sizes.gate_up), t, 2 * f);
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        step.weight_gradient(gradients, &layout.gate_up, dgate_up, input)?; // (2F, C)
        let dnormed = branch.first_mut(sizes.stream);
        card.product(dnormed, dgate_up, weights.matrix(&layout.gate_up, 2 * f, c), Into::Replace)?; // (T, C)
        let norm = Norm {
            x: middle,
            w: weights.vector(&layout.feed_forward_norm),
            dw: gradients.write().range(layout.feed_forward_norm.clone()),
            rows: None,
        };
        norm.backward(card, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }

    fn backward_attention(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: In<'_, f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, hd) = (config.hidden_size, config.heads * config.head_dim);
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let Scratch { normed, branch, dmixed, dqkv, dx, dx_copy, delta, partial, .. } = scratch;

        let mixed = Matrix::new(self.mixed.first(sizes.mixed), t, hd);
        step.weight_gradient(gradients, &layout.out, dout(dx, dx_copy, t, c), mixed)?; // (C, H D)
        let out = weights.matrix(&layout.out, c, hd);
        card.product(dmixed.first_mut(sizes.mixed), dout(dx, dx_copy, t, c), out, Into::Replace)?; // (T, H D)
        let saved = Saved {
            dout: dmixed.first(sizes.mixed),
            out: self.mixed.first(sizes.mixed),
            log_sums: self.log_sums.first(sizes.log_sums),
            qkv: self.qkv.first(sizes.qkv),
            by_query: lists.by_query.read(),
            by_key: lists.by_key.read(),
        };
        let delta = delta.first_mut(sizes.log_sums);
        attention::backward(card, dqkv.first_mut(sizes.qkv), delta, saved, step.shape())?;
        step.rotate(dqkv.first_mut(sizes.qkv), -1.0)?; // (T, (H + 2K) D)
        step.norm(normed, x, &layout.attention_norm)?; // (T, C)
        let dqkv = Matrix::new(dqkv.first(sizes.qkv), t, qkv);
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        step.weight_gradient(gradients, &layout.qkv, dqkv, input)?; // ((H + 2K) D, C)
        let dnormed = branch.first_mut(sizes.stream);
        card.product(dnormed, dqkv, weights.matrix(&layout.qkv, qkv, c), Into::Replace)?; // (T, C)
        let norm = Norm {
            x,
            w: weights.vector(&layout.attention_norm),
            dw: gradients.write().range(layout.attention_norm.clone()),
            rows: None,
        };
        norm.backward(card, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }
}
