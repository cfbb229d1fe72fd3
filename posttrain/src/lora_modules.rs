//! The value of `lora_modules`: which linear layers an adapter changes.

use anyhow::{Context, Result, ensure};
use checkpoint::adapter::LinearModule;

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
