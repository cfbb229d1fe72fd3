//! The weights of a GGUF file under the names and in the row order of a checkpoint folder.

use super::rows::Rows;
use crate::ModelConfig;
use crate::gguf::{GgufFile, TensorSource, source_of};
use crate::tensors::expected_tensors;
use memmap2::Mmap;
use std::collections::{BTreeMap, BTreeSet};

/// A GGUF file, checked against its config.
#[derive(Debug)]
pub(super) struct GgufWeights {
    file: GgufFile,
    /// Where each of the [`expected_tensors`] is, by name.
    sources: BTreeMap<String, TensorSource>,
}

impl GgufWeights {
    /// The error does not name the file.
    pub(super) fn new(file: GgufFile, architecture: &str, config: &ModelConfig) -> Result<Self, String> {
        let mut sources = BTreeMap::new();
        for (name, shape) in expected_tensors(config) {
            let source = source_of(architecture, config.head_dim, &name)
                .ok_or_else(|| format!("the architecture {architecture} has no tensor for {name}"))?;
            let stored = file
                .tensor(&source.name)
                .ok_or_else(|| format!("has no tensor {}, which its metadata require", source.name))?;
            if stored.shape != shape {
                return Err(format!(
                    "tensor {} has shape {:?}; its metadata say {shape:?}",
                    source.name, stored.shape
                ));
            }
            sources.insert(name, source);
        }
        let known: BTreeSet<&str> = sources.values().map(|source| source.name.as_str()).collect();
        // The divisors of rotary frequencies are part of the config.
        let is_known = |name: &str| known.contains(name) || name == "rope_freqs.weight";
        if let Some(name) = file.names().find(|name| !is_known(name)) {
            return Err(format!(
                "contains the tensor {name}, which no {architecture} model of this shape has"
            ));
        }
        Ok(Self { file, sources })
    }

    pub(super) fn map(&self) -> &Mmap {
        self.file.map()
    }

    /// As [`Weights::tensor`].
    pub(super) fn tensor(&self, name: &str) -> Vec<f32> {
        let stored = self.stored(name);
        let (source, shape) = (&self.sources[name], stored.shape);
        let columns = shape.last().copied().unwrap_or(1);
        let rows = Rows::new(stored.bytes, stored.kind, columns, source.interleaved_head);
        let mut values = vec![0.0; shape.iter().product()];
        for (row, out) in values.chunks_exact_mut(columns).enumerate() {
            rows.read(row, out);
        }
        if source.added != 0.0 {
            values.iter_mut().for_each(|value| *value -= source.added);
        }
        values
    }

    /// As [`Weights::rows`], of matrices: only vectors have something added.
    pub(super) fn rows(&self, name: &str) -> Rows<'_> {
        let stored = self.stored(name);
        let columns = stored.shape.last().copied().unwrap_or(1);
        Rows::new(stored.bytes, stored.kind, columns, self.sources[name].interleaved_head)
    }

    fn stored(&self, name: &str) -> crate::gguf::GgufTensor<'_> {
        let source =
            self.sources.get(name).unwrap_or_else(|| panic!("{name} is not a tensor of this architecture"));
        self.file.tensor(&source.name).expect("checked when it was opened")
    }
}
