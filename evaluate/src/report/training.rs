//! The curves of training runs: the loss and, for preference training, the reward accuracy, with their evaluations.

use super::run_json;
use anyhow::{Context, Result, ensure};
use report::chart::Chart;
use report::html::{facts, note, panel};
use report::metrics::Metrics;
use report::numbers::{duration, separated, short};
use serde_json::Value;
use std::path::Path;

/// Title, unit and key of each chart.
const CHARTS: [(&str, &str, &str); 2] =
    [("Loss", "nats", "loss"), ("Reward accuracy", "fraction of pairs", "rewards/accuracies")];

/// A training run.
pub(super) struct TrainingRun {
    name: String,
    facts: Vec<(&'static str, String)>,
    metrics: Metrics,
}

impl TrainingRun {
    /// Reads a folder that `posttrain` wrote.
    ///
    /// # Errors
    /// When a file is missing, or `metrics.jsonl` has no line with a step.
    pub(super) fn read(name: String, folder: &Path) -> Result<Self> {
        let run = run_json::read(folder, "posttrain")?;
        let path = folder.join("metrics.jsonl");
        let bytes = std::fs::read(&path)
            .with_context(|| format!("cannot read {}, which `posttrain` writes", path.display()))?;
        let metrics = Metrics::parse(&bytes);
        ensure!(
            metrics.last("step").is_some(),
            "{} has no line with a `step`; give a folder that `posttrain` wrote",
            path.display()
        );
        let text = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let last = |key: &str, format: fn(f64) -> String| metrics.last(key).map_or_else(String::new, format);
        let facts = vec![
            ("command", text("command")),
            ("state", text("state")),
            ("steps", last("step", |steps| separated(steps as u64))),
            ("tokens", last("num_tokens", short)),
            ("time", last("seconds", duration)),
        ];
        Ok(Self { name, facts, metrics })
    }

    fn panel(&self) -> String {
        let mut metrics = self.metrics.clone();
        let steps = metrics.steps();
        let mut html = facts(&self.facts);
        for (title, unit, key) in CHARTS {
            let lines = metrics.take(key);
            if !lines.is_empty() {
                let chart = Chart { title: title.to_owned(), unit, lines, skips_start: key == "loss" };
                html.push_str(&chart.figure(steps));
            }
        }
        html.extend(self.metrics.notes().iter().map(|text| note(text)));
        panel(&self.name, &html)
    }
}

/// The section with one panel per run; empty without runs.
pub(super) fn section(runs: &[TrainingRun]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let panels: String = runs.iter().map(TrainingRun::panel).collect();
    format!(
        "<section id=\"training\"><h2>Training</h2>\n<div class=\"panels wide\">\n{panels}</div></section>\n"
    )
}
