//! What `gen`, `estimate` and `preview` have in common, settled before the first call: the teachers, the recipes
//! and the source texts. Command-line options are converted here and are not passed on.

mod code;
mod options;
mod other_teachers;
mod source;

pub use options::TeacherOptions;

use crate::api_keys::ApiKeys;
use crate::beside_replies::Keeping;
use crate::budget::Prices;
use crate::recipe::{Prompts, Recipe};
use crate::task::{SourceTexts, Task};
use crate::tasks;
use crate::teacher::{EndpointSettings, RequestSettings, Role, Teacher, UserTurns};
use crate::teachers::Teachers;
use anyhow::{Context, Result, bail, ensure};
use datasets::ReadOptions;
use files::hash::sha256_of_file;
use options::seconds;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is settled before the first call.
pub(crate) struct Setup {
    pub(crate) teachers: Teachers,
    pub(crate) recipes: Vec<Recipe>,
    pub(crate) endpoints: EndpointSettings,
    pub(crate) prices: Prices,
    /// What determines the rows: a store with another configuration contains the rows of another run.
    pub(crate) configuration: Value,
    pub(crate) seed: u64,
    /// What comes beside replies and is in the rows.
    pub(crate) keeping: Keeping,
    /// What the user changed about the requests of each role, for the dataset's description.
    pub(crate) requests: Value,
    /// The name of the prompts, for people.
    pub(crate) prompts: String,
    source: Option<PathBuf>,
    /// Rows of the source that cannot be used, with file, line and reason.
    pub(crate) source_left_out: Vec<String>,
    /// How the source is read.
    reading: ReadOptions,
}

impl Setup {
    /// Checks the options, reads the whole source, and opens the teachers.
    pub(crate) async fn open(
        options: &TeacherOptions,
        rows: usize,
        batch_poll: Option<Duration>,
    ) -> Result<Self> {
        let source = source::check(options.source.as_deref(), &options.reading, rows, &options.tasks()?)?;
        Self::with_source(options, rows, batch_poll, source).await
    }

    /// The same for rows whose source texts the caller has.
    pub(crate) async fn without_source(options: &TeacherOptions, rows: usize) -> Result<Self> {
        Self::with_source(options, rows, None, None).await
    }

    async fn with_source(
        options: &TeacherOptions,
        rows: usize,
        batch_poll: Option<Duration>,
        source: Option<source::Source>,
    ) -> Result<Self> {
        let endpoints = endpoint_settings(options, batch_poll)?;
        if rows == 0 || options.in_flight == 0 {
            bail!("`--rows` and `--in-flight` must be at least 1");
        }
        let prompts = options.prompts()?;
        let recipes = recipes(&options.tasks()?, &prompts)?;
        code::check(&recipes, options.allow_code)?;
        let others = options.other_teachers();
        other_teachers::check(&others, &recipes, &prompts)?;
        other_teachers::check_requests(&others, &options.request_options())?;
        let template = options.chat_template.as_deref();
        let main = Teacher::open(options.main_teacher()?, template, &endpoints).await?;
        for warning in main.warnings() {
            terminal::message!("warning: {warning}");
        }
        check_context(&main, &recipes)?;
        if main.guesses_template(template.is_some())
            && recipes.iter().any(|recipe| (tasks::maker(recipe.task).user_turns)(options.source.is_some()))
        {
            terminal::message!(
                "warning: user's turns are asked for in ChatML, because an endpoint does not tell its model's template; if the \
                 model has another one, give it with `--chat-template FILE`, or give `--user-turns chat`"
            );
        }
        let teachers = Teachers::open(main, &others, &endpoints, &options.request_options()).await?;
        let prices = Prices::read(options.prices.as_deref())?;
        let configuration =
            configuration(options, &teachers, &recipes, source.as_ref().map(|source| source.hash.as_str()))?;
        let (source, source_left_out) = source.map(|source| (source.path, source.left_out)).unzip();
        Ok(Self {
            teachers,
            recipes,
            endpoints,
            prices,
            configuration,
            seed: options.seed,
            keeping: Keeping { reasoning: options.keep_reasoning, logprobs: options.keep_logprobs },
            requests: requests(options)?,
            prompts: prompts.name(),
            source: source.or_else(|| options.source.clone()),
            source_left_out: source_left_out.unwrap_or_default(),
            reading: options.reading.clone(),
        })
    }

    /// Refuses a budget where nothing bounds the length of an answer.
    pub(crate) fn check_bounded(&self, options: &TeacherOptions) -> Result<()> {
        for (name, role) in Role::ALL {
            let settings = RequestSettings::read(&options.request_options(), role)?;
            ensure!(
                !settings.has_endless_answers(),
                "`--request {name}:-max_tokens` lets answers be of any length, which `--budget` cannot hold; remove one of them, or \
                 add `--request {name}:max_completion_tokens=N`"
            );
        }
        Ok(())
    }

    /// Iterates over the source texts of a task's rows in order; without end for a task without a source.
    pub(crate) fn sources(
        &self,
        recipe: &Recipe,
    ) -> Result<Box<dyn Iterator<Item = Result<Option<String>>>>> {
        Ok(match &self.source {
            Some(path) if recipe.task.source != SourceTexts::None => {
                Box::new(source::texts(path, &self.reading, recipe.task)?.map(|text| text.map(Some)))
            }
            _ => Box::new(std::iter::repeat_with(|| Ok(None))),
        })
    }
}

/// Reads the tasks' recipes.
fn recipes(tasks: &[&'static Task], prompts: &Prompts) -> Result<Vec<Recipe>> {
    let folder = prompts.folder();
    for task in tasks.iter().filter(|task| folder.is_some() && !prompts.replaces(task.name)) {
        terminal::message!(
            "note: {} has no prompts of `{}`; the built-in ones are used",
            prompts.name(),
            task.name
        );
    }
    tasks.iter().map(|task| tasks::maker(task).recipe(prompts)).collect()
}

/// Refuses a teacher whose context cannot hold a prompt of a task and its answer.
fn check_context(main: &Teacher, recipes: &[Recipe]) -> Result<()> {
    let Some(context) = main.context() else { return Ok(()) };
    for recipe in recipes {
        let Some(step) = recipe.longest_step(|text| main.tokens(text)) else { continue };
        ensure!(
            step.prompt_tokens + step.max_tokens <= context,
            "task `{}`: its prompt `{}` takes {} tokens and the answer up to {}, but the context of {} holds {context}; \
             choose a teacher with a longer context, or give shorter prompts and smaller `max_tokens` with `--prompts DIR`",
            recipe.task.name,
            step.name,
            step.prompt_tokens,
            step.max_tokens,
            main.identity()
        );
    }
    Ok(())
}

/// How endpoints are called.
fn endpoint_settings(options: &TeacherOptions, batch_poll: Option<Duration>) -> Result<EndpointSettings> {
    let others = options.other_teachers();
    Ok(EndpointSettings {
        keys: ApiKeys::read(&options.api_key_env, options.main_teacher()?, &others.all())?,
        in_flight: options.in_flight,
        timeout: seconds("timeout", options.timeout)?,
        patience: seconds("patience", options.patience)?,
        batch_poll,
        rates: options.rates()?,
        user_turns: options.user_turns,
        request: RequestSettings::read(&options.request_options(), Role::Main)?,
    })
}

/// What the user changed about the requests of each role.
fn requests(options: &TeacherOptions) -> Result<Value> {
    let mut requests = Map::new();
    for (name, role) in Role::ALL {
        if let Some(description) = RequestSettings::read(&options.request_options(), role)?.description() {
            requests.insert(name.to_owned(), description);
        }
    }
    Ok(Value::Object(requests))
}

/// What decides the rows. How requests are sent is left out: a run that stopped because an endpoint refuses a parameter
/// continues without it.
fn configuration(
    options: &TeacherOptions,
    teachers: &Teachers,
    recipes: &[Recipe],
    source_hash: Option<&str>,
) -> Result<Value> {
    let (seed, template) = (options.seed, options.chat_template.as_deref());
    let identity = |teacher: &Option<Teacher>| teacher.as_ref().map(|teacher| teacher.identity().to_owned());
    let template = template.map(sha256_of_file).transpose().context("`--chat-template`")?;
    let writers: Vec<&str> = teachers.completions.iter().map(Teacher::identity).collect();
    let hashes = recipes.iter().map(|recipe| (recipe.task.name.to_owned(), json!(recipe.hash)));
    let mut configuration = json!({
        "recipes": hashes.collect::<Map<_, _>>(),
        "seed": seed,
        "teacher": teachers.main.identity(),
        "judge_teacher": identity(&teachers.judge),
        "reward_teacher": identity(&teachers.reward),
        "safety_teacher": identity(&teachers.safety),
        "completion_teachers": (!writers.is_empty()).then_some(writers),
        "chat_template": template,
        "source": source_hash,
    });
    // Runs of earlier versions have no such keys, and resume.
    if options.user_turns == UserTurns::Chat {
        configuration["user_turns"] = json!("chat");
    }
    if options.keep_reasoning {
        configuration["keep_reasoning"] = json!(true);
    }
    if let Some(alternatives) = options.keep_logprobs {
        configuration["keep_logprobs"] = json!(alternatives);
    }
    Ok(configuration)
}
