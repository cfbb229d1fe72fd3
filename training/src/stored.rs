//! A teacher whose distributions were stored: of each position its likeliest tokens, and what is left as one tail.

use crate::backend::Teacher;
use crate::batch::Batch;
use std::ops::Range;

/// A position's likeliest tokens: ids and log-probabilities. Empty where nothing was stored.
pub type TopTokens = Vec<(u32, f32)>;

/// The smallest probability of the tail: log-probabilities are rounded when they are stored.
const SMALLEST_TAIL: f32 = 1e-7;
/// The log-probability of what is impossible. Its exponential is 0 in f32, and products with 0 stay numbers.
const IMPOSSIBLE: f32 = -200.0;

/// The stored distributions of one batch.
///
/// The tail has what the likeliest tokens leave of 1. It is spread over the other tokens as the model itself spreads it: the
/// divergence is then that of K + 1 outcomes, the last of them "any other token", and so is its gradient. This is the tail
/// bucket of TRL's `loss_add_tail`.
#[derive(Debug, Default)]
pub struct StoredDistributions<'a> {
    of_targets: &'a [TopTokens],
    targets: Vec<u32>,
}

impl<'a> StoredDistributions<'a> {
    /// Returns the distributions of a batch's trained tokens (N).
    pub fn new(of_targets: &'a [TopTokens]) -> Self {
        Self { of_targets, targets: Vec::new() }
    }
}

impl Teacher for StoredDistributions<'_> {
    fn forward(&mut self, batch: &Batch) {
        assert_eq!(self.of_targets.len(), batch.targets.len(), "one distribution per trained token");
        self.targets.clone_from(&batch.targets);
    }

    fn logits(&mut self, rows: Range<usize>, student: &[f32], logits: &mut Vec<f32>) {
        let vocabulary = student.len() / rows.len();
        logits.resize(student.len(), 0.0);
        let of_rows = student.chunks_exact(vocabulary).zip(logits.chunks_exact_mut(vocabulary));
        for (row, (student, logits)) in rows.zip(of_rows) {
            match self.of_targets[row].as_slice() {
                [] => {
                    logits.fill(IMPOSSIBLE);
                    logits[self.targets[row] as usize] = 0.0;
                }
                top => spread(student, logits, top),
            }
        }
    }

    fn knows(&self, row: usize) -> bool {
        !self.of_targets[row].is_empty()
    }
}

/// Writes the log-probabilities (V) of a teacher: those of `top`, and for all others the model's own, scaled to what is left.
fn spread(student: &[f32], logits: &mut [f32], top: &[(u32, f32)]) {
    let known: f64 = top.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
    let tail = (1.0 - known).max(f64::from(SMALLEST_TAIL)).ln() as f32;
    logits.copy_from_slice(student);
    top.iter().for_each(|(id, _)| logits[*id as usize] = f32::NEG_INFINITY);
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if maximum.is_finite() {
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - maximum).exp()).sum();
        let shift = tail - maximum - sum.ln() as f32;
        logits.iter_mut().for_each(|logit| *logit += shift);
    }
    top.iter().for_each(|(id, logprob)| logits[*id as usize] = *logprob);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::batch::Sequence;
    use kernels::training::Divergence;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
    }

    /// Values and gradients of TRL's divergence with a tail bucket (`tests/goldens/make_distillation_goldens.py`).
    #[test]
    fn the_divergence_from_what_is_stored_is_trls() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/stored_distillation.json");
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(cases.len(), 9);
        let mut worst = 0.0f32;
        for case in cases {
            let mut student = numbers(&case["student"]);
            let ids = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
            let top: TopTokens = ids.zip(numbers(&case["logprobs"])).collect();
            let batch = Batch::new([Sequence { ids: vec![0, 1].into(), trained: vec![false, true].into() }]);
            let top = [top];
            let mut teacher = StoredDistributions::new(&top);
            let (mut logits, mut value) = (Vec::new(), [0.0]);
            teacher.forward(&batch);
            teacher.logits(0..1, &student, &mut logits);
            let beta = case["beta"].as_f64().unwrap() as f32;
            Divergence { beta, temperature: 1.0 }.gradient(&mut value, &mut student, &mut logits, &[1.0]);
            let expected = [numbers(&case["gradient"]), vec![case["loss"].as_f64().unwrap() as f32]].concat();
            for (found, expected) in student.iter().chain(&value).zip(expected) {
                worst = worst.max((found - expected).abs() / (1.0 + expected.abs()));
                assert!(
                    (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                    "beta {beta}: {found}, {expected}"
                );
            }
        }
        println!("within {worst:.1e}");
    }

    #[test]
    fn a_position_without_a_distribution_is_its_token() {
        let batch = Batch::new([Sequence { ids: vec![0, 2].into(), trained: vec![false, true].into() }]);
        let nothing = [TopTokens::new()];
        let mut teacher = StoredDistributions::new(&nothing);
        teacher.forward(&batch);
        let (mut student, mut logits, mut value) = (vec![0.3, -1.0, 0.5, 2.0], Vec::new(), [0.0]);
        teacher.logits(0..1, &student, &mut logits);
        assert!(!teacher.knows(0));
        let expected = {
            let sum: f32 = student.iter().map(|logit: &f32| logit.exp()).sum();
            sum.ln() - student[2]
        };
        Divergence { beta: 0.0, temperature: 1.0 }.gradient(&mut value, &mut student, &mut logits, &[1.0]);
        assert!((value[0] - expected).abs() < 1e-6, "{value:?}, {expected}");
    }
}
