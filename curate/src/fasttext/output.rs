//! From the hidden vector to probabilities, by the loss that the model was trained with (loss.cc of fastText).

use super::dictionary::Dictionary;
use super::matrix::Matrix;
use std::io;

/// What `std_log` adds before it takes a logarithm.
const SMALL: f64 = 1e-5;

#[derive(Debug)]
pub(super) struct Output {
    matrix: Matrix,
    loss: Loss,
}

#[derive(Debug)]
enum Loss {
    /// Hierarchical softmax: for each label the inner nodes from the root, and whether it is to the right of each.
    Tree(Vec<Vec<(u32, bool)>>),
    /// Negative sampling and one-vs-all: each label for itself.
    Sigmoid,
    Softmax,
}

impl Output {
    pub(super) fn new(matrix: Matrix, dictionary: &Dictionary, loss: i32) -> io::Result<Self> {
        let loss = match loss {
            1 => {
                let counts: Vec<i64> = dictionary.labels.iter().map(|label| label.count).collect();
                Loss::Tree(paths(&counts))
            }
            2 | 4 => Loss::Sigmoid,
            3 => Loss::Softmax,
            other => {
                return Err(io::Error::other(format!(
                    "it was trained with loss {other}, which is not known"
                )));
            }
        };
        Ok(Self { matrix, loss })
    }

    pub(super) fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Whether it is a softmax over all labels.
    pub(super) fn is_softmax(&self) -> bool {
        matches!(self.loss, Loss::Softmax)
    }

    pub(super) fn probabilities(&self, hidden: &[f32]) -> Vec<f32> {
        let dots = || (0..self.matrix.rows()).map(|row| self.matrix.dot(row, hidden));
        match &self.loss {
            Loss::Sigmoid => dots().map(|dot| log(sigmoid(dot)).exp()).collect(),
            Loss::Softmax => {
                let scores: Vec<f32> = dots().collect();
                let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
                let sum: f32 = weights.iter().sum();
                // The original reports the exponential of what it logs.
                weights.iter().map(|weight| log(weight / sum).exp()).collect()
            }
            Loss::Tree(paths) => {
                let turns: Vec<f32> = dots().map(sigmoid).collect();
                let score = |path: &Vec<(u32, bool)>| {
                    let logs = path.iter().map(|(node, is_right)| {
                        let turn = turns[*node as usize];
                        log(if *is_right { turn } else { 1.0 - turn })
                    });
                    logs.fold(0.0_f32, |sum, log| sum + log).exp()
                };
                paths.iter().map(score).collect()
            }
        }
    }
}

fn sigmoid(value: f32) -> f32 {
    (1.0 / (1.0 + f64::from((-value).exp()))) as f32
}

fn log(value: f32) -> f32 {
    (f64::from(value) + SMALL).ln() as f32
}

/// The path to each label in the Huffman tree of their counts, which descend.
fn paths(counts: &[i64]) -> Vec<Vec<(u32, bool)>> {
    let labels = counts.len();
    let nodes = (2 * labels).saturating_sub(1);
    // Lighter than every node that is not there yet.
    let mut weights: Vec<i64> = counts.iter().map(|count| (*count).clamp(0, 999_999_999_999_999)).collect();
    weights.resize(nodes, 1_000_000_000_000_000);
    let mut parents = vec![0; nodes];
    let mut is_right = vec![false; nodes];
    let mut leaf = labels as i64 - 1;
    let mut inner = labels;
    for node in labels..nodes {
        let mut lightest = [0; 2];
        for light in &mut lightest {
            if leaf >= 0 && weights[leaf as usize] < weights[inner] {
                *light = leaf as usize;
                leaf -= 1;
            } else {
                *light = inner;
                inner += 1;
            }
        }
        weights[node] = weights[lightest[0]].saturating_add(weights[lightest[1]]);
        parents[lightest[0]] = node;
        parents[lightest[1]] = node;
        is_right[lightest[1]] = true;
    }
    let path = |label: usize| {
        let mut path = Vec::new();
        let mut node = label;
        while node + 1 != nodes {
            path.push(((parents[node] - labels) as u32, is_right[node]));
            node = parents[node];
        }
        path.reverse();
        path
    };
    (0..labels).map(path).collect()
}
