//! Device memory. A `Buffer` owns it, `In` and `Out` are views of it: they carry their lengths, which every launch
//! checks against its shapes, and their lifetimes, so that nothing is read while it is written.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that is freed when it is dropped.
pub(super) struct Memory {
    /// Requested bytes.
    pub(super) bytes: u64,
    /// Bytes of all live buffers of the device.
    pub(super) allocated: Arc<AtomicU64>,
    /// What the driver gave.
    pub(super) _owner: Box<dyn Any + Send + Sync>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Elements on the device.
pub(crate) struct Buffer<T> {
    address: u64,
    len: usize,
    /// Frees the memory when it is dropped.
    _memory: Memory,
    _element: PhantomData<T>,
}

/// Elements that a kernel reads.
#[derive(Debug)]
pub(crate) struct In<'a, T> {
    address: u64,
    len: usize,
    _elements: PhantomData<&'a [T]>,
}

/// Elements that a kernel writes.
#[derive(Debug)]
pub(crate) struct Out<'a, T> {
    address: u64,
    len: usize,
    _elements: PhantomData<&'a mut [T]>,
}

impl<T> Clone for In<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<'_, T> {}

impl<T> Buffer<T> {
    pub(super) fn new(memory: Memory, address: u64, len: usize) -> Self {
        Self { address, len, _memory: memory, _element: PhantomData }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns all elements, for reading.
    pub(crate) fn read(&self) -> In<'_, T> {
        In { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns all elements, for writing.
    pub(crate) fn write(&mut self) -> Out<'_, T> {
        Out { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns the first elements, for reading: buffers are allocated for the largest batch.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn first(&self, len: usize) -> In<'_, T> {
        self.read().range(0..len)
    }

    /// Returns the first elements, for writing.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn first_mut(&mut self, len: usize) -> Out<'_, T> {
        self.write().range(0..len)
    }
}

/// Returns address and length of a range of `len` elements from `address` on.
fn part<T>(address: u64, len: usize, range: &Range<usize>) -> (u64, usize) {
    assert!(range.start <= range.end && range.end <= len, "device memory: {range:?} of {len}");
    (address + (range.start * size_of::<T>()) as u64, range.end - range.start)
}

impl<'a, T> In<'a, T> {
    /// Returns a part of the elements.
    ///
    /// # Panics
    /// If the range ends beyond the elements.
    #[must_use]
    pub(crate) fn range(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, &range);
        Self { address, len, _elements: PhantomData }
    }

    /// Returns the same bytes as elements of another type of the same size.
    ///
    /// # Panics
    /// If the sizes differ.
    pub(crate) fn cast<U>(self) -> In<'a, U> {
        assert_eq!(size_of::<T>(), size_of::<U>(), "device memory: a cast keeps the size");
        In { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns the same bytes as twice as many elements of half the size: f32 logits that were replaced by their bf16
    /// gradient.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub(crate) fn reinterpret<U>(self) -> In<'a, U> {
        assert_eq!(size_of::<T>(), 2 * size_of::<U>(), "device memory: elements of half the size");
        In { address: self.address, len: 2 * self.len, _elements: PhantomData }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

impl<'a, T> Out<'a, T> {
    /// Returns a part of the elements.
    ///
    /// # Panics
    /// If the range ends beyond the elements.
    #[must_use]
    pub(crate) fn range(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, &range);
        Self { address, len, _elements: PhantomData }
    }

    /// Returns the same bytes as elements of another type of the same size.
    ///
    /// # Panics
    /// If the sizes differ.
    pub(crate) fn cast<U>(self) -> Out<'a, U> {
        assert_eq!(size_of::<T>(), size_of::<U>(), "device memory: a cast keeps the size");
        Out { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns the first `len` elements and the others.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn split(self, len: usize) -> (Self, Self) {
        let (first, _) = part::<T>(self.address, self.len, &(0..len));
        let (second, rest) = part::<T>(self.address, self.len, &(len..self.len));
        let out = |address, len| Self { address, len, _elements: PhantomData };
        (out(first, len), out(second, rest))
    }

    /// Returns the same elements for one launch, after which this one can be used again.
    pub(crate) fn reborrow(&mut self) -> Out<'_, T> {
        Out { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns what was written, for reading.
    pub(crate) fn read(&self) -> In<'_, T> {
        In { address: self.address, len: self.len, _elements: PhantomData }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}
