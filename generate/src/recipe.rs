//! A task's recipe: sampling, filters, templates and schemas, read from `prompts/` and checked once.
//!
//! The folder is compiled into the program. The recipe's hash covers every file of it, so that a changed
//! prompt is another recipe.

mod settings;
mod task;

pub(crate) use settings::{
    Aspect, Category, Difficulty, Instruction, Quality, Rejected, Settings, StepSampling, Style,
};
pub use task::{Profile, Task};

use anyhow::{Context, Result, anyhow, bail};
use include_dir::{Dir, include_dir};
use minijinja::Environment;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

static PROMPTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../prompts");

/// A task's recipe under one profile.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) task: Task,
    pub(crate) profile: Profile,
    /// SHA-256 over the folder's files.
    pub(crate) hash: String,
    /// The value of the `source` column.
    pub(crate) source: String,
    pub(crate) settings: Settings,
    pub(crate) categories: Vec<Category>,
    pub(crate) styles: Vec<Style>,
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) aspects: Vec<Aspect>,
    /// Topics with their subtopics.
    pub(crate) topics: BTreeMap<String, Vec<String>>,
    lists: BTreeMap<String, Vec<String>>,
    schemas: BTreeMap<String, Value>,
    templates: Environment<'static>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    source: String,
    full: Settings,
    pocket: Settings,
    #[serde(default)]
    category: Vec<Category>,
    #[serde(default)]
    style: Vec<Style>,
    #[serde(default)]
    aspect: Vec<Aspect>,
    #[serde(default)]
    topics: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct InstructionsFile {
    instruction: Vec<Instruction>,
}

impl Recipe {
    /// Reads and checks a task's folder: every template parses, every schema is one.
    pub(crate) fn load(task: Task, profile: Profile) -> Result<Self> {
        let files = files(task)?;
        let file = |name: &str| {
            let named = files.iter().find(|(path, _)| path == name);
            named.map(|(_, text)| *text).ok_or_else(|| anyhow!("prompts/{} has no {name}", task.name()))
        };
        let named = |name: &str| format!("prompts/{}/{name}", task.name());
        let recipe: RecipeFile =
            toml::from_str(file("recipe.toml")?).with_context(|| named("recipe.toml"))?;
        let instructions = match file("instructions.toml") {
            Ok(text) => {
                toml::from_str::<InstructionsFile>(text)
                    .with_context(|| named("instructions.toml"))?
                    .instruction
            }
            Err(_) => Vec::new(),
        };
        let mut templates = Environment::new();
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let mut schemas = BTreeMap::new();
        for (path, text) in &files {
            if let Some(name) =
                path.strip_prefix(&format!("{}/", profile.name())).and_then(|p| p.strip_suffix(".jinja"))
            {
                templates
                    .add_template_owned(name.to_owned(), text.trim_end().to_owned())
                    .with_context(|| named(path))?;
            }
            if let Some(name) = path.strip_suffix(".schema.json") {
                let schema: Value = serde_json::from_str(text).with_context(|| named(path))?;
                jsonschema::validator_for(&schema).map_err(|error| anyhow!("{}: {error}", named(path)))?;
                schemas.insert(name.to_owned(), schema);
            }
        }
        let settings = if profile == Profile::Full { recipe.full } else { recipe.pocket };
        let recipe = Self {
            task,
            profile,
            hash: hash(&files),
            source: recipe.source,
            settings,
            categories: recipe.category,
            styles: recipe.style,
            instructions,
            aspects: recipe.aspect,
            topics: recipe.topics,
            lists: recipe.lists,
            schemas,
            templates,
        };
        recipe.has_what_its_settings_need()?;
        Ok(recipe)
    }

    /// A setting that asks a judge needs the judge's prompt, a pair two completions: better said now than after the first
    /// paid calls.
    fn has_what_its_settings_need(&self) -> Result<()> {
        let Settings { minimum_faithfulness, reference_answers, judge_rewards, completions, .. } =
            &self.settings;
        let judged = [(minimum_faithfulness.is_some(), "faithfulness"), (*judge_rewards, "reward")];
        for (_, step) in judged.into_iter().filter(|(asked, _)| *asked) {
            self.sampling("judge")?;
            self.schema(step)?;
            if self.templates.get_template(step).is_err() {
                bail!("prompts/{}/{} has no {step}.jinja", self.task.name(), self.profile.name());
            }
        }
        if *reference_answers {
            self.sampling("reference")?;
        }
        if *completions < 2 {
            bail!(
                "prompts/{}/recipe.toml sets completions = {completions}: a pair is made of two at least",
                self.task.name()
            );
        }
        Ok(())
    }

    /// The id of the row at a position; everything drawn for it follows from it.
    pub(crate) fn row_id(&self, seed: u64, position: usize) -> String {
        hex(format!("{}/{seed}/{position}", self.hash).as_bytes())[..16].to_owned()
    }

    /// The folder's files by name, so that a changed one can be shown.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        files(self.task).unwrap_or_default().into_iter().map(|(name, text)| (name, text.to_owned())).collect()
    }

    /// A category by its share of the rows; `draw` is any number, each as likely as the others.
    pub(crate) fn category(&self, draw: u64) -> &str {
        let total: f64 = self.categories.iter().map(|category| category.weight).sum();
        let mut left = (draw >> 11) as f64 / (1u64 << 53) as f64 * total;
        let found = self.categories.iter().find(|category| {
            left -= category.weight;
            left < 0.0
        });
        found.or(self.categories.last()).map_or("", |category| &category.key)
    }

    /// One of the recipe's lists.
    pub(crate) fn list(&self, name: &str) -> Result<&[String]> {
        let list = self.lists.get(name).filter(|list| !list.is_empty());
        list.map(Vec::as_slice)
            .ok_or_else(|| anyhow!("prompts/{}/recipe.toml has no list {name}", self.task.name()))
    }

    /// How a step samples.
    pub(crate) fn sampling(&self, step: &str) -> Result<StepSampling> {
        let found = self.settings.sampling.get(step).copied();
        found.ok_or_else(|| anyhow!("prompts/{}/recipe.toml has no sampling for {step}", self.task.name()))
    }

    /// A template, filled in.
    pub(crate) fn prompt(&self, name: &str, variables: &Value) -> Result<String> {
        let template = self.templates.get_template(name);
        let text = template.and_then(|template| template.render(variables));
        text.with_context(|| format!("prompts/{}/{}/{name}.jinja", self.task.name(), self.profile.name()))
    }

    /// What a constrained step must answer.
    pub(crate) fn schema(&self, name: &str) -> Result<&Value> {
        self.schemas
            .get(name)
            .ok_or_else(|| anyhow!("prompts/{} has no {name}.schema.json", self.task.name()))
    }

    /// The templates of this profile with the hash of each, for the card.
    pub(crate) fn prompt_hashes(&self) -> Vec<(String, String)> {
        let list = files(self.task).unwrap_or_default();
        let ours = |path: &String| path.starts_with(self.profile.name()) || path.ends_with(".schema.json");
        list.into_iter()
            .filter(|(path, _)| ours(path))
            .map(|(path, text)| (path, hex(text.as_bytes())))
            .collect()
    }
}

fn files(task: Task) -> Result<Vec<(String, &'static str)>> {
    let Some(folder) = PROMPTS.get_dir(task.name()) else { bail!("prompts/{} is not there", task.name()) };
    let mut list = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files() {
            let path = file.path().strip_prefix(task.name()).unwrap_or(file.path()).display().to_string();
            list.push((path, file.contents_utf8().context("prompts are UTF-8")?));
        }
    }
    list.sort();
    Ok(list)
}

fn hash(files: &[(String, &str)]) -> String {
    let mut all = String::new();
    for (path, text) in files {
        all.push_str(&format!("{path}\0{text}\0"));
    }
    hex(all.as_bytes())
}

/// A number that follows from some words, each number as likely as any other.
pub(crate) fn draw(words: &str) -> u64 {
    let digest = Sha256::digest(words.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// SHA-256 in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_loads_under_both_profiles() {
        for task in Task::ALL {
            for profile in [Profile::Full, Profile::Pocket] {
                let recipe = Recipe::load(task, profile).unwrap();
                assert!(recipe.sampling("assistant").is_ok());
            }
        }
        assert_eq!(Recipe::load(Task::MagpieUltra, Profile::Full).unwrap().categories.len(), 11);
        let weights: f64 =
            Recipe::load(Task::MagpieUltra, Profile::Full).unwrap().categories.iter().map(|c| c.weight).sum();
        assert!((weights - 1.0).abs() < 1e-9);
    }

    #[test]
    fn settings_that_ask_a_judge_have_its_prompts_in_both_profiles() {
        for profile in [Profile::Full, Profile::Pocket] {
            for task in [Task::SmolRewrite, Task::SmolSummarization] {
                let mut recipe = Recipe::load(task, profile).unwrap();
                recipe.settings.minimum_faithfulness = Some(3);
                recipe.has_what_its_settings_need().unwrap();
                let asked =
                    recipe.prompt("faithfulness", &serde_json::json!({"source": "One.", "reply": "Two."}));
                assert!(asked.unwrap().contains("Two."));
            }
            for task in [Task::MagpieUltra, Task::Preferences] {
                let mut recipe = Recipe::load(task, profile).unwrap();
                recipe.settings.reference_answers = true;
                recipe.has_what_its_settings_need().unwrap();
            }
        }
        let mut recipe = Recipe::load(Task::SystemChats, Profile::Full).unwrap();
        recipe.settings.minimum_faithfulness = Some(3);
        assert!(recipe.has_what_its_settings_need().unwrap_err().to_string().contains("faithfulness"));
    }

    #[test]
    fn one_completion_is_no_pair() {
        let mut recipe = Recipe::load(Task::Preferences, Profile::Full).unwrap();
        recipe.settings.completions = 1;
        let error = recipe.has_what_its_settings_need().unwrap_err().to_string();
        assert!(error.contains("completions = 1"), "{error}");
    }

    #[test]
    fn conflicts_are_symmetric_and_name_known_instructions() {
        let recipe = Recipe::load(Task::SmolConstraint, Profile::Full).unwrap();
        assert_eq!(recipe.instructions.len(), 25);
        for instruction in &recipe.instructions {
            for other in &instruction.conflicts {
                let other = recipe.instructions.iter().find(|known| known.id == *other).unwrap();
                assert!(other.conflicts.contains(&instruction.id), "{} and {}", other.id, instruction.id);
            }
        }
    }
}
