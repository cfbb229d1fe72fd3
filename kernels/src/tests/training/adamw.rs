//! AdamW against the algorithm in f64, and the squared norm of the gradients.

use super::*;
use crate::training::{AdamW, adamw, squared_norm};

const SETTINGS: AdamW = AdamW {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.1,
    gradient_scale: 1.0,
    step: 1,
};

/// One step of one weight with its moments m and v, as in the paper, in the order of PyTorch: decay first, then the
/// bias-corrected step.
fn reference([weight, m, v]: [f64; 3], gradient: f64, settings: AdamW) -> [f64; 3] {
    let (beta1, beta2) = (f64::from(settings.beta1), f64::from(settings.beta2));
    let rate = f64::from(settings.learning_rate);
    let gradient = gradient * f64::from(settings.gradient_scale);
    let weight = weight - rate * f64::from(settings.weight_decay) * weight;
    let m = beta1 * m + (1.0 - beta1) * gradient;
    let v = beta2 * v + (1.0 - beta2) * gradient * gradient;
    let mean = m / (1.0 - beta1.powi(settings.step as i32));
    let square = v / (1.0 - beta2.powi(settings.step as i32));
    [weight - rate * mean / (square.sqrt() + f64::from(settings.epsilon)), m, v]
}

/// Returns the weights and both moments after some steps, each with other gradients.
fn run(length: usize, settings: AdamW, steps: u64) -> [Vec<f32>; 3] {
    let (mut weights, mut mean, mut square) = (numbers(length, 1), vec![0.0; length], vec![0.0; length]);
    for step in 1..=steps {
        let settings = AdamW { step, ..settings };
        adamw(&mut weights, &numbers(length, 1 + step), &mut mean, &mut square, settings);
    }
    [weights, mean, square]
}

fn check(length: usize, settings: AdamW, steps: u64) {
    let before = numbers(length, 1);
    let mut expected: Vec<[f64; 3]> = before.iter().map(|weight| [f64::from(*weight), 0.0, 0.0]).collect();
    for step in 1..=steps {
        let settings = AdamW { step, ..settings };
        for (state, gradient) in expected.iter_mut().zip(numbers(length, 1 + step)) {
            *state = reference(*state, f64::from(gradient), settings);
        }
    }
    let what = format!("adamw of {length} after {steps} steps");
    let [weights, mean, square] = run(length, settings, steps);
    // Compare the changes of the weights, not the weights: the changes are small.
    let changes: Vec<f32> = weights.iter().zip(&before).map(|(weight, before)| weight - before).collect();
    let expected_changes: Vec<f64> =
        expected.iter().zip(&before).map(|([weight, ..], before)| weight - f64::from(*before)).collect();
    assert_near(&changes, &expected_changes, &what);
    assert_near(&mean, &expected.iter().map(|[_, m, _]| *m).collect::<Vec<_>>(), &format!("{what} mean"));
    assert_near(&square, &expected.iter().map(|[_, _, v]| *v).collect::<Vec<_>>(), &format!("{what} square"));
}

#[test]
fn the_first_step() {
    check(1, SETTINGS, 1);
    check(37, SETTINGS, 1);
}

#[test]
fn many_steps() {
    check(37, SETTINGS, 50);
}

#[test]
fn usual_values_of_beta2() {
    check(19, AdamW { beta2: 0.999, ..SETTINGS }, 10);
    check(19, AdamW { beta2: 0.95, ..SETTINGS }, 10);
}

#[test]
fn without_weight_decay() {
    check(21, AdamW { weight_decay: 0.0, ..SETTINGS }, 5);
}

#[test]
fn the_gradient_scale_is_applied_first() {
    check(21, AdamW { gradient_scale: 0.125, ..SETTINGS }, 5);
}

#[test]
fn a_large_epsilon_is_added_to_the_corrected_root() {
    check(21, AdamW { epsilon: 0.5, ..SETTINGS }, 5);
}

#[test]
fn more_weights_than_one_chunk() {
    check((1 << 16) + 13, SETTINGS, 2);
}

#[test]
fn a_weight_without_gradient_only_decays() {
    let (mut weights, mut mean, mut square) = ([2.0], [0.0], [0.0]);
    adamw(&mut weights, &[0.0], &mut mean, &mut square, SETTINGS);
    assert_eq!((weights, mean, square), ([2.0 * (1.0 - 0.01 * 0.1)], [0.0], [0.0]));
}

#[test]
fn the_squared_norm_is_near_f64() {
    for length in [0, 1, 17, 4095, 4096, 4097, 100_003] {
        let values = numbers(length, 4);
        let expected: f64 = double(&values).iter().map(|value| value * value).sum();
        let error = (squared_norm(&values) - expected).abs();
        // 16 lanes of 256 terms: at most 260 roundings of 2^-24, all in one direction.
        assert!(error <= 260.0 * 2f64.powi(-24) * expected, "{length} values: off by {error}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    assert_threads_agree(|| run(3 * (1 << 16) + 5, SETTINGS, 2).concat());
    let values = numbers(100_003, 5);
    let run = || squared_norm(&values).to_bits();
    assert_eq!(with_threads(1, run), with_threads(3, run));
}
