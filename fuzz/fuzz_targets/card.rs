//! A dataset's README.md, which selects files by patterns.
#![no_main]

use datasets::Choice;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(card) = std::str::from_utf8(bytes) else { return };
    let names: Vec<String> = ["README.md", "data/train-00000.parquet", "data/test-0.jsonl", "a/b/c/train.json"]
        .map(str::to_owned)
        .to_vec();
    for choice in [Choice::default(), Choice { config: Some("default"), split: Some("train+test") }] {
        let _ = datasets::choose(Some(card), &names, choice);
    }
});
