//! A GPU: memory, copies, launches and matrix products, and nothing else. Behind it is CUDA, or the kernels' sources
//! compiled for the CPU, so that all code above can be tested where there is no GPU.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::{Buffer, In, Memory, Out};
#[cfg(feature = "cuda")]
use super::cuda::{self, Cuda};
use super::driver::{Facts, Geometry, Mark};
#[cfg(feature = "emulated")]
use super::emulated::Emulated;
use super::kernels;
use super::matrix::Matrix;
use super::product;
use super::profile::{Launch, Recorded, Recorder};
use crate::memory::gib;
use ::kernels::{Accumulate, Element};
use anyhow::{Context, Result, bail};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An open GPU. It has one stream, so everything runs in the order in which it was queued.
pub struct Gpu {
    driver: Driver,
    name: String,
    /// Bytes of all live buffers.
    allocated: Arc<AtomicU64>,
    /// The most that `allocated` was.
    peak: AtomicU64,
    /// Bytes that were free when it was opened.
    free_at_first: u64,
    recorder: Mutex<Recorder>,
}

enum Driver {
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
    #[cfg(feature = "emulated")]
    Emulated(Emulated),
}

/// Evaluates the same expression for whichever driver there is.
macro_rules! with_driver {
    ($gpu:expr, $driver:ident => $body:expr) => {
        match &$gpu.driver {
            #[cfg(feature = "cuda")]
            Driver::Cuda($driver) => $body,
            #[cfg(feature = "emulated")]
            Driver::Emulated($driver) => $body,
        }
    };
}

impl Gpu {
    fn with(driver: Driver, name: String) -> Self {
        let mut gpu = Self {
            driver,
            name,
            allocated: Arc::default(),
            peak: AtomicU64::new(0),
            free_at_first: 0,
            recorder: Mutex::default(),
        };
        gpu.free_at_first = gpu.free().unwrap_or(0);
        gpu
    }

    /// Returns how many GPUs this machine has.
    ///
    /// # Errors
    /// The driver's, where there is none.
    #[cfg(feature = "cuda")]
    pub(crate) fn count() -> Result<usize> {
        cuda::count()
    }

    /// Opens the GPU with this number, once in a process.
    ///
    /// # Errors
    /// When it is not there or cannot be used; names the driver's error and what to do.
    #[cfg(feature = "cuda")]
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        use std::collections::BTreeMap;
        use std::sync::{Mutex, PoisonError};
        static OPEN: Mutex<BTreeMap<usize, Arc<Gpu>>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = open.get(&ordinal) {
            return Ok(Arc::clone(gpu));
        }
        let cuda = Cuda::open(ordinal)?;
        let name = cuda.name()?;
        let gpu = Arc::new(Self::with(Driver::Cuda(cuda), name));
        open.insert(ordinal, Arc::clone(&gpu));
        Ok(gpu)
    }

    /// Returns a GPU over this driver.
    #[cfg(all(test, feature = "cuda"))]
    pub(super) fn over(cuda: Cuda) -> Arc<Self> {
        Arc::new(Self::with(Driver::Cuda(cuda), "a test's".to_owned()))
    }

    /// Returns 0: the emulated GPU is never chosen automatically.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "cuda"))]
    #[allow(clippy::unnecessary_wraps, reason = "with CUDA it can fail")]
    pub(crate) fn count() -> Result<usize> {
        Ok(0)
    }

    /// Returns an emulated GPU, whatever the number.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "cuda"))]
    #[allow(clippy::unnecessary_wraps, reason = "with CUDA it can fail")]
    pub fn open(_: usize) -> Result<Arc<Self>> {
        Ok(Self::emulated())
    }

    /// Returns a GPU whose kernels run on the CPU.
    #[cfg(feature = "emulated")]
    pub(crate) fn emulated() -> Arc<Self> {
        Arc::new(Self::with(Driver::Emulated(Emulated { has_products: true }), "emulated".to_owned()))
    }

    /// The same, with products by the kernels that stand in for cuBLAS.
    #[cfg(all(test, feature = "emulated"))]
    pub(crate) fn emulated_without_cublas() -> Arc<Self> {
        Arc::new(Self::with(Driver::Emulated(Emulated { has_products: false }), "emulated".to_owned()))
    }

    /// Returns the driver's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the free bytes of its memory.
    ///
    /// # Errors
    /// The driver's.
    pub fn free(&self) -> Result<u64> {
        with_driver!(self, driver => driver.free())
    }

    /// Returns the bytes that were taken since it was opened, by this program or by others.
    ///
    /// # Errors
    /// The driver's.
    pub fn taken(&self) -> Result<u64> {
        Ok(self.free_at_first.saturating_sub(self.free()?))
    }

    /// Returns what is known of it, and of the libraries that are used with it.
    ///
    /// # Errors
    /// The driver's.
    pub fn facts(&self) -> Result<Facts> {
        with_driver!(self, driver => driver.facts())
    }

    /// Returns the most bytes that buffers took at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Records every launch from now on until `take_profile`.
    pub fn start_profile(&self) {
        self.recorder().start();
    }

    /// Waits, and returns all launches since `start_profile`.
    ///
    /// # Errors
    /// The driver's.
    pub fn take_profile(&self) -> Result<Vec<Launch>> {
        self.wait()?;
        let recorded = self.recorder().take();
        let seconds = |from, to| with_driver!(self, driver => driver.seconds(from, to));
        recorded
            .into_iter()
            .map(|Recorded { launch, from, to }| Ok(Launch { seconds: seconds(from, to)?, ..launch }))
            .collect()
    }

    fn recorder(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self) -> Result<Mark> {
        let unused = self.recorder().unused();
        with_driver!(self, driver => driver.mark(unused))
    }

    /// Queues work, and records when it starts and ends if a profile was started.
    fn recorded(&self, launch: impl FnOnce() -> Launch, queue: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.recorder().is_recording() {
            return queue();
        }
        let from = self.mark()?;
        queue()?;
        let to = self.mark()?;
        self.recorder().add(Recorded { launch: launch(), from, to });
        Ok(())
    }

    /// Allocates uninitialized elements. `purpose` names them in errors.
    ///
    /// # Errors
    /// When they do not fit; names them, their size, what is free and what to change. Other errors are the driver's.
    pub(crate) fn allocate<T>(&self, purpose: &str, len: usize) -> Result<Buffer<T>> {
        let bytes = (len * size_of::<T>()).max(1) as u64;
        let allocation = with_driver!(self, driver => driver.allocate(bytes));
        let Some(allocation) = allocation.with_context(|| format!("allocating {purpose}"))? else {
            let free = self
                .free()
                .map_or_else(|_| "an unknown amount".to_owned(), |free| format!("{} GiB", gib(free)));
            bail!(
                "{} is out of memory: {purpose} take {} GiB and {free} is free; give a smaller `--micro-batch-tokens` (or `auto`), give `--layer-checkpointing`, or stop other programs on the GPU",
                self.name,
                gib(bytes)
            );
        };
        let now = self.allocated.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        let memory = Memory { bytes, allocated: Arc::clone(&self.allocated), _owner: allocation.owner };
        Ok(Buffer::new(memory, allocation.address, len))
    }

    /// As `allocate`, with a copy of these values.
    ///
    /// # Errors
    /// As `allocate`.
    pub(crate) fn copy_of<T: Copy>(&self, purpose: &str, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.allocate(purpose, values.len())?;
        self.upload(buffer.write(), values)?;
        Ok(buffer)
    }

    /// As `allocate`, every bit 0.
    ///
    /// # Errors
    /// As `allocate`.
    pub(crate) fn zeros<T>(&self, purpose: &str, len: usize) -> Result<Buffer<T>> {
        let mut buffer = self.allocate(purpose, len)?;
        self.zero(buffer.write())?;
        Ok(buffer)
    }

    /// Sets every bit to 0.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn zero<T>(&self, out: Out<'_, T>) -> Result<()> {
        let bytes = out.len() * size_of::<T>();
        if bytes == 0 {
            return Ok(());
        }
        with_driver!(self, driver => driver.zero(out.address(), bytes))
    }

    /// Copies values to the device.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn upload<T: Copy>(&self, out: Out<'_, T>, values: &[T]) -> Result<()> {
        assert_eq!(out.len(), values.len(), "upload: lengths");
        if values.is_empty() {
            return Ok(());
        }
        with_driver!(self, driver => driver.upload(out.address(), bytes_of(values)))
    }

    /// Copies values from the device, after the work queued before.
    ///
    /// # Errors
    /// The driver's, also for earlier launches.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn download<T: Copy>(&self, values: &mut [T], from: In<'_, T>) -> Result<()> {
        assert_eq!(from.len(), values.len(), "download: lengths");
        if values.is_empty() {
            return self.wait();
        }
        with_driver!(self, driver => driver.download(bytes_of_mut(values), from.address()))
    }

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// The driver's, for any of it.
    pub(crate) fn wait(&self) -> Result<()> {
        with_driver!(self, driver => driver.wait())
    }

    /// Launches a kernel; an empty grid does nothing. Each word has an argument in its low bytes, each letter names the
    /// argument's type; `bytes` are those of all operands.
    pub(super) fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        arguments: &mut [u64],
        letters: &[u8],
        bytes: u64,
    ) -> Result<()> {
        if geometry.grid.contains(&0) {
            return Ok(());
        }
        let mut pointers: Vec<*mut c_void> =
            arguments.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let launch = || Launch { name: kernel.to_owned(), seconds: 0.0, bytes, flops: 0.0 };
        self.recorded(
            launch,
            || with_driver!(self, driver => driver.launch(kernel, geometry, &mut pointers, letters)),
        )
    }

    /// out (M, N) = a (M, K) · b (K, N), or is added to; sums are f32.
    ///
    /// # Errors
    /// cuBLAS's, or the driver's where our own kernels compute products.
    ///
    /// # Panics
    /// If the shapes do not fit, or a bf16 result is added to.
    pub(crate) fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.product_in_rows(out, b.layout().columns, a, b, accumulate)
    }

    /// As `product`, into rows that are `stride` elements apart.
    ///
    /// # Errors
    /// As `product`.
    ///
    /// # Panics
    /// As `product`.
    pub(crate) fn product_in_rows<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        stride: usize,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        accumulate: Accumulate,
    ) -> Result<()> {
        let (left, right) = (a.layout(), b.layout());
        let arguments = product::arguments(left, right, stride);
        let len = left.rows * stride;
        assert_eq!(out.len(), len, "product: the result is {} rows of {stride}", left.rows);
        assert!(!(C::BF16 && accumulate == Accumulate::Add), "product: only an f32 result can be added to");
        if len == 0 || left.columns == 0 {
            return Ok(());
        }
        if !with_driver!(self, driver => driver.has_products()) {
            return kernels::product(self, out, stride, a, b, accumulate);
        }
        let launch = || {
            product_launch::<E, C>([left.rows, right.columns, left.columns], left.extent() + right.extent())
        };
        self.recorded(
            launch,
            || with_driver!(self, driver => driver.product(out, a, b, arguments, accumulate)),
        )
    }
}

/// Returns what a profile says of a product (M, N, K) whose operands have this many elements.
fn product_launch<E: Element, C: Element>([m, n, k]: [usize; 3], operands: usize) -> Launch {
    let name = |bf16| if bf16 { "bf16" } else { "f32" };
    Launch {
        name: format!("product {m} x {n} x {k}, {} to {}", name(E::BF16), name(C::BF16)),
        seconds: 0.0,
        bytes: (operands * size_of::<E>() + m * n * size_of::<C>()) as u64,
        flops: 2.0 * m as f64 * n as f64 * k as f64,
    }
}

fn bytes_of<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers (f32, bf16, integers) have no uninitialized bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn bytes_of_mut<T: Copy>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and every bit pattern is one of their values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}
