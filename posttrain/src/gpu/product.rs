//! Row-major products as cuBLAS is asked for them: it reads columns first, and so sees every matrix transposed.
//! C = A B over rows is Cᵀ = Bᵀ Aᵀ over columns: the operands change places, and what is asked for is never moved.

/// A matrix of numbers that lie row by row, read as it lies or as its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows as it is read.
    pub rows: usize,
    /// Columns as it is read.
    pub columns: usize,
    /// Numbers from one stored row to the next.
    pub stride: usize,
    /// Whether the stored rows are what is read as columns.
    pub transposed: bool,
}

impl Layout {
    /// rows x columns without gaps.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { rows, columns, stride: columns, transposed: false }
    }

    /// The same numbers read as the transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Numbers from the first to the last.
    pub fn extent(&self) -> usize {
        let (rows, columns) =
            if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) };
        if rows == 0 { 0 } else { (rows - 1) * self.stride + columns }
    }
}

/// What cuBLAS is told: its `m`, `n`, `k`, and for its first and second operand whether to transpose it and how far
/// its columns are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Rows of what cuBLAS makes: columns of C.
    pub m: i32,
    /// Columns of what cuBLAS makes: rows of C.
    pub n: i32,
    /// Terms of each sum.
    pub k: i32,
    /// Of B, its first operand.
    pub first: (bool, i32),
    /// Of A, its second operand.
    pub second: (bool, i32),
    /// From one row of C to the next.
    pub stride: i32,
}

/// The arguments for C (M, N) = A (M, K) · B (K, N), C without gaps.
///
/// # Panics
/// If the shapes do not fit, or a size is beyond what cuBLAS counts in.
pub fn arguments(a: Layout, b: Layout) -> Arguments {
    assert_eq!(a.columns, b.rows, "product: A has {} columns, B {} rows", a.columns, b.rows);
    let int = |size: usize| i32::try_from(size).expect("cuBLAS counts in 32 bits");
    Arguments {
        m: int(b.columns),
        n: int(a.rows),
        k: int(a.columns),
        first: (b.transposed, int(b.stride)),
        second: (a.transposed, int(a.stride)),
        stride: int(b.columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cublasGemmEx does with its arguments, by its manual: C[i + j ldc] = Σ op(A)[i, l] op(B)[l, j].
    fn as_cublas(arguments: Arguments, first: &[f32], second: &[f32]) -> Vec<f32> {
        let Arguments { m, n, k, first: (t_first, ld_first), second: (t_second, ld_second), stride } =
            arguments;
        let [m, n, k, stride] = [m, n, k, stride].map(|size| size as usize);
        let at = |values: &[f32], transposed: bool, ld: i32, row: usize, column: usize| {
            let (row, column) = if transposed { (column, row) } else { (row, column) };
            assert!(row < ld as usize, "the leading dimension is at least the rows");
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
            let (a_turned, b_turned, gap) = (case & 1 > 0, case & 2 > 0, if case & 4 > 0 { 3 } else { 0 });
            let stored = |rows: usize, columns: usize, turned: bool| {
                let plain = if turned { Layout::new(columns, rows) } else { Layout::new(rows, columns) };
                let padded = Layout { stride: plain.stride + gap, ..plain };
                if turned { padded.transposed() } else { padded }
            };
            let (a, b) = (stored(m, k, a_turned), stored(k, n, b_turned));
            let numbers = |layout: Layout, seed: usize| -> Vec<f32> {
                (0..layout.extent()).map(|i| ((i * 37 + seed) % 19) as f32 - 9.0).collect()
            };
            let (x, y) = (numbers(a, 3), numbers(b, 8));
            let at = |values: &[f32], layout: Layout, row: usize, column: usize| {
                let (row, column) = if layout.transposed { (column, row) } else { (row, column) };
                values[row * layout.stride + column]
            };
            let expected: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|l| at(&x, a, i / n, l) * at(&y, b, l, i % n)).sum()).collect();
            assert_eq!(as_cublas(arguments(a, b), &y, &x), expected, "case {case}");
        }
    }
}
