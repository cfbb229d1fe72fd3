//! What a folder that is almost a checkpoint probably is.

use std::path::Path;

/// What a folder without one of a checkpoint's files probably is, and what to do.
pub(crate) fn hint(folder: &Path) -> &'static str {
    let has = |name: &str| folder.join(name).is_file();
    let has_end = |end: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(end))
    };
    if has("adapter_config.json") {
        return "it is an adapter (PEFT); give a folder that also names its base model, or merge it with `posttrain merge`";
    }
    if has_end(".gguf") {
        return "it contains a GGUF file; give the path of that file";
    }
    if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
        return "it has pytorch_model.bin; load it with transformers and save it with `save_pretrained`, which writes model.safetensors";
    }
    if !has("tokenizer.json") && (has("tokenizer.model") || has("vocab.json")) {
        return "it has only a slow tokenizer; load it with transformers' AutoTokenizer and save it with `save_pretrained`, which writes tokenizer.json";
    }
    "a checkpoint folder contains config.json, tokenizer.json and model.safetensors (or shards with model.safetensors.index.json)"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::hint;

    #[test]
    fn a_folder_is_named_for_what_it_probably_is() {
        for (file, expected) in [
            ("adapter_config.json", "it is an adapter (PEFT)"),
            ("vocab.json", "it has only a slow tokenizer"),
            ("tokenizer.model", "it has only a slow tokenizer"),
            ("pytorch_model.bin.index.json", "it has pytorch_model.bin"),
            ("a.gguf", "it contains a GGUF file"),
            ("tokenizer.json", "a checkpoint folder contains"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(file), "").unwrap();
            assert!(hint(folder.path()).starts_with(expected), "{file}: {}", hint(folder.path()));
        }
    }
}
