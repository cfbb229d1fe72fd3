//! What the two drivers, CUDA and the emulation on the CPU, are given and give back.

use serde_json::Value;
use std::any::Any;
#[cfg(feature = "emulated")]
use std::time::Instant;

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Blocks.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) block: [u32; 3],
    /// Bytes of shared memory of a block.
    pub(crate) shared: u32,
}

/// Memory from a driver.
pub(super) struct Allocation {
    /// Frees the memory when it is dropped.
    pub(super) owner: Box<dyn Any + Send + Sync>,
    /// The memory's address on the device.
    pub(super) address: u64,
}

/// What is known of a GPU and of the libraries that are used with it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What decides the last bits of a result, by name: the GPU, the driver, who computes products, the kernels.
    pub decisive: Value,
    /// The rest: memory, clocks, files.
    pub others: Value,
}

/// A point in the queued work, for measurements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// The address of a CUDA event.
    #[cfg(feature = "cuda")]
    Event(usize),
    /// The emulation queues nothing.
    #[cfg(feature = "emulated")]
    Time(Instant),
}
