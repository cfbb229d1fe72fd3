//! A GPU's context: its memory, copies and events.

use super::driver_api::{Driver, Handle, call};
use super::failure::Failure;
use super::queue::Queue;
use super::staging::Staging;
use crate::gpu::driver::Allocation;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

/// An open GPU of the driver. It stays open as long as the process.
pub(super) struct Context {
    pub(super) queue: Queue,
    context: Handle,
    /// Whether memory comes from the driver's pool, in the stream's order.
    pooled: bool,
    /// Pinned memory for copies; none if the system gives none.
    staging: Mutex<Option<Staging>>,
}

impl Drop for Context {
    fn drop(&mut self) {
        let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(staging) = staging
            && self.wait().is_ok()
        {
            staging.free(&self.queue.driver);
        }
    }
}

/// Memory that is freed when it is dropped.
pub(super) struct Memory {
    context: Arc<Context>,
    pub(super) address: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Context { queue: Queue { driver, stream }, pooled, .. } = self.context.as_ref();
        // After a fault every call fails, and the process ends soon.
        let _ = self.context.bind();
        // SAFETY: the driver gave this address, and it is freed once.
        let _ = unsafe {
            match pooled {
                true => call!(driver, free_async(self.address, *stream)),
                false => call!(driver, free(self.address)),
            }
        };
    }
}

impl Context {
    /// Opens a GPU. With `pooled` its memory comes from the driver's pool.
    pub(super) fn open(driver: Arc<Driver>, device: c_int, pooled: bool) -> Result<Self, Failure> {
        let staging = Mutex::new(None);
        let queue = Queue { driver, stream: Handle::NULL };
        let mut context = Self { queue, context: Handle::NULL, pooled, staging };
        let driver = Arc::clone(&context.queue.driver);
        // SAFETY: the pointer is to a handle that lives through the call.
        unsafe { call!(driver, retain_context(&raw mut context.context, device)) }?;
        context.bind()?;
        // It does not wait for the default stream, which nothing uses (`CU_STREAM_NON_BLOCKING`).
        // SAFETY: as above.
        unsafe { call!(driver, create_stream(&raw mut context.queue.stream, 1)) }?;
        context.staging = Mutex::new(Staging::new(&context.queue)?);
        Ok(context)
    }

    /// Makes the GPU current for the calling thread.
    pub(super) fn bind(&self) -> Result<(), Failure> {
        // SAFETY: the context is open.
        unsafe { call!(self.queue.driver, set_context(self.context)) }
    }

    /// Returns the free bytes of the GPU's memory, and all.
    pub(super) fn memory(&self) -> Result<[usize; 2], Failure> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the pointers are to numbers that live through the call.
        unsafe { call!(self.queue.driver, memory(&raw mut free, &raw mut total)) }?;
        Ok([free, total])
    }

    /// Returns uninitialized memory.
    pub(super) fn allocate(self: &Arc<Self>, bytes: u64) -> Result<Memory, Failure> {
        self.bind()?;
        let (mut address, bytes) = (0, bytes as usize);
        // SAFETY: the pointer is to a number that lives through the call.
        unsafe {
            match self.pooled {
                true => call!(self.queue.driver, allocate_async(&raw mut address, bytes, self.queue.stream)),
                false => call!(self.queue.driver, allocate(&raw mut address, bytes)),
            }
        }?;
        Ok(Memory { context: Arc::clone(self), address })
    }

    /// Sets bytes to 0.
    ///
    /// # Safety
    /// They must be in a live buffer.
    pub(super) unsafe fn zero(&self, address: u64, bytes: usize) -> Result<(), Failure> {
        self.bind()?;
        // SAFETY: as the caller guarantees.
        unsafe { call!(self.queue.driver, set_bytes(address, 0, bytes, self.queue.stream)) }
    }

    /// Copies bytes to the GPU, which has them before what is queued next.
    ///
    /// # Safety
    /// There must be as many bytes of a live buffer.
    pub(super) unsafe fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.bind()?;
        if let Some(staging) = self.staging.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // SAFETY: as the caller guarantees.
            return unsafe { staging.upload(&self.queue, address, bytes) };
        }
        // SAFETY: as the caller guarantees; the slice lives until the copy is done, because `wait` follows.
        unsafe {
            call!(self.queue.driver, upload(address, bytes.as_ptr().cast(), bytes.len(), self.queue.stream))
        }?;
        self.wait()
    }

    /// Copies bytes from the GPU, after all work that was queued before.
    ///
    /// # Safety
    /// There must be as many bytes of a live buffer.
    pub(super) unsafe fn download(&self, bytes: &mut [u8], address: u64) -> Result<(), Failure> {
        self.bind()?;
        if let Some(staging) = self.staging.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // SAFETY: as the caller guarantees.
            return unsafe { staging.download(&self.queue, bytes, address) };
        }
        // SAFETY: as above.
        unsafe {
            call!(
                self.queue.driver,
                download(bytes.as_mut_ptr().cast(), address, bytes.len(), self.queue.stream)
            )
        }?;
        self.wait()
    }

    /// Waits for all queued work.
    pub(super) fn wait(&self) -> Result<(), Failure> {
        self.bind()?;
        // SAFETY: the stream is open.
        unsafe { call!(self.queue.driver, wait(self.queue.stream)) }
    }

    /// Returns an event at this point of the queued work.
    pub(super) fn event(&self) -> Result<Handle, Failure> {
        self.bind()?;
        self.queue.event()
    }

    /// Returns the seconds from one event to another, after `wait`.
    pub(super) fn seconds(&self, from: Handle, to: Handle) -> Result<f64, Failure> {
        let mut milliseconds = 0.0;
        // SAFETY: the pointer is to a number that lives through the call, and `event` made the events.
        unsafe { call!(self.queue.driver, elapsed(&raw mut milliseconds, from, to)) }?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl From<Memory> for Allocation {
    fn from(memory: Memory) -> Self {
        Self { address: memory.address, owner: Box::new(memory) }
    }
}
