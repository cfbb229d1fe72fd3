//! The arguments of cuBLAS for row-major products. cuBLAS is column-major and so sees every matrix transposed: C = A B
//! in rows is Cᵀ = Bᵀ Aᵀ in columns, so the operands swap places and nothing is copied.

/// How a matrix is stored, row by row, and whether it is read as stored or as its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Rows as it is read.
    pub(super) rows: usize,
    /// Columns as it is read.
    pub(super) columns: usize,
    /// Elements from one stored row to the next.
    pub(super) stride: usize,
    /// Whether the stored rows are read as columns.
    pub(super) transposed: bool,
}

impl Layout {
    /// Returns the layout of rows x columns without gaps.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        Self { rows, columns, stride: columns, transposed: false }
    }

    /// Returns the same elements, read as the transpose.
    #[must_use]
    pub(super) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Returns the number of elements from the first to the last, gaps included.
    pub(super) fn extent(&self) -> usize {
        let (rows, columns) =
            if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) };
        if rows == 0 { 0 } else { (rows - 1) * self.stride + columns }
    }
}

/// cuBLAS's arguments: its `m`, `n`, `k`, and for each operand whether to transpose it, and its leading dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cuda"),
    allow(dead_code, reason = "the emulation needs the check of the shapes alone")
)]
pub(super) struct Arguments {
    /// Rows of cuBLAS's result: columns of C.
    pub(super) m: i32,
    /// Columns of cuBLAS's result: rows of C.
    pub(super) n: i32,
    /// Terms of each sum.
    pub(super) k: i32,
    /// For B, cuBLAS's first operand.
    pub(super) first: (bool, i32),
    /// For A, cuBLAS's second operand.
    pub(super) second: (bool, i32),
    /// Elements from one row of C to the next.
    pub(super) stride: i32,
}

/// Returns the arguments for C (M, N) = A (M, K) · B (K, N), C's rows `stride` elements apart.
///
/// # Panics
/// If the shapes do not fit, or a size exceeds cuBLAS's 32 bits.
pub(super) fn arguments(a: Layout, b: Layout, stride: usize) -> Arguments {
    assert_eq!(a.columns, b.rows, "product: A has {} columns, B {} rows", a.columns, b.rows);
    assert!(b.columns <= stride, "product: {} columns in rows of {stride}", b.columns);
    let int = |size: usize| i32::try_from(size).expect("cuBLAS counts in 32 bits");
    Arguments {
        m: int(b.columns),
        n: int(a.rows),
        k: int(a.columns),
        first: (b.transposed, int(b.stride)),
        second: (a.transposed, int(a.stride)),
        stride: int(stride),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cublasGemmEx by its manual: C[i + j ldc] = Σ op(A)[i, l] op(B)[l, j].
    fn as_cublas(arguments: Arguments, first: &[f32], second: &[f32]) -> Vec<f32> {
        let Arguments { m, n, k, first: (t_first, ld_first), second: (t_second, ld_second), stride } =
            arguments;
        let [m, n, k, stride] = [m, n, k, stride].map(|size| size as usize);
        let at = |values: &[f32], transposed: bool, ld: i32, row: usize, column: usize| {
            let (row, column) = if transposed { (column, row) } else { (row, column) };
            assert!(row < ld as usize, "the leading dimension is at least the number of rows");
            values[row + column * ld as usize]
        };
        let mut out = vec![0.0; stride * n];
        for column in 0..n {
            for row in 0..m {
                out[row + column * stride] = (0..k)
                    .map(|l| {
                        at(first, t_first, ld_first, row, l) * at(second, t_second, ld_second, l, column)
                    })
                    .sum();
            }
        }
        out
    }

    #[test]
    fn every_way_to_read_the_operands_gives_the_row_major_product() {
        let (m, n, k) = (3, 5, 4);
        for case in 0..8 {
            let (turn_a, turn_b, gap) = (case & 1 > 0, case & 2 > 0, if case & 4 > 0 { 3 } else { 0 });
            let layout = |rows: usize, columns: usize, turn: bool| {
                let plain = if turn { Layout::new(columns, rows) } else { Layout::new(rows, columns) };
                let padded = Layout { stride: plain.stride + gap, ..plain };
                if turn { padded.transposed() } else { padded }
            };
            let (a, b) = (layout(m, k, turn_a), layout(k, n, turn_b));
            let values = |layout: Layout, seed: usize| -> Vec<f32> {
                (0..layout.extent()).map(|i| ((i * 37 + seed) % 19) as f32 - 9.0).collect()
            };
            let (x, y) = (values(a, 3), values(b, 8));
            let at = |values: &[f32], layout: Layout, row: usize, column: usize| {
                let (row, column) = if layout.transposed { (column, row) } else { (row, column) };
                values[row * layout.stride + column]
            };
            let expected: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|l| at(&x, a, i / n, l) * at(&y, b, l, i % n)).sum()).collect();
            assert_eq!(as_cublas(arguments(a, b, n), &y, &x), expected, "case {case}");
            let padded = as_cublas(arguments(a, b, n + 2), &y, &x);
            let rows = padded.chunks(n + 2).flat_map(|row| &row[..n]).copied();
            assert_eq!(rows.collect::<Vec<f32>>(), expected, "case {case}, rows apart");
        }
    }
}
