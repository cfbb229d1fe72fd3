//! A linear layer on an encoder's vectors: fitted as scikit-learn's `Ridge` and `LogisticRegression` are, whose optimum is one
//! point, and stored with what it was fitted on.

use super::solve::{Gram, solve};
use anyhow::{Context, Result, ensure};
use encoder::Encoder;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a layer learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Scores, by least squares with a penalty on the squares of the weights
    Ridge,
    /// The probability of a label, by logistic regression with the same penalty
    Logistic,
}

/// Steps of Newton's method at most; a handful suffice.
const STEPS: usize = 100;
/// The largest change of a weight at which the optimum is reached.
const TOLERANCE: f64 = 1e-9;

/// A fitted layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    kind: HeadKind,
    /// The encoder that its vectors are from.
    encoder: String,
    weights: Vec<f64>,
    bias: f64,
}

impl Head {
    /// Fits a layer to vectors (targets, dim). `penalty` is Ridge's `alpha`, and 1 / C of LogisticRegression, whose targets
    /// are 0 and 1.
    ///
    /// # Errors
    /// When the vectors are not finite.
    pub(super) fn fit(
        kind: HeadKind,
        encoder: &str,
        vectors: &[f32],
        targets: &[f64],
        penalty: f64,
    ) -> Result<Self> {
        ensure!(!targets.is_empty(), "there is no text to train on");
        ensure!(penalty > 0.0, "`--penalty {penalty}` must be greater than 0");
        let dim = vectors.len() / targets.len();
        let (weights, bias) = match kind {
            HeadKind::Ridge => ridge(vectors, targets, dim, penalty),
            HeadKind::Logistic => logistic(vectors, targets, dim, penalty),
        }
        .context("the layer cannot be fitted; the encoder's vectors are not finite numbers")?;
        Ok(Self { kind, encoder: encoder.to_owned(), weights, bias })
    }

    /// The layer that a checkpoint was published with.
    pub(super) fn of_layer(encoder: &Encoder, layer: &encoder::Head) -> Self {
        Self {
            kind: HeadKind::Ridge,
            encoder: encoder.fingerprint().to_owned(),
            weights: layer.weights.iter().map(|weight| f64::from(*weight)).collect(),
            bias: layer.bias.first().map_or(0.0, |bias| f64::from(*bias)),
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no linear layer", path.display()))
    }

    /// Refuses another encoder than the one that it was fitted on.
    pub(super) fn check(&self, encoder: &Encoder) -> Result<()> {
        ensure!(
            self.encoder == encoder.fingerprint() && self.weights.len() == encoder.dim(),
            "it was trained on another encoder ({}, {} numbers) than the one that is given ({}, {} numbers)",
            self.encoder,
            self.weights.len(),
            encoder.fingerprint(),
            encoder.dim()
        );
        Ok(())
    }

    /// The score of a vector (dim): a number of the scale, or a probability.
    pub(super) fn score(&self, vector: &[f32]) -> f32 {
        let sum = self.bias + product(&self.weights, vector);
        match self.kind {
            HeadKind::Ridge => sum as f32,
            HeadKind::Logistic => sigmoid(sum) as f32,
        }
    }
}

fn product(weights: &[f64], vector: &[f32]) -> f64 {
    weights.iter().zip(vector).map(|(weight, value)| weight * f64::from(*value)).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Minimizes the sum of (target - vector weights - bias)^2 + penalty |weights|^2.
fn ridge(vectors: &[f32], targets: &[f64], dim: usize, penalty: f64) -> Option<(Vec<f64>, f64)> {
    let ones = vec![1.0; targets.len()];
    let Gram { mut matrix, right } = Gram::new(vectors, dim, &ones, targets);
    // The bias is the last unknown and has no penalty.
    (0..dim).for_each(|at| matrix[at * (dim + 1) + at] += penalty);
    let mut weights = solve(matrix, right)?;
    let bias = weights.pop()?;
    Some((weights, bias))
}

/// Minimizes the sum of the log losses + penalty / 2 |weights|^2 by Newton's method; a step that makes it worse is halved.
fn logistic(vectors: &[f32], targets: &[f64], dim: usize, penalty: f64) -> Option<(Vec<f64>, f64)> {
    let mut weights = vec![0.0; dim + 1];
    let mut best = loss(vectors, targets, &weights, penalty);
    for _ in 0..STEPS {
        let probabilities: Vec<f64> = vectors
            .chunks_exact(dim)
            .map(|vector| sigmoid(weights[dim] + product(&weights[..dim], vector)))
            .collect();
        let curvature: Vec<f64> = probabilities.iter().map(|p| (p * (1.0 - p)).max(1e-12)).collect();
        // Gram weighs its targets, too.
        let slopes: Vec<f64> = targets
            .iter()
            .zip(&probabilities)
            .zip(&curvature)
            .map(|((target, p), c)| (target - p) / c)
            .collect();
        let Gram { mut matrix, mut right } = Gram::new(vectors, dim, &curvature, &slopes);
        for at in 0..dim {
            matrix[at * (dim + 1) + at] += penalty;
            right[at] -= penalty * weights[at];
        }
        let mut step = solve(matrix, right)?;
        let largest = step.iter().fold(0.0f64, |largest, step| largest.max(step.abs()));
        loop {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(weight, step)| weight + step).collect();
            let reached = loss(vectors, targets, &next, penalty);
            if reached <= best {
                (weights, best) = (next, reached);
                break;
            }
            step.iter_mut().for_each(|step| *step /= 2.0);
            if step.iter().all(|step| step.abs() < TOLERANCE) {
                break;
            }
        }
        if largest < TOLERANCE {
            break;
        }
    }
    let bias = weights.pop()?;
    weights.iter().all(|weight| weight.is_finite()).then_some((weights, bias))
}

fn loss(vectors: &[f32], targets: &[f64], weights: &[f64], penalty: f64) -> f64 {
    let dim = weights.len() - 1;
    let one = |(vector, target): (&[f32], &f64)| {
        let score = weights[dim] + product(&weights[..dim], vector);
        // ln(1 + e^x) - target x, without an overflow.
        score.max(0.0) + (-score.abs()).exp().ln_1p() - target * score
    };
    let losses: f64 = vectors.chunks_exact(dim).zip(targets).map(one).sum();
    losses + penalty / 2.0 * weights[..dim].iter().map(|weight| weight * weight).sum::<f64>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::Value;

    fn numbers(values: &Value) -> Vec<f64> {
        values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }

    /// Against `tests/goldens/make_head_goldens.py`.
    #[test]
    fn layers_are_those_of_scikit_learn() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/heads.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let rows = golden["vectors"].as_array().unwrap();
        let vectors: Vec<f32> = rows.iter().flat_map(numbers).map(|value| value as f32).collect();
        let scores = numbers(&golden["scores"]);
        let labels: Vec<f64> = scores.iter().map(|score| f64::from(u8::from(*score >= 3.0))).collect();
        let (count, dim) = (golden["train"].as_u64().unwrap() as usize, vectors.len() / scores.len());
        for expected in golden["heads"].as_array().unwrap() {
            let kind: HeadKind = serde_json::from_value(expected["kind"].clone()).unwrap();
            let (targets, cut) = if kind == HeadKind::Ridge { (&scores, 2.5) } else { (&labels, 0.5) };
            let penalty = expected["penalty"].as_f64().unwrap();
            let head = Head::fit(kind, "x", &vectors[..count * dim], &targets[..count], penalty).unwrap();
            let found: Vec<f32> =
                vectors[count * dim..].chunks(dim).map(|vector| head.score(vector)).collect();
            for (found, expected) in found.iter().zip(numbers(&expected["scores"])) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{kind:?} {penalty}: {found}, not {expected}"
                );
            }
            let (mut both, mut one) = (0, 0);
            for (found, label) in found.iter().zip(&labels[count..]) {
                both += u32::from(*found >= cut && *label > 0.5);
                one += u32::from((*found >= cut) != (*label > 0.5));
            }
            let f1 = f64::from(2 * both) / f64::from(2 * both + one);
            assert!((f1 - expected["f1"].as_f64().unwrap()).abs() < 1e-12, "{f1}, not {}", expected["f1"]);
        }
    }

    #[test]
    fn labels_that_a_plane_divides_have_a_finite_layer() {
        let vectors: Vec<f32> = (0..40).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let targets: Vec<f64> = (0..40).map(|at| f64::from(u8::from(at % 2 == 0))).collect();
        let head = Head::fit(HeadKind::Logistic, "x", &vectors, &targets, 1e-6).unwrap();
        assert!(head.score(&[1.0]) > 0.999 && head.score(&[-1.0]) < 0.001);
        let error =
            Head::fit(HeadKind::Ridge, "x", &[f32::NAN; 4], &[1.0, 2.0], 1.0).unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
        assert!(Head::fit(HeadKind::Ridge, "x", &vectors, &targets, 0.0).is_err());
    }
}
