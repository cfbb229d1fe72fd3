//! `smoltalk curate`: makes training text of web archives, pages and rows by a recipe of stages; the stages are in the crate
//! `curate`.

use anyhow::{Context, Result, bail, ensure};
use curate::agreement::agreement;
use curate::classifier::{ClassifierSettings, HeadKind, Kind, Target, train_classifier};
use curate::fasttext::Training;
use curate::recipe::{BUILT_IN, Recipe, Stage, Tokens};
use curate::run::Settings;
use files::run_folder::{NO_LOCK_HELP, RESTART_HELP};
use std::path::PathBuf;
use terminal::Stop;

/// Options of `smoltalk curate`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// File or folder of web archives (.warc, .wet, also .gz and .zst), .html files, or rows with `html` or `text`
    #[arg(required = true)]
    input: Option<PathBuf>,
    /// Recipe: a file (.toml, .yaml, .json), or fineweb-edu, dclm, finemath, finemath-domains, infiwebmath, stack-edu, smollm2-small-dclm
    #[arg(long, required = true, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Folder of the dataset
    #[arg(long, required = true)]
    out: Option<PathBuf>,
    /// File that the recipe names, such as lid176=lid.176.bin; may be given several times
    #[arg(long = "file", value_name = "NAME=PATH", value_parser = named_file)]
    files: Vec<(String, String)>,
    /// Stage of the recipe to leave out; may be given several times
    #[arg(long, value_name = "STAGE")]
    without: Vec<String>,
    /// Tokenizer to count the tokens of pages with: a tokenizer.json, or a folder with one
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[arg(long, help = RESTART_HELP)]
    restart: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
    #[command(flatten)]
    sharing: shards::Options,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the way of one page through the stages of a finished run
    Why {
        /// The page: its `row` (file and offset, or file and line) or its address
        page: String,
        /// Folder of the dataset
        #[arg(long)]
        out: PathBuf,
    },
    /// Train a classifier on labeled texts and measure it at each cut: a fastText model, or a linear layer on an encoder's
    /// vectors
    TrainClassifier(TrainOptions),
    /// Compare two passes of a teacher over the same texts: the noise of the labels
    Agreement {
        /// File or folder of rows with `text` and a score
        first: PathBuf,
        /// The same of the other pass
        second: PathBuf,
        /// Column with the scores
        #[arg(long, default_value = "score")]
        score_column: String,
    },
    /// Print a built-in recipe
    Recipe {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct TrainOptions {
    /// File or folder of rows with `text`
    data: PathBuf,
    /// Folder of the model
    #[arg(long)]
    out: PathBuf,
    /// Label of the texts that are looked for; without one, an encoder learns the scores themselves
    #[arg(long)]
    label: Option<String>,
    /// Column with the labels
    #[arg(long, default_value = "label")]
    label_column: String,
    /// Column with scores, in place of labels; a text without a number is left out
    #[arg(long)]
    score_column: Option<String>,
    /// Score from which a text has the label
    #[arg(long, requires = "score_column")]
    at_least: Option<f64>,
    /// Checkpoint folder of a sentence encoder of the BERT family, on whose vectors a linear layer is trained
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// What the linear layer learns [default: ridge for scores, logistic for a label]
    #[arg(long, value_enum, requires = "encoder")]
    head: Option<HeadKind>,
    /// Penalty on the squares of the linear layer's weights
    #[arg(long, default_value_t = 1.0, requires = "encoder")]
    penalty: f64,
    /// Tokenizer to count with what each cut keeps: a tokenizer.json, or a folder with one
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Number of passes over the texts
    #[arg(long, default_value_t = Training::default().epochs)]
    epochs: usize,
    /// Size of the hidden vector
    #[arg(long, default_value_t = Training::default().dim)]
    dim: usize,
    /// Number of words in a run at most
    #[arg(long, default_value_t = Training::default().word_ngrams)]
    word_ngrams: usize,
    /// Number of buckets for runs of words
    #[arg(long, default_value_t = Training::default().buckets)]
    buckets: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = Training::default().seed)]
    seed: u64,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

impl TrainOptions {
    fn settings(&self) -> Result<ClassifierSettings> {
        let Self { epochs, dim, word_ngrams, buckets, seed, .. } = *self;
        let kind = match &self.encoder {
            Some(folder) => Kind::Encoder { folder: folder.clone(), head: self.head, penalty: self.penalty },
            None => {
                Kind::FastText(Training { epochs, dim, word_ngrams, buckets, seed, ..Training::default() })
            }
        };
        Ok(ClassifierSettings {
            data: self.data.clone(),
            out: self.out.clone(),
            target: self.target()?,
            kind,
            tokenizer: self.tokenizer.clone(),
            no_lock: self.no_lock,
        })
    }

    fn target(&self) -> Result<Target> {
        let needs_label = || {
            self.label.clone().context("give `--label`, the label of the texts that are looked for; a linear layer (`--encoder`) learns scores without one")
        };
        Ok(match (&self.score_column, self.at_least) {
            (Some(column), Some(at_least)) => {
                Target::Cut { column: column.clone(), at_least, label: needs_label()? }
            }
            (Some(column), None) if self.encoder.is_some() && self.label.is_none() => {
                Target::Scores { column: column.clone() }
            }
            (Some(_), None) => {
                bail!(
                    "`--score-column` needs `--at-least`, the score from which a text has the label; only `--encoder` without `--label` learns scores themselves"
                )
            }
            (None, _) => Target::Labels { column: self.label_column.clone(), label: needs_label()? },
        })
    }
}

/// Runs the command; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    match &options.command {
        Some(Command::Why { page, out }) => terminal::results!("{}", curate::why(out, page)?)?,
        Some(Command::TrainClassifier(options)) => {
            terminal::results!("{}", train_classifier(&options.settings()?)?)?;
        }
        Some(Command::Agreement { first, second, score_column }) => {
            terminal::results!("{}", agreement(first, second, score_column)?.table())?;
        }
        Some(Command::Recipe { name }) => {
            let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| known == name) else {
                bail!("`{name}` is no recipe; the recipes are {}", BUILT_IN.map(|(name, _)| name).join(", "));
            };
            terminal::results!("{}", text.trim_end())?;
        }
        None => return curate(options),
    }
    Ok(0)
}

fn curate(options: &Options) -> Result<u8> {
    let (Some(input), Some(recipe), Some(out)) = (&options.input, &options.recipe, &options.out) else {
        bail!("give INPUT, `--recipe` and `--out`");
    };
    let mut recipe = Recipe::read(recipe, &options.files, &options.without)?;
    if let Some(path) = &options.tokenizer {
        let is_counted = recipe.stages.iter().any(|stage| matches!(stage, Stage::Tokens(_)));
        ensure!(!is_counted, "`--tokenizer`: the recipe has a stage `tokens` already; remove one of them");
        // At the end, so that only what is kept is counted; a recipe may count earlier.
        recipe.stages.push(Stage::Tokens(Tokens { tokenizer: path.display().to_string() }));
    }
    let stop = Stop::listen()?;
    let settings = Settings {
        input: input.clone(),
        out: out.clone(),
        recipe,
        restart: options.restart,
        no_lock: options.no_lock,
        sharing: options.sharing.clone(),
    };
    // A run that is complete is so also if a signal came at its end.
    if let Some(summary) = curate::run::run(&settings, &stop)? {
        terminal::results!("{summary}")?;
        return Ok(0);
    }
    terminal::message!("stopped; the same command resumes");
    match options.sharing.shards {
        Some(_) => Ok(shards::AGAIN),
        None => Ok(stop.exit_code().unwrap_or(terminal::errors::ERROR_EXIT_CODE)),
    }
}

/// Parses `NAME=PATH`.
fn named_file(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.to_owned())),
        _ => Err("give NAME=PATH".to_owned()),
    }
}
