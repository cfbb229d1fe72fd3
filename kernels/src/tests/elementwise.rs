//! exp, RMS norm, addition and rotary positions against f64.

use super::{assert_close, bits, cases, numbers};
use crate::elementwise::{add, exp, rms_norm_on};
use crate::isa::{Isa, available_isas, isa, on_isa};
use crate::rope::{RopeTable, rope};
use crate::simd::{LANES, Simd};

#[inline(always)]
fn exp_chunks<S: Simd>(simd: S, x: &mut [f32]) {
    for chunk in x.as_chunks_mut::<LANES>().0 {
        let value = exp(simd, simd.load(chunk));
        simd.store(chunk, value);
    }
}

fn exp_on(isa: Isa, x: &[f32]) -> Vec<f32> {
    let mut out = x.to_vec();
    let x = out.as_mut_slice();
    on_isa!(isa, exp_chunks(x: &mut [f32]));
    out
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let count = if cfg!(miri) { 1 << 10 } else { 1 << 20 };
    let x: Vec<f32> = (0..count).map(|i| -87.0 * (i as f32 / (count - 1) as f32)).collect();
    let portable = exp_on(Isa::Portable, &x);
    for isa in available_isas() {
        assert_eq!(bits(&exp_on(isa, &x)), bits(&portable), "{isa:?}");
    }
    for (x, value) in x.iter().zip(portable) {
        let expected = f64::from(*x).exp();
        let nearest = expected as f32;
        let unit = f64::from(nearest.next_up()) - f64::from(nearest);
        let error = (f64::from(value) - expected).abs() / unit;
        assert!(error <= 2.0, "exp({x}) is {value}, {error} units from {expected}");
    }
}

#[test]
fn exp_is_zero_below_the_normal_numbers() {
    let mut x = [-87.4; LANES];
    x[..6].copy_from_slice(&[0.0, -0.0, f32::NEG_INFINITY, -1e30, f32::MIN, f32::NAN]);
    for isa in available_isas() {
        let out = exp_on(isa, &x);
        assert_eq!(out[..5], [1.0, 1.0, 0.0, 0.0, 0.0], "{isa:?}");
        assert!(out[5].is_nan(), "{isa:?}");
        assert_eq!(out[6..], [0.0; LANES - 6], "{isa:?}");
    }
}

#[test]
fn rms_norm_is_near_f64_on_every_instruction_set() {
    for &channels in cases(&[1, 15, 16, 37, 576], 4) {
        let (x, weight) = (numbers(3 * channels, 1), numbers(channels, 2));
        let run = |isa, x: &[f32]| {
            let mut out = vec![f32::NAN; x.len()];
            rms_norm_on(isa, &mut out, x, &weight, 1e-5);
            out
        };
        let out = run(Isa::Portable, &x);
        for isa in available_isas() {
            assert_eq!(bits(&run(isa, &x)), bits(&out), "{isa:?} C={channels}");
        }
        for (x, out) in x.chunks(channels).zip(out.chunks(channels)) {
            assert_eq!(bits(&run(isa(), x)), bits(out), "a row alone");
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let scale = 1.0 / (squares / channels as f64 + 1e-5).sqrt();
            for ((&x, &weight), &out) in x.iter().zip(&weight).zip(out) {
                let expected = f64::from(weight) * f64::from(x) * scale;
                assert_close(out, expected, expected.abs(), "rms_norm");
            }
        }
    }
}

#[test]
fn add_adds() {
    let mut x = [1.0, 2.0, 3.0];
    add(&mut x, &[0.5, -2.0, 1e-3]);
    assert_eq!(x, [1.5, 0.0, 3.001]);
}

#[test]
fn rope_rotates_each_pair_by_its_angle() {
    let (heads, head_dim, theta) = (3, 64, 100_000.0);
    let positions = [0, 1, 5, 2047];
    let table = RopeTable::new(2048, head_dim, theta);
    assert_eq!(table.positions(), 2048);
    let x = numbers(positions.len() * heads * head_dim, 5);
    let mut rotated = x.clone();
    rope(&mut rotated, &positions, heads, head_dim, &table);
    assert_eq!(rotated[..heads * head_dim], x[..heads * head_dim], "position 0 does not rotate");
    for (index, (x, rotated)) in x.chunks(head_dim).zip(rotated.chunks(head_dim)).enumerate() {
        let position = positions[index / heads] as f64;
        for i in 0..head_dim / 2 {
            let angle = position / f64::from(theta).powf(2.0 * i as f64 / head_dim as f64);
            let (a, b) = (f64::from(x[i]), f64::from(x[i + head_dim / 2]));
            let (cos, sin) = (angle.cos(), angle.sin());
            // The angle is rounded to f32: at position 2047 its error is up to 2047 * 2^-23.
            let scale = 0.5 * (1.0 + 25.0 * position / 2047.0);
            assert_close(rotated[i], a * cos - b * sin, scale, "rope");
            assert_close(rotated[i + head_dim / 2], b * cos + a * sin, scale, "rope");
        }
    }
}

#[test]
#[should_panic(expected = "rope: position 4 is beyond the table's 4")]
fn a_position_beyond_the_table_is_named() {
    let table = RopeTable::new(4, 2, 10_000.0);
    rope(&mut [0.0; 2], &[4], 1, 2, &table);
}
