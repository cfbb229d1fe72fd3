//! Whether the run in a folder is this run: with the same configuration it resumes, with another one it is refused
//! with what differs. `--restart` sets the earlier run aside.

use crate::recipe::Recipe;
use crate::run::{FOLDER, IN_FLIGHT_FILE, STORE_FILE};
use crate::store::{self, Store, into_single_file};
use anyhow::{Context, Result, bail};
use files::hash::sha256;
use files::manifest::FILE_NAME;
use files::output_folder::{NEW_RESULT, OutputFolder};
use files::run_folder::{self, Lock};
use serde_json::{Map, Value, json};
use similar::TextDiff;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// What a run writes into its folder and `--restart` sets aside; what makes the folder a run comes first: the record of a
/// shared run, without which a finished run is one of one process, then the store.
const RUN_FILES: [&str; 10] = [
    shards::FOLDER,
    STORE_FILE,
    IN_FLIGHT_FILE,
    FILE_NAME,
    NEW_RESULT,
    "run.json",
    "data",
    "dropped.jsonl",
    "README.md",
    "report.html",
];

/// The SHA-256 of the recorded configuration.
const CHECKSUM: &str = "configuration_sha256";

/// Records the configuration of a new run, or compares it with the recorded one.
///
/// # Errors
/// When they differ: lists the settings and the changed lines of the recipes. Rows of two configurations are never
/// mixed in one dataset, so changes cannot be accepted.
pub(crate) fn check(store: &Store, configuration: &Value, recipes: &[Recipe], out: &Path) -> Result<()> {
    let texts = recipes.iter().map(|recipe| (recipe.task.name.to_owned(), json!(recipe.texts())));
    let texts = Value::Object(texts.collect());
    let Some(recorded) = store.meta("configuration")? else {
        let (text, texts) = (configuration.to_string(), texts.to_string());
        return store.set_meta(&[("configuration", &text), (CHECKSUM, &sha256(&text)), ("recipes", &texts)]);
    };
    let recorded = whole(store, recorded, &configuration.to_string())?;
    let recorded: Value =
        serde_json::from_str(&recorded).context("the configuration in the run's store cannot be read")?;
    let changes = run_folder::changes(&recorded, configuration);
    let Err(refusal) = run_folder::refuse_changes(out, &changes, false) else { return Ok(()) };
    let recorded_texts =
        store.meta("recipes")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    bail!(
        "{refusal}; rows of different settings are never mixed in one dataset{}",
        difference(&recorded_texts, &texts)
    )
}

/// The recorded configuration, if it is what was recorded. A damaged one is written again where this command has the
/// settings of which the checksum is.
fn whole(store: &Store, recorded: String, now: &str) -> Result<String> {
    let checksum = store.meta(CHECKSUM)?;
    // A run of an earlier version has no checksum.
    let is_whole = checksum.as_ref().is_none_or(|checksum| *checksum == sha256(&recorded));
    if is_whole || recorded == now {
        return Ok(recorded);
    }
    if checksum != Some(sha256(now)) {
        bail!(
            "the settings in the run's store are damaged; give exactly the command that began the run, which writes them again, \
             or put a backup of the store in its place"
        );
    }
    terminal::message!("warning: the settings in the run's store were damaged and are written again");
    store.set_meta(&[("configuration", now)])?;
    Ok(now.to_owned())
}

/// Makes the rows undecided again that were dropped for these reasons. Answers that are recorded are used again: rows that
/// were refused have none.
pub(crate) fn undecide(store: &Store, recipes: &[Recipe], reasons: &[String]) -> Result<()> {
    let names = reasons.iter().flat_map(|reason| match reason.as_str() {
        "refused" => vec!["teacher_refused", "teacher_failed"],
        other => vec![other],
    });
    let names: Vec<&str> = names.collect();
    let mut rows = 0;
    for recipe in recipes {
        rows += store.undecide(recipe.task.name, &names)?;
    }
    terminal::message!("note: {rows} rows that were dropped as {} are tried again", names.join(", "));
    Ok(())
}

/// Refuses to call a teacher directly for calls that are in a provider's batch: they would be billed twice.
pub(crate) fn check_batches(store: &Store) -> Result<()> {
    match store.calls_in_batches()? {
        0 => Ok(()),
        calls => bail!("{calls} calls are in provider batches; run `smoltalk gen --batch` to receive them"),
    }
}

/// The changed lines of the recipes, in the format of `diff -u`.
fn difference(recorded: &Value, now: &Value) -> String {
    let mut text = String::new();
    for (task, files) in now.as_object().into_iter().flatten() {
        let Some(before) = recorded[task].as_object() else { continue };
        let Some(after) = files.as_object() else { continue };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let content = |files: &Map<String, Value>| {
                files.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let (old, new) = (content(before), content(after));
            if old != new {
                let diff = TextDiff::from_lines(&old, &new);
                let path = format!("prompts/{task}/{name}");
                let _ = write!(text, "\n{}", diff.unified_diff().header(&path, &path));
            }
        }
    }
    text.trim_end().to_owned()
}

/// Sets the run in a folder aside; nothing is deleted. If a kill interrupts it, doing it again completes it.
///
/// # Errors
/// When another process uses the run, or its store cannot be read; nothing is moved then.
pub(crate) fn set_aside(out: &Path, no_lock: bool) -> Result<()> {
    if !out.is_dir() {
        return Ok(());
    }
    let parts =
        FOLDER.working.iter().copied().chain([shards::FOLDER, FILE_NAME, NEW_RESULT, FOLDER.description]);
    if !parts.into_iter().any(|name| out.join(name).symlink_metadata().is_ok()) {
        return Ok(());
    }
    match OutputFolder::look(out, &FOLDER) {
        // A damaged manifest is a reason to start over.
        Ok(()) | Err(files::Error::Damaged { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let _lock = Lock::acquire_unless(no_lock, out, FOLDER.program)?;
    let store = out.join(STORE_FILE);
    let batches = if store.exists() { into_single_file(&store)? } else { Vec::new() };
    let Some(folder) = run_folder::set_aside(out, &RUN_FILES)? else { return Ok(()) };
    for batch in batches {
        terminal::message!(
            "warning: {batch} is abandoned; the provider continues it unless it is canceled there"
        );
    }
    terminal::message!("note: the earlier run is set aside in {}", folder.display());
    Ok(())
}

/// Removes what is damaged from the store of a run.
///
/// # Errors
/// When there is no store, another process uses it, or nothing can be read from it.
pub(crate) fn repair(out: &Path, no_lock: bool) -> Result<()> {
    let path = out.join(STORE_FILE);
    OutputFolder::look(out, &FOLDER)?;
    if !path.is_file() {
        bail!("{} does not exist, so that there is nothing to repair; remove `--repair`", path.display());
    }
    let _lock = Lock::acquire_unless(no_lock, out, FOLDER.program)?;
    let repaired = store::repair(&path)?;
    let Some(kept) = repaired.kept else {
        terminal::message!("note: nothing in {} is damaged", path.display());
        return Ok(());
    };
    terminal::message!(
        "warning: {} answers are kept and {} are damaged and asked for again; {} rows are kept and {} are decided again; \
         a copy of the damaged store is in {}",
        repaired.answers,
        repaired.lost_answers,
        repaired.rows,
        repaired.lost_rows,
        kept.display()
    );
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::budget::Prices;
    use crate::run::Run;

    #[test]
    fn a_store_is_set_aside_whole_with_the_content_of_its_log() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (out, killed) = (folder.path(), copy.path());
        let run = Run::open(out, Prices::default(), None).unwrap();
        let number = run.store.begin_batch("m", "completions", &[([1; 16], "step".to_owned())]).unwrap();
        run.store.batch_uploaded(number, "file-1").unwrap();
        assert!(set_aside(out, false).unwrap_err().to_string().contains("is in use by another run"));
        assert!(!out.join("set-aside-1").exists());
        // As a kill leaves it, with its log.
        for name in [STORE_FILE, "store.sqlite-wal", IN_FLIGHT_FILE] {
            std::fs::copy(out.join(name), killed.join(name)).unwrap();
        }
        assert!(killed.join("store.sqlite-wal").metadata().unwrap().len() > 0);
        let batches = into_single_file(&killed.join(STORE_FILE)).unwrap();
        assert_eq!(batches, ["the batch of file file-1 with 1 calls"]);
        set_aside(killed, false).unwrap();
        let names = std::fs::read_dir(killed).unwrap().flatten();
        let mut names: Vec<String> = names.map(|file| file.file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".lock", "set-aside-1"]);
        let aside = Run::open(&killed.join("set-aside-1"), Prices::default(), None).unwrap();
        assert_eq!(aside.store.calls_in_batches().unwrap(), 1);
    }

    #[test]
    fn damaged_settings_are_no_changed_ones() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(STORE_FILE)).unwrap();
        let check = |settings: &Value| {
            check(&store, settings, &[], folder.path()).map_err(|error| format!("{error:#}"))
        };
        let (settings, others) = (json!({"seed": 1}), json!({"seed": 3}));
        check(&settings).unwrap();
        assert!(check(&others).unwrap_err().contains("seed"));
        // One bit makes another seed of it.
        store.set_meta(&[("configuration", &others.to_string())]).unwrap();
        let error = check(&json!({"seed": 2})).unwrap_err();
        assert!(error.contains("are damaged") && error.contains("the command that began the run"), "{error}");
        check(&settings).unwrap();
        assert_eq!(store.meta("configuration").unwrap(), Some(settings.to_string()));
    }

    #[test]
    fn a_file_that_is_no_store_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STORE_FILE), "no database").unwrap();
        let error = format!("{:#}", set_aside(folder.path(), false).unwrap_err());
        assert!(error.contains("by hand"), "{error}");
        assert!(folder.path().join(STORE_FILE).exists() && !folder.path().join("set-aside-1").exists());
    }

    #[test]
    fn everything_a_run_wrote_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        std::fs::create_dir(out.join(shards::FOLDER)).unwrap();
        for name in [IN_FLIGHT_FILE, "dropped.jsonl", "notes.txt"] {
            std::fs::write(out.join(name), "").unwrap();
        }
        std::fs::write(out.join("run.json"), r#"{"program": "smoltalk 0.1.0"}"#).unwrap();
        set_aside(out, false).unwrap();
        assert!(out.join("set-aside-1/run.json").exists() && out.join("set-aside-1/dropped.jsonl").exists());
        assert!(!out.join("run.json").exists() && out.join("notes.txt").exists());
        assert!(out.join("set-aside-1").join(shards::FOLDER).is_dir() && !out.join(shards::FOLDER).exists());
        // There is nothing left to set aside, and what the user has there stays.
        std::fs::write(out.join("README.md"), "mine").unwrap();
        set_aside(out, false).unwrap();
        assert!(!out.join("set-aside-2").exists() && out.join("README.md").exists());
        // A shared run that has written nothing but its record.
        ["README.md", "notes.txt"].iter().for_each(|name| std::fs::remove_file(out.join(name)).unwrap());
        std::fs::create_dir(out.join(shards::FOLDER)).unwrap();
        set_aside(out, false).unwrap();
        assert!(out.join("set-aside-2").join(shards::FOLDER).is_dir());
    }
}
