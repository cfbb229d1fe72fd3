//! Each training operation alone: forward against the formula in f64, backward against candle's autograd of that
//! formula and against central differences of the forward pass.
//!
//! Autograd detects small errors of all elements; differences detect a gradient of another formula than that of the
//! forward pass. Candle's fused operations have no backward pass, so the formulas are written out.

mod adamw;
mod as_served;
mod attention;
mod bias;
mod cross_entropy;
mod divergence;
mod embedding;
mod geglu;
mod head_norm;
mod norm;
mod rotary;
mod swiglu;

use super::{bits, numbers, with_threads};
use crate::element::Element;
use candle_core::backprop::GradStore;
use candle_core::{Device, Shape, Tensor, Var};

/// Returns numbers in -scale / 2..scale / 2, stored as E.
fn elements<E: Element>(length: usize, seed: u64, scale: f32) -> Vec<E> {
    numbers(length, seed).iter().map(|number| E::from_f32(number * scale)).collect()
}

fn single<E: Element>(values: &[E]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

fn double<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

fn constant<E: Element>(values: &[E], shape: impl Into<Shape>) -> Tensor {
    Tensor::from_vec(double(values), shape, &Device::Cpu).unwrap()
}

fn variable<E: Element>(values: &[E], shape: impl Into<Shape>) -> Var {
    Var::from_tensor(&constant(values, shape)).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns the gradients of Σ upstream · output.
fn backpropagate<E: Element>(output: &Tensor, upstream: &[E]) -> GradStore {
    let product = (output * constant(upstream, output.shape())).unwrap();
    product.sum_all().unwrap().backward().unwrap()
}

fn gradient(gradients: &GradStore, variable: &Var) -> Vec<f64> {
    flat(gradients.get(variable).unwrap())
}

/// Returns Σ upstream · output, summed in f64: the function whose differences are taken.
fn loss<E: Element>(output: &[E], upstream: &[E]) -> f64 {
    double(output).iter().zip(double(upstream)).map(|(output, upstream)| output * upstream).sum()
}

/// Asserts a bound on the norm of the difference, relative to the expected norm: 1e-5 for f32, 1e-2 for bf16, which
/// rounds by up to 2^-8 each time a value is stored.
fn assert_near<E: Element>(values: &[E], expected: &[f64], what: &str) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut double(values).iter().zip(expected).map(|(value, expected)| value - expected));
    let expected = norm(&mut expected.iter().copied());
    let tolerance = if E::BF16 { 1e-2 } else { 1e-5 };
    assert!(difference <= tolerance * expected, "{what}: off by {difference:e}, the norm is {expected:e}");
}

/// Compares five elements of a gradient with central differences of `loss`, within 1e-3 of the largest element.
///
/// With a step of 2^-6 and values near 1, the truncation error and the noise of f32 divided by the step stay near 1e-4.
fn assert_slopes(gradient: &[f32], values: &[f32], what: &str, loss: impl Fn(&[f32]) -> f64) {
    const STEP: f32 = 1.0 / 64.0;
    let largest = gradient.iter().fold(0.0, |largest: f32, gradient| largest.max(gradient.abs()));
    for index in (0..5).map(|part| part * (values.len() - 1) / 4) {
        let moved = |step: f32| {
            let mut moved = values.to_vec();
            moved[index] += step;
            (loss(&moved), f64::from(moved[index]))
        };
        let ((above, high), (below, low)) = (moved(STEP), moved(-STEP));
        let slope = (above - below) / (high - low);
        let difference = (slope - f64::from(gradient[index])).abs();
        let near = difference <= 1e-3 * f64::from(largest);
        assert!(near, "{what}, element {index}: {} where differences give {slope}", gradient[index]);
    }
}

/// Asserts that one thread and three threads give the same bits.
fn assert_threads_agree(run: impl Fn() -> Vec<f32> + Sync) {
    assert_eq!(bits(&with_threads(1, &run)), bits(&with_threads(3, &run)));
}
