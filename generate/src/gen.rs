//! `smoltalk gen`: from a recipe, a teacher and perhaps sources to a dataset folder.
//!
//! The run's store decides what is left to do, so the same command after a kill goes on where it was.

use crate::finish;
use crate::recipe::{Profile, Recipe, Task, hex};
use crate::store::{Store, Verdict};
use crate::tasks;
use crate::teacher::Teacher;
use crate::walk::{Halt, Teachers, Walk};
use anyhow::{Context, Result, bail};
use futures::{TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A context shorter than this gets the pocket profile.
const FULL_CONTEXT: usize = 4096;
/// Seconds between plain progress lines where there is no terminal.
const LINE_SECONDS: u64 = 10;

/// What `smoltalk gen` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which dataset to make; when left out the four that SmolTalk is mostly made of: magpie-ultra, smol-constraint,
    /// smol-rewrite and smol-summarization
    task: Option<Task>,
    /// A checkpoint folder, a hub id, or http://host:port/v1#model
    #[arg(long)]
    teacher: String,
    /// Texts to rewrite and sum up, or prompts for preferences: a file or folder of rows
    #[arg(long)]
    source: Option<PathBuf>,
    /// Rows to begin, of each task; fewer are kept
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// The dataset's folder
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
    /// Same seed, same teacher: same rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Templates for real teachers or for short contexts; chosen by the teacher's context when left out
    #[arg(long)]
    profile: Option<Profile>,
    /// Rows on their way at a time
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// A Jinja chat template to use instead of the teacher's own (of an endpoint: instead of ChatML)
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// The environment variable that holds the endpoint's key
    #[arg(long)]
    api_key_env: Option<String>,
    /// Judges instead of the teacher: difficulty, quality and category, whether replies keep to their system prompt,
    /// how good completions are
    #[arg(long)]
    judge_teacher: Option<String>,
    /// Adds a score to Magpie-Ultra's rows
    #[arg(long)]
    reward_teacher: Option<String>,
    /// Drops Magpie-Ultra's unsafe rows
    #[arg(long)]
    safety_teacher: Option<String>,
    /// Writes completions of preferences instead of the teacher; repeat it for several, which take turns
    #[arg(long)]
    completion_teacher: Vec<String>,
}

/// Runs to the end; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(generate(options))
}

async fn generate(options: &Options) -> Result<u8> {
    if options.in_flight == 0 || options.rows == 0 {
        bail!("--rows and --in-flight are at least 1");
    }
    let chosen: Vec<Task> = options.task.map_or(Task::DEFAULT.to_vec(), |task| vec![task]);
    let source_hash = check_source(options, &chosen)?;
    let teachers = open_teachers(options).await?;
    let short = teachers.main.context().is_some_and(|context| context < FULL_CONTEXT);
    let profile = options.profile.unwrap_or(if short { Profile::Pocket } else { Profile::Full });
    let recipes = chosen.iter().map(|task| Recipe::load(*task, profile)).collect::<Result<Vec<_>>>()?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create --out {}", options.out.display()))?;
    let store = Store::open(&options.out.join("store.sqlite"))?;
    let configuration = configuration(options, &teachers, profile, &recipes, source_hash.as_deref());
    check_configuration(&store, &configuration, &options.out)?;
    for recipe in &recipes {
        let walked = walk_all(options, recipe, &teachers, &store);
        tokio::select! {
            result = walked => result?,
            code = interrupted() => {
                eprintln!("stopped; what is recorded is safe, run the same command again to go on");
                return Ok(code);
            }
        }
    }
    let report = finish::write(&options.out, &recipes, &store, options.rows, &configuration)?;
    println!("{report}");
    Ok(0)
}

/// Waits for Ctrl-C or SIGTERM; the exit code is the shell's, 128 and the signal's number.
async fn interrupted() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => 130,
        _ = terminate.recv() => 143,
    }
}

/// Every source row is read once before anything is asked, so that a broken line 17 costs nothing.
fn check_source(options: &Options, chosen: &[Task]) -> Result<Option<String>> {
    let Some(taker) = chosen.iter().find(|task| task.takes_source()) else { return Ok(None) };
    let Some(path) = &options.source else {
        if !taker.needs_source() {
            return Ok(None);
        }
        bail!(
            "{} works on texts; name them with --source PATH, or make magpie-ultra or smol-constraint",
            taker.name()
        );
    };
    let (mut all, mut count) = (String::new(), 0);
    let mut rows = datasets::read(path)?;
    for located in rows.by_ref() {
        if let Some(text) = taker.text_of(&located?.row) {
            all = hex(format!("{all}{text}").as_bytes());
            count += 1;
        }
    }
    for (file, reason) in rows.skipped() {
        eprintln!("warning: {} is skipped: {reason}", file.display());
    }
    if count == 0 {
        bail!("--source {} holds no text to work on", path.display());
    }
    let layouts: BTreeSet<String> = rows.layouts().iter().map(|(_, layout)| format!("{layout:?}")).collect();
    let layouts = layouts.into_iter().collect::<Vec<_>>().join(", ");
    eprintln!("source: {count} texts from {} (layout: {layouts})", path.display());
    if count < options.rows {
        eprintln!("warning: --rows asks for {}, the source has {count}", options.rows);
    }
    Ok(Some(all))
}

fn source_texts(path: &Path, task: Task) -> Result<impl Iterator<Item = Result<String>>> {
    let rows = datasets::read(path)?;
    Ok(rows.filter_map(move |located| match located {
        Ok(located) => task.text_of(&located.row).map(|text| Ok(text.to_owned())),
        Err(error) => Some(Err(error.into())),
    }))
}

async fn open_teachers(options: &Options) -> Result<Teachers> {
    let template = options.chat_template.as_deref();
    let key = options.api_key_env.as_deref();
    let main = Teacher::open(&options.teacher, template, key).await?;
    for warning in main.warnings() {
        eprintln!("warning: {warning}");
    }
    let other = async |name: &Option<String>| match name {
        Some(name) => Teacher::open(name, None, key).await.map(Some),
        None => Ok(None),
    };
    let mut completions = Vec::new();
    for name in &options.completion_teacher {
        completions.push(Teacher::open(name, None, key).await?);
    }
    Ok(Teachers {
        completions,
        main,
        judge: other(&options.judge_teacher).await?,
        reward: other(&options.reward_teacher).await?,
        safety: other(&options.safety_teacher).await?,
    })
}

/// What decides the rows: with another one of these, the store's rows are not this run's.
fn configuration(
    options: &Options,
    teachers: &Teachers,
    profile: Profile,
    recipes: &[Recipe],
    source: Option<&str>,
) -> Value {
    let identity = |teacher: &Option<Teacher>| teacher.as_ref().map(|teacher| teacher.identity().to_owned());
    let writers: Vec<&str> = teachers.completions.iter().map(Teacher::identity).collect();
    let template =
        options.chat_template.as_ref().and_then(|file| std::fs::read(file).ok()).map(|bytes| hex(&bytes));
    json!({
        "recipes": recipes.iter().map(|recipe| (recipe.task.name().to_owned(), json!(recipe.hash))).collect::<serde_json::Map<_, _>>(),
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

fn check_configuration(store: &Store, configuration: &Value, out: &Path) -> Result<()> {
    let Some(text) = store.meta("configuration")? else {
        return store.set_meta("configuration", &configuration.to_string());
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
    bail!(
        "{} was begun differently ({}); name another --out, or run with what it was begun with",
        out.display(),
        changed.join("; ")
    )
}

/// Every row of a task that is not decided yet, many at a time.
async fn walk_all(options: &Options, recipe: &Recipe, teachers: &Teachers, store: &Store) -> Result<()> {
    let done: HashSet<usize> = store.done(recipe.task.name())?.into_iter().collect();
    let progress = Progress::begin(recipe.task, options.rows, &done, store)?;
    let sources: Box<dyn Iterator<Item = Result<Option<String>>>> = match &options.source {
        Some(path) if recipe.task.takes_source() => {
            Box::new(source_texts(path, recipe.task)?.map(|text| text.map(Some)))
        }
        _ => Box::new(std::iter::repeat_with(|| Ok(None))),
    };
    let waiting = sources.take(options.rows).enumerate().filter(|(position, _)| !done.contains(position));
    stream::iter(waiting.map(|(position, source)| source.map(|source| (position, source))))
        .map_ok(async |(position, source)| {
            let id = hex(format!("{}/{}/{position}", recipe.hash, options.seed).as_bytes())[..16].to_owned();
            let seed = u64::from_str_radix(&id, 16).unwrap_or_default();
            let walk = Walk { recipe, teachers, store, position, id, seed, source };
            let verdict = decide(&walk).await?;
            store.finish(recipe.task.name(), walk.position, &walk.id, &verdict).await?;
            progress.count(&verdict);
            Ok::<(), anyhow::Error>(())
        })
        .try_buffer_unordered(options.in_flight)
        .try_collect::<()>()
        .await?;
    progress.end();
    Ok(())
}

async fn decide(walk: &Walk<'_>) -> Result<Verdict> {
    match tasks::row(walk).await {
        Ok(mut row) => {
            row.insert("id".to_owned(), json!(walk.id));
            row.insert("source".to_owned(), json!(walk.recipe.source));
            Ok(Verdict::Kept(row))
        }
        Err(Halt::Drop(dropped)) => Ok(Verdict::Dropped(dropped)),
        Err(Halt::Abort(error)) => Err(error),
    }
}

/// A bar on a terminal, a plain line now and then elsewhere.
struct Progress<'a> {
    bar: ProgressBar,
    task: Task,
    rows: usize,
    store: &'a Store,
    kept: AtomicUsize,
    dropped: AtomicUsize,
    tokens_before: u64,
    began: Instant,
    last_line: Mutex<Instant>,
}

impl<'a> Progress<'a> {
    fn begin(task: Task, rows: usize, done: &HashSet<usize>, store: &'a Store) -> Result<Self> {
        let bar = ProgressBar::new(rows as u64);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{prefix} [{bar:30}] {pos}/{len} rows, {msg}, ETA {eta}";
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        bar.set_prefix(task.name());
        bar.set_position(done.len() as u64);
        bar.reset_eta();
        if !done.is_empty() {
            eprintln!("{}: {} rows are decided already, going on", task.name(), done.len());
        }
        let now = Instant::now();
        Ok(Self {
            bar,
            task,
            rows,
            kept: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            tokens_before: store.generated(),
            store,
            began: now,
            last_line: Mutex::new(now),
        })
    }

    fn count(&self, verdict: &Verdict) {
        let counter = if matches!(verdict, Verdict::Kept(_)) { &self.kept } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
        let Ok(mut last) = self.last_line.lock() else { return };
        if !self.bar.is_hidden() || last.elapsed() >= Duration::from_secs(LINE_SECONDS) {
            *last = Instant::now();
            self.say();
        }
    }

    fn end(&self) {
        let said = self.last_line.lock().is_ok_and(|last| last.elapsed() < Duration::from_millis(100));
        if !said || !self.bar.is_hidden() {
            self.say();
        }
        self.bar.finish();
    }

    fn say(&self) {
        let (kept, dropped) = (self.kept.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let tokens = self.store.generated() - self.tokens_before;
        let rate = tokens as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let text = format!("{kept} kept, {dropped} dropped, {rate:.0} tokens/s");
        if self.bar.is_hidden() {
            let left = self.bar.eta().as_secs();
            eprintln!(
                "{}: {}/{} rows, {text}, ETA {left} s",
                self.task.name(),
                self.bar.position(),
                self.rows
            );
        } else {
            self.bar.set_message(text);
        }
    }
}
