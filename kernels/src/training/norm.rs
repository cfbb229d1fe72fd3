//! RMS norm: y = w x r with r = 1 / sqrt(mean(x²) + epsilon), and its gradients.

use super::rows::ROWS;
use crate::element::{Element, sum_of, vectorized};
use rayon::prelude::*;

/// Computes y (T, C) from x (T, C) and w (C).
///
/// # Panics
/// If the lengths do not match.
pub fn rms_norm_forward<E: Element>(y: &mut [E], x: &[f32], w: &[f32], epsilon: f32) {
    assert!(
        y.len() == x.len() && x.len().is_multiple_of(w.len()),
        "rms_norm: y and x must have the same length, a multiple of that of w"
    );
    let rows = ROWS * w.len();
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| forward(y, x, w, epsilon));
}

/// Adds the gradient of x to dx (T, C) and, unless w is frozen, that of w to dw (C), given dy (T, C).
///
/// dw sums over blocks of rows in order, on any number of threads.
///
/// # Panics
/// If the lengths do not match.
pub fn rms_norm_backward(
    dx: &mut [f32],
    dw: Option<&mut [f32]>,
    dy: &[f32],
    x: &[f32],
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

vectorized! {
    fn forward<E>(y: &mut [E], x: &[f32], w: &[f32], epsilon: f32) {
        let channels = w.len();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let scale = 1.0 / (sum_of(x, x, |a, b| a * b) / channels as f32 + epsilon).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = E::from_f32(w * (x * scale));
            }
        }
    }

    fn backward(dx: &mut [f32], dw: &mut [f32], dy: &[f32], x: &[f32], w: &[f32], epsilon: f32) {
        let channels = w.len();
        let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
        for ((dx, dy), x) in rows {
            let scale = 1.0 / (sum_of(x, x, |a, b| a * b) / channels as f32 + epsilon).sqrt();
            // dr/dx_i = -r³ x_i / C, because r depends on every x.
            let mut dot = 0.0;
            for ((dy, x), w) in dy.chunks(16).zip(x.chunks(16)).zip(w.chunks(16)) {
                let mut terms = [0.0; 16];
                for (((term, dy), x), w) in terms.iter_mut().zip(dy).zip(x).zip(w) {
                    *term = dy * x * w;
                }
                dot += sum_of(&terms, &terms, |term, _| term);
            }
            let through_scale = dot * scale * scale * scale / channels as f32;
            for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(w) {
                *dx += dy * w * scale - x * through_scale;
            }
            // Empty where the weights are frozen.
            for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                *dw += dy * x * scale;
            }
        }
    }
}
