//! Every model family against transformers: tiny random checkpoints, which `make_family_goldens.py` made.

use checkpoint::Checkpoint;
use engine::{CacheFormat, Chunk, KvCache, LogitPositions, Model, WeightFormat};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use tests::golden;

pub(crate) const NAMES: [&str; 10] =
    ["llama3", "linear", "yarn", "yarn_scaled", "dynamic", "mistral", "qwen2", "qwen3", "gemma3", "smollm3"];

/// A golden's folder with a tokenizer, which these models have no use for.
pub(crate) fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("families").join(name).join(file), folder.path().join(file)).unwrap();
    }
    let vocabulary = json!({"<unk>": 0, "a": 1});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

pub(crate) fn open(folder: &Path) -> Checkpoint {
    Checkpoint::open(folder.to_str().unwrap(), None).unwrap()
}

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(golden("families/logits.json")).unwrap()).unwrap()
}

/// The logits (T, V), computed in chunks of these lengths.
fn logits(model: &Model, ids: &[u32], chunks: &[usize]) -> Vec<f32> {
    let (mut cache, mut rest, mut found) = (KvCache::new(), ids, Vec::new());
    for length in chunks.iter().copied().cycle() {
        let (ids, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        if ids.is_empty() {
            return found;
        }
        let logits = LogitPositions::All;
        found.extend(model.forward(&mut [Chunk {
            ids,
            cache: &mut cache,
            logits,
            hidden_sum: None,
            adapter: None,
        }]));
    }
    found
}

#[test]
fn logits_of_every_family_agree_with_transformers() {
    let goldens = goldens();
    for name in NAMES {
        let (folder, golden) = (folder(name), &goldens[name]);
        let checkpoint = open(folder.path());
        let model = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
        let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
        let whole = logits(&model, &ids, &[ids.len()]);
        let in_parts = logits(&model, &ids, &[1, 37, 3]);
        assert!(whole.iter().zip(&in_parts).all(|(a, b)| a.to_bits() == b.to_bits()), "{name} in parts");
        let positions: Vec<usize> = serde_json::from_value(golden["positions"].clone()).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(golden["logits"].clone()).unwrap();
        assert!(positions.len() >= 4 && expected.len() == positions.len());
        for (position, expected) in positions.into_iter().zip(expected) {
            let found = &whole[position * expected.len()..][..expected.len()];
            let largest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 1e-4, "{name}: the logits of position {position} differ by {largest}");
        }
    }
}

/// A config that asks for arithmetic which is not there names the field.
#[test]
fn other_arithmetic_is_refused_by_the_name_of_its_field() {
    let refused = |name: &str, field: &str, value: Value, expected: &str| {
        let folder = folder(name);
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let reason = Checkpoint::open(folder.path().to_str().unwrap(), None).unwrap_err().to_string();
        assert!(reason.contains(expected), "{name} {field}: {reason}");
    };
    refused("gemma3", "final_logit_softcapping", json!(30.0), "final_logit_softcapping is not supported");
    refused("gemma3", "query_pre_attn_scalar", json!(168), "query_pre_attn_scalar is 168");
    refused("gemma3", "hidden_activation", json!("gelu"), "hidden_activation \"gelu\"");
    refused("gemma3", "use_bidirectional_attention", json!(true), "use_bidirectional_attention");
    refused("gemma3", "model_type", json!("gemma3"), "reads images");
    refused(
        "qwen3",
        "attention_bias",
        json!(true),
        "attention_bias true is not supported for model_type \"qwen3\"",
    );
    refused(
        "smollm3",
        "no_rope_layers",
        json!([1, 0]),
        "no_rope_layers has 2 entries, but num_hidden_layers is 5",
    );
    refused(
        "llama3",
        "model_type",
        json!("mamba"),
        "expected one of llama, mistral, qwen2, qwen3, gemma3_text, smollm3",
    );
    refused("qwen2", "model_type", json!("llama"), "k_proj.bias");
}
