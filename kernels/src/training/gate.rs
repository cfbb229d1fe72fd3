//! The gated units of feed-forward networks, out = act(gate) up, and their gradients, which replace gate and up: SwiGLU
//! with SiLU, GeGLU with GELU in its tanh form. The forward pass has the bits of the engine's gates.

use super::rows::ROWS;
use crate::element::{Element, exp, vectorized};
use rayon::prelude::*;

/// Computes SwiGLU: out (T, F) from gate_up (T, 2F), gate first.
///
/// # Panics
/// If the lengths do not match.
pub fn swiglu_forward<E: Element, X: Element>(out: &mut [E], gate_up: &[X], features: usize) {
    for_rows(out, gate_up, features, swiglu);
}

/// Replaces gate_up (T, 2F) by its gradient under SwiGLU, given dout (T, F).
///
/// # Panics
/// If the lengths do not match.
pub fn swiglu_backward<E: Element>(gate_up: &mut [E], dout: &[E], features: usize) {
    for_rows_backward(gate_up, dout, features, swiglu_gradient);
}

/// Computes GeGLU: out (T, F) from gate_up (T, 2F), gate first.
///
/// # Panics
/// If the lengths do not match.
pub fn geglu_forward<E: Element, X: Element>(out: &mut [E], gate_up: &[X], features: usize) {
    for_rows(out, gate_up, features, geglu);
}

/// Replaces gate_up (T, 2F) by its gradient under GeGLU, given dout (T, F).
///
/// # Panics
/// If the lengths do not match.
pub fn geglu_backward<E: Element>(gate_up: &mut [E], dout: &[E], features: usize) {
    for_rows_backward(gate_up, dout, features, geglu_gradient);
}

fn for_rows<E: Element, X: Element>(
    out: &mut [E],
    gate_up: &[X],
    features: usize,
    unit: impl Fn(&mut [E], &[X], usize) + Sync,
) {
    assert_eq!(2 * out.len(), gate_up.len(), "gate: gate_up must be twice as long as out");
    assert!(out.len().is_multiple_of(features), "gate: the length of out is not a multiple of {features}");
    let rows = ROWS * features;
    out.par_chunks_mut(rows).zip(gate_up.par_chunks(2 * rows)).for_each(|(out, x)| unit(out, x, features));
}

fn for_rows_backward<E: Element>(
    gate_up: &mut [E],
    dout: &[E],
    features: usize,
    gradient: impl Fn(&mut [E], &[E], usize) + Sync,
) {
    assert_eq!(2 * dout.len(), gate_up.len(), "gate: gate_up must be twice as long as dout");
    assert!(dout.len().is_multiple_of(features), "gate: the length of dout is not a multiple of {features}");
    let rows = ROWS * features;
    gate_up
        .par_chunks_mut(2 * rows)
        .zip(dout.par_chunks(rows))
        .for_each(|(x, dout)| gradient(x, dout, features));
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// 2 sqrt(2 / pi): GELU in its tanh form, x / 2 (1 + tanh(y)), is x sigmoid(2 y) with y = sqrt(2 / pi) (x + CUBIC x³).
const SLOPE: f32 = 1.595_769;
/// The factor of x³ in it.
const CUBIC: f32 = 0.044_715;

/// 2 y of GELU.
#[inline(always)]
fn gelu_argument(x: f32) -> f32 {
    (x * x * CUBIC).mul_add(x, x) * SLOPE
}

/// out = activation(gate) up, row by row.
#[inline(always)]
fn unit<E: Element, X: Element>(
    out: &mut [E],
    gate_up: &[X],
    features: usize,
    activation: impl Fn(f32) -> f32,
) {
    for (out, row) in out.chunks_exact_mut(features).zip(gate_up.chunks_exact(2 * features)) {
        let (gate, up) = row.split_at(features);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = E::from_f32(activation(gate.to_f32()) * up.to_f32());
        }
    }
}

/// Replaces gate and up by their gradients, which follow from gate, up and the gradient of their unit.
#[inline(always)]
fn unit_gradient<E: Element>(
    gate_up: &mut [E],
    dout: &[E],
    features: usize,
    gradients: impl Fn(f32, f32, f32) -> (f32, f32),
) {
    for (row, dout) in gate_up.chunks_exact_mut(2 * features).zip(dout.chunks_exact(features)) {
        let (gate, up) = row.split_at_mut(features);
        for ((gate, up), dout) in gate.iter_mut().zip(up).zip(dout) {
            let (dgate, dup) = gradients(gate.to_f32(), up.to_f32(), dout.to_f32());
            *gate = E::from_f32(dgate);
            *up = E::from_f32(dup);
        }
    }
}

vectorized! {
    fn swiglu<E, X>(out: &mut [E], gate_up: &[X], features: usize) {
        unit(out, gate_up, features, |gate| gate * sigmoid(gate));
    }

    fn swiglu_gradient<E>(gate_up: &mut [E], dout: &[E], features: usize) {
        unit_gradient(gate_up, dout, features, |g, u, d| {
            let s = sigmoid(g);
            (d * u * s * (1.0 + g * (1.0 - s)), d * g * s)
        });
    }

    fn geglu<E, X>(out: &mut [E], gate_up: &[X], features: usize) {
        unit(out, gate_up, features, |gate| gate * sigmoid(gelu_argument(gate)));
    }

    fn geglu_gradient<E>(gate_up: &mut [E], dout: &[E], features: usize) {
        unit_gradient(gate_up, dout, features, |g, u, d| {
            let s = sigmoid(gelu_argument(g));
            let slope = SLOPE * (1.0 + 3.0 * CUBIC * (g * g));
            (d * u * s * (1.0 + g * (1.0 - s) * slope), d * g * s)
        });
    }
}
