//! The reference's log-probability of every sequence: computed once by the model a run begins from, with the run's
//! own arithmetic, and kept under the hash of all that decides it.

use crate::examples::hex;
use crate::learner::Scorer;
use crate::model::{Batch, Parameters};
use crate::order::micro_batches;
use crate::recipe::Training;
use crate::tokens::Store;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernels::Element;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
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
    // Its buffers go when this returns.
    let mut scorer = Scorer::<E>::new(parameters, positions, training)?;
    let mut all = Vec::new();
    for store in stores.into_iter().flatten() {
        // A card rounds otherwise than a CPU.
        let device = if training.on_card() { " cuda" } else { "" };
        let name = format!("{VERSION} {weights} {} {:?}{device}", store.name(), training.precision);
        let path = cache.join("reference").join(hex(&Sha256::digest(name)));
        all.push(match read(&path) {
            Some(sums) if sums.len() == store.len() => sums,
            _ => compute(&mut scorer, store, training.micro_batch(), &path)?,
        });
    }
    Ok(all)
}

fn read(path: &Path) -> Option<Vec<f64>> {
    let bytes = std::fs::read(path).ok()?;
    Some(bytes.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect())
}

/// Computes what is not in the part that a killed run left, in the same micro-batches: a card's products round by how
/// many rows they have. The part is renamed when it is whole.
fn compute<E: Element>(
    scorer: &mut Scorer<'_, E>,
    store: &Store,
    micro_batch_tokens: usize,
    path: &Path,
) -> Result<Vec<f64>> {
    let cannot = || format!("cannot keep the reference's log-probabilities in {}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().create(true).append(true).open(&part).with_context(cannot)?;
    // Another run may be computing the same.
    file.lock().with_context(cannot)?;
    if let Some(sums) = read(path).filter(|sums| sums.len() == store.len()) {
        return Ok(sums);
    }
    let mut sums = read(&part).unwrap_or_default();
    let all: Vec<u32> = (0..store.len() as u32).collect();
    let groups = micro_batches(&all, |sequence| store.length(sequence as usize), micro_batch_tokens);
    let is_known = |group: &Vec<u32>| group.last().is_none_or(|last| (*last as usize) < sums.len());
    let known = groups.partition_point(is_known);
    sums.truncate(groups[..known].iter().map(Vec::len).sum());
    file.set_len(8 * sums.len() as u64).with_context(cannot)?;
    let progress = progress(store.len());
    for sequences in &groups[known..] {
        let batch = Batch::new(sequences.iter().map(|sequence| store.sequence(*sequence as usize)));
        let tokens = scorer.losses(&batch)?;
        let found = batch.target_starts.windows(2).map(|range| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum::<f64>()
        });
        let found: Vec<f64> = found.collect();
        let bytes: Vec<u8> = found.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all(&bytes).with_context(cannot)?;
        sums.extend(found);
        progress.set_position(sums.len() as u64);
    }
    progress.finish_and_clear();
    file.sync_all().and_then(|()| std::fs::rename(&part, path)).with_context(cannot)?;
    Ok(sums)
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

fn progress(sequences: usize) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("reference {bar:24} {pos}/{len} sequences, {eta} left")
        .expect("the template is ours");
    ProgressBar::with_draw_target(Some(sequences as u64), target).with_style(style)
}
