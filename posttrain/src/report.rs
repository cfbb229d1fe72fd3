//! A run as one page for people: `report.html` beside the run's metrics, made from `metrics.jsonl` and
//! `run.json` alone, with nothing fetched when it is opened.
//!
//! It may be written at any time, also while the run goes on or after it was killed: what is missing is left
//! out or said, never guessed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use chart::{Chart, Line, Point, escape, extent, figure, number};

mod chart;

/// Charts in the order of the page: title, unit, keys. Every other number follows with a chart of its own.
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

/// Numbers that only count along.
const UNCHARTED: [&str; 4] = ["step", "seconds", "num_tokens", "epoch"];

/// Writes `report.html` into the folder, whole or not at all.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut metrics = Metrics::default();
    match read(&folder.join("metrics.jsonl"))? {
        Some(bytes) => metrics.read(&bytes),
        None => metrics.notes.push("There is no metrics.jsonl yet.".into()),
    }
    let run = match read(&folder.join("run.json"))? {
        Some(bytes) => serde_json::from_slice(&bytes).context("read run.json")?,
        None => {
            metrics.notes.push("There is no run.json: what ran is not known.".into());
            Map::new()
        }
    };
    keep(folder, &page(&run, metrics))
}

/// The file's bytes, none if there is no such file.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read.with_context(|| format!("read {}", path.display()))?)),
    }
}

fn keep(folder: &Path, page: &str) -> anyhow::Result<()> {
    let beside = folder.join(format!(".report.html.{}", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(page.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, folder.join("report.html"))
    });
    if written.is_err() {
        // What failed is told by the error; a half page left beside would only add to it.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(|| format!("write {}", folder.join("report.html").display()))
}

/// The metrics by key, in the order in which keys first appear.
#[derive(Default)]
struct Metrics {
    series: Vec<(String, Vec<Point>)>,
    /// The step of the last line read.
    step: f64,
    /// What a reader of the page should know about the file.
    notes: Vec<String>,
}

impl Metrics {
    fn read(&mut self, bytes: &[u8]) {
        let lines: Vec<_> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
        let (mut unread, mut stepless, mut resumed, mut words) = (0, 0, 0, BTreeSet::new());
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_slice::<Map<String, Value>>(line) {
                Ok(values) => match values.get("step").and_then(Value::as_f64) {
                    Some(step) => resumed += usize::from(self.line(step, values, &mut words)),
                    None => stepless += 1,
                },
                // A crash cuts the last line; any other one should have been whole.
                Err(_) => unread += usize::from(index + 1 < lines.len()),
            }
        }
        let mut note = |count: usize, text: &str| {
            if count > 0 {
                self.notes.push(format!("{count} {text}"));
            }
        };
        note(unread, "lines of metrics.jsonl could not be read and are not shown.");
        note(stepless, "lines of metrics.jsonl name no step and are not shown.");
        note(
            resumed,
            "times the steps began again from an earlier one (a resumed run): the later values are shown.",
        );
        if !words.is_empty() {
            let keys: Vec<_> = words.into_iter().collect();
            self.notes.push(format!("Not shown, because they are not numbers: {}.", keys.join(", ")));
        }
    }

    /// Adds one line's values; whether it lies before what was read already, which is then forgotten.
    fn line(&mut self, step: f64, values: Map<String, Value>, words: &mut BTreeSet<String>) -> bool {
        let back = step < self.step;
        if back {
            for (_, points) in &mut self.series {
                points.truncate(points.partition_point(|point| point.0 < step));
            }
        }
        self.step = step;
        for (key, value) in values {
            let value = match value {
                Value::Number(value) => value.as_f64().unwrap_or(f64::NAN),
                Value::Null => f64::NAN,
                _ => {
                    words.insert(key);
                    continue;
                }
            };
            let known = self.series.iter().position(|(name, _)| *name == key).unwrap_or(self.series.len());
            if known == self.series.len() {
                self.series.push((key, Vec::new()));
            }
            let points = &mut self.series[known].1;
            points.pop_if(|point| point.0 == step);
            points.push((step, value));
        }
        back
    }

    fn get(&self, key: &str) -> &[Point] {
        self.series.iter().find(|(name, _)| name == key).map_or(&[], |(_, points)| points)
    }

    /// Takes a key's values out, with those of its evaluation, on all rows and on parts of them.
    fn take(&mut self, key: &str) -> Vec<Line> {
        let (whole, part) = (format!("eval_{key}"), format!("eval_{key}/"));
        let mut lines = Vec::new();
        for wanted in 0..3 {
            let found = self.series.extract_if(.., |(name, points)| {
                !points.is_empty() && [name == key, *name == whole, name.starts_with(&part)][wanted]
            });
            lines.extend(found.map(|(label, points)| Line {
                smoothed: label == "loss",
                dotted: label.starts_with("eval_"),
                label,
                points,
            }));
        }
        lines
    }

    /// Every number in one of the charts.
    fn charts(mut self) -> Vec<Chart> {
        self.series.retain(|(key, _)| !UNCHARTED.contains(&key.as_str()));
        let mut charts = Vec::new();
        for (title, unit, keys) in CHARTS {
            let lines = keys.iter().flat_map(|key| self.take(key)).collect();
            charts.push(Chart { title: title.into(), unit, lines });
        }
        let mut others: Vec<String> = self.series.iter().map(|(key, _)| key.clone()).collect();
        // An evaluation joins the chart of what it evaluates, which may first appear after it.
        others.sort_by_key(|key| key.starts_with("eval_"));
        // What stands before a slash is what the numbers are of: they share a chart.
        for key in &others {
            let group = key.split_once('/').map_or(key.as_str(), |(group, _)| group);
            let together = others.iter().filter(|other| other.split('/').next() == Some(group));
            let lines = together.flat_map(|key| self.take(key)).collect();
            charts.push(Chart { title: heading(group), unit: "", lines });
        }
        charts.retain(|chart| !chart.lines.is_empty());
        charts
    }
}

fn page(run: &Map<String, Value>, metrics: Metrics) -> String {
    let (header, figures) = (header(run, &metrics.notes), figures(&metrics));
    let (first, last) = extent(metrics.series.iter().flat_map(|(_, points)| points).map(|point| point.0));
    // A run from its first step on begins at the axis.
    let steps = if first >= 0.0 && first < 0.05 * last { (0.0, last) } else { (first, last) };
    let charts: String = metrics.charts().iter().map(|chart| figure(chart, steps)).collect();
    let title = escape(&text(run.get("command")).unwrap_or_else(|| "run".into()));
    let (style, script, tables) =
        (include_str!("report/page.css"), include_str!("report/page.js"), tables(run));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}: training report</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         {header}{figures}<main>\n{charts}</main>\n{tables}<script>\n{script}</script>\n</body>\n</html>\n"
    )
}

/// What ran, on what, when, how it stands; then all that should not be missed.
fn header(run: &Map<String, Value>, notes: &[String]) -> String {
    let command = text(run.get("command")).unwrap_or_else(|| "Training run".into());
    let state = text(run.get("state")).map_or_else(String::new, |state| {
        let known = ["running", "finished", "interrupted"].contains(&state.as_str());
        let class = if known { state.as_str() } else { "other" };
        format!("<span class=\"state {class}\">{}</span>", escape(&state))
    });
    let facts: String = ["model", "data", "started", "finished"]
        .iter()
        .filter_map(|key| Some((heading(key), escape(&text(run.get(*key))?))))
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    let said = match run.get("notes") {
        Some(Value::Array(said)) => said.iter().filter_map(|note| text(Some(note))).collect(),
        other => Vec::from_iter(text(other)),
    };
    let notes: String = said.iter().chain(notes).map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul class=\"notes\">\n{notes}</ul>\n") };
    format!("<header>\n<h1>{}{state}</h1>\n<dl>{facts}</dl>\n</header>\n{notes}", escape(&command))
}

/// The row of large figures.
fn figures(metrics: &Metrics) -> String {
    let at = |point: &Point| (number(point.1), format!("at step {}", point.0));
    let loss = metrics.get("loss").last().map(at);
    let evaluated = metrics.get("eval_loss").iter().filter(|point| point.1.is_finite());
    let best = evaluated.min_by(|one, other| one.1.total_cmp(&other.1)).map(at);
    let finite = |key: &str| -> Vec<f64> {
        metrics.get(key).iter().map(|point| point.1).filter(|value| value.is_finite()).collect()
    };
    let tokens = finite("num_tokens").last().map(|count| (number(*count), String::new()));
    let mut speeds = finite("tokens_per_second");
    speeds.sort_by(f64::total_cmp);
    let speed = speeds.get(speeds.len() / 2).map(|speed| (number(*speed), "median".into()));
    let time = finite("seconds").last().map(|seconds| (duration(*seconds), String::new()));
    let all = [
        ("Last loss", loss),
        ("Best evaluation loss", best),
        ("Tokens seen", tokens),
        ("Tokens per second", speed),
        ("Wall time", time),
    ];
    let cells = all.into_iter().map(|(name, found)| {
        let (value, aside) = found.unwrap_or_else(|| ("\u{2013}".into(), String::new()));
        format!("<div><dt>{name}</dt><dd>{value}</dd><dd class=\"aside\">{aside}</dd></div>\n")
    });
    format!("<dl class=\"figures\">\n{}</dl>\n", cells.collect::<String>())
}

/// The configuration, then all else that run.json holds.
fn tables(run: &Map<String, Value>) -> String {
    let mut sections = vec![("Configuration".to_owned(), Vec::new()), ("Run".to_owned(), Vec::new())];
    for (key, value) in run.iter().filter(|(key, _)| *key != "notes") {
        match value {
            Value::Object(_) if key == "configuration" => flatten("", value, &mut sections[0].1),
            Value::Object(_) => {
                let mut rows = Vec::new();
                flatten("", value, &mut rows);
                sections.push((heading(key), rows));
            }
            other => flatten(key, other, &mut sections[1].1),
        }
    }
    let shown = sections.into_iter().filter(|(_, rows)| !rows.is_empty());
    let tables = shown.map(|(title, rows)| {
        let row = |(name, value): &(String, String)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
        };
        let rows: String = rows.iter().map(row).collect();
        format!("<section><h2>{}</h2><table>\n{rows}</table></section>\n", escape(&title))
    });
    format!("<div class=\"tables\">\n{}</div>\n", tables.collect::<String>())
}

/// Rows of names and values; a value inside another one is named by the way to it.
fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            for (key, value) in inner {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, rows);
            }
        }
        Value::Object(_) if name.is_empty() => {}
        Value::String(text) => rows.push((name.into(), text.clone())),
        other => rows.push((name.into(), other.to_string())),
    }
}

/// A value in one line; of an object its keys, which name data files.
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

/// A key as a title.
fn heading(key: &str) -> String {
    let mut letters = key.chars().map(|letter| if letter == '_' { ' ' } else { letter });
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{} s", number(seconds)),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}
