//! Classifiers that are trained, measured and read back.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::fasttext::Model;

#[test]
fn a_classifier_is_trained_measured_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let row = |at: usize| {
        let good = at.is_multiple_of(3);
        let word = |word: usize| {
            format!(
                "{}{}",
                ["common", if good { "proof" } else { "price" }][word % 2],
                (at * 31 + word * 17) % 40
            )
        };
        let text = (0..12).map(word).collect::<Vec<_>>().join(" ");
        json!({"text": text, "score": if at == 7 { Value::Null } else { json!(if good { 4 } else { 1 }) }})
            .to_string()
    };
    std::fs::write(path("rows.jsonl"), (0..900).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let mut settings = ClassifierSettings {
        data: path("rows.jsonl"),
        out: path("model"),
        target: Target::Cut { column: "score".to_owned(), at_least: 3.0, label: "good".to_owned() },
        kind: Kind::FastText(Training { dim: 8, buckets: 1000, ..Training::default() }),
        tokenizer: None,
        no_lock: false,
    };
    let table = train_classifier(&settings).unwrap();
    assert!(table.contains("; 1 had no label\n"), "{table}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(path("model/classifier.json")).unwrap()).unwrap();
    let middle = &report["cuts"][9];
    assert_eq!(middle["cut"], 0.5);
    assert!(middle["f1"].as_f64().unwrap() > 0.99, "{middle}");
    let sum: u64 = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
        .iter()
        .map(|name| middle[name].as_u64().unwrap())
        .sum();
    assert_eq!(sum, report["held_out"].as_u64().unwrap());
    let model = Model::open(&path("model/model.bin")).unwrap();
    assert_eq!(model.best("proof1 proof2 proof3 proof4 proof5").unwrap().0, "good");
    settings.target = Target::Labels { column: "absent".to_owned(), label: "other".to_owned() };
    let error = train_classifier(&settings).unwrap_err().to_string();
    assert!(error.contains("has the label `other`"), "{error}");
}
