//! What a bidirectional encoder (BERT) has beside matrix products: layer norm with the residual before it, exact GELU, and
//! attention in which every token of a sequence sees every other one. f32; T tokens of all sequences one after the other
//! without padding, C channels, H heads of D elements. A token's result does not depend on the other sequences.

use crate::element::{exp, maximum_of, sum_of, vectorized};
use crate::gemm::{Accumulate, Matrix, Target, gemm_to, scratch};
use rayon::prelude::*;

/// Rows that a thread takes at a time.
const ROWS: usize = 32;
/// Queries whose scores exist at once; with 512 keys they take 256 KiB.
const QUERIES: usize = 128;

/// The weights of a layer norm.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Scale of each channel (C).
    pub weight: &'a [f32],
    /// Shift of each channel (C).
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Replaces x (T, C) by the layer norm of x + added + bias, where `added` (T, C) is a product and `bias` (C) the product's.
///
/// # Panics
/// If the lengths do not match.
pub fn add_and_norm(x: &mut [f32], added: &[f32], bias: &[f32], norm: LayerNorm<'_>) {
    let channels = norm.weight.len();
    assert!(
        channels > 0 && norm.bias.len() == channels && bias.len() == channels,
        "add_and_norm: the bias has {} elements, the norm {} and {channels}; they must be equal and not 0",
        bias.len(),
        norm.bias.len()
    );
    assert!(
        x.len() == added.len() && x.len().is_multiple_of(channels),
        "add_and_norm: x and added must have the same length, a multiple of {channels}"
    );
    let rows = ROWS * channels;
    x.par_chunks_mut(rows)
        .zip(added.par_chunks(rows))
        .for_each(|(x, added)| add_and_norm_rows(x, added, bias, norm.weight, norm.bias, norm.epsilon));
}

/// Replaces x (T, F) by GELU(x + bias), bias (F): y Φ(y) with the normal distribution's Φ, not its tanh form.
///
/// # Panics
/// If the length of x is no multiple of that of `bias`.
pub fn bias_gelu(x: &mut [f32], bias: &[f32]) {
    assert!(
        !bias.is_empty() && x.len().is_multiple_of(bias.len()),
        "bias_gelu: the length of x ({}) is not a multiple of that of bias ({})",
        x.len(),
        bias.len()
    );
    x.par_chunks_mut(ROWS * bias.len()).for_each(|x| bias_gelu_rows(x, bias));
}

/// Adds bias (F) to each row of x (T, F).
///
/// # Panics
/// If the length of x is no multiple of that of `bias`.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    assert!(
        !bias.is_empty() && x.len().is_multiple_of(bias.len()),
        "add_bias: the length of x ({}) is not a multiple of that of bias ({})",
        x.len(),
        bias.len()
    );
    x.par_chunks_mut(ROWS * bias.len()).for_each(|x| add_bias_rows(x, bias));
}

/// Computes out (T, H D) from qkv (T, 3 H D): queries, keys and values of a token. `starts` holds the first token of each
/// sequence, then T.
///
/// # Panics
/// If the lengths do not match.
pub fn attention(out: &mut [f32], qkv: &[f32], heads: usize, head_dim: usize, starts: &[usize]) {
    let channels = heads * head_dim;
    assert!(starts.is_sorted() && starts.first() == Some(&0), "attention: starts must ascend from 0");
    let tokens = *starts.last().expect("`starts` is not empty: it begins with 0");
    assert!(
        out.len() == tokens * channels && qkv.len() == 3 * tokens * channels,
        "attention: out or qkv is not of {tokens} tokens with {heads} heads of {head_dim}"
    );
    let out = Target { data: out.as_mut_ptr(), rows: tokens, columns: channels, row_stride: channels };
    let tasks = (starts.len() - 1) * heads;
    (0..tasks).into_par_iter().for_each(|task| {
        let (sequence, head) = (task / heads, task % heads);
        // SAFETY: every task has the tokens of its own sequence and the columns of its own head.
        unsafe {
            attend(out, qkv, (channels, head * head_dim, head_dim), starts[sequence]..starts[sequence + 1]);
        };
    });
}

/// Computes one head in one sequence. `head` is the row's channels, the head's first channel and its elements.
///
/// # Safety
/// Nothing else may access the columns of the head in the rows of the sequence.
unsafe fn attend(out: Target<f32>, qkv: &[f32], head: (usize, usize, usize), tokens: std::ops::Range<usize>) {
    let (channels, first, head_dim) = head;
    let keys = tokens.len();
    // Part 0 is queries, 1 keys, 2 values.
    let part = |part: usize, token: usize, count: usize| {
        Matrix::strided(&qkv[3 * channels * token + part * channels + first..], count, head_dim, 3 * channels)
    };
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut scores = scratch::take::<f32>();
    for query in tokens.clone().step_by(QUERIES) {
        let count = QUERIES.min(tokens.end - query);
        scores.resize(count * keys, 0.0);
        let (q, k, v) = (part(0, query, count), part(1, tokens.start, keys), part(2, tokens.start, keys));
        // SAFETY: only this task uses the buffer.
        unsafe {
            gemm_to::<f32, _, _, _>(
                Target::new(&mut scores, count, keys),
                q,
                k.transposed(),
                Accumulate::Replace,
            );
        }
        scores.chunks_exact_mut(keys).for_each(|scores| softmax(scores, scale));
        // SAFETY: the rows of these queries and the columns of this head, which no other task accesses.
        unsafe {
            let data = out.data.add(query * out.row_stride + first);
            let target = Target { data, rows: count, columns: head_dim, row_stride: out.row_stride };
            gemm_to::<f32, _, _, _>(target, Matrix::new(&scores, count, keys), v, Accumulate::Replace);
        }
    }
    scratch::give(scores);
}

/// Φ of the normal distribution through the complementary error function, Abramowitz and Stegun 7.1.26: off by at most
/// 1.5e-7 / 2.
#[inline(always)]
fn normal_distribution(x: f32) -> f32 {
    const SERIES: [f32; 4] = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / 0.327_591_1f32.mul_add(z, 1.0);
    let mut series = 1.061_405_4f32;
    for coefficient in SERIES {
        series = series.mul_add(t, coefficient);
    }
    // erfc(z) / 2
    let tail = 0.5 * series * t * exp(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

vectorized! {
    fn add_and_norm_rows(x: &mut [f32], added: &[f32], bias: &[f32], weight: &[f32], shift: &[f32], epsilon: f32) {
        let channels = weight.len();
        for (x, added) in x.chunks_exact_mut(channels).zip(added.chunks_exact(channels)) {
            for ((x, added), bias) in x.iter_mut().zip(added).zip(bias) {
                *x += added + bias;
            }
            let mean = sum_of(x, x, |value, _| value) / channels as f32;
            for x in x.iter_mut() {
                *x -= mean;
            }
            let scale = 1.0 / (sum_of(x, x, |a, b| a * b) / channels as f32 + epsilon).sqrt();
            for ((x, weight), shift) in x.iter_mut().zip(weight).zip(shift) {
                *x = (*x * scale).mul_add(*weight, *shift);
            }
        }
    }

    fn bias_gelu_rows(x: &mut [f32], bias: &[f32]) {
        for x in x.chunks_exact_mut(bias.len()) {
            for (x, bias) in x.iter_mut().zip(bias) {
                let y = *x + bias;
                *x = y * normal_distribution(y);
            }
        }
    }

    fn add_bias_rows(x: &mut [f32], bias: &[f32]) {
        for x in x.chunks_exact_mut(bias.len()) {
            for (x, bias) in x.iter_mut().zip(bias) {
                *x += bias;
            }
        }
    }

    fn softmax(scores: &mut [f32], scale: f32) {
        let maximum = maximum_of(scores) * scale;
        for score in scores.iter_mut() {
            *score = exp(*score * scale - maximum);
        }
        let inverse = 1.0 / sum_of(scores, scores, |weight, _| weight);
        for score in scores {
            *score *= inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -2 and 2 that follow from a seed.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < tolerance, "{at}: {found}, not {expected}");
        }
    }

    #[test]
    fn layer_norm_is_near_f64() {
        for &channels in crate::tests::cases(&[1, 15, 37, 384], 3) {
            let (x, added) = (numbers(5 * channels, 1), numbers(5 * channels, 2));
            let (bias, weight, shift) = (numbers(channels, 3), numbers(channels, 4), numbers(channels, 5));
            let mut out = x.clone();
            let norm = LayerNorm { weight: &weight, bias: &shift, epsilon: 1e-12 };
            add_and_norm(&mut out, &added, &bias, norm);
            let mut expected = Vec::new();
            for row in 0..5 {
                let at = |channel: usize| {
                    let index = row * channels + channel;
                    f64::from(x[index]) + f64::from(added[index]) + f64::from(bias[channel])
                };
                let mean = (0..channels).map(at).sum::<f64>() / channels as f64;
                let variance = (0..channels).map(|c| (at(c) - mean).powi(2)).sum::<f64>() / channels as f64;
                expected.extend((0..channels).map(|c| {
                    (at(c) - mean) / (variance + 1e-12).sqrt() * f64::from(weight[c]) + f64::from(shift[c])
                }));
            }
            assert_near(&out, &expected, if channels == 1 { 1e-1 } else { 2e-5 });
        }
    }

    /// The integral of the normal density by Simpson's rule.
    fn distribution(x: f64) -> f64 {
        let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let (steps, low) = (if cfg!(miri) { 1000 } else { 20_000 }, -12.0);
        let width = (x - low) / f64::from(steps);
        let inner: f64 = (1..steps)
            .map(|step| density(low + f64::from(step) * width) * if step % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        (density(low) + inner + density(x)) * width / 3.0
    }

    #[test]
    fn gelu_is_the_exact_one() {
        let x: Vec<f32> = (-60..=60).map(|step| step as f32 / 10.0).collect();
        let mut out = x.clone();
        bias_gelu(&mut out, &[0.0]);
        let expected: Vec<f64> = x.iter().map(|x| f64::from(*x) * distribution(f64::from(*x))).collect();
        assert_near(&out, &expected, 6e-7);
        // The tanh form is off by more.
        assert!((f64::from(out[80]) - 1.954_597_6).abs() > 1e-5);
        let mut shifted: Vec<f32> = x.iter().map(|x| x - 0.5).collect();
        bias_gelu(&mut shifted, &[0.5]);
        assert_near(&shifted, &expected, 2e-6);
    }

    #[test]
    fn attention_sees_its_sequence_and_no_other() {
        let (heads, head_dim) = (3, 8);
        let channels = heads * head_dim;
        let starts = if cfg!(miri) { [0, 1, 1, 10, 40] } else { [0, 1, 1, 140, 300] };
        let tokens = starts[4];
        let qkv = numbers(3 * channels * tokens, 7);
        let mut out = vec![f32::NAN; channels * tokens];
        attention(&mut out, &qkv, heads, head_dim, &starts);
        let at = |token: usize, part: usize, channel: usize| {
            f64::from(qkv[token * 3 * channels + part * channels + channel])
        };
        let mut expected = Vec::new();
        for bounds in starts.windows(2) {
            for query in bounds[0]..bounds[1] {
                for channel in 0..channels {
                    let first = channel / head_dim * head_dim;
                    let weight = |key: usize| {
                        let dot: f64 =
                            (first..first + head_dim).map(|c| at(query, 0, c) * at(key, 1, c)).sum();
                        (dot / (head_dim as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = (bounds[0]..bounds[1]).map(weight).collect();
                    let sum: f64 = weights.iter().sum();
                    let values = weights.iter().zip(bounds[0]..);
                    expected.push(values.map(|(weight, key)| weight / sum * at(key, 2, channel)).sum());
                }
            }
        }
        assert_near(&out, &expected, 2e-5);
        // The bits of a sequence do not depend on the others.
        let (first, last) = (starts[2], starts[3]);
        let mut alone = vec![0.0; channels * (last - first)];
        attention(
            &mut alone,
            &qkv[3 * channels * first..3 * channels * last],
            heads,
            head_dim,
            &[0, last - first],
        );
        assert!(alone == out[channels * first..channels * last]);
    }
}
