//! How a held-out loss follows from the mixture: floor + exp(Σ rate x weight), the data mixing law of Ye et al.
//! (arXiv 2403.16952), fitted to small runs as RegMix (arXiv 2407.01492) fits its regression. A weighted sum of such laws is
//! convex, so the best mixture is the one minimum.

/// Floors that are tried, between 0 and the lowest loss.
const FLOORS: usize = 200;
/// The ridge that keeps the rates of a domain that hardly varies near 0.
const RIDGE: f64 = 1e-6;
/// Sweeps of the coordinate descent for shares.
const SWEEPS: usize = 2000;
/// Steps of the descent on the simplex.
const STEPS: usize = 20_000;

/// What a loss follows from (the weights of the domains, or the losses of components), and the loss.
pub(super) type Point = (Vec<f64>, f64);

/// A fitted law.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Law {
    floor: f64,
    rates: Vec<f64>,
}

impl Law {
    /// Fits the law to mixtures (weights of all domains, which add up to 1) and their losses. At least one point more than
    /// domains is needed.
    pub(super) fn fit(points: &[Point]) -> Self {
        let lowest = points.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        // From just under the lowest loss down to 0, in even ratios of the gap.
        let floors = (0..FLOORS).map(|index| {
            let share = index as f64 / (FLOORS - 1) as f64;
            lowest * (1.0 - 1e-3f64.powf(1.0 - share))
        });
        let laws = floors.map(|floor| Self { floor, rates: rates(points, floor) });
        let error = |law: &Self| -> f64 {
            points.iter().map(|(weights, loss)| (law.loss(weights) - loss).powi(2)).sum()
        };
        laws.min_by(|one, other| error(one).total_cmp(&error(other)))
            .unwrap_or(Self { floor: 0.0, rates: Vec::new() })
    }

    /// The loss that is expected of a mixture.
    pub(super) fn loss(&self, weights: &[f64]) -> f64 {
        self.floor + self.excess(weights)
    }

    fn excess(&self, weights: &[f64]) -> f64 {
        self.rates.iter().zip(weights).map(|(rate, weight)| rate * weight).sum::<f64>().exp()
    }
}

/// The rates of the least squares of log(loss - floor), weighted so that they are nearly those of the loss.
fn rates(points: &[Point], floor: f64) -> Vec<f64> {
    let count = points.first().map_or(0, |(weights, _)| weights.len());
    let (mut matrix, mut right) = (vec![vec![0.0; count]; count], vec![0.0; count]);
    for (weights, loss) in points {
        let excess = (loss - floor).max(1e-12);
        for row in 0..count {
            let scaled = excess * excess * weights[row];
            right[row] += scaled * excess.ln();
            for column in 0..count {
                matrix[row][column] += scaled * weights[column];
            }
        }
    }
    let scale = (0..count).map(|index| matrix[index][index]).sum::<f64>() / count.max(1) as f64;
    (0..count).for_each(|index| matrix[index][index] += RIDGE * scale);
    solved(matrix, right)
}

/// Solves a symmetric positive definite system by Gaussian elimination.
fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    for pivot in 0..count {
        let row = matrix[pivot].clone();
        for below in pivot + 1..count {
            let factor = matrix[below][pivot] / row[pivot];
            for (entry, value) in matrix[below].iter_mut().zip(&row).skip(pivot) {
                *entry -= factor * value;
            }
            right[below] -= factor * right[pivot];
        }
    }
    for pivot in (0..count).rev() {
        let known: f64 = (pivot + 1..count).map(|column| matrix[pivot][column] * right[column]).sum();
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    right
}

/// The share of each component in a loss: the non-negative numbers s, and the constant, with which constant + Σ s x component
/// is nearest to it. A held-out loss of several kinds of documents is such a sum of the losses of the kinds; a law of its own
/// could only have its minimum at a single domain.
pub(super) fn shares(points: &[Point]) -> (Vec<f64>, f64) {
    let (count, total) = (points.first().map_or(0, |(components, _)| components.len()), points.len() as f64);
    let mean = |index: usize| points.iter().map(|(components, _)| components[index]).sum::<f64>() / total;
    let means: Vec<f64> = (0..count).map(mean).collect();
    let whole = points.iter().map(|(_, loss)| loss).sum::<f64>() / total;
    let column =
        |index: usize| points.iter().map(|(components, _)| components[index] - means[index]).collect();
    let columns: Vec<Vec<f64>> = (0..count).map(column).collect();
    let mut residual: Vec<f64> = points.iter().map(|(_, loss)| loss - whole).collect();
    let mut shares = vec![0.0; count];
    for _ in 0..SWEEPS {
        for (share, column) in shares.iter_mut().zip(&columns) {
            let square: f64 = column.iter().map(|value| value * value).sum();
            let product: f64 = column.iter().zip(&residual).map(|(value, rest)| value * rest).sum();
            let next = if square > 0.0 { (*share + product / square).max(0.0) } else { 0.0 };
            residual.iter_mut().zip(column).for_each(|(rest, value)| *rest -= (next - *share) * value);
            *share = next;
        }
    }
    let known: f64 = shares.iter().zip(&means).map(|(share, mean)| share * mean).sum();
    (shares, whole - known)
}

/// The weighted sum of losses that is expected of a mixture.
pub(super) fn objective(laws: &[(f64, Law)], weights: &[f64]) -> f64 {
    laws.iter().map(|(part, law)| part * law.loss(weights)).sum()
}

/// The mixture with the lowest objective, by exponentiated gradient descent from equal weights.
pub(super) fn best(laws: &[(f64, Law)]) -> Vec<f64> {
    let count = laws.first().map_or(0, |(_, law)| law.rates.len());
    let mut weights = vec![1.0 / count.max(1) as f64; count];
    let steepest =
        laws.iter().flat_map(|(_, law)| &law.rates).fold(1e-9f64, |most, rate| most.max(rate.abs()));
    for step in 0..STEPS {
        let gradient: Vec<f64> = (0..count)
            .map(|domain| {
                laws.iter().map(|(part, law)| part * law.excess(&weights) * law.rates[domain]).sum()
            })
            .collect();
        let rate = 4.0 / steepest / (1.0 + step as f64 / 200.0).sqrt();
        weights.iter_mut().zip(&gradient).for_each(|(weight, slope)| *weight *= (-rate * slope).exp());
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{mix, unit};

    fn mixtures(count: usize, domains: usize) -> Vec<Vec<f64>> {
        let draw = |index: usize| -(1.0 - unit(mix(3, index as u64))).ln();
        let mixture = |index: usize| -> Vec<f64> {
            let draws: Vec<f64> = (0..domains).map(|domain| draw(index * domains + domain)).collect();
            let sum: f64 = draws.iter().sum();
            draws.into_iter().map(|draw| draw / sum).collect()
        };
        (0..count).map(mixture).collect()
    }

    #[test]
    fn a_law_is_found_again() {
        let law = Law { floor: 2.1, rates: vec![0.9, -0.4, 0.2, 0.5] };
        let points: Vec<_> = mixtures(12, 4).into_iter().map(|one| (one.clone(), law.loss(&one))).collect();
        let fitted = Law::fit(&points);
        for weights in mixtures(50, 4) {
            assert!((fitted.loss(&weights) - law.loss(&weights)).abs() < 2e-3, "{fitted:?}");
        }
    }

    #[test]
    fn the_kinds_in_a_loss_are_found() {
        let components = mixtures(12, 3);
        let whole = |one: &Vec<f64>| 0.3 + 0.7 * one[0] + 0.2 * one[2];
        let points: Vec<_> = components.iter().map(|one| (one.clone(), whole(one))).collect();
        let (shares, constant) = shares(&points);
        // The components add up to 1 here, so that a constant is also a share of each.
        for (components, loss) in &points {
            let expected: f64 = shares.iter().zip(components).map(|(share, one)| share * one).sum();
            assert!((constant + expected - loss).abs() < 1e-6, "{shares:?} {constant}");
        }
        assert!(shares.iter().all(|share| *share >= 0.0) && shares[0] > shares[2], "{shares:?}");
    }

    #[test]
    fn the_best_mixture_of_two_aims_lies_between() {
        // Each domain helps its own held-out loss alone; the first counts twice.
        let own = |domain: usize| Law {
            floor: 1.0,
            rates: (0..3).map(|one| if one == domain { -3.0 } else { 0.0 }).collect(),
        };
        let laws = [(2.0 / 3.0, own(0)), (1.0 / 3.0, own(1))];
        let weights = best(&laws);
        // Where the slopes are equal: 2 exp(-3 a) = exp(-3 b) with a + b = 1.
        let first = 0.5 + 2f64.ln() / 6.0;
        assert!((weights[0] - first).abs() < 1e-3 && weights[2] < 1e-3, "{weights:?}");
        assert!(objective(&laws, &weights) < objective(&laws, &[0.5, 0.5, 0.0]));
    }
}
