//! `training_state.safetensors`: f32 weights and both moments, and in its metadata how far the run is and its run.json.
//! One file has everything that resuming needs, with one checksum over all of it, so that no damage to another file can
//! take the weights down, and none to this one is believed.

use super::progress::Progress;
use anyhow::{Context, Result, ensure};
use checkpoint::weights::{self, Precision};
use files::checksum::{Algorithm, Checksummer, Content};
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use training::TrainingState;

/// The file's name.
pub(super) const FILE: &str = "training_state.safetensors";
/// What earlier versions stored the progress in, without a checksum.
const OLD_PROGRESS_FILE: &str = "training_state.json";

/// The tensors in the order of the file.
const TENSORS: [&str; 3] = ["mean", "square", "weights"];
/// Keys of the metadata.
const PROGRESS: &str = "progress";
const RUN: &str = "run";
const CHECKSUM: &str = "checksum";

/// Largest header that is read, as in the safetensors crate.
const MAX_HEADER: u64 = 100_000_000;
/// Values that are converted at once.
const PIECE: usize = 1 << 16;

/// What the file contains.
#[derive(Debug)]
pub(super) struct State {
    pub(super) progress: Progress,
    pub(super) mean: Vec<f32>,
    pub(super) square: Vec<f32>,
    pub(super) weights: Vec<f32>,
}

/// Writes the file into a folder of a checkpoint. Returns its length and checksum.
///
/// # Errors
/// Names the file when it cannot be written.
pub(super) fn write(
    folder: &Path,
    state: &TrainingState,
    progress: &Progress,
    run: &Map<String, Value>,
) -> Result<Content> {
    let TrainingState { parameters, optimizer } = state;
    let buffers = [&optimizer.mean, &optimizer.square, &parameters.values];
    let (progress, run) = (serde_json::to_string(progress)?, serde_json::to_string(run)?);
    let mut summer = start_checksum(&progress, &run);
    let mut bytes = Vec::new();
    for piece in buffers.iter().flat_map(|buffer| buffer.chunks(PIECE)) {
        bytes.resize(4 * piece.len(), 0);
        for (out, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(piece) {
            *out = value.to_le_bytes();
        }
        summer.update(&bytes);
    }
    let entries = [(PROGRESS, progress), (RUN, run), (CHECKSUM, summer.finish().checksum)];
    let tensors = [0, 1, 2].map(|tensor| {
        let values = &buffers[tensor][..];
        (TENSORS[tensor].to_owned(), vec![values.len()], values)
    });
    Ok(weights::write_with(&folder.join(FILE), &tensors, Precision::F32, &entries, Algorithm::Xxh3)?)
}

/// Reads the file of a checkpoint's folder for a model of `count` weights.
///
/// # Errors
/// Says what cannot be read or differs.
pub(super) fn read(folder: &Path, count: usize) -> Result<State> {
    let path = folder.join(FILE);
    let cannot = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(File::open(&path).with_context(cannot)?);
    let metadata = read_header(&mut file).with_context(|| format!("{FILE} is incomplete"))?;
    let entries = metadata.metadata().clone().unwrap_or_default();
    let text = |key: &str| entries.get(key).map_or("", String::as_str);
    let (progress, mut summer) = (progress(folder, &entries)?, start_checksum(text(PROGRESS), text(RUN)));
    let mut buffers = Vec::new();
    for name in TENSORS {
        let info = metadata.info(name).with_context(|| format!("{FILE} has no tensor {name}"))?;
        let start = 4 * count * buffers.len();
        ensure!(
            info.dtype == Dtype::F32 && info.data_offsets == (start, start + 4 * count),
            "{name} has the shape {:?}, the model {count} weights",
            info.shape
        );
        buffers.push(read_values(&mut file, count, &mut summer).with_context(cannot)?);
    }
    ensure!(file.read(&mut [0]).with_context(cannot)? == 0, "{FILE} is longer than its header says");
    if let Some(checksum) = entries.get(CHECKSUM) {
        ensure!(summer.finish().checksum == *checksum, "{FILE} contains other bytes than were written");
    } else {
        ensure!(!entries.contains_key(PROGRESS), "{FILE} has lost its checksum");
    }
    let [mean, square, weights] = buffers.try_into().expect("three tensors were read");
    Ok(State { progress, mean, square, weights })
}

/// Returns the run.json of the run that wrote a checkpoint, from the file's metadata alone.
pub(super) fn run_of(folder: &Path) -> Option<Map<String, Value>> {
    let metadata = read_header(&mut BufReader::new(File::open(folder.join(FILE)).ok()?)).ok()?;
    serde_json::from_str(metadata.metadata().as_ref()?.get(RUN)?).ok()
}

/// Returns how far the run was that wrote a checkpoint, from the file's metadata alone.
pub(super) fn progress_of(folder: &Path) -> Option<Progress> {
    let metadata = read_header(&mut BufReader::new(File::open(folder.join(FILE)).ok()?)).ok()?;
    progress(folder, metadata.metadata().as_ref()?).ok()
}

fn start_checksum(progress: &str, run: &str) -> Checksummer {
    let mut summer = Checksummer::new(Algorithm::Xxh3);
    [progress, "\n", run, "\n"].iter().for_each(|text| summer.update(text.as_bytes()));
    summer
}

fn progress(folder: &Path, entries: &HashMap<String, String>) -> Result<Progress> {
    match entries.get(PROGRESS) {
        Some(text) => Ok(serde_json::from_str(text)?),
        None => {
            let path = folder.join(OLD_PROGRESS_FILE);
            let cannot = || format!("cannot read {}", path.display());
            Ok(serde_json::from_slice(&std::fs::read(&path).with_context(cannot)?).with_context(cannot)?)
        }
    }
}

fn read_header(file: &mut impl Read) -> Result<Metadata> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let count = u64::from_le_bytes(length);
    ensure!(count <= MAX_HEADER, "its header has {count} bytes");
    let mut header = Vec::new();
    file.take(count).read_to_end(&mut header)?;
    Ok(serde_json::from_slice(&header)?)
}

fn read_values(file: &mut impl Read, count: usize, summer: &mut Checksummer) -> std::io::Result<Vec<f32>> {
    let (mut values, mut bytes) = (Vec::with_capacity(count), vec![0; 4 * PIECE]);
    while values.len() < count {
        let piece = &mut bytes[..4 * PIECE.min(count - values.len())];
        file.read_exact(piece)?;
        summer.update(piece);
        values.extend(piece.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)));
    }
    Ok(values)
}
