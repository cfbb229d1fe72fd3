//! Products by our own kernels, as in `product.cu`: every way to read the operands, odd shapes, added to or not.

use crate::harness::{
    At, Buffer, Count, Geometry, Length, as_bf16, close, launch, numbers, report, rounded, widened,
};
use half::bf16;
use kernels::Element;

/// A matrix of rows x columns, stored with a gap after each row, or as its transpose.
struct Stored {
    values: Vec<f32>,
    by_row: usize,
    by_column: usize,
}

fn stored<E: Element>(rows: usize, columns: usize, turned: bool, seed: u64) -> Stored {
    let (stored_rows, stored_columns) = if turned { (columns, rows) } else { (rows, columns) };
    let stride = stored_columns + 3;
    let values = widened(&rounded::<E>(&numbers((stored_rows - 1) * stride + stored_columns, seed)));
    let (by_row, by_column) = if turned { (1, stride) } else { (stride, 1) };
    Stored { values, by_row, by_column }
}

fn expected(a: &Stored, b: &Stored, [m, n, k]: [usize; 3], before: &[f32]) -> Vec<f32> {
    (0..m * n)
        .map(|index| {
            let (row, column) = (index / n, index % n);
            let term = |t: usize| {
                let x = a.values[row * a.by_row + t * a.by_column];
                f64::from(x) * f64::from(b.values[t * b.by_row + column * b.by_column])
            };
            (f64::from(before[index]) + (0..k).map(term).sum::<f64>()) as f32
        })
        .collect()
}

fn product<E: Element>(
    kernel: &str,
    shape: [usize; 3],
    turned: [bool; 2],
    adds: bool,
    is_narrow: bool,
) -> f32 {
    let [m, n, k] = shape;
    let (a, b) = (stored::<E>(m, k, turned[0], 1), stored::<E>(k, n, turned[1], 2));
    let before = if adds { numbers(m * n, 3) } else { vec![0.0; m * n] };
    let operand = |values: &[f32]| Buffer::of(&rounded::<E>(values));
    let (left, right) = (operand(&a.values), operand(&b.values));
    // Rows of the result are apart, too; what is not added to may be NaN, and what is between them stays so.
    let out_row = n + 5;
    let padded: Vec<f32> = before.chunks_exact(n).flat_map(|row| [row, &[f32::NAN; 5]].concat()).collect();
    let out = match (adds, is_narrow) {
        (true, _) => Buffer::of(&padded),
        (false, true) => Buffer::empty::<bf16>(m * out_row),
        (false, false) => Buffer::empty::<f32>(m * out_row),
    };
    let geometry =
        Geometry { grid: [n.div_ceil(64), m.div_ceil(64)], block: [256, 1], shared: 2 * 16 * 68 * 4 };
    let lengths = [out_row, a.by_row, a.by_column, b.by_row, b.by_column].map(Length);
    let counts = [m, n, k, usize::from(adds)].map(Count);
    let arguments = [vec![At(&out), At(&left), At(&right)], lengths.to_vec(), counts.to_vec()].concat();
    launch(kernel, geometry, &arguments);
    let written = if is_narrow { widened(&out.read::<bf16>()) } else { out.read::<f32>() };
    assert!(written.chunks_exact(out_row).all(|row| row[n..].iter().all(|value| value.is_nan())));
    let actual: Vec<f32> = written.chunks_exact(out_row).flat_map(|row| row[..n].to_vec()).collect();
    let expected = expected(&a, &b, shape, &before);
    let (expected, limit) = match is_narrow {
        true => (widened(&as_bf16(&expected)), 1e-2),
        false => (expected, 1e-5),
    };
    close(&format!("{kernel} {shape:?} {turned:?}"), &actual, &expected, limit)
}

#[test]
fn products_are_exact_in_every_way_to_read_them() {
    let shapes = [[1, 1, 1], [65, 3, 17], [64, 64, 16], [70, 130, 33]];
    let mut errors = [vec![], vec![], vec![]];
    for shape in shapes {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            errors[0].push(product::<f32>("product_f32", shape, turned, true, false));
            errors[1].push(product::<bf16>("product_bf16", shape, turned, false, true));
            errors[2].push(product::<bf16>("product_bf16_f32", shape, turned, true, false));
            errors[2].push(product::<bf16>("product_bf16_f32", shape, turned, false, false));
        }
    }
    for (kernel, errors) in ["product_f32", "product_bf16", "product_bf16_f32"].iter().zip(&errors) {
        report(kernel, errors);
    }
}
