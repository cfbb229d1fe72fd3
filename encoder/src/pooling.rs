//! How the vectors of tokens become one vector of a text, and what sentence-transformers stores about it.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;

/// What a text's vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token.
    First,
    /// The first token through the model's pooler: a linear layer and tanh.
    Pooler,
}

/// The pooling of a folder, and whether vectors are normalized to length 1.
pub(crate) fn read(folder: &Path) -> Result<(Pooling, bool)> {
    let json = |name: &str| -> Result<Option<Value>> {
        let path = folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))?))
    };
    let modules = json("modules.json")?.unwrap_or_default();
    let is_normalized = modules
        .as_array()
        .into_iter()
        .flatten()
        .any(|module| module["type"].as_str().is_some_and(|kind| kind.ends_with("Normalize")));
    let Some(settings) = json("1_Pooling/config.json")? else { return Ok((Pooling::Mean, is_normalized)) };
    let modes = settings.as_object().into_iter().flatten();
    let modes: Vec<&str> = modes
        .filter(|(name, value)| name.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match modes[..] {
        ["pooling_mode_mean_tokens"] | [] => Ok((Pooling::Mean, is_normalized)),
        ["pooling_mode_cls_token"] => Ok((Pooling::First, is_normalized)),
        _ => bail!(
            "{} has {}; pooling_mode_mean_tokens or pooling_mode_cls_token alone is computed",
            folder.join("1_Pooling/config.json").display(),
            modes.join(", ")
        ),
    }
}

/// The mean of rows (T, dim); sums are f64, because a page has hundreds of tokens.
pub(crate) fn mean(hidden: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    for row in hidden.chunks_exact(dim) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (hidden.len() / dim).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Scales a vector to length 1; one of length 0 stays.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    // As torch divides: by at least 1e-12.
    let scale = 1.0 / length.max(1e-12);
    vector.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
}
