//! Sampling of a token from logits: penalties, bias, temperature, truncation, one random number.
//!
//! The random number of step n of a request is a hash of its seed and n, so that it depends on nothing else.

use crate::event::Logprobs;
use crate::request::Sampling;
use kernels::LogSum;
use std::collections::{HashMap, HashSet};

/// Below this temperature the likeliest token has all of the probability, and logits divided by it may overflow.
const COLDEST: f32 = 1e-5;
/// Number of candidates that are ranked first. Their probability mass is enough in most cases.
const FIRST_RANKED: usize = 64;

/// The tokens of prompt and answer, for the penalties.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenCounts {
    /// Ids in the prompt or the answer.
    all: HashSet<u32>,
    /// Ids in the answer and how often they occur.
    answer: HashMap<u32, u32>,
}

impl TokenCounts {
    pub(crate) fn new(prompt: &[u32]) -> Self {
        Self { all: prompt.iter().copied().collect(), answer: HashMap::new() }
    }

    /// Adds a token of the answer.
    pub(crate) fn add(&mut self, id: u32) {
        self.all.insert(id);
        *self.answer.entry(id).or_default() += 1;
    }
}

/// Chooses a token from logits (V). `step` is the number of tokens that the request has generated. A logit of minus
/// infinity is never chosen; returns `None` if there is no other.
pub(crate) fn sample(logits: &[f32], sampling: &Sampling, step: u64) -> Option<u32> {
    if sampling.temperature < COLDEST {
        return likeliest(logits);
    }
    let mut candidates: Vec<(u32, f32)> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
        .map(|(id, logit)| (id as u32, logit / sampling.temperature))
        .collect();
    truncate_by_rank(&mut candidates, sampling.top_k);
    let weights = truncate_by_mass(&mut candidates, sampling);
    let total: f64 = weights.iter().sum();
    let mut remaining = random_unit(sampling.seed, step) * total;
    for ((id, _), weight) in candidates.iter().zip(&weights) {
        remaining -= weight;
        if remaining < 0.0 {
            return Some(*id);
        }
    }
    candidates.last().map(|(id, _)| *id)
}

/// Applies penalties and bias to logits (V).
pub(crate) fn apply_penalties(logits: &mut [f32], sampling: &Sampling, counts: &TokenCounts) {
    if sampling.repetition_penalty != 1.0 {
        for &id in &counts.all {
            let logit = &mut logits[id as usize];
            *logit = if *logit > 0.0 {
                *logit / sampling.repetition_penalty
            } else {
                *logit * sampling.repetition_penalty
            };
        }
    }
    for (&id, &count) in &counts.answer {
        logits[id as usize] -= sampling.presence_penalty + sampling.frequency_penalty * count as f32;
    }
    for &(id, bias) in &sampling.logit_bias {
        logits[id as usize] += bias;
    }
}

/// Returns the natural-log probability of `id` under logits (V), and the `count` likeliest tokens, best first.
pub(crate) fn logprobs(logits: &[f32], id: u32, count: usize) -> Logprobs {
    let sum = LogSum::of(logits);
    let logprob = |logit: f32| sum.log_probability(logit) as f32;
    let mut ranked: Vec<(u32, f32)> =
        logits.iter().enumerate().map(|(id, logit)| (id as u32, *logit)).collect();
    truncate_by_rank(&mut ranked, count.max(1));
    ranked.truncate(count);
    Logprobs {
        logprob: logprob(logits[id as usize]),
        top: ranked.into_iter().map(|(id, logit)| (id, logprob(logit))).collect(),
    }
}

/// Returns the id with the highest logit; of several, the lowest id.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, highest)| highest) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id as u32)
}

/// Keeps the `count` likeliest candidates, best first; 0 keeps all, in their order.
fn truncate_by_rank(candidates: &mut Vec<(u32, f32)>, count: usize) {
    if count > 0 {
        rank(candidates, count);
        candidates.truncate(count);
    }
}

/// Moves the `count` likeliest candidates to the front, best first; the others follow in any order.
fn rank(candidates: &mut [(u32, f32)], count: usize) {
    let better = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, better);
    }
    let count = count.min(candidates.len());
    candidates[..count].sort_unstable_by(better);
}

/// Applies top_p and min_p; returns the weight of each candidate that is kept. Ranks only as many candidates as needed.
fn truncate_by_mass(candidates: &mut Vec<(u32, f32)>, sampling: &Sampling) -> Vec<f64> {
    let highest = candidates.iter().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
    let weigh = |candidates: &[(u32, f32)]| -> Vec<f64> {
        candidates.iter().map(|(_, logit)| f64::from(logit - highest).exp()).collect()
    };
    if sampling.top_p >= 1.0 && sampling.min_p <= 0.0 {
        return weigh(candidates);
    }
    let enough_mass = match sampling.top_p {
        top_p if top_p < 1.0 => weigh(candidates).iter().sum::<f64>() * f64::from(top_p),
        _ => f64::INFINITY,
    };
    let mut ranked = FIRST_RANKED;
    loop {
        rank(candidates, ranked);
        let mut weights = weigh(&candidates[..ranked.min(candidates.len())]);
        let kept = count_within_mass(&weights, enough_mass, f64::from(sampling.min_p));
        if kept < weights.len() || weights.len() == candidates.len() {
            // The likeliest candidate is kept, however small top_p is.
            let kept = kept.max(1).min(candidates.len());
            weights.truncate(kept);
            candidates.truncate(kept);
            return weights;
        }
        ranked *= 8;
    }
}

/// Returns how many of the weights, best first, come before their sum reaches `enough_mass` and are at least `least`.
fn count_within_mass(weights: &[f64], enough_mass: f64, least: f64) -> usize {
    let mut mass = 0.0;
    let kept = weights.iter().take_while(|weight| {
        let is_kept = mass < enough_mass && **weight >= least;
        mass += **weight;
        is_kept
    });
    kept.count()
}

/// Returns a number in [0, 1) that is a hash of seed and step.
fn random_unit(seed: u64, step: u64) -> f64 {
    random::unit(random::finalize(random::splitmix(seed).wrapping_add(step.wrapping_mul(random::STEP))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, f32::NEG_INFINITY, 2.0, 3.0];

    /// Returns how often each token is chosen, as a fraction.
    fn frequencies(sampling: &Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; LOGITS.len()];
        for step in 0..20_000 {
            counts[sample(&LOGITS, sampling, step).expect("some logit is finite") as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    /// `truncate_by_mass` by sorting all candidates.
    fn truncate_sorted(mut candidates: Vec<(u32, f32)>, sampling: &Sampling) -> (Vec<(u32, f32)>, Vec<f64>) {
        let highest = candidates.iter().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
        let weight = |(_, logit): &(u32, f32)| f64::from(logit - highest).exp();
        let enough_mass = candidates.iter().map(weight).sum::<f64>() * f64::from(sampling.top_p);
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut weights: Vec<f64> = candidates.iter().map(weight).collect();
        if sampling.top_p < 1.0 {
            let before =
                |end: &usize| weights[..*end].iter().fold(0.0, |mass, weight| mass + weight) < enough_mass;
            let kept = (0..weights.len()).take_while(before).count();
            weights.truncate(kept.max(1));
        }
        let least = f64::from(sampling.min_p);
        weights.truncate(weights.iter().take_while(|weight| **weight >= least).count().max(1));
        candidates.truncate(weights.len());
        (candidates, weights)
    }

    proptest! {
        #[test]
        fn partial_ranking_equals_sorting_to_the_bit(
            logits in proptest::collection::vec(-12i32..12, 1..1500),
            spread in prop_oneof![Just(0.001f32), Just(0.1), Just(0.37), Just(3.0)],
            top_p in prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0],
            min_p in prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0],
        ) {
            // Multiples of a step, so that many logits are equal.
            let candidates: Vec<(u32, f32)> =
                (0..).zip(logits).map(|(id, step)| (id, step as f32 * spread)).collect();
            let sampling = Sampling { top_p, min_p, ..Sampling::default() };
            prop_assume!(top_p < 1.0 || min_p > 0.0);
            let mut ranked = candidates.clone();
            let weights = truncate_by_mass(&mut ranked, &sampling);
            prop_assert_eq!((ranked, weights), truncate_sorted(candidates, &sampling));
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equal_logits() {
        assert_eq!(sample(&LOGITS, &Sampling::default(), 0), Some(1));
        // At this temperature the logits overflow.
        let cold = Sampling { temperature: 1e-38, seed: 3, ..Sampling::default() };
        assert_eq!(sample(&LOGITS, &cold, 0), Some(1));
        let first = Sampling { temperature: 1.0, top_p: 0.0, seed: 3, ..Sampling::default() };
        assert_eq!(sample(&LOGITS, &first, 0), Some(1));
        assert_eq!(sample(&[f32::NEG_INFINITY; 3], &Sampling::default(), 0), None);
    }

    #[test]
    fn samples_follow_the_softmax() {
        let sampling = Sampling { temperature: 0.7, seed: 5, ..Sampling::default() };
        let weights: Vec<f64> = LOGITS.iter().map(|logit| (f64::from(*logit) / 0.7).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (frequency, weight) in frequencies(&sampling).iter().zip(&weights) {
            // Three standard errors of 20,000 samples are at most 0.011.
            assert!((frequency - weight / total).abs() < 0.011, "{frequency}, expected {}", weight / total);
        }
    }

    #[test]
    fn truncations_keep_the_stated_tokens() {
        let base = Sampling { temperature: 1.0, seed: 1, ..Sampling::default() };
        let kept = |sampling: Sampling| {
            let frequencies = frequencies(&sampling);
            (0..LOGITS.len()).filter(|id| frequencies[*id] > 0.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(Sampling { top_k: 1, ..base.clone() }), [1]);
        assert_eq!(kept(Sampling { top_k: 3, ..base.clone() }), [1, 3, 4]);
        // Probabilities are 0.400, 0.400, 0.147, 0.054: the sum of two reaches 0.79, that of three 0.9.
        assert_eq!(kept(Sampling { top_p: 0.79, ..base.clone() }), [1, 4]);
        assert_eq!(kept(Sampling { top_p: 0.9, ..base.clone() }), [1, 3, 4]);
        // Token 3 is e^-1 = 0.37 times as likely as the best, token 0 e^-2 = 0.14 times.
        assert_eq!(kept(Sampling { min_p: 0.2, ..base.clone() }), [1, 3, 4]);
        assert_eq!(kept(Sampling { min_p: 0.5, ..base }), [1, 4]);
    }

    #[test]
    fn penalties_and_bias_change_the_logits_of_their_tokens() {
        let mut counts = TokenCounts::new(&[0]);
        counts.add(1);
        counts.add(1);
        let sampling = Sampling {
            repetition_penalty: 2.0,
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            logit_bias: vec![(3, -1.0)],
            ..Sampling::default()
        };
        let mut logits = [-1.0, 3.0, 0.5, 2.0];
        apply_penalties(&mut logits, &sampling, &counts);
        assert_eq!(logits, [-2.0, 1.5 - 0.5 - 0.5, 0.5, 1.0]);
    }

    #[test]
    fn log_probabilities_are_natural_logs() {
        let logits = [0.0, (3.0f32).ln()];
        let one = logprobs(&logits, 0, 2);
        assert!((one.logprob - 0.25f32.ln()).abs() < 1e-6);
        assert_eq!(one.top[0].0, 1);
        assert!((one.top[0].1 - 0.75f32.ln()).abs() < 1e-6);
        assert!(logprobs(&logits, 0, 0).top.is_empty());
    }
}
