//! RMS norm: y = w x r with r = 1 / sqrt(mean(x²) + epsilon), and its gradients. The input is the residual stream (f32), or
//! what a branch adds to it. The forward pass has the bits of the engine's norm.

use super::rows::ROWS;
use crate::element::{Element, sum_of, sum_of_squares, vectorized};
use rayon::prelude::*;

/// Computes y (T, C) from x (T, C) and w (C).
///
/// # Panics
/// If the lengths do not match.
pub fn rms_norm_forward<E: Element, X: Element>(y: &mut [E], x: &[X], w: &[f32], epsilon: f32) {
    assert!(
        y.len() == x.len() && x.len().is_multiple_of(w.len()),
        "rms_norm: y and x must have the same length, a multiple of that of w"
    );
    let rows = ROWS * w.len();
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| forward(y, x, w, epsilon));
}

/// Adds y to the residual stream (T, C), where y is the norm of x (T, C) with w (C).
///
/// # Panics
/// If the lengths do not match.
pub fn rms_norm_add<X: Element>(stream: &mut [f32], x: &[X], w: &[f32], epsilon: f32) {
    assert!(
        stream.len() == x.len() && x.len().is_multiple_of(w.len()),
        "rms_norm_add: the stream and x must have the same length, a multiple of that of w"
    );
    let rows = ROWS * w.len();
    stream.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(stream, x)| add(stream, x, w, epsilon));
}

/// Adds the gradient of x to dx (T, C) and, unless w is frozen, that of w to dw (C), given dy (T, C).
///
/// dw sums over blocks of rows in order, on any number of threads.
///
/// # Panics
/// If the lengths do not match.
pub fn rms_norm_backward<X: Element>(
    dx: &mut [f32],
    dw: Option<&mut [f32]>,
    dy: &[f32],
    x: &[X],
    w: &[f32],
    epsilon: f32,
) {
    assert!(
        dx.len() == x.len() && dy.len() == x.len() && dw.as_ref().is_none_or(|dw| dw.len() == w.len()),
        "rms_norm_backward: the lengths do not match"
    );
    assert!(
        x.len().is_multiple_of(w.len()),
        "rms_norm_backward: the length of x is not a multiple of that of w"
    );
    let rows = ROWS * w.len();
    let blocks = dx.par_chunks_mut(rows).zip(dy.par_chunks(rows)).zip(x.par_chunks(rows));
    let Some(dw) = dw else {
        return blocks.for_each(|((dx, dy), x)| backward(dx, &mut [], dy, x, w, epsilon));
    };
    let partial: Vec<Vec<f32>> = blocks
        .map(|((dx, dy), x)| {
            let mut dw = vec![0.0; w.len()];
            backward(dx, &mut dw, dy, x, w, epsilon);
            dw
        })
        .collect();
    for partial in partial {
        dw.iter_mut().zip(partial).for_each(|(dw, partial)| *dw += partial);
    }
}

/// r of a row.
#[inline(always)]
pub(super) fn scale_of<X: Element>(x: &[X], epsilon: f32) -> f32 {
    1.0 / (sum_of_squares(x) / x.len() as f32 + epsilon).sqrt()
}

/// What times x_i is subtracted from the gradient of x_i: dr/dx_i = -r³ x_i / C, because r depends on every x.
#[inline(always)]
pub(super) fn through_scale<D: Element, X: Element>(dy: &[D], x: &[X], w: &[f32], scale: f32) -> f32 {
    let mut dot = 0.0;
    for ((dy, x), w) in dy.chunks(16).zip(x.chunks(16)).zip(w.chunks(16)) {
        let mut terms = [0.0; 16];
        for (((term, dy), x), w) in terms.iter_mut().zip(dy).zip(x).zip(w) {
            *term = dy.to_f32() * x.to_f32() * w;
        }
        dot += sum_of(&terms, &terms, |term, _| term);
    }
    dot * scale * scale * scale / x.len() as f32
}

vectorized! {
    fn forward<E, X>(y: &mut [E], x: &[X], w: &[f32], epsilon: f32) {
        let channels = w.len();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let scale = scale_of(x, epsilon);
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = E::from_f32(w * (x.to_f32() * scale));
            }
        }
    }

    fn add<X>(stream: &mut [f32], x: &[X], w: &[f32], epsilon: f32) {
        let channels = w.len();
        for (stream, x) in stream.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let scale = scale_of(x, epsilon);
            for ((stream, x), w) in stream.iter_mut().zip(x).zip(w) {
                *stream += w * (x.to_f32() * scale);
            }
        }
    }

    fn backward<X>(dx: &mut [f32], dw: &mut [f32], dy: &[f32], x: &[X], w: &[f32], epsilon: f32) {
        let channels = w.len();
        let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
        for ((dx, dy), x) in rows {
            let scale = scale_of(x, epsilon);
            let through_scale = through_scale(dy, x, w, scale);
            for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(w) {
                *dx += dy * w * scale - x.to_f32() * through_scale;
            }
            // Empty where the weights are frozen.
            for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                *dw += dy * x.to_f32() * scale;
            }
        }
    }
}
