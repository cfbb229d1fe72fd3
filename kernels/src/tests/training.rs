//! The operations of training, each alone: forward against the formula in f64, backward against candle's
//! autograd of that formula, and backward against central differences of the forward itself.
//!
//! Autograd finds a gradient that is a little wrong everywhere, differences find one that belongs to another
//! formula than the forward's. Candle's fused operations have no backward, so the formulas are spelled out.

mod adamw;
mod attention;
mod cross_entropy;
mod embedding;
mod norm;
mod rotary;
mod swiglu;

use super::{bits, numbers, with_threads};
use crate::element::Element;
use candle_core::backprop::GradStore;
use candle_core::{Device, Shape, Tensor, Var};

/// Numbers in -scale / 2..scale / 2 as E stores them.
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

/// The gradients of Σ upstream · output.
fn pull_back<E: Element>(output: &Tensor, upstream: &[E]) -> GradStore {
    let product = (output * constant(upstream, output.shape())).unwrap();
    product.sum_all().unwrap().backward().unwrap()
}

fn gradient(gradients: &GradStore, of: &Var) -> Vec<f64> {
    flat(gradients.get(of).unwrap())
}

/// Σ upstream · output, summed in f64: what differences are taken of.
fn loss<E: Element>(output: &[E], upstream: &[E]) -> f64 {
    double(output).iter().zip(double(upstream)).map(|(output, upstream)| output * upstream).sum()
}

/// The norm of the difference, relative to the norm expected: 1e-5 for f32. bf16 rounds by up to 2^-8 where
/// a value is stored, and an operation stores a few on its way: 1e-2.
fn assert_near<E: Element>(values: &[E], expected: &[f64], what: &str) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut double(values).iter().zip(expected).map(|(value, expected)| value - expected));
    let expected = norm(&mut expected.iter().copied());
    let tolerance = if E::BF16 { 1e-2 } else { 1e-5 };
    assert!(difference <= tolerance * expected, "{what}: off by {difference:e}, the norm is {expected:e}");
}

/// Five elements of a gradient against central differences of `loss`, within 1e-3 of the largest.
///
/// A step of 2^-6 against values near 1: what it leaves out, and f32's noise divided by it, stay near 1e-4.
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

/// One thread and three give the same bits.
fn assert_threads_agree(run: impl Fn() -> Vec<f32> + Sync) {
    assert_eq!(bits(&with_threads(1, &run)), bits(&with_threads(3, &run)));
}
