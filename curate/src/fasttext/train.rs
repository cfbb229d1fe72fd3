//! Training of a supervised model as fastText trains one (supervised.cc and fasttext.cc): words, runs of words and pieces of
//! words are averaged, one linear layer predicts the label by softmax, and the learning rate falls to 0. One thread, so that
//! the same examples give the same model; its numbers are not those of the C++ program, which draws other ones.

use super::dictionary::{Dictionary, Label};
use super::matrix::Matrix;
use super::output::Output;
use super::{Model, Settings};
use anyhow::{Result, bail};
use random::splitmix;
use std::collections::HashMap;

/// Settings; the defaults are DCLM's, with its word pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Size of the hidden vector.
    pub dim: usize,
    /// Passes over the examples.
    pub epochs: usize,
    /// Learning rate at the start.
    pub learning_rate: f32,
    /// Words of a run at most.
    pub word_ngrams: usize,
    /// Occurrences of a word at least.
    pub min_count: usize,
    /// Buckets of runs and pieces.
    pub buckets: usize,
    /// Shortest and longest piece of a word, in characters; 0 for none.
    pub pieces: (usize, usize),
    /// Draws follow from it.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            dim: 100,
            epochs: 5,
            learning_rate: 0.1,
            word_ngrams: 2,
            min_count: 1,
            buckets: 2_000_000,
            pieces: (0, 0),
            seed: 42,
        }
    }
}

/// Trains a model on texts with labels (without `__label__`).
///
/// # Errors
/// When there are fewer than two labels, or the hidden vector has no numbers.
pub fn train(examples: &[(String, String)], training: &Training) -> Result<Model> {
    if training.dim == 0 {
        bail!("the hidden vector needs at least 1 number; give `--dim 100`");
    }
    let uses_buckets = training.word_ngrams > 1 || training.pieces.1 > 0;
    let settings = Settings {
        word_ngrams: training.word_ngrams as i32,
        buckets: if uses_buckets { training.buckets as i64 } else { 0 },
        shortest: training.pieces.0 as i32,
        longest: training.pieces.1 as i32,
    };
    let (words, labels) = count(examples, training.min_count);
    if labels.len() < 2 {
        bail!("a classifier needs examples of at least two labels; {} found", labels.len());
    }
    let dictionary = Dictionary::new(settings, words, labels);
    let rows = dictionary.word_count() + settings.buckets as usize;
    let mut state = State {
        input: initial(rows * training.dim, training.dim, training.seed),
        output: vec![0.0; dictionary.labels.len() * training.dim],
        dim: training.dim,
        hidden: vec![0.0; training.dim],
        gradient: vec![0.0; training.dim],
        scores: vec![0.0; dictionary.labels.len()],
    };
    let numbered: HashMap<&str, usize> = dictionary
        .labels
        .iter()
        .enumerate()
        .map(|(at, label)| (label.name.trim_start_matches("__label__"), at))
        .collect();
    let mut lines = Vec::with_capacity(examples.len());
    for (text, label) in examples {
        let mut rows = Vec::new();
        dictionary.rows(text, &mut rows);
        lines.push((rows, numbered[label.as_str()]));
    }
    let steps = (training.epochs * lines.len()).max(1);
    for epoch in 0..training.epochs {
        for (at, place) in order(lines.len(), training.seed, epoch).into_iter().enumerate() {
            let progress = (epoch * lines.len() + at) as f32 / steps as f32;
            let (rows, label) = &lines[place];
            state.step(rows, *label, training.learning_rate * (1.0 - progress));
        }
    }
    let labels = dictionary.labels.len();
    let output = Output::new(Matrix::of(labels, training.dim, state.output), &dictionary, super::SOFTMAX)?;
    Ok(Model { dictionary, input: Matrix::of(rows, training.dim, state.input), output })
}

/// Words and labels with their counts, the most frequent first.
fn count(examples: &[(String, String)], min_count: usize) -> (Vec<(Vec<u8>, i64)>, Vec<Label>) {
    let mut words: HashMap<&[u8], i64> = HashMap::new();
    let mut labels: HashMap<&str, i64> = HashMap::new();
    for (text, label) in examples {
        for word in Dictionary::split(text) {
            *words.entry(word).or_default() += 1;
        }
        *labels.entry(label).or_default() += 1;
    }
    let mut words: Vec<(Vec<u8>, i64)> = words
        .into_iter()
        .filter(|(_, count)| *count >= min_count as i64)
        .map(|(word, count)| (word.to_vec(), count))
        .collect();
    words.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
    let mut labels: Vec<Label> =
        labels.into_iter().map(|(name, count)| Label { name: format!("__label__{name}"), count }).collect();
    labels.sort_by(|one, other| other.count.cmp(&one.count).then(one.name.cmp(&other.name)));
    (words, labels)
}

/// Uniform numbers in a range of 2 over the dimension.
fn initial(length: usize, dim: usize, seed: u64) -> Vec<f32> {
    let range = 1.0 / dim as f32;
    let draw = |at: usize| (splitmix(seed ^ splitmix(at as u64)) >> 40) as f32 / (1 << 24) as f32;
    (0..length).map(|at| range * (2.0 * draw(at) - 1.0)).collect()
}

/// A permutation of the examples for each epoch.
fn order(length: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..length).collect();
    order.sort_by_key(|at| (splitmix(splitmix(seed.wrapping_add(epoch as u64 + 1)) ^ *at as u64), *at));
    order
}

struct State {
    /// (rows, dim)
    input: Vec<f32>,
    /// (labels, dim)
    output: Vec<f32>,
    dim: usize,
    hidden: Vec<f32>,
    gradient: Vec<f32>,
    scores: Vec<f32>,
}

impl State {
    /// One step of stochastic gradient descent on one example.
    fn step(&mut self, rows: &[i32], label: usize, rate: f32) {
        if rows.is_empty() {
            return;
        }
        let dim = self.dim;
        self.hidden.fill(0.0);
        for row in rows {
            let row = &self.input[*row as usize * dim..][..dim];
            self.hidden.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let scale = 1.0 / rows.len() as f32;
        self.hidden.iter_mut().for_each(|value| *value *= scale);
        for (score, row) in self.scores.iter_mut().zip(self.output.chunks(dim)) {
            *score = row.iter().zip(&self.hidden).map(|(one, other)| one * other).sum();
        }
        let highest = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
        let sum: f32 = self.scores.iter().sum();
        self.gradient.fill(0.0);
        for (at, (score, row)) in self.scores.iter().zip(self.output.chunks_mut(dim)).enumerate() {
            let step = rate * (f32::from(u8::from(at == label)) - score / sum);
            for ((gradient, weight), hidden) in self.gradient.iter_mut().zip(row).zip(&self.hidden) {
                *gradient += step * *weight;
                *weight += step * hidden;
            }
        }
        // The mean's gradient is divided among the rows, as in the original.
        for row in rows {
            let row = &mut self.input[*row as usize * dim..][..dim];
            row.iter_mut().zip(&self.gradient).for_each(|(value, gradient)| *value += scale * gradient);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// Texts of two kinds that share half of their words; some labels are wrong.
    fn examples(count: usize, seed: u64) -> Vec<(String, String)> {
        let draw = |at: usize, word: usize| splitmix(seed ^ splitmix((at * 1000 + word) as u64)) as usize;
        let example = |at: usize| {
            let is_good = draw(at, 999).is_multiple_of(2);
            let word = |word: usize| {
                let number = draw(at, word) % 60;
                if number < 30 {
                    format!("w{number}")
                } else if is_good {
                    format!("g{number}")
                } else {
                    format!("b{number}")
                }
            };
            let text = (0..8).map(word).collect::<Vec<_>>().join(" ");
            (text, if is_good { "good" } else { "rest" }.to_owned())
        };
        (0..count).map(example).collect()
    }

    fn small() -> Training {
        Training { dim: 8, buckets: 1000, ..Training::default() }
    }

    #[test]
    fn a_trained_model_tells_labels_apart_and_is_read_back() {
        let model = train(&examples(2000, 1), &small()).unwrap();
        let held_out = examples(500, 2);
        let right = held_out
            .iter()
            .filter(|(text, label)| model.best(text).is_some_and(|(found, _)| found == label))
            .count();
        // One in 256 texts has no word of its kind.
        assert!(right >= 490, "{right} of 500");
        let mut bytes = Vec::new();
        model.write(&mut bytes).unwrap();
        let read = Model::read(&mut &bytes[..]).unwrap();
        for (text, _) in &held_out {
            assert_eq!(model.predict(text), read.predict(text));
        }
        let mut again = Vec::new();
        train(&examples(2000, 1), &small()).unwrap().write(&mut again).unwrap();
        assert!(bytes == again);
    }

    #[test]
    fn one_label_is_refused() {
        let error = train(&[("a".to_owned(), "x".to_owned())], &small()).unwrap_err().to_string();
        assert!(error.contains("at least two labels; 1 found"), "{error}");
    }
}
