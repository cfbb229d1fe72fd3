//! Lists that the host makes for the kernels: which tokens share a table row, which tiles attention is cut into,
//! which parts of the flat buffers the optimizer takes.

use crate::model::Layout;

/// Rows of a tile of attention.
pub const TILE: usize = 128;
/// Most weights of a chunk of the optimizer; a multiple of 4 keeps its accesses wide.
pub const CHUNK: usize = 16_384;

/// Tokens sorted by what stands there, for the embedding's gradient: a table row's tokens in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ById {
    /// Token indexes by (id, index) (T).
    pub order: Vec<u32>,
    /// Where in `order` each new id begins, then T (ids that occur + 1).
    pub segments: Vec<u32>,
}

impl ById {
    /// Sorts a batch's tokens.
    pub fn new(ids: &[u32]) -> Self {
        // Id and place in one number: the card waits meanwhile, and such numbers sort fast.
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

/// 128 rows of one sequence: first row, the sequence's start and end, and nothing.
pub type Tile = [u32; 4];

/// The tiles of packed sequences, the heaviest first: once for kernels whose work grows with what lies before a tile
/// (the queries'), once for those whose work grows with what lies after it (the keys').
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiles {
    /// By keys before: forward, and the queries' gradient.
    pub by_query: Vec<Tile>,
    /// By queries after: the keys' and values' gradient.
    pub by_key: Vec<Tile>,
}

impl Tiles {
    /// Cuts sequences that begin at `starts` (the last entry their end) into tiles.
    pub fn new(starts: &[usize]) -> Self {
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

/// Parts of the flat buffers, each of one tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Where each begins.
    pub firsts: Vec<u64>,
    /// How many weights it has.
    pub counts: Vec<u32>,
    /// 1 where weight decay applies, else 0.
    pub decayed: Vec<u32>,
}

impl Chunks {
    /// Cuts all tensors of a model.
    pub fn new(layout: &Layout) -> Self {
        let mut chunks = Self::default();
        for tensor in &layout.tensors {
            for first in tensor.range.clone().step_by(CHUNK) {
                chunks.firsts.push(first as u64);
                chunks.counts.push(CHUNK.min(tensor.range.end - first) as u32);
                chunks.decayed.push(tensor.decayed().into());
            }
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smollm::ModelConfig;

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
    fn chunks_cover_every_weight_once_and_know_what_decays() {
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
