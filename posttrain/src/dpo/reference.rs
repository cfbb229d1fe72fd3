//! The reference's log-probability of every sequence: computed once by the model a run begins from, with the run's
//! own arithmetic, and kept under the hash of all that decides it.

use crate::examples::hex;
use crate::model::{Batch, Model, Parameters};
use crate::order::micro_batches;
use crate::recipe::Training;
use crate::tokens::Store;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernels::Element;
use sha2::{Digest, Sha256};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Raised whenever the same weights and rows would give other numbers.
const VERSION: u32 = 1;

/// Σ log-probability of the trained tokens of every sequence of every store.
///
/// # Errors
/// When the cache cannot be read or written.
pub(super) fn log_probabilities<E: Element>(
    parameters: &Parameters,
    stores: [Option<&Store>; 2],
    training: &Training,
    positions: usize,
    cache: &Path,
) -> Result<Vec<Vec<f64>>> {
    let weights = weights_hash(parameters);
    // Its buffers go when this returns; the weights are the run's own.
    let mut model = Model::<E>::new(&parameters.config, positions, training.layer_checkpointing);
    let mut all = Vec::new();
    for store in stores.into_iter().flatten() {
        let name = format!("{VERSION} {weights} {} {:?}", store.name(), training.precision);
        let path = cache.join("reference").join(hex(&Sha256::digest(name)));
        let known = std::fs::read(&path).ok().filter(|bytes| bytes.len() == 8 * store.len());
        if let Some(bytes) = known {
            all.push(bytes.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect());
            continue;
        }
        let made = compute(&mut model, &parameters.values, store, training.micro_batch_tokens);
        keep(&path, &made)?;
        all.push(made);
    }
    Ok(all)
}

fn compute<E: Element>(
    model: &mut Model<E>,
    weights: &[f32],
    store: &Store,
    micro_batch_tokens: usize,
) -> Vec<f64> {
    let progress = progress(store.len());
    let all: Vec<u32> = (0..store.len() as u32).collect();
    let mut sums = Vec::with_capacity(store.len());
    for sequences in micro_batches(&all, |sequence| store.length(sequence as usize), micro_batch_tokens) {
        let batch = Batch::new(sequences.iter().map(|sequence| store.sequence(*sequence as usize)));
        model.forward(weights, &batch);
        let tokens = model.losses(weights, &batch);
        sums.extend(batch.target_starts.windows(2).map(|range| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum::<f64>()
        }));
        progress.set_position(sums.len() as u64);
    }
    progress.finish_and_clear();
    sums
}

fn weights_hash(parameters: &Parameters) -> String {
    let mut hasher = Sha256::new();
    hasher.update(parameters.config.to_json().to_string());
    for chunk in parameters.values.chunks(1 << 16) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

fn keep(path: &Path, numbers: &[f64]) -> Result<()> {
    let cannot = || format!("cannot keep the reference's log-probabilities in {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    beside.write_all(&bytes).with_context(cannot)?;
    beside.persist(path).map_err(|error| error.error).with_context(cannot)?;
    Ok(())
}

fn progress(sequences: usize) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("reference {bar:24} {pos}/{len} sequences, {eta} left")
        .expect("the template is ours");
    ProgressBar::with_draw_target(Some(sequences as u64), target).with_style(style)
}
