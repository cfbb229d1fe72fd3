//! Means with their standard errors. A standard error says how far a figure would move if other questions of the same
//! kind had been asked. It does not cover what another training run would change.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// A figure and its standard error, which is NaN (null in JSON) where there are too few values to estimate it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    #[serde(deserialize_with = "number_or_nan")]
    /// The figure.
    pub value: f64,
    #[serde(deserialize_with = "number_or_nan")]
    /// Its standard error; NaN where it cannot be estimated.
    pub standard_error: f64,
}

fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// The mean, with standard error s / sqrt(n); s is the standard deviation of the sample, with n - 1.
pub fn mean(values: &[f64]) -> Estimate {
    let count = values.len() as f64;
    let value = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|one| (one - value).powi(2)).sum();
    // For n = 1 this is 0/0.
    Estimate { value, standard_error: (squares / (count - 1.0) / count).sqrt() }
}

/// The share of true values, with standard error sqrt(p (1 - p) / (n - 1)).
pub(crate) fn share(values: impl IntoIterator<Item = bool>) -> Estimate {
    mean(&values.into_iter().map(f64::from).collect::<Vec<_>>())
}

/// The mean of k independent figures with equal weights, with standard error sqrt(Σ se²) / k.
pub(crate) fn average(parts: &[Estimate]) -> Estimate {
    let count = parts.len() as f64;
    let variance: f64 = parts.iter().map(|part| part.standard_error.powi(2)).sum();
    Estimate {
        value: parts.iter().map(|part| part.value).sum::<f64>() / count,
        standard_error: variance.sqrt() / count,
    }
}

/// The mean over all values of several parts, each with its count, with the pooled standard error of lm-evaluation-harness
/// (`lm_eval/api/metrics.py`, `pooled_sample_stderr`).
pub(crate) fn pooled(parts: &[(usize, Estimate)]) -> Estimate {
    let total: f64 = parts.iter().map(|(count, _)| *count as f64).sum();
    let value = parts.iter().map(|(count, one)| *count as f64 * one.value).sum::<f64>() / total;
    let squares = parts.iter().map(|(count, one)| {
        let count = *count as f64;
        (count - 1.0) * one.standard_error.powi(2) * count
    });
    let variance = squares.sum::<f64>() / (total - parts.len() as f64) / total;
    Estimate { value, standard_error: variance.sqrt() }
}

/// Σ parts / Σ wholes over clusters (instructions of a prompt, tokens of a document), with the linearized variance of a
/// ratio (Cochran 1977, Sampling Techniques, section 2.11).
pub(crate) fn ratio(parts: &[f64], wholes: &[f64]) -> Estimate {
    let count = wholes.len() as f64;
    let whole: f64 = wholes.iter().sum();
    let value = parts.iter().sum::<f64>() / whole;
    let residuals = parts.iter().zip(wholes).map(|(part, whole)| (part - value * whole).powi(2));
    let variance = residuals.sum::<f64>() * count / (count - 1.0) / whole.powi(2);
    // One cluster's residual is 0 but for rounding, which divided by 0 is infinite.
    Estimate { value, standard_error: if count > 1.0 { variance.sqrt() } else { f64::NAN } }
}

/// The mean difference of pairs (before, after). What both values of a pair have in common cancels.
pub(crate) fn mean_difference(pairs: &[(f64, f64)]) -> Estimate {
    mean(&pairs.iter().map(|(before, after)| after - before).collect::<Vec<_>>())
}

/// The most frequent answer and its share: the score of a model that always gives this answer.
pub(crate) fn best_constant<'a>(answers: impl IntoIterator<Item = &'a str>) -> (&'a str, f64) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let most_frequent = counts.into_iter().max_by_key(|(_, count)| *count);
    most_frequent.map_or(("", f64::NAN), |(answer, count)| (answer, count as f64 / total as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
    }

    #[test]
    fn a_share_has_its_closed_form() {
        for (right, count) in [(0, 5), (3, 4), (170, 250), (250, 250)] {
            let estimate = share((0..count).map(|index| index < right));
            let p = f64::from(right) / f64::from(count);
            assert_near(estimate.value, p);
            assert_near(estimate.standard_error, (p * (1.0 - p) / f64::from(count - 1)).sqrt());
        }
        assert!(share([true]).standard_error.is_nan());
    }

    #[test]
    fn an_average_of_kinds_adds_their_variances() {
        let parts =
            [(0.5, 0.03), (0.7, 0.04)].map(|(value, standard_error)| Estimate { value, standard_error });
        let estimate = average(&parts);
        assert_near(estimate.value, 0.6);
        assert_near(estimate.standard_error, 0.025);
        assert!(average(&[]).value.is_nan());
    }

    #[test]
    fn pooled_parts_count_their_values() {
        let one = |value, standard_error| Estimate { value, standard_error };
        let pooled = pooled(&[(10, one(0.5, 0.1)), (30, one(0.9, 0.05))]);
        assert_near(pooled.value, 0.8);
        // (9 * 0.01 * 10 + 29 * 0.0025 * 30) / 38 / 40
        assert_near(pooled.standard_error, (3.075_f64 / 38.0 / 40.0).sqrt());
    }

    #[test]
    fn what_pairs_have_in_common_cancels() {
        // Only one of four changes.
        let pairs = [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)];
        let estimate = mean_difference(&pairs);
        assert_near(estimate.value, 0.25);
        assert_near(estimate.standard_error, (0.75_f64 / 3.0 / 4.0).sqrt());
        let same: Vec<_> = (0..10).map(|index| (f64::from(index % 2), f64::from(index % 2))).collect();
        assert_eq!(mean_difference(&same), Estimate { value: 0.0, standard_error: 0.0 });
    }

    #[test]
    fn a_ratio_of_equal_clusters_is_their_mean() {
        let parts = [1.0, 0.0, 2.0, 2.0];
        let estimate = ratio(&parts, &[2.0; 4]);
        let expected = mean(&parts.map(|part| part / 2.0));
        assert_near(estimate.value, expected.value);
        assert_near(estimate.standard_error, expected.standard_error);
        assert!(ratio(&[0.1 + 0.2], &[3.0]).standard_error.is_nan(), "one cluster says nothing");
    }

    #[test]
    fn the_best_constant_is_the_most_frequent_answer() {
        assert_eq!(best_constant(["mill", "barn", "barn", "park"]), ("barn", 0.5));
        assert!(best_constant([]).1.is_nan());
    }
}
