//! The reference's log-probability of every sequence: computed once by the model that a run starts from, with the run's
//! own arithmetic, and cached under the hash of everything that decides it.

use crate::order::micro_batches;
use crate::settings::Precision;
use crate::tokens::Store;
use anyhow::{Context, Result};
use files::hash::Hasher;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use terminal::Progress;
use training::{Batch, ComputeSettings, Device, Parameters, Score, scorer};

/// Raised whenever the same weights and rows would give other log-probabilities.
const VERSION: u32 = 1;

/// Returns the sum of the log-probabilities of the trained tokens, for every sequence of every store.
///
/// # Errors
/// When the cache cannot be read or written, or the device fails.
pub(super) fn log_probabilities(
    parameters: &Parameters,
    stores: [Option<&Store>; 2],
    precision: Precision,
    compute: &ComputeSettings,
    positions: usize,
    cache: &Path,
) -> Result<Vec<Vec<f64>>> {
    let weights = weights_hash(parameters);
    // Its buffers are freed when this function returns.
    let mut scorer = scorer(parameters, positions, compute)?;
    let mut all = Vec::new();
    for store in stores.into_iter().flatten() {
        // A GPU rounds differently from a CPU.
        let device = if compute.device == Device::Cpu { "" } else { " cuda" };
        let name = format!("{VERSION} {weights} {} {precision:?}{device}", store.name());
        let path = cache.join("reference").join(files::hash::sha256(name));
        all.push(match read(&path) {
            Some(sums) if sums.len() == store.len() => sums,
            _ => compute_sums(scorer.as_mut(), store, compute.micro_batch_tokens, &path)?,
        });
    }
    Ok(all)
}

fn read(path: &Path) -> Option<Vec<f64>> {
    let bytes = std::fs::read(path).ok()?;
    Some(bytes.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect())
}

/// Computes the sums of a store's sequences and writes them to a partial file, which is renamed at the end. A partial
/// file that a killed run left is continued in the same micro-batches: a GPU's products round by their number of rows.
fn compute_sums(
    scorer: &mut (dyn Score + '_),
    store: &Store,
    micro_batch_tokens: usize,
    path: &Path,
) -> Result<Vec<f64>> {
    let cannot = || format!("cannot write the reference's log-probabilities to {}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
    let partial = path.with_extension("part");
    let mut file = OpenOptions::new().create(true).append(true).open(&partial).with_context(cannot)?;
    // Another run may be computing the same.
    file.lock().with_context(cannot)?;
    if let Some(sums) = read(path).filter(|sums| sums.len() == store.len()) {
        return Ok(sums);
    }
    let mut sums = read(&partial).unwrap_or_default();
    let all: Vec<u32> = (0..store.len() as u32).collect();
    let groups = micro_batches(&all, |sequence| store.length(sequence as usize), micro_batch_tokens);
    let is_known = |group: &Vec<u32>| group.last().is_none_or(|last| (*last as usize) < sums.len());
    let known = groups.partition_point(is_known);
    sums.truncate(groups[..known].iter().map(Vec::len).sum());
    file.set_len(8 * sums.len() as u64).with_context(cannot)?;
    let progress =
        Progress::new("reference", "sequences", Some(store.len() as u64)).resumed_at(sums.len() as u64);
    for sequences in &groups[known..] {
        let batch = Batch::new(sequences.iter().map(|sequence| store.sequence(*sequence as usize)));
        let tokens = scorer.losses(&batch)?;
        let new_sums = batch.target_starts.windows(2).map(|range| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum::<f64>()
        });
        let new_sums: Vec<f64> = new_sums.collect();
        let bytes: Vec<u8> = new_sums.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all(&bytes).with_context(cannot)?;
        sums.extend(new_sums);
        progress.set(sums.len() as u64);
    }
    progress.finish();
    file.sync_all().and_then(|()| std::fs::rename(&partial, path)).with_context(cannot)?;
    Ok(sums)
}

fn weights_hash(parameters: &Parameters) -> String {
    let mut hasher = Hasher::default();
    hasher.update(parameters.config.to_json().to_string());
    for chunk in parameters.values.chunks(1 << 16) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(bytes);
    }
    hasher.finish()
}
