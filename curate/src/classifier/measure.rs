//! What a classifier is worth on the texts that were held out: F1, confusion and what is kept at each cut, the scores at
//! quantiles, and for scores the whole confusion of rounded ones.

use serde_json::{Value, json};

/// Shares of texts whose scores are printed, in percent.
const TOP: [usize; 6] = [1, 5, 10, 20, 30, 50];

/// A text that was held out.
pub(super) struct Judged {
    /// 1 for the label and 0 for others, or the score of the teacher.
    pub(super) truth: f64,
    /// What the classifier says.
    pub(super) score: f64,
    pub(super) characters: usize,
    pub(super) tokens: Option<usize>,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// A label: cuts are probabilities.
    Label,
    /// Whole scores from 0 on: cuts are those of rounded scores.
    Scores,
}

/// Adds all figures to a report.
pub(super) fn report(judged: &[Judged], scale: Scale, report: &mut Value) {
    let highest = judged.iter().map(|text| text.truth).fold(0.0, f64::max).round() as usize;
    report["cuts"] = match scale {
        Scale::Label => (1..20).map(|step| cut(judged, f64::from(step) / 20.0, 0.5)).collect(),
        // Half a point below, which is where a score is rounded to the next one.
        Scale::Scores => (1..=highest).map(|step| cut(judged, step as f64 - 0.5, step as f64)).collect(),
    };
    report["quantiles"] = quantiles(judged);
    if scale == Scale::Scores {
        let confusion = confusion(judged, highest);
        report["macro_f1"] = json!(macro_f1(&confusion));
        report["confusion"] = json!(confusion);
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Confusion, precision, recall, F1 and what is kept at a cut of the scores; a text belongs above it if its truth is at least
/// `truth`.
fn cut(judged: &[Judged], cut: f64, truth: f64) -> Value {
    let (mut both, mut kept_only, mut missed, mut neither) = (0_u64, 0_u64, 0_u64, 0_u64);
    for text in judged {
        match (text.score >= cut, text.truth >= truth) {
            (true, true) => both += 1,
            (true, false) => kept_only += 1,
            (false, true) => missed += 1,
            (false, false) => neither += 1,
        }
    }
    let kept = || judged.iter().filter(|text| text.score >= cut);
    let characters = |text: &Judged| text.characters as u64;
    let tokens = |text: &Judged| text.tokens.unwrap_or_default() as u64;
    let has_tokens = judged.first().is_some_and(|text| text.tokens.is_some());
    json!({
        "cut": cut,
        "f1": share(2 * both, 2 * both + kept_only + missed),
        "precision": share(both, both + kept_only),
        "recall": share(both, both + missed),
        "kept": share(both + kept_only, judged.len() as u64),
        "characters_kept": share(kept().map(characters).sum(), judged.iter().map(characters).sum()),
        "tokens_kept": has_tokens.then(|| share(kept().map(tokens).sum(), judged.iter().map(tokens).sum())),
        "true_positives": both, "false_positives": kept_only, "false_negatives": missed, "true_negatives": neither,
    })
}

/// Texts by the teacher's score (rows) and the classifier's, rounded and within the scale, as FineWeb-Edu does it.
fn confusion(judged: &[Judged], highest: usize) -> Vec<Vec<u64>> {
    let mut table = vec![vec![0; highest + 1]; highest + 1];
    let place = |score: f64| score.clamp(0.0, highest as f64).round_ties_even() as usize;
    for text in judged {
        table[place(text.truth)][place(text.score)] += 1;
    }
    table
}

/// The mean of the F1 of each score.
fn macro_f1(confusion: &[Vec<u64>]) -> f64 {
    let of = |at: usize| {
        let (truth, said): (u64, u64) =
            (confusion[at].iter().sum(), confusion.iter().map(|row| row[at]).sum());
        share(2 * confusion[at][at], truth + said)
    };
    (0..confusion.len()).map(of).sum::<f64>() / confusion.len().max(1) as f64
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

/// The report as a table.
pub(super) fn table(report: &Value) -> String {
    let (amount, column) = match report["cuts"][0]["tokens_kept"].is_null() {
        true => ("characters", "characters_kept"),
        false => ("tokens", "tokens_kept"),
    };
    let mut lines = vec![
        format!(
            "trained on {} texts, measured on {}; {} had no label",
            report["texts"], report["held_out"], report["texts_without_label"]
        ),
        format!(
            "  cut     F1  precision  recall   kept  {amount:>10}  confusion (kept right, kept wrong, lost, dropped right)"
        ),
    ];
    for row in report["cuts"].as_array().into_iter().flatten() {
        let number = |name: &str| row[name].as_f64().unwrap_or_default();
        lines.push(format!(
            " {:.2}  {:.3}      {:.3}   {:.3}  {:.3}  {:>10.3}  {}, {}, {}, {}",
            number("cut"),
            number("f1"),
            number("precision"),
            number("recall"),
            number("kept"),
            number(column),
            row["true_positives"],
            row["false_positives"],
            row["false_negatives"],
            row["true_negatives"]
        ));
    }
    if let Some(confusion) = report["confusion"].as_array() {
        lines.push("texts by the teacher's score (rows) and the classifier's, rounded (columns)".to_owned());
        for (score, row) in confusion.iter().enumerate() {
            let counts =
                row.as_array().into_iter().flatten().map(|count| format!("{:>8}", count.to_string()));
            lines.push(format!("{score:>5}  {}", counts.collect::<String>()));
        }
        lines.push(format!("macro F1 {:.3}", report["macro_f1"].as_f64().unwrap_or_default()));
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
