//! Whether a folder's run is this run: the same configuration goes on, another one is refused with what differs.

use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use similar::TextDiff;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Files of a run that `--fresh` sets aside, the one that is the run first.
const STORE: &str = "store.sqlite";
const IN_FLIGHT: &str = "calls-in-flight";

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

/// Moves a run's store out of the way; nothing is deleted. What a kill left half done is finished by doing it again.
pub(crate) fn set_aside(out: &Path) -> Result<()> {
    let (store, in_flight) = (out.join(STORE), out.join(IN_FLIGHT));
    if !store.exists() && !in_flight.exists() {
        return Ok(());
    }
    let free = (1..).map(|number| out.join(format!("set-aside-{number}"))).find(|folder| !folder.exists());
    let folder = free.context("no name is free for what is set aside")?;
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if store.exists() {
        let moved = Store::move_aside(&store, &folder.join(STORE));
        let abandoned = moved.inspect_err(|_| {
            let _ = std::fs::remove_dir(&folder); // it is empty
        })?;
        for batch in abandoned {
            eprintln!(
                "warning: {batch} is abandoned; the provider goes on with it unless it is cancelled there"
            );
        }
    }
    if in_flight.exists() {
        std::fs::rename(&in_flight, folder.join(IN_FLIGHT))
            .with_context(|| format!("cannot move {IN_FLIGHT} to {}", folder.display()))?;
    }
    eprintln!("the store that was there is now in {}", folder.display());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::budget::Prices;
    use crate::run::Run;

    #[test]
    fn a_store_is_set_aside_whole_with_what_was_in_its_log() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (out, killed) = (folder.path(), copy.path());
        let run = Run::open(out, Prices::default(), None).unwrap();
        let number = run.store.begin_batch("m", "completions", &[([1; 16], "step".to_owned())]).unwrap();
        run.store.batch_uploaded(number, "file-1").unwrap();
        assert!(set_aside(out).unwrap_err().to_string().contains("held by another run"));
        assert!(!out.join("set-aside-1").exists());
        // As a kill leaves it, with its log.
        for name in [STORE, "store.sqlite-wal", IN_FLIGHT] {
            std::fs::copy(out.join(name), killed.join(name)).unwrap();
        }
        assert!(killed.join("store.sqlite-wal").metadata().unwrap().len() > 0);
        let (store, moved) = (killed.join(STORE), killed.join("moved"));
        let abandoned = Store::move_aside(&store, &moved).unwrap();
        assert_eq!(abandoned, ["the batch of file file-1 with 1 calls"]);
        std::fs::rename(&moved, &store).unwrap();
        set_aside(killed).unwrap();
        let left = std::fs::read_dir(killed).unwrap().flatten();
        let mut left: Vec<String> = left.map(|file| file.file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["set-aside-1", "store.lock"]);
        let aside = Run::open(&killed.join("set-aside-1"), Prices::default(), None).unwrap();
        assert_eq!(aside.store.calls_in_batches().unwrap(), 1);
    }

    #[test]
    fn what_is_no_store_is_left_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STORE), "no database").unwrap();
        let error = format!("{:#}", set_aside(folder.path()).unwrap_err());
        assert!(error.contains("by hand"), "{error}");
        assert!(folder.path().join(STORE).exists() && !folder.path().join("set-aside-1").exists());
    }
}
