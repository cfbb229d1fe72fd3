//! `smoltalk curate`: makes training text of web archives, pages and rows by a recipe of stages; the stages are in the crate
//! `curate`.

use anyhow::{Result, bail};
use curate::classifier::{ClassifierSettings, Labels, train_classifier};
use curate::fasttext::Training;
use curate::recipe::{BUILT_IN, Recipe};
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
    /// Recipe: a file (.toml, .yaml, .json), or fineweb-edu, dclm, finemath, infiwebmath, smollm2-small-dclm
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
    #[arg(long, help = RESTART_HELP)]
    restart: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
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
    /// Train a fastText classifier on labeled texts and measure it at each cut
    TrainClassifier(TrainOptions),
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
    /// Label of the texts that are looked for
    #[arg(long)]
    label: String,
    /// Column with the labels
    #[arg(long, default_value = "label")]
    label_column: String,
    /// Column with scores, in place of labels; a text without a number is left out
    #[arg(long, requires = "at_least")]
    score_column: Option<String>,
    /// Score from which a text has the label
    #[arg(long, requires = "score_column")]
    at_least: Option<f64>,
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
    fn settings(&self) -> ClassifierSettings {
        let labels = match (&self.score_column, self.at_least) {
            (Some(column), Some(at_least)) => Labels::Score { column: column.clone(), at_least },
            _ => Labels::Column(self.label_column.clone()),
        };
        let Self { epochs, dim, word_ngrams, buckets, seed, .. } = *self;
        ClassifierSettings {
            data: self.data.clone(),
            out: self.out.clone(),
            label: self.label.clone(),
            labels,
            training: Training { epochs, dim, word_ngrams, buckets, seed, ..Training::default() },
            no_lock: self.no_lock,
        }
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
            terminal::results!("{}", train_classifier(&options.settings())?)?;
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
    let recipe = Recipe::read(recipe, &options.files, &options.without)?;
    let stop = Stop::listen()?;
    let settings = Settings {
        input: input.clone(),
        out: out.clone(),
        recipe,
        restart: options.restart,
        no_lock: options.no_lock,
    };
    match curate::run::run(&settings, &stop)? {
        Some(summary) => terminal::results!("{summary}")?,
        None => terminal::message!("stopped; the same command resumes"),
    }
    Ok(stop.exit_code().unwrap_or(0))
}

/// Parses `NAME=PATH`.
fn named_file(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.to_owned())),
        _ => Err("give NAME=PATH".to_owned()),
    }
}
