//! A run's report: `report.html`, made from `metrics.jsonl`, `samples.jsonl` and `run.json` alone.
//!
//! It may be written at any time, also during a run or after it was killed: what is missing is left out or noted, never
//! guessed.

use crate::interventions::Intervention;
use crate::samples::{FILE_NAME, Sample};
use anyhow::Context;
use report::chart::{self, Chart, Point};
use report::html::{Tile, escape, facts, panel, settings, tiles};
use report::metrics::Metrics;
use report::numbers::{duration, short};
use report::{Page, STYLE};
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

mod samples;

/// Charts in the order of the page: title, unit, keys. All other metrics follow with charts of their own.
const CHARTS: [(&str, &str, &[&str]); 9] = [
    ("Loss", "nats", &["loss"]),
    ("Learning rate", "", &["learning_rate"]),
    ("Gradient norm", "", &["grad_norm"]),
    ("Rewards", "", &["rewards/chosen", "rewards/rejected", "rewards/margins"]),
    ("Reward accuracy", "fraction of pairs", &["rewards/accuracies"]),
    ("Log-probabilities", "nats", &["logps/chosen", "logps/rejected"]),
    ("Token accuracy", "fraction of tokens", &["mean_token_accuracy"]),
    ("Throughput", "tokens per second", &["tokens_per_second"]),
    ("Model FLOPs utilization", "fraction of the peak", &["mfu"]),
];

/// Metrics without a chart: they only count.
const UNCHARTED: [&str; 5] = ["step", "seconds", "num_tokens", "epoch", "benchmark_seconds"];

/// What the key of a benchmark's standard error ends in.
const STANDARD_ERROR: &str = "_stderr";

/// What this page has beside the base style: the run's state after its name.
const STATE_STYLE: &str = "h1 { display: flex; flex-wrap: wrap; align-items: center; gap: 14px; }\n\
    .state { padding: 3px 11px; border: 1px solid; border-radius: 99px; color: var(--quiet); font-size: 13px; }\n\
    .state.finished { color: var(--good); }\n.state.interrupted { color: var(--bad); }\n\
    .state.running { color: var(--busy); }\n";

/// Writes `report.html` into the folder, completely or not at all.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut notes = Vec::new();
    let metrics = match read(&folder.join("metrics.jsonl"))? {
        Some(bytes) => Metrics::parse(&bytes),
        None => {
            notes.push("There is no metrics.jsonl yet.".to_owned());
            Metrics::default()
        }
    };
    let run = match read(&folder.join("run.json"))? {
        Some(bytes) => serde_json::from_slice(&bytes).context("cannot read run.json")?,
        None => {
            notes.push("There is no run.json, so the run's command and settings are unknown.".to_owned());
            Map::new()
        }
    };
    notes.splice(0..0, metrics.notes().iter().cloned());
    let samples = crate::samples::read(&folder.join(FILE_NAME));
    files::atomic::write(&folder.join("report.html"), page(&run, metrics, &samples, &notes))?;
    Ok(())
}

/// Returns the file's bytes, if there is such a file.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(bytes.with_context(|| format!("cannot read {}", path.display()))?)),
    }
}

fn page(run: &Map<String, Value>, metrics: Metrics, samples: &[Sample], notes: &[String]) -> String {
    let marks = marks(run);
    let notes: Vec<String> = marks.iter().map(|(_, note)| note).chain(notes).cloned().collect();
    let (header, figures, steps) = (header(run, &notes), figures(&metrics), metrics.steps());
    let benchmarks = benchmarks(&metrics);
    let charts: String = charts(metrics).iter().map(|chart| chart.marked(steps, &marks)).collect();
    let command = text(run.get("command")).unwrap_or_else(|| "run".to_owned());
    let body = format!(
        "{header}{figures}<main class=\"charts\">\n{charts}</main>\n<div class=\"panels wide\">\n{}{benchmarks}{}</div>\n",
        samples::samples(samples),
        tables(run)
    );
    let page = Page {
        title: &format!("{command}: training report"),
        styles: &[STYLE, STATE_STYLE],
        scripts: &[chart::SCRIPT],
        body: &body,
    };
    page.render()
}

/// Returns the steps at which somebody changed the mixture, for a line in every chart.
fn marks(run: &Map<String, Value>) -> Vec<(f64, String)> {
    let interventions = run.get("interventions").and_then(Value::as_array);
    let mark = |one: &Value| {
        let one: Intervention = serde_json::from_value(one.clone()).ok()?;
        Some((one.step as f64, one.note()))
    };
    interventions.into_iter().flatten().filter_map(mark).collect()
}

/// Returns charts of all metrics.
fn charts(mut metrics: Metrics) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (title, unit, keys) in CHARTS {
        let lines = keys.iter().flat_map(|key| metrics.take(key)).collect();
        charts.push(Chart { title: title.into(), unit, lines, skips_start: title == "Loss" });
    }
    let keys = metrics.keys().filter(|key| !UNCHARTED.contains(key) && !key.ends_with(STANDARD_ERROR));
    let mut others: Vec<String> = keys.map(str::to_owned).collect();
    // An evaluation is drawn in the chart of its metric, which may first appear after it.
    others.sort_by_key(|key| key.starts_with("eval_"));
    // Keys with the same part before the slash share a chart.
    for key in &others {
        let group = key.split_once('/').map_or(key.as_str(), |(group, _)| group);
        let keys = others.iter().filter(|other| other.split('/').next() == Some(group));
        let lines = keys.flat_map(|key| metrics.take(key)).collect();
        // A benchmark task keeps its name as it is typed.
        let title = group.strip_prefix("eval_").map_or_else(|| heading(group), str::to_owned);
        charts.push(Chart { title, unit: "", lines, skips_start: false });
    }
    charts.retain(|chart| !chart.lines.is_empty());
    charts
}

/// Returns the command, its data, its dates and its state; then the notes.
fn header(run: &Map<String, Value>, notes: &[String]) -> String {
    let command = text(run.get("command")).unwrap_or_else(|| "Training run".into());
    let state = text(run.get("state")).map_or_else(String::new, |state| {
        let known = ["running", "finished", "interrupted"].contains(&state.as_str());
        let class = if known { state.as_str() } else { "other" };
        format!("<span class=\"state {class}\">{}</span>", escape(&state))
    });
    let keys = ["model", "data", "started", "finished"];
    let rows: Vec<(String, String)> =
        keys.iter().filter_map(|key| Some((heading(key), text(run.get(*key))?))).collect();
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let run_notes = match run.get("notes") {
        Some(Value::Array(notes)) => notes.iter().filter_map(|note| text(Some(note))).collect(),
        other => Vec::from_iter(text(other)),
    };
    let items: String =
        run_notes.iter().chain(notes).map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let notes = if items.is_empty() { items } else { format!("<ul class=\"warnings\">\n{items}</ul>\n") };
    format!("<header>\n<h1>{}{state}</h1>\n{}\n</header>\n{notes}", escape(&command), facts(&rows))
}

/// Returns the row of large figures.
fn figures(metrics: &Metrics) -> String {
    let at = |point: &Point| (short(point.1), format!("at step {}", point.0));
    let loss = metrics.points("loss").last().map(at);
    let evaluated = metrics.points("eval_loss").iter().filter(|point| point.1.is_finite());
    let best = evaluated.min_by(|one, other| one.1.total_cmp(&other.1)).map(at);
    let finite =
        |key: &str| metrics.points(key).iter().map(|point| point.1).filter(|value| value.is_finite());
    let mut speeds: Vec<f64> = finite("tokens_per_second").collect();
    speeds.sort_by(f64::total_cmp);
    let speed = speeds.get(speeds.len() / 2).map(|speed| (short(*speed), "median".to_owned()));
    let tokens = metrics.last("num_tokens").map(|count| (short(count), String::new()));
    let time = metrics.last("seconds").map(|seconds| (duration(seconds), String::new()));
    let all = [
        ("Last loss", loss),
        ("Best evaluation loss", best),
        ("Tokens seen", tokens),
        ("Tokens per second", speed),
        ("Wall time", time),
    ];
    let all = all.map(|(name, value)| {
        let (figure, aside) = value.unzip();
        Tile { name, figure, aside: aside.unwrap_or_default() }
    });
    tiles(&all)
}

/// Returns the first and the last score of each benchmark task, with its standard error.
fn benchmarks(metrics: &Metrics) -> String {
    let scores = |key: &str| -> Option<String> {
        let errors = metrics.points(&format!("{key}{STANDARD_ERROR}"));
        let text = |(step, value): &Point| {
            let error = errors.iter().find(|(other, _)| other == step);
            let error = error.map_or_else(String::new, |(_, error)| format!(" ± {error:.4}"));
            format!("{value:.4}{error} at step {step}")
        };
        let points = metrics.points(key);
        match points {
            [] => None,
            [only] => Some(text(only)),
            [first, .., last] => Some(format!("{}; {}", text(first), text(last))),
        }
    };
    let of_task = |key: &str| {
        let (task, metric) = key.strip_prefix("eval_")?.split_once('/')?;
        let is_score = task != "loss" && !metric.ends_with(STANDARD_ERROR);
        Some((format!("{task}, {metric}"), scores(key).filter(|_| is_score)?))
    };
    let rows: Vec<(String, String)> = metrics.keys().filter_map(of_task).collect();
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    if rows.is_empty() { String::new() } else { panel("Benchmark scores", &facts(&rows)) }
}

/// Returns tables of the configuration, then of everything else in run.json.
fn tables(run: &Map<String, Value>) -> String {
    let (mut configuration, mut single, mut others) = (String::new(), Map::new(), String::new());
    for (key, value) in run.iter().filter(|(key, _)| *key != "notes") {
        match value {
            Value::Object(_) if key == "configuration" => configuration = settings("Configuration", value),
            Value::Object(_) => others.push_str(&settings(&heading(key), value)),
            other => {
                single.insert(key.clone(), other.clone());
            }
        }
    }
    configuration + &settings("Run", &Value::Object(single)) + &others
}

/// Returns a value in one line; for an object its keys, which name data files.
fn text(value: Option<&Value>) -> Option<String> {
    let listed = |names: Vec<String>| match names.len() {
        0..=3 => names.join(", "),
        count => format!("{} and {} more", names[..2].join(", "), count - 2),
    };
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(inner) => Some(listed(inner.keys().cloned().collect())),
        Value::Array(inner) => Some(listed(inner.iter().filter_map(|value| text(Some(value))).collect())),
        other => Some(other.to_string()),
    }
}

/// Returns a key as a title.
fn heading(key: &str) -> String {
    let mut letters = key.chars().map(|letter| if letter == '_' { ' ' } else { letter });
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
