//! The operands that both passes share, and the copies of a block's queries that products need.

use crate::element::Element;
use crate::gemm::{Matrix, Target};
use std::ops::Range;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// H, the number of query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// K, the number of key and value heads; query head h reads key head h / (H / K).
    pub kv_heads: usize,
    /// D, the elements of a head.
    pub head_dim: usize,
}

/// Rows of scores that exist at once, of all query heads that share a key head. With 1,024 keys they take 768 KiB, and
/// every key is packed once for all of them.
const ROWS: usize = 192;
/// Minimum number of queries in a block.
const FEWEST_QUERIES: usize = 32;

/// What the tasks of one call share.
pub(super) struct PackedQkv<'a, E> {
    /// (T, (H + 2K) D): queries, keys and values of a token, in this order.
    pub(super) qkv: &'a [E],
    pub(super) shape: AttentionShape,
    /// First token of each sequence, then the total.
    pub(super) starts: &'a [usize],
    /// Number of positions that a query attends to, its own included.
    pub(super) window: usize,
}

impl<'a, E: Element> PackedQkv<'a, E> {
    /// Returns the length of a row of `qkv`.
    pub(super) fn row(&self) -> usize {
        (self.shape.heads + 2 * self.shape.kv_heads) * self.shape.head_dim
    }

    /// Returns `count` tokens of one head (count, D). Heads are numbered through queries, keys and values.
    pub(super) fn head(&self, head: usize, first: usize, count: usize) -> Matrix<'a, E> {
        let from = first * self.row() + head * self.shape.head_dim;
        Matrix::strided(&self.qkv[from..], count, self.shape.head_dim, self.row())
    }

    /// Checks the operands.
    ///
    /// # Panics
    /// If the shape, `starts` and the length of `qkv` do not match.
    pub(super) fn check(&self) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads) && head_dim > 0,
            "attention: the shape {:?} is not one of grouped-query attention",
            self.shape
        );
        assert!(
            self.starts.is_sorted() && self.starts.first() == Some(&0),
            "attention: starts must ascend from 0"
        );
        assert!(self.window > 0, "attention: the window is 0; a query attends to itself at least");
        let tokens = *self.starts.last().expect("`starts` is not empty: it begins with 0");
        assert_eq!(self.qkv.len(), tokens * self.row(), "attention: the length of qkv is not tokens x row");
    }

    /// Returns the number of query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Returns the first token that a query of a sequence beginning at `start` attends to.
    pub(super) fn first_key(&self, start: usize, query: usize) -> usize {
        (query + 1).saturating_sub(self.window).max(start)
    }

    /// Returns the blocks of a sequence, each as its first token and its number of tokens.
    pub(super) fn blocks(&self, sequence: usize) -> impl Iterator<Item = (usize, usize)> {
        let (start, end) = (self.starts[sequence], self.starts[sequence + 1]);
        let queries = (ROWS / self.group()).max(FEWEST_QUERIES);
        (start..end).step_by(queries).map(move |first| (first, queries.min(end - first)))
    }
}

/// Copies the heads of a block's tokens to `to` (heads x tokens, D), one head after the other; the rows of `from` are
/// `row` long.
pub(super) fn gather<E: Copy>(
    to: &mut Vec<E>,
    from: &[E],
    row: usize,
    (first, count): (usize, usize),
    heads: Range<usize>,
    head_dim: usize,
) {
    to.clear();
    for head in heads {
        for token in first..first + count {
            to.extend_from_slice(&from[token * row + head * head_dim..][..head_dim]);
        }
    }
}

/// The inverse of [`gather`]: writes (heads x tokens, D) to the rows and columns of the target.
///
/// # Safety
/// The rows of the block and the columns of the heads must exist in the target, and nothing else may access them.
pub(super) unsafe fn scatter<E: Element>(
    to: Target<E>,
    from: &[f32],
    (first, count): (usize, usize),
    heads: Range<usize>,
    head_dim: usize,
) {
    let mut from = from.chunks_exact(head_dim);
    for head in heads {
        for token in first..first + count {
            let index = token * to.row_stride + head * head_dim;
            // SAFETY: the caller guarantees it.
            let out = unsafe { std::slice::from_raw_parts_mut(to.data.add(index), head_dim) };
            let values = from.next().expect("`from` has a row for every head and token");
            out.iter_mut().zip(values).for_each(|(out, value)| *out = E::from_f32(*value));
        }
    }
}
