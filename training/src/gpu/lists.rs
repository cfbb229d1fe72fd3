//! Lists that the host computes for the kernels: which tokens share a row of the embedding, into which tiles attention
//! is cut, and into which chunks the optimizer.

use crate::memory::ATTENTION_TILE as TILE;
use crate::parameters::Layout;

/// Maximum weights of a chunk of the optimizer; a multiple of 4 keeps its accesses wide.
const CHUNK: usize = 16_384;

/// Tokens sorted by id, for the gradient of the embedding: the tokens of a row of the table stay in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ById {
    /// Token indexes, sorted by (id, index) (T).
    pub(super) order: Vec<u32>,
    /// Where in `order` each id begins, then T (distinct ids + 1).
    pub(super) segments: Vec<u32>,
}

impl ById {
    /// Sorts a batch's tokens.
    pub(super) fn new(ids: &[u32]) -> Self {
        // Id and index in one number sort fast.
        let places = ids.iter().zip(0u64..).map(|(id, place)| u64::from(*id) << 32 | place);
        let mut keys: Vec<u64> = places.collect();
        keys.sort_unstable();
        let order: Vec<u32> = keys.into_iter().map(|key| key as u32).collect();
        let id = |place: usize| ids[order[place] as usize];
        let begins = (0..ids.len()).filter(|place| *place == 0 || id(*place) != id(*place - 1));
        let segments = begins.chain([ids.len()]).map(|place| place as u32).collect();
        Self { order, segments }
    }
}

/// Up to 128 rows of one sequence: the first row, the sequence's start and end, and 0.
pub(super) type Tile = [u32; 4];

/// The tiles of packed sequences, those with the most work first: once for kernels whose work is proportional to the
/// keys before a tile, once for kernels whose work is proportional to the queries after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Most keys first: for the forward pass, and the gradient of the queries.
    pub(super) by_query: Vec<Tile>,
    /// Most queries first: for the gradient of keys and values.
    pub(super) by_key: Vec<Tile>,
}

impl Tiles {
    /// Cuts sequences that begin at `starts` (whose last entry is the end) into tiles.
    pub(super) fn new(starts: &[usize]) -> Self {
        let sequences = starts.windows(2).map(|pair| (pair[0], pair[1]));
        let tiles = sequences.flat_map(|(start, end)| {
            (start..end).step_by(TILE).map(move |first| [first as u32, start as u32, end as u32, 0])
        });
        let mut by_query: Vec<Tile> = tiles.collect();
        let mut by_key = by_query.clone();
        by_query.sort_by_key(|[first, start, ..]| std::cmp::Reverse(first - start));
        by_key.sort_by_key(|[first, _, end, _]| std::cmp::Reverse(end - first));
        Self { by_query, by_key }
    }
}

/// Parts of the flat buffers, each within one tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    /// Index of each chunk's first weight.
    pub(super) firsts: Vec<u64>,
    /// Number of weights of each chunk.
    pub(super) counts: Vec<u32>,
    /// 1 where weight decay applies, else 0.
    pub(super) decayed: Vec<u32>,
}

impl Chunks {
    /// Cuts all tensors of a model.
    pub(super) fn new(layout: &Layout) -> Self {
        let mut chunks = Self::default();
        for tensor in &layout.tensors {
            for first in tensor.range.clone().step_by(CHUNK) {
                chunks.firsts.push(first as u64);
                chunks.counts.push(CHUNK.min(tensor.range.end - first) as u32);
                chunks.decayed.push(tensor.decays().into());
            }
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::ModelConfig;

    #[test]
    fn tokens_are_sorted_by_id_and_stay_in_order() {
        let by_id = ById::new(&[7, 2, 7, 0, 2, 7]);
        assert_eq!(by_id.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(by_id.segments, [0, 1, 3, 6]);
        assert_eq!(ById::new(&[]).segments, [0]);
    }

    #[test]
    fn tiles_cover_every_row_once_and_never_cross_a_sequence() {
        let starts = [0, 1, 1, 130, 130 + 128, 1000];
        let Tiles { by_query, by_key } = Tiles::new(&starts);
        let mut rows: Vec<u32> =
            by_query.iter().flat_map(|[first, _, end, _]| *first..(first + TILE as u32).min(*end)).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..1000).collect::<Vec<u32>>());
        let inside = |[first, start, end, rest]: &Tile| {
            *start <= *first && first < end && (first - start) % TILE as u32 == 0 && *rest == 0
        };
        assert!(by_query.iter().chain(&by_key).all(inside));
        let sorted = |mut tiles: Vec<Tile>| {
            tiles.sort_unstable();
            tiles
        };
        assert!(by_query.is_sorted_by_key(|[first, start, ..]| std::cmp::Reverse(first - start)));
        assert!(by_key.is_sorted_by_key(|[first, _, end, _]| std::cmp::Reverse(end - first)));
        assert_eq!(sorted(by_query), sorted(by_key));
    }

    #[test]
    fn chunks_cover_every_weight_once_and_mark_what_decays() {
        let layout = Layout::new(&ModelConfig::smollm2_135m());
        let chunks = Chunks::new(&layout);
        let mut end = 0;
        for (first, count) in chunks.firsts.iter().zip(&chunks.counts) {
            assert_eq!(*first, end);
            assert!(*count as usize <= CHUNK && *count > 0);
            end += u64::from(*count);
        }
        assert_eq!(end, layout.len() as u64);
        let decayed: u64 = chunks
            .counts
            .iter()
            .zip(&chunks.decayed)
            .map(|(count, decayed)| u64::from(count * decayed))
            .sum();
        let norms = 576 * (2 * 30 + 1);
        assert_eq!(decayed, layout.len() as u64 - norms);
    }
}
