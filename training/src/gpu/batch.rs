//! A batch on the device, with the lists that its kernels need.

use super::buffer::{Buffer, In};
use super::device::Gpu;
use super::lists::{ById, Tiles};
use crate::batch::Batch;
use anyhow::Result;

/// The purpose of the memory, in errors.
const PURPOSE: &str = "the batch's lists";

/// Lists that grow to the largest batch. Their fields are those of `Batch`, `ById` and `Tiles`.
pub(super) struct Lists {
    pub(super) ids: List,
    pub(super) positions: List,
    pub(super) order: List,
    pub(super) segments: List,
    pub(super) rows: List,
    pub(super) targets: List,
    pub(super) by_query: List,
    pub(super) by_key: List,
}

/// Integers on the device.
pub(super) struct List {
    buffer: Buffer<u32>,
    len: usize,
}

impl List {
    fn new(gpu: &Gpu, capacity: usize) -> Result<Self> {
        Ok(Self { buffer: gpu.allocate(PURPOSE, capacity)?, len: 0 })
    }

    fn upload(&mut self, gpu: &Gpu, values: &[u32]) -> Result<()> {
        if values.len() > self.buffer.len() {
            self.buffer = gpu.allocate(PURPOSE, values.len())?;
        }
        self.len = values.len();
        gpu.upload(self.buffer.first_mut(values.len()), values)
    }

    pub(super) fn read(&self) -> In<'_, u32> {
        self.buffer.first(self.len)
    }
}

impl Lists {
    /// Allocates lists for batches of this many tokens.
    pub(super) fn new(gpu: &Gpu, tokens: usize) -> Result<Self> {
        let list = || List::new(gpu, tokens);
        Ok(Self {
            ids: list()?,
            positions: list()?,
            order: list()?,
            segments: list()?,
            rows: list()?,
            targets: list()?,
            by_query: list()?,
            by_key: list()?,
        })
    }

    /// Copies a batch to the device, and the lists that its forward pass needs.
    pub(super) fn upload(&mut self, gpu: &Gpu, batch: &Batch) -> Result<()> {
        let tiles = Tiles::new(&batch.starts);
        self.ids.upload(gpu, &batch.ids)?;
        self.positions.upload(gpu, &batch.positions)?;
        self.rows.upload(gpu, &batch.rows)?;
        self.targets.upload(gpu, &batch.targets)?;
        self.by_query.upload(gpu, tiles.by_query.as_flattened())?;
        self.by_key.upload(gpu, tiles.by_key.as_flattened())
    }

    /// Copies the lists that its backward pass needs besides. They are sorted while the GPU works on the forward pass.
    pub(super) fn upload_order(&mut self, gpu: &Gpu, batch: &Batch) -> Result<()> {
        let by_id = ById::new(&batch.ids);
        self.order.upload(gpu, &by_id.order)?;
        self.segments.upload(gpu, &by_id.segments)
    }
}
