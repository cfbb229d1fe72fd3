//! Device memory: a buffer owns it, `In` and `Out` point into it. They carry their lengths, which every launch checks
//! against its shapes, and their lifetimes, so that nothing is read while it is written.

use super::card::Memory;
use std::marker::PhantomData;
use std::ops::Range;

/// Numbers on the device.
#[derive(Debug)]
pub struct Buffer<T> {
    address: u64,
    len: usize,
    /// Frees the memory when it goes.
    _memory: Memory,
    _of: PhantomData<T>,
}

/// Numbers that a kernel reads.
#[derive(Debug)]
pub struct In<'a, T> {
    address: u64,
    len: usize,
    _of: PhantomData<&'a [T]>,
}

/// Numbers that a kernel writes.
#[derive(Debug)]
pub struct Out<'a, T> {
    address: u64,
    len: usize,
    _of: PhantomData<&'a mut [T]>,
}

impl<T> Clone for In<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<'_, T> {}

impl<T> Buffer<T> {
    pub(super) fn new(memory: Memory, address: u64, len: usize) -> Self {
        Self { address, len, _memory: memory, _of: PhantomData }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, to be read.
    pub fn read(&self) -> In<'_, T> {
        In { address: self.address, len: self.len, _of: PhantomData }
    }

    /// All of it, to be written.
    pub fn write(&mut self) -> Out<'_, T> {
        Out { address: self.address, len: self.len, _of: PhantomData }
    }

    /// The first numbers, to be read: buffers are planned for the largest batch.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn first(&self, len: usize) -> In<'_, T> {
        self.read().range(0..len)
    }

    /// The first numbers, to be written.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn first_mut(&mut self, len: usize) -> Out<'_, T> {
        self.write().range(0..len)
    }
}

/// The part of `len` numbers from `address`.
fn part<T>(address: u64, len: usize, range: &Range<usize>) -> (u64, usize) {
    assert!(range.start <= range.end && range.end <= len, "device memory: {range:?} of {len}");
    (address + (range.start * size_of::<T>()) as u64, range.end - range.start)
}

impl<'a, T> In<'a, T> {
    /// A part of it.
    ///
    /// # Panics
    /// If the range is beyond its end.
    #[must_use]
    pub fn range(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, &range);
        Self { address, len, _of: PhantomData }
    }

    /// The same bytes as numbers of another type of that size.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn cast<U>(self) -> In<'a, U> {
        assert_eq!(size_of::<T>(), size_of::<U>(), "device memory: a cast changes no size");
        In { address: self.address, len: self.len, _of: PhantomData }
    }

    /// The same bytes as twice as many numbers of half the size: f32 logits that have become a bf16 gradient.
    ///
    /// # Panics
    /// If the sizes are not so.
    pub fn halves<U>(self) -> In<'a, U> {
        assert_eq!(size_of::<T>(), 2 * size_of::<U>(), "device memory: halves");
        In { address: self.address, len: 2 * self.len, _of: PhantomData }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they are.
    pub fn address(&self) -> u64 {
        self.address
    }
}

impl<'a, T> Out<'a, T> {
    /// A part of it.
    ///
    /// # Panics
    /// If the range is beyond its end.
    #[must_use]
    pub fn range(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, &range);
        Self { address, len, _of: PhantomData }
    }

    /// The same bytes as numbers of another type of that size.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn cast<U>(self) -> Out<'a, U> {
        assert_eq!(size_of::<T>(), size_of::<U>(), "device memory: a cast changes no size");
        Out { address: self.address, len: self.len, _of: PhantomData }
    }

    /// The first `len` numbers and the others.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn split(self, len: usize) -> (Self, Self) {
        let (first, _) = part::<T>(self.address, self.len, &(0..len));
        let (second, rest) = part::<T>(self.address, self.len, &(len..self.len));
        let out = |address, len| Self { address, len, _of: PhantomData };
        (out(first, len), out(second, rest))
    }

    /// For one launch, so that it can be written again after it.
    pub fn again(&mut self) -> Out<'_, T> {
        Out { address: self.address, len: self.len, _of: PhantomData }
    }

    /// What was written, to be read.
    pub fn read(&self) -> In<'_, T> {
        In { address: self.address, len: self.len, _of: PhantomData }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they are.
    pub fn address(&self) -> u64 {
        self.address
    }
}
