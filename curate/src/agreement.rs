//! `smoltalk curate agreement`: how far two passes of a teacher over the same texts agree. What they disagree about is noise
//! that no classifier can learn, so it bounds every figure of `train-classifier`.

use anyhow::{Context, Result, ensure};
use datasets::Choice;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// Two passes over the same texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agreement {
    /// Texts that both have, with the scores of both.
    pairs: Vec<(f64, f64)>,
    /// Texts that only the first or only the second has.
    only: (usize, usize),
}

/// Compares the scores of two datasets with the columns `text` and `column`.
///
/// # Errors
/// Names the file and the row that cannot be read; when they have no text in common.
pub fn agreement(first: &Path, second: &Path, column: &str) -> Result<Agreement> {
    let mut scores = scores(first, column)?;
    let all = scores.len();
    let (mut pairs, mut only_second) = (Vec::new(), 0);
    for (text, score) in self::scores(second, column)? {
        match scores.remove(&text) {
            Some(other) => pairs.push((other, score)),
            None => only_second += 1,
        }
    }
    ensure!(
        !pairs.is_empty(),
        "{} and {} have no text in common; give two runs over the same source",
        first.display(),
        second.display()
    );
    let only = (all - pairs.len(), only_second);
    // The order of a map is not always the same, and sums are.
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    Ok(Agreement { pairs, only })
}

/// Scores by the hash of the text; rows without a number are left out. Of a text that is there twice, the first counts.
fn scores(data: &Path, column: &str) -> Result<HashMap<u128, f64>> {
    let mut scores = HashMap::new();
    for file in datasets::data_files(data, Choice::default())? {
        for row in datasets::file_objects(&file)? {
            let (number, row) = row?;
            let text = row.get("text").and_then(Value::as_str);
            let text = text.with_context(|| format!("{}, row {number}: no string `text`", file.display()))?;
            if let Some(score) = row.get(column).and_then(Value::as_f64) {
                scores.entry(xxh3_128(text.as_bytes())).or_insert(score);
            }
        }
    }
    ensure!(!scores.is_empty(), "{} has no row with a number in `{column}`", data.display());
    Ok(scores)
}

impl Agreement {
    /// The share of texts whose scores differ by at most `most`.
    pub fn within(&self, most: f64) -> f64 {
        let near = self.pairs.iter().filter(|(one, other)| (one - other).abs() <= most);
        near.count() as f64 / self.pairs.len().max(1) as f64
    }

    /// Pearson's correlation; `None` where one of the passes gave all texts the same score.
    pub fn correlation(&self) -> Option<f64> {
        let count = self.pairs.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| self.pairs.iter().map(value).sum::<f64>() / count;
        let (first, second) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
        for (a, b) in &self.pairs {
            both += (a - first) * (b - second);
            one += (a - first).powi(2);
            other += (b - second).powi(2);
        }
        (one > 0.0 && other > 0.0).then(|| both / (one * other).sqrt())
    }

    /// F1 of the question whether a text has at least a score: the second pass, taken for a prediction of the first.
    pub fn f1(&self, cut: f64) -> f64 {
        let (mut both, mut one) = (0_u64, 0_u64);
        for (first, second) in &self.pairs {
            both += u64::from(*first >= cut && *second >= cut);
            one += u64::from((*first >= cut) != (*second >= cut));
        }
        2.0 * both as f64 / (2 * both + one).max(1) as f64
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} texts in both passes; {} only in the first, {} only in the second\n",
            self.pairs.len(),
            self.only.0,
            self.only.1
        );
        let _ = writeln!(text, "equal       {:.3}", self.within(0.0));
        let _ = writeln!(text, "within one  {:.3}", self.within(1.0));
        match self.correlation() {
            Some(correlation) => _ = writeln!(text, "correlation {correlation:.3}"),
            None => _ = writeln!(text, "correlation is not defined: one pass gave all texts the same score"),
        }
        let highest = self.pairs.iter().map(|pair| pair.0.max(pair.1)).fold(0.0, f64::max) as usize;
        let place = |score: f64| (score.max(0.0) as usize).min(highest);
        let mut counts = vec![vec![0_u64; highest + 1]; highest + 1];
        for (first, second) in &self.pairs {
            counts[place(*first)][place(*second)] += 1;
        }
        text.push_str("texts by the first score (rows) and the second (columns)\n");
        for (score, row) in counts.iter().enumerate() {
            let row: String = row.iter().map(|count| format!("{count:>8}")).collect();
            let _ = writeln!(text, "{score:>5}  {row}");
        }
        let cuts: Vec<String> =
            (1..=highest).map(|cut| format!("{cut}: {:.3}", self.f1(cut as f64))).collect();
        let _ = write!(text, "F1 of the second pass at each cut: {}", cuts.join(", "));
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn two_passes_are_compared_by_their_texts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: &[(&str, &str)]| {
            let rows =
                rows.iter().map(|(text, score)| format!("{{\"text\": \"{text}\", \"score\": {score}}}"));
            let path = folder.path().join(name);
            std::fs::write(&path, rows.collect::<Vec<_>>().join("\n")).unwrap();
            path
        };
        let first =
            write("1.jsonl", &[("a", "0"), ("b", "3"), ("c", "4"), ("d", "5"), ("e", "2"), ("x", "null")]);
        let second =
            write("2.jsonl", &[("d", "3"), ("c", "4"), ("b", "2"), ("a", "0"), ("f", "1"), ("x", "5")]);
        let found = agreement(&first, &second, "score").unwrap();
        assert_eq!(found.only, (1, 2));
        assert_eq!((found.within(0.0), found.within(1.0), found.within(2.0)), (0.5, 0.75, 1.0));
        // numpy.corrcoef([0, 3, 4, 5], [0, 2, 4, 3])
        assert!((found.correlation().unwrap() - 0.903_507_902_905_251_3).abs() < 1e-12);
        assert_eq!((found.f1(1.0), found.f1(3.0)), (1.0, 0.8));
        let table = found.table();
        assert!(
            table.starts_with("4 texts in both passes; 1 only in the first, 2 only in the second\n"),
            "{table}"
        );
        assert!(table.ends_with("4: 0.667, 5: 0.000"), "{table}");
        let third = write("3.jsonl", &[("z", "1")]);
        let error = agreement(&first, &third, "score").unwrap_err().to_string();
        assert!(error.contains("no text in common"), "{error}");
        let error = agreement(&first, &second, "points").unwrap_err().to_string();
        assert!(error.contains("no row with a number in `points`"), "{error}");
    }
}
