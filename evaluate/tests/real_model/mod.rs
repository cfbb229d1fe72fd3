//! The real model of the tests as a checkpoint folder in bfloat16, which the goldens were made with: the folder that
//! `SMOL_REAL_MODEL` names if it is one, else made once beside the GGUF file in it (`tests/real_model` fetches that).

use checkpoint::weights::{Precision, expected_tensors, write};
use checkpoint::{Checkpoint, ModelConfig};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The checkpoint folder; `data` holds the tokenizer's files. `None` (said in one line) where there is no model.
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
