//! matmul on shapes that are multiples of nothing.

use super::{assert_close, bits, numbers, with_threads};
use crate::matmul::matmul_on;
use crate::{Path, available_paths};

fn product(path: Path, x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / inputs * outputs];
    matmul_on(path, &mut out, x, w, inputs, outputs);
    out
}

/// The order of the invariant, written down directly.
fn dot_in_order(x: &[f32], w: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for start in (0..x.len()).step_by(16) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            let at = |row: &[f32]| row.get(start + lane).copied().unwrap_or(0.0);
            *sum = at(x).mul_add(at(w), *sum);
        }
    }
    let eight: [f32; 8] = std::array::from_fn(|l| lanes[l] + lanes[l + 8]);
    let four: [f32; 4] = std::array::from_fn(|l| eight[l] + eight[l + 4]);
    let two: [f32; 2] = std::array::from_fn(|l| four[l] + four[l + 2]);
    two[0] + two[1]
}

#[test]
fn every_path_sums_in_the_stated_order() {
    for inputs in [1, 7, 16, 17, 63, 576] {
        for outputs in [1, 2, 3, 4, 5, 6, 7, 8, 9, 49] {
            for batch in 1..=13 {
                let x = numbers(batch * inputs, 1);
                let w = numbers(outputs * inputs, 2);
                let expected: Vec<f32> = x
                    .chunks(inputs)
                    .flat_map(|x| w.chunks(inputs).map(move |w| dot_in_order(x, w)))
                    .collect();
                for path in available_paths() {
                    let out = product(path, &x, &w, inputs, outputs);
                    let shape = format!("{path:?} B={batch} I={inputs} O={outputs}");
                    assert_eq!(bits(&out), bits(&expected), "{shape}");
                }
            }
        }
    }
}

#[test]
fn a_product_is_near_the_f64_product() {
    let (batch, inputs, outputs) = (7, 577, 211);
    let (x, w) = (numbers(batch * inputs, 3), numbers(outputs * inputs, 4));
    let out = product(crate::path(), &x, &w, inputs, outputs);
    for (index, &value) in out.iter().enumerate() {
        let x = &x[index / outputs * inputs..][..inputs];
        let w = &w[index % outputs * inputs..][..inputs];
        let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
        let scale = terms.clone().map(f64::abs).sum();
        assert_close(value, terms.sum(), scale, "matmul");
    }
}

#[test]
fn a_row_alone_equals_the_row_in_a_batch() {
    let (batch, inputs, outputs) = (13, 576, 1000);
    let (x, w) = (numbers(batch * inputs, 5), numbers(outputs * inputs, 6));
    let together = product(crate::path(), &x, &w, inputs, outputs);
    for (row, expected) in x.chunks(inputs).zip(together.chunks(outputs)) {
        let alone = product(crate::path(), row, &w, inputs, outputs);
        assert_eq!(bits(&alone), bits(expected));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let (inputs, outputs) = (576, 1531);
    for batch in [1, 31] {
        let (x, w) = (numbers(batch * inputs, 7), numbers(outputs * inputs, 8));
        let run = || product(crate::path(), &x, &w, inputs, outputs);
        let one = with_threads(1, run);
        for threads in [2, 5] {
            assert_eq!(bits(&with_threads(threads, run)), bits(&one), "{threads} threads");
        }
    }
}

#[test]
fn no_rows_give_no_rows() {
    assert_eq!(product(crate::path(), &[], &numbers(6, 9), 3, 2), Vec::<f32>::new());
}

#[test]
#[should_panic(expected = "matmul: w must be outputs x inputs")]
fn a_wrong_length_is_named() {
    product(crate::path(), &numbers(3, 1), &numbers(5, 2), 3, 2);
}
