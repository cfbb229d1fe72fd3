//! The numbers of a source's rows: they decide which rows are taken, and where each is in the order of the mix.

use crate::draw::draw;

/// Draws the numbers of one source's rows, one row after another.
pub(super) struct Order {
    /// The seed and the name of the source.
    prefix: String,
    /// Rows that had their numbers.
    seen: usize,
}

impl Order {
    pub(super) fn new(seed: u64, source: &str) -> Self {
        Self { prefix: format!("{seed}/{source}"), seen: 0 }
    }

    /// The number of the row's place in the order, for one of its copies; the next row is asked for next.
    pub(super) fn next(&mut self, copy: usize) -> u64 {
        let number = self.place(copy);
        self.advance();
        number
    }

    /// The number of this row's place, for one of its copies.
    pub(super) fn place(&self, copy: usize) -> u64 {
        draw(&format!("{}/{}/{copy}", self.prefix, self.seen))
    }

    /// The number that decides whether this row is taken.
    pub(super) fn take(&self) -> u64 {
        draw(&format!("{}/{}/take", self.prefix, self.seen))
    }

    /// Goes on to the next row.
    pub(super) fn advance(&mut self) {
        self.seen += 1;
    }

    /// Rows that were passed.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }
}
