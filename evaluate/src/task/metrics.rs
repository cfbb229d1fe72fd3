//! Named metrics of a document, and how they follow from log-likelihoods.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The metrics of one document, by name.
pub type Metrics = Vec<(String, MetricValue)>;

/// The value of a metric of one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetricValue {
    /// A number; the task's score is the mean over documents.
    Number(f64),
    /// Verdicts on parts of the document; the score is the share of true ones over all documents.
    Verdicts(Vec<bool>),
    /// A sum and what it is divided by; the score is the quotient of both sums over all documents.
    Ratio {
        /// The part.
        sum: f64,
        /// What it is a part of.
        of: f64,
    },
}

impl MetricValue {
    /// What is counted, and what it is a part of.
    pub(crate) fn parts(&self) -> (f64, f64) {
        match self {
            Self::Number(number) => (*number, 1.0),
            Self::Verdicts(list) => {
                (list.iter().filter(|verdict| **verdict).count() as f64, list.len() as f64)
            }
            Self::Ratio { sum, of } => (*sum, *of),
        }
    }
}

/// Whether a metric is a share of 1, shown in percent; others count something per something.
pub(crate) fn is_share(metric: &str) -> bool {
    !metric.contains("per_")
}

/// Which metrics a task with choices reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceMetrics {
    /// `acc`: the likeliest choice is the right one.
    Accuracy,
    /// `acc`, and `acc_norm`: the choice with the highest log-likelihood per character is the right one.
    AccuracyAndNormalized,
}

/// How documents of a task are scored.
#[derive(Debug, Clone, Copy)]
pub enum Scorer {
    /// From the log-likelihoods of choices.
    Choices(ChoiceMetrics),
    /// From what the document is compared with, and the text that the model wrote.
    Text(fn(&Value, &str) -> Result<Metrics>),
    /// From what a judge wrote about each reply of a conversation.
    Judged(fn(&[String]) -> Result<Metrics>),
    /// From the log-likelihood of the document itself.
    Perplexity,
}

/// The metrics of log-likelihoods. `lengths` are the choices' lengths in characters.
pub(crate) fn choice_metrics(kind: ChoiceMetrics, lls: &[f64], lengths: &[usize], gold: usize) -> Metrics {
    let right = |scores: &[f64]| MetricValue::Number(f64::from(first_highest(scores) == gold));
    // lm-evaluation-harness holds log-likelihoods as float32, and numpy divides float32 arrays as float64.
    let rounded: Vec<f64> = lls.iter().map(|ll| f64::from(*ll as f32)).collect();
    let mut metrics = vec![("acc".to_owned(), right(&rounded))];
    if kind == ChoiceMetrics::AccuracyAndNormalized {
        let normalized: Vec<f64> =
            rounded.iter().zip(lengths).map(|(ll, length)| ll / *length as f64).collect();
        metrics.push(("acc_norm".to_owned(), right(&normalized)));
    }
    metrics
}

/// The metrics of a document whose tokens have this log-likelihood: nats per token and bits per byte.
pub(crate) fn perplexity_metrics(loglikelihood: f64, tokens: usize, bytes: usize) -> Metrics {
    let bits = -loglikelihood / std::f64::consts::LN_2;
    vec![
        ("nats_per_token".to_owned(), MetricValue::Ratio { sum: -loglikelihood, of: tokens as f64 }),
        ("bits_per_byte".to_owned(), MetricValue::Ratio { sum: bits, of: bytes as f64 }),
    ]
}

/// The index of the highest value; of several, the first, as numpy's argmax. A NaN (an empty choice) is the highest.
pub(crate) fn first_highest(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if values[best].is_nan() {
            break;
        }
        if *value > values[best] || value.is_nan() {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_choice() {
        assert_eq!(first_highest(&[-2.0, -1.0, -1.0]), 1);
        assert_eq!(first_highest(&[-2.0, f64::NAN, -1.0, f64::NAN]), 1);
    }

    #[test]
    fn normalized_accuracy_divides_by_characters() {
        let metrics = choice_metrics(ChoiceMetrics::AccuracyAndNormalized, &[-10.0, -12.0], &[5, 10], 1);
        assert_eq!(metrics[0], ("acc".to_owned(), MetricValue::Number(0.0)));
        assert_eq!(metrics[1], ("acc_norm".to_owned(), MetricValue::Number(1.0)));
    }
}
