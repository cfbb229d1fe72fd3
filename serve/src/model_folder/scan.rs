//! What of a folder is a model: a folder with `config.json` and weights, a GGUF file, or such in a folder of its owner.

use crate::model_source::ModelSource;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// A model of the folder that may not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundModel {
    pub(crate) source: ModelSource,
    /// Bytes of its weights.
    pub(crate) bytes: usize,
    /// When the folder or file was changed, in seconds since 1970.
    pub(crate) changed: u64,
}

/// The models of a folder by name: `name`, or `owner/name` one level deeper; a GGUF file without its ending. Entries
/// whose names have spaces, or begin with a dot, are left out.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn scan(folder: &Path) -> std::io::Result<BTreeMap<String, FoundModel>> {
    let mut found = BTreeMap::new();
    for (name, path) in entries(folder)? {
        if let Some(model) = model(&name, &path) {
            found.insert(model.source.name.clone(), model);
        } else if path.is_dir() {
            let inner = entries(&path).unwrap_or_default();
            let models = inner.iter().filter_map(|(inner, path)| model(&format!("{name}/{inner}"), path));
            found.extend(models.map(|model| (model.source.name.clone(), model)));
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> std::io::Result<Vec<(String, std::path::PathBuf)>> {
    let is_name =
        |name: &String| !name.starts_with('.') && !name.chars().any(|c| c.is_whitespace() || c.is_control());
    let entry = |entry: std::fs::DirEntry| Some((entry.file_name().into_string().ok()?, entry.path()));
    Ok(std::fs::read_dir(folder)?.flatten().filter_map(entry).filter(|(name, _)| is_name(name)).collect())
}

fn model(name: &str, path: &Path) -> Option<FoundModel> {
    let name = if path.is_file() { name.strip_suffix(".gguf")? } else { name };
    let bytes = if path.is_file() { path.metadata().ok()?.len() } else { weights(path)? };
    let changed = path.metadata().and_then(|metadata| metadata.modified()).ok();
    let changed =
        changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
    let source = ModelSource { name: name.to_owned(), location: path.to_str()?.to_owned() };
    Some(FoundModel { source, bytes: usize::try_from(bytes).unwrap_or(usize::MAX), changed })
}

/// Bytes of a checkpoint's weights; `None` if the folder is no checkpoint.
fn weights(folder: &Path) -> Option<u64> {
    if !folder.join("config.json").is_file() {
        return None;
    }
    let is_weights =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".safetensors");
    let files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().filter(is_weights).collect();
    // Through links, as the hub's cache has them.
    let sizes = files.iter().filter_map(|entry| entry.path().metadata().ok()).map(|metadata| metadata.len());
    (!files.is_empty()).then(|| sizes.sum())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_and_gguf_files_are_models_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: usize| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        };
        write("sft/config.json", 2);
        write("sft/model.safetensors", 100);
        write("owner/dpo/config.json", 2);
        write("owner/dpo/a.safetensors", 20);
        write("owner/dpo/b.safetensors", 30);
        write("small.Q4_0.gguf", 7);
        write("adapter/adapter_model.safetensors", 9);
        write("unfinished/config.json", 2);
        write(".hidden/config.json", 2);
        write(".hidden/model.safetensors", 2);
        write("two words.gguf", 2);
        write("notes.txt", 2);
        write("a/b/c/config.json", 2);
        write("a/b/c/model.safetensors", 2);
        let found = scan(folder.path()).unwrap();
        let sizes: Vec<(&str, usize)> =
            found.iter().map(|(name, model)| (name.as_str(), model.bytes)).collect();
        assert_eq!(sizes, [("owner/dpo", 50), ("sft", 100), ("small.Q4_0", 7)]);
        assert!(found["sft"].source.location.ends_with("/sft") && found["sft"].changed > 0);
        assert!(scan(&folder.path().join("nothing")).is_err());
    }
}
