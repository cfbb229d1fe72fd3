//! Copies between the host's memory and the GPU's through pinned memory, in two pieces that take turns: the host fills or
//! empties one while the GPU copies the other. A copy to the GPU does not wait for it, so that short lists cost no stop of
//! the GPU; without pinned memory each copy waits.

use super::driver_api::{Driver, Handle, call};
use super::failure::Failure;
use super::queue::Queue;
use rayon::prelude::*;
use std::ffi::c_void;

/// Bytes of a piece. Tests have small ones, so that their copies take many.
const PIECE: usize = if cfg!(test) { 4096 } else { 8 << 20 };
/// What begins in a piece begins at a multiple of this many bytes.
const ALIGNMENT: usize = 256;
/// Bytes that a core copies by itself; one alone is slower than the bus.
const PART: usize = 1 << 20;

/// Pinned memory, and an event after the last use of each piece.
pub(super) struct Staging {
    pieces: [Piece; 2],
    /// The piece that is being filled.
    now: usize,
    /// Its bytes that are taken.
    used: usize,
}

struct Piece {
    memory: *mut u8,
    event: Handle,
    /// Whether the event was recorded, and nothing has waited for it yet.
    is_pending: bool,
}

// SAFETY: plain memory, which any thread may use; a lock is around it.
unsafe impl Send for Staging {}

impl Staging {
    /// Returns none if the system gives no pinned memory.
    ///
    /// # Errors
    /// When the GPU is at fault.
    pub(super) fn new(queue: &Queue) -> Result<Option<Self>, Failure> {
        let piece = || -> Result<Piece, Failure> {
            let mut memory = std::ptr::null_mut();
            // SAFETY: the pointer is to a pointer that lives through the call.
            unsafe { call!(queue.driver, allocate_host(&raw mut memory, PIECE, 0)) }?;
            Ok(Piece { memory: memory.cast(), event: queue.event()?, is_pending: false })
        };
        match piece().and_then(|first| Ok([first, piece()?])) {
            Ok(pieces) => Ok(Some(Self { pieces, now: 0, used: 0 })),
            Err(failure) if failure.is_fault() => Err(failure),
            Err(_) => Ok(None),
        }
    }

    /// Copies bytes to the GPU. They are in pinned memory when this returns, and on the GPU before what is queued next.
    ///
    /// # Safety
    /// There must be as many bytes of a live buffer.
    pub(super) unsafe fn upload(&mut self, queue: &Queue, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut done = 0;
        for chunk in bytes.chunks(PIECE) {
            if self.used + chunk.len() > PIECE {
                self.turn(queue)?;
            }
            // SAFETY: the piece has room from `used` on, where the GPU reads nothing: `turn` has waited for it.
            let room = unsafe {
                let first = self.pieces[self.now].memory.add(self.used);
                std::slice::from_raw_parts_mut(first, chunk.len())
            };
            copy(room, chunk);
            let (driver, from) = (&queue.driver, room.as_ptr().cast());
            // SAFETY: as the caller guarantees; the piece is not written again before `turn` has waited.
            unsafe { call!(driver, upload(address + done, from, chunk.len(), queue.stream)) }?;
            self.used += chunk.len().next_multiple_of(ALIGNMENT);
            done += chunk.len() as u64;
        }
        Ok(())
    }

    /// Changes to the other piece, once the GPU has copied what was in it.
    fn turn(&mut self, queue: &Queue) -> Result<(), Failure> {
        let full = &mut self.pieces[self.now];
        queue.record(full.event)?;
        full.is_pending = true;
        (self.now, self.used) = (1 - self.now, 0);
        self.pieces[self.now].wait(queue)
    }

    /// Copies bytes from the GPU, after all work that was queued before.
    ///
    /// # Safety
    /// There must be as many bytes of a live buffer.
    pub(super) unsafe fn download(
        &mut self,
        queue: &Queue,
        bytes: &mut [u8],
        address: u64,
    ) -> Result<(), Failure> {
        // What is still to be copied to the GPU was queued before, so these copies may write over it.
        let (all, chunks) = (bytes.len(), bytes.len().div_ceil(PIECE));
        let length = |chunk: usize| PIECE.min(all - chunk * PIECE);
        for chunk in 0..=chunks {
            if chunk < chunks {
                let Piece { memory, event, is_pending } = &mut self.pieces[chunk % 2];
                let (driver, from) = (&queue.driver, address + (chunk * PIECE) as u64);
                // SAFETY: as the caller guarantees; the piece has room, and the host has emptied it.
                unsafe {
                    call!(driver, download((*memory).cast::<c_void>(), from, length(chunk), queue.stream))
                }?;
                queue.record(*event)?;
                *is_pending = true;
            }
            if let Some(before) = chunk.checked_sub(1) {
                let count = length(before);
                let piece = &mut self.pieces[before % 2];
                piece.wait(queue)?;
                // SAFETY: the copy to this piece is done.
                let copied = unsafe { std::slice::from_raw_parts(piece.memory, count) };
                copy(&mut bytes[before * PIECE..][..count], copied);
            }
        }
        // The last wait was for everything.
        (self.now, self.used) = (0, 0);
        Ok(())
    }

    /// Frees the memory.
    pub(super) fn free(self, driver: &Driver) {
        for piece in self.pieces {
            // SAFETY: the driver gave this memory, and it is freed once; nothing is queued any more, or the process ends.
            let _ = unsafe { call!(driver, free_host(piece.memory.cast())) };
        }
    }
}

impl Piece {
    fn wait(&mut self, queue: &Queue) -> Result<(), Failure> {
        if self.is_pending {
            // SAFETY: the event is one of the driver's.
            unsafe { call!(queue.driver, wait_event(self.event)) }?;
            self.is_pending = false;
        }
        Ok(())
    }
}

/// Copies with all cores where there is much.
fn copy(to: &mut [u8], from: &[u8]) {
    if from.len() <= PART {
        // Other threads take longer to wake up.
        return to.copy_from_slice(from);
    }
    to.par_chunks_mut(PART).zip(from.par_chunks(PART)).for_each(|(to, from)| to.copy_from_slice(from));
}
