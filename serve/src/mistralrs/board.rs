//! What the engine is doing, counted where it happens and read from anywhere.

use engine::{Queue, Status};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Counters that [`Status`] is made of.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Requests that wait for their place.
    pub(super) queue: Queue,
    running: AtomicUsize,
    /// Positions whose keys and values are held.
    positions: AtomicUsize,
    cancelled: AtomicU64,
    /// When mistral.rs last asked for a token, or was last given work after having had none.
    stepped: Mutex<Option<Instant>>,
    /// Whether the engine's thread has ended.
    stopped: AtomicBool,
}

impl Board {
    /// One request runs until the guard is dropped.
    pub(super) fn run(&self) -> Running<'_> {
        if self.running.fetch_add(1, Ordering::Relaxed) == 0 {
            self.step();
        }
        Running(self)
    }

    pub(super) fn step(&self) {
        *lock(&self.stepped) = Some(Instant::now());
    }

    pub(super) fn hold_positions(&self, more: usize) {
        self.positions.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn free_positions(&self, count: usize) {
        self.positions.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// `position_bytes` is what keys and values of one position take.
    pub(super) fn status(&self, position_bytes: usize) -> Status {
        let running = self.running.load(Ordering::Relaxed);
        let stepped = lock(&self.stepped).filter(|_| running > 0);
        Status {
            waiting: self.queue.waiting(),
            running,
            cache_bytes: self.positions.load(Ordering::Relaxed) * position_bytes,
            reusable_bytes: 0,
            cancelled: self.cancelled.load(Ordering::Relaxed),
            step_milliseconds: stepped.map(|began| began.elapsed().as_millis() as u64),
            stopped: self.stopped.load(Ordering::Relaxed),
        }
    }
}

/// Tells of the end of the engine's thread, however it comes.
pub(super) struct TellsOfEnd(pub(super) Arc<Board>);

impl Drop for TellsOfEnd {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// A request that has its place.
pub(super) struct Running<'a>(&'a Board);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that panicked left whole values behind: every lock here is held for plain assignments only.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
