//! The tables of the rotary position embedding on a GPU.

use crate::gpu::buffer::Buffer;
use crate::gpu::device::Gpu;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::RopeTable;

/// Cosines and sines of every position (P, D / 2).
pub(super) struct Rope {
    pub(super) cos: Buffer<f32>,
    pub(super) sin: Buffer<f32>,
    /// P
    pub(super) positions: usize,
}

impl Rope {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig, positions: usize) -> Result<Self> {
        let table = RopeTable::new(positions, config.head_dim, config.rope_theta);
        let purpose = "the rotary tables";
        Ok(Self {
            cos: gpu.copy_of(purpose, table.cosines())?,
            sin: gpu.copy_of(purpose, table.sines())?,
            positions,
        })
    }
}
