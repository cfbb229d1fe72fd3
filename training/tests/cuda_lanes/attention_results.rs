//! Attention and its gradients in f64, from their definition: what the kernels are compared with.

use kernels::{AttentionShape, RopeTable};
use std::ops::Range;

/// Attention's results in f64.
pub(crate) struct Results {
    pub(crate) out: Vec<f64>,
    pub(crate) log_sums: Vec<f64>,
    pub(crate) dqkv: Vec<f64>,
}

impl Results {
    /// Computes softmax attention and its gradients from their definition, a query at a time.
    pub(crate) fn new(shape: AttentionShape, starts: &[usize], qkv: &[f32], dout: &[f32]) -> Self {
        let AttentionShape { heads, kv_heads, head_dim } = shape;
        let (row, tokens) = ((heads + 2 * kv_heads) * head_dim, starts[starts.len() - 1]);
        let mut results = Self {
            out: vec![0.0; dout.len()],
            log_sums: vec![0.0; heads * tokens],
            dqkv: vec![0.0; qkv.len()],
        };
        for ends in starts.windows(2) {
            for query in ends[0]..ends[1] {
                for head in 0..heads {
                    let key_head = head / (heads / kv_heads);
                    let columns =
                        [head, heads + key_head, heads + kv_heads + key_head].map(|block| block * head_dim);
                    let keys = ends[0]..query + 1;
                    results.add_query(qkv, dout, (query, head, keys), (row, head_dim, tokens), columns);
                }
            }
        }
        results
    }

    /// Computes one query of one head, and adds its part of the gradients of keys and values.
    fn add_query(
        &mut self,
        qkv: &[f32],
        dout: &[f32],
        (query, head, keys): (usize, usize, Range<usize>),
        (row, dim, tokens): (usize, usize, usize),
        [q, k, v]: [usize; 3],
    ) {
        let scale = 1.0 / (dim as f64).sqrt();
        let at = |token: usize, column: usize| f64::from(qkv[token * row + column]);
        let out_at = dout.len() / tokens * query + head * dim;
        let dout = |d: usize| f64::from(dout[out_at + d]);
        let dot = |key: usize| (0..dim).map(|d| at(query, q + d) * at(key, k + d)).sum::<f64>() * scale;
        let scores: Vec<f64> = keys.clone().map(dot).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        self.log_sums[head * tokens + query] = largest + total.ln();
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp() / total).collect();
        let dweight = |key: usize| (0..dim).map(|d| dout(d) * at(key, v + d)).sum::<f64>();
        let dweights: Vec<f64> = keys.clone().map(dweight).collect();
        let delta: f64 = weights.iter().zip(&dweights).map(|(weight, dweight)| weight * dweight).sum();
        for ((key, weight), dweight) in keys.zip(weights).zip(dweights) {
            let dscore = weight * (dweight - delta) * scale;
            for d in 0..dim {
                self.out[out_at + d] += weight * at(key, v + d);
                self.dqkv[query * row + q + d] += dscore * at(key, k + d);
                self.dqkv[key * row + k + d] += dscore * at(query, q + d);
                self.dqkv[key * row + v + d] += weight * dout(d);
            }
        }
    }

    /// Returns the gradient before the rotary embedding.
    pub(crate) fn rotated_back(
        &self,
        shape: AttentionShape,
        positions: &[u32],
        table: &RopeTable,
    ) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim } = shape;
        let (row, half) = ((heads + 2 * kv_heads) * head_dim, head_dim / 2);
        let mut dqkv = self.dqkv.clone();
        for (token, position) in positions.iter().enumerate() {
            for head in 0..heads + kv_heads {
                for i in 0..half {
                    let angle = *position as usize * half + i;
                    let (cos, sin) = (f64::from(table.cosines()[angle]), f64::from(table.sines()[angle]));
                    let first = token * row + head * head_dim + i;
                    let (a, b) = (dqkv[first], dqkv[first + half]);
                    dqkv[first] = a * cos + b * sin;
                    dqkv[first + half] = b * cos - a * sin;
                }
            }
        }
        dqkv
    }
}

pub(crate) fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
