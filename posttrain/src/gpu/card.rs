//! What computes: memory, copies, launches and products, and nothing else. Behind it is a card, or the kernels'
//! sources run lane by lane on the CPU, so that all code above can be tested where there is no card.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::{Buffer, In, Out};
#[cfg(feature = "cuda")]
use super::cuda::Cuda;
#[cfg(feature = "emulated")]
use super::emulated::Emulated;
use super::product::{self, Layout};
use crate::device::gib;
use anyhow::{Result, bail};
use kernels::{Element, Into};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something to compute on; one stream, so that everything happens in the order it was asked for.
#[derive(Debug)]
pub struct Card {
    backend: Backend,
    name: String,
    /// Bytes that live buffers were asked for, and the most there were.
    allocated: std::sync::Arc<AtomicU64>,
    peak: AtomicU64,
}

#[derive(Debug)]
enum Backend {
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
    #[cfg(feature = "emulated")]
    Emulated(Emulated),
}

/// Runs the same words on whichever backend there is.
macro_rules! on {
    ($card:expr, $backend:ident => $body:expr) => {
        match &$card.backend {
            #[cfg(feature = "cuda")]
            Backend::Cuda($backend) => $body,
            #[cfg(feature = "emulated")]
            Backend::Emulated($backend) => $body,
        }
    };
}

/// Memory that is freed when it goes.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: u64,
    allocated: std::sync::Arc<AtomicU64>,
    _held: Held,
}

/// What a backend gave.
#[derive(Debug)]
pub(super) enum Held {
    #[cfg(feature = "cuda")]
    Cuda { _slice: super::cuda::Slice },
    #[cfg(feature = "emulated")]
    Emulated { _pages: super::emulated::Pages },
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    /// Bytes of shared memory.
    pub(super) shared: u32,
}

/// A matrix on the device.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, E> {
    numbers: In<'a, E>,
    layout: Layout,
}

impl<'a, E> Matrix<'a, E> {
    /// rows x columns without gaps over all of the numbers.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn new(numbers: In<'a, E>, rows: usize, columns: usize) -> Self {
        assert_eq!(numbers.len(), rows * columns, "Matrix: {rows} x {columns} over {}", numbers.len());
        Self { numbers, layout: Layout::new(rows, columns) }
    }

    /// rows x columns, the rows `stride` numbers apart.
    ///
    /// # Panics
    /// If the last row does not fit.
    pub fn strided(numbers: In<'a, E>, rows: usize, columns: usize, stride: usize) -> Self {
        let layout = Layout { stride, ..Layout::new(rows, columns) };
        assert!(columns <= stride && layout.extent() <= numbers.len(), "Matrix: rows beyond the numbers");
        Self { numbers, layout }
    }

    /// The same memory read as its transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }

    pub(super) fn address(&self) -> u64 {
        self.numbers.address()
    }

    #[cfg(feature = "emulated")]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }
}

impl Card {
    fn with(backend: Backend, name: String) -> Self {
        Self { backend, name, allocated: std::sync::Arc::default(), peak: AtomicU64::new(0) }
    }

    /// How many cards this machine has.
    ///
    /// # Errors
    /// What the driver says where there is none.
    #[cfg(feature = "cuda")]
    pub fn count() -> Result<usize> {
        super::cuda::count()
    }

    /// The card of that number, opened once a process.
    ///
    /// # Errors
    /// When there is none; names what the driver says and what to do.
    #[cfg(feature = "cuda")]
    pub fn open(ordinal: usize) -> Result<std::sync::Arc<Self>> {
        use std::collections::BTreeMap;
        use std::sync::{Arc, Mutex, PoisonError};
        static OPEN: Mutex<BTreeMap<usize, Arc<Card>>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = open.get(&ordinal) {
            return Ok(Arc::clone(card));
        }
        let cuda = Cuda::open(ordinal)?;
        let name = cuda.name()?;
        let card = Arc::new(Self::with(Backend::Cuda(cuda), name));
        open.insert(ordinal, Arc::clone(&card));
        Ok(card)
    }

    /// No card: the emulated one is never chosen by itself.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "cuda"))]
    pub fn count() -> Result<usize> {
        Ok(0)
    }

    /// The emulated card, whatever the number.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "cuda"))]
    pub fn open(_: usize) -> Result<std::sync::Arc<Self>> {
        Ok(Self::emulated())
    }

    /// The kernels' sources on the CPU.
    #[cfg(feature = "emulated")]
    pub fn emulated() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::with(Backend::Emulated(Emulated), "emulated".to_owned()))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// When the driver does not say.
    pub fn free(&self) -> Result<u64> {
        on!(self, backend => backend.free())
    }

    /// The most bytes that buffers held at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Numbers that are not set yet. `what` says in an error what they are for.
    ///
    /// # Errors
    /// When they do not fit; names them, their size, what is free and what to change.
    pub fn allocate<T>(&self, what: &str, len: usize) -> Result<Buffer<T>> {
        let bytes = (len * size_of::<T>()).max(1) as u64;
        let given = on!(self, backend => backend.allocate(bytes));
        let Ok((held, address)) = given else {
            let free = self.free().map_or_else(|_| "an unknown part".to_owned(), gib);
            bail!(
                "{} is out of memory: {what} take {} GiB and {free} GiB are free; give a smaller --micro-batch-tokens (or auto), --layer-checkpointing, or end what else runs on the card",
                self.name,
                gib(bytes)
            );
        };
        let now = self.allocated.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        let memory = Memory { bytes, allocated: std::sync::Arc::clone(&self.allocated), _held: held };
        Ok(Buffer::new(memory, address, len))
    }

    /// As `allocate`, with these numbers.
    ///
    /// # Errors
    /// As `allocate`.
    pub fn copy_of<T: Copy>(&self, what: &str, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.allocate(what, values.len())?;
        self.upload(buffer.write(), values)?;
        Ok(buffer)
    }

    /// As `allocate`, every bit 0.
    ///
    /// # Errors
    /// As `allocate`.
    pub fn zeros<T>(&self, what: &str, len: usize) -> Result<Buffer<T>> {
        let mut buffer = self.allocate(what, len)?;
        self.zero(buffer.write())?;
        Ok(buffer)
    }

    /// Sets every bit to 0.
    ///
    /// # Errors
    /// What the driver says.
    pub fn zero<T>(&self, out: Out<'_, T>) -> Result<()> {
        let bytes = out.len() * size_of::<T>();
        if bytes == 0 {
            return Ok(());
        }
        on!(self, backend => backend.zero(out.address(), bytes))
    }

    /// Copies numbers to the device.
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn upload<T: Copy>(&self, out: Out<'_, T>, values: &[T]) -> Result<()> {
        assert_eq!(out.len(), values.len(), "upload: lengths");
        if values.is_empty() {
            return Ok(());
        }
        on!(self, backend => backend.upload(out.address(), bytes_of(values)))
    }

    /// Copies numbers from the device, when all that was asked for before is done.
    ///
    /// # Errors
    /// What the driver says, of any launch before, too.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn download<T: Copy>(&self, values: &mut [T], from: In<'_, T>) -> Result<()> {
        assert_eq!(from.len(), values.len(), "download: lengths");
        if values.is_empty() {
            return self.wait();
        }
        on!(self, backend => backend.download(bytes_of_mut(values), from.address()))
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// What the driver says of it.
    pub fn wait(&self) -> Result<()> {
        on!(self, backend => backend.wait())
    }

    /// Launches a kernel; a grid without blocks is nothing to do. Each word holds an argument in its low bytes, each
    /// letter says of what type it is.
    pub(super) fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        arguments: &mut [u64],
        letters: &[u8],
    ) -> Result<()> {
        if geometry.grid.contains(&0) {
            return Ok(());
        }
        let mut pointers: Vec<*mut c_void> =
            arguments.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        on!(self, backend => backend.launch(kernel, geometry, &mut pointers, letters))
    }

    /// out (M, N) = a (M, K) · b (K, N), or added to it; sums are f32.
    ///
    /// # Errors
    /// What cuBLAS says.
    ///
    /// # Panics
    /// If the shapes do not fit, or a bf16 result is to be added to.
    pub fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        into: Into,
    ) -> Result<()> {
        let arguments = product::arguments(a.layout, b.layout);
        let len = a.layout.rows * b.layout.columns;
        assert_eq!(out.len(), len, "product: the result is {} x {}", a.layout.rows, b.layout.columns);
        assert!(!(C::BF16 && into == Into::Add), "product: only an f32 result can be added to");
        if len == 0 || a.layout.columns == 0 {
            return Ok(());
        }
        on!(self, backend => backend.product(out, a, b, arguments, into))
    }
}

fn bytes_of<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers (f32, bf16, integers) have no bytes that are not set.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn bytes_of_mut<T: Copy>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and every pattern of bits is one of their values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}
