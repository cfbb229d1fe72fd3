//! What `smoltalk gen` made, from its `run.json`: how many rows were kept, and why the others were dropped.

use super::run_json;
use anyhow::{Result, bail};
use report::bars::{Bar, bars, series_class};
use report::html::{escape, facts, note, panel};
use report::numbers::{percent, separated};
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::path::Path;

/// A dataset.
pub(super) struct Dataset {
    name: String,
    facts: Vec<(&'static str, String)>,
    tasks: Vec<TaskRows>,
}

/// The rows of one task.
struct TaskRows {
    name: String,
    started: u64,
    kept: u64,
    /// Reasons with the number of rows, the most frequent first.
    drops: Vec<(String, u64)>,
}

impl Dataset {
    /// Reads a folder's `run.json`.
    ///
    /// # Errors
    /// When it is missing, or another program wrote it.
    pub(super) fn read(name: String, folder: &Path) -> Result<Self> {
        let run = run_json::read(folder, "smoltalk gen")?;
        let Some(configs) = run.get("configs").and_then(Value::as_object) else {
            bail!("{}/run.json has no `configs`; give a folder that `smoltalk gen` wrote", folder.display());
        };
        // The configuration "all" repeats the rows of the tasks.
        let tasks = configs.iter().filter(|(name, _)| *name != "all");
        let tasks = tasks.map(|(name, config)| TaskRows::new(name, config)).collect();
        Ok(Self { name, facts: run_facts(&run), tasks })
    }

    fn panel(&self) -> String {
        let highest = self.tasks.iter().map(|task| task.started).max().unwrap_or(0);
        let tasks: String = self.tasks.iter().map(|task| task.html(highest)).collect();
        panel(&self.name, &(facts(&self.facts) + &tasks))
    }
}

fn run_facts(run: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let setting = |key: &str| {
        let value = run.get("configuration")?.get(key)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let calls = run.get("calls").and_then(Value::as_array);
    let answered: Vec<&Value> =
        calls.into_iter().flatten().filter(|entry| entry["outcome"] == "answered").collect();
    let sum = |key: &str| answered.iter().map(|entry| entry[key].as_u64().unwrap_or(0)).sum::<u64>();
    let mut facts: Vec<(&'static str, String)> =
        ["teacher", "seed"].into_iter().filter_map(|key| Some((key, setting(key)?))).collect();
    let (calls, tokens) = (separated(sum("calls")), separated(sum("completion_tokens")));
    facts.push(("answered calls", format!("{calls}, {tokens} completion tokens")));
    let microdollars = sum("microdollars");
    if microdollars > 0 {
        facts.push(("cost", format!("${:.2}", microdollars as f64 / 1e6)));
    }
    if run.get("complete") == Some(&Value::Bool(false)) {
        facts.push(("state", "not complete yet".to_owned()));
    }
    facts
}

impl TaskRows {
    fn new(name: &str, config: &Value) -> Self {
        let count = |key: &str| config[key].as_u64().unwrap_or(0);
        let dropped = config["dropped"].as_object().into_iter().flatten();
        let mut drops: Vec<(String, u64)> =
            dropped.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0))).collect();
        drops.sort_by_key(|(_, count)| Reverse(*count));
        Self { name: name.to_owned(), started: count("begun"), kept: count("rows"), drops }
    }

    /// Bars of the rows that were started, kept and dropped, all on one scale from 0 to `highest`.
    fn html(&self, highest: u64) -> String {
        let bar = |name: &str, count: u64, class: String| Bar {
            name: name.to_owned(),
            class,
            value: count as f64,
            standard_error: None,
            figure: format!("{} ({})", separated(count), percent(count, self.started)),
        };
        let mut list =
            vec![bar("started", self.started, series_class(7)), bar("kept", self.kept, series_class(2))];
        list.extend(self.drops.iter().map(|(reason, count)| bar(reason, *count, "lost".to_owned())));
        format!(
            "<h4>{}: {} of {} rows kept</h4>\n{}",
            escape(&self.name),
            separated(self.kept),
            separated(self.started),
            bars(&list, highest.max(1) as f64, None)
        )
    }
}

/// The section with one panel per dataset; empty without datasets.
pub(super) fn section(datasets: &[Dataset]) -> String {
    if datasets.is_empty() {
        return String::new();
    }
    let explanation = note("The rows that were kept, and why the others were dropped.");
    let panels: String = datasets.iter().map(Dataset::panel).collect();
    format!(
        "<section id=\"datasets\"><h2>Datasets</h2>\n{explanation}<div class=\"panels wide\">\n{panels}</div></section>\n"
    )
}
