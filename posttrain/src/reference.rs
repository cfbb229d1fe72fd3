//! The reference's log-probability of every sequence: computed once by the model that a run starts from, with the run's
//! own arithmetic, and cached under the hash of everything that decides it.
//!
//! A file is a line with its checksum, then f64 little-endian. What is damaged is computed again, never believed: a wrong
//! number changes the gradient of its pair and nothing would show it.

use crate::order::micro_batches;
use crate::settings::Precision;
use crate::tokens::Store;
use anyhow::{Context, Result, ensure};
use files::checksum::{Algorithm, Content};
use files::hash::Hasher;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use terminal::Progress;
use training::{
    Base, Batch, ComputeSettings, Device, DeviceInfo, Parameters, Score, Sequence, scorer, scorer_of_base,
};

mod partial;

use partial::{Partial, bytes_of, floats};

/// Raised whenever the same weights and rows would give other log-probabilities, or another file.
const VERSION: u32 = 2;
/// The first line of a file, before its checksum.
const TITLE: &str = "reference log-probabilities, ";

/// Largest difference between the log-probabilities of the model and of the reference before the first step, relative to
/// 1 nat and their size. The same arithmetic gives the same numbers; this leaves room for a GPU's rounding.
const LARGEST_DIFFERENCE: f64 = 0.1;

/// Refuses a reference that is not the model: before the first update both are the same, whatever was cached. `difference` is
/// the largest one between their log-probabilities, relative to 1 nat and their size.
pub(crate) fn refuse_other(difference: f64, cache: &Path) -> Result<()> {
    ensure!(
        difference < LARGEST_DIFFERENCE,
        "the reference's log-probabilities differ from the model's before the first step (by {:.0}%); delete {} and run again",
        100.0 * difference,
        folder(cache).display()
    );
    Ok(())
}

/// The model that a run starts from: its weights, or the frozen ones under an adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReferenceModel<'a> {
    Weights(&'a Parameters),
    Base(&'a Base),
}

impl<'a> ReferenceModel<'a> {
    fn scorer(self, positions: usize, compute: &ComputeSettings) -> Result<Box<dyn Score + 'a>> {
        match self {
            Self::Weights(parameters) => scorer(parameters, positions, compute),
            Self::Base(base) => scorer_of_base(base, positions, compute),
        }
    }

    /// Returns the hash of the weights, whatever they are held in.
    fn hash(self) -> String {
        let mut hasher = Hasher::default();
        match self {
            Self::Weights(parameters) => {
                hasher.update(parameters.config.to_json().to_string());
                for chunk in parameters.values.chunks(1 << 16) {
                    let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
                    hasher.update(bytes);
                }
            }
            Self::Base(base) => {
                hasher.update(base.config.to_json().to_string());
                base.for_each_piece(|bytes| hasher.update(bytes));
            }
        }
        hasher.finish()
    }
}

/// Sequences whose log-probabilities are computed.
pub(crate) struct Sequences<'a> {
    /// The hash of everything that decides them.
    pub(crate) name: String,
    /// Tokens of each.
    pub(crate) lengths: Vec<usize>,
    /// Reads one.
    pub(crate) read: Box<dyn Fn(usize) -> Result<Sequence<'static>> + 'a>,
}

impl<'a> Sequences<'a> {
    /// Returns all sequences of a store.
    pub(crate) fn of_store(store: &'a Store) -> Self {
        Self {
            name: store.name(),
            lengths: (0..store.len()).map(|index| store.length(index)).collect(),
            read: Box::new(|index| Ok(store.sequence(index)?)),
        }
    }
}

/// Returns the sum of the log-probabilities of the trained tokens, for every sequence of every part.
///
/// # Errors
/// When the cache cannot be written, the tokens cannot be read, or the device fails.
pub(crate) fn log_probabilities(
    model: ReferenceModel<'_>,
    parts: &[Sequences<'_>],
    precision: Precision,
    compute: &ComputeSettings,
    positions: usize,
    cache: &Path,
) -> Result<Vec<Vec<f64>>> {
    let (weights, rounding) = (model.hash(), rounding(compute)?);
    // Made when something is not in the cache. Its buffers are freed when this function returns.
    let mut scorer = None;
    let mut all = Vec::new();
    for part in parts {
        let name = format!("{VERSION} {weights} {} {precision:?}{rounding}", part.name);
        let path = folder(cache).join(files::hash::sha256(name));
        let cached = read(&path, part.lengths.len()).unwrap_or_else(|error| {
            terminal::message!("note: {error}; computing the reference's log-probabilities again");
            None
        });
        all.push(match cached {
            Some(sums) => sums,
            None => {
                let scorer = match &mut scorer {
                    Some(scorer) => scorer,
                    None => scorer.insert(model.scorer(positions, compute)?),
                };
                compute_sums(scorer.as_mut(), part, compute.micro_batch_tokens, &path)?
            }
        });
    }
    Ok(all)
}

/// Returns what decides how a device rounds, as part of a file's name: a GPU's products round by its kind, its libraries and
/// the number of rows; the CPU's do not.
fn rounding(compute: &ComputeSettings) -> Result<String> {
    if compute.device == Device::Cpu {
        return Ok(String::new());
    }
    let DeviceInfo { decisive, .. } = DeviceInfo::of(compute.device)?;
    Ok(format!(" {decisive} {}", compute.micro_batch_tokens))
}

/// Returns the folder of the cached log-probabilities.
pub(crate) fn folder(cache: &Path) -> PathBuf {
    cache.join("reference")
}

/// Reads a file of `count` numbers; `None` where there is none.
fn read(path: &Path, count: usize) -> Result<Option<Vec<f64>>, files::Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::Error::file("read", path, error)),
    };
    let damaged = || files::Error::Damaged {
        path: path.to_owned(),
        reason: "it contains other bytes than were written".to_owned(),
    };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let (line, numbers) = (&bytes[..end], &bytes[end + 1..]);
    match numbers.len() == 8 * count && line == first_line(numbers).as_bytes() {
        true => Ok(Some(floats(numbers))),
        false => Err(damaged()),
    }
}

fn first_line(numbers: &[u8]) -> String {
    format!("{TITLE}{}", Content::of_bytes(numbers, Algorithm::Xxh3).checksum)
}

/// Computes the sums of all sequences of a part and writes them. What a killed run computed is in a partial file; it is
/// continued in the same micro-batches, because a GPU's products round by their number of rows.
fn compute_sums(
    scorer: &mut (dyn Score + '_),
    part: &Sequences<'_>,
    micro_batch_tokens: usize,
    path: &Path,
) -> Result<Vec<f64>> {
    let cannot = || format!("cannot write the reference's log-probabilities to {}", path.display());
    files::atomic::create_folder(path.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
    let count = part.lengths.len();
    let all: Vec<u32> = (0..count as u32).collect();
    let groups = micro_batches(&all, |sequence| part.lengths[sequence as usize], micro_batch_tokens);
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let (mut partial, mut sums) = Partial::open(&path.with_extension("part"), &sizes).with_context(cannot)?;
    // Another run computed the same while this one waited for the lock.
    if let Ok(Some(sums)) = read(path, count) {
        return Ok(sums);
    }
    let progress = Progress::new("reference", "sequences", Some(count as u64)).resumed_at(sums.len() as u64);
    for sequences in &groups[partial.groups()..] {
        let tokens = sequences.iter().map(|sequence| (part.read)(*sequence as usize));
        let batch = Batch::new(tokens.collect::<Result<Vec<_>>>()?);
        let tokens = scorer.losses(&batch)?;
        let new_sums = batch.target_starts.windows(2).map(|range| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum::<f64>()
        });
        let new_sums: Vec<f64> = new_sums.collect();
        partial.push(&new_sums).with_context(cannot)?;
        sums.extend(new_sums);
        progress.set(sums.len() as u64);
    }
    progress.finish();
    let numbers = bytes_of(&sums);
    files::atomic::write(path, [first_line(&numbers).as_bytes(), b"\n", &numbers].concat())
        .with_context(cannot)?;
    partial.remove();
    Ok(sums)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn no_damage_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read(&path, 3).unwrap(), None);
        let numbers = bytes_of(&[-1.5, -20.25, -3.0]);
        let whole = [first_line(&numbers).as_bytes(), b"\n", &numbers].concat();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), [-1.5, -20.25, -3.0]);
        assert!(read(&path, 2).is_err());
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&path, 3).is_err(), "bit {bit}");
        }
        for bytes in [vec![0; whole.len()], Vec::new(), vec![0; 24], whole[..whole.len() - 8].to_vec()] {
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&path, 3).is_err());
        }
    }
}
