//! Least squares of a linear layer: the sums over all texts, and the solution of the equations that they give.

use rayon::prelude::*;

/// Rows of the matrix that a thread sums together, in one reading of the vectors.
const ROWS: usize = 16;

/// Sums of products of the unknowns' factors: of each vector's numbers and a 1 for the bias.
pub(super) struct Gram {
    /// (dim + 1, dim + 1), symmetric.
    pub(super) matrix: Vec<f64>,
    /// Those with the targets (dim + 1).
    pub(super) right: Vec<f64>,
}

impl Gram {
    /// Sums over vectors (texts, dim) with a weight and a target for each. Every sum is in the order of the texts, on any
    /// number of threads.
    pub(super) fn new(vectors: &[f32], dim: usize, weights: &[f64], targets: &[f64]) -> Self {
        let width = dim + 1;
        let mut matrix = vec![0.0; width * width];
        matrix.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, rows)| {
            for (vector, weight) in vectors.chunks_exact(dim).zip(weights) {
                for (row, sums) in rows.chunks_exact_mut(width).enumerate() {
                    let factor =
                        weight * vector.get(block * ROWS + row).map_or(1.0, |value| f64::from(*value));
                    sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += factor * f64::from(*value));
                    sums[dim] += factor;
                }
            }
        });
        let mut right = vec![0.0; width];
        for ((vector, weight), target) in vectors.chunks_exact(dim).zip(weights).zip(targets) {
            let factor = weight * target;
            right.iter_mut().zip(vector).for_each(|(sum, value)| *sum += factor * f64::from(*value));
            right[dim] += factor;
        }
        Self { matrix, right }
    }
}

/// Solves a symmetric positive definite system by Cholesky's decomposition; `None` where it is not one.
pub(super) fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for column in 0..size {
        let (above, below) = matrix.split_at_mut((column + 1) * size);
        let row = &mut above[column * size..];
        let pivot = row[column] - row[..column].iter().map(|value| value * value).sum::<f64>();
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        row[column] = pivot.sqrt();
        let row = &row[..=column];
        below.par_chunks_mut(size).for_each(|other| {
            let dot: f64 = other[..column].iter().zip(row).map(|(one, other)| one * other).sum();
            other[column] = (other[column] - dot) / row[column];
        });
    }
    for at in 0..size {
        let dot: f64 =
            matrix[at * size..at * size + at].iter().zip(&right).map(|(one, other)| one * other).sum();
        right[at] = (right[at] - dot) / matrix[at * size + at];
    }
    for at in (0..size).rev() {
        let dot: f64 = (at + 1..size).map(|below| matrix[below * size + at] * right[below]).sum();
        right[at] = (right[at] - dot) / matrix[at * size + at];
    }
    Some(right)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_one_without_a_solution_is_not() {
        let matrix = vec![4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let solution = solve(matrix.clone(), vec![1.0, 2.0, 3.0]).unwrap();
        for (row, right) in matrix.chunks(3).zip([1.0, 2.0, 3.0]) {
            let sum: f64 = row.iter().zip(&solution).map(|(one, other)| one * other).sum();
            assert!((sum - right).abs() < 1e-12);
        }
        assert_eq!(solve(vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 1.0]), None);
        assert_eq!(solve(vec![f64::NAN], vec![1.0]), None);
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        let vectors: Vec<f32> = (0..20 * 37).map(|at| ((at * 7919) % 101) as f32 / 50.0 - 1.0).collect();
        let weights: Vec<f64> = (0..20).map(|at| 1.0 + f64::from(at) / 7.0).collect();
        let targets: Vec<f64> = (0..20).map(|at| f64::from(at % 6)).collect();
        let Gram { matrix, right } = Gram::new(&vectors, 37, &weights, &targets);
        let factor = |text: usize, at: usize| if at == 37 { 1.0 } else { f64::from(vectors[text * 37 + at]) };
        for one in 0..38 {
            for other in 0..38 {
                let sum: f64 =
                    (0..20).map(|text| weights[text] * factor(text, one) * factor(text, other)).sum();
                assert!((matrix[one * 38 + other] - sum).abs() < 1e-9);
            }
            let sum: f64 = (0..20).map(|text| weights[text] * factor(text, one) * targets[text]).sum();
            assert!((right[one] - sum).abs() < 1e-9);
        }
    }
}
