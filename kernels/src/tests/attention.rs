//! attend against the textbook formula in f64, and against itself in pieces.

use super::{assert_close, bits, numbers, with_threads};
use crate::attention::{Inputs, attend_on};
use crate::{AttentionShape, Path, attend, available_paths};

const SHAPES: [AttentionShape; 5] = [
    AttentionShape { heads: 9, kv_heads: 3, head_dim: 64 },
    AttentionShape { heads: 4, kv_heads: 4, head_dim: 17 },
    AttentionShape { heads: 8, kv_heads: 1, head_dim: 40 },
    AttentionShape { heads: 2, kv_heads: 1, head_dim: 6 },
    AttentionShape { heads: 5, kv_heads: 1, head_dim: 144 },
];

struct Case {
    shape: AttentionShape,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    first_position: usize,
}

impl Case {
    /// The keys and values end in rows that no query may see.
    fn new(shape: AttentionShape, tokens: usize, first_position: usize) -> Self {
        let AttentionShape { heads, kv_heads, head_dim } = shape;
        let length = (first_position + tokens) * kv_heads * head_dim;
        let unseen = vec![f32::NAN; 3 * kv_heads * head_dim];
        // Wide scores, so that some exponentials underflow.
        let q = numbers(tokens * heads * head_dim, 1).iter().map(|q| q * 40.0).collect();
        let keys = [numbers(length, 2), unseen.clone()].concat();
        let values = [numbers(length, 3), unseen].concat();
        Self { shape, q, keys, values, first_position }
    }

    fn run(&self, path: Path) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let Self { shape, q, keys, values, first_position } = self;
        let (shape, first_position) = (*shape, *first_position);
        attend_on(path, &mut out, Inputs { q, keys, values, shape, first_position });
        out
    }

    /// Query index (token, head) in f64.
    fn reference(&self, index: usize) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let kv_head = index % heads / (heads / kv_heads);
        let visible = self.first_position + index / heads + 1;
        let row = |rows: &[f32], position: usize| -> Vec<f64> {
            let row = &rows[(position * kv_heads + kv_head) * head_dim..][..head_dim];
            row.iter().copied().map(f64::from).collect()
        };
        let q = &self.q[index * head_dim..][..head_dim];
        let scores: Vec<f64> = (0..visible)
            .map(|position| {
                let key = row(&self.keys, position);
                let dot: f64 = q.iter().zip(key).map(|(&q, key)| f64::from(q) * key).sum();
                dot / (head_dim as f64).sqrt()
            })
            .collect();
        let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut out = vec![0.0; head_dim];
        for (position, weight) in weights.iter().enumerate() {
            for (out, value) in out.iter_mut().zip(row(&self.values, position)) {
                *out += weight / total * value;
            }
        }
        out
    }
}

#[test]
fn attention_is_near_the_f64_formula() {
    for shape in SHAPES {
        for (tokens, first_position) in [(1, 0), (7, 0), (5, 29), (1, 100)] {
            let case = Case::new(shape, tokens, first_position);
            let out = case.run(crate::path());
            for (index, query) in out.chunks(shape.head_dim).enumerate() {
                for (&value, expected) in query.iter().zip(case.reference(index)) {
                    // Values are below 0.5 and weights add up to 1.
                    assert_close(value, expected, 0.5, &format!("{shape:?} query {index}"));
                }
            }
        }
    }
}

#[test]
fn every_path_gives_the_same_bits() {
    for shape in SHAPES {
        for (tokens, first_position) in [(1, 0), (8, 0), (5, 29), (1, 100)] {
            let case = Case::new(shape, tokens, first_position);
            let portable = case.run(Path::Portable);
            for path in available_paths() {
                assert_eq!(bits(&case.run(path)), bits(&portable), "{path:?} {shape:?}");
            }
        }
    }
}

#[test]
fn a_prompt_in_chunks_equals_the_prompt_at_once() {
    for shape in SHAPES {
        let case = Case::new(shape, 37, 4);
        let whole = case.run(crate::path());
        for chunk in [1, 2, 3, 16] {
            let row = shape.heads * shape.head_dim;
            let mut out = vec![f32::NAN; whole.len()];
            let mut first_position = case.first_position;
            for (out, q) in out.chunks_mut(chunk * row).zip(case.q.chunks(chunk * row)) {
                attend(out, q, &case.keys, &case.values, shape, first_position);
                first_position += chunk;
            }
            assert_eq!(bits(&out), bits(&whole), "{shape:?} in chunks of {chunk}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(SHAPES[0], 70, 10);
    let one = with_threads(1, || case.run(crate::path()));
    let two = with_threads(2, || case.run(crate::path()));
    assert_eq!(bits(&one), bits(&two));
}
