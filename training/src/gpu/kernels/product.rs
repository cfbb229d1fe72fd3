//! Matrix products by our own kernels, where cuBLAS is not there.

use super::launch::{check_lengths, count, kernel};
use crate::gpu::buffer::{In, Out};
use crate::gpu::device::Gpu;
use crate::gpu::driver::Geometry;
use crate::gpu::matrix::Matrix;
use crate::gpu::product::Layout;
use ::kernels::{Accumulate, Element};
use anyhow::Result;
use half::bf16;

/// Rows and columns of a block's part of the result.
const SIDE: usize = 64;
/// Terms of a step.
const STEP: usize = 16;

/// Defines the kernel for one combination of data types.
macro_rules! product_kernel {
    ($(#[$meta:meta])* $name:literal $kernel:ident, $element:ty, $result:ty) => {
        kernel! {
            $(#[$meta])*
            $name $kernel {
                out: Out<'a, $result>,
                a: In<'a, $element>,
                b: In<'a, $element>,
                out_row: u64,
                a_row: u64,
                a_column: u64,
                b_row: u64,
                b_column: u64,
                m: u32,
                n: u32,
                k: u32,
                adds: u32,
            }
        }

        impl $kernel<'_> {
            fn geometry(&self) -> Geometry {
                let [m, n, k] = [self.m, self.n, self.k].map(|size| size as usize);
                let last = |rows: usize, columns: usize, by_row: u64, by_column: u64| {
                    (rows - 1) * by_row as usize + (columns - 1) * by_column as usize
                };
                check_lengths!(
                    "product",
                    last(m, n, self.out_row, 1) < self.out.len(),
                    last(m, k, self.a_row, self.a_column) < self.a.len(),
                    last(k, n, self.b_row, self.b_column) < self.b.len(),
                );
                let blocks = |size: usize| count(size.div_ceil(SIDE));
                let shared = 2 * STEP * (SIDE + 4) * size_of::<f32>();
                Geometry { grid: [blocks(n), blocks(m), 1], block: [256, 1, 1], shared: count(shared) }
            }
        }
    };
}

product_kernel! {
    /// out (M, N) = a (M, K) · b (K, N), or is added to; an element's place is row · `_row` + column · `_column`, which is
    /// 1 in out.
    "product_f32" ProductF32, f32, f32
}
product_kernel! {
    /// As `ProductF32`, in bf16.
    "product_bf16" ProductBf16, bf16, bf16
}
product_kernel! {
    /// As `ProductF32`, of bf16 to f32.
    "product_bf16_f32" ProductBf16F32, bf16, f32
}

/// out (M, N), rows `stride` apart, = a (M, K) · b (K, N), or is added to.
///
/// # Errors
/// The driver's.
///
/// # Panics
/// If the shapes do not fit, or f32 operands have a bf16 result, which no caller wants.
pub(in crate::gpu) fn product<E: Element, C: Element>(
    gpu: &Gpu,
    out: Out<'_, C>,
    stride: usize,
    a: Matrix<'_, E>,
    b: Matrix<'_, E>,
    accumulate: Accumulate,
) -> Result<()> {
    let (left, right) = (a.layout(), b.layout());
    let ((a_row, a_column), (b_row, b_column)) = (strides(left), strides(right));
    let [m, n, k] = [left.rows, right.columns, left.columns].map(count);
    let (out_row, adds) = (stride as u64, u32::from(accumulate == Accumulate::Add));
    macro_rules! launch {
        ($kernel:ident, $element:ty) => {{
            let (out, a, b) = (out.cast(), a.elements().cast::<$element>(), b.elements().cast::<$element>());
            $kernel { out, a, b, out_row, a_row, a_column, b_row, b_column, m, n, k, adds }.launch(gpu)
        }};
    }
    match (E::BF16, C::BF16) {
        (false, false) => launch!(ProductF32, f32),
        (true, true) => launch!(ProductBf16, bf16),
        (true, false) => launch!(ProductBf16F32, bf16),
        (false, true) => panic!("product: f32 operands have an f32 result"),
    }
}

/// Returns the elements from one row to the next, and from one column to the next.
fn strides(layout: Layout) -> (u64, u64) {
    let stride = layout.stride as u64;
    if layout.transposed { (1, stride) } else { (stride, 1) }
}
