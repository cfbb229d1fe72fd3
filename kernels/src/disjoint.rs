//! Mutable memory that parallel tasks share, each with its own part.

use std::marker::PhantomData;

/// A slice whose disjoint parts are written by different tasks.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<'a, T> Disjoint<'a, T> {
    /// Makes the parts of a slice accessible to tasks.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// Returns the part of `length` elements that begins at `start`.
    ///
    /// # Safety
    /// The part must be within the slice, and no other task may use an element of it.
    #[allow(clippy::mut_from_ref, reason = "the parts are disjoint, as the caller guarantees")]
    pub(crate) unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        debug_assert!(start + length <= self.length, "a part ends beyond the slice");
        // SAFETY: the caller guarantees it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

// SAFETY: tasks use disjoint parts, as `part` requires.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
