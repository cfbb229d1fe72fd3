//! Weights on disk: safetensors, one file or shards with an index, in f32, f16 or bf16.
//!
//! Opening checks every name and shape against the config, so that a truncated download or the
//! wrong checkpoint is refused before any arithmetic; after that a tensor is there.

use crate::ModelConfig;
use crate::error::{Error, read_to_string};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, View};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The memory-mapped weights of one checkpoint, checked against its config.
#[derive(Debug)]
pub struct Weights {
    files: Vec<MappedFile>,
    /// Tensor name -> index into `files`.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16, the precision released checkpoints use.
    Bf16,
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// Names the file when one is missing or cut short, and the tensor when one is missing, has
    /// another shape than the config says, or is not part of the architecture.
    pub fn open(folder: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let mut weights = Self { files: Vec::new(), places: BTreeMap::new() };
        for path in weight_files(folder)? {
            weights.map(path)?;
        }
        weights.check(folder, config)?;
        Ok(weights)
    }

    /// One tensor as f32, row-major, widened exactly.
    ///
    /// # Panics
    /// When `name` is not one of [`expected_tensors`]: `open` has checked those.
    pub fn tensor(&self, name: &str) -> Vec<f32> {
        widen(&self.view(name))
    }

    /// A matrix (N, K) whose rows are read one at a time, so that it is never whole in memory.
    ///
    /// # Panics
    /// As [`Weights::tensor`].
    pub fn rows(&self, name: &str) -> Rows<'_> {
        let view = self.view(name);
        let columns = view.shape().last().copied().unwrap_or(1);
        Rows { data: view.data(), dtype: view.dtype(), columns }
    }

    /// The smallest precision that holds every tensor exactly; f16 needs [`Precision::F32`].
    pub fn stored(&self) -> Precision {
        let all_bf16 = |file: &MappedFile| {
            let parsed = SafeTensors::deserialize(&file.map).expect("parsed when it was mapped");
            parsed.tensors().iter().all(|(_, tensor)| tensor.dtype() == Dtype::BF16)
        };
        if self.files.iter().all(all_bf16) { Precision::Bf16 } else { Precision::F32 }
    }

    /// Gives the mapped pages back to the system: whoever copied what it needs has no use for them. They
    /// are read again when they are touched.
    pub fn release(&self) {
        #[cfg(target_os = "linux")]
        for file in &self.files {
            // SAFETY: the map is read-only and backed by its file, so dropped pages come back unchanged.
            // Advice only: what the system does not take back costs memory, nothing else.
            let _ = unsafe { file.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// SHA-256 over the weight files, in order: what "the same model" means in a cache.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for file in &self.files {
            hasher.update(&file.map);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn view(&self, name: &str) -> TensorView<'_> {
        let place = self.places.get(name);
        let place = place.unwrap_or_else(|| panic!("{name} was checked when the weights were opened"));
        let parsed = SafeTensors::deserialize(&self.files[*place].map).expect("parsed when it was mapped");
        parsed.tensor(name).expect("listed when it was mapped")
    }

    fn map(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(|error| Error::file("read", &path, error))?;
        // SAFETY: the map is read-only; a checkpoint that someone truncates while it is in use
        // would fault, which is the usual contract of mapped weights.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::file("map", &path, error))?;
        let parsed = SafeTensors::deserialize(&map).map_err(|error| {
            Error::invalid(
                &path,
                format!("not a whole safetensors file ({error}); download or copy it again"),
            )
        })?;
        for (name, view) in parsed.tensors() {
            if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(Error::invalid(
                    &path,
                    format!("tensor {name} is {:?}; expected F32, F16 or BF16", view.dtype()),
                ));
            }
            self.places.insert(name, self.files.len());
        }
        self.files.push(MappedFile { path, map });
        Ok(())
    }

    fn check(&self, folder: &Path, config: &ModelConfig) -> Result<(), Error> {
        let expected = expected_tensors(config);
        for (name, shape) in &expected {
            let Some(place) = self.places.get(name) else {
                return Err(Error::invalid(
                    folder,
                    format!("the weights have no tensor {name}, which config.json asks for"),
                ));
            };
            let file = &self.files[*place];
            let parsed = SafeTensors::deserialize(&file.map).expect("parsed when it was mapped");
            let found = parsed.tensor(name).expect("listed when it was mapped");
            if found.shape() != shape {
                return Err(Error::invalid(
                    &file.path,
                    format!("tensor {name} has shape {:?}; config.json says {shape:?}", found.shape()),
                ));
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        // Older converters stored the rotary frequencies and a copy of the tied head; both follow from
        // the config and are not read.
        let derived = |name: &str| name.ends_with("rotary_emb.inv_freq") || name == "lm_head.weight";
        match self.places.keys().find(|name| !known.contains(name.as_str()) && !derived(name)) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                folder,
                format!("the weights hold {name}, which a Llama of this config.json does not have"),
            )),
        }
    }
}

/// A mapped matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [u8],
    dtype: Dtype,
    columns: usize,
}

impl Rows<'_> {
    /// One row (K) as f32, widened exactly.
    ///
    /// # Panics
    /// When there is no such row or `out` is not K long.
    pub fn read(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "out must hold a row");
        let bytes = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let data = &self.data[row * self.columns * bytes..][..self.columns * bytes];
        match self.dtype {
            Dtype::F32 => {
                for (out, bytes) in out.iter_mut().zip(data.as_chunks().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Dtype::F16 => {
                for (out, bytes) in out.iter_mut().zip(data.as_chunks().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            _ => {
                for (out, bytes) in out.iter_mut().zip(data.as_chunks().0) {
                    *out = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// Every tensor a checkpoint of this config holds, with its shape, in the order we write them.
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (c, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![v, c])];
    for layer in 0..config.layers {
        let parts = [
            ("input_layernorm", vec![c]),
            ("self_attn.q_proj", vec![queries, c]),
            ("self_attn.k_proj", vec![keys, c]),
            ("self_attn.v_proj", vec![keys, c]),
            ("self_attn.o_proj", vec![c, queries]),
            ("post_attention_layernorm", vec![c]),
            ("mlp.gate_proj", vec![f, c]),
            ("mlp.up_proj", vec![f, c]),
            ("mlp.down_proj", vec![c, f]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)));
    }
    tensors.push(("model.norm.weight".to_owned(), vec![c]));
    if !config.tie_word_embeddings {
        tensors.push(("lm_head.weight".to_owned(), vec![v, c]));
    }
    tensors
}

/// Writes tensors (name, shape, row-major values) as one safetensors file, whole or not at all. They are
/// narrowed one at a time as they go out.
///
/// # Errors
/// Names the file when it cannot be written.
pub fn write<V: AsRef<[f32]>>(
    path: &Path,
    tensors: &[(String, Vec<usize>, V)],
    precision: Precision,
) -> Result<(), Error> {
    let outgoing = tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), Outgoing { shape, values: values.as_ref(), precision }));
    // transformers refuses files without this entry.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = beside(folder).map_err(|error| Error::file("write", path, error))?;
    safetensors::serialize_to_file(outgoing, Some(metadata), beside.path())
        .map_err(|error| Error::file("write", path, std::io::Error::other(error)))?;
    beside.as_file().sync_all().map_err(|error| Error::file("write", path, error))?;
    beside.persist(path).map_err(|error| Error::file("write", path, error.error))?;
    Ok(())
}

/// A file to be renamed when it is whole, with the permissions any new file has.
pub(crate) fn beside(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A tensor on its way to a file.
struct Outgoing<'a> {
    shape: &'a [usize],
    values: &'a [f32],
    precision: Precision,
}

impl View for Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        narrow(self.values, self.precision).into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * if self.precision == Precision::F32 { 4 } else { 2 }
    }
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() {
        return Ok(vec![single]);
    }
    if !index.is_file() {
        return Err(Error::Incomplete {
            folder: folder.to_owned(),
            missing: "model.safetensors",
            hint: "a checkpoint folder holds config.json, tokenizer.json and model.safetensors (or shards with model.safetensors.index.json)",
        });
    }
    let text = read_to_string(&index)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::invalid(&index, format!("not JSON: {error}")))?;
    let map = value["weight_map"].as_object().ok_or_else(|| Error::invalid(&index, "has no weight_map"))?;
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

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

fn narrow(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn tiny() -> ModelConfig {
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

    fn values(config: &ModelConfig) -> Vec<(String, Vec<usize>, Vec<f32>)> {
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
        let place =
            |(name, ..): &(String, Vec<usize>, Vec<f32>), file: &str| (name.clone(), serde_json::json!(file));
        let map: serde_json::Map<_, _> = first
            .iter()
            .map(|tensor| place(tensor, "a.safetensors"))
            .chain(second.iter().map(|tensor| place(tensor, "b.safetensors")))
            .collect();
        let index = serde_json::json!({"weight_map": map});
        std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let weights = Weights::open(folder.path(), &config).unwrap();
        assert_eq!(weights.tensor("lm_head.weight").len(), 20);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
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
        refused("hold model.layers.0.self_attn.q_proj.bias");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        refused("not a whole safetensors file");
    }
}
