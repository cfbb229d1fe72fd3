//! The operands and the result of a matrix product, as views of a caller's memory.

/// A matrix in borrowed memory: element (i, j) is at index `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, E> Matrix<'a, E> {
    /// Returns a row-major matrix over the whole slice.
    ///
    /// # Panics
    /// If the length of the slice is not `rows * columns`.
    pub fn new(data: &'a [E], rows: usize, columns: usize) -> Self {
        assert_eq!(
            data.len(),
            rows * columns,
            "Matrix: a slice of {} elements is not {rows} x {columns}",
            data.len()
        );
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Returns the first `columns` columns of a row-major matrix whose rows are `row_stride` long.
    ///
    /// # Panics
    /// If the last row ends beyond the slice.
    pub fn strided(data: &'a [E], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "Matrix: {rows} rows of {columns} with a stride of {row_stride} do not fit in {} elements",
            data.len()
        );
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Returns the transpose, a view of the same memory.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// The memory that a product is written to: row-major, one row every `row_stride` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<E> {
    pub(crate) data: *mut E,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
}

// SAFETY: threads write to disjoint rows or columns of a target.
unsafe impl<E: Send> Send for Target<E> {}
// SAFETY: as above.
unsafe impl<E: Send> Sync for Target<E> {}

impl<E> Target<E> {
    /// Returns a target over a whole row-major slice.
    pub(crate) fn new(data: &mut [E], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "gemm: the length of the result is not {rows} x {columns}");
        Self { data: data.as_mut_ptr(), rows, columns, row_stride: columns }
    }
}

/// Whether a product replaces the result or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// C = A B
    Replace,
    /// C = A B, each element one chain of multiply-adds from 0 in the order of k, without partial sums: the bits of the
    /// engine's products. A forward pass that is to equal serving's takes this one.
    Chain,
    /// C = C + A B. The sum of a bf16 result is rounded once.
    Add,
}
