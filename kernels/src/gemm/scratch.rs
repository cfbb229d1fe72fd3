//! Buffers that a thread's products use again and again.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// Buffers that this thread's products have used before: fresh pages cost more than the packing.
    static SCRATCH: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to pack into; contents unspecified.
pub(crate) fn take<T: 'static>() -> Vec<T> {
    SCRATCH
        .with_borrow_mut(|buffers| {
            let place = buffers.iter().rposition(|buffer| buffer.is::<Vec<T>>())?;
            buffers.swap_remove(place).downcast::<Vec<T>>().ok()
        })
        .map_or_else(Vec::new, |buffer| *buffer)
}

/// Gives a buffer back for the next product of this thread.
pub(crate) fn give<T: 'static>(buffer: Vec<T>) {
    SCRATCH.with_borrow_mut(|buffers| buffers.push(Box::new(buffer)));
}
