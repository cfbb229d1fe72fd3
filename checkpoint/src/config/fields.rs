//! Fields of a `config.json`, each with an error that names it and its value.

use serde_json::{Map, Value};

pub(super) fn present(config: &Map<String, Value>, name: &str) -> bool {
    config.get(name).is_some_and(|value| !value.is_null())
}

pub(super) fn size(config: &Map<String, Value>, name: &str) -> Result<usize, String> {
    let value = config.get(name).ok_or_else(|| format!("{name} is missing"))?;
    match value.as_u64() {
        Some(size) if size > 0 => Ok(size as usize),
        _ => Err(format!("{name} is {value}; expected a positive whole number")),
    }
}

pub(super) fn number(config: &Map<String, Value>, name: &str) -> Result<Option<f64>, String> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_f64().map(Some).ok_or_else(|| format!("{name} is {value}; expected a number"))
        }
    }
}

pub(super) fn flag(config: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| format!("{name} is {value}; expected true or false")),
    }
}
