//! What `gen`, `estimate` and `preview` have in common: who teaches, from which recipes, on which texts.

mod others;

use crate::keys::Keys;
use crate::recipe::{Profile, Recipe, Task, hex};
use crate::teacher::{Manners, Teacher};
use crate::walk::Teachers;
use anyhow::{Context, Result, bail};
use datasets::pocket::Draw;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A context shorter than this gets the pocket profile.
const FULL_CONTEXT: usize = 4096;

/// The teacher that ships with the project.
const POCKET: &str = "pocket-instruct";

/// What a run's configuration says where texts are the pocket world's.
const WORLD: &str = "the pocket world";

/// Options of every subcommand that asks a teacher.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Which dataset to make; when left out the four that SmolTalk is mostly made of: magpie-ultra, smol-constraint,
    /// smol-rewrite and smol-summarization
    pub(crate) task: Option<Task>,
    /// A checkpoint folder, a hub id, or http://host:port/v1#model; several endpoints of one model with commas
    /// between them
    #[arg(long, default_value = POCKET)]
    pub(crate) teacher: String,
    /// Texts to rewrite and sum up, or prompts for preferences: a file or folder of rows [the pocket teacher: its own
    /// world's letters and stories]
    #[arg(long)]
    pub(crate) source: Option<PathBuf>,
    /// Same seed, same teacher: same rows
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Templates for real teachers or for short contexts; chosen by the teacher's context when left out
    #[arg(long)]
    pub(crate) profile: Option<Profile>,
    /// Calls at a time, of each endpoint and model; fewer while an endpoint answers 429 or 503
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Seconds one call may take
    #[arg(long, default_value_t = 600.0)]
    pub(crate) timeout: f64,
    /// Seconds an endpoint may give nothing of use before the run stops
    #[arg(long, default_value_t = 600.0)]
    pub(crate) patience: f64,
    /// A Jinja chat template to use instead of the teacher's own (of an endpoint: instead of ChatML)
    #[arg(long)]
    pub(crate) chat_template: Option<PathBuf>,
    /// The environment variable that holds a key: NAME of the key for the host of --teacher, HOST=NAME for another
    /// one; repeat it for several. No other host gets a key
    #[arg(long, value_name = "[HOST=]NAME")]
    pub(crate) api_key_env: Vec<String>,
    /// Judges instead of the teacher: difficulty, quality and category, whether replies keep to their system prompt,
    /// how good completions are
    #[arg(long)]
    pub(crate) judge_teacher: Option<String>,
    /// Adds a score to Magpie-Ultra's rows
    #[arg(long)]
    pub(crate) reward_teacher: Option<String>,
    /// Drops Magpie-Ultra's unsafe rows
    #[arg(long)]
    pub(crate) safety_teacher: Option<String>,
    /// Writes completions of preferences instead of the teacher; repeat it for several, which take turns
    #[arg(long)]
    pub(crate) completion_teacher: Vec<String>,
    /// Dollars per million tokens by model [default: smoltalk/prices.toml in the configuration folder]
    #[arg(long)]
    pub(crate) prices: Option<PathBuf>,
}

/// Everything that is settled before the first call.
pub(crate) struct Setup {
    pub(crate) teachers: Teachers,
    pub(crate) recipes: Vec<Recipe>,
    pub(crate) manners: Manners,
    /// What decides the rows: with another one of these, the store's rows are not this run's.
    pub(crate) configuration: Value,
    pub(crate) seed: u64,
    texts: Option<Texts>,
}

/// What source tasks work on.
enum Texts {
    /// Rows of a file or folder.
    Rows(PathBuf),
    /// The pocket world's letters and stories, as many as are asked for.
    World,
}

impl Setup {
    /// Checks the options, reads every source row once, so that a broken line 17 costs nothing, and opens the
    /// teachers.
    pub(crate) async fn open(options: &Common, rows: usize, batch_poll: Option<Duration>) -> Result<Self> {
        let manners = manners(options, batch_poll)?;
        if rows == 0 || options.in_flight == 0 {
            bail!("--rows and --in-flight are at least 1");
        }
        let chosen: Vec<Task> = options.task.map_or(Task::DEFAULT.to_vec(), |task| vec![task]);
        let texts = match &options.source {
            Some(path) => Some(Texts::Rows(path.clone())),
            None => (options.teacher == POCKET).then_some(Texts::World),
        };
        let source_hash = check_source(texts.as_ref(), rows, &chosen)?;
        let main = open_main(options, &manners).await?;
        let short = main.context().is_some_and(|context| context < FULL_CONTEXT);
        let profile = options.profile.unwrap_or(if short { Profile::Pocket } else { Profile::Full });
        say_what_to_expect(options, &chosen, short);
        let recipes = chosen.iter().map(|task| Recipe::load(*task, profile)).collect::<Result<Vec<_>>>()?;
        others::check(options, &recipes, profile)?;
        let teachers = open_teachers(main, options, &manners).await?;
        let configuration = configuration(options, &teachers, profile, &recipes, source_hash.as_deref());
        Ok(Self { teachers, recipes, manners, configuration, seed: options.seed, texts })
    }

    /// The texts of a task's rows in order; a task without sources has as many rows as it likes.
    pub(crate) fn sources(
        &self,
        recipe: &Recipe,
    ) -> Result<Box<dyn Iterator<Item = Result<Option<String>>>>> {
        let task = recipe.task;
        Ok(match &self.texts {
            Some(Texts::Rows(path)) if task.takes_source() => {
                Box::new(source_texts(path, task)?.map(|text| text.map(Some)))
            }
            Some(Texts::World) if task.needs_source() => {
                let mut draw = Draw::new(self.seed, task.name());
                Box::new(std::iter::repeat_with(move || Ok(Some(crate::world::text(task, &mut draw)))))
            }
            _ => Box::new(std::iter::repeat_with(|| Ok(None))),
        })
    }

    /// The models that may be asked.
    pub(crate) fn models(&self) -> Vec<&str> {
        let Teachers { main, judge, reward, safety, completions } = &self.teachers;
        let others = [judge, reward, safety].into_iter().flatten().chain(completions);
        std::iter::once(main).chain(others).map(Teacher::identity).collect()
    }
}

fn manners(options: &Common, batch_poll: Option<Duration>) -> Result<Manners> {
    let seconds = |name: &str, value: f64| {
        let duration = Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero());
        duration.with_context(|| format!("--{name} is {value}; it is a number of seconds above 0"))
    };
    let others = [&options.judge_teacher, &options.reward_teacher, &options.safety_teacher];
    let others = others.into_iter().flatten().chain(&options.completion_teacher);
    let others: Vec<&str> = others.map(String::as_str).collect();
    Ok(Manners {
        keys: Keys::read(&options.api_key_env, &options.teacher, &others)?,
        in_flight: options.in_flight,
        timeout: seconds("timeout", options.timeout)?,
        patience: seconds("patience", options.patience)?,
        batch_poll,
    })
}

/// What the pocket teacher was not taught, and whose prompts a short context gets.
fn say_what_to_expect(options: &Common, chosen: &[Task], short: bool) {
    let taught = |task: &Task| Task::DEFAULT.contains(task) || *task == Task::Preferences;
    let pocket = options.teacher == POCKET;
    for task in chosen.iter().filter(|task| pocket && !taught(task)) {
        eprintln!("warning: {POCKET} was not taught {}: few of its rows will be of use", task.name());
    }
    if short && !pocket && options.profile.is_none() {
        eprintln!(
            "note: {} has a context below {FULL_CONTEXT}: the pocket profile, whose prompts are short and worded for \
             {POCKET}, is used; --profile full takes the others",
            options.teacher
        );
    }
}

fn check_source(texts: Option<&Texts>, rows: usize, chosen: &[Task]) -> Result<Option<String>> {
    let path = match texts {
        Some(Texts::World) if chosen.iter().any(|task| task.needs_source()) => {
            return Ok(Some(WORLD.to_owned()));
        }
        Some(Texts::World) | None => None,
        Some(Texts::Rows(path)) => Some(path.as_path()),
    };
    let Some(taker) = chosen.iter().find(|task| task.takes_source()) else {
        if let (Some(path), Some(task)) = (path, chosen.first()) {
            bail!("{} works on no texts; leave --source {} away", task.name(), path.display());
        }
        return Ok(None);
    };
    let Some(path) = path else {
        if !taker.needs_source() {
            return Ok(None);
        }
        bail!(
            "{} works on texts; name them with --source PATH, or make magpie-ultra or smol-constraint",
            taker.name()
        );
    };
    let (mut all, mut count) = (String::new(), 0);
    let mut read = datasets::read(path)?;
    for located in read.by_ref() {
        if let Some(text) = taker.text_of(&located?.row) {
            all = hex(format!("{all}{text}").as_bytes());
            count += 1;
        }
    }
    for (file, reason) in read.skipped() {
        eprintln!("warning: {} is skipped: {reason}", file.display());
    }
    if count == 0 {
        bail!("--source {} holds no text to work on", path.display());
    }
    let layouts: BTreeSet<String> = read.layouts().iter().map(|(_, layout)| format!("{layout:?}")).collect();
    let layouts = layouts.into_iter().collect::<Vec<_>>().join(", ");
    eprintln!("source: {count} texts from {} (layout: {layouts})", path.display());
    if count < rows {
        eprintln!("warning: --rows asks for {rows}, the source has {count}");
    }
    Ok(Some(all))
}

fn source_texts(path: &Path, task: Task) -> Result<impl Iterator<Item = Result<String>> + use<>> {
    let rows = datasets::read(path)?;
    Ok(rows.filter_map(move |located| match located {
        Ok(located) => task.text_of(&located.row).map(|text| Ok(text.to_owned())),
        Err(error) => Some(Err(error.into())),
    }))
}

async fn open_main(options: &Common, manners: &Manners) -> Result<Teacher> {
    let main = Teacher::open(&options.teacher, options.chat_template.as_deref(), manners).await?;
    for warning in main.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(main)
}

async fn open_teachers(main: Teacher, options: &Common, manners: &Manners) -> Result<Teachers> {
    let other = async |name: &Option<String>| match name {
        Some(name) => Teacher::open(name, None, manners).await.map(Some),
        None => Ok(None),
    };
    let mut completions = Vec::new();
    for name in &options.completion_teacher {
        completions.push(Teacher::open(name, None, manners).await?);
    }
    Ok(Teachers {
        completions,
        main,
        judge: other(&options.judge_teacher).await?,
        reward: other(&options.reward_teacher).await?,
        safety: other(&options.safety_teacher).await?,
    })
}

fn configuration(
    options: &Common,
    teachers: &Teachers,
    profile: Profile,
    recipes: &[Recipe],
    source: Option<&str>,
) -> Value {
    let identity = |teacher: &Option<Teacher>| teacher.as_ref().map(|teacher| teacher.identity().to_owned());
    let template =
        options.chat_template.as_ref().and_then(|file| std::fs::read(file).ok()).map(|bytes| hex(&bytes));
    let writers: Vec<&str> = teachers.completions.iter().map(Teacher::identity).collect();
    let hashes = recipes.iter().map(|recipe| (recipe.task.name().to_owned(), json!(recipe.hash)));
    json!({
        "recipes": hashes.collect::<Map<_, _>>(),
        "profile": profile.name(),
        "seed": options.seed,
        "teacher": teachers.main.identity(),
        "judge_teacher": identity(&teachers.judge),
        "reward_teacher": identity(&teachers.reward),
        "safety_teacher": identity(&teachers.safety),
        "completion_teachers": (!writers.is_empty()).then_some(writers),
        "chat_template": template,
        "source": source,
    })
}
