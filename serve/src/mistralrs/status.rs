//! What the engine is doing: counters that its thread updates and any thread reads.

use engine::{Queue, Status};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The counters behind [`Status`].
#[derive(Debug, Default)]
pub(super) struct SharedStatus {
    /// Requests that wait for a permit.
    pub(super) queue: Queue,
    running: AtomicUsize,
    /// Positions whose keys and values are in memory.
    positions: AtomicUsize,
    cancelled: AtomicU64,
    /// When mistral.rs last asked for a token, or when its first request began after it was idle.
    stepped: Mutex<Option<Instant>>,
    /// Whether the engine's thread has ended.
    stopped: AtomicBool,
}

impl SharedStatus {
    /// Counts a request as running until the guard is dropped.
    pub(super) fn run(&self) -> RunGuard<'_> {
        if self.running.fetch_add(1, Ordering::Relaxed) == 0 {
            self.step();
        }
        RunGuard(self)
    }

    /// A step begins.
    pub(super) fn step(&self) {
        *lock(&self.stepped) = Some(Instant::now());
    }

    /// More positions are in memory.
    pub(super) fn hold_positions(&self, more: usize) {
        self.positions.fetch_add(more, Ordering::Relaxed);
    }

    /// Positions were freed.
    pub(super) fn free_positions(&self, count: usize) {
        self.positions.fetch_sub(count, Ordering::Relaxed);
    }

    /// A client closed its connection before the end.
    pub(super) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// The status now; `position_bytes` is the size of one position's keys and values.
    pub(super) fn status(&self, position_bytes: usize) -> Status {
        let running = self.running.load(Ordering::Relaxed);
        let stepped = lock(&self.stepped).filter(|_| running > 0);
        Status {
            waiting: self.queue.waiting(),
            running,
            cache_bytes: self.positions.load(Ordering::Relaxed) * position_bytes,
            reusable_bytes: 0,
            cancelled: self.cancelled.load(Ordering::Relaxed),
            guessed: [0; 2],
            step_milliseconds: stepped.map(|began| began.elapsed().as_millis() as u64),
            stopped: self.stopped.load(Ordering::Relaxed),
        }
    }
}

/// Marks the engine as stopped when its thread ends, also by a panic.
pub(super) struct StopGuard(pub(super) Arc<SharedStatus>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// A request that has a permit.
pub(super) struct RunGuard<'a>(&'a SharedStatus);

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks, also after a thread panicked: locks here are held for plain assignments only, which leave no half-written
/// value.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
