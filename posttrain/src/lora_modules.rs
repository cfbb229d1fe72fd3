//! The value of `lora_modules`: which linear layers an adapter changes.

use anyhow::{Context, Result, ensure};
use checkpoint::adapter::LinearModule;

/// Types to which the frozen linear layers under an adapter are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
pub(crate) enum BaseQuantization {
    /// As the checkpoint has them
    #[serde(rename = "none")]
    None,
    /// Blocks of 32 numbers of 8 bits
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 32 numbers of 4 bits
    #[value(name = "q4_0")]
    #[serde(rename = "q4_0")]
    Q4_0,
}

/// The value of `lora_modules` for all linear layers.
pub(crate) const ALL_LINEAR: &str = "all-linear";
/// Largest rank: beyond it an adapter is larger than what it adapts.
pub(crate) const MAX_RANK: usize = 8192;

/// Returns the kinds of layers of these names.
///
/// # Errors
/// Names what is no linear layer.
pub(crate) fn modules(names: &[String]) -> Result<Vec<LinearModule>> {
    if names == [ALL_LINEAR] {
        return Ok(LinearModule::ALL.to_vec());
    }
    let module = |name: &String| {
        LinearModule::of_name(name).with_context(|| {
            let known = LinearModule::ALL.map(LinearModule::name).join(", ");
            format!("`lora_modules` contains `{name}`; expected `{ALL_LINEAR}` alone, or some of {known}")
        })
    };
    let mut modules = names.iter().map(module).collect::<Result<Vec<_>>>()?;
    modules.sort_unstable();
    modules.dedup();
    ensure!(!modules.is_empty(), "`lora_modules` is empty; give `{ALL_LINEAR}` or some layers");
    Ok(modules)
}
