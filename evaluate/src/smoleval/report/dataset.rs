//! What `smoltalk gen` made: of how many rows how many were kept, and why the others were dropped. Read from the
//! `run.json` beside the data.

use super::manifest;
use super::page::{escape, facts};
use anyhow::{Result, bail};
use serde_json::{Map, Value};
use std::path::Path;

pub(super) struct Dataset {
    name: String,
    about: Vec<(&'static str, String)>,
    tasks: Vec<Task>,
}

struct Task {
    name: String,
    begun: u64,
    kept: u64,
    /// The most frequent first.
    drops: Vec<(String, u64)>,
}

impl Dataset {
    /// Reads a folder's `run.json`.
    ///
    /// # Errors
    /// When there is none, or it is not of `smoltalk gen`.
    pub(super) fn read(name: String, folder: &Path) -> Result<Self> {
        let run = manifest(folder, "smoltalk gen")?;
        let Some(configs) = run.get("configs").and_then(Value::as_object) else {
            bail!("{}/run.json tells of no configs: is it of `smoltalk gen`?", folder.display());
        };
        // "all" is the tasks once more, together.
        let tasks =
            configs.iter().filter(|(name, _)| *name != "all").map(|(name, config)| Task::of(name, config));
        Ok(Self { name, about: about(&run), tasks: tasks.collect() })
    }

    fn card(&self) -> String {
        let highest = self.tasks.iter().map(|task| task.begun).max().unwrap_or(0);
        let tasks: String = self.tasks.iter().map(|task| task.rows(highest)).collect();
        format!("<div class=\"card\"><h3>{}</h3>{}{tasks}</div>\n", escape(&self.name), facts(&self.about))
    }
}

fn about(run: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let configured = |name: &str| {
        let value = run.get("configuration")?.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let calls = run.get("calls").and_then(Value::as_array).into_iter().flatten();
    let answered = calls.filter(|entry| entry["outcome"] == "answered");
    let (mut calls, mut tokens, mut microdollars) = (0, 0, 0);
    for entry in answered {
        calls += entry["calls"].as_u64().unwrap_or(0);
        tokens += entry["completion_tokens"].as_u64().unwrap_or(0);
        microdollars += entry["microdollars"].as_u64().unwrap_or(0);
    }
    let mut about: Vec<(&'static str, String)> = ["teacher", "profile", "seed"]
        .into_iter()
        .filter_map(|name| Some((name, configured(name)?)))
        .collect();
    about.push(("answered calls", format!("{calls}, {tokens} tokens written")));
    if microdollars > 0 {
        about.push(("cost", format!("${:.2}", microdollars as f64 / 1e6)));
    }
    if run.get("complete") == Some(&Value::Bool(false)) {
        about.push(("state", "not complete yet".to_owned()));
    }
    about
}

impl Task {
    fn of(name: &str, config: &Value) -> Self {
        let counted = |name: &str| config[name].as_u64().unwrap_or(0);
        let dropped = config["dropped"].as_object().into_iter().flatten();
        let mut drops: Vec<(String, u64)> =
            dropped.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0))).collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self { name: name.to_owned(), begun: counted("begun"), kept: counted("rows"), drops }
    }

    /// The funnel, then the reasons; all lengths on one scale.
    fn rows(&self, highest: u64) -> String {
        let kept = format!("{} of {} kept", self.kept, self.begun);
        let mut html = format!("<h4>{}: {kept}</h4>\n", escape(&self.name));
        let mut bar = |name: &str, count: u64, class: &str| {
            let width = 100.0 * count as f64 / highest.max(1) as f64;
            let share = 100.0 * count as f64 / self.begun.max(1) as f64;
            html.push_str(&format!(
                "<div class=\"bar {class}\"><span>{}</span><svg role=\"img\" aria-label=\"{0}: {count}\"><rect class=\"track\" width=\"100%\" height=\"100%\"/><rect class=\"fill\" width=\"{width:.2}%\" height=\"100%\"/></svg><b>{count} ({share:.0}%)</b></div>\n",
                escape(name)
            ));
        };
        bar("begun", self.begun, "begun");
        bar("kept", self.kept, "kept");
        self.drops.iter().for_each(|(reason, count)| bar(reason, *count, "lost"));
        html
    }
}

/// A card for each; nothing where there is none.
pub(super) fn section(datasets: &[Dataset]) -> String {
    if datasets.is_empty() {
        return String::new();
    }
    let cards: String = datasets.iter().map(Dataset::card).collect();
    format!(
        "<section id=\"datasets\"><h2>Datasets</h2>\n<p class=\"note\">What became of every row, and why those that went were dropped.</p>\n<div class=\"cards wide\">\n{cards}</div></section>\n"
    )
}
