//! Losses and gradients of transformers (`tests/goldens/make_gradient_goldens.py`), from a card.

use super::{Finding, note, relative};
use crate::gpu::card::Card;
use crate::gpu::trainer::Trainer;
use crate::model::{Batch, Layout, Parameters, Sequence};
use crate::optimizer::Optimizer;
use crate::random;
use anyhow::{Context, Result};
use safetensors::{Dtype, SafeTensors};
use smollm::ModelConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The loss and every gradient of all models in a file of goldens, in f32.
///
/// # Errors
/// When the file cannot be read, or the card fails.
pub fn gradients(card: &Arc<Card>, file: &Path) -> Result<Vec<Finding>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let parsed = SafeTensors::deserialize(&bytes)?;
    let tensors: BTreeMap<String, Vec<f32>> =
        parsed.tensors().into_iter().map(|(name, view)| (name, numbers(&view))).collect();
    let mut findings = Vec::new();
    for (key, text) in &metadata {
        let Some(name) = key.strip_prefix("config.") else { continue };
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("config.json"), text)?;
        let config = ModelConfig::read(&folder.path().join("config.json"))?;
        let own = tensors.iter().filter_map(|(full, values)| {
            Some((full.strip_prefix(name)?.strip_prefix('.')?, values.as_slice()))
        });
        model(card, name, &config, &own.collect(), &mut findings)?;
    }
    Ok(findings)
}

fn model(
    card: &Arc<Card>,
    name: &str,
    config: &ModelConfig,
    numbers: &BTreeMap<&str, &[f32]>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let layout = Layout::new(config);
    let values =
        layout.tensors.iter().flat_map(|tensor| random::hashed_values(&tensor.name, tensor.range.len()));
    let parameters = Parameters { config: config.clone(), values: values.collect(), layout };
    let count = numbers.keys().filter(|key| key.starts_with("ids")).count();
    let batch = Batch::new((0..count).map(|index| {
        let ids: Vec<u32> = numbers[&*format!("ids{index}")].iter().map(|id| *id as u32).collect();
        let trained: Vec<bool> = numbers[&*format!("trained{index}")].iter().map(|one| *one > 0.0).collect();
        Sequence { ids: ids.into(), trained: trained.into() }
    }));
    let optimizer = Optimizer::new(parameters.values.len());
    let (positions, tokens) = (config.max_positions, batch.tokens());
    let mut trainer =
        Trainer::<f32>::new(Arc::clone(card), &parameters, &optimizer, positions, false, tokens)?;
    let weight = 1.0 / batch.targets.len() as f32;
    let losses = trainer.gradient(&batch, weight)?;
    let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
    let gradients = trainer.gradients()?;
    let mut note =
        |what: &str, found: f64| note(findings, format!("transformers, {name}: {what}"), found, 1e-4);
    note("loss", relative(&[loss as f32], numbers["loss"]));
    for tensor in &parameters.layout.tensors {
        let found = &gradients[tensor.range.clone()];
        // The tiny models' gradients are whole, the larger one's a sample.
        if let Some(expected) = numbers.get(&*format!("gradient.{}", tensor.name)) {
            note(&tensor.name, relative(found, expected));
        }
        if let Some(expected) = numbers.get(&*format!("sample.{}", tensor.name)) {
            let count = expected.len();
            let sample: Vec<f32> = (0..count).map(|k| found[k * found.len() / count]).collect();
            note(&tensor.name, relative(&sample, expected));
        }
    }
    Ok(())
}

fn numbers(view: &safetensors::tensor::TensorView<'_>) -> Vec<f32> {
    let words = view.data().as_chunks::<4>().0.iter();
    match view.dtype() {
        Dtype::F32 => words.map(|word| f32::from_le_bytes(*word)).collect(),
        // Ids are below 2^24, so they stay exact.
        Dtype::I32 => words.map(|word| i32::from_le_bytes(*word) as f32).collect(),
        _ => view.data().iter().map(|mask| f32::from(*mask)).collect(),
    }
}
