//! Operations on every row of a step between the matrix products, in parallel where there are many rows.

use super::stride::padded;
use checkpoint::Activation;
use kernels::parallel_for;
use std::sync::{Mutex, PoisonError};

/// Tokens that one thread normalizes at a time.
const NORM_TOKENS: usize = 16;

/// Tokens that one thread gates at a time.
const GATE_TOKENS: usize = 4;

/// RMS norm of each head (D) in place.
pub(super) fn norm_heads(heads: &mut [f32], weight: &[f32], epsilon: f32) {
    let before = heads.to_vec();
    kernels::rms_norm(heads, &before, weight, epsilon);
}

/// The gate of every row of `gate_up` (T, 2 F), alternating, to `out` (T, F), rows every `stride` numbers.
pub(super) fn gate(activation: Activation, out: &mut [f32], gate_up: &[f32], stride: usize) {
    let rows = |out: &mut [f32], gate_up: &[f32]| match activation {
        Activation::Silu => kernels::swiglu_alternating(out, gate_up),
        Activation::GeluTanh => kernels::geglu_alternating(out, gate_up),
    };
    if out.len() <= GATE_TOKENS * stride {
        return rows(out, gate_up);
    }
    let parts: Vec<Mutex<(&mut [f32], &[f32])>> = out
        .chunks_mut(GATE_TOKENS * stride)
        .zip(gate_up.chunks(2 * GATE_TOKENS * stride))
        .map(Mutex::new)
        .collect();
    parallel_for(parts.len(), |part| {
        let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let (out, gate_up) = &mut *part;
        rows(out, gate_up);
    });
}

/// RMS norm of every row of x (T, C), whose stride is padded, to `out` (T, C), whose rows are not.
pub(super) fn norm(out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    let (width, stride) = (weight.len(), padded(weight.len()));
    let rows = |out: &mut [f32], x: &[f32]| {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(stride)) {
            kernels::rms_norm(out, &x[..width], weight, epsilon);
        }
    };
    if x.len() <= NORM_TOKENS * stride {
        return rows(out, x);
    }
    let parts: Vec<Mutex<(&mut [f32], &[f32])>> =
        out.chunks_mut(NORM_TOKENS * width).zip(x.chunks(NORM_TOKENS * stride)).map(Mutex::new).collect();
    parallel_for(parts.len(), |part| {
        let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let (out, x) = &mut *part;
        rows(out, x);
    });
}
