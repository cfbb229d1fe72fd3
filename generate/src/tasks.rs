//! The tasks. Each has a file here with its settings, its columns and the steps of a row, an entry in [`ALL`], and
//! a folder of prompts in `prompts/`.

mod annotations;
mod everyday_conversations;
mod function_calling;
mod magpie_ultra;
mod of_texts;
mod preferences;
mod programs;
mod smol_constraint;
mod sources;
mod steps;
mod system_chats;

pub(crate) use sources::style;

use crate::maker::Maker;
use crate::recipe::{Prompts, Recipe};
use crate::task::Task;
use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::path::Path;
use std::sync::OnceLock;

/// All tasks, in the order in which they are listed and generated.
pub(crate) static ALL: [&Maker; 12] = [
    &magpie_ultra::TASK,
    &smol_constraint::TASK,
    &sources::REWRITE,
    &sources::SUMMARIZATION,
    &everyday_conversations::TASK,
    &system_chats::TASK,
    &function_calling::TASK,
    &preferences::TASK,
    &annotations::EDU,
    &annotations::MATH,
    &annotations::MATH_LESSONS,
    &annotations::CODE,
];

/// Returns the recipe of the task with this name.
///
/// # Errors
/// When there is no such task, or a file of its recipe cannot be read.
pub fn recipe(name: &str, prompts: &Prompts) -> Result<Recipe> {
    named(name).with_context(|| format!("`{name}` is not a task"))?.recipe(prompts)
}

/// Returns the functions of a task.
pub(crate) fn maker(task: &Task) -> &'static Maker {
    let of_file = || OF_FILE.get().map(|(maker, _)| *maker).filter(|maker| maker.task.name == task.name);
    named(task.name).or_else(of_file).expect("every task is in `ALL` or of a file")
}

/// Whether the rows of a recipe run code that a teacher wrote.
pub(crate) fn runs_code(recipe: &Recipe) -> bool {
    of_texts::runs_code(recipe)
}

/// The task of `--recipe`, and its prompts.
static OF_FILE: OnceLock<(&Maker, Prompts)> = OnceLock::new();

/// Returns the task of a recipe's file, and its prompts.
///
/// # Errors
/// When the file is no such recipe, or another one was read before.
pub(crate) fn of_file(file: &Path) -> Result<(&'static Task, &'static Prompts)> {
    if OF_FILE.get().is_none() {
        let _ = OF_FILE.set(of_texts::of_file(file)?);
    }
    match OF_FILE.get() {
        Some((maker, prompts)) => Ok((&maker.task, prompts)),
        None => bail!("cannot read `--recipe {}`", file.display()),
    }
}

/// Returns the tasks that are generated if none is named.
pub(crate) fn by_default() -> Vec<&'static Task> {
    ALL.into_iter().map(|maker| &maker.task).filter(|task| task.by_default).collect()
}

/// The parser of a task's name on the command line.
pub(crate) fn parser() -> impl TypedValueParser<Value = &'static Task> {
    let names = ALL.map(|maker| PossibleValue::new(maker.task.name).help(maker.task.about));
    PossibleValuesParser::new(names)
        .map(|name| &named(&name).expect("the parser accepts known names only").task)
}

fn named(name: &str) -> Option<&'static Maker> {
    ALL.into_iter().find(|maker| maker.task.name == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
pub(crate) mod tests {
    use super::*;

    /// A task's recipe with lines before those of `recipe.toml`, which replace the keys with the same names.
    pub(crate) fn with_settings(task: &str, lines: &str) -> Result<Recipe> {
        let folder = tempfile::tempdir().unwrap();
        let file = Prompts::default().files(task).unwrap().remove("recipe.toml").unwrap();
        let keys: Vec<&str> = lines.lines().filter_map(|line| line.split(" =").next()).collect();
        let kept = file.lines().filter(|line| !keys.iter().any(|key| line.starts_with(&format!("{key} ="))));
        let text = std::iter::once(lines).chain(kept).collect::<Vec<_>>().join("\n");
        std::fs::create_dir(folder.path().join(task)).unwrap();
        std::fs::write(folder.path().join(task).join("recipe.toml"), text).unwrap();
        recipe(task, &Prompts::open(Some(folder.path())).unwrap())
    }

    #[test]
    fn names_are_unique() {
        for maker in ALL {
            assert!(std::ptr::eq(named(maker.task.name).unwrap(), maker));
        }
    }

    #[test]
    fn every_recipe_loads() {
        for maker in ALL {
            assert!(!maker.recipe(&Prompts::default()).unwrap().sampling.is_empty());
        }
    }

    #[test]
    fn settings_that_call_a_judge_need_its_prompts() {
        for task in ["smol-rewrite", "smol-summarization"] {
            let recipe = with_settings(task, "minimum_faithfulness = 3").unwrap();
            let prompt =
                recipe.prompt("faithfulness", &serde_json::json!({"source": "One.", "reply": "Two."}));
            assert!(prompt.unwrap().contains("Two."));
        }
        for task in ["magpie-ultra", "preferences"] {
            with_settings(task, "reference_answers = true").unwrap();
        }
    }

    #[test]
    fn settings_that_a_task_does_not_have_are_refused() {
        let error = with_settings("system-chats", "minimum_faithfulness = 3").err().unwrap();
        assert!(format!("{error:#}").contains("minimum_faithfulness"), "{error:#}");
        let error = with_settings("preferences", "completions = 1").err().unwrap().to_string();
        assert!(error.contains("completions = 1"), "{error}");
    }

    /// The draws depend on `row_key`, the recipe's hash on its files.
    #[test]
    fn a_changed_prompt_keeps_the_draws_and_makes_another_recipe() {
        let before = recipe("magpie-ultra", &Prompts::default()).unwrap();
        let after = with_settings("magpie-ultra", "turns = 1").unwrap();
        assert_ne!(before.hash, after.hash);
        assert_eq!(before.row_id(1, 7), after.row_id(1, 7));
    }
}
