//! The matrices of an adapter, read whole and checked against the model that they change.

use super::{AdapterConfig, BASE_SHA256, LinearModule, PREFIX, WEIGHTS_FILE};
use crate::ModelConfig;
use crate::error::Error;
use files::hash::sha256;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// The matrices of an adapter by the name of the weight that they change.
#[derive(Debug)]
pub struct AdapterMatrices {
    matrices: BTreeMap<String, Factors>,
    scale: f32,
    /// The base model, as the adapter names it.
    base: String,
    /// SHA-256 of the file.
    sha256: String,
    /// SHA-256 of the weights that it was trained on, where the file names it.
    base_sha256: Option<String>,
}

/// A (R, I) and B (O, R).
#[derive(Debug, Default)]
struct Factors {
    a: Vec<f32>,
    b: Vec<f32>,
}

/// What an adapter adds to one weight (O, I): scale · B A.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// (R, I)
    pub a: &'a [f32],
    /// (O, R)
    pub b: &'a [f32],
    /// Factor of the product.
    pub scale: f32,
}

impl LowRank<'_> {
    /// Adds a row of the product to a row of the weight (I). Sums over the rank in ascending order.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        let rank = self.a.len() / out.len();
        let factors = &self.b[row * rank..][..rank];
        for (factor, a) in factors.iter().zip(self.a.chunks_exact(out.len())) {
            let factor = factor * self.scale;
            out.iter_mut().zip(a).for_each(|(out, a)| *out += factor * a);
        }
    }
}

impl AdapterMatrices {
    /// Reads an adapter of a model of this shape.
    ///
    /// # Errors
    /// Names the tensor that is missing, has another shape, belongs to no linear layer of the model, or is not finite.
    pub fn open(folder: &Path, adapter: &AdapterConfig, config: &ModelConfig) -> Result<Self, Error> {
        let path = folder.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
        let invalid = |reason: String| Error::invalid(&path, reason);
        let whole =
            |error| invalid(format!("not a whole safetensors file ({error}); download or copy it again"));
        let parsed = SafeTensors::deserialize(&bytes).map_err(whole)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(whole)?;
        let entries = metadata.metadata().as_ref();
        let mut matrices: BTreeMap<String, Factors> = BTreeMap::new();
        let expected = expected(adapter, config);
        for (name, view) in parsed.tensors() {
            let Some((weight, is_a, shape)) = expected.get(&name) else {
                return Err(invalid(format!(
                    "contains {name}; an adapter of this model has lora_A and lora_B of {}",
                    LinearModule::ALL.map(LinearModule::name).join(", ")
                )));
            };
            let values = values(&name, &view, shape).map_err(invalid)?;
            let factors = matrices.entry(weight.clone()).or_default();
            if *is_a { factors.a = values } else { factors.b = values }
        }
        if let Some((name, _)) = matrices.iter().find(|(_, both)| both.a.is_empty() || both.b.is_empty()) {
            return Err(invalid(format!("has only one of the two matrices of {name}; copy it again")));
        }
        if matrices.is_empty() {
            return Err(invalid("contains no matrices".to_owned()));
        }
        Ok(Self {
            matrices,
            scale: adapter.scale() as f32,
            base: adapter.base.clone(),
            sha256: sha256(&bytes),
            base_sha256: entries.and_then(|entries| entries.get(BASE_SHA256)).cloned(),
        })
    }

    /// Returns what is added to the weight of that name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub fn of_weight(&self, name: &str) -> Option<LowRank<'_>> {
        let Factors { a, b } = self.matrices.get(name)?;
        Some(LowRank { a, b, scale: self.scale })
    }

    /// Returns the values of the tensor that PEFT calls so.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        let (module, part) = name.strip_prefix(PREFIX)?.rsplit_once(".lora_")?;
        let Factors { a, b } = self.matrices.get(&format!("{module}.weight"))?;
        Some(if part == "A.weight" { a } else { b })
    }

    /// Returns the base model, as the adapter names it.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the SHA-256 of its file with its scale: its identity.
    pub fn identity(&self) -> String {
        format!("{} {}", self.sha256, self.scale)
    }

    /// Returns the SHA-256 of the weights that it was trained on, where it names it.
    pub fn base_sha256(&self) -> Option<&str> {
        self.base_sha256.as_deref()
    }
}

/// Every tensor that the adapter may have: the weight that it changes, whether it is A, and its shape.
fn expected(adapter: &AdapterConfig, config: &ModelConfig) -> BTreeMap<String, (String, bool, [usize; 2])> {
    let mut expected = BTreeMap::new();
    for layer in 0..config.layers {
        for module in LinearModule::ALL {
            let ([outputs, inputs], weight) =
                (module.shape(config), format!("{}.weight", module.path(layer)));
            expected.insert(module.tensor(layer, "A"), (weight.clone(), true, [adapter.rank, inputs]));
            expected.insert(module.tensor(layer, "B"), (weight, false, [outputs, adapter.rank]));
        }
    }
    debug_assert!(expected.keys().all(|name| name.starts_with(PREFIX)));
    expected
}

/// The values of a tensor as f32.
fn values(name: &str, view: &TensorView<'_>, shape: &[usize; 2]) -> Result<Vec<f32>, String> {
    if view.shape() != shape {
        return Err(format!(
            "{name} has the shape {:?}; this model and the rank of adapter_config.json need {shape:?}",
            view.shape()
        ));
    }
    let words = || view.data().as_chunks::<2>().0.iter();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        Dtype::F16 => words().map(|word| f16::from_le_bytes(*word).to_f32()).collect(),
        Dtype::BF16 => words().map(|word| bf16::from_le_bytes(*word).to_f32()).collect(),
        other => return Err(format!("{name} is {other:?}; expected F32, F16 or BF16")),
    };
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(format!("{name} holds numbers that are not finite")),
    }
}
