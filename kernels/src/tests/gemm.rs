//! Matrix products of odd shapes, in every layout and element type, each element against f64.
//!
//! The tolerance is a bound on rounding. The sum of an element rounds once per step of k, and once for every block of k
//! that is added to the result: an error of at most (K + blocks + 1) 2^-24 times the sum of the absolute values of the
//! terms. A bf16 result rounds once more, by 2^-8 of its value. The products are exact: bf16 operands are rounded
//! before, in the reference too.

use super::{bits, cases, numbers, with_threads};
use crate::element::Element;
use crate::gemm::{Accumulate, Matrix, gemm};
use half::bf16;

/// M, K, N: odd shapes, multiples of 64, and shapes larger than a block (96 rows, 256 or for bf16 512 steps, 3,072
/// columns).
const SHAPES: [[usize; 3]; 11] = [
    [1, 1, 1],
    [1, 17, 3],
    [9, 1, 70],
    [7, 13, 5],
    [64, 64, 64],
    [97, 131, 65],
    [200, 9, 17],
    [5, 257, 33],
    [6, 1101, 31],
    [7, 5, 3075],
    [13, 2, 1],
];

/// An operand in memory: its rows or those of its transpose, padded with NaN.
struct Operand<E> {
    data: Vec<E>,
    rows: usize,
    columns: usize,
    padding: usize,
    transposed: bool,
}

impl<E: Element> Operand<E> {
    fn new(values: &[f32], rows: usize, columns: usize, padding: usize, transposed: bool) -> Self {
        let (outer, inner) = if transposed { (columns, rows) } else { (rows, columns) };
        let mut data = vec![E::from_f32(f32::NAN); outer * (inner + padding)];
        for row in 0..rows {
            for column in 0..columns {
                let (i, j) = if transposed { (column, row) } else { (row, column) };
                data[i * (inner + padding) + j] = E::from_f32(values[row * columns + column]);
            }
        }
        Self { data, rows, columns, padding, transposed }
    }

    fn matrix(&self) -> Matrix<'_, E> {
        let Self { data, rows, columns, padding, transposed } = self;
        if *transposed {
            Matrix::strided(data, *columns, *rows, rows + padding).transposed()
        } else {
            Matrix::strided(data, *rows, *columns, columns + padding)
        }
    }
}

/// The operands of a product of type P, from values stored as E.
fn operands<P: Element, E: Element>(values: &[f32]) -> Vec<f64> {
    let stored = values.iter().map(|value| E::from_f32(*value).to_f32());
    stored.map(|value| f64::from(P::from_f32(value).to_f32())).collect()
}

/// Returns A B and |A| |B|; rounding is relative to the latter.
fn reference(a: &[f64], b: &[f64], [rows, depth, columns]: [usize; 3]) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; rows * columns];
    let mut sizes = vec![0.0; rows * columns];
    for row in 0..rows {
        let (sums, sizes) = (&mut sums[row * columns..][..columns], &mut sizes[row * columns..][..columns]);
        for k in 0..depth {
            let a = a[row * depth + k];
            for ((sum, size), b) in sums.iter_mut().zip(sizes.iter_mut()).zip(&b[k * columns..]) {
                *sum += a * b;
                *size += (a * b).abs();
            }
        }
    }
    (sums, sizes)
}

fn assert_within_rounding<C: Element>(c: &[C], sums: &[f64], sizes: &[f64], depth: usize, what: &str) {
    let roundings = (depth + depth.div_ceil(256) + 1) as f64 * 2f64.powi(-24);
    let narrowing = if C::BF16 { 2f64.powi(-8) } else { 0.0 };
    for (index, (value, (sum, size))) in c.iter().zip(sums.iter().zip(sizes)).enumerate() {
        let value = f64::from(value.to_f32());
        let allowed = roundings * size + narrowing * (sum.abs() + roundings * size);
        // A NaN must fail too.
        let near = (value - sum).abs() <= allowed;
        assert!(near, "{what}, element {index}: {value} where f64 gives {sum}, {allowed} allowed");
    }
}

/// Checks every layout of both operands; replaces the result and adds to it.
fn check<P: Element, A: Element, B: Element, C: Element>(shape: [usize; 3]) {
    let [rows, depth, columns] = shape;
    let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
    let (sums, sizes) = reference(&operands::<P, A>(&a), &operands::<P, B>(&b), shape);
    let before = numbers(rows * columns, 3);
    let before: Vec<f32> = before.iter().map(|value| C::from_f32(*value).to_f32()).collect();
    let with_before = |values: &[f64], term: fn(f64) -> f64| -> Vec<f64> {
        values.iter().zip(&before).map(|(value, before)| value + term(f64::from(*before))).collect()
    };
    let (more, more_sizes) = (with_before(&sums, |before| before), with_before(&sizes, f64::abs));
    for (layout, padding) in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 2), (2, 3), (3, 1)] {
        let a = Operand::<A>::new(&a, rows, depth, padding, layout & 1 == 1);
        let b = Operand::<B>::new(&b, depth, columns, padding, layout & 2 == 2);
        let what = format!("{shape:?} in layout {layout} padded by {padding}");
        let mut c = vec![C::from_f32(f32::NAN); rows * columns];
        gemm::<P, A, B, C>(&mut c, a.matrix(), b.matrix(), Accumulate::Replace);
        assert_within_rounding(&c, &sums, &sizes, depth, &what);
        let mut c: Vec<C> = before.iter().map(|value| C::from_f32(*value)).collect();
        gemm::<P, A, B, C>(&mut c, a.matrix(), b.matrix(), Accumulate::Add);
        assert_within_rounding(&c, &more, &more_sizes, depth, &format!("{what}, added"));
    }
}

fn check_results<P: Element, A: Element, B: Element>() {
    for shape in cases(&SHAPES, 4) {
        check::<P, A, B, f32>(*shape);
        check::<P, A, B, bf16>(*shape);
    }
}

#[test]
fn f32_products_of_f32() {
    check_results::<f32, f32, f32>();
}

#[test]
fn f32_products_of_bf16() {
    check_results::<f32, bf16, bf16>();
}

#[test]
fn f32_products_of_f32_and_bf16() {
    check_results::<f32, f32, bf16>();
    check_results::<f32, bf16, f32>();
}

#[test]
fn bf16_products_of_f32() {
    check_results::<bf16, f32, f32>();
}

#[test]
fn bf16_products_of_bf16() {
    check_results::<bf16, bf16, bf16>();
}

#[test]
fn bf16_products_of_f32_and_bf16() {
    check_results::<bf16, f32, bf16>();
    check_results::<bf16, bf16, f32>();
}

#[test]
#[cfg_attr(miri, ignore = "hours")]
fn a_shape_larger_than_every_block() {
    let shape = [101, 1029, 3079];
    let [rows, depth, columns] = shape;
    let (a, b) = (numbers(rows * depth, 4), numbers(depth * columns, 5));
    let rounded = |values: &[f32]| values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
    // bf16 represents these values exactly, so one reference serves both kinds of product.
    let (a, b): (Vec<f32>, Vec<f32>) = (rounded(&a), rounded(&b));
    let (sums, sizes) = reference(&operands::<f32, f32>(&a), &operands::<f32, f32>(&b), shape);
    let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
    let mut c = vec![f32::NAN; rows * columns];
    gemm::<f32, _, _, _>(&mut c, a, b, Accumulate::Replace);
    assert_within_rounding(&c, &sums, &sizes, depth, "f32 products");
    gemm::<bf16, _, _, _>(&mut c, a, b, Accumulate::Replace);
    assert_within_rounding(&c, &sums, &sizes, depth, "bf16 products");
}

#[test]
fn an_empty_sum_is_zero() {
    let empty: [f32; 0] = [];
    let (a, b) = (Matrix::new(&empty, 3, 0), Matrix::new(&empty, 0, 5));
    let mut c = [7.0; 15];
    gemm::<f32, _, _, _>(&mut c, a, b, Accumulate::Add);
    assert_eq!(c, [7.0; 15]);
    gemm::<f32, _, _, _>(&mut c, a, b, Accumulate::Replace);
    assert_eq!(c, [0.0; 15]);
}

#[test]
fn an_empty_result_is_left_alone() {
    let (empty, b) = ([0.0f32; 0], numbers(6, 1));
    gemm::<f32, _, _, f32>(&mut [], Matrix::new(&empty, 0, 3), Matrix::new(&b, 3, 2), Accumulate::Replace);
    gemm::<f32, _, _, f32>(&mut [], Matrix::new(&b, 2, 3), Matrix::new(&empty, 3, 0), Accumulate::Replace);
}

fn check_threads<P: Element, C: Element>(accumulate: Accumulate) {
    // Enough work for several threads, a partial last block of rows and a second block of k.
    let (rows, depth, columns) = if cfg!(miri) { (7, 261, 5) } else { (211, 523, 131) };
    let (a, b) = (numbers(rows * depth, 6), numbers(depth * columns, 7));
    let run = || {
        let mut c = vec![C::from_f32(0.25); rows * columns];
        let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
        gemm::<P, _, _, _>(&mut c, a, b, accumulate);
        bits(&c.iter().map(|value| value.to_f32()).collect::<Vec<_>>())
    };
    let one = with_threads(1, run);
    for threads in [2, 3] {
        assert_eq!(with_threads(threads, run), one, "{threads} threads");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    check_threads::<f32, f32>(Accumulate::Replace);
    check_threads::<f32, f32>(Accumulate::Add);
    check_threads::<bf16, f32>(Accumulate::Add);
    check_threads::<bf16, bf16>(Accumulate::Replace);
    check_threads::<bf16, bf16>(Accumulate::Add);
}

#[test]
#[should_panic(expected = "gemm: A has 2 columns, B 3 rows")]
fn shapes_that_do_not_fit_are_named() {
    let (a, b) = (numbers(2, 1), numbers(3, 2));
    gemm::<f32, _, _, _>(&mut [0.0f32], Matrix::new(&a, 1, 2), Matrix::new(&b, 3, 1), Accumulate::Replace);
}
