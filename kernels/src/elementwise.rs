//! Inference operations between the matrix products: RMS norm, residual addition, SiLU, GELU, and the exponential that
//! these and softmax share. The exponential is a polynomial of our own so that every instruction set gives the same bits.

use crate::isa::{Isa, isa, on_isa};
use crate::simd::{LANES, Simd};

/// RMS norm of each row of x (B, C): out = weight * x / sqrt(mean(x²) + epsilon), weight (C).
///
/// # Panics
/// If `weight` is empty, `x` is not whole rows, or the length of `out` differs from that of `x`.
pub fn rms_norm(out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    rms_norm_on(isa(), out, x, weight, epsilon);
}

pub(crate) fn rms_norm_on(isa: Isa, out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    assert!(!weight.is_empty(), "rms_norm: weight is empty; give one weight per channel");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "rms_norm: the length of x ({}) is not a multiple of the length of weight ({})",
        x.len(),
        weight.len()
    );
    assert_eq!(out.len(), x.len(), "rms_norm: out and x must have the same length");
    on_isa!(isa, rms_norm_rows(out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32));
}

/// Adds y to x in place: the residual connection.
///
/// # Panics
/// If the lengths differ.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "add: x and y must have the same length");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// SwiGLU on its own: out (F) = silu(gate) * up of numbers that alternate, sixteen of gate, sixteen of up (2 F). The same
/// bits as [`Epilogue::Gate`](crate::Epilogue::Gate), for products to which something is added before the gate.
///
/// # Panics
/// If `gate_up` is not twice as long as `out`, or `out` is not whole vectors of sixteen.
pub fn swiglu_alternating(out: &mut [f32], gate_up: &[f32]) {
    silu_gate_on(isa(), out, gate_up);
}

/// As [`swiglu_alternating`], with the tanh form of GELU: the same bits as
/// [`Epilogue::GeluGate`](crate::Epilogue::GeluGate).
///
/// # Panics
/// As [`swiglu_alternating`].
pub fn geglu_alternating(out: &mut [f32], gate_up: &[f32]) {
    gelu_gate_on(isa(), out, gate_up);
}

pub(crate) fn silu_gate_on(isa: Isa, out: &mut [f32], gate_up: &[f32]) {
    check_alternating(out, gate_up);
    on_isa!(isa, silu_gate(out: &mut [f32], gate_up: &[f32]));
}

pub(crate) fn gelu_gate_on(isa: Isa, out: &mut [f32], gate_up: &[f32]) {
    check_alternating(out, gate_up);
    on_isa!(isa, gelu_gate(out: &mut [f32], gate_up: &[f32]));
}

fn check_alternating(out: &[f32], gate_up: &[f32]) {
    assert!(
        out.len().is_multiple_of(LANES) && gate_up.len() == 2 * out.len(),
        "gate: {} numbers of gate and up for {} outputs; expected twice as many, in whole vectors",
        gate_up.len(),
        out.len()
    );
}

#[inline(always)]
fn silu_gate<S: Simd>(simd: S, out: &mut [f32], gate_up: &[f32]) {
    for (out, pair) in
        out.as_chunks_mut::<LANES>().0.iter_mut().zip(gate_up.as_chunks::<LANES>().0.chunks_exact(2))
    {
        simd.store(out, simd.multiply(silu(simd, simd.load(&pair[0])), simd.load(&pair[1])));
    }
}

#[inline(always)]
fn gelu_gate<S: Simd>(simd: S, out: &mut [f32], gate_up: &[f32]) {
    for (out, pair) in
        out.as_chunks_mut::<LANES>().0.iter_mut().zip(gate_up.as_chunks::<LANES>().0.chunks_exact(2))
    {
        simd.store(out, simd.multiply(gelu(simd, simd.load(&pair[0])), simd.load(&pair[1])));
    }
}

#[inline(always)]
fn rms_norm_rows<S: Simd>(simd: S, out: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    let channels = weight.len();
    for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        let scale = 1.0 / (sum_of_squares(simd, x) / channels as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = weight * (x * scale);
        }
    }
}

/// The sum of squares, in the crate's summation order.
#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut sum = simd.splat(0.0);
    for chunk in chunks {
        let values = simd.load(chunk);
        sum = simd.multiply_add(values, values, sum);
    }
    if !tail.is_empty() {
        let values = simd.load_tail(tail);
        sum = simd.multiply_add(values, values, sum);
    }
    simd.sum(sum)
}

/// SiLU: x * sigmoid(x). The sigmoid is 1/(1+e) for x >= 0 and e/(1+e) below, with e = exp(-|x|), which cannot
/// overflow.
#[inline(always)]
pub(crate) fn silu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    simd.multiply(x, sigmoid(simd, x))
}

/// GELU in its tanh form, x / 2 * (1 + tanh(y)) with y = sqrt(2 / pi) * (x + 0.044715 x³), which is x * sigmoid(2 y).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    /// 2 sqrt(2 / pi).
    const SLOPE: f32 = 1.595_769;
    let cubic = simd.multiply(simd.multiply(x, x), simd.splat(0.044_715));
    let y = simd.multiply(simd.multiply_add(cubic, x, x), simd.splat(SLOPE));
    simd.multiply(x, sigmoid(simd, y))
}

#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let e = exp(simd, simd.select_less(x, zero, x, simd.subtract(zero, x)));
    let numerator = simd.select_less(x, zero, e, one);
    simd.divide(numerator, simd.add(one, e))
}

/// e^x for x <= 0, within 2 units in the last place; 0 below -87.33, where e^x is no longer a normal f32.
///
/// x = n ln 2 + r with an integer n and |r| <= ln 2 / 2, so e^x = 2^n e^r. e^r is its Taylor series up to r^7; the
/// remainder (below 6e-9) is far below half a unit in the last place.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    /// 1.5 * 2^23. Adding it leaves no bits for a fraction, so the sum is rounded to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    /// ln(f32::MIN_POSITIVE), rounded up.
    const LOWEST: f32 = -87.336_54;
    /// ln 2 in two parts. The first has so few bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    const TAYLOR: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0];
    let round = simd.splat(ROUND);
    let scaled = simd.multiply_add(x, simd.splat(std::f32::consts::LOG2_E), round);
    let n = simd.subtract(scaled, round);
    let r = simd.multiply_add(n, simd.splat(-LN_2_HIGH), x);
    let r = simd.multiply_add(n, simd.splat(-LN_2_LOW), r);
    let mut series = simd.splat(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        series = simd.multiply_add(series, r, simd.splat(*coefficient));
    }
    let value = simd.multiply(series, simd.power_of_two(n));
    simd.select_less(x, simd.splat(LOWEST), simd.splat(0.0), value)
}
