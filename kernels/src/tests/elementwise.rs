//! exp, norm, gate, residual and rotary positions against f64.

use super::{assert_close, bits, numbers};
use crate::elementwise::{exp, rms_norm_on};
use crate::simd::{LANES, Simd, on_path};
use crate::{Path, RopeTable, add, available_paths, rope};

#[inline(always)]
fn exp_chunks<S: Simd>(simd: S, x: &mut [f32]) {
    for chunk in x.as_chunks_mut::<LANES>().0 {
        let value = exp(simd, simd.load(chunk));
        simd.store(chunk, value);
    }
}

fn exp_on(path: Path, x: &[f32]) -> Vec<f32> {
    let mut out = x.to_vec();
    let x = out.as_mut_slice();
    on_path!(path, exp_chunks(x: &mut [f32]));
    out
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let count = 1 << 20;
    let x: Vec<f32> = (0..count).map(|i| -87.0 * (i as f32 / (count - 1) as f32)).collect();
    let portable = exp_on(Path::Portable, &x);
    for path in available_paths() {
        assert_eq!(bits(&exp_on(path, &x)), bits(&portable), "{path:?}");
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
fn exp_ends_where_f32_does() {
    let mut x = [-87.4; LANES];
    x[..6].copy_from_slice(&[0.0, -0.0, f32::NEG_INFINITY, -1e30, f32::MIN, f32::NAN]);
    for path in available_paths() {
        let out = exp_on(path, &x);
        assert_eq!(out[..5], [1.0, 1.0, 0.0, 0.0, 0.0], "{path:?}");
        assert!(out[5].is_nan(), "{path:?}");
        assert_eq!(out[6..], [0.0; LANES - 6], "{path:?}");
    }
}

#[test]
fn rms_norm_is_near_f64_on_every_path() {
    for channels in [1, 15, 16, 37, 576] {
        let (x, weight) = (numbers(3 * channels, 1), numbers(channels, 2));
        let run = |path, x: &[f32]| {
            let mut out = vec![f32::NAN; x.len()];
            rms_norm_on(path, &mut out, x, &weight, 1e-5);
            out
        };
        let out = run(Path::Portable, &x);
        for path in available_paths() {
            assert_eq!(bits(&run(path, &x)), bits(&out), "{path:?} C={channels}");
        }
        for (x, out) in x.chunks(channels).zip(out.chunks(channels)) {
            assert_eq!(bits(&run(crate::path(), x)), bits(out), "a row alone");
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
    assert_eq!(rotated[..heads * head_dim], x[..heads * head_dim], "position 0 is no rotation");
    for (index, (x, rotated)) in x.chunks(head_dim).zip(rotated.chunks(head_dim)).enumerate() {
        let position = positions[index / heads] as f64;
        for i in 0..head_dim / 2 {
            let angle = position / f64::from(theta).powf(2.0 * i as f64 / head_dim as f64);
            let (a, b) = (f64::from(x[i]), f64::from(x[i + head_dim / 2]));
            let (cos, sin) = (angle.cos(), angle.sin());
            // The angle itself is f32: at position 2047 it is off by up to 2047 * 2^-23.
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
