//! Recipes: TOML files of settings. Defaults, a recipe and flags make the settings of a run, the later winning.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Returns settings from defaults, a recipe and flags.
///
/// # Errors
/// Names the recipe and the key when one is unknown or has another type.
pub(crate) fn resolve<S: Serialize + DeserializeOwned + Default>(
    recipe: Option<&Path>,
    flags: &[toml::Table],
) -> Result<S> {
    let written = recipe.map_or_else(|| Ok(toml::Table::new()), read)?;
    let known = known_keys::<S>()?;
    if let Some(key) = written.keys().find(|key| !known.contains(key)) {
        let recipe = recipe.map(|path| path.display().to_string()).unwrap_or_default();
        bail!("{recipe}: unknown key `{key}`; known keys are {}", known.join(", "));
    }
    let origin = || recipe.map_or_else(|| "flags".to_owned(), |path| path.display().to_string());
    // The defaults of the whole struct, which may differ from those of its parts.
    let defaults = toml::Table::try_from(S::default())?;
    let mut table = defaults.clone();
    for layer in std::iter::once(&written).chain(flags) {
        table.extend(layer.clone());
    }
    let settings: Result<S, _> = toml::Value::Table(table.clone()).try_into();
    settings.with_context(|| match wrong_key::<S>(&defaults, &table) {
        Some(key) => format!("{}: `{key}`", origin()),
        None => origin(),
    })
}

/// Returns the key whose value cannot be read: the error does not name it where structs are flattened.
fn wrong_key<S: DeserializeOwned>(defaults: &toml::Table, table: &toml::Table) -> Option<String> {
    let fails = |(key, value): &(&String, &toml::Value)| {
        let mut table = defaults.clone();
        table.insert((*key).clone(), (*value).clone());
        toml::Value::Table(table).try_into::<S>().is_err()
    };
    table.iter().find(fails).map(|(key, _)| key.clone())
}

/// Returns flags as the keys that they set.
///
/// # Errors
/// When a value cannot be written as TOML; all of ours can.
pub(crate) fn table_of(flags: &impl Serialize) -> Result<toml::Table> {
    Ok(toml::Table::try_from(flags)?)
}

/// Adds each setting's default to the help of a command.
pub fn with_defaults<S: Serialize + Default>(mut command: clap::Command) -> clap::Command {
    let defaults = serde_json::to_value(S::default()).unwrap_or_default();
    for (name, value) in defaults.as_object().into_iter().flatten() {
        let is_flag = command.get_arguments().any(|argument| argument.get_id() == name.as_str());
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => list.iter().filter_map(|entry| entry.as_str()).collect(),
            other => other.to_string(),
        };
        if is_flag && !value.is_empty() && value != "null" {
            command = command.mut_arg(name, |argument| {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                argument.help(format!("{help} [default: {value}]"))
            });
        }
    }
    command
}

fn read(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// Returns the keys of the settings, also those without a default: JSON has `null` for them.
fn known_keys<S: Serialize + Default>() -> Result<Vec<String>> {
    let value = serde_json::to_value(S::default())?;
    Ok(value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
}
