//! Probabilities compared with those of the C++ program.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::Value;

/// Largest difference of a probability.
const TOLERANCE: f64 = 1e-5;

/// Compares all predictions; returns their number.
fn compare(model: &Model, goldens: &str) -> usize {
    let mut count = 0;
    for line in goldens.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let text = golden["text"].as_str().unwrap();
        let found = model.predict(text);
        for (label, expected) in golden["probabilities"].as_object().unwrap() {
            let at = model.labels().position(|name| name == label).unwrap();
            let difference = (f64::from(found[at]) - expected.as_f64().unwrap()).abs();
            assert!(
                difference < TOLERANCE,
                "{text:?}, {label}: {} where the original has {expected}",
                found[at]
            );
            count += 1;
        }
    }
    count
}

/// Source: tests/goldens/make_fasttext_goldens.py.
#[test]
fn small_models_predict_as_the_original_does() {
    let models: [(&[u8], &str); 4] = [
        (
            include_bytes!("../../tests/goldens/fasttext/hs.bin"),
            include_str!("../../tests/goldens/fasttext/hs.jsonl"),
        ),
        (
            include_bytes!("../../tests/goldens/fasttext/softmax.bin"),
            include_str!("../../tests/goldens/fasttext/softmax.jsonl"),
        ),
        (
            include_bytes!("../../tests/goldens/fasttext/ova.bin"),
            include_str!("../../tests/goldens/fasttext/ova.jsonl"),
        ),
        (
            include_bytes!("../../tests/goldens/fasttext/quantized.ftz"),
            include_str!("../../tests/goldens/fasttext/quantized.jsonl"),
        ),
    ];
    for (bytes, goldens) in models {
        assert!(compare(&Model::read(&mut &bytes[..]).unwrap(), goldens) > 100);
    }
}

/// Facebook's language model is not in this repository (CC-BY-SA 3.0): `SMOL_LID176` names `lid.176.ftz`.
#[test]
fn the_language_model_predicts_as_the_original_does() {
    let Some(path) = std::env::var_os("SMOL_LID176") else {
        return println!("skipped: SMOL_LID176 is not set");
    };
    let model = Model::open(Path::new(&path)).unwrap();
    assert!(compare(&model, include_str!("../../tests/goldens/fasttext/lid.jsonl")) > 60);
    assert_eq!(model.best("Das Schiff verließ den Hafen, bevor der Sturm kam.").unwrap().0, "de");
}

#[test]
fn damaged_models_are_refused() {
    let bytes = include_bytes!("../../tests/goldens/fasttext/quantized.ftz");
    for length in [0, 3, 8, 60, 200, bytes.len() / 2, bytes.len() - 1] {
        assert!(Model::read(&mut &bytes[..length]).is_err(), "{length}");
    }
    // Whatever a byte becomes, reading ends and prediction does not go out of bounds.
    for at in 0..bytes.len() {
        let mut broken = bytes.to_vec();
        broken[at] ^= 0xff;
        if let Ok(model) = Model::read(&mut &broken[..]) {
            model.predict("some words");
        }
    }
}
