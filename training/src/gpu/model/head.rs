//! The head: the only place where logits exist, a chunk of rows at a time.

use super::weights::Weights;
use crate::gpu::buffer::{Buffer, In, Out};
use crate::gpu::device::Gpu;
use crate::gpu::kernels::{CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved, Fill};
use crate::gpu::matrix::Matrix;
use crate::memory::{HEAD_ROWS, Sizes, logits_row};
use crate::parameters::ModelLayout;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::training::TokenLoss;
use kernels::{Accumulate, Element};

/// The weight of every trained token in the gradient.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum TokenWeights<'a> {
    /// The same for all.
    Same(f32),
    /// One for each (N).
    Each(&'a [f32]),
}

/// What the head reads.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) config: &'a ModelConfig,
    pub(super) layout: &'a ModelLayout,
    /// (N)
    pub(super) targets: In<'a, u32>,
}

/// The head's buffers.
pub(super) struct Head<E> {
    /// Final norm of the rows that predict trained tokens (N, C).
    pub(super) hidden: Buffer<E>,
    /// Gradient of `hidden` (N, C).
    pub(super) dhidden: Buffer<E>,
    /// A chunk of logits, then their gradient (HEAD_ROWS, V), rows `logits_row` apart.
    logits: Buffer<f32>,
    /// Log-probabilities (N), whether each is the highest (N, integers), entropies (N).
    results: Buffer<f32>,
    /// Weights of the tokens (N).
    token_weights: Buffer<f32>,
}

/// A chunk's part of the results.
struct Results<'a> {
    log_probability: Out<'a, f32>,
    best: Out<'a, u32>,
    entropy: Out<'a, f32>,
}

impl<E: Element> Head<E> {
    /// Allocates buffers for batches of `tokens`; `sizes` are theirs. Without a backward pass gradients take none.
    pub(super) fn new(gpu: &Gpu, sizes: &Sizes, tokens: usize, backward: bool) -> Result<Self> {
        let for_backward = |size: usize| if backward { size } else { 0 };
        let purpose = "the working buffers";
        Ok(Self {
            hidden: gpu.allocate(purpose, sizes.stream)?,
            dhidden: gpu.allocate(purpose, for_backward(sizes.stream))?,
            logits: gpu.allocate("the logits", sizes.logits)?,
            results: gpu.allocate(purpose, 3 * tokens)?,
            token_weights: gpu.allocate(purpose, for_backward(tokens))?,
        })
    }

    /// Sets the weights of the tokens.
    pub(super) fn set_token_weights(
        &mut self,
        context: Context<'_>,
        weights: TokenWeights<'_>,
    ) -> Result<()> {
        let Context { gpu, targets, .. } = context;
        let count = targets.len();
        let out = self.token_weights.first_mut(count);
        match weights {
            TokenWeights::Same(value) => Fill { out, value, length: count as u64 }.launch(gpu),
            TokenWeights::Each(values) => gpu.upload(out, values),
        }
    }

    /// Reads the results (N), after all queued work.
    pub(super) fn results(&self, context: Context<'_>) -> Result<Vec<TokenLoss>> {
        let count = context.targets.len();
        let mut words = vec![0.0f32; 3 * count];
        context.gpu.download(&mut words, self.results.first(3 * count))?;
        let token = |index: usize| TokenLoss {
            log_probability: words[index],
            best: words[count + index].to_bits() != 0,
            entropy: words[2 * count + index],
        };
        Ok((0..count).map(token).collect())
    }

    /// Computes the results and, where there are gradients to add to, the gradient.
    pub(super) fn run(
        &mut self,
        context: Context<'_>,
        weights: &Weights,
        mut gradients: Option<&mut Buffer<f32>>,
    ) -> Result<()> {
        let Context { gpu, config, layout, targets } = context;
        let Self { hidden, dhidden, logits, results, token_weights } = self;
        let (c, v, count) = (config.hidden_size, config.vocab_size, targets.len());
        let stride = logits_row(v);
        let table = weights.matrix::<E>(&layout.head, v, c);
        let (mut log_probability, others) = results.first_mut(3 * count).split(count);
        let (best, mut entropy) = others.split(count);
        let mut best = best.cast::<u32>();
        for first in (0..count).step_by(HEAD_ROWS) {
            let rows = HEAD_ROWS.min(count - first);
            let chunk = first..first + rows;
            let hidden = Matrix::new(hidden.read().range(first * c..(first + rows) * c), rows, c);
            let out = logits.first_mut(rows * stride);
            gpu.product_in_rows(out, stride, hidden, table.transposed(), Accumulate::Replace)?; // (rows, V)
            let results = Results {
                log_probability: log_probability.reborrow().range(chunk.clone()),
                best: best.reborrow().range(chunk.clone()),
                entropy: entropy.reborrow().range(chunk.clone()),
            };
            let targets = targets.range(chunk.clone());
            let Some(gradients) = gradients.as_deref_mut() else {
                forward(gpu, results, logits.first(rows * stride), targets, v)?;
                continue;
            };
            let token_weights = token_weights.read().range(chunk);
            let dlogits = gradient::<E>(gpu, results, logits, targets, token_weights, v)?; // (rows, V)
            let dhidden = dhidden.write().range(first * c..(first + rows) * c);
            gpu.product(dhidden, dlogits, table, Accumulate::Replace)?; // (rows, C)
            let dtable = gradients.write().range(layout.head.clone());
            gpu.product(dtable, dlogits.transposed(), hidden, Accumulate::Add)?; // (V, C)
        }
        Ok(())
    }
}

fn forward(
    gpu: &Gpu,
    results: Results<'_>,
    logits: In<'_, f32>,
    targets: In<'_, u32>,
    vocabulary: usize,
) -> Result<()> {
    let Results { log_probability, best, entropy } = results;
    let (vocabulary, stride) = (vocabulary as u32, logits_row(vocabulary) as u32);
    CrossEntropyForward { log_probability, best, entropy, logits, targets, vocabulary, stride }.launch(gpu)
}

/// Replaces the logits of these targets by their gradient (rows, V): bf16 in the first half of each row, or f32.
fn gradient<'a, E: Element>(
    gpu: &Gpu,
    results: Results<'_>,
    logits: &'a mut Buffer<f32>,
    targets: In<'_, u32>,
    weights: In<'_, f32>,
    vocabulary: usize,
) -> Result<Matrix<'a, E>> {
    let Results { log_probability, best, entropy } = results;
    let (rows, v, row) = (targets.len(), vocabulary, logits_row(vocabulary));
    let (out, vocabulary, stride) = (logits.first_mut(rows * row), v as u32, row as u32);
    if E::BF16 {
        let logits = out;
        CrossEntropyGradientHalved {
            log_probability,
            best,
            entropy,
            logits,
            targets,
            weights,
            vocabulary,
            stride,
        }
        .launch(gpu)?;
    } else {
        let logits = out.cast::<E>();
        CrossEntropyGradient { log_probability, best, entropy, logits, targets, weights, vocabulary, stride }
            .launch(gpu)?;
    }
    let gradient = logits.first(rows * row);
    Ok(match E::BF16 {
        true => Matrix::strided(gradient.reinterpret(), rows, v, 2 * row),
        false => Matrix::strided(gradient.cast(), rows, v, row),
    })
}
