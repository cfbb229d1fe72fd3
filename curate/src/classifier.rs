//! `smoltalk curate train-classifier`: a fastText classifier from labeled texts, measured on a tenth of them that it was not
//! trained on: precision, recall and F1 at each cut, what each cut keeps, the scores at quantiles.

use crate::fasttext::{Model, Training, train};
use anyhow::{Context, Result, bail};
use datasets::Choice;
use files::atomic;
use files::output_folder::{FolderKind, OutputFolder};
use random::{fnv1a, splitmix};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The folder of a classifier.
const FOLDER: FolderKind = FolderKind {
    program: "smoltalk curate train-classifier",
    description: "classifier.json",
    files: &["model.bin"],
    working: &[],
};
/// One text in so many is held out.
const HELD_OUT: u64 = 10;
/// Shares of texts whose scores are printed, in percent.
const TOP: [usize; 6] = [1, 5, 10, 20, 30, 50];
/// What texts without the label are called where there are only scores.
const REST: &str = "rest";

/// What a classifier is trained on.
#[derive(Debug)]
pub struct ClassifierSettings {
    /// Rows with `text`.
    pub data: PathBuf,
    /// Folder of the model.
    pub out: PathBuf,
    /// The label that is looked for.
    pub label: String,
    /// Where labels come from.
    pub labels: Labels,
    /// How it is trained.
    pub training: Training,
    /// Do not lock the folder.
    pub no_lock: bool,
}

/// Where labels come from.
#[derive(Debug)]
pub enum Labels {
    /// A column of strings.
    Column(String),
    /// A column of numbers: texts with at least this score have the label.
    Score {
        /// Its name.
        column: String,
        /// The cut.
        at_least: f64,
    },
}

/// A text that was held out.
struct Judged {
    is_positive: bool,
    score: f64,
    characters: usize,
}

/// Trains and measures a classifier; returns the table for the user.
///
/// # Errors
/// Names the file and the row that cannot be read, or says what is missing.
pub fn train_classifier(settings: &ClassifierSettings) -> Result<String> {
    OutputFolder::look(&settings.out, &FOLDER)?;
    let (examples, unlabeled) = read(settings)?;
    let (held_out, training): (Vec<_>, Vec<_>) =
        examples.into_iter().partition(|(text, _)| splitmix(fnv1a(text)).is_multiple_of(HELD_OUT));
    if !training.iter().any(|(_, label)| *label == settings.label) {
        bail!(
            "no text of {} has the label `{}`; give another `--label`",
            settings.data.display(),
            settings.label
        );
    }
    let model = train(&training, &settings.training)?;
    let judged = judge(&model, &held_out, &settings.label);
    let report = json!({
        "label": settings.label,
        "texts": training.len(),
        "held_out": held_out.len(),
        "texts_without_label": unlabeled,
        "training": {
            "dim": settings.training.dim, "epochs": settings.training.epochs, "learning_rate": settings.training.learning_rate,
            "word_ngrams": settings.training.word_ngrams, "buckets": settings.training.buckets, "seed": settings.training.seed,
        },
        "cuts": cuts(&judged),
        "quantiles": quantiles(&judged),
    });
    let folder = OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?;
    let new = folder.new_result()?;
    let mut bytes = Vec::new();
    model.write(&mut bytes)?;
    atomic::write(&new.path().join("model.bin"), bytes)?;
    atomic::write(
        &new.path().join("classifier.json"),
        format!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    folder.install(new, Map::new(), BTreeMap::new())?;
    Ok(table(&report))
}

/// Texts with labels, and how many have none.
fn read(settings: &ClassifierSettings) -> Result<(Vec<(String, String)>, u64)> {
    let (mut examples, mut unlabeled) = (Vec::new(), 0);
    for file in datasets::data_files(&settings.data, Choice::default())? {
        for row in datasets::file_objects(&file)? {
            let (number, row) = row?;
            let text = row.get("text").and_then(Value::as_str);
            let text = text.with_context(|| format!("{}, row {number}: no string `text`", file.display()))?;
            match label(&row, settings) {
                Some(label) => examples.push((text.to_owned(), label)),
                // A label that is missing is no label, and not the lowest one.
                None => unlabeled += 1,
            }
        }
    }
    Ok((examples, unlabeled))
}

fn label(row: &Map<String, Value>, settings: &ClassifierSettings) -> Option<String> {
    match &settings.labels {
        Labels::Column(column) => row.get(column).and_then(Value::as_str).map(str::to_owned),
        Labels::Score { column, at_least } => {
            let score = row.get(column).and_then(Value::as_f64)?;
            Some(if score >= *at_least { settings.label.clone() } else { REST.to_owned() })
        }
    }
}

fn judge(model: &Model, held_out: &[(String, String)], wanted: &str) -> Vec<Judged> {
    let at = model.labels().position(|label| label == wanted).unwrap_or_default();
    let judge = |(text, label): &(String, String)| Judged {
        is_positive: label == wanted,
        score: f64::from(model.predict(text)[at]),
        characters: crate::python::length(text),
    };
    held_out.iter().map(judge).collect()
}

/// Confusion, precision, recall, F1 and what is kept, at each cut.
fn cuts(judged: &[Judged]) -> Value {
    let row = |step: u32| {
        let cut = f64::from(step) / 20.0;
        let (mut both, mut kept_only, mut missed, mut neither, mut characters) =
            (0_u64, 0_u64, 0_u64, 0_u64, 0);
        for text in judged {
            let is_kept = text.score >= cut;
            match (is_kept, text.is_positive) {
                (true, true) => both += 1,
                (true, false) => kept_only += 1,
                (false, true) => missed += 1,
                (false, false) => neither += 1,
            }
            characters += if is_kept { text.characters } else { 0 };
        }
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let all: usize = judged.iter().map(|text| text.characters).sum();
        json!({
            "cut": cut,
            "f1": share(2 * both, 2 * both + kept_only + missed),
            "precision": share(both, both + kept_only),
            "recall": share(both, both + missed),
            "kept": share(both + kept_only, judged.len() as u64),
            "characters_kept": share(characters as u64, all as u64),
            "true_positives": both, "false_positives": kept_only, "false_negatives": missed, "true_negatives": neither,
        })
    };
    (1..20).map(row).collect()
}

/// The score that keeps each share of the texts.
fn quantiles(judged: &[Judged]) -> Value {
    let mut scores: Vec<f64> = judged.iter().map(|text| text.score).collect();
    scores.sort_by(|one, other| other.total_cmp(one));
    let at = |percent: usize| {
        let place = (scores.len() * percent / 100).max(1) - 1;
        json!({"top_percent": percent, "score": scores.get(place)})
    };
    TOP.map(at).into_iter().collect()
}

fn table(report: &Value) -> String {
    let mut lines = vec![
        format!("trained on {} texts, measured on {}; {} had no label", report["texts"], report["held_out"], report["texts_without_label"]),
        "  cut     F1  precision  recall   kept  characters  confusion (kept right, kept wrong, lost, dropped right)".to_owned(),
    ];
    for row in report["cuts"].as_array().into_iter().flatten() {
        let number = |name: &str| row[name].as_f64().unwrap_or_default();
        lines.push(format!(
            " {:.2}  {:.3}      {:.3}   {:.3}  {:.3}       {:.3}  {}, {}, {}, {}",
            number("cut"),
            number("f1"),
            number("precision"),
            number("recall"),
            number("kept"),
            number("characters_kept"),
            row["true_positives"],
            row["false_positives"],
            row["false_negatives"],
            row["true_negatives"]
        ));
    }
    for row in report["quantiles"].as_array().into_iter().flatten() {
        lines.push(format!(
            "the top {}% have a score of at least {:.6}",
            row["top_percent"],
            row["score"].as_f64().unwrap_or_default()
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

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
            json!({"text": text, "score": if at == 7 { Value::Null } else { json!(if good { 4 } else { 1 }) }}).to_string()
        };
        std::fs::write(path("rows.jsonl"), (0..900).map(row).collect::<Vec<_>>().join("\n")).unwrap();
        let mut settings = ClassifierSettings {
            data: path("rows.jsonl"),
            out: path("model"),
            label: "good".to_owned(),
            labels: Labels::Score { column: "score".to_owned(), at_least: 3.0 },
            training: Training { dim: 8, buckets: 1000, ..Training::default() },
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
        settings.label = "other".to_owned();
        settings.labels = Labels::Column("absent".to_owned());
        let error = train_classifier(&settings).unwrap_err().to_string();
        assert!(error.contains("has the label `other`"), "{error}");
    }
}
