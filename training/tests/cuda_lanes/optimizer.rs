//! The norm of the gradients, and AdamW.

use crate::harness::{At, Buffer, Length, Null, Number, as_bf16, blocks, close, launch, numbers, report};
use half::bf16;
use kernels::training::{AdamW, adamw, squared_norm};

const NORM_BLOCKS: usize = 1024;

fn norm_of(gradients: &[f32]) -> f32 {
    let (partial, norm) = (Buffer::empty::<f64>(NORM_BLOCKS), Buffer::empty::<f32>(1));
    let arguments = [At(&partial), At(&Buffer::of(gradients)), Length(gradients.len())];
    launch("squared_norm", blocks(NORM_BLOCKS, 256, 64), &arguments);
    launch("gradient_norm", blocks(1, 1024, 256), &[At(&norm), At(&partial)]);
    norm.read::<f32>()[0]
}

#[test]
fn norm_of_gradients() {
    let errors = [1, 3, 97, 4096, 300_001].map(|length| {
        let gradients = numbers(length, 30);
        close("gradient_norm", &[norm_of(&gradients)], &[squared_norm(&gradients).sqrt() as f32], 1e-6)
    });
    report("squared_norm, gradient_norm", &errors);
    assert!(norm_of(&[1.0, f32::NAN, 2.0]).is_nan());
    assert!(norm_of(&[1.0, f32::INFINITY]).is_infinite());
}

/// Two tensors that decay and one that does not, at offsets that are not multiples of four.
struct Weights {
    values: Vec<f32>,
    gradients: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// First, count, decayed.
    chunks: Vec<(u64, u32, u32)>,
}

impl Weights {
    fn new() -> Self {
        let tensors: [(usize, u32); 3] = [(30 * 97, 1), (31, 0), (20_000, 1)];
        let (mut chunks, mut length) = (Vec::new(), 0);
        for (count, decayed) in tensors {
            for first in (0..count).step_by(16_384) {
                chunks.push(((length + first) as u64, (count - first).min(16_384) as u32, decayed));
            }
            length += count;
        }
        let square = numbers(length, 33).iter().map(|x| x * x * 1e-4).collect();
        let gradients = numbers(length, 31).iter().map(|x| x * 0.1).collect();
        Self { values: numbers(length, 34), gradients, mean: numbers(length, 32), square, chunks }
    }
}

const SETTINGS: AdamW = AdamW {
    learning_rate: 3e-4,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
    gradient_scale: 1.0,
    step: 3,
};

/// Returns weights, mean, square and the bf16 copy after a step.
fn step(
    weights: &Weights,
    norm: f32,
    max_norm: f32,
    copied: bool,
) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<bf16>) {
    let (values, mean, square) =
        (Buffer::of(&weights.values), Buffer::of(&weights.mean), Buffer::of(&weights.square));
    let copy = Buffer::of(&as_bf16(&weights.values));
    let firsts: Vec<u64> = weights.chunks.iter().map(|chunk| chunk.0).collect();
    let counts: Vec<u32> = weights.chunks.iter().map(|chunk| chunk.1).collect();
    let decayed: Vec<u32> = weights.chunks.iter().map(|chunk| chunk.2).collect();
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step, .. } = SETTINGS;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let rate = (f64::from(learning_rate) / correction(beta1)) as f32;
    let root = 1.0 / correction(beta2).sqrt() as f32;
    let arguments = [
        At(&values),
        if copied { At(&copy) } else { Null },
        At(&mean),
        At(&square),
        At(&Buffer::of(&weights.gradients)),
        At(&Buffer::of(&firsts)),
        At(&Buffer::of(&counts)),
        At(&Buffer::of(&decayed)),
        At(&Buffer::of(&[norm])),
        Number(learning_rate),
        Number(beta1),
        Number(beta2),
        Number(epsilon),
        Number(weight_decay),
        Number(rate),
        Number(root),
        Number(max_norm),
    ];
    launch("adamw", blocks(weights.chunks.len(), 256, 0), &arguments);
    (values.read(), mean.read(), square.read(), copy.read())
}

#[test]
fn adamw_updates_as_the_cpu_does() {
    let start = Weights::new();
    let norm = squared_norm(&start.gradients).sqrt() as f32;
    let mut errors = Vec::new();
    for max_norm in [0.0, 1.0, 1e6] {
        let (values, mean, square, copy) = step(&start, norm, max_norm, true);
        let scale = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let mut expected = (start.values.clone(), start.mean.clone(), start.square.clone());
        for (first, count, decayed) in &start.chunks {
            let place = *first as usize..*first as usize + *count as usize;
            let weight_decay = if *decayed == 1 { SETTINGS.weight_decay } else { 0.0 };
            let settings = AdamW { weight_decay, gradient_scale: scale, ..SETTINGS };
            let (mean, square) = (&mut expected.1[place.clone()], &mut expected.2[place.clone()]);
            adamw(&mut expected.0[place.clone()], &start.gradients[place], mean, square, settings);
        }
        errors.push(close("adamw: weights", &values, &expected.0, 1e-6));
        errors.push(close("adamw: mean", &mean, &expected.1, 1e-6));
        errors.push(close("adamw: square", &square, &expected.2, 1e-6));
        assert_eq!(copy, as_bf16(&values), "adamw: the copy");
    }
    report("adamw", &errors);
}

#[test]
fn adamw_without_a_copy_or_a_finite_norm() {
    let start = Weights::new();
    let (values, ..) = step(&start, 1.0, 1.0, true);
    let (without, _, _, copy) = step(&start, 1.0, 1.0, false);
    assert_eq!(values, without);
    assert_eq!(copy, as_bf16(&start.values), "without a copy nothing may be written to it");
    for norm in [f32::NAN, f32::INFINITY] {
        let (values, mean, square, copy) = step(&start, norm, 1.0, true);
        assert_eq!((values, mean, square), (start.values.clone(), start.mean.clone(), start.square.clone()));
        assert_eq!(copy, as_bf16(&start.values));
    }
}
