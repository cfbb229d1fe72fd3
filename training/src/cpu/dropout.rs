//! Dropout of an adapter's inputs: which elements are dropped follows from the seed, the step, the micro-batch, the layer
//! and the product, so that a resumed run drops what an undisturbed one drops, and the backward pass what the forward
//! pass did.

use kernels::Element;
use rayon::prelude::*;

/// Elements that one thread takes at a time; a multiple of the elements of one draw.
const PIECE: usize = 1 << 14;
/// Elements that one draw decides, 16 bits each.
const PER_DRAW: usize = 4;

/// What is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    key: u64,
    /// Elements whose 16 bits are below this are dropped.
    below: u32,
    /// Factor of the others.
    scale: f32,
}

impl Dropout {
    /// Returns what a micro-batch of a step drops; none if nothing is dropped.
    pub(crate) fn new(share: f32, seed: u64, step: u64, micro_batch: u64) -> Option<Self> {
        let key = random::mix(random::mix(random::mix(seed, random::fnv1a("dropout")), step), micro_batch);
        let below = (f64::from(share) * 65536.0).round() as u32;
        (below > 0).then(|| Self { key, below, scale: (65536.0 / f64::from(65536 - below)) as f32 })
    }

    /// Returns what is dropped in a product of the model.
    pub(super) fn of_product(self, product: usize) -> Self {
        Self { key: random::mix(self.key, product as u64), ..self }
    }

    /// Writes the elements with some dropped.
    pub(super) fn apply<E: Element>(self, out: &mut [f32], x: &[E]) {
        let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).enumerate();
        pieces.for_each(|(piece, (out, x))| {
            for (draw, (out, x)) in out.chunks_mut(PER_DRAW).zip(x.chunks(PER_DRAW)).enumerate() {
                let factors = self.factors(piece * PIECE / PER_DRAW + draw);
                for ((out, x), factor) in out.iter_mut().zip(x).zip(factors) {
                    *out = factor * x.to_f32();
                }
            }
        });
    }

    /// Adds the gradient of the elements, given that of the result.
    pub(super) fn add_backward<X: Element>(self, dx: &mut [X], dout: &[f32]) {
        let pieces = dx.par_chunks_mut(PIECE).zip(dout.par_chunks(PIECE)).enumerate();
        pieces.for_each(|(piece, (dx, dout))| {
            for (draw, (dx, dout)) in dx.chunks_mut(PER_DRAW).zip(dout.chunks(PER_DRAW)).enumerate() {
                let factors = self.factors(piece * PIECE / PER_DRAW + draw);
                for ((dx, dout), factor) in dx.iter_mut().zip(dout).zip(factors) {
                    *dx = X::from_f32(dx.to_f32() + factor * dout);
                }
            }
        });
    }

    /// Returns the factors of the four elements of a draw.
    fn factors(self, draw: usize) -> [f32; PER_DRAW] {
        let bits = random::mix(self.key, draw as u64);
        std::array::from_fn(|element| {
            let own = (bits >> (16 * element)) as u32 & 0xffff;
            if own < self.below { 0.0 } else { self.scale }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_dropped_and_the_rest_keeps_the_mean() {
        let ones = vec![1.0f32; 100_003];
        let mut out = vec![0.0; ones.len()];
        let dropout = Dropout::new(0.1, 1, 2, 3).unwrap();
        dropout.apply(&mut out, &ones);
        let dropped = out.iter().filter(|value| **value == 0.0).count() as f64 / out.len() as f64;
        let mean = out.iter().map(|value| f64::from(*value)).sum::<f64>() / out.len() as f64;
        assert!((dropped - 0.1).abs() < 0.005 && (mean - 1.0).abs() < 0.005, "{dropped} {mean}");
        let mut dx = vec![0.0f32; ones.len()];
        dropout.add_backward(&mut dx, &ones);
        assert_eq!(dx, out);
    }

    #[test]
    fn step_micro_batch_and_product_draw_differently() {
        let ones = vec![1.0f32; 64];
        let drawn = |dropout: Dropout| {
            let mut out = vec![0.0; ones.len()];
            dropout.apply(&mut out, &ones);
            out
        };
        let of = |step, micro_batch| Dropout::new(0.5, 1, step, micro_batch).unwrap();
        assert_eq!(drawn(of(1, 0)), drawn(of(1, 0)));
        let others = [of(1, 1), of(2, 0), of(1, 0).of_product(0), of(1, 0).of_product(1)];
        let mut all: Vec<Vec<f32>> = others.map(drawn).to_vec();
        all.push(drawn(of(1, 0)));
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other != one));
        }
        assert!(Dropout::new(0.0, 1, 1, 1).is_none());
    }
}
