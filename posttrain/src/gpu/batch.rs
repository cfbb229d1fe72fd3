//! A batch on the device, with the lists that its kernels need.

use super::buffer::{Buffer, In};
use super::card::Card;
use super::lists::{ById, Tiles};
use crate::model::Batch;
use anyhow::Result;

/// Lists that grow to the largest batch.
#[derive(Debug)]
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

/// Whole numbers on the device.
#[derive(Debug)]
pub(super) struct List {
    buffer: Buffer<u32>,
    len: usize,
}

impl List {
    fn new(card: &Card, capacity: usize) -> Result<Self> {
        Ok(Self { buffer: card.allocate("the batch's lists", capacity)?, len: 0 })
    }

    fn put(&mut self, card: &Card, values: &[u32]) -> Result<()> {
        if values.len() > self.buffer.len() {
            self.buffer = card.allocate("the batch's lists", values.len())?;
        }
        self.len = values.len();
        card.upload(self.buffer.first_mut(values.len()), values)
    }

    pub(super) fn read(&self) -> In<'_, u32> {
        self.buffer.first(self.len)
    }
}

impl Lists {
    /// Lists for batches of so many tokens.
    pub(super) fn new(card: &Card, tokens: usize) -> Result<Self> {
        let list = || List::new(card, tokens);
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

    /// Puts a batch on the device.
    pub(super) fn put(&mut self, card: &Card, batch: &Batch) -> Result<()> {
        let (by_id, tiles) = (ById::new(&batch.ids), Tiles::new(&batch.starts));
        self.ids.put(card, &batch.ids)?;
        self.positions.put(card, &batch.positions)?;
        self.order.put(card, &by_id.order)?;
        self.segments.put(card, &by_id.segments)?;
        self.rows.put(card, &batch.rows)?;
        self.targets.put(card, &batch.targets)?;
        self.by_query.put(card, tiles.by_query.as_flattened())?;
        self.by_key.put(card, tiles.by_key.as_flattened())
    }
}
