//! Buffers that a thread reuses from one product to the next: fresh pages cost more time than the packing.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// The unused buffers of this thread.
    static SCRATCH: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Returns a buffer with unspecified contents.
pub(crate) fn take<T: 'static>() -> Vec<T> {
    SCRATCH
        .with_borrow_mut(|buffers| {
            let index = buffers.iter().rposition(|buffer| buffer.is::<Vec<T>>())?;
            buffers.swap_remove(index).downcast::<Vec<T>>().ok()
        })
        .map_or_else(Vec::new, |buffer| *buffer)
}

/// Returns a buffer to the thread for later use.
pub(crate) fn give<T: 'static>(buffer: Vec<T>) {
    SCRATCH.with_borrow_mut(|buffers| buffers.push(Box::new(buffer)));
}
