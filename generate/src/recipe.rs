//! The recipe of a task: sampling, filters, templates and schemas, read from its files and checked once.
//!
//! The hash of a recipe covers all its files, so that a changed prompt makes another recipe.

mod code;
mod prompts;

pub use prompts::Prompts;

use crate::task::Task;
use anyhow::{Context, Result, anyhow, bail, ensure};
use files::hash::sha256;
use minijinja::Environment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeMap;

/// The settings that only one task has, of the type that its file declares.
pub(crate) type TaskSettings = Box<dyn Any + Send + Sync>;

/// A task's recipe.
pub struct Recipe {
    pub(crate) task: &'static Task,
    /// SHA-256 of the files.
    pub(crate) hash: String,
    /// The value of the column `source`.
    pub(crate) source: String,
    /// Whether an answer that reached its token limit is cut after its last whole sentence instead of being
    /// dropped: for teachers that were not trained to stop.
    pub(crate) trim_cut: bool,
    /// Openings of a user's turn that are rejected.
    pub(crate) forbidden_openings: Vec<String>,
    /// The similarity from which two rows are near-duplicates.
    pub(crate) near_duplicate: Option<f64>,
    /// Sampling parameters by kind of step.
    pub(crate) sampling: BTreeMap<String, Sampling>,
    row_key: String,
    /// The keys of `recipe.toml` that only this task has.
    task_table: toml::Table,
    task_settings: TaskSettings,
    schemas: BTreeMap<String, Value>,
    templates: Environment<'static>,
    files: BTreeMap<String, String>,
    /// The folder of the files, for messages.
    folder: String,
}

/// Sampling parameters of a step.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sampling {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) max_tokens: usize,
}

/// The context that a step needs.
pub(crate) struct LongStep {
    pub(crate) name: String,
    pub(crate) prompt_tokens: usize,
    pub(crate) max_tokens: usize,
}

/// `recipe.toml`: the keys of every task, and a table of the keys that only this task has.
#[derive(Deserialize)]
struct RecipeFile {
    row_key: Option<String>,
    source: String,
    #[serde(default)]
    trim_cut: bool,
    #[serde(default)]
    forbidden_openings: Vec<String>,
    near_duplicate: Option<f64>,
    sampling: BTreeMap<String, Sampling>,
    #[serde(flatten)]
    task_table: toml::Table,
}

impl Recipe {
    /// Reads and checks a task's files: every template parses, every schema is valid, and `load` finds what the
    /// task needs.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(crate) fn load(
        task: &'static Task,
        load: fn(&Self) -> Result<TaskSettings>,
        prompts: &Prompts,
    ) -> Result<Self> {
        let files = prompts.files(task.name)?;
        let folder = format!("{}/{}", prompts.name(), task.name);
        let text = files.get("recipe.toml").ok_or_else(|| anyhow!("{folder} has no recipe.toml"))?;
        let file: RecipeFile = toml::from_str(text).with_context(|| format!("{folder}/recipe.toml"))?;
        let hash = hash(&files);
        let mut recipe = Self {
            task,
            row_key: file.row_key.unwrap_or_else(|| hash.clone()),
            hash,
            source: file.source,
            trim_cut: file.trim_cut,
            forbidden_openings: file.forbidden_openings,
            near_duplicate: file.near_duplicate,
            sampling: file.sampling,
            task_table: file.task_table,
            task_settings: Box::new(()),
            schemas: schemas(&files, &folder)?,
            templates: templates(&files, &folder)?,
            files,
            folder,
        };
        recipe.task_settings = load(&recipe)?;
        Ok(recipe)
    }

    /// Parses the keys of `recipe.toml` that only this task has.
    ///
    /// # Errors
    /// When they do not fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let table = toml::Value::Table(self.task_table.clone());
        table.try_into().with_context(|| format!("{}/recipe.toml", self.folder))
    }

    /// Returns the settings that only this task has.
    ///
    /// # Panics
    /// When `T` is not the type that `Maker::load` returned.
    pub(crate) fn task_settings<T: Any>(&self) -> &T {
        self.task_settings.downcast_ref().expect("a task reads the settings that it loaded")
    }

    /// Returns the settings that only this task has, if they have this type.
    pub(crate) fn task_settings_of<T: Any>(&self) -> Option<&T> {
        self.task_settings.downcast_ref()
    }

    /// Returns the text of a file of the recipe.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn file(&self, name: &str) -> Result<&str> {
        self.files.get(name).map(String::as_str).ok_or_else(|| anyhow!("{} has no {name}", self.folder))
    }

    /// For `Maker::load`: checks that a judging step has its template, its schema and the judge's sampling.
    pub(crate) fn needs_judge(&self, step: &str) -> Result<()> {
        self.sampling("judge")?;
        self.schema(step)?;
        self.file(&format!("{step}.jinja")).map(drop)
    }

    /// For `Maker::load`: checks that a list that rows draw from is not empty.
    pub(crate) fn needs_entries<T>(&self, list: &[T], name: &str) -> Result<()> {
        ensure!(!list.is_empty(), "{}/recipe.toml: `{name}` is empty; give at least one entry", self.folder);
        Ok(())
    }

    /// Returns the id of the row at a position, from which all its draws follow. It depends on `row_key`, not on the
    /// prompts, so that two versions of a prompt are compared on the same draws.
    pub(crate) fn row_id(&self, seed: u64, position: usize) -> String {
        sha256(format!("{}/{seed}/{position}", self.row_key))[..16].to_owned()
    }

    /// The texts of the files by name.
    pub(crate) fn texts(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// Returns the sampling parameters of a kind of step.
    pub(crate) fn sampling(&self, step: &str) -> Result<Sampling> {
        let sampling = self.sampling.get(step).copied();
        sampling.ok_or_else(|| anyhow!("{}/recipe.toml has no table `[sampling.{step}]`", self.folder))
    }

    /// Renders a template.
    ///
    /// # Errors
    /// When there is no such template or one of its variables is missing.
    pub fn prompt(&self, name: &str, variables: &Value) -> Result<String> {
        let template = self.templates.get_template(name);
        let text = template.and_then(|template| template.render(variables));
        text.with_context(|| format!("{}/{name}.jinja", self.folder))
    }

    /// Renders a text of the recipe that is no file.
    ///
    /// # Errors
    /// When it is no template or one of its variables is missing.
    pub(crate) fn rendered(&self, text: &str, variables: &Value) -> Result<String> {
        self.templates
            .render_str(text, variables)
            .with_context(|| format!("{}/recipe.toml: {text}", self.folder))
    }

    /// Evaluates an expression of the recipe.
    ///
    /// # Errors
    /// When it is no expression or one of its variables is missing.
    pub(crate) fn is_true(&self, expression: &str, variables: &Value) -> Result<bool> {
        let value =
            self.templates.compile_expression(expression).and_then(|compiled| compiled.eval(variables));
        Ok(value.with_context(|| format!("{}/recipe.toml: {expression}", self.folder))?.is_true())
    }

    /// For `Maker::load`: checks that a text is an expression.
    pub(crate) fn check_expression(&self, expression: &str) -> Result<()> {
        let compiled = self.templates.compile_expression(expression).map(drop);
        compiled.with_context(|| format!("{}/recipe.toml: {expression}", self.folder))
    }

    /// For `Maker::load`: checks that a text is a template over these variables.
    pub(crate) fn check_template(&self, text: &str, variables: &[&str]) -> Result<()> {
        let place = || format!("{}/recipe.toml: {text}", self.folder);
        let template = self.templates.template_from_str(text).with_context(place)?;
        self.check_variables(&template, variables).with_context(place)
    }

    /// For `Maker::load`: checks that a file is a template over these variables.
    pub(crate) fn check_prompt(&self, name: &str, variables: &[&str]) -> Result<()> {
        self.file(&format!("{name}.jinja"))?;
        let place = || format!("{}/{name}.jinja", self.folder);
        let template = self.templates.get_template(name).with_context(place)?;
        self.check_variables(&template, variables).with_context(place)
    }

    fn check_variables(&self, template: &minijinja::Template<'_, '_>, variables: &[&str]) -> Result<()> {
        let is_known = |name: &String| {
            variables.contains(&name.as_str()) || self.templates.globals().any(|(global, _)| global == name)
        };
        let unknown = template.undeclared_variables(false).into_iter().find(|name| !is_known(name));
        match unknown {
            None => Ok(()),
            Some(name) => bail!("there is no variable `{name}` here; there are {}", variables.join(", ")),
        }
    }

    /// Returns the step that needs the longest context, counted as the tokens of its template and its maximum
    /// answer; `None` if tokens cannot be counted.
    pub(crate) fn longest_step(&self, tokens: impl Fn(&str) -> Option<usize>) -> Option<LongStep> {
        let templates =
            self.files.iter().filter_map(|(path, text)| Some((path.strip_suffix(".jinja")?, text)));
        let steps = templates.filter_map(|(name, text)| {
            let max_tokens = self.answer_sampling(name)?.max_tokens;
            Some(LongStep { name: name.to_owned(), prompt_tokens: tokens(text)?, max_tokens })
        });
        steps.max_by_key(|step| step.prompt_tokens + step.max_tokens)
    }

    /// Returns how the answer to a template is sampled: like the step with its name; otherwise like a judge if it
    /// has a schema, like a user if it is a system prompt, and like an assistant in all other cases.
    fn answer_sampling(&self, template: &str) -> Option<Sampling> {
        let step = template.split('/').next().unwrap_or(template);
        let kind = match step {
            _ if self.sampling.contains_key(step) => step,
            _ if self.schemas.contains_key(step) => "judge",
            "system" if self.sampling.contains_key("user") => "user",
            _ => "assistant",
        };
        self.sampling.get(kind).copied()
    }

    /// Returns the JSON schema of a constrained step's answer.
    ///
    /// # Errors
    /// When there is no such schema.
    pub fn schema(&self, name: &str) -> Result<&Value> {
        let schema = self.schemas.get(name);
        schema.ok_or_else(|| anyhow!("{} has no {name}.schema.json", self.folder))
    }

    /// The templates and schemas with their SHA-256, for the dataset card.
    pub(crate) fn prompt_hashes(&self) -> Vec<(&str, String)> {
        let is_prompt = |path: &str| path.ends_with(".jinja") || path.ends_with(".schema.json");
        let files = self.files.iter().filter(|(path, _)| is_prompt(path));
        files.map(|(path, text)| (path.as_str(), sha256(text))).collect()
    }
}

fn templates(files: &BTreeMap<String, String>, folder: &str) -> Result<Environment<'static>> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    templates.add_filter("code", |answer: &str| code::code(answer));
    for (path, text) in files {
        if let Some(name) = path.strip_suffix(".jinja") {
            templates
                .add_template_owned(name.to_owned(), text.trim_end().to_owned())
                .with_context(|| format!("{folder}/{path}"))?;
        }
    }
    Ok(templates)
}

fn schemas(files: &BTreeMap<String, String>, folder: &str) -> Result<BTreeMap<String, Value>> {
    let mut schemas = BTreeMap::new();
    for (path, text) in files {
        if let Some(name) = path.strip_suffix(".schema.json") {
            let schema: Value = serde_json::from_str(text).with_context(|| format!("{folder}/{path}"))?;
            jsonschema::validator_for(&schema).map_err(|error| anyhow!("{folder}/{path}: {error}"))?;
            schemas.insert(name.to_owned(), schema);
        }
    }
    Ok(schemas)
}

fn hash(files: &BTreeMap<String, String>) -> String {
    let mut all = String::new();
    for (path, text) in files {
        all.push_str(&format!("{path}\0{text}\0"));
    }
    sha256(all)
}
