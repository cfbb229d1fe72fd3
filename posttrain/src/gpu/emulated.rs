//! The kernels' own sources, compiled for the CPU and run lane by lane: what tests launch on where there is no card.
//! Memory is the process's own; products are those of `kernels::gemm`.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::Out;
use super::card::{Geometry, Held, Matrix};
use super::product::{Arguments, Layout};
use anyhow::{Result, bail, ensure};
use kernels::{Element, Into, gemm};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

/// Nothing to hold: the state is in the memory it is given.
#[derive(Debug)]
pub(super) struct Emulated;

#[allow(clippy::too_many_arguments, reason = "cuLaunchKernel has as many")]
unsafe extern "C" {
    /// 0, or 1 and what went wrong.
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
    /// Memory that ends at a page nobody may touch, every byte 255; or null.
    fn lanes_allocate(bytes: usize) -> *mut c_void;
    /// 0, or 1 if bytes beside it were written.
    fn lanes_release(memory: *mut c_void, bytes: usize) -> c_int;
}

/// Guarded memory.
#[derive(Debug)]
pub(super) struct Pages {
    memory: *mut c_void,
    bytes: usize,
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: given by `lanes_allocate` with as many bytes, once.
        let broken = unsafe { lanes_release(self.memory, self.bytes) };
        assert!(broken == 0 || std::thread::panicking(), "a kernel wrote beside {} bytes", self.bytes);
    }
}

impl Emulated {
    pub(super) fn free(&self) -> Result<u64> {
        Ok(1 << 34)
    }

    /// As a card's memory, neither set nor 0: what is read before it is written shows as NaN.
    pub(super) fn allocate(&self, bytes: u64) -> Result<(Held, u64)> {
        let bytes = bytes as usize;
        // SAFETY: any size can be asked for.
        let memory = unsafe { lanes_allocate(bytes) };
        ensure!(!memory.is_null(), "no memory");
        Ok((Held::Emulated { _pages: Pages { memory, bytes } }, memory as u64))
    }

    pub(super) fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: an `Out` is within a live buffer that nobody else writes.
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

    /// Every launch takes its lanes in another order: sums that depend on it would show.
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
        // SAFETY: the words are the kernel's arguments in its own order, which the harness compares with the letters.
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
            // SAFETY: the harness ends what it writes with a 0.
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
        _: Arguments,
        into: Into,
    ) -> Result<()> {
        // SAFETY: the operands and the result are within live buffers; `Out` is exclusive.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.address() as *mut C, out.len());
            gemm::<E, _, _, _>(out, stored(&a), stored(&b), into);
        }
        Ok(())
    }
}

/// # Safety
/// The matrix must be within a live buffer that nobody writes.
unsafe fn stored<'a, E>(matrix: &Matrix<'a, E>) -> kernels::Matrix<'a, E> {
    let Layout { rows, columns, stride, transposed } = matrix.layout();
    // SAFETY: as the caller says; `extent` numbers were there when the matrix was made.
    let numbers =
        unsafe { std::slice::from_raw_parts(matrix.address() as *const E, matrix.layout().extent()) };
    match transposed {
        true => kernels::Matrix::strided(numbers, columns, rows, stride).transposed(),
        false => kernels::Matrix::strided(numbers, rows, columns, stride),
    }
}
