//! The command-line options of every subcommand that calls a teacher.

use crate::recipe::Prompts;
use crate::task::Task;
use crate::tasks;
use crate::teacher::{Rates, RequestOptions, UserTurns};
use crate::teachers::OtherNames;
use anyhow::{Context, Result, bail};
use datasets::ReadOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Options of every subcommand that calls a teacher.
#[derive(Debug, Clone, clap::Args)]
pub struct TeacherOptions {
    /// Task whose dataset is generated; without it the four tasks that most of SmolTalk consists of: magpie-ultra,
    /// smol-constraint, smol-rewrite and smol-summarization
    #[arg(value_parser = tasks::parser())]
    pub(super) task: Option<&'static Task>,
    /// Recipe of a task that is made of text files: a recipe.toml with its templates and schemas beside it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["task", "prompts"])]
    pub(super) recipe: Option<PathBuf>,
    /// Run code that the teacher writes, in a sandbox, for a recipe with steps that do so
    #[arg(long)]
    pub(super) allow_code: bool,
    /// Teacher model that writes the rows: a checkpoint folder, a Hugging Face id, or an OpenAI-compatible endpoint
    /// http://HOST:PORT/v1#MODEL; separate several endpoints of one model with commas
    #[arg(long)]
    pub(super) teacher: Option<String>,
    /// Source texts to rewrite, summarize or annotate, or prompts for preferences: a file or a folder of rows
    #[arg(long)]
    pub(super) source: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: ReadOptions,
    /// Folder of prompts in the layout of the built-in ones (TASK/recipe.toml, TASK/STEP.jinja, ...); its files
    /// replace the built-in files with the same paths
    #[arg(long, value_name = "DIR")]
    pub(super) prompts: Option<PathBuf>,
    /// Random seed; the same seed and the same teacher give the same rows
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Maximum number of concurrent calls per endpoint and model; fewer are sent while an endpoint returns 429 or 503
    #[arg(long, default_value_t = 64)]
    pub(super) in_flight: usize,
    /// Maximum time of one call, in seconds
    #[arg(long, default_value_t = 600.0)]
    pub(super) timeout: f64,
    /// Stop after this many seconds without a successful response from any endpoint
    #[arg(long, default_value_t = 600.0)]
    pub(super) patience: f64,
    /// Jinja chat template that replaces the teacher's own (for an endpoint: ChatML)
    #[arg(long)]
    pub(super) chat_template: Option<PathBuf>,
    /// How an endpoint is asked for a user's turn (magpie-ultra and most other tasks)
    #[arg(long, value_enum, default_value_t)]
    pub(super) user_turns: UserTurns,
    /// Keep what a reasoning teacher thought before a reply as the message's reasoning_content; it is dropped otherwise
    #[arg(long)]
    pub(super) keep_reasoning: bool,
    /// Keep the log-probabilities of each reply's tokens and of the N likeliest in the place of each, as the message's
    /// logprobs: `posttrain sft --stored-logprobs` learns from them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(super) keep_logprobs: Option<u8>,
    /// Maximum number of tokens of every answer, in place of those in the recipe; thoughts count. ROLE is main (the
    /// default), judge, reward, safety or completion
    #[arg(long, value_name = "[ROLE:]N")]
    pub(super) max_tokens: Vec<String>,
    /// Field to set in requests to an endpoint, such as top_k=20, or to leave out, such as -seed; repeat it for several
    #[arg(long, value_name = "[ROLE:]KEY=JSON|-KEY", allow_hyphen_values = true)]
    pub(super) request: Vec<String>,
    /// JSON object whose fields are added to requests, such as {"chat_template_kwargs": {"enable_thinking": false}}
    #[arg(long, value_name = "[ROLE:]JSON")]
    pub(super) extra_body: Vec<String>,
    /// Header to send, and the environment variable that contains its value, such as api-key=AZURE_KEY
    #[arg(long, value_name = "[ROLE:]NAME=VARIABLE")]
    pub(super) header: Vec<String>,
    /// Parameter to add to addresses, such as api-version=2024-10-21
    #[arg(long, value_name = "[ROLE:]KEY=VALUE")]
    pub(super) query: Vec<String>,
    /// Maximum number of requests to each endpoint and model per minute
    #[arg(long, value_name = "N")]
    pub(super) requests_per_minute: Option<f64>,
    /// Maximum number of tokens of each endpoint and model per minute: those of prompts, and the most that answers may have
    #[arg(long, value_name = "N")]
    pub(super) tokens_per_minute: Option<f64>,
    /// Environment variable that contains an API key: NAME for the host of --teacher, HOST=NAME for another host;
    /// repeat it for several hosts, no other host receives a key
    #[arg(long, value_name = "[HOST=]NAME")]
    pub(super) api_key_env: Vec<String>,
    /// Teacher that judges in place of the main one: difficulty, quality and category, adherence to system prompts,
    /// ratings of completions
    #[arg(long)]
    pub(super) judge_teacher: Option<String>,
    /// Teacher that scores the rows of magpie-ultra
    #[arg(long)]
    pub(super) reward_teacher: Option<String>,
    /// Teacher that finds unsafe rows of magpie-ultra, which are dropped
    #[arg(long)]
    pub(super) safety_teacher: Option<String>,
    /// Teacher that writes completions of preferences in place of the main one; repeat it for several, which take
    /// turns
    #[arg(long)]
    pub(super) completion_teacher: Vec<String>,
    /// File of prices by model, in dollars per million tokens [default: smoltalk/prices.toml in the configuration
    /// folder]
    #[arg(long)]
    pub(super) prices: Option<PathBuf>,
}

impl TeacherOptions {
    /// Returns the random seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the maximum number of concurrent calls.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The tasks to generate.
    pub(super) fn tasks(&self) -> Result<Vec<&'static Task>> {
        Ok(match (&self.recipe, self.task) {
            (Some(file), _) => vec![tasks::of_file(file)?.0],
            (None, Some(task)) => vec![task],
            (None, None) => tasks::by_default(),
        })
    }

    /// The files of the recipes.
    pub(super) fn prompts(&self) -> Result<Prompts> {
        match &self.recipe {
            Some(file) => Ok(tasks::of_file(file)?.1.clone()),
            None => Prompts::open(self.prompts.as_deref()),
        }
    }

    /// The name of the main teacher.
    pub(super) fn main_teacher(&self) -> Result<&str> {
        self.teacher.as_deref().with_context(no_teacher)
    }

    /// The options of requests, of all roles.
    pub(super) fn request_options(&self) -> RequestOptions<'_> {
        RequestOptions {
            request: &self.request,
            extra_body: &self.extra_body,
            header: &self.header,
            query: &self.query,
            max_tokens: &self.max_tokens,
        }
    }

    /// The limits per minute.
    pub(super) fn rates(&self) -> Result<Rates> {
        let rate = |flag: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value.is_finite()) => {
                bail!("`--{flag} {value}` is not a limit; give a number greater than 0")
            }
            value => Ok(value),
        };
        Ok(Rates {
            requests: rate("requests-per-minute", self.requests_per_minute)?,
            tokens: rate("tokens-per-minute", self.tokens_per_minute)?,
        })
    }

    /// The names of the other teachers.
    pub(super) fn other_teachers(&self) -> OtherNames {
        OtherNames {
            judge: self.judge_teacher.clone(),
            reward: self.reward_teacher.clone(),
            safety: self.safety_teacher.clone(),
            completions: self.completion_teacher.clone(),
        }
    }
}

/// A time in seconds, greater than 0.
pub(super) fn seconds(flag: &str, value: f64) -> Result<Duration> {
    let duration = Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero());
    duration
        .with_context(|| format!("`--{flag} {value}` is not a time; give a number of seconds greater than 0"))
}

/// What a teacher can be, with two commands that run.
fn no_teacher() -> String {
    let mut text = "no teacher; give `--teacher` a checkpoint folder, a Hugging Face id, or an OpenAI-compatible endpoint \
                    http://HOST:PORT/v1#MODEL\n  a published model: smoltalk gen magpie-ultra --rows 20 --teacher \
                    HuggingFaceTB/SmolLM2-1.7B-Instruct"
        .to_owned();
    if let Some(teacher) = in_checkout("models/*/chat_template.jinja", 1) {
        text.push_str(&format!("\n  offline: smoltalk gen magpie-ultra --rows 20 --teacher {teacher}"));
        if let Some(prompts) = in_checkout("*/prompts/magpie-ultra/recipe.toml", 2) {
            text.push_str(&format!(" --prompts {prompts}"));
        }
    }
    text
}

/// The folder that is `levels` above the first file that matches a pattern, relative to the working directory.
fn in_checkout(pattern: &str, levels: usize) -> Option<String> {
    let file = glob::glob(pattern).ok()?.flatten().next()?;
    Some(file.ancestors().nth(levels)?.display().to_string())
}
