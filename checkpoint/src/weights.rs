//! Weights on disk: safetensors, one file or shards with an index, in f32, f16 or bf16.
//!
//! Opening checks every name and shape against the config, so that a truncated download or the wrong checkpoint is
//! refused before any arithmetic. After that, reading a tensor cannot fail.

use crate::ModelConfig;
use crate::adapter::AdapterMatrices;
use crate::error::Error;
use crate::gguf::{GgufFile, TensorType};
use crate::mapped::Watch;
use files::hash::Hasher;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorView};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

mod check;
mod gguf;
mod location;
mod rows;
mod write;

pub use crate::tensors::expected_tensors;
use gguf::GgufWeights;
pub use rows::Rows;
pub use write::{Precision, write, write_with};

/// The memory-mapped weights of one checkpoint, checked against its config.
#[derive(Debug)]
pub struct Weights {
    files: Vec<MappedFile>,
    /// The index in `files` of each tensor, by name.
    file_indices: BTreeMap<String, usize>,
    /// The weights of a GGUF file, in place of the two above.
    gguf: Option<GgufWeights>,
    /// What is added to them.
    adapter: Option<AdapterMatrices>,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    /// The parsed header, so that a file that is written over meanwhile is not parsed again.
    metadata: Metadata,
    /// Index of the first byte after the header.
    data: usize,
    _watch: Watch,
    map: Mmap,
}

impl MappedFile {
    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        let bytes = &self.map[self.data + start..self.data + end];
        Some(TensorView::new(info.dtype, info.shape.clone(), bytes).expect("checked when it was mapped"))
    }
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// Names the file that is missing or truncated, or the tensor that is missing, has another shape than the config states,
    /// is not part of the architecture, or holds no usable values.
    pub fn open(folder: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let mut weights =
            Self { files: Vec::new(), file_indices: BTreeMap::new(), gguf: None, adapter: None };
        for path in location::weight_files(folder)? {
            weights.map(path)?;
        }
        weights.check(folder, config)?;
        Ok(weights)
    }

    /// The weights of a GGUF file of the architecture `architecture`.
    ///
    /// # Errors
    /// Names the tensor that is missing, has another shape than the metadata state, or is not part of the architecture.
    pub fn of_gguf(file: GgufFile, architecture: &str, config: &ModelConfig) -> Result<Self, Error> {
        let path = file.path().to_owned();
        let gguf =
            GgufWeights::new(file, architecture, config).map_err(|reason| Error::invalid(&path, reason))?;
        Ok(Self { files: Vec::new(), file_indices: BTreeMap::new(), gguf: Some(gguf), adapter: None })
    }

    /// These weights with an adapter added to them, in f32, whenever they are read.
    #[must_use]
    pub fn with_adapter(self, adapter: AdapterMatrices) -> Self {
        Self { adapter: Some(adapter), ..self }
    }

    /// The adapter that is added to them.
    pub fn adapter(&self) -> Option<&AdapterMatrices> {
        self.adapter.as_ref()
    }

    /// Whether an adapter is added to them.
    pub fn is_adapted(&self) -> bool {
        self.adapter.is_some()
    }

    /// A tensor as f32, row-major; the conversion is exact.
    ///
    /// # Panics
    /// When `name` is not one of [`expected_tensors`], which `open` has checked.
    pub fn tensor(&self, name: &str) -> Vec<f32> {
        let mut values = match &self.gguf {
            Some(gguf) => gguf.tensor(name),
            None => widen(&self.view(name)),
        };
        if let Some(change) = self.adapter.as_ref().and_then(|adapter| adapter.of_weight(name)) {
            let columns = values.len() / self.rows(name).len();
            values.chunks_exact_mut(columns).enumerate().for_each(|(row, out)| change.add_row(row, out));
        }
        values
    }

    /// A matrix (N, K) whose rows are read one at a time, so that the whole is never in memory.
    ///
    /// # Panics
    /// As [`Weights::tensor`].
    pub fn rows(&self, name: &str) -> Rows<'_> {
        let change = self.adapter.as_ref().and_then(|adapter| adapter.of_weight(name));
        if let Some(gguf) = &self.gguf {
            return gguf.rows(name).with_change(change);
        }
        let view = self.view(name);
        let columns = view.shape().last().copied().unwrap_or(1);
        let kind = match view.dtype() {
            Dtype::F32 => TensorType::F32,
            Dtype::F16 => TensorType::F16,
            _ => TensorType::Bf16,
        };
        Rows::new(view.data(), kind, columns, None).with_change(change)
    }

    /// The smallest precision that represents every tensor of the files exactly, without an adapter; f16 and the types of a
    /// GGUF file need [`Precision::F32`].
    pub fn stored(&self) -> Precision {
        let all_bf16 =
            |file: &MappedFile| file.metadata.tensors().values().all(|tensor| tensor.dtype == Dtype::BF16);
        if self.gguf.is_none() && self.files.iter().all(all_bf16) { Precision::Bf16 } else { Precision::F32 }
    }

    /// Whether they are those of a GGUF file, whose tensors have types of their own.
    pub fn is_gguf(&self) -> bool {
        self.gguf.is_some()
    }

    /// Returns the mapped pages to the system, after everything needed was copied. They are read again when they are used.
    pub fn release(&self) {
        #[cfg(target_os = "linux")]
        for map in self.maps() {
            // SAFETY: the map is read-only and backed by its file, so dropped pages are read back unchanged.
            // This is only advice: pages that the system keeps cost memory, nothing else.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// SHA-256 of the weight files in order, in hexadecimal: the identity of a model in a cache.
    pub fn sha256(&self) -> String {
        let mut hasher = Hasher::default();
        for map in self.maps() {
            hasher.update(map);
        }
        if let Some(adapter) = &self.adapter {
            hasher.update(adapter.identity());
        }
        hasher.finish()
    }

    fn maps(&self) -> impl Iterator<Item = &Mmap> {
        self.files.iter().map(|file| &file.map).chain(self.gguf.as_ref().map(GgufWeights::map))
    }

    fn view(&self, name: &str) -> TensorView<'_> {
        let index = self.file_indices.get(name);
        let index = index.unwrap_or_else(|| panic!("{name} is not a tensor of this architecture"));
        self.files[*index].view(name).expect("listed when it was mapped")
    }

    fn map(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(|error| Error::file("read", &path, error))?;
        // SAFETY: the map is read-only. Truncating a checkpoint while it is in use faults, which ends the program with
        // the file's name (`mapped`); bytes that are changed meanwhile are read as numbers, whatever they are.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::file("map", &path, error))?;
        let watch = Watch::new(&map, &path);
        let not_whole = |error| {
            let reason = format!("not a whole safetensors file ({error}); download or copy it again");
            Error::invalid(&path, reason)
        };
        // Also checks that the offsets are those of the file.
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(not_whole)?;
        for (name, info) in metadata.tensors() {
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let reason = format!(
                    "tensor {name} is {:?}; expected F32, F16 or BF16: load it with transformers and save it with `dtype=torch.float32`",
                    info.dtype
                );
                return Err(Error::invalid(&path, reason));
            }
            self.file_indices.insert(name, self.files.len());
        }
        self.files.push(MappedFile { path, metadata, data: 8 + header, _watch: watch, map });
        Ok(())
    }
}

/// The values of a tensor as f32.
fn widen(view: &TensorView<'_>) -> Vec<f32> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect(),
        Dtype::F16 => {
            bytes.as_chunks::<2>().0.iter().map(|chunk| f16::from_le_bytes(*chunk).to_f32()).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks::<2>().0.iter().map(|chunk| bf16::from_le_bytes(*chunk).to_f32()).collect()
        }
        other => unreachable!("{other:?} was refused when the file was mapped"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    pub(super) fn tiny() -> ModelConfig {
        ModelConfig {
            hidden_size: 4,
            intermediate_size: 6,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            vocab_size: 5,
            ..ModelConfig::smollm2_135m()
        }
    }

    pub(super) fn values(config: &ModelConfig) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let fill = |(name, shape): (String, Vec<usize>)| {
            let count = shape.iter().product::<usize>();
            (name, shape, (0..count).map(|index| index as f32 * 0.5 - 1.0).collect())
        };
        expected_tensors(config).into_iter().map(fill).collect()
    }

    #[test]
    fn both_precisions_read_back_exactly() {
        let (folder, config) = (tempfile::tempdir().unwrap(), tiny());
        for precision in [Precision::F32, Precision::Bf16] {
            write(&folder.path().join("model.safetensors"), &values(&config), precision).unwrap();
            let weights = Weights::open(folder.path(), &config).unwrap();
            for (name, _, expected) in values(&config) {
                assert_eq!(weights.tensor(&name), expected, "{name}");
            }
        }
    }

    #[test]
    fn shards_and_untied_heads_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let config = ModelConfig { tie_word_embeddings: false, ..tiny() };
        let all = values(&config);
        let (first, second) = all.split_at(3);
        write(&folder.path().join("a.safetensors"), first, Precision::F32).unwrap();
        write(&folder.path().join("b.safetensors"), second, Precision::F32).unwrap();
        let entry =
            |(name, ..): &(String, Vec<usize>, Vec<f32>), file: &str| (name.clone(), serde_json::json!(file));
        let map: serde_json::Map<_, _> = first
            .iter()
            .map(|tensor| entry(tensor, "a.safetensors"))
            .chain(second.iter().map(|tensor| entry(tensor, "b.safetensors")))
            .collect();
        let index = serde_json::json!({"weight_map": map});
        std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let weights = Weights::open(folder.path(), &config).unwrap();
        assert_eq!(weights.tensor("lm_head.weight").len(), 20);
    }

    #[test]
    fn weights_that_do_not_match_the_config_are_refused_by_name() {
        let (folder, config) = (tempfile::tempdir().unwrap(), tiny());
        let path = folder.path().join("model.safetensors");
        let refused = |expected: &str| {
            let reason = Weights::open(folder.path(), &config).unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason}");
        };
        refused("has no model.safetensors");
        write(&path, &values(&config)[1..], Precision::F32).unwrap();
        refused("no tensor model.embed_tokens.weight");
        let wider = ModelConfig { hidden_size: 6, ..tiny() };
        write(&path, &values(&wider), Precision::F32).unwrap();
        refused("has shape [5, 6]; config.json says [5, 4]");
        let mut extra = values(&config);
        extra.push(("model.layers.0.self_attn.q_proj.bias".to_owned(), vec![4], vec![0.0; 4]));
        write(&path, &extra, Precision::F32).unwrap();
        refused("contain model.layers.0.self_attn.q_proj.bias");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        refused("not a whole safetensors file");
        // Types that training does not compute with, whatever transformers does.
        for (dtype, bytes) in [(Dtype::F64, 8), (Dtype::F8_E4M3, 1)] {
            let views = values(&config)
                .into_iter()
                .map(|(name, shape, values)| (name, shape, vec![0_u8; values.len() * bytes]));
            let views: Vec<_> = views.collect();
            let views = views.iter().map(|(name, shape, bytes)| {
                (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
            });
            std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
            refused(&format!("is {dtype:?}; expected F32, F16 or BF16"));
        }
        // What follows from the config is ignored, as transformers does.
        let mut derived = values(&config);
        derived.push(("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), vec![2], vec![1.0; 2]));
        write(&path, &derived, Precision::F32).unwrap();
        assert!(Weights::open(folder.path(), &config).is_ok());
    }
}
