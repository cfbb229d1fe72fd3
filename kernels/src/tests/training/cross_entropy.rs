//! Cross-entropy: the loss of a token, and the gradient in place of its logits.

use super::*;
use crate::training::{TokenLoss, cross_entropy_backward, cross_entropy_forward};
use candle_core::Result;

/// Returns the log-probability of each target and the entropy of each row.
fn reference(logits: &Tensor, targets: &[u32]) -> Result<(Tensor, Tensor)> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let all = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
    let entropy = (all.exp()? * &all)?.sum(1)?.neg()?;
    let targets = Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?;
    Ok((all.gather(&targets, 1)?.squeeze(1)?, entropy))
}

fn forward(logits: &[f32], targets: &[u32]) -> Vec<TokenLoss> {
    let mut results = vec![TokenLoss::default(); targets.len()];
    cross_entropy_forward(&mut results, logits, targets);
    results
}

fn backward(logits: &[f32], targets: &[u32], weights: &[f32]) -> Vec<f32> {
    let mut gradient = logits.to_vec();
    cross_entropy_backward(&mut gradient, targets, &forward(logits, targets), weights);
    gradient
}

fn log_probabilities(results: &[TokenLoss]) -> Vec<f32> {
    results.iter().map(|result| result.log_probability).collect()
}

/// Returns logits in -scale / 2..scale / 2, and a target and a weight for each row; every third weight is 0, some are
/// negative.
fn inputs(rows: usize, vocabulary: usize, scale: f32) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
    let logits = elements(rows * vocabulary, 1, scale);
    let targets = (0..rows).map(|row| ((row * row + row + 5) % vocabulary) as u32).collect();
    let mut weights: Vec<f32> = elements(rows, 2, 2.0);
    weights.iter_mut().skip(1).step_by(3).for_each(|weight| *weight = 0.0);
    (logits, targets, weights)
}

fn check(rows: usize, vocabulary: usize, scale: f32) {
    let what = format!("cross_entropy N={rows} V={vocabulary} of {scale}");
    let (logits, targets, weights) = inputs(rows, vocabulary, scale);
    let logits64 = variable(&logits, (rows, vocabulary));
    let (log_probability, entropy) = reference(&logits64, &targets).unwrap();
    let results = forward(&logits, &targets);
    assert_near(&log_probabilities(&results), &flat(&log_probability), &what);
    let entropies: Vec<f32> = results.iter().map(|result| result.entropy).collect();
    assert_near(&entropies, &flat(&entropy), &format!("{what} entropy"));
    for ((result, logits), target) in results.iter().zip(logits.chunks(vocabulary)).zip(&targets) {
        let best = logits.iter().all(|logit| *logit <= logits[*target as usize]);
        assert_eq!(result.best, best, "{what} best");
    }

    let dlogits = backward(&logits, &targets, &weights);
    let negative: Vec<f32> = weights.iter().map(|weight| -weight).collect();
    let expected = gradient(&backpropagate(&log_probability, &negative), &logits64);
    assert_near(&dlogits, &expected, &format!("{what} gradient"));
    for (dlogits, weight) in dlogits.chunks(vocabulary).zip(&weights) {
        assert!(
            *weight != 0.0 || dlogits.iter().all(|d| *d == 0.0),
            "{what}: a row of weight 0 has no gradient"
        );
    }
    assert_slopes(&dlogits, &logits, &what, |logits| {
        loss(&log_probabilities(&forward(logits, &targets)), &negative)
    });
}

#[test]
fn one_token_in_the_vocabulary() {
    check(1, 1, 4.0);
}

#[test]
fn vocabularies_of_odd_sizes() {
    check(1, 2, 4.0);
    check(3, 7, 4.0);
    check(33, 49, 4.0);
    check(5, 1003, 4.0);
}

#[test]
fn logits_far_apart() {
    // The smallest exponentials are 0 in f32.
    check(7, 61, 250.0);
}

#[test]
fn the_vocabulary_of_a_model() {
    check(3, 49_152, 8.0);
}

#[test]
fn the_best_is_the_largest_or_one_of_them() {
    let logits = [[1.0, 2.0, 0.0], [1.0, 2.0, 2.0], [1.0, 2.0, 3.0]].concat();
    let best: Vec<bool> = forward(&logits, &[1, 1, 1]).iter().map(|result| result.best).collect();
    assert_eq!(best, [true, true, false]);
}

#[test]
fn no_tokens_are_no_losses() {
    assert_eq!(forward(&[], &[]), []);
    assert_eq!(backward(&[], &[], &[]), Vec::<f32>::new());
}

#[test]
fn threads_do_not_change_a_bit() {
    let (logits, targets, weights) = inputs(101, 333, 8.0);
    assert_threads_agree(|| {
        let results = forward(&logits, &targets);
        let entropies = results.iter().map(|result| result.entropy).collect();
        [log_probabilities(&results), entropies, backward(&logits, &targets, &weights)].concat()
    });
}
