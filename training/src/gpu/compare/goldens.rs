//! Losses and gradients of transformers (`tests/goldens/make_gradient_goldens.py`), compared with a GPU's.

use super::comparison::{Comparison, gradients_of, record, relative};
use crate::backend::{Backend, TrainingState};
use crate::batch::{Batch, Sequence};
use crate::gpu::device::Gpu;
use crate::gpu::trainer::Trainer;
use crate::optimizer::Optimizer;
use crate::parameters::{Layout, Parameters};
use crate::settings::Kept;
use anyhow::{Context, Result};
use checkpoint::ModelConfig;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Compares the loss and every gradient of all models in a file of goldens, in f32.
///
/// # Errors
/// When the file cannot be read, or the GPU fails.
pub fn gradients(gpu: &Arc<Gpu>, file: &Path) -> Result<Vec<Comparison>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let parsed = SafeTensors::deserialize(&bytes)?;
    let tensors: BTreeMap<String, Vec<f32>> =
        parsed.tensors().into_iter().map(|(name, view)| (name, values(&view))).collect();
    let mut comparisons = Vec::new();
    for (key, text) in &metadata {
        let Some(name) = key.strip_prefix("config.") else { continue };
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("config.json"), text)?;
        let config = ModelConfig::read(&folder.path().join("config.json"))?;
        let own = tensors.iter().filter_map(|(full, values)| {
            Some((full.strip_prefix(name)?.strip_prefix('.')?, values.as_slice()))
        });
        model(gpu, name, &config, &own.collect(), &mut comparisons)?;
    }
    Ok(comparisons)
}

fn model(
    gpu: &Arc<Gpu>,
    name: &str,
    config: &ModelConfig,
    golden: &BTreeMap<&str, &[f32]>,
    comparisons: &mut Vec<Comparison>,
) -> Result<()> {
    let batch = batch(golden);
    let (positions, tokens) = (config.max_positions, batch.tokens());
    let state = state(config);
    let tensors = state.parameters.layout.tensors.clone();
    let mut trainer = Trainer::<f32>::new(Arc::clone(gpu), state, positions, Kept::Layers, tokens)?;
    let weight = 1.0 / batch.targets.len() as f32;
    let losses = trainer.gradient(&batch, weight)?;
    let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
    let gradients = gradients_of(&mut trainer)?;
    let mut record = |what: &str, difference: f64| {
        record(comparisons, format!("transformers, {name}: {what}"), difference, 1e-4);
    };
    record("loss", relative(&[loss as f32], golden["loss"]));
    for tensor in &tensors {
        let actual = &gradients[tensor.range.clone()];
        // Gradients of the tiny models are complete, those of the larger one are sampled.
        if let Some(expected) = golden.get(&*format!("gradient.{}", tensor.name)) {
            record(&tensor.name, relative(actual, expected));
        }
        if let Some(expected) = golden.get(&*format!("sample.{}", tensor.name)) {
            let count = expected.len();
            let sample: Vec<f32> = (0..count).map(|k| actual[k * actual.len() / count]).collect();
            record(&tensor.name, relative(&sample, expected));
        }
    }
    Ok(())
}

/// Returns weights that follow from the tensors' names, as the goldens' script makes them.
fn state(config: &ModelConfig) -> TrainingState {
    let layout = Layout::new(config);
    let values =
        layout.tensors.iter().flat_map(|tensor| random::hashed_values(&tensor.name, tensor.range.len()));
    let parameters =
        Parameters { config: config.clone(), values: values.collect::<Vec<f32>>().into(), layout };
    let optimizer = Optimizer::new(parameters.values.len());
    TrainingState { parameters, optimizer }
}

fn batch(golden: &BTreeMap<&str, &[f32]>) -> Batch {
    let count = golden.keys().filter(|key| key.starts_with("ids")).count();
    Batch::new((0..count).map(|index| {
        let ids: Vec<u32> = golden[&*format!("ids{index}")].iter().map(|id| *id as u32).collect();
        let trained: Vec<bool> = golden[&*format!("trained{index}")].iter().map(|one| *one > 0.0).collect();
        Sequence { ids: ids.into(), trained: trained.into() }
    }))
}

fn values(view: &safetensors::tensor::TensorView<'_>) -> Vec<f32> {
    let words = view.data().as_chunks::<4>().0.iter();
    match view.dtype() {
        Dtype::F32 => words.map(|word| f32::from_le_bytes(*word)).collect(),
        // Ids are below 2^24, so they are exact in f32.
        Dtype::I32 => words.map(|word| i32::from_le_bytes(*word) as f32).collect(),
        _ => view.data().iter().map(|mask| f32::from(*mask)).collect(),
    }
}
