//! What tests share that is not in the project: the folder of shared data with the goldens, and the real model as a
//! checkpoint folder in bfloat16, which the goldens were made with.

#![allow(dead_code, reason = "each test program uses a part of it")]

use checkpoint::weights::{Precision, expected_tensors, write};
use checkpoint::{Checkpoint, ModelConfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The folder of shared test data, from `SMOL_SHARED` or beside the checkout; `None` (said in one line) where there is
/// none.
///
/// # Panics
/// When it is absent and `SMOL_REQUIRE_SHARED=1` demands it.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from).join("data");
    if folder.join("goldens/evaluation").is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var("SMOL_REQUIRE_SHARED").as_deref() == Ok("1");
    assert!(!is_required, "SMOL_REQUIRE_SHARED=1, but {} has no goldens", folder.display());
    println!("skipped: no shared test data at {} (set SMOL_SHARED)", folder.display());
    None
}

/// The lines of a JSON Lines file.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// A checkpoint with one file changed; the others are links.
pub(crate) fn changed_checkpoint(model: &Path, name: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(model).expect("a folder").flatten() {
        let destination = folder.path().join(entry.file_name());
        if entry.file_name() == name {
            let text = std::fs::read(entry.path()).expect("a file");
            let mut value = serde_json::from_slice(&text).expect("JSON");
            change(&mut value);
            std::fs::write(destination, value.to_string()).expect("a file");
        } else {
            let original = entry.path().canonicalize().expect("a path");
            std::os::unix::fs::symlink(original, destination).expect("a link");
        }
    }
    folder
}

/// The checkpoint with the tokenizer that the goldens were made with: transformers 5 replaces what splits a text by
/// `ByteLevel` alone when the tokenizer's class is GPT2Tokenizer, so that a space before a digit after a line break is
/// another token (46 of 5,780 requests of the goldens). `smoleval` reads `tokenizer.json` as it is.
pub(crate) fn transformers_5(model: &Path) -> tempfile::TempDir {
    changed_checkpoint(model, "tokenizer.json", |tokenizer| {
        tokenizer["pre_tokenizer"] = tokenizer["pre_tokenizer"]["pretokenizers"][1].clone();
    })
}

/// The real model's checkpoint folder: the one that `SMOL_REAL_MODEL` names if it is one, else made once beside the GGUF
/// file in it (`tests/real_model` of the project fetches that); `data` has the tokenizer's files. `None` (said in one
/// line) where there is no model.
///
/// # Panics
/// When it is absent and `SMOL_REQUIRE_REAL_MODEL=1` demands it.
pub(crate) fn real_checkpoint(data: &Path) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = std::env::var_os("SMOL_REAL_MODEL").map(PathBuf::from).unwrap_or_default();
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let made = folder.join("smollm2-135m-instruct");
    if let Some(whole) = [&folder, &made].into_iter().find(|folder| folder.join("config.json").is_file()) {
        return Some(whole.clone());
    }
    if file.is_file() {
        make(&file, &data.join("models/smollm2-tokenizer"), &made);
        return Some(made);
    }
    let is_required = std::env::var("SMOL_REQUIRE_REAL_MODEL").as_deref() == Ok("1");
    assert!(!is_required, "SMOL_REQUIRE_REAL_MODEL=1, but `SMOL_REAL_MODEL` names no folder with the model");
    println!("skipped: no real model (set SMOL_REAL_MODEL to what tests/real_model prints)");
    None
}

/// Dequantizes a GGUF file into a folder that is whole or absent; the settings are those of the published checkpoint.
fn make(file: &Path, tokenizer: &Path, destination: &Path) {
    let folder = tempfile::tempdir_in(destination.parent().expect("a folder")).expect("a folder");
    let checkpoint = Checkpoint::open(file.to_str().expect("a path"), None).expect("the model");
    let config = ModelConfig::read(&tokenizer.join("config-135M-instruct.json")).expect("a config");
    let tensors: Vec<_> = expected_tensors(&config)
        .into_iter()
        .map(|(name, shape)| {
            let values = checkpoint.weights.tensor(&name);
            (name, shape, values)
        })
        .collect();
    write(&folder.path().join("model.safetensors"), &tensors, Precision::Bf16).expect("weights are written");
    let template = std::fs::read_to_string(tokenizer.join("chat_template.jinja")).expect("a template");
    let save =
        |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("it is written");
    save("chat_template.jinja", template.clone());
    save(
        "generation_config.json",
        json!({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}).to_string(),
    );
    let settings = json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "model_max_length": 8192, "chat_template": template});
    save("tokenizer_config.json", settings.to_string());
    std::fs::copy(tokenizer.join("tokenizer.json"), folder.path().join("tokenizer.json"))
        .expect("a tokenizer");
    std::fs::copy(tokenizer.join("config-135M-instruct.json"), folder.path().join("config.json"))
        .expect("a config");
    // Another process may have made it meanwhile.
    if std::fs::rename(folder.path(), destination).is_ok() {
        drop(folder.keep());
    }
}
