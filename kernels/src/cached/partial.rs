//! The attention of some queries over a part of their positions, and how two parts are merged.

use super::block::CacheShape;
use crate::elementwise::exp;
use crate::lanes::Lanes;
use crate::simd::LANES;

/// Queries of one key head that are computed together: 6 queries by 4 vectors fill the registers of AVX-512.
pub(super) const QUERIES: usize = 6;

/// Attention of up to `QUERIES` queries over some positions, not yet divided by the sum of the softmax weights. Weights
/// are relative to the largest score of the query.
pub(super) struct Partial {
    /// Largest score of each query.
    pub(super) largest: [f32; QUERIES],
    /// Sum of the softmax weights of each query.
    pub(super) total: [f32; QUERIES],
    /// Weighted sums of values (QUERIES, padded D).
    pub(super) values: Vec<f32>,
    /// D, padded to whole vectors.
    pub(super) padded_dim: usize,
}

impl Partial {
    pub(super) fn new(shape: &CacheShape) -> Self {
        let padded_dim = shape.padded_dim();
        let values = vec![0.0; QUERIES * padded_dim];
        Self { largest: [0.0; QUERIES], total: [0.0; QUERIES], values, padded_dim }
    }

    /// Sets the state of no positions.
    pub(super) fn clear(&mut self) {
        self.largest = [f32::NEG_INFINITY; QUERIES];
        self.total = [0.0; QUERIES];
        self.values.fill(0.0);
    }

    /// Merges the next block into this state. A query that attends to none of its positions keeps its bits: its state
    /// is multiplied by e^0 = 1, and zeros times e^-inf = 0 are added.
    #[inline(always)]
    pub(super) fn merge<L: Lanes>(&mut self, lanes: L, next: &Self, queries: usize) {
        for query in 0..queries {
            let (old, new) = (self.largest[query], next.largest[query]);
            let largest = if new > old { new } else { old };
            let mut factors = [0.0; LANES];
            let mut distances = [0.0; LANES];
            // Before a query's window begins, both are -inf.
            let shift = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
            (distances[0], distances[1]) = (old - shift, new - shift);
            lanes.store(&mut factors, exp(lanes, lanes.load(&distances)));
            let (keep, take) = (factors[0], factors[1]);
            self.largest[query] = largest;
            self.total[query] = next.total[query].mul_add(take, self.total[query] * keep);
            let row = query * self.padded_dim..(query + 1) * self.padded_dim;
            let own = self.values[row.clone()].as_chunks_mut::<LANES>().0;
            let others = next.values[row].as_chunks::<LANES>().0;
            for (own, other) in own.iter_mut().zip(others) {
                let kept = lanes.multiply(lanes.load(own), lanes.splat(keep));
                lanes.store(own, lanes.multiply_add(lanes.load(other), lanes.splat(take), kept));
            }
        }
    }
}
