//! Matrices in device memory, as products read them.

use super::buffer::In;
use super::product::Layout;

/// A matrix in device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, E> {
    elements: In<'a, E>,
    layout: Layout,
}

impl<'a, E> Matrix<'a, E> {
    /// Returns a matrix of rows x columns without gaps over all elements.
    ///
    /// # Panics
    /// If their number is another.
    pub(crate) fn new(elements: In<'a, E>, rows: usize, columns: usize) -> Self {
        assert_eq!(elements.len(), rows * columns, "Matrix: {rows} x {columns} over {}", elements.len());
        Self { elements, layout: Layout::new(rows, columns) }
    }

    /// Returns a matrix of rows x columns whose rows are `stride` elements apart.
    ///
    /// # Panics
    /// If the last row does not fit.
    pub(crate) fn strided(elements: In<'a, E>, rows: usize, columns: usize, stride: usize) -> Self {
        let layout = Layout { stride, ..Layout::new(rows, columns) };
        assert!(columns <= stride && layout.extent() <= elements.len(), "Matrix: rows beyond the elements");
        Self { elements, layout }
    }

    /// Returns the transpose of the same memory.
    #[must_use]
    pub(crate) fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }

    pub(super) fn address(&self) -> u64 {
        self.elements.address()
    }

    pub(super) fn elements(&self) -> In<'a, E> {
        self.elements
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }
}
