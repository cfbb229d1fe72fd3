//! Vectors against transformers' (`tests/goldens/make_encoder_goldens.py`), batches, and folders that are refused.

use super::*;
use serde_json::Value;
use std::path::PathBuf;

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn rows() -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(goldens("tiny.json")).unwrap()).unwrap()
}

fn numbers(row: &Value, name: &str) -> Vec<f32> {
    row[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{what}: {found}, not {expected}");
    }
}

#[test]
fn vectors_are_those_of_transformers_in_every_way_of_pooling() {
    let rows = rows();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    for (pooling, name) in [(Pooling::Mean, "mean"), (Pooling::First, "first"), (Pooling::Pooler, "pooled")] {
        let encoder = Encoder::open(&goldens("tiny")).unwrap().with_pooling(pooling).unwrap();
        assert_eq!((encoder.dim(), encoder.max_tokens()), (24, 96));
        let vectors = encoder.encode(&texts).unwrap();
        for (row, vector) in rows.iter().zip(vectors.chunks(24)) {
            assert_near(vector, &numbers(row, name), &format!("{name} of {}", row["text"]));
        }
    }
}

#[test]
fn a_published_classifier_has_its_layer() {
    let encoder = Encoder::open(&goldens("tiny")).unwrap();
    let head = encoder.head().unwrap();
    assert_eq!((head.weights.len(), head.bias.len()), (24, 1));
    for row in rows() {
        let vector = encoder.encode(&[row["text"].as_str().unwrap()]).unwrap();
        let score =
            head.bias[0] + vector.iter().zip(&head.weights).map(|(one, other)| one * other).sum::<f32>();
        assert_near(&[score], &[row["score"].as_f64().unwrap() as f32], "score");
    }
}

#[test]
fn a_text_has_the_same_bits_in_every_batch() {
    let encoder = Encoder::open(&goldens("tiny")).unwrap();
    let rows = rows();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    // More than one batch of tokens.
    let many: Vec<&str> = texts.iter().copied().cycle().take(texts.len() * 60).collect();
    let alone: Vec<Vec<f32>> = texts.iter().map(|text| encoder.encode(&[text]).unwrap()).collect();
    for (at, vector) in encoder.encode(&many).unwrap().chunks(24).enumerate() {
        assert!(vector == alone[at % texts.len()], "text {at}");
    }
    assert!(encoder.encode(&[]).unwrap().is_empty());
    assert_eq!(batch_length([9000, 1].into_iter()), 1);
    assert_eq!(batch_length([4000, 4192, 1].into_iter()), 2);
}

#[test]
fn the_beginning_of_a_long_text_has_the_ids_of_the_whole() {
    let encoder = Encoder::open(&goldens("tiny")).unwrap();
    // Longer than what is tokenized at first; the second one has all its words behind that.
    let long = "one circle after the other is even. ".repeat(5000);
    let late = format!("{}{}", " ".repeat(100_000), "the area of the circle");
    let ids = encoder.tokens.encode(&[&long, &late, "the area of the circle"]).unwrap();
    assert_eq!(ids[0].len(), 96);
    assert_eq!(ids[1], ids[2]);
}

#[test]
fn vectors_are_normalized_where_the_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    // Without a classifier's layer the folder's pooling counts.
    let bytes = std::fs::read(goldens("tiny/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.tensors().into_iter().filter(|(name, _)| !name.starts_with("classifier"));
    let kept = safetensors::serialize(kept, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), kept).unwrap();
    std::fs::write(
        folder.path().join("modules.json"),
        r#"[{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Normalize"}]"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 12}"#).unwrap();
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let settings = |text: &str| std::fs::write(folder.path().join("1_Pooling/config.json"), text).unwrap();
    settings(
        r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false, "word_embedding_dimension": 24}"#,
    );
    let encoder = Encoder::open(folder.path()).unwrap();
    assert_eq!((encoder.head(), encoder.max_tokens(), encoder.pooling), (None, 12, Pooling::First));
    let vector = encoder.encode(&["the area of the circle"]).unwrap();
    let length: f32 = vector.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
    settings(r#"{"pooling_mode_max_tokens": true}"#);
    let error = format!("{:#}", Encoder::open(folder.path()).unwrap_err());
    assert!(error.contains("has pooling_mode_max_tokens"), "{error}");
}

fn copy(to: &Path) {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(goldens("tiny").join(name), to.join(name)).unwrap();
    }
}

#[test]
fn what_is_computed_otherwise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let path = folder.path().join("config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let refused = |key: &str, value: Value| {
        let mut changed = config.clone();
        changed[key] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        format!("{:#}", Encoder::open(folder.path()).unwrap_err())
    };
    for (key, value, part) in [
        ("model_type", Value::from("roberta"), "`model_type` is `roberta`"),
        ("hidden_act", Value::from("relu"), "`hidden_act` is `relu`"),
        ("position_embedding_type", Value::from("relative_key"), "`relative_key`"),
        ("num_attention_heads", Value::from(5), "no multiple of `num_attention_heads` 5"),
        ("intermediate_size", Value::from(41), "intermediate.dense.weight has the shape [40, 24]"),
        ("num_hidden_layers", Value::from(3), "no tensor encoder.layer.2"),
        ("vocab_size", Value::from(3), "it belongs to another model"),
        ("max_position_embeddings", Value::from(0), "`max_position_embeddings` is 0"),
        ("hidden_size", Value::from(0), "`hidden_size` is 0"),
    ] {
        let error = refused(key, value);
        assert!(error.contains(part), "{error}");
    }
    std::fs::write(&path, config.to_string()).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), b"no tensors").unwrap();
    let error = format!("{:#}", Encoder::open(folder.path()).unwrap_err());
    assert!(error.contains("is no file of safetensors"), "{error}");
    let error = format!("{:#}", Encoder::open(&folder.path().join("absent")).unwrap_err());
    assert!(error.contains("config.json; a sentence encoder is a checkpoint folder"), "{error}");
}
