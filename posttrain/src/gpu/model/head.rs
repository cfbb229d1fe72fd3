//! The head: the only place where logits exist, a chunk of rows at a time.

use super::Model;
use super::activations::Head;
use super::weights::Weights;
use crate::gpu::buffer::Buffer;
use crate::gpu::card::Matrix;
use crate::gpu::kernels::{CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved, Fill};
use crate::gpu::plan::HEAD_ROWS;
use crate::model::Batch;
use anyhow::Result;
use kernels::training::TokenLoss;
use kernels::{Element, Into};

/// The weight of every trained token in the gradient.
#[derive(Clone, Copy, Debug)]
pub enum TokenWeights<'a> {
    /// One for all.
    Same(f32),
    /// One each (N).
    Each(&'a [f32]),
}

impl<E: Element> Model<E> {
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
}
