//! SwiGLU: out = silu(gate) up, and its gradients, which replace gate and up.

use super::rows::ROWS;
use crate::element::{Element, exp, vectorized};
use rayon::prelude::*;

/// Computes out (T, F) from gate_up (T, 2F), gate first.
///
/// # Panics
/// If the lengths do not match.
pub fn swiglu_forward<E: Element>(out: &mut [E], gate_up: &[E], features: usize) {
    assert_eq!(2 * out.len(), gate_up.len(), "swiglu: gate_up must be twice as long as out");
    assert!(out.len().is_multiple_of(features), "swiglu: the length of out is not a multiple of {features}");
    let rows = ROWS * features;
    out.par_chunks_mut(rows).zip(gate_up.par_chunks(2 * rows)).for_each(|(out, x)| forward(out, x, features));
}

/// Replaces gate_up (T, 2F) by its gradient, given dout (T, F).
///
/// # Panics
/// If the lengths do not match.
pub fn swiglu_backward<E: Element>(gate_up: &mut [E], dout: &[E], features: usize) {
    assert_eq!(2 * dout.len(), gate_up.len(), "swiglu: gate_up must be twice as long as dout");
    assert!(
        dout.len().is_multiple_of(features),
        "swiglu: the length of dout is not a multiple of {features}"
    );
    let rows = ROWS * features;
    gate_up
        .par_chunks_mut(2 * rows)
        .zip(dout.par_chunks(rows))
        .for_each(|(x, dout)| backward(x, dout, features));
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

vectorized! {
    fn forward<E>(out: &mut [E], gate_up: &[E], features: usize) {
        for (out, row) in out.chunks_exact_mut(features).zip(gate_up.chunks_exact(2 * features)) {
            let (gate, up) = row.split_at(features);
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                let gate = gate.to_f32();
                *out = E::from_f32(gate * sigmoid(gate) * up.to_f32());
            }
        }
    }

    fn backward<E>(gate_up: &mut [E], dout: &[E], features: usize) {
        for (row, dout) in gate_up.chunks_exact_mut(2 * features).zip(dout.chunks_exact(features)) {
            let (gate, up) = row.split_at_mut(features);
            for ((gate, up), dout) in gate.iter_mut().zip(up).zip(dout) {
                let (g, u, d) = (gate.to_f32(), up.to_f32(), dout.to_f32());
                let s = sigmoid(g);
                *gate = E::from_f32(d * u * s * (1.0 + g * (1.0 - s)));
                *up = E::from_f32(d * g * s);
            }
        }
    }
}
