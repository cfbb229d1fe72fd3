//! Tensors of `model.safetensors`, as f32. Names have the prefix `bert.` in checkpoints of classifiers.

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// The bytes of a checkpoint.
pub(crate) struct Weights {
    bytes: Vec<u8>,
    fingerprint: String,
}

impl Weights {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        SafeTensors::deserialize(&bytes)
            .with_context(|| format!("{} is no file of safetensors, or is cut off", path.display()))?;
        let fingerprint = format!("{:032x}", xxh3_128(&bytes));
        Ok(Self { bytes, fingerprint })
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The tensors; fails as [`Weights::read`] does.
    pub(crate) fn tensors(&self) -> Result<Tensors<'_>> {
        Ok(Tensors(SafeTensors::deserialize(&self.bytes)?))
    }
}

/// Tensors by name.
pub(crate) struct Tensors<'a>(SafeTensors<'a>);

impl Tensors<'_> {
    /// Whether there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names(name).any(|name| self.0.tensor(&name).is_ok())
    }

    /// A tensor of this shape.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.names(name).find_map(|name| self.0.tensor(&name).ok());
        let tensor =
            tensor.with_context(|| format!("it has no tensor {name}; an encoder of type bert has"))?;
        ensure!(
            tensor.shape() == shape,
            "tensor {name} has the shape {:?}, config.json says {shape:?}",
            tensor.shape()
        );
        let bytes = tensor.data();
        Ok(match tensor.dtype() {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
            }
            Dtype::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            other => bail!("tensor {name} is {other:?}; F32, F16 and BF16 are read"),
        })
    }

    /// The tensors side by side, one below the other.
    pub(crate) fn joined(&self, names: &[String], shape: &[usize]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for name in names {
            all.extend(self.get(name, shape)?);
        }
        Ok(all)
    }

    /// The number of rows of a matrix.
    pub(crate) fn rows(&self, name: &str) -> Option<usize> {
        self.names(name).find_map(|name| self.0.tensor(&name).ok()?.shape().first().copied())
    }

    /// What a tensor may be called.
    fn names(&self, name: &str) -> impl Iterator<Item = String> + use<> {
        // Checkpoints from before 2019 call the weights of norms so.
        let old =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        [name.to_owned(), format!("bert.{name}"), old.clone(), format!("bert.{old}")].into_iter()
    }
}
