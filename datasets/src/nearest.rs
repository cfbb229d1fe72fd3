//! Exact nearest neighbors of embeddings: each vector is compared with all earlier ones by inner product, on all cores.
//!
//! Vectors are stored in interleaved groups of sixteen, so that a block of new ones times a group of earlier ones is a
//! small matrix product. Each sum runs along the vectors in one order, with products and sums rounded separately: the
//! same bits on every machine. n vectors of width d take n²d operations and 4nd bytes; the design size is a million
//! vectors of width 1024.

use crate::duplicates::Duplicate;
use rayon::prelude::*;

/// Vectors in an interleaved group.
const LANES: usize = 16;
/// New vectors in one tile of the product.
const ROWS: usize = 4;
/// New vectors that are compared in one pass over the earlier ones.
const BLOCK: usize = 128;
/// Groups of earlier vectors that one thread takes at a time.
const SHARE: usize = 64;

/// The cosine distance up to which Magpie counts instructions as repeated (magpie, exp/gen_dis.py).
pub const MAGPIE_DISTANCE: f64 = 0.05;

/// The earlier vector with the greatest cosine similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Its index; the first of equals.
    pub index: usize,
    /// The cosine similarity of the two.
    pub similarity: f32,
}

/// Why a vector cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// Its width differs from that of the first one.
    #[error("vector {number} has {found} numbers; the first one has {expected}")]
    Width {
        /// Its index.
        number: usize,
        /// Its width.
        found: usize,
        /// The first one's width.
        expected: usize,
    },
    /// It has no direction.
    #[error("vector {number} has no direction: all its numbers are 0, or one is not finite")]
    Direction {
        /// Its index.
        number: usize,
    },
}

/// Finds the nearest earlier neighbor of each vector; the first one has none.
///
/// # Errors
/// The first error among the vectors, or the first vector that cannot be compared.
pub fn nearest_earlier<E: From<VectorError>>(
    vectors: impl Iterator<Item = Result<Vec<f32>, E>>,
) -> Result<Vec<Option<Neighbor>>, E> {
    let mut earlier = Earlier::default();
    let mut found = Vec::new();
    let mut vectors = vectors.peekable();
    while vectors.peek().is_some() {
        let mut block = Vec::with_capacity(BLOCK);
        for vector in vectors.by_ref().take(BLOCK) {
            block.push(earlier.push(vector?)?);
        }
        found.extend(earlier.nearest(&block));
    }
    Ok(found)
}

/// Finds for each vector whether its nearest earlier neighbor is within a cosine distance, and which vector of the
/// cluster is kept: the one at the end of the chain of nearest neighbors.
pub fn duplicates(neighbors: &[Option<Neighbor>], distance: f64) -> Vec<Option<Duplicate>> {
    let mut found: Vec<Option<Duplicate>> = Vec::with_capacity(neighbors.len());
    for neighbor in neighbors {
        let near = neighbor.filter(|near| f64::from(near.similarity) >= 1.0 - distance);
        let duplicate = near.map(|Neighbor { index: through, similarity }| {
            let earlier: Option<Duplicate> = found[through];
            let of = earlier.map_or(through, |earlier| earlier.of);
            Duplicate { of, through, similarity: f64::from(similarity) }
        });
        found.push(duplicate);
    }
    found
}

/// Normalized vectors in interleaved groups (groups, width, LANES).
#[derive(Default)]
struct Earlier {
    width: usize,
    count: usize,
    groups: Vec<Vec<[f32; LANES]>>,
}

impl Earlier {
    /// Adds a vector; returns it normalized.
    fn push(&mut self, mut vector: Vec<f32>) -> Result<Vec<f32>, VectorError> {
        let number = self.count;
        if number == 0 {
            self.width = vector.len();
        }
        if vector.len() != self.width {
            return Err(VectorError::Width { number, found: vector.len(), expected: self.width });
        }
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if !(norm.is_finite() && norm > 0.0) {
            return Err(VectorError::Direction { number });
        }
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        let lane = number % LANES;
        if lane == 0 {
            self.groups.push(vec![[0.0; LANES]; self.width]);
        }
        if let Some(group) = self.groups.last_mut() {
            group.iter_mut().zip(&vector).for_each(|(lanes, x)| lanes[lane] = *x);
        }
        self.count += 1;
        Ok(vector)
    }

    /// The nearest earlier neighbors of the vectors that were added last.
    fn nearest(&self, block: &[Vec<f32>]) -> Vec<Option<Neighbor>> {
        let first = self.count - block.len();
        let tiles: Vec<Vec<[f32; ROWS]>> = block.chunks(ROWS).map(|rows| tile(rows, self.width)).collect();
        let shares = self.groups.par_chunks(SHARE).enumerate().map(|(share, groups)| {
            let mut best = vec![None; block.len()];
            for (group, lanes) in groups.iter().enumerate() {
                let from = (share * SHARE + group) * LANES;
                for (tile, (rows, best)) in tiles.iter().zip(best.chunks_mut(ROWS)).enumerate() {
                    let products = products(rows, lanes);
                    for (row, best) in best.iter_mut().enumerate() {
                        let itself = first + tile * ROWS + row;
                        improve(best, &products[row], from, itself);
                    }
                }
            }
            best
        });
        let none = || vec![None; block.len()];
        shares.reduce(none, |one, other| one.into_iter().zip(other).map(|(a, b)| better(a, b)).collect())
    }
}

/// Interleaved rows (width, ROWS); missing rows are 0.
fn tile(rows: &[Vec<f32>], width: usize) -> Vec<[f32; ROWS]> {
    let number = |place: usize| std::array::from_fn(|row| rows.get(row).map_or(0.0, |row| row[place]));
    (0..width).map(number).collect()
}

fn improve(best: &mut Option<Neighbor>, products: &[f32; LANES], from: usize, itself: usize) {
    for (lane, similarity) in products.iter().enumerate().take(itself.saturating_sub(from)) {
        if best.is_none_or(|best| *similarity > best.similarity) {
            *best = Some(Neighbor { index: from + lane, similarity: *similarity });
        }
    }
}

/// The more similar one; of equals the one with the lower index.
fn better(one: Option<Neighbor>, other: Option<Neighbor>) -> Option<Neighbor> {
    match (one, other) {
        (Some(a), Some(b)) => {
            let second = b.similarity > a.similarity || b.similarity == a.similarity && b.index < a.index;
            Some(if second { b } else { a })
        }
        (one, other) => one.or(other),
    }
}

/// The inner products of every row with every lane.
fn products(rows: &[[f32; ROWS]], lanes: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512F.
        return unsafe { products_avx512(rows, lanes) };
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { products_avx2(rows, lanes) };
    }
    products_plain(rows, lanes)
}

/// The same code, compiled for sixteen lanes a register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn products_avx512(rows: &[[f32; ROWS]], lanes: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    products_plain(rows, lanes)
}

/// The same code, compiled for eight lanes a register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(rows: &[[f32; ROWS]], lanes: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    products_plain(rows, lanes)
}

#[inline(always)]
fn products_plain(rows: &[[f32; ROWS]], lanes: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    for (row, lanes) in rows.iter().zip(lanes) {
        for (x, sums) in row.iter().zip(&mut sums) {
            for (y, sum) in lanes.iter().zip(sums) {
                *sum += x * y;
            }
        }
    }
    sums
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use random::splitmix;

    fn vectors(count: usize, width: usize) -> Vec<Vec<f32>> {
        let number = |place: usize| (splitmix(place as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).map(|row| (0..width).map(|column| number(row * width + column)).collect()).collect()
    }

    fn find(vectors: Vec<Vec<f32>>) -> Result<Vec<Option<Neighbor>>, VectorError> {
        nearest_earlier(vectors.into_iter().map(Ok))
    }

    #[test]
    fn neighbors_are_those_of_plain_cosines() {
        // Shapes that are no multiples of the tile's; more than one block and more than one share.
        for (count, width) in [(1, 3), (17, 5), (1301, 37)] {
            let vectors = vectors(count, width);
            let cosine = |a: &[f32], b: &[f32]| {
                let dot = |a: &[f32], b: &[f32]| {
                    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
                };
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            };
            for (row, found) in find(vectors.clone()).unwrap().into_iter().enumerate() {
                let similarities = vectors[..row].iter().map(|earlier| cosine(earlier, &vectors[row]));
                let best = similarities.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
                let found = found.map(|found| (found.index, f64::from(found.similarity)));
                match (found, best) {
                    (Some((index, similarity)), Some((best, expected))) => {
                        let same = index == best || (similarity - expected).abs() < 1e-6;
                        assert!(
                            same && (similarity - expected).abs() < 1e-5,
                            "{row}: {found:?} for {expected}"
                        );
                    }
                    (found, best) => assert!(found.is_none() && best.is_none()),
                }
            }
        }
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        let vectors = vectors(LANES + ROWS, 101);
        let rows = tile(&vectors[..ROWS], 101);
        let lanes: Vec<[f32; LANES]> =
            (0..101).map(|place| std::array::from_fn(|lane| vectors[ROWS + lane][place])).collect();
        assert_eq!(products(&rows, &lanes), products_plain(&rows, &lanes));
    }

    #[test]
    fn duplicates_lead_to_the_one_that_is_kept() {
        let rotated = |degrees: f32| vec![5.0 * degrees.to_radians().cos(), 5.0 * degrees.to_radians().sin()];
        // 15 degrees are a distance of 0.034, 30 of 0.134.
        let neighbors = find([0.0, 90.0, 15.0, 30.0, 91.0].map(rotated).into()).unwrap();
        let found = duplicates(&neighbors, MAGPIE_DISTANCE);
        let seen: Vec<_> = found.iter().map(|found| found.map(|found| (found.of, found.through))).collect();
        assert_eq!(seen, [None, None, Some((0, 0)), Some((0, 2)), Some((1, 1))]);
        assert!(duplicates(&neighbors, 0.01)[2].is_none());
    }

    #[test]
    fn vectors_without_a_direction_are_named() {
        assert_eq!(find(vec![vec![1.0, 0.0], vec![0.0, 0.0]]), Err(VectorError::Direction { number: 1 }));
        assert_eq!(find(vec![vec![1.0, f32::NAN]]), Err(VectorError::Direction { number: 0 }));
        let width = VectorError::Width { number: 1, found: 1, expected: 2 };
        assert_eq!(find(vec![vec![1.0, 0.0], vec![1.0]]), Err(width));
    }
}
