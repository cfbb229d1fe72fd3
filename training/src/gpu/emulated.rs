//! The driver of the emulated GPU: the kernels' sources, compiled for the CPU and run lane by lane, for tests without a
//! GPU. Memory is the process's own; matrix products are those of `kernels::gemm`.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::Out;
use super::driver::{Allocation, Facts, Geometry, Mark};
use super::matrix::Matrix;
use super::product::{Arguments, Layout};
use anyhow::{Result, bail, ensure};
use kernels::{Accumulate, Element, gemm};
use serde_json::json;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The driver.
pub(super) struct Emulated {
    /// Whether it computes products, as cuBLAS does; else the kernels do.
    pub(super) has_products: bool,
}

#[allow(clippy::too_many_arguments, reason = "cuLaunchKernel has as many")]
unsafe extern "C" {
    /// Returns 0, or 1 and a message.
    fn lanes_launch(
        name: *const c_char,
        grid: *const c_uint,
        block: *const c_uint,
        shared: usize,
        arguments: *const *mut c_void,
        signature: *const c_char,
        order: c_uint,
        message: *mut c_char,
        message_bytes: usize,
    ) -> c_int;
    /// Returns memory that ends at a guard page, every byte 255; or null.
    fn lanes_allocate(bytes: usize) -> *mut c_void;
    /// Returns 0, or 1 if bytes outside the memory were written.
    fn lanes_release(memory: *mut c_void, bytes: usize) -> c_int;
}

/// Guarded memory.
struct Pages {
    memory: *mut c_void,
    bytes: usize,
}

// SAFETY: plain memory can be used and freed by any thread.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `lanes_allocate` returned it for this many bytes, and it is released once.
        let damaged = unsafe { lanes_release(self.memory, self.bytes) };
        assert!(damaged == 0 || std::thread::panicking(), "a kernel wrote outside its {} bytes", self.bytes);
    }
}

impl Emulated {
    pub(super) fn facts(&self) -> Result<Facts> {
        Ok(Facts { decisive: json!({"name": "emulated"}), others: json!({}) })
    }

    pub(super) fn has_products(&self) -> bool {
        self.has_products
    }

    pub(super) fn mark(&self, _: Option<Mark>) -> Result<Mark> {
        Ok(Mark::Time(Instant::now()))
    }

    pub(super) fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        match (from, to) {
            (Mark::Time(from), Mark::Time(to)) => Ok(to.duration_since(from).as_secs_f64()),
            #[cfg(feature = "cuda")]
            _ => Ok(0.0),
        }
    }

    pub(super) fn free(&self) -> Result<u64> {
        Ok(1 << 34)
    }

    /// Allocates memory full of NaN, so that reads of uninitialized memory show.
    pub(super) fn allocate(&self, bytes: u64) -> Result<Option<Allocation>> {
        let bytes = bytes as usize;
        // SAFETY: every size is allowed.
        let memory = unsafe { lanes_allocate(bytes) };
        ensure!(!memory.is_null(), "no memory");
        Ok(Some(Allocation { owner: Box::new(Pages { memory, bytes }), address: memory as u64 }))
    }

    pub(super) fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: an `Out` is within a live buffer, and it is the only view of its elements.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }

    pub(super) fn upload(&self, address: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    pub(super) fn download(&self, bytes: &mut [u8], address: u64) -> Result<()> {
        // SAFETY: an `In` is within a live buffer.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    pub(super) fn wait(&self) -> Result<()> {
        Ok(())
    }

    /// Runs a kernel. Every launch runs its lanes in another order, so that sums that depend on the order show.
    pub(super) fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        pointers: &mut [*mut c_void],
        letters: &[u8],
    ) -> Result<()> {
        static ORDER: AtomicU32 = AtomicU32::new(0);
        let (name, signature) = (CString::new(kernel)?, CString::new(letters)?);
        let mut message = [0 as c_char; 256];
        // SAFETY: the pointers are the kernel's arguments; the harness compares the letters with its parameters.
        let failed = unsafe {
            lanes_launch(
                name.as_ptr(),
                geometry.grid.as_ptr(),
                geometry.block.as_ptr(),
                geometry.shared as usize,
                pointers.as_ptr(),
                signature.as_ptr(),
                ORDER.fetch_add(1, Ordering::Relaxed) % 5,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if failed != 0 {
            // SAFETY: the harness ends the message with a 0.
            let message = unsafe { CStr::from_ptr(message.as_ptr()) };
            bail!("{kernel}, {geometry:?}: {}", message.to_string_lossy());
        }
        Ok(())
    }

    pub(super) fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        arguments: Arguments,
        accumulate: Accumulate,
    ) -> Result<()> {
        let (columns, stride) = (arguments.m as usize, arguments.stride as usize);
        // SAFETY: the operands and the result are within live buffers; `Out` is exclusive.
        let (out, a, b) = unsafe {
            let out = std::slice::from_raw_parts_mut(out.address() as *mut C, out.len());
            (out, on_host(&a), on_host(&b))
        };
        if stride == columns {
            gemm::<E, _, _, _>(out, a, b, accumulate);
            return Ok(());
        }
        let mut rows: Vec<C> = out.chunks(stride).flat_map(|row| &row[..columns]).copied().collect();
        gemm::<E, _, _, _>(&mut rows, a, b, accumulate);
        for (to, row) in out.chunks_mut(stride).zip(rows.chunks(columns)) {
            to[..columns].copy_from_slice(row);
        }
        Ok(())
    }
}

/// Returns the same matrix as the CPU's products read it.
///
/// # Safety
/// The matrix must be within a live buffer that is not written.
unsafe fn on_host<'a, E>(matrix: &Matrix<'a, E>) -> kernels::Matrix<'a, E> {
    let Layout { rows, columns, stride, transposed } = matrix.layout();
    // SAFETY: as the caller guarantees; the matrix was made over at least `extent` elements.
    let elements =
        unsafe { std::slice::from_raw_parts(matrix.address() as *const E, matrix.layout().extent()) };
    match transposed {
        true => kernels::Matrix::strided(elements, columns, rows, stride).transposed(),
        false => kernels::Matrix::strided(elements, rows, columns, stride),
    }
}
