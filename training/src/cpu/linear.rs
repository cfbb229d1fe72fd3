//! The products of a layer with its weights, forward and backward, where the weights are trained or frozen under an
//! adapter.
//!
//! An adapter adds s · B A x to W x, where x may have elements dropped. B of a group is one matrix (O, R) with a block for
//! each module and zeros elsewhere, with s in it; A is one matrix (R, I). A frozen weight has no gradient computed.

use super::dropout::Dropout;
use crate::adapter::{AdapterLayout, AdapterSettings, Block, Group, Product};
use crate::base::WeightMatrix;
use kernels::training::residual_add;
use kernels::{Accumulate, Element, Matrix, gemm};
use std::ops::Range;

/// An adapter with its scaled matrices B, as the passes read it.
#[derive(Debug)]
pub(crate) struct Adapter {
    layout: AdapterLayout,
    /// For each layer and product, s · B (O, R).
    scaled: Vec<[Vec<f32>; 4]>,
    scale: f32,
}

impl Adapter {
    /// Returns the adapter; its matrices are those of the last `update`.
    pub(crate) fn new(layout: AdapterLayout, settings: &AdapterSettings) -> Self {
        let empty = |group: &Option<Group>| {
            group.as_ref().map_or_else(Vec::new, |group| vec![0.0; group.outputs * group.ranks()])
        };
        let scaled = layout.layers.iter().map(|groups| std::array::from_fn(|index| empty(&groups[index])));
        Self { scaled: scaled.collect(), scale: settings.scale, layout }
    }

    /// Takes over the adapter's values.
    pub(crate) fn update(&mut self, values: &[f32]) {
        for (groups, scaled) in self.layout.layers.iter().zip(&mut self.scaled) {
            for (group, scaled) in groups.iter().zip(scaled) {
                let Some(group) = group else { continue };
                for (index, block) in group.blocks.iter().enumerate() {
                    for (element, value) in values[block.range.clone()].iter().enumerate() {
                        scaled[position(group, index, block, element)] = self.scale * value;
                    }
                }
            }
        }
    }
}

/// The index in the group's B (O, R) of an element of a module's B (outputs, rank).
fn position(group: &Group, index: usize, block: &Block, element: usize) -> usize {
    (block.first + element / group.rank) * group.ranks() + index * group.rank + element % group.rank
}

/// An adapter in a pass: its values, and what is dropped.
#[derive(Clone, Copy)]
pub(crate) struct AdapterPass<'a> {
    pub(crate) adapter: &'a Adapter,
    pub(crate) values: &'a [f32],
    pub(crate) dropout: Option<Dropout>,
}

/// What gradients are added to.
pub(crate) enum Gradients<'a> {
    /// Of all weights.
    Weights(&'a mut [f32]),
    /// Of an adapter's.
    Adapter(&'a mut [f32]),
}

impl Gradients<'_> {
    /// Returns the gradient of a range of the weights; none if they are frozen.
    pub(crate) fn of_weights(&mut self, range: &Range<usize>) -> Option<&mut [f32]> {
        match self {
            Self::Weights(gradients) => Some(&mut gradients[range.clone()]),
            Self::Adapter(_) => None,
        }
    }
}

/// Ranks up to which adding a product to what is there is one chain of sums, as the engine's.
const CHAIN: usize = 256;

/// Buffers of the adapter's products, and of the frozen ones.
#[derive(Debug, Default)]
pub(super) struct LowRankScratch {
    /// The input times A (T, R).
    low: Vec<f32>,
    /// The output's gradient times B (T, R).
    dlow: Vec<f32>,
    /// Gradient of the group's B (O, R).
    db: Vec<f32>,
    /// The input with elements dropped, then its gradient (T, I).
    dropped: Vec<f32>,
    /// The current product's weight (O, I), where it is quantized.
    weight: Vec<f32>,
    /// What an adapter of many ranks adds (T, O).
    added: Vec<f32>,
}

/// One product with a weight, and what an adapter adds to it.
pub(super) struct Linear<'a, W> {
    /// (O, I)
    pub(super) weight: WeightMatrix<'a, W>,
    /// O
    pub(super) outputs: usize,
    /// I
    pub(super) inputs: usize,
    /// Of the weight.
    pub(super) range: &'a Range<usize>,
    pub(super) low_rank: Option<LowRankPass<'a>>,
}

/// The group of a product in a pass.
#[derive(Clone, Copy)]
pub(super) struct LowRankPass<'a> {
    group: &'a Group,
    a: Matrix<'a, f32>,
    scaled_b: Matrix<'a, f32>,
    scale: f32,
    /// Keyed by layer and product as well.
    dropout: Option<Dropout>,
}

impl<'a> AdapterPass<'a> {
    /// Returns the group of a layer's product.
    pub(super) fn of_product(&self, layer: usize, product: Product) -> Option<LowRankPass<'a>> {
        let product = product as usize;
        let group = self.adapter.layout.layers[layer][product].as_ref()?;
        Some(LowRankPass {
            group,
            a: Matrix::new(&self.values[group.a.clone()], group.ranks(), group.inputs),
            scaled_b: Matrix::new(&self.adapter.scaled[layer][product], group.outputs, group.ranks()),
            scale: self.adapter.scale,
            dropout: self.dropout.map(|dropout| dropout.of_product(4 * layer + product)),
        })
    }
}

impl<W: Element> Linear<'_, W> {
    /// y (T, O) = x (T, I) Wᵀ, and the residual stream (T, O), if there is one, and what the adapter adds: in the order of
    /// the engine, which the bits depend on.
    pub(super) fn forward<E: Element>(
        &self,
        y: &mut [f32],
        x: &[E],
        residual: Option<&[f32]>,
        scratch: &mut LowRankScratch,
    ) {
        let tokens = x.len() / self.inputs;
        let input = Matrix::new(x, tokens, self.inputs);
        match self.weight {
            WeightMatrix::Numbers(weight) => {
                gemm::<E, _, _, _>(y, input, weight.transposed(), Accumulate::Chain);
            }
            WeightMatrix::Quantized(matrix) => {
                let weight = matrix.dequantized(&mut scratch.weight);
                gemm::<E, _, _, _>(y, input, weight.transposed(), Accumulate::Chain);
            }
        }
        if let Some(residual) = residual {
            residual_add(y, residual);
        }
        if let Some(low_rank) = &self.low_rank {
            low_rank.project::<E>(x, scratch);
            let LowRankScratch { low, added, .. } = scratch;
            let ranks = low_rank.group.ranks();
            let (low, b) = (Matrix::new(low.as_slice(), tokens, ranks), low_rank.scaled_b.transposed());
            if ranks <= CHAIN {
                return gemm::<E, _, _, _>(y, low, b, Accumulate::Add); // (T, O)
            }
            added.resize(y.len(), 0.0);
            gemm::<E, _, _, _>(added, low, b, Accumulate::Chain); // (T, O)
            residual_add(y, added);
        }
    }

    /// Computes dx (T, I) from dy (T, O), and adds the gradient of the weight or of the adapter.
    pub(super) fn backward<E: Element, D: Element, X: Element>(
        &self,
        dx: &mut [X],
        dy: &[D],
        x: &[E],
        gradients: &mut Gradients<'_>,
        scratch: &mut LowRankScratch,
    ) {
        let tokens = x.len() / self.inputs;
        let dy = Matrix::new(dy, tokens, self.outputs);
        if let Some(dweight) = gradients.of_weights(self.range) {
            let input = Matrix::new(x, tokens, self.inputs);
            gemm::<E, _, _, _>(dweight, dy.transposed(), input, Accumulate::Add); // (O, I)
        }
        // (T, I)
        match self.weight {
            WeightMatrix::Numbers(weight) => gemm::<E, _, _, _>(dx, dy, weight, Accumulate::Replace),
            WeightMatrix::Quantized(matrix) => {
                let weight = matrix.dequantized(&mut scratch.weight);
                gemm::<E, _, _, _>(dx, dy, weight, Accumulate::Replace);
            }
        }
        if let (Some(low_rank), Gradients::Adapter(gradients)) = (&self.low_rank, gradients) {
            low_rank.backward::<E, D, X>(dx, dy, x, gradients, scratch);
        }
    }
}

impl LowRankPass<'_> {
    /// Computes the input, with elements dropped, times A.
    fn project<E: Element>(&self, x: &[E], scratch: &mut LowRankScratch) {
        let LowRankScratch { low, dropped, .. } = scratch;
        let inputs = self.group.inputs;
        let tokens = x.len() / inputs;
        low.resize(tokens * self.group.ranks(), 0.0);
        let a = self.a.transposed();
        let Some(dropout) = self.dropout else {
            return gemm::<E, _, _, _>(low, Matrix::new(x, tokens, inputs), a, Accumulate::Chain); // (T, R)
        };
        dropped.resize(x.len(), 0.0);
        dropout.apply(dropped, x);
        let x = Matrix::new(dropped.as_slice(), tokens, inputs);
        gemm::<E, _, _, _>(low, x, a, Accumulate::Chain); // (T, R)
    }

    fn backward<E: Element, D: Element, X: Element>(
        &self,
        dx: &mut [X],
        dy: Matrix<'_, D>,
        x: &[E],
        gradients: &mut [f32],
        scratch: &mut LowRankScratch,
    ) {
        // The input times A is not kept by the forward pass: computing it again is a small product.
        self.project::<E>(x, scratch);
        let (ranks, inputs) = (self.group.ranks(), self.group.inputs);
        let tokens = x.len() / inputs;
        let LowRankScratch { low, dlow, db, dropped, .. } = scratch;
        dlow.resize(tokens * ranks, 0.0);
        gemm::<E, _, _, _>(dlow, dy, self.scaled_b, Accumulate::Replace); // (T, R)
        db.resize(self.group.outputs * ranks, 0.0);
        let (low, dlow) =
            (Matrix::new(low.as_slice(), tokens, ranks), Matrix::new(dlow.as_slice(), tokens, ranks));
        gemm::<E, _, _, _>(db, dy.transposed(), low, Accumulate::Replace); // (O, R)
        self.add_blocks(db, gradients);
        let da = &mut gradients[self.group.a.clone()];
        match self.dropout {
            None => {
                gemm::<E, _, _, _>(da, dlow.transposed(), Matrix::new(x, tokens, inputs), Accumulate::Add); // (R, I)
                gemm::<E, _, _, _>(dx, dlow, self.a, Accumulate::Add); // (T, I)
            }
            Some(dropout) => {
                let input = Matrix::new(dropped.as_slice(), tokens, inputs);
                gemm::<E, _, _, _>(da, dlow.transposed(), input, Accumulate::Add); // (R, I)
                gemm::<E, _, _, _>(dropped, dlow, self.a, Accumulate::Replace); // (T, I)
                dropout.add_backward(dx, dropped);
            }
        }
    }

    /// Adds each module's block of the gradient of the group's B.
    fn add_blocks(&self, db: &[f32], gradients: &mut [f32]) {
        for (index, block) in self.group.blocks.iter().enumerate() {
            for (element, gradient) in gradients[block.range.clone()].iter_mut().enumerate() {
                *gradient += self.scale * db[position(self.group, index, block, element)];
            }
        }
    }
}
