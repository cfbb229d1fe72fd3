//! An encoder of the BERT family for the words of the web. It was never trained: words have random vectors, its layer adds
//! little to them, and so a text's vector is about the mean of its words, which is enough to tell these pages apart.

use anyhow::{Context, Result};
use files::atomic;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DIM: usize = 64;
const HEADS: usize = 4;
const FEATURES: usize = 128;
const POSITIONS: usize = 512;
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Writes a checkpoint folder whose vocabulary is the words of these texts.
pub(super) fn write(folder: &Path, texts: impl Iterator<Item = String>, seed: u64) -> Result<()> {
    let mut words = BTreeSet::new();
    for text in texts {
        let parts = text.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        words.extend(parts.map(str::to_lowercase));
    }
    let vocabulary: Vec<String> = SPECIAL.iter().map(|word| (*word).to_owned()).chain(words).collect();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let config = json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary.len(), "hidden_size": DIM,
        "num_hidden_layers": 1, "num_attention_heads": HEADS, "intermediate_size": FEATURES, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    });
    let json = |value: &Value| -> Result<String> { Ok(serde_json::to_string(value)? + "\n") };
    atomic::write(&folder.join("config.json"), json(&config)?)?;
    atomic::write(&folder.join("tokenizer.json"), json(&tokenizer(&vocabulary))?)?;
    atomic::write(&folder.join("model.safetensors"), weights(vocabulary.len(), seed)?)?;
    Ok(())
}

/// A tokenizer of whole words.
fn tokenizer(vocabulary: &[String]) -> Value {
    let ids: Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let added = SPECIAL.iter().enumerate().map(|(id, word)| {
        json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": ids},
    })
}

fn weights(vocabulary: usize, seed: u64) -> Result<Vec<u8>> {
    let layer = |name: &str| format!("encoder.layer.0.{name}");
    let mut shapes: Vec<(String, Vec<usize>, f32)> = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![vocabulary, DIM], 1.0),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, DIM], 0.02),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, DIM], 0.02),
        (layer("intermediate.dense.weight"), vec![FEATURES, DIM], 0.02),
        (layer("intermediate.dense.bias"), vec![FEATURES], 0.02),
        (layer("output.dense.weight"), vec![DIM, FEATURES], 0.02),
        (layer("output.dense.bias"), vec![DIM], 0.02),
    ];
    for part in
        ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    {
        shapes.push((layer(&format!("{part}.weight")), vec![DIM, DIM], 0.02));
        shapes.push((layer(&format!("{part}.bias")), vec![DIM], 0.02));
    }
    let norms =
        ["embeddings.LayerNorm".to_owned(), layer("attention.output.LayerNorm"), layer("output.LayerNorm")];
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, shape, scale) in shapes {
        let count = shape.iter().product();
        let values =
            random::hashed_values(&format!("{seed}/{name}"), count).into_iter().map(|value| value * scale);
        tensors.insert(name, (shape, values.flat_map(f32::to_le_bytes).collect()));
    }
    for norm in norms {
        tensors.insert(
            format!("{norm}.weight"),
            (vec![DIM], [1.0f32; DIM].iter().flat_map(|one| one.to_le_bytes()).collect()),
        );
        tensors.insert(format!("{norm}.bias"), (vec![DIM], vec![0; 4 * DIM]));
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    Ok(safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None)?)
}
