//! What the two drivers, CUDA and the emulation on the CPU, are given and give back.

use std::any::Any;

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
