//! The 181 public pages of scrapinghub/article-extraction-benchmark, scored as its `evaluate.py` scores: shared runs of four
//! words, precision and recall averaged over pages. `cargo test -p curate --test articles -- --nocapture` prints the score.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail loudly")]

use curate::{Content, extract};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

/// The pages, in `SMOL_SHARED` or beside the checkout; `None` where they are not.
fn pages() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("data/web/article-extraction");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("SMOL_REQUIRE_SHARED").is_none(), "{} does not exist", folder.display());
    println!("skipped: {} does not exist (set SMOL_SHARED)", folder.display());
    None
}

fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect()
}

/// How often each run of four words occurs.
fn runs<'a>(words: &'a [&'a str]) -> HashMap<&'a [&'a str], u32> {
    let mut runs = HashMap::new();
    for start in 0..words.len().saturating_sub(3).max(1) {
        let run = &words[start..words.len().min(start + 4)];
        if !run.is_empty() {
            *runs.entry(run).or_default() += 1;
        }
    }
    runs
}

/// Precision and recall of a page; `None` where it has no text on that side.
fn score(truth: &str, found: &str) -> (Option<f64>, Option<f64>) {
    let (truth, found) = (words(truth), words(found));
    let (truth, found) = (runs(&truth), runs(&found));
    let shared: u32 = truth.iter().map(|(run, count)| *count.min(found.get(run).unwrap_or(&0))).sum();
    let share = |runs: &HashMap<&[&str], u32>| {
        let all: u32 = runs.values().sum();
        (all > 0).then(|| f64::from(shared) / f64::from(all))
    };
    (share(&found), share(&truth))
}

#[test]
fn articles_are_extracted_at_least_as_well_as_promised() {
    let Some(folder) = pages() else { return };
    let truth: Value =
        serde_json::from_slice(&std::fs::read(folder.join("ground-truth.json")).unwrap()).unwrap();
    let (mut precisions, mut recalls) = (Vec::new(), Vec::new());
    for (name, page) in truth.as_object().unwrap() {
        let file = std::fs::File::open(folder.join(format!("html/{name}.html.gz"))).unwrap();
        let mut html = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut html).unwrap();
        let found = extract(&curate::decode(&html, None), Content::Main).unwrap();
        let (precision, recall) = score(page["articleBody"].as_str().unwrap(), &found.text);
        precisions.extend(precision);
        recalls.extend(recall);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (precision, recall) = (mean(&precisions), mean(&recalls));
    let f1 = 2.0 * precision * recall / (precision + recall);
    println!("{} pages: precision {precision:.4}, recall {recall:.4}, F1 {f1:.4}", recalls.len());
    assert!(f1 >= 0.965, "F1 {f1:.4}");
}
