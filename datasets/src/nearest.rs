//! Nearest neighbours of embeddings, exactly: each vector against all earlier ones by inner product, in the order
//! they come, with as many threads as there are.
//!
//! Vectors lie sixteen side by side, so that a block of new ones against a group of earlier ones is a small matrix
//! product whose sums run along the vectors in one order, products and sums rounded separately: the same bits on every
//! machine. n vectors of width d take n²d operations and 4nd bytes; a million of width 1024 is what it is meant for.

use crate::duplicates::Duplicate;
use rayon::prelude::*;

/// Vectors side by side.
const LANES: usize = 16;
/// New vectors in a product's tile.
const ROWS: usize = 4;
/// New vectors compared at a time, which is what the earlier ones are read once for.
const BLOCK: usize = 128;
/// Groups of earlier vectors a thread takes at a time.
const SHARE: usize = 64;

/// Cosine distance within which Magpie counts instructions as repeated (magpie, exp/gen_dis.py).
pub const MAGPIE_DISTANCE: f64 = 0.05;

/// The earlier vector with the greatest cosine similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its number, from 0; the first of equals.
    pub of: usize,
    /// The cosine of the angle between the two.
    pub similarity: f32,
}

/// Why a vector cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Of another width than the first.
    #[error("vector {number} has {found} numbers where the first has {expected}")]
    Width {
        /// Which, from 0.
        number: usize,
        /// Its width.
        found: usize,
        /// The first one's.
        expected: usize,
    },
    /// Without a direction.
    #[error("vector {number} has no direction: all its numbers are 0, or one is not finite")]
    Direction {
        /// Which, from 0.
        number: usize,
    },
}

/// For each vector its nearest earlier neighbour; the first one has none.
///
/// # Errors
/// The vectors' own, or the first vector that cannot be compared.
pub fn nearest_earlier<E: From<Unusable>>(
    vectors: impl Iterator<Item = Result<Vec<f32>, E>>,
) -> Result<Vec<Option<Neighbour>>, E> {
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

/// For each vector whether its nearest earlier neighbour is within a cosine distance, and then which vector is kept of
/// the cluster: the one that following the nearest neighbours ends at.
pub fn duplicates(neighbours: &[Option<Neighbour>], distance: f64) -> Vec<Option<Duplicate>> {
    let mut found: Vec<Option<Duplicate>> = Vec::with_capacity(neighbours.len());
    for neighbour in neighbours {
        let near = neighbour.filter(|near| f64::from(near.similarity) >= 1.0 - distance);
        let duplicate = near.map(|Neighbour { of: through, similarity }| {
            let kept: Option<Duplicate> = found[through];
            let of = kept.map_or(through, |kept| kept.of);
            Duplicate { of, through, similarity: f64::from(similarity) }
        });
        found.push(duplicate);
    }
    found
}

/// Normalised vectors in groups of `LANES`, number by number.
#[derive(Default)]
struct Earlier {
    width: usize,
    count: usize,
    groups: Vec<Vec<[f32; LANES]>>,
}

impl Earlier {
    /// Takes a vector in; returns it normalised.
    fn push(&mut self, mut vector: Vec<f32>) -> Result<Vec<f32>, Unusable> {
        let number = self.count;
        if number == 0 {
            self.width = vector.len();
        }
        if vector.len() != self.width {
            return Err(Unusable::Width { number, found: vector.len(), expected: self.width });
        }
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if !(norm.is_finite() && norm > 0.0) {
            return Err(Unusable::Direction { number });
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

    /// The nearest earlier neighbours of the last vectors that were taken in.
    fn nearest(&self, block: &[Vec<f32>]) -> Vec<Option<Neighbour>> {
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

/// Rows side by side, number by number; missing rows are 0.
fn tile(rows: &[Vec<f32>], width: usize) -> Vec<[f32; ROWS]> {
    let number = |place: usize| std::array::from_fn(|row| rows.get(row).map_or(0.0, |row| row[place]));
    (0..width).map(number).collect()
}

fn improve(best: &mut Option<Neighbour>, products: &[f32; LANES], from: usize, itself: usize) {
    for (lane, similarity) in products.iter().enumerate().take(itself.saturating_sub(from)) {
        if best.is_none_or(|best| *similarity > best.similarity) {
            *best = Some(Neighbour { of: from + lane, similarity: *similarity });
        }
    }
}

/// The more similar one, the first of equals, whichever comes first.
fn better(one: Option<Neighbour>, other: Option<Neighbour>) -> Option<Neighbour> {
    match (one, other) {
        (Some(a), Some(b)) => {
            let second = b.similarity > a.similarity || b.similarity == a.similarity && b.of < a.of;
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
    use crate::hash::mix;

    fn vectors(count: usize, width: usize) -> Vec<Vec<f32>> {
        let number = |place: usize| (mix(place as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).map(|row| (0..width).map(|column| number(row * width + column)).collect()).collect()
    }

    fn find(vectors: Vec<Vec<f32>>) -> Result<Vec<Option<Neighbour>>, Unusable> {
        nearest_earlier(vectors.into_iter().map(Ok))
    }

    #[test]
    fn neighbours_are_those_of_plain_cosines() {
        // Shapes that are not multiples of anything; more than one block and more than one share.
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
                let found = found.map(|found| (found.of, f64::from(found.similarity)));
                match (found, best) {
                    (Some((of, similarity)), Some((best, expected))) => {
                        let same = of == best || (similarity - expected).abs() < 1e-6;
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
    fn all_paths_give_the_same_bits() {
        let vectors = vectors(LANES + ROWS, 101);
        let rows = tile(&vectors[..ROWS], 101);
        let lanes: Vec<[f32; LANES]> =
            (0..101).map(|place| std::array::from_fn(|lane| vectors[ROWS + lane][place])).collect();
        assert_eq!(products(&rows, &lanes), products_plain(&rows, &lanes));
    }

    #[test]
    fn duplicates_lead_to_the_one_that_is_kept() {
        let turned = |degrees: f32| vec![5.0 * degrees.to_radians().cos(), 5.0 * degrees.to_radians().sin()];
        // 15 degrees are a distance of 0.034, 30 of 0.134.
        let neighbours = find([0.0, 90.0, 15.0, 30.0, 91.0].map(turned).into()).unwrap();
        let found = duplicates(&neighbours, MAGPIE_DISTANCE);
        let seen: Vec<_> = found.iter().map(|found| found.map(|found| (found.of, found.through))).collect();
        assert_eq!(seen, [None, None, Some((0, 0)), Some((0, 2)), Some((1, 1))]);
        assert!(duplicates(&neighbours, 0.01)[2].is_none());
    }

    #[test]
    fn vectors_without_a_direction_are_named() {
        assert_eq!(find(vec![vec![1.0, 0.0], vec![0.0, 0.0]]), Err(Unusable::Direction { number: 1 }));
        assert_eq!(find(vec![vec![1.0, f32::NAN]]), Err(Unusable::Direction { number: 0 }));
        let width = Unusable::Width { number: 1, found: 1, expected: 2 };
        assert_eq!(find(vec![vec![1.0, 0.0], vec![1.0]]), Err(width));
    }
}
