//! Which files hold the weights of a checkpoint folder.

use crate::error::{Error, read_to_string};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// `model.safetensors`, or the shards that `model.safetensors.index.json` names, which are files beside it.
///
/// # Errors
/// Names the file that is missing, or the name in the index that is no file of this folder.
pub(super) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() {
        return Ok(vec![single]);
    }
    if !index.is_file() {
        return Err(Error::Incomplete {
            folder: folder.to_owned(),
            missing: "model.safetensors",
            hint: crate::hint::hint(folder),
        });
    }
    let text = read_to_string(&index)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::invalid(&index, format!("not JSON: {error}")))?;
    let map = value["weight_map"].as_object().ok_or_else(|| Error::invalid(&index, "has no weight_map"))?;
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    names
        .into_iter()
        .map(|name| shard(folder, name).map_err(|reason| Error::invalid(&index, reason)))
        .collect()
}

/// The path of a shard. An index must not make the program open files of other folders.
fn shard(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let mut parts = Path::new(name).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err(format!("names the shard {name:?}; expected the name of a file in the same folder"));
    }
    let path = folder.join(name);
    if !path.is_file() {
        return Err(format!("names the shard {name:?}, which is missing; download or copy it again"));
    }
    Ok(path)
}
