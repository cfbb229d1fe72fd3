//! Whether a folder's run is this run: the same configuration goes on, another one is refused with what differs.

use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use similar::TextDiff;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Files of a run that `--fresh` sets aside.
const FILES: [&str; 4] = ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "calls-in-flight"];

/// Remembers the configuration of a new run, or compares it with the one that was begun.
pub(crate) fn check(store: &Store, configuration: &Value, recipes: &[Recipe], out: &Path) -> Result<()> {
    let texts = recipes.iter().map(|recipe| (recipe.task.name().to_owned(), json!(recipe.texts())));
    let texts = Value::Object(texts.collect());
    let Some(text) = store.meta("configuration")? else {
        store.set_meta("configuration", &configuration.to_string())?;
        return store.set_meta("recipes", &texts.to_string());
    };
    let begun: Value = serde_json::from_str(&text).context("the store's configuration is broken")?;
    let changed: Vec<String> = configuration
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| begun[name.as_str()] != **value)
        .map(|(name, value)| format!("{name} was {}, is {value}", begun[name.as_str()]))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let begun_texts =
        store.meta("recipes")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    bail!(
        "{} was begun differently ({}); name another --out, set what is there aside with --fresh, or run with what it was begun with{}",
        out.display(),
        changed.join("; "),
        difference(&begun_texts, &texts)
    )
}

/// Calls that a batch carries are not asked one by one: they would be paid for twice.
pub(crate) fn check_batches(store: &Store) -> Result<()> {
    match store.calls_in_batches()? {
        0 => Ok(()),
        calls => bail!("{calls} calls are out in provider batches; take them in with smoltalk gen --batch"),
    }
}

/// The changed lines of the recipes, as `diff -u` shows them.
fn difference(begun: &Value, now: &Value) -> String {
    let mut text = String::new();
    for (task, files) in now.as_object().into_iter().flatten() {
        let Some(before) = begun[task].as_object() else { continue };
        let Some(after) = files.as_object() else { continue };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let side = |files: &Map<String, Value>| {
                files.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let (old, new) = (side(before), side(after));
            if old != new {
                let diff = TextDiff::from_lines(&old, &new);
                let path = format!("prompts/{task}/{name}");
                let _ = write!(text, "\n{}", diff.unified_diff().header(&path, &path));
            }
        }
    }
    text.trim_end().to_owned()
}

/// Moves a run's store out of the way; nothing is deleted.
pub(crate) fn set_aside(out: &Path) -> Result<()> {
    if !out.join(FILES[0]).exists() {
        return Ok(());
    }
    Store::unused(&out.join(FILES[0]))?;
    let free = (1..).map(|number| out.join(format!("set-aside-{number}"))).find(|folder| !folder.exists());
    let folder = free.context("no name is free for what is set aside")?;
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in FILES.iter().filter(|name| out.join(name).exists()) {
        std::fs::rename(out.join(name), folder.join(name))
            .with_context(|| format!("cannot move {name} to {}", folder.display()))?;
    }
    eprintln!("the store that was there is now in {}", folder.display());
    Ok(())
}
