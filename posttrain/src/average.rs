//! `posttrain average`: the mean of several checkpoints' weights, such as the last ones of a run (arXiv 2203.05482). Its
//! tokenizer and other files are those of the first.

use crate::derived::{self, WrittenPrecision, refuse_used_folder};
use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use std::path::PathBuf;
use training::Parameters;

/// The command line of `posttrain average`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoints: folders or Hugging Face ids
    #[arg(required = true, num_args = 2..)]
    checkpoints: Vec<String>,
    /// Folder of the mean, which must not exist or be empty
    #[arg(long)]
    out: PathBuf,
    /// Weight of each checkpoint, comma-separated; by default all alike
    #[arg(long, value_delimiter = ',')]
    weights: Vec<f64>,
    /// Data type of the saved weights; stored is the first checkpoint's
    #[arg(long, value_enum, default_value_t = WrittenPrecision::Stored)]
    save_precision: WrittenPrecision,
}

/// Writes the mean. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let Options { checkpoints: names, out, weights, save_precision } = options;
    refuse_used_folder(out)?;
    let shares = shares(weights, names.len())?;
    let opened = names.iter().map(|name| Checkpoint::open(name, None)).collect::<Result<Vec<_>, _>>()?;
    let first = &opened[0];
    first.check_trainable()?;
    for other in &opened[1..] {
        let is_same = other.config.to_json() == first.config.to_json();
        ensure!(
            is_same,
            "{} has another configuration than {}; average checkpoints of one model",
            other.name,
            first.name
        );
        ensure!(
            other.tokenizer.to_json()? == first.tokenizer.to_json()?,
            "{} has another tokenizer than {}; average checkpoints of one model",
            other.name,
            first.name
        );
    }
    let mut mean = Parameters::from_weights(&first.config, &first.weights);
    mean.values.iter_mut().for_each(|value| *value = (f64::from(*value) * shares[0]) as f32);
    for (checkpoint, share) in opened.iter().zip(&shares).skip(1) {
        for tensor in &mean.layout.tensors {
            let values = checkpoint.weights.tensor(&tensor.name);
            for (mean, value) in mean.values[tensor.range.clone()].iter_mut().zip(values) {
                *mean = (f64::from(*mean) + f64::from(value) * share) as f32;
            }
        }
        checkpoint.weights.release();
    }
    derived::write(out, first, &mean, *save_precision)?;
    // A closed pipe is no failure: the checkpoint is written.
    let _ = terminal::results!("the mean of {} checkpoints is in {}", names.len(), out.display());
    Ok(0)
}

/// Returns the share of each checkpoint; they add up to 1.
fn shares(weights: &[f64], count: usize) -> Result<Vec<f64>> {
    if weights.is_empty() {
        return Ok(vec![1.0 / count as f64; count]);
    }
    ensure!(
        weights.len() == count,
        "`--weights` has {} values for {count} checkpoints; give one for each",
        weights.len()
    );
    let total: f64 = weights.iter().sum();
    let is_valid = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && total > 0.0;
    ensure!(is_valid, "`--weights` is {weights:?}; expected numbers of at least 0, not all of them 0");
    Ok(weights.iter().map(|weight| weight / total).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one() {
        assert_eq!(shares(&[], 4).unwrap(), [0.25; 4]);
        assert_eq!(shares(&[1.0, 3.0], 2).unwrap(), [0.25, 0.75]);
        for wrong in [&[1.0][..], &[0.0, 0.0], &[1.0, -1.0], &[f64::NAN, 1.0]] {
            assert!(shares(wrong, 2).unwrap_err().to_string().contains("`--weights`"));
        }
    }
}
