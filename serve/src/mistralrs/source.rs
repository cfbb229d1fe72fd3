//! The weights to serve: a checkpoint folder or a GGUF file, laid out as mistral.rs 0.8.1 expects it.
//!
//! transformers 5 writes `rope_theta` into `rope_parameters` of config.json, where mistral.rs does not look. For such a
//! folder it gets a temporary folder of links, with a config that has the value in both places.
//!
//! mistral.rs believes the lengths in a GGUF file and recurses along its lists, which can end the whole process: such a file is
//! opened by this project's reader first, which refuses what no model needs. So is a tokenizer.

use anyhow::{Context, bail};
use checkpoint::Tokenizer;
use checkpoint::gguf::GgufFile;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WeightsSource {
    /// A folder in Hugging Face layout.
    Folder(PathBuf),
    /// One GGUF file.
    Gguf(PathBuf),
}

impl WeightsSource {
    /// Finds a folder, a `.gguf` file, a folder with one `.gguf` file, or a Hugging Face id, which is downloaded; refuses
    /// files that could end the process when mistral.rs reads them.
    pub(super) fn find(name: &str) -> anyhow::Result<Self> {
        let source = Self::locate(name)?;
        if let Self::Gguf(file) = &source {
            GgufFile::open(file)?;
        }
        let tokenizer = source.folder().join("tokenizer.json");
        if tokenizer.is_file() {
            Tokenizer::open(&tokenizer)?;
        }
        Ok(source)
    }

    fn locate(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(name);
        if path.is_file() {
            return match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
                true => Ok(Self::Gguf(path.to_owned())),
                false => bail!("{name} is a file, but not a .gguf file"),
            };
        }
        let path = &checkpoint::folder::locate(name)?;
        if path.join("config.json").is_file() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut files = gguf_files(path)?;
        match (files.pop(), files.len()) {
            (Some(file), 0) => Ok(Self::Gguf(file)),
            (Some(_), more) => bail!("{name} has {} .gguf files; give the path of one", more + 1),
            (None, _) => bail!("{name} has neither a config.json nor a .gguf file"),
        }
    }

    /// The folder of the weights, which may also have a tokenizer.json and a template.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Gguf(file) => match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
        }
    }
}

/// A temporary folder for mistral.rs to load from, where it cannot read the original one; to be kept while it loads.
pub(super) fn stage(source: &WeightsSource) -> anyhow::Result<Option<TempDir>> {
    match source {
        WeightsSource::Folder(folder) => {
            let mut config = read_config(folder)?;
            if !lift_rope(&mut config) {
                return Ok(None);
            }
            let staged = tempfile::tempdir().context("cannot make a temporary folder")?;
            for entry in std::fs::read_dir(folder)? {
                let name = entry?.file_name();
                if name != "config.json" {
                    link(folder, staged.path(), Path::new(&name))?;
                }
            }
            std::fs::write(staged.path().join("config.json"), config.to_string())
                .context("cannot write into a temporary folder")?;
            Ok(Some(staged))
        }
        // Beside a GGUF file, mistral.rs needs only the tokenizer; it may not be able to read a template there.
        WeightsSource::Gguf(_) if source.folder().join("tokenizer.json").is_file() => {
            let staged = tempfile::tempdir().context("cannot make a temporary folder")?;
            link(source.folder(), staged.path(), Path::new("tokenizer.json"))?;
            Ok(Some(staged))
        }
        WeightsSource::Gguf(_) => Ok(None),
    }
}

fn link(from: &Path, to: &Path, name: &Path) -> anyhow::Result<()> {
    let target = std::path::absolute(from.join(name))?;
    std::os::unix::fs::symlink(&target, to.join(name))
        .with_context(|| format!("cannot link {} into a temporary folder", target.display()))
}

fn gguf_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    Ok(paths.into_iter().filter(is_gguf).collect())
}

pub(super) fn read_config(folder: &Path) -> anyhow::Result<Value> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))
}

/// Copies the values of `rope_parameters` (transformers 5) to the top level; false when there is nothing to copy.
fn lift_rope(config: &mut Value) -> bool {
    let Value::Object(fields) = config else { return false };
    let inside = fields.get_mut("text_config").is_some_and(lift_rope);
    let Some(Value::Object(rope)) = fields.get("rope_parameters").cloned() else { return inside };
    let mut lifted = Map::new();
    // Models with several kinds of attention have one entry per kind of layer.
    let entry = |kind: &str| rope.get(kind).and_then(Value::as_object);
    let whole = entry("full_attention").unwrap_or(&rope);
    if let Some(theta) = whole.get("rope_theta") {
        lifted.insert("rope_theta".to_owned(), theta.clone());
    }
    if let Some(theta) = entry("sliding_attention").and_then(|local| local.get("rope_theta")) {
        lifted.insert("rope_local_base_freq".to_owned(), theta.clone());
    }
    if whole.get("rope_type").is_some_and(|kind| kind != "default") {
        let mut scaling = whole.clone();
        scaling.remove("rope_theta");
        lifted.insert("rope_scaling".to_owned(), Value::Object(scaling));
    }
    lifted.retain(|name, _| fields.get(name).is_none_or(Value::is_null));
    let changed = !lifted.is_empty();
    fields.extend(lifted);
    inside || changed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    /// The bytes of a GGUF file without tensors whose only metadata entry has these bytes after its key.
    fn gguf(tensors: u64, key: u64, value: &[u8]) -> Vec<u8> {
        let counts = [tensors, 1].map(u64::to_le_bytes).concat();
        [&b"GGUF"[..], &3u32.to_le_bytes(), &counts, &key.to_le_bytes(), b"k", value].concat()
    }

    /// A value of one type after another, then a length.
    fn value(kinds: &[u32], length: u64) -> Vec<u8> {
        let kinds = kinds.iter().flat_map(|kind| kind.to_le_bytes());
        kinds.chain(length.to_le_bytes()).collect()
    }

    #[test]
    fn gguf_files_that_would_end_the_process_are_refused_before_mistral_rs_sees_them() {
        const TEXT: u32 = 8;
        const LIST: u32 = 9;
        let one = 1u64.to_le_bytes();
        let nested = (0..500_000).flat_map(|_| LIST.to_le_bytes().into_iter().chain(one));
        let nested: Vec<u8> = LIST.to_le_bytes().into_iter().chain(nested).collect();
        let tensor = [&value(&[4], 0)[..8], &one, b"t", &u32::MAX.to_le_bytes()].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.gguf");
        for (name, bytes) in [
            ("nested lists", gguf(0, 1, &nested)),
            ("a string of 2^42", gguf(0, 1, &value(&[TEXT], 1 << 42))),
            ("a string of 2^62", gguf(0, 1, &value(&[TEXT], 1 << 62))),
            ("a key of 2^42", gguf(0, 1 << 42, &[])),
            ("a list of 2^40", gguf(0, 1, &value(&[LIST, 0], 1 << 40))),
            ("a tensor of 2^32 - 1 dimensions", gguf(1, 1, &tensor)),
        ] {
            std::fs::write(&path, bytes).unwrap();
            for location in [&path, folder.path()] {
                let error = WeightsSource::find(&location.to_string_lossy()).unwrap_err().to_string();
                assert!(error.contains("bomb.gguf"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn tokenizers_without_bounds_are_refused_before_mistral_rs_sees_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        let far = json!({"added_tokens": [{"id": 4_000_000_000_u64}], "model": {"vocab": {"a": 0}}});
        std::fs::write(folder.path().join("tokenizer.json"), far.to_string()).unwrap();
        let error = WeightsSource::find(&folder.path().to_string_lossy()).unwrap_err().to_string();
        assert!(error.contains("4000000000"), "{error}");
    }

    #[test]
    fn rope_parameters_are_copied_to_the_top_level() {
        let mut config =
            json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}});
        assert!(lift_rope(&mut config));
        assert_eq!(config["rope_theta"], 5e5);
        assert_eq!(config["rope_scaling"], json!({"rope_type": "llama3", "factor": 8.0}));
        let mut config = json!({"text_config": {"rope_parameters": {
            "full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}
        }}});
        assert!(lift_rope(&mut config));
        assert_eq!(config["text_config"]["rope_theta"], 1e6);
        assert_eq!(config["text_config"]["rope_local_base_freq"], 1e4);
    }

    #[test]
    fn a_config_with_the_values_is_not_changed() {
        let both = json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}});
        for mut config in [json!({"rope_theta": 1e4}), both] {
            assert!(!lift_rope(&mut config));
        }
    }
}
